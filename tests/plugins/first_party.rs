//! What the plugins that come with Gesso do to a request, end to end.

use serde_json::{Value, json};

use crate::support::{Bench, Picture, checkout, decode, quick, quick_with, request};

const WATERMARK: &str = "[grants.watermark.settings]\ntext = \"gesso\"\n";

fn grant() -> String {
    let folder = checkout().join("examples/wildcards");
    format!("[grants.dynamic-prompts.folders]\nwildcards = \"{}\"\n", folder.display())
}

#[test]
fn dynamic_prompts_chooses_variants_and_wildcards_by_the_seed() {
    let bench = Bench::new().config(&grant()).plugin("plugins", "dynamic-prompts");
    let server = bench.start();
    let prompt_of = |seed: u32| {
        let body = quick_with(json!({"prompt": "a {red|blue} boat, __colors__", "seed": seed, "steps": 1}));
        let reply = server.post("/sdapi/v1/txt2img", &body).ok();
        let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        info["prompt"].as_str().unwrap().to_owned()
    };
    let first = prompt_of(1);
    assert!(first.starts_with("a red boat, ") || first.starts_with("a blue boat, "), "{first}");
    assert!(!first.contains("__"), "{first}");
    assert_eq!(prompt_of(1), first);
    assert!((2..12).any(|seed| prompt_of(seed) != first), "ten seeds chose the same words");
}

