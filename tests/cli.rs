//! The command line of the real binary: exit codes, settings, sentences.

mod previews;
mod remote;
mod store;

use std::process::Command;

use serde_json::json;

use crate::support::{Bench, checkout, component, decode, eventually, quick, run};

fn gesso(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gesso"));
    command.args(arguments);
    command
}

#[test]
fn printed_settings_are_complete_and_hide_secrets() {
    let mut command = gesso(&["serve", "--print-settings", "--listen", "127.0.0.1:1"]);
    command.env("GESSO_ADMIN_KEY", "a-very-secret-key");
    let (code, output, _) = run(command);
    assert_eq!(code, 0);
    assert!(output.contains("listen = \"127.0.0.1:1\"") && output.contains("[limits]"), "{output}");
    assert!(!output.contains("a-very-secret-key"), "{output}");
    // What has no default is named too.
    assert!(
        output.starts_with("# Not set: default_model, objects, outputs, tls, public_url, otlp_endpoint."),
        "{output}"
    );
}

#[test]
fn without_any_setting_the_demo_checkpoint_and_the_first_party_plugins_are_served() {
    let (_, output, _) = run(gesso(&["serve", "--print-settings"]));
    let models = checkout().join("examples/demo-model");
    assert!(output.contains(&format!("models = \"{}\"", models.display())), "{output}");
    assert!(output.contains(".gesso/plugins") && output.contains("[grants.dynamic-prompts"), "{output}");
}

#[test]
fn every_named_variable_sets_what_its_flag_does() {
    for name in ["LISTEN", "DATA", "MODELS", "PLUGINS"] {
        let mut command = gesso(&["serve", "--print-settings"]);
        command.env(format!("GESSO_{name}"), "127.0.0.1:99");
        let (_, output, _) = run(command);
        assert!(output.contains(&format!("{} = \"127.0.0.1:99\"", name.to_lowercase())), "{name}: {output}");
    }
    for (name, value, shown) in [
        ("DEFAULT_MODEL", "sea", "default_model = \"sea\""),
        ("DEVICE", "cpu", "device = \"cpu\""),
        ("DTYPE", "f32", "dtype = \"f32\""),
        ("THREADS", "5", "threads = 5"),
        ("DETERMINISTIC", "true", "deterministic = true"),
        ("LOG_FORMAT", "json", "log_format = \"json\""),
    ] {
        let mut command = gesso(&["serve", "--print-settings"]);
        command.env(format!("GESSO_{name}"), value);
        let (_, output, _) = run(command);
        assert!(output.lines().any(|line| line == shown), "{name}: {output}");
    }
    let mut command = gesso(&["serve", "--print-settings"]);
    command.env("GESSO_THREADS", "many");
    let (code, _, errors) = run(command);
    assert!(code == 2 && errors.contains("GESSO_THREADS: \"many\" is not a number"), "{errors}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "threads = 7").unwrap();
    let mut command = gesso(&["serve", "--print-settings"]);
    command.env("GESSO_CONFIG", file.path());
    assert!(run(command).1.contains("threads = 7"));
    let mut command = gesso(&["serve", "--print-settings"]);
    command.env("GESSO_CONFIG", "").env("GESSO_THREADS", "");
    assert_eq!(run(command).0, 0, "an empty variable says nothing");
}

#[test]
fn wrong_settings_end_with_code_2_and_a_suggestion() {
    let bench = Bench::new().config("lisen = \"127.0.0.1:0\"\n");
    let (code, _, errors) = run(bench.command());
    assert_eq!(code, 2);
    assert!(errors.contains("did you mean \"listen\"?"), "{errors}");
    let (code, _, errors) = run(gesso(&["serve", "--config", "/no/such/file.toml"]));
    assert_eq!(code, 2);
    assert!(errors.contains("/no/such/file.toml"), "{errors}");
    assert_eq!(run(gesso(&["serve", "--lisen", "x"])).0, 2);
}

#[test]
fn a_port_in_use_ends_with_code_3_and_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bench = Bench::new();
    let mut command = gesso(&["serve", "--listen", &address, "--data", bench.data.path().to_str().unwrap()]);
    command.args(["--plugins", bench.plugins.path().to_str().unwrap()]);
    let (code, _, errors) = run(command);
    assert_eq!(code, 3, "{errors}");
    assert!(errors.contains(&address) && errors.contains("--listen"), "{errors}");
}

