//! Commands that ask a running server: what they say to people, to programs, and by their exit codes.

use serde_json::{Value, json};

use super::gesso;
use crate::support::{Bench, checkout, decode, eventually, quick, quick_with, run};

#[test]
fn txt2img_on_a_server_draws_what_the_server_draws() {
    let bench = Bench::new();
    let server = bench.start();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png");
    let said = "--steps 3 --width 64 --height 64 --seed 1 --cfg-scale 5 --sampler Euler --model demo-v3";
    let mut command = gesso(&["txt2img", "mountain landscape during sunset", "--url", &server.url]);
    command.args(said.split(' ')).arg("--out").arg(&out);
    let (code, output, errors) = run(command);
    assert_eq!((code, output.trim()), (0, out.to_str().unwrap()), "{errors}");
    assert!(!errors.contains("note: "), "{errors}");
    let (asked, served) = (decode(&std::fs::read(&out).unwrap()), server.post("/txt2img", &quick()).ok());
    let served = decode(&server.picture(&served));
    assert_eq!(asked.infotext, served.infotext);
    assert!(asked.data == served.data, "the same request drew another picture");

    // What the server did without is said, and is no file.
    let spoilt = folder.path().join("spoilt.png");
    let mut command = gesso(&["txt2img", "sea<lora:gone:1>", "--url", &server.url]);
    command.args(said.split(' ')).arg("--out").arg(&spoilt);
    let (code, output, errors) = run(command);
    assert_eq!((code, output.trim()), (0, spoilt.to_str().unwrap()), "{errors}");
    assert!(errors.contains("note: Lora not found: "), "{errors}");

    // Settings of this machine say nothing about another.
    let mut command = gesso(&["txt2img", "sea", "--url", &server.url, "--models", "/models", "--out"]);
    command.arg(&out);
    let (code, _, errors) = run(command);
    assert!(code == 2 && errors.contains("--models"), "{errors}");
    let mut command = gesso(&["txt2img", "sea", "--url", &server.url, "--model", "demo-v9", "--out"]);
    command.arg(&out);
    let (code, _, errors) = run(command);
    assert!(code == 1 && errors.contains("demo-v9"), "{errors}");
}

#[test]
fn programs_get_json_and_people_lines() {
    let bench = Bench::new();
    let server = bench.start();
    let data = bench.data.path().to_str().unwrap();
    let told = |arguments: &[&str]| {
        let mut command = gesso(arguments);
        command.args(["--json", "--url", &server.url, "--data", data]);
        let (code, output, errors) = run(command);
        assert_eq!(code, 0, "{arguments:?}: {errors}");
        serde_json::from_str::<Value>(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
    };
    assert_eq!(told(&["task", "list"]), json!([]));
    assert_eq!(told(&["model", "list"])[0]["type"], "stableDiffusion");
    let id = server.submit(&quick());
    assert_eq!(told(&["task", "wait", &id])["status"], "succeeded");
    assert_eq!(told(&["task", "list"])[0]["taskId"], id);
    assert_eq!(told(&["task", "remove", &id]), json!({"message": "success"}));
    assert_eq!(told(&["user", "list"]), json!([]));
    assert_eq!(told(&["user", "add", "ann"])["name"], "ann");
    let made = told(&["key", "new", "--user", "ann", "--label", "laptop"]);
    assert!(made["key"].as_str().unwrap().starts_with("gesso_"), "{made}");
    let keys = told(&["key", "list"]);
    assert_eq!((&keys[0]["id"], &keys[0]["label"]), (&made["id"], &json!("laptop")));
    // Now everybody has to say who they are, and is told how.
    let (code, _, errors) = run(gesso(&["task", "list", "--url", &server.url]));
    assert!(code == 1 && errors.contains("--api-key"), "{errors}");
}

#[test]
fn an_admin_key_of_another_server_is_told_with_the_file_that_holds_it() {
    let bench = Bench::new();
    let server = bench.start();
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("admin-key"), "the-admin-key-of-another-server\n").unwrap();
    let place = other.path().to_str().unwrap();
    let (code, _, errors) = run(gesso(&["user", "list", "--url", &server.url, "--data", place]));
    assert!(code == 1 && errors.contains(&format!("{place}/admin-key")), "{errors}");
    assert!(errors.contains("--data") && !errors.contains("gesso key new"), "{errors}");
}

