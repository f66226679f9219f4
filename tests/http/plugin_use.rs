//! Whom a plugin serves, as its admin says, in every kind of call; and which plugins a request leaves out.

use serde_json::{Value, json};

use super::accounts::{bearer, call, user};
use crate::support::{Bench, Picture, Reply, Server, component, decode, quick, quick_with};

/// Adds users and has every plugin serve only the first.
fn users(server: &Server, plugins: &[&str]) -> [String; 2] {
    let keys = ["ann", "bob"].map(|name| bearer(&user(server, name, "user")));
    for plugin in plugins {
        let serves = configure(server, plugin, json!({"serves": {"users": ["ann"]}})).ok();
        assert_eq!(serves["serves"], json!({"role": null, "users": ["ann"], "except": []}));
    }
    keys
}

const WATERMARK: &str = "[grants.watermark.settings]\ntext = \"gesso\"\n";

fn configure(server: &Server, plugin: &str, switches: Value) -> Reply {
    server.admin_json("PATCH", &format!("/plugins/{plugin}"), &switches.to_string())
}

fn asked(server: &Server, who: &str, method: &str, path: &str, body: &Value) -> Reply {
    call(server, method, path, &[("authorization", who)], body)
}

/// What hooks made of the prompt.
fn prompt(server: &Server, who: &str) -> String {
    let reply = asked(server, who, "POST", "/sdapi/v1/txt2img", &quick()).ok();
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    info["prompt"].as_str().unwrap().to_owned()
}

#[test]
fn hooks_see_the_requests_of_those_whom_their_plugin_serves() {
    let bench = Bench::new();
    let server = bench.start();
    let good = std::fs::read(component("guests", "good-v1")).unwrap();
    assert_eq!(server.admin("POST", "/plugins", good).status, 201);
    let [ann, bob] = users(&server, &["good"]);
    let olga = bearer(&user(&server, "olga", "operator"));
    let plain = quick()["prompt"].as_str().unwrap().to_owned();
    let is_seen = |who: &str| prompt(&server, who) != plain;
    assert!(is_seen(&ann) && !is_seen(&bob) && !is_seen(&olga));
    for (serves, seen) in [
        (json!({"role": "operator"}), [false, false, true]),
        (json!({"role": "operator", "users": ["bob"]}), [false, true, true]),
        (json!({"role": "user", "except": ["ann"]}), [false, true, true]),
        (json!({}), [true, true, true]),
    ] {
        configure(&server, "good", json!({"serves": serves})).ok();
        assert_eq!([&ann, &bob, &olga].map(|who| is_seen(who)), seen, "{serves}");
    }
    for (serves, says) in [
        (json!({"users": ["anne"]}), "serves.users: there is no user \"anne\""),
        (json!({"except": ["bobby"]}), "serves.except: there is no user \"bobby\""),
        (json!({"role": "boss"}), "unknown variant `boss`"),
        (json!({"names": []}), "unknown field `names`"),
    ] {
        let refused = configure(&server, "good", json!({"serves": serves}));
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(refused.status == 400 && message.contains(says), "{serves}: {message}");
    }
    // Arguments for a plugin that is not there for them are refused like those for none.
    configure(&server, "good", json!({"serves": {"users": ["ann"]}})).ok();
    let naming = |name: &str| quick_with(json!({"alwayson_scripts": {name: {"args": []}}}));
    let refused = |name: &str| asked(&server, &bob, "POST", "/txt2img", &naming(name)).json();
    assert_eq!(asked(&server, &ann, "POST", "/txt2img", &naming("good")).status, 200);
    assert_eq!(refused("good")["message"], "always on script good not found");
    assert_eq!(refused("nobody")["message"], "always on script nobody not found");
}

#[test]
fn what_serves_others_is_listed_and_answers_as_if_it_were_not_there() {
    let plugins = ["scripts", "preprocessors", "hello-api", "input-fetch"];
    let bench = plugins.into_iter().fold(Bench::new(), |bench, name| bench.plugin("plugins", name));
    let bench =
        bench.config("[grants.input-fetch]\nhosts = [\"http://127.0.0.1:9\"]\nprivate_addresses = true\n");
    let server = bench.start();
    let [ann, bob] = users(&server, &plugins);
    let get = |who: &str, path: &str| asked(&server, who, "GET", path, &Value::Null);
    for (path, of_bob) in [
        (
            "/sdapi/v1/scripts",
            json!({"txt2img": ["controlnet"], "img2img": ["controlnet", "soft inpainting"]}),
        ),
        ("/sdapi/v1/extensions", json!([])),
    ] {
        assert_eq!(get(&bob, path).ok(), of_bob, "{path}");
        assert_ne!(get(&ann, path).ok(), of_bob, "{path}");
    }
    // What is left are the engine's own.
    let infos = get(&bob, "/sdapi/v1/script-info").ok();
    let names: Vec<_> = infos.as_array().unwrap().iter().map(|info| info["name"].clone()).collect();
    assert_eq!(names, ["controlnet", "controlnet", "soft inpainting"]);
    assert_ne!(get(&ann, "/sdapi/v1/script-info").ok(), infos);
    let modules = get(&bob, "/controlnet/module_list").ok();
    assert_eq!(modules["module_list"], json!(["none", "reference_only"]));
    assert_ne!(get(&ann, "/controlnet/module_list").ok(), modules);
    let types = get(&bob, "/controlnet/control_types").ok();
    assert_eq!(types["control_types"]["All"]["module_list"], json!(["none", "reference_only"]));

    let post = |who: &str, path: &str, body: &Value| asked(&server, who, "POST", path, body);
    let scripted = |name: &str| quick_with(json!({"script_name": name, "prompt": "sea|night", "steps": 1}));
    assert_eq!(post(&ann, "/sdapi/v1/txt2img", &scripted("Prompt matrix")).status, 200);
    let (refused, unknown) = (
        post(&bob, "/sdapi/v1/txt2img", &scripted("Prompt matrix")),
        post(&bob, "/sdapi/v1/txt2img", &scripted("Nothing")),
    );
    assert_eq!((refused.status, unknown.status), (422, 422));
    assert_eq!(refused.json().to_string().replace("Prompt matrix", "Nothing"), unknown.json().to_string());

    let picture = super::drawing::png(64, 64, |x, _| [(x * 4) as u8, 90, 90]);
    let detect = |module: &str| json!({"controlnet_module": module, "controlnet_input_images": [picture]});
    assert_eq!(post(&ann, "/controlnet/detect", &detect("canny")).status, 200);
    let (refused, unknown) = (
        post(&bob, "/controlnet/detect", &detect("canny")),
        post(&bob, "/controlnet/detect", &detect("nothing")),
    );
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json().to_string().replace("canny", "nothing"), unknown.json().to_string());

    assert_eq!(get(&ann, "/ext/hello-api/api/hello").status, 200);
    let (refused, unknown) = (get(&bob, "/ext/hello-api/api/hello"), get(&bob, "/ext/nobody/api/hello"));
    assert_eq!((refused.status, unknown.status), (404, 404));
    assert_eq!(
        refused.json()["message"].as_str().unwrap().replace("hello-api", "nobody"),
        unknown.json()["message"].as_str().unwrap()
    );

    // Nobody listens there, so that the one who may ask is told otherwise.
    let named = json!({"image": "http://127.0.0.1:9/a.png"});
    let told = |who: &str| post(who, "/sdapi/v1/png-info", &named).json().to_string();
    assert!(told(&bob).contains("no active plugin fetches http: addresses"), "{}", told(&bob));
    assert!(!told(&ann).contains("no active plugin"), "{}", told(&ann));
}