#[test]
fn dynamic_prompts_draws_each_picture_for_itself_or_every_combination() {
    let bench = Bench::new().config(&grant()).plugin("plugins", "dynamic-prompts");
    let bench = bench.plugin("plugins", "scripts");
    let server = bench.start();
    let info = |changes: Value| -> (Value, Value) {
        let mut body = json!({"prompt": "a {red|blue} boat, {sea|lake}", "seed": 3, "steps": 1});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let reply = server.post("/sdapi/v1/txt2img", &quick_with(body)).ok();
        let info = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        (reply, info)
    };
    let args = |args: Value| json!({"alwayson_scripts": {"Dynamic Prompts": {"args": args}}});
    let (reply, all) = info(args(json!([true, true, 1])));
    let every = json!(["a red boat, sea", "a red boat, lake", "a blue boat, sea", "a blue boat, lake"]);
    assert_eq!((&all["all_prompts"], &all["all_seeds"]), (&every, &json!([3, 4, 5, 6])));
    assert_eq!(reply["images"].as_array().unwrap().len(), 4);
    let (_, batch) = info(json!({"n_iter": 8}));
    let prompts: std::collections::BTreeSet<_> =
        batch["all_prompts"].as_array().unwrap().iter().map(|prompt| prompt.as_str().unwrap()).collect();
    assert!(prompts.len() > 1, "{prompts:?}");
    // As the extension's clients name it, with its version.
    let fixed = json!({"batch_size": 2, "alwayson_scripts": {"Dynamic Prompts v2.17.1": {"args": {"fixed_seed": true}}}});
    assert_eq!(info(fixed).1["all_seeds"], json!([3, 3]));
    // A script changes the prompt that it is given.
    let (_, script) = info(json!({"n_iter": 2, "script_name": "Prompts from file or textbox",
        "script_args": [false, false, "start", "hill\nwood"]}));
    assert!(
        script["all_prompts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|prompt| prompt.as_str().unwrap().contains("wood"))
    );
    let refused = server.post("/txt2img", &quick_with(args(json!({"jinja": true}))));
    assert!(refused.json()["message"].as_str().unwrap().contains("jinja is not there"), "{}", refused.json());
}

#[test]
fn clients_find_what_hooks_take_in_script_info() {
    let bench = Bench::new().config(&grant()).plugin("plugins", "dynamic-prompts");
    let bench = bench.plugin("plugins", "adetailer").plugin("plugins", "watermark");
    let server = bench.start();
    let infos = server.get("/sdapi/v1/script-info").ok();
    for is_img2img in [false, true] {
        let of = |name: &str| {
            let mut entries = infos.as_array().unwrap().iter();
            entries.find(|entry| entry["name"] == name && entry["is_img2img"] == is_img2img).unwrap()
        };
        let prompts = of("dynamic prompts");
        assert_eq!(
            (&prompts["is_alwayson"], &prompts["args"][1]["label"]),
            (&json!(true), &json!("combinatorial"))
        );
        let batches = &prompts["args"][2];
        assert_eq!(
            (&batches["value"], &batches["minimum"], &batches["step"]),
            (&json!(1), &json!(1.0), &json!(1.0))
        );
        assert_eq!(of("adetailer")["args"][0]["label"], "Enable ADetailer");
        assert_eq!(of("watermark")["args"], json!([]));
    }
}

#[test]
fn block_weights_of_loras_have_names() {
    let bench = Bench::new().plugin("plugins", "lora-block-weight");
    let server = bench.start();
    let prompt = |args: Value| {
        let body = quick_with(json!({"prompt": "sea <lora:none:1:MINE>", "steps": 1,
            "alwayson_scripts": {"LoRA Block Weight": {"args": args}}}));
        let reply = server.post("/sdapi/v1/txt2img", &body).ok();
        let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        info["prompt"].as_str().unwrap().to_owned()
    };
    let mine = ["1"; 17].join(",");
    assert_eq!(prompt(json!([format!("MINE:{mine}")])), format!("sea <lora:none:1:lbw={mine}>"));
    // The extension's clients send what its plot takes, too.
    assert_eq!(prompt(json!(["", false, 1, "", "None", "", "", false])), "sea <lora:none:1>");
    let body = quick_with(json!({"alwayson_scripts": {"lora-block-weight": {"args": {"presets": "MINE"}}}}));
    let reply = server.post("/txt2img", &body);
    assert!(
        reply.status == 400 && reply.json()["message"].as_str().unwrap().contains("is no preset"),
        "{}",
        reply.json()
    );
}

#[test]
fn infotext_rules_say_what_of_a_clients_text_counts() {
    let rules = "[grants.infotext-rules.settings]\nskip = [\"Clip skip\"]\n\
                 [grants.infotext-rules.settings.values]\nSampler = { \"Nonesuch\" = \"Heun\" }\n\
                 [grants.infotext-rules.settings.networks]\nold = \"new\"\n";
    let text =
        "a cat <lora:old:0.5>\nSteps: 2, Sampler: Nonesuch, CFG scale: 5, Seed: 5, Size: 64x64, Clip skip: 3";
    let bench = |config: &str| {
        let bench = Bench::new().config(config).plugin("plugins", "infotext-rules");
        bench.plugin("plugins", "scripts")
    };
    let ruled = bench(rules);
    let server = ruled.start();
    let drawn = |body: Value| {
        let reply = server.post("/sdapi/v1/txt2img", &body).ok();
        let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        (reply, info)
    };
    let (reply, info) = drawn(json!({ "infotext": text }));
    assert_eq!(
        (&info["prompt"], &info["sampler_name"], &info["clip_skip"], &info["seed"]),
        (&json!("a cat <lora:new:0.5>"), &json!("Heun"), &json!(1), &json!(5))
    );
    assert_eq!(reply["parameters"]["infotext"], text);
    // What a script has drawn is filled as the request is.
    let (_, info) = drawn(json!({"infotext": text, "script_name": "Prompts from file or textbox",
        "script_args": [false, false, "start", "sea"]}));
    assert_eq!((&info["clip_skip"], &info["sampler_name"]), (&json!(1), &json!("Heun")));
    // Nor is what is passed over told of a picture as if its text did not say it.
    let skipping = json!({"override_settings": {"CLIP_stop_at_last_layers": 3}});
    let (reply, _) = drawn(quick_with(skipping));
    let told = server.post("/sdapi/v1/png-info", &json!({"image": reply["images"][0]})).ok();
    assert!(told["info"].as_str().unwrap().contains("Clip skip: 3"), "{told}");
    let told = &told["parameters"];
    assert_eq!((&told["Clip skip"], &told["VAE Encoder"]), (&Value::Null, &json!("Full")), "{told}");
    let unruled = bench("");
    let without = unruled.start().post("/sdapi/v1/txt2img", &json!({ "infotext": text }));
    assert!(without.status == 422 && without.json().to_string().contains("Nonesuch"), "{}", without.json());
}

#[test]
fn an_unknown_wildcard_is_a_clear_failure_of_that_request_only() {
    let bench = Bench::new().config(&grant()).plugin("plugins", "dynamic-prompts");
    let server = bench.start();
    let reply = server.post("/txt2img", &quick_with(json!({"prompt": "a __colorz__ boat"})));
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!(reply.status >= 400 && message.contains("colorz") && message.contains("colors"), "{message}");
    assert_eq!(server.post("/txt2img", &quick()).ok()["status"], "succeeded");
}

#[test]
fn without_its_grant_dynamic_prompts_is_refused_and_says_what_it_needs() {
    let bench = Bench::new().plugin("plugins", "dynamic-prompts");
    let server = bench.start();
    let status = server.admin("GET", "/plugins/dynamic-prompts", Vec::new()).ok();
    assert_eq!(status["state"]["is"], "refused", "{status}");
    assert!(status["state"]["reason"].as_str().unwrap().contains("folder"), "{status}");
    let folder = checkout().join("examples/wildcards");
    let grants = json!({"folders": {"wildcards": folder}}).to_string().into_bytes();
    let status = server.admin("PUT", "/plugins/dynamic-prompts/grants", grants).ok();
    assert_eq!(status["state"]["is"], "active", "{status}");
}

#[test]
fn watermark_changes_some_pixels_and_leaves_the_rest() {
    let plain = Bench::new();
    let plain = plain.start();
    let body = quick_with(json!({"width": 128, "height": 128}));
    let before = decode(&plain.picture(&plain.post("/txt2img", &body).ok()));
    let silent = Bench::new().plugin("plugins", "watermark");
    let silent = silent.start();
    let unmarked = decode(&silent.picture(&silent.post("/txt2img", &body).ok()));
    assert_eq!(unmarked.data, before.data, "without a text there is nothing to draw");
    let bench = Bench::new().plugin("plugins", "watermark").config(WATERMARK);
    let server = bench.start();
    let after = decode(&server.picture(&server.post("/txt2img", &body).ok()));
    assert_eq!((before.width, before.height), (after.width, after.height));
    let changed = before.data.iter().zip(&after.data).filter(|(a, b)| a != b).count();
    assert!(
        changed > 20 && changed < before.data.len() / 2,
        "{changed} of {} values changed",
        before.data.len()
    );
}

/// The largest difference of a level.
fn farthest(one: &Picture, other: &Picture) -> u8 {
    one.data.iter().zip(&other.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn dynamic_thresholding_gives_a_high_scale_the_reach_of_a_lower_one() {
    const TITLE: &str = "Dynamic Thresholding (CFG Scale Fix)";
    let bench = Bench::new().plugin("plugins", "dynamic-thresholding");
    let server = bench.start();
    let body = |scale: f64, args: Value| {
        let scripts = if args.is_null() { json!({}) } else { json!({TITLE: {"args": args}}) };
        quick_with(json!({"cfg_scale": scale, "steps": 6, "alwayson_scripts": scripts}))
    };
    let drawn = |scale, args| decode(&server.picture(&server.post("/txt2img", &body(scale, args)).ok()));
    let (high, low) = (drawn(14.0, Value::Null), drawn(3.0, Value::Null));

    // What changes nothing: switched off, none of its outcome taken, or the reach that is there already.
    let off = drawn(14.0, json!([false]));
    assert_eq!(off.data, high.data);
    assert!(!off.infotext.contains("Dynamic Thresholding"), "{}", off.infotext);
    assert_eq!(drawn(14.0, json!({"interpolate_phi": 0})).data, high.data);
    let same = drawn(14.0, json!({"mimic_scale": 14}));
    assert!(farthest(&same, &high) <= 2, "{}", farthest(&same, &high));

    let fixed = drawn(14.0, json!([true, 3, 0.99, "Constant", 0, "Constant", 0, 1, true, "MEAN", "STD", 1]));
    let apart = [farthest(&fixed, &high), farthest(&fixed, &low)];
    assert!(
        apart.iter().all(|levels| *levels > 8),
        "{apart:?}: neither the one scale's picture nor the other's"
    );
    assert!(fixed.infotext.contains("Dynamic Thresholding: "), "{}", fixed.infotext);
    let whole = drawn(14.0, json!({"mimic_scale": 3}));
    let clamped = drawn(14.0, json!({"mimic_scale": 3, "threshold_percentile": 0.8}));
    assert!(farthest(&whole, &high) > 8 && farthest(&clamped, &whole) > 2);
    // By less guidance from step to step as well.
    let falling = drawn(14.0, json!({"cfg_mode": "Cosine Down", "cfg_scale_min": 1}));
    assert_ne!(falling.data, drawn(14.0, json!([])).data);

    let titles = server.get("/sdapi/v1/scripts").ok();
    assert!(titles["txt2img"].as_array().unwrap().contains(&json!(TITLE.to_lowercase())), "{titles}");
    let wrong = server.post("/sdapi/v1/txt2img", &body(14.0, json!({"mimic_mode": "Sawtooth"})));
    let says = wrong.json().to_string();
    assert!(wrong.status == 422 && says.contains("mimic_mode") && says.contains("Linear Down"), "{says}");
}

#[test]
fn hello_api_serves_a_page_and_json_under_its_prefix() {
    let bench = Bench::new().plugin("plugins", "hello-api");
    let server = bench.start();
    let page = server.get("/ext/hello-api/");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    assert!(page.header("content-security-policy").starts_with("sandbox allow-scripts "));
    // As a task it is the same page, whenever it is asked for again.
    let url = format!("{}/ext/hello-api/", server.url);
    let as_task = [("task-flag", "true"), ("idempotency-key", "the-page")];
    for replayed in ["", "true"] {
        let again = request("GET", &url, &as_task, Vec::new());
        assert_eq!((again.header("idempotent-replayed"), &again.body), (replayed, &page.body));
        for name in ["content-type", "content-security-policy"] {
            assert_eq!(again.header(name), page.header(name), "{name}");
        }
    }
    let reply = server.get("/ext/hello-api/api/hello?name=Gesso").ok();
    assert!(reply.to_string().contains("Gesso"), "{reply}");
    let echo = server.post("/ext/hello-api/api/echo", &json!({"a": 1})).ok();
    assert!(echo.to_string().contains("\"a\":1"), "{echo}");
    assert_eq!(server.get("/ext/hello-api/nothing").status, 404);
    assert_eq!(server.get("/ext/nobody/").status, 404);
    let url = format!("{}/ext/hello-api/api/hello", server.url);
    assert_eq!(request("DELETE", &url, &[], Vec::new()).status, 405);
    let granted = server.admin_json("PUT", "/plugins/hello-api/grants", r#"{"own_origin": true}"#).ok();
    assert_eq!(granted["granted"]["own_origin"], true);
    assert_eq!(server.get("/ext/hello-api/").header("content-security-policy"), "");
}
