//! Plugins from `gesso plugin new` to a running server, in every language, with the tools of `cargo xtask kits`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::events::check_events;
use super::examples::check_examples;
use crate::support::{Bench, checkout, eventually, quick_with, run};

/// The worlds in two halves: a test goes through one of them, so that no test is much longer than the others.
const DRAWS: [&str; 7] =
    ["request-hook", "annotator", "picture-hook", "step-hook", "script", "input-fetcher", "http-extension"];
const EVENTS: [&str; 4] = ["infotext-hook", "save-hook", "model-hook", "grid-hook"];
/// 8 by 4 pixels.
const GREY: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAECAAAAACWpiEsAAAADklEQVR42mNogAIG3AwAIDMQAd6dRA0AAAAASUVORK5CYII=";

/// `gesso plugin …` that finds the kits' tools.
fn plugin(arguments: &[&str]) -> Command {
    let tools = checkout().join(".gesso/kits/bin");
    assert!(
        tools.join("componentize-py").exists(),
        "the tools are not here: `cargo xtask kits` fetches them"
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(tools).chain(std::env::split_paths(&path));
    let mut command = Command::new(env!("CARGO_BIN_EXE_gesso"));
    command.arg("plugin").args(arguments).env("PATH", std::env::join_paths(paths).unwrap());
    command
}

fn begin(home: &Path, name: &str, language: &str, world: &str) -> PathBuf {
    let folder = home.join(name);
    let place = folder.to_str().unwrap();
    let (code, _, errors) =
        run(plugin(&["new", name, "--lang", language, "--world", world, "--folder", place]));
    assert_eq!(code, 0, "{errors}");
    folder
}

#[track_caller]
fn tested(folder: &Path, options: &[&str]) -> (i32, String) {
    let (code, output, errors) = run(plugin(&[&["test", folder.to_str().unwrap()], options].concat()));
    (code, format!("{output}\n{errors}"))
}

/// They are run with those of a plugin, which has the kit; the cases of arguments are the same for every kit.
fn bring_tests_of_the_kit(folder: &Path, language: &str) {
    let sdk = checkout().join("sdk-plugin");
    let tests = std::fs::read_dir(sdk.join(language).join("tests")).unwrap().map(|test| test.unwrap().path());
    for from in tests.filter(|test| test.is_file()).chain([sdk.join("tests/arguments.json")]) {
        std::fs::copy(&from, folder.join(from.file_name().unwrap())).unwrap();
    }
}

/// Begins a plugin for each world and has it tried; the components, as `my-` and the world, go into the bench's plugins.
fn every_world_of(worlds: &[&str], language: &str) -> Bench {
    let home = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    for &world in worlds {
        let name = format!("my-{world}");
        let folder = begin(home.path(), &name, language, world);
        if world == "step-hook" {
            bring_tests_of_the_kit(&folder, language);
        }
        let (code, output) = tested(&folder, &[]);
        assert_eq!(code, 0, "{output}");
        assert!(world != "step-hook" || output.contains(" changed, "), "{output}");
        // What clients get wrong, and what a server refuses.
        let refuses = |case: &str, says: &str| {
            output.lines().any(|line| [case, "refused: ", says].iter().all(|part| line.contains(part)))
        };
        assert!(world != "step-hook" || refuses("odd arguments", "\"Share\" is "), "{output}");
        assert!(world != "script" || refuses("odd arguments", "\"Seeds\" is "), "{output}");
        assert!(world != "script" || refuses("drawings are refused", "no more is drawn"), "{output}");
        assert!(output.contains("  ok  ") && !output.contains("FAILED"), "{output}");
        let component = format!("{name}.wasm");
        std::fs::copy(folder.join(&component), bench.plugins.path().join(component)).unwrap();
    }
    bench
}

/// A server compiles a component in Python for many seconds; two tests below have some run in one.
#[test]
fn python_from_new_to_components_that_draw() {
    every_world_of(&DRAWS, "python");
}

#[test]
fn python_from_new_to_components_that_hear_of_events() {
    every_world_of(&EVENTS, "python");
}

#[test]
fn javascript_from_new_to_a_server_that_draws_with_it() {
    let bench = every_world_of(&DRAWS, "js");
    let server = bench.start();
    check_examples(&server, "my-http-extension", "posterize-js", "Several seeds");
}

#[test]
fn javascript_from_new_to_a_server_that_tells_it_of_events() {
    let bench = every_world_of(&EVENTS, "js");
    let server = bench.start();
    check_events(&server, "my-");
}

#[test]
fn plugins_in_python_and_javascript_keep_and_carry_what_is_theirs() {
    let home = tempfile::tempdir().unwrap();
    let grants =
        ["keeps-js", "keeps-python"].map(|id| format!("[grants.{id}]\nkv_bytes = 100\nblob_bytes = 100\n"));
    let bench = Bench::new().config(&grants.concat());
    let javascript = "export function handle(request, host) {\n\
        const text = (bytes) => String.fromCharCode(...bytes);\n\
        const count = host.kv.update('count', (old) => `${Number(old ? text(old) : 0) + 1}`);\n\
        host.blobs.put('last', request.path);\n\
        const part = text(host.blobs.read('last', 1, 2));\n\
        const names = [...host.kv.listKeys(), ...host.blobs.list()];\n\
        const page = text(host.assets.read('page.txt'));\n\
        const side = host.newPicture(2, 2).resize(3, 1).width;\n\
        let networks = null;\n\
        try { host.networks(); } catch (fault) { networks = fault.tag; }\n\
        const body = { count: Number(count), size: host.blobs.size('last'), part, names, page, side, networks };\n\
        return { body, headers: { 'X-Count': Number(count) } };\n}\n";
    let python = "import json\nfrom gesso_plugin import NotPermitted, Response\n\n\
        def handle(request, host):\n    \
            count = int(host.kv.update('count', lambda old: bytearray(str(int(old or b'0') + 1).encode())))\n    \
            host.blobs.put('last', bytearray(request.path.encode()))\n    \
            part = host.blobs.read('last', 1, 2).decode()\n    \
            names = host.kv.list_keys() + host.blobs.list()\n    \
            page = host.assets.read('page.txt').decode()\n    \
            side = host.new_picture(2, 2).resize(3, 1).width\n    \
            networks = None\n    \
            try: host.networks()\n    \
            except NotPermitted: networks = 'not-permitted'\n    \
            body = dict(count=count, size=host.blobs.size('last'), part=part, names=names, page=page)\n    \
            body |= dict(side=side, networks=networks)\n    \
            return Response(200, bytearray(json.dumps(body).encode()), headers={'X-Count': count})\n";
    for (language, file, source) in [("js", "plugin.js", javascript), ("python", "plugin.py", python)] {
        let name = format!("keeps-{language}");
        let folder = begin(home.path(), &name, language, "http-extension");
        std::fs::write(folder.join(file), source).unwrap();
        let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
        let wants = "\"wants\": {\"kv_bytes\": 100, \"blob_bytes\": 100}, \"worlds\"";
        std::fs::write(folder.join("manifest.json"), manifest.replace("\"worlds\"", wants)).unwrap();
        std::fs::create_dir(folder.join("assets")).unwrap();
        std::fs::write(folder.join("assets/page.txt"), "carried").unwrap();
        let (code, _, errors) = run(plugin(&["build", folder.to_str().unwrap()]));
        assert_eq!(code, 0, "{errors}");
        let component = format!("{name}.wasm");
        std::fs::copy(folder.join(&component), bench.plugins.path().join(component)).unwrap();
    }
    let server = bench.start();
    for name in ["keeps-js", "keeps-python"] {
        for count in [1, 2] {
            let answer = server.get(&format!("/ext/{name}/abc")).ok();
            let right = json!({"count": count, "size": 4, "part": "ab", "names": ["count", "last"], "page": "carried",
                "side": 3, "networks": "not-permitted"});
            assert_eq!(answer, right, "{name}");
        }
    }
}

#[test]
fn annotators_in_python_and_javascript_tell_what_they_found_beside_the_map() {
    let home = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    let javascript = "export function annotate(module, source) {\n\
        const pose = { people: [], canvas_width: source.width, canvas_height: source.height };\n\
        return { picture: source, data: { pose } };\n}\n";
    let python = "from gesso_plugin import Annotated\n\n\
        def annotate(module, source, mask, arguments, host):\n    \
            pose = dict(people=[], canvas_width=source.width, canvas_height=source.height)\n    \
            return Annotated(source, {'pose': pose})\n";
    for (language, file, source) in [("js", "plugin.js", javascript), ("python", "plugin.py", python)] {
        let name = format!("tells-{language}");
        let folder = begin(home.path(), &name, language, "annotator");
        std::fs::write(folder.join(file), source).unwrap();
        let (code, _, errors) = run(plugin(&["build", folder.to_str().unwrap()]));
        assert_eq!(code, 0, "{errors}");
        let component = format!("{name}.wasm");
        std::fs::copy(folder.join(&component), bench.plugins.path().join(component)).unwrap();
    }
    let server = bench.start();
    for language in ["js", "python"] {
        let module = format!("posterize-{language}");
        let detect = json!({"controlnet_module": module, "controlnet_input_images": [GREY]});
        let told = server.post("/controlnet/detect", &detect).ok();
        let right = json!([{"people": [], "canvas_width": 8, "canvas_height": 4}]);
        assert_eq!(told["poses"], right, "{language}: {told}");
    }
}

#[test]
fn rust_from_new_to_a_component_that_was_tried() {
    let home = tempfile::tempdir().unwrap();
    for (name, world, call) in [
        ("maps", "annotator", "posterize, a large picture"),
        ("tamed", "step-hook", "Guidance rescale, guided"),
        ("colours", "input-fetcher", "fetch, colour"),
    ] {
        let folder = begin(home.path(), name, "rust", world);
        if world == "step-hook" {
            // As `new` begins it outside of a checkout: with the SDK that the program carries.
            let (manifest, sdk) = (folder.join("Cargo.toml"), checkout().join("sdk-plugin"));
            let text = std::fs::read_to_string(&manifest).unwrap();
            let sdk = sdk.canonicalize().unwrap();
            let own = text.replace(sdk.to_str().unwrap(), ".kit/sdk-plugin");
            assert_ne!(own, text);
            std::fs::write(&manifest, own).unwrap();
        }
        let mut command = plugin(&["test", folder.to_str().unwrap()]);
        // Kept from run to run: the SDK is compiled for two targets.
        command.env("CARGO_TARGET_DIR", checkout().join("target/guests/new"));
        let (code, output, errors) = run(command);
        assert_eq!(code, 0, "{output}\n{errors}");
        assert!(output.contains(&format!("  ok      {call}")), "{output}");
        let component = folder.join(format!("{name}.wasm"));
        let (_, judged, _) = run(plugin(&["check", component.to_str().unwrap()]));
        let is_told = judged.contains(&format!("{name} 0.1.0: {world}"));
        assert!(is_told && judged.contains("without any grant"), "{judged}");
    }
}

#[test]
fn a_plugin_that_throws_says_where_in_its_log_and_fails_its_test() {
    let home = tempfile::tempdir().unwrap();
    let javascript = "export function run(title, params, [seeds]) {\n\
        if (seeds !== 4) missing.field;\n\
        return [];\n}\n";
    // What would not cross to the host is told like what is thrown.
    let halved = "export function onGrid(params, grid) {\n\
        return { ...grid, columns: grid.columns / 4 };\n}\n";
    // What a step hook asks of the host and does not have is told in the same place.
    let python = "def on_step(arguments, at, tensors, host):\n    \
            try: host.kv\n    \
            except Exception as why: print('half a line', end=''); raise ValueError(why)\n";
    let columns = "`columns` must be a whole number from 0 to 2147483647, not 0.5";
    for (language, world, file, source, case, says) in [
        ("js", "script", "plugin.js", javascript, "Several seeds, odd arguments", "run (/plugin.js"),
        ("js", "grid-hook", "plugin.js", halved, "grid, three pictures", columns),
        ("python", "step-hook", "plugin.py", python, "Guidance rescale, guided", "line 3, in on_step"),
    ] {
        let folder = begin(home.path(), &format!("broken-{world}"), language, world);
        std::fs::write(folder.join(file), source).unwrap();
        no_tests_of_its_own(&folder);
        let (code, output) = tested(&folder, &[]);
        assert_eq!(code, 1, "{output}");
        assert!(output.contains(&format!("FAILED  {case}")) && output.contains(says), "{output}");
        let goes_well = output.contains("  ok      Several seeds, text to image");
        assert!(world != "script" || goes_well, "what the script knows goes well: {output}");
        let is_told = ["this world keeps nothing", "half a line"].iter().all(|line| output.contains(line));
        assert!(world != "step-hook" || is_told, "{output}");
    }
}

/// In the place of those that `new` wrote, which are of another plugin; not every runner calls it a success to find none.
fn no_tests_of_its_own(folder: &Path) {
    if folder.join("plugin.js").exists() {
        std::fs::write(folder.join("plugin.test.js"), "").unwrap();
    } else {
        let test = "import unittest\nclass T(unittest.TestCase):\n    def test(self): pass\n";
        std::fs::write(folder.join("test_plugin.py"), test).unwrap();
    }
}

#[test]
fn a_step_hook_is_tried_at_each_of_its_points_and_told_apart_from_one_that_fails() {
    let home = tempfile::tempdir().unwrap();
    let folder = begin(home.path(), "steps", "js", "step-hook");
    no_tests_of_its_own(&folder);
    let manifest = folder.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let with = |change: &str| {
        let points = "\"points\": [\"latent\", \"predicted\", \"guided\"]";
        let text = text.replace("\"points\": [\"guided\"]", points);
        std::fs::write(&manifest, text.replace("\"steps\":", &format!("{change}\"steps\":"))).unwrap();
    };
    with("");
    let source = "export function onStep(settings, at, { latent, positive, guided }, host) {\n\
        if (at.point === 'latent') latent.draw(1);\n\
        if (at.point === 'predicted') positive.reduce('quantile', 'places', 2);\n\
        if (at.point === 'guided') guided.combineNumber('divide', 0);\n}\n";
    std::fs::write(folder.join("plugin.js"), source).unwrap();
    let (code, output) = tested(&folder, &[]);
    assert_eq!(code, 1, "{output}");
    let told = |output: &str, case: &str, says: &str| {
        output.lines().any(|line| line.contains(&format!("Guidance rescale, {case}")) && line.contains(says))
    };
    assert!(told(&output, "latent", " changed, "), "{output}");
    assert!(told(&output, "predicted", "share is 0 to 1"), "{output}");
    assert!(told(&output, "guided", "NaN or infinite"), "{output}");

    // Numbers are read where the manifest wants it, and what is written back as it was is no change.
    let source = "export function onStep(settings, at, { latent }) { latent.write(latent.read()); }\n";
    std::fs::write(folder.join("plugin.js"), source).unwrap();
    let (code, output) = tested(&folder, &[]);
    assert!(code == 1 && output.contains("read_tensors"), "{output}");
    with("\"wants\": {\"read_tensors\": true}, ");
    let (code, output) = tested(&folder, &[]);
    assert!(code == 0 && told(&output, "latent", " unchanged, "), "{output}");
}

#[test]
fn a_step_hook_that_wants_to_keep_something_is_not_built() {
    let home = tempfile::tempdir().unwrap();
    let folder = begin(home.path(), "keeps", "python", "step-hook");
    let manifest = folder.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let wants = "\"wants\": {\"kv_bytes\": 100}, \"worlds\":";
    std::fs::write(&manifest, text.replace("\"worlds\":", wants)).unwrap();
    let (code, _, errors) = run(plugin(&["build", folder.to_str().unwrap()]));
    assert!(code == 1 && errors.contains("every world but request-hook and step-hook"), "{errors}");
}

#[test]
fn pictures_are_compared_with_those_that_were_taken_as_right() {
    let home = tempfile::tempdir().unwrap();
    let folder = begin(home.path(), "maps", "js", "annotator");
    assert_eq!(tested(&folder, &["--bless"]).0, 0);
    let (code, output) = tested(&folder, &[]);
    assert!(code == 0 && output.contains("as before"), "{output}");
    let golden = folder.join("golden");
    let first = std::fs::read_dir(&golden).unwrap().next().unwrap().unwrap().path();
    let one_more = golden.join(first.file_name().unwrap().to_str().unwrap().replace("-0.png", "-1.png"));
    std::fs::copy(&first, &one_more).unwrap();
    let (code, output) = tested(&folder, &[]);
    assert!(code == 1 && output.contains("is one more"), "{output}");
    std::fs::remove_file(&one_more).unwrap();
    let source = folder.join("plugin.js");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(
        &source,
        text.replace("return source;", "source.writeRows(0, source.readRows(0, 1).fill(7)); return source;"),
    )
    .unwrap();
    std::fs::remove_file(folder.join("plugin.test.js")).unwrap();
    let (code, output) = tested(&folder, &[]);
    assert!(code == 1 && output.contains("another picture than"), "{output}");

    // One that refuses makes no picture, and there were some.
    std::fs::write(
        &source,
        "export function annotate(module, source, mask, args, host) { throw host.invalidInput('no maps today'); }\n",
    )
    .unwrap();
    let (code, output) = tested(&folder, &[]);
    let is_told =
        |line: &str| line.contains("FAILED") && line.contains("refused: no maps today: it made 0 pictures");
    assert!(code == 1 && output.lines().any(is_told), "{output}");
    assert_eq!(tested(&folder, &["--bless"]).0, 0);
    let (code, output) = tested(&folder, &[]);
    assert!(code == 0 && output.contains("refused: no maps today"), "{output}");
}

#[test]
fn a_request_hook_is_told_which_hooks_are_called_and_where_its_settings_stand() {
    let home = tempfile::tempdir().unwrap();
    let folder = begin(home.path(), "styles", "js", "request-hook");
    let (code, output) = tested(&folder, &[]);
    let hooks = "hooks that are called: before; left out by the manifest's `hooks`, and never called: after";
    assert!(code == 0 && output.contains(hooks), "{output}");
    let component = folder.join("styles.wasm");
    let (code, output, errors) = run(plugin(&["check", component.to_str().unwrap()]));
    assert!(code == 0 && output.contains(hooks), "{output} {errors}");

    let manifest = folder.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let with_need = text.replace(", \"default\": \"oil on canvas\"", "").replace(
        "\"additionalProperties\": false",
        "\"additionalProperties\": false, \"required\": [\"style\"]",
    );
    assert_ne!(with_need, text);
    std::fs::write(&manifest, with_need).unwrap();
    let (code, output) = tested(&folder, &[]);
    assert!(code == 1 && output.contains("settings.json, and without that file the defaults"), "{output}");
    std::fs::write(folder.join("settings.json"), r#"{"style": "ink"}"#).unwrap();
    let (code, output) = tested(&folder, &[]);
    assert_eq!(code, 0, "{output}");
}

#[test]
fn what_is_missing_or_wrong_is_one_sentence_with_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    let folder = begin(home.path(), "a-plugin", "python", "request-hook");
    let place = folder.to_str().unwrap();
    let (code, _, errors) = run({
        let mut command = plugin(&["build", place]);
        command.env("PATH", "/nowhere");
        command
    });
    assert!(code == 1 && errors.contains(".venv/bin/pip install componentize-py=="), "{errors}");
    // What is installed in the plugin's folder goes before what the terminal finds.
    let own = folder.join(".venv/bin/componentize-py");
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    std::fs::write(&own, "#!/bin/sh\nexit 3\n").unwrap();
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, _, errors) = run(plugin(&["build", place]));
    assert!(code == 1 && errors.contains(".venv/bin/componentize-py failed (exit status: 3)"), "{errors}");
    let (code, _, errors) = run(plugin(&["build", home.path().to_str().unwrap()]));
    assert!(code == 1 && errors.contains("`gesso plugin new` begins one"), "{errors}");
    let manifest = folder.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("0.1.0", "0.1")).unwrap();
    let (code, _, errors) = run(plugin(&["build", place]));
    assert!(code == 1 && errors.contains("manifest.json") && errors.contains("`version` is"), "{errors}");
}