#[test]
fn waiting_for_a_task_that_does_not_succeed_fails() {
    let bench = Bench::new();
    let server = bench.start();
    let task = |arguments: &[&str]| {
        let mut command = gesso(&["task", "--url", &server.url]);
        command.args(arguments);
        run(command)
    };
    let id = server.submit(&quick_with(json!({"steps": 150, "width": 512, "height": 512})));
    let (code, output, errors) = task(&["cancel", &id]);
    assert!(code == 0 && output.contains("stops"), "{output} {errors}");
    let (code, output, errors) = task(&["wait", &id]);
    assert!(code == 1 && errors.contains("the task is canceled"), "{errors}");
    assert!(output.contains(&id) && output.contains("canceled"), "{output}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("none.png");
    let (code, _, errors) = task(&["wait", &id, "--out", out.to_str().unwrap()]);
    assert!(code == 1 && errors.contains("the task is canceled") && !out.exists(), "{errors}");
    let (code, _, errors) = task(&["retry", &id]);
    assert!(code == 1 && errors.contains("409"), "{errors}");
}

#[test]
fn models_are_registered_and_removed_from_a_terminal() {
    let models = tempfile::tempdir().unwrap();
    let bench = Bench::new().models_at(models.path());
    let demo = checkout().join("examples/demo-model/demo-v3.safetensors");
    std::os::unix::fs::symlink(&demo, models.path().join("demo-v3.safetensors")).unwrap();
    let objects = bench.data.path().join("objects/models");
    std::fs::create_dir_all(&objects).unwrap();
    std::fs::copy(&demo, objects.join("second.safetensors")).unwrap();
    let server = bench.start();
    let model = |arguments: &[&str]| {
        let mut command = gesso(&["model", "--url", &server.url]);
        command.args(arguments);
        run(command)
    };
    let (code, _, errors) = model(&["register", "models/second.safetensors", "--type", "sd"]);
    assert!(code == 1 && errors.contains("stableDiffusion"), "{errors}");
    let (code, output, errors) =
        model(&["register", "models/second.safetensors", "--name", "by the sea.safetensors"]);
    assert_eq!(code, 0, "{errors}");
    assert!(output.contains("by the sea.safetensors is being copied"), "{output}");
    eventually("the file is there", || {
        let (_, listed, _) = model(&["list"]);
        listed.lines().any(|line| line.starts_with("unloaded") && line.ends_with("by the sea.safetensors"))
    });
    let (code, output, errors) = model(&["remove", "by the sea.safetensors"]);
    assert_eq!(code, 0, "{errors}");
    assert!(output.contains("removed") && !model(&["list"]).1.contains("by the sea"), "{output}");
    assert!(model(&["remove", "demo-v3.safetensors"]).2.contains("404"), "what somebody put there is theirs");
    assert!(model(&["remove", "../demo-v3.safetensors"]).2.contains("not the name of a model's file"));
}

#[test]
fn a_shell_learns_the_commands_and_help_tells_the_exit_codes() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, errors) = run(gesso(&["completions", shell]));
        assert_eq!(code, 0, "{errors}");
        for word in ["img2img", "completions", "preview"] {
            assert!(script.contains(word), "{shell} does not learn {word}");
        }
    }
    let (code, _, errors) = run(gesso(&["completions", "basic"]));
    assert!(code == 2 && errors.contains("bash"), "{errors}");
    let (code, help, _) = run(gesso(&["--help"]));
    assert!(code == 0 && help.contains("Exit codes: 0 done; 1"), "{help}");
}

#[test]
fn the_admin_key_of_a_data_folder_goes_to_no_other_machine() {
    for command in ["key", "user"] {
        let (code, _, errors) = run(gesso(&[command, "list", "--url", "http://pictures.example"]));
        assert!(code == 1 && errors.contains("pass --api-key, or --data"), "{errors}");
    }
}

#[test]
fn what_this_machine_is_asked_goes_through_no_proxy_of_the_environment() {
    let bench = Bench::new();
    let server = bench.start();
    // Nobody listens there any more.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = gesso(&["user", "list", "--url", &server.url, "--data"]);
    command.arg(bench.data.path()).env_remove("NO_PROXY").env_remove("no_proxy");
    command.env("ALL_PROXY", format!("http://{proxy}"));
    let (code, _, errors) = run(command);
    assert_eq!(code, 0, "{errors}");
}

#[test]
fn nobody_answering_is_said_with_the_remedy() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for arguments in [&["task", "list"][..], &["model", "list"], &["txt2img", "sea", "--out", "/tmp/x.png"]] {
        let mut command = gesso(arguments);
        command.args(["--url", &url]);
        let (code, _, errors) = run(command);
        assert!(code == 1 && errors.contains("is the server running?"), "{errors}");
    }
}