#[test]
fn an_address_that_cannot_be_listened_on_is_told_with_what_would_do() {
    // TEST-NET-1 (RFC 5737), which no machine has; one that listens on any address (`net.ipv4.ip_nonlocal_bind`) would serve it.
    if std::net::TcpListener::bind("192.0.2.1:0").is_err() {
        let (code, _, errors) = run(gesso(&["serve", "--listen", "192.0.2.1:7860"]));
        assert!(code == 1 && errors.contains("192.0.2.1:7860") && errors.contains("0.0.0.0"), "{errors}");
    }
    for no_address in ["7861", "localhost:7860"] {
        let (code, _, errors) = run(gesso(&["serve", "--listen", no_address]));
        assert!(code == 2 && errors.contains("such as 127.0.0.1:7860"), "{errors}");
    }
}

#[test]
fn a_folder_without_a_checkpoint_is_named_when_a_server_starts_and_before_txt2img_draws() {
    let models = tempfile::tempdir().unwrap();
    let bench = Bench::new().models_at(models.path());
    let place = models.path().to_str().unwrap();
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("log");
    let plain = bench.command();
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec \"$0\" \"$@\" 2>{}", log.display()));
    command.arg(plain.get_program()).args(plain.get_args());
    let server = bench.start_with(command);
    eventually("the log names the folder and the remedy", || {
        let told = std::fs::read_to_string(&log).unwrap();
        told.lines().any(|line| {
            line.contains("there is no checkpoint in") && line.contains(place) && line.contains("--models")
        })
    });
    // Clients hear what helps, and not where it lies.
    let reply = server.post("/sdapi/v1/txt2img", &json!({"prompt": "sea"}));
    let told = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(reply.status == 503 && told.contains("models folder") && !told.contains(place), "{told}");

    let (code, _, errors) = run(gesso(&["txt2img", "x", "--models", place, "-o", "/tmp/x.png"]));
    assert!(code == 1 && errors.contains(place) && errors.contains("--models"), "{errors}");
    let nowhere = format!("{place}/nowhere");
    let (code, _, errors) = run(gesso(&["txt2img", "x", "--models", &nowhere, "-o", "/tmp/x.png"]));
    assert!(code == 1 && errors.contains(&nowhere) && errors.contains("--models"), "{errors}");
}

#[test]
fn who_names_a_checkpoint_hears_of_that_one_and_not_of_the_default() {
    let demo = checkout().join("examples/demo-model");
    let mut command = gesso(&["txt2img", "x", "--model", "demo-v9", "-o", "/tmp/x.png", "--models"]);
    command.arg(demo).env("GESSO_DEFAULT_MODEL", "gone");
    let (code, _, errors) = run(command);
    assert!(code == 1 && errors.contains("did you mean \"demo-v3\"?"), "{errors}");
    assert!(errors.contains("\"demo-v9\"") && !errors.contains("default_model"), "{errors}");
}

#[test]
fn a_second_server_on_the_same_data_folder_ends_with_code_3() {
    let bench = Bench::new();
    let server = bench.start();
    let (code, _, errors) = run(bench.command());
    assert_eq!(code, 3, "{errors}");
    assert!(errors.contains("another process uses this data folder"), "{errors}");
    assert_eq!(server.get("/health/ready").status, 200);
}

#[test]
fn made_up_pictures_go_the_way_of_others_and_no_help_speaks_of_them() {
    let bench = Bench::new();
    let mut command = bench.command();
    command.arg("--made-up-pictures");
    let server = bench.start_with(command);
    let made = decode(&server.picture(&server.post("/txt2img", &quick()).ok()));
    assert_eq!((made.width, made.height), (64, 64));
    // The corner of a gradient, where a network would not draw exactly this.
    assert_eq!(made.data[..6], [0, 0, 128, 4, 0, 128]);
    assert!(made.infotext.contains("Steps: 3, Sampler: Euler"), "{}", made.infotext);
    assert!(!run(gesso(&["serve", "--help"])).1.contains("made-up"));
}

#[test]
fn txt2img_draws_the_picture_the_server_draws() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png");
    let mut command =
        gesso(&["txt2img", "mountain landscape during sunset", "--steps", "3", "--width", "64"]);
    command.args([
        "--height",
        "64",
        "--seed",
        "1",
        "--cfg-scale",
        "5",
        "--sampler",
        "Euler",
        "--dtype",
        "f32",
        // As many as the server computes on: sums over threads differ in their last bits.
        "--threads",
        "1",
        "-o",
    ]);
    command.arg(&out).arg("--models").arg(checkout().join("examples/demo-model"));
    let (code, output, errors) = run(command);
    assert_eq!(code, 0, "{errors}");
    assert!(output.contains("64x64, seed 1"), "{output}");
    let local = decode(&std::fs::read(&out).unwrap());
    let server = Bench::new();
    let server = server.start();
    let served = decode(&server.picture(&server.post("/txt2img", &quick()).ok()));
    assert_eq!(local.infotext, served.infotext);
    assert!(local.data == served.data, "the same request drew another picture");
}