/// The picture that a body draws, by the serverless route.
fn picture(server: &Server, body: &Value) -> Picture {
    decode(&server.picture(&server.post("/txt2img", body).ok()))
}

fn marked() -> Value {
    quick_with(json!({"width": 128, "height": 128}))
}

fn unmarked() -> Value {
    quick_with(json!({"width": 128, "height": 128, "plugins_off": ["Watermark"]}))
}

#[test]
fn a_request_leaves_out_what_the_admin_lets_it_and_nothing_else() {
    let bench = Bench::new().plugin("plugins", "watermark").config(WATERMARK);
    let server = bench.start();
    let with_mark = picture(&server, &marked());
    let problem = |names: Value| {
        let reply = server.post("/txt2img", &quick_with(json!({"plugins_off": names})));
        assert_eq!(reply.status, 400, "{}", reply.json());
        assert_eq!(reply.json()["errors"][0]["pointer"], "#/plugins_off");
        reply.json()["message"].as_str().unwrap().to_owned()
    };
    assert!(problem(json!(["watermark"])).contains("watermark may not be left out"));
    assert!(problem(json!("watermark")).contains("must be a list of strings"));
    let both = problem(json!(["watermark", "nobody"]));
    assert!(both.contains("may not be left out") && both.contains("there is no plugin \"nobody\""), "{both}");
    assert!(both.contains("those that may be left out are: none"), "{both}");
    assert!(problem(json!(vec!["nobody"; 101])).contains("names 101 plugins; send at most 100"));
    let of_web_uis = server.post("/sdapi/v1/txt2img", &unmarked());
    assert_eq!(of_web_uis.status, 422, "{}", of_web_uis.json());

    let status = configure(&server, "watermark", json!({"may_be_left_out": true})).ok();
    assert_eq!(status["may_be_left_out"], true);
    assert!(problem(json!(["nobody"])).contains("those that may be left out are: watermark"));
    let without = picture(&server, &unmarked());
    assert_ne!(without.data, with_mark.data);
    assert_eq!(picture(&server, &marked()).data, with_mark.data, "who says nothing has it");
    configure(&server, "watermark", json!({"enabled": false})).ok();
    assert_eq!(picture(&server, &marked()).data, without.data);
    // A plugin that the request leaves out is not there for its arguments either.
    configure(&server, "watermark", json!({"enabled": true})).ok();
    let mut named = unmarked();
    named["alwayson_scripts"] = json!({"watermark": {"args": {}}});
    assert_eq!(server.post("/txt2img", &named).json()["message"], "always on script watermark not found");

    let echo =
        |body: &Value| server.post("/sdapi/v1/txt2img", body).ok()["parameters"]["plugins_off"].clone();
    assert_eq!((echo(&unmarked()), echo(&marked())), (json!(["Watermark"]), Value::Null));
}

#[test]
fn what_a_request_leaves_out_is_kept_with_its_task_and_the_admins_last_word_counts() {
    let bench = Bench::new().plugin("plugins", "watermark").config(WATERMARK);
    let server = bench.start();
    let with_mark = picture(&server, &marked());
    configure(&server, "watermark", json!({"may_be_left_out": true})).ok();
    let without = picture(&server, &unmarked());
    assert_ne!(without.data, with_mark.data);
    server.post("/queue/pause", &json!({})).ok();
    let id = server.submit(&unmarked());
    server.kill();
    let server = bench.start();
    server.post("/queue/resume", &json!({})).ok();
    assert_eq!(decode(&server.picture(&server.result(&id))).data, without.data);

    server.post("/queue/pause", &json!({})).ok();
    let id = server.submit(&unmarked());
    configure(&server, "watermark", json!({"may_be_left_out": false})).ok();
    server.post("/queue/resume", &json!({})).ok();
    assert_eq!(decode(&server.picture(&server.result(&id))).data, with_mark.data);
}