#[test]
fn dev_puts_every_change_into_the_server() {
    let home = tempfile::tempdir().unwrap();
    let folder = begin(home.path(), "styles", "js", "request-hook");
    let bench = Bench::new();
    let server = bench.start();
    let data = bench.data.path().to_str().unwrap();
    let place = home.path().join("told");
    let file = std::fs::File::create(&place).unwrap();
    let mut watching = plugin(&["--url", &server.url, "--data", data, "dev", folder.to_str().unwrap()])
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let is_told = |what: &str| std::fs::read_to_string(&place).unwrap().contains(what);
    let prompt = || {
        let reply = server.post("/sdapi/v1/txt2img", &quick_with(json!({"prompt": "sea", "steps": 1}))).ok();
        let info: serde_json::Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        info["prompt"].as_str().unwrap().to_owned()
    };
    eventually("the plugin serves", || prompt() == "sea, oil on canvas");
    let source = folder.join("plugin.js");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, "this is no JavaScript").unwrap();
    eventually("the build has failed", || is_told("gesso: "));
    assert_eq!(prompt(), "sea, oil on canvas", "a build that failed took the plugin away");
    let changed = text.replace("oil on canvas", "ink on paper");
    let changed = changed.replace("return {", "host.log(`asked for ${params.prompt}`);\n  return {");
    std::fs::write(&source, changed).unwrap();
    eventually("the change serves", || prompt() == "sea, ink on paper");
    eventually("its log is shown", || is_told("asked for sea"));
    watching.kill().unwrap();
    watching.wait().unwrap();
}