#[test]
fn txt2img_says_what_is_wrong_before_it_draws() {
    let (code, _, errors) = run(gesso(&["txt2img", "x", "--width", "65", "-o", "/tmp/x.png"]));
    assert_eq!(code, 1);
    assert!(errors.contains("width"), "{errors}");
    let (_, _, errors) = run(gesso(&["txt2img", "x", "-o", "/no/such/folder/x.png"]));
    assert!(errors.contains("/no/such/folder"), "{errors}");
    let (_, _, errors) = run(gesso(&["txt2img", "x", "--model", "demo-v9", "-o", "/tmp/x.png"]));
    assert!(errors.contains("did you mean \"demo-v3\"?"), "{errors}");
}

#[test]
fn plugins_are_managed_from_the_terminal() {
    let bench = Bench::new();
    let server = bench.start();
    let plugin = |arguments: &[&str]| {
        let mut command =
            gesso(&["plugin", "--url", &server.url, "--data", bench.data.path().to_str().unwrap()]);
        command.args(arguments);
        run(command)
    };
    assert!(plugin(&["list"]).1.contains("no plugins"));
    let (first, second) = (component("guests", "good-v1"), component("guests", "good-v2"));
    let (code, output, errors) = plugin(&["install", first.to_str().unwrap()]);
    assert_eq!(code, 0, "{errors}");
    assert!(output.contains("good") && output.contains("active"), "{output}");
    plugin(&["install", second.to_str().unwrap()]);
    let before = plugin(&["list"]).1;
    let (code, back, errors) = plugin(&["rollback", "good"]);
    assert_eq!(code, 0, "{errors}");
    assert_ne!(before.split_whitespace().nth(1), back.split_whitespace().nth(1), "{before} {back}");
    let (code, off, errors) = plugin(&["configure", "good", "--enabled", "false"]);
    assert!(code == 0 && off.contains("disabled"), "{off} {errors}");
    let grants = bench.data.path().join("grants.json");
    std::fs::write(&grants, "{\"hosts\": [\"pictures.example\"], \"models\": [\"depth\"]}").unwrap();
    assert_eq!(plugin(&["grant", "good", grants.to_str().unwrap()]).0, 0);
    assert_eq!(plugin(&["logs", "good"]).0, 0);
    assert_eq!(plugin(&["remove", "good"]).0, 0);
    let (_, history, _) = plugin(&["history", "good"]);
    let told = [
        "active",
        "configured",
        "granted    host pictures.example, network depth (by admin, request ",
        "removed",
    ];
    assert!(told.iter().all(|event| history.contains(event)), "{history}");
    let (code, _, errors) = plugin(&["remove", "good"]);
    assert_eq!(code, 1);
    assert!(errors.contains("no plugin named good"), "{errors}");
    let (code, _, errors) = plugin(&["--admin-key", "wrong", "list"]);
    assert_eq!((code, errors.contains("needs credentials")), (1, true), "{errors}");
}

#[test]
fn a_plugin_is_begun_checked_and_not_begun_twice() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("my-marks");
    let place = folder.to_str().unwrap();
    let new = |name: &str| gesso(&["plugin", "new", name, "--world", "script", "--folder", place]);
    let (code, output, errors) = run(new("my-marks"));
    assert_eq!(code, 0, "{errors}");
    assert!(output.contains("gesso plugin test"), "{output}");
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    assert!(manifest.contains("\"id\": \"my-marks\""), "{manifest}");
    let sdk = checkout().join("sdk-plugin").canonicalize().unwrap();
    assert!(std::fs::read_to_string(folder.join("Cargo.toml")).unwrap().contains(sdk.to_str().unwrap()));
    let (code, _, errors) = run(new("my-marks"));
    assert!(code != 0 && errors.contains("is there already"), "{errors}");
    let (code, _, errors) = run(new("My Marks"));
    assert!(code != 0 && errors.contains("cannot name a plugin"), "{errors}");

    let check = |file: &std::path::Path| run(gesso(&["plugin", "check", file.to_str().unwrap()]));
    let (code, output, errors) = check(&component("examples", "example-script"));
    assert_eq!(code, 0, "{errors}");
    assert!(
        output.contains("example-script 0.1.0: script") && output.contains("without any grant"),
        "{output}"
    );
    let (code, output, errors) = check(&component("examples", "example-step-hook"));
    assert_eq!(code, 0, "{errors}");
    assert!(output.contains("example-step-hook 0.1.0: step-hook"), "{output}");
    let (_, output, _) = check(&component("plugins", "dynamic-prompts"));
    assert!(output.contains("folder `wildcards`"), "{output}");
    let (code, output, errors) = check(&component("plugins", "adetailer"));
    assert_eq!(code, 0, "{errors}");
    assert!(output.contains("under /ext/adetailer/") && output.contains("at /adetailer/v1"), "{output}");
    let (code, _, errors) = check(&component("guests", "wants-sockets"));
    assert!(code != 0 && errors.contains("would refuse") && errors.contains("wasi:sockets"), "{errors}");
    let (code, _, errors) = check(&folder.join("manifest.json"));
    assert!(code != 0 && errors.contains("not a WebAssembly file"), "{errors}");
}

#[test]
fn users_keys_tasks_and_pictures_are_managed_from_a_terminal() {
    let bench = Bench::new();
    let server = bench.start();
    let data = bench.data.path().to_str().unwrap();
    let admin = |arguments: &[&str]| {
        let mut command = gesso(arguments);
        command.args(["--url", &server.url, "--data", data]);
        let (code, output, errors) = run(command);
        assert_eq!(code, 0, "{arguments:?}: {errors}");
        output
    };
    assert!(admin(&["user", "list"]).contains("nobody has an account"));
    assert!(admin(&["user", "add", "ann"]).contains("keys only"));
    let key = admin(&["key", "new", "--user", "ann", "--label", "laptop", "--days", "30"]);
    let key = key.trim();
    assert!(key.starts_with("gesso_"), "{key}");
    let listed = admin(&["key", "list"]);
    assert!(listed.contains("laptop") && !listed.contains(key), "{listed}");

    let as_ann = |arguments: &[&str]| {
        let mut command = gesso(arguments);
        command.args(["--url", &server.url, "--api-key", key]);
        run(command)
    };
    let (code, output, errors) = as_ann(&["task", "list"]);
    assert_eq!((code, output.trim()), (0, "no tasks"), "{errors}");
    assert!(as_ann(&["model", "list"]).1.contains("demo-v3.safetensors"));
    assert!(as_ann(&["model", "load"]).2.contains("403"), "loading is for operators");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let reply = server.post_with("/txt2img", &[("Token", key)], &quick());
    std::fs::write(path("first.png"), server.picture(&reply.ok())).unwrap();
    let (code, _, errors) = as_ann(&["upscale", &path("first.png"), "--out", &path("large.png")]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(decode(&std::fs::read(path("large.png")).unwrap()).width, 128);
    let arguments =
        ["img2img", &path("first.png"), "red", "--out", &path("red.png"), "--steps", "4", "--width", "64"];
    let (code, output, errors) = as_ann(&[&arguments[..], &["--height", "64"]].concat());
    assert_eq!((code, output.trim()), (0, path("red.png").as_str()), "{errors}");
    let tasks = as_ann(&["task", "list", "--state", "succeeded"]).1;
    assert_eq!(tasks.lines().count(), 3, "{tasks}");
    let id = tasks.split_whitespace().next().unwrap();
    let (code, _, errors) = as_ann(&["task", "wait", id, "--out", &path("again.png")]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(std::fs::read(path("again.png")).unwrap(), std::fs::read(path("red.png")).unwrap());
    assert_eq!(as_ann(&["task", "remove", id]).0, 0);
    assert!(as_ann(&["task", "show", id]).2.contains("404"));
    assert!(as_ann(&["task", "cancel", "../x"]).2.contains("not the id of a task"));

    let mut command =
        gesso(&["user", "set", "ann", "--password-stdin", "--url", &server.url, "--data", data]);
    let password = path("password");
    std::fs::write(&password, "correct horse battery\n").unwrap();
    command.stdin(std::fs::File::open(&password).unwrap());
    assert!(run(command).1.contains("password"));
    assert_eq!(admin(&["user", "remove", "ann"]).trim(), "ann removed, with all of their keys");
    assert!(as_ann(&["task", "list"]).2.contains("credentials"), "the key is no longer one");
}
