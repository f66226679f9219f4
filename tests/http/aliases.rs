//! Paths of the Python originals at which plugins answer, where an admin lets them: whose they are, who may ask, and what
//! comes back.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::accounts::{bearer, call, user};
use super::drawing::png;
use super::networks::models_with;
use crate::support::{Bench, Reply, Server, decode};

fn grant(server: &Server, plugin: &str, grants: Value) -> Reply {
    server.admin_json("PUT", &format!("/plugins/{plugin}/grants"), &grants.to_string())
}

#[test]
fn adetailers_own_paths_answer_once_they_are_granted() {
    let models = models_with(&[("adetailer", "red_places", "red_places")]);
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "adetailer");
    let server = bench.start();
    let status = || server.admin("GET", "/plugins/adetailer", Vec::new()).ok();
    assert_eq!(
        (&status()["wants"]["aliases"], &status()["aliases"]),
        (&json!(["/adetailer/v1"]), &json!([]))
    );
    let refused = server.get("/adetailer/v1/version");
    assert_eq!((refused.status, refused.json()), (404, json!({"detail": "Not Found"})));

    let granted = grant(&server, "adetailer", json!({"models": ["*"], "aliases": ["/adetailer/v1"]})).ok();
    assert_eq!(
        (&granted["aliases"], &granted["granted"]["aliases"]),
        (&json!(["/adetailer/v1"]), &json!(["/adetailer/v1"]))
    );
    for path in ["version", "schema", "ad_model"] {
        let own = server.get(&format!("/ext/adetailer/v1/{path}")).ok();
        assert_eq!(server.get(&format!("/adetailer/v1/{path}")).ok(), own, "{path}");
    }
    assert_eq!(server.get("/adetailer/v1/ad_model").ok(), json!({"ad_model": ["red_places"]}));
    // What lies beside an alias is nobody's.
    assert_eq!(server.get("/adetailer/v2/version").json(), json!({"detail": "Not Found"}));
    assert_eq!(server.get("/adetailer/v11").json(), json!({"detail": "Not Found"}));

    grant(&server, "adetailer", json!({"models": ["*"]})).ok();
    assert_eq!((status()["aliases"].clone(), server.get("/adetailer/v1/version").status), (json!([]), 404));
}

#[test]
fn an_alias_asks_for_the_same_credentials_and_counts_as_the_plugins_own_path() {
    let bench = Bench::new().plugin("plugins", "adetailer");
    let server = bench.start();
    grant(&server, "adetailer", json!({"aliases": ["/adetailer/v1"]})).ok();
    let ask = |who: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("authorization", who)];
        all.extend(headers);
        call(&server, "GET", "/adetailer/v1/version", &all, &Value::Null)
    };
    let [ann, rita] =
        [("ann", "user"), ("rita", "reader")].map(|(name, role)| bearer(&user(&server, name, role)));
    assert_eq!((ask("", &[]).status, ask(&rita, &[]).status, ask(&ann, &[]).status), (401, 403, 200));
    // It becomes a task like any other call of a plugin.
    let task = ask(&ann, &[("Task-Flag", "true")]);
    assert_eq!((task.status, task.json()), (200, ask(&ann, &[]).ok()));
    assert!(!task.header("taskid").is_empty(), "{:?}", task.headers);
    // For whom the plugin is not there, the path is nobody's.
    server
        .admin_json("PATCH", "/plugins/adetailer", &json!({"serves": {"except": ["ann"]}}).to_string())
        .ok();
    assert_eq!((ask(&ann, &[]).status, ask(&ann, &[]).json()), (404, json!({"detail": "Not Found"})));
    assert_eq!(ask("", &[]).status, 401);
}

#[test]
fn an_alias_that_is_not_wanted_or_not_free_is_refused_with_the_reason() {
    // Granted to a plugin that has no use for it, and to one that is after the server's own.
    let bench =
        Bench::new().plugin("plugins", "hello-api").plugin("plugins", "rembg").plugin("plugins", "art-text");
    let bench = bench.config(
        "[grants.hello-api]\naliases = [\"/rembg\"]\n[grants.art-text]\naliases = [\"/sdapi/v1/art\"]\n",
    );
    let server = bench.start();
    for (aliases, says) in [
        (json!(["/rembg"]), "the alias /rembg crosses /rembg, which is granted to the plugin hello-api"),
        (json!(["/sdapi/v1/txt2img"]), "wants no alias /sdapi/v1/txt2img; its manifest has /rembg"),
    ] {
        let refused = grant(&server, "rembg", json!({"aliases": aliases}));
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(refused.status == 400 && message.contains(says), "{message}");
    }
    let state = server.admin("GET", "/plugins/art-text", Vec::new()).ok()["state"].clone();
    assert_eq!(state["is"], "refused");
    let reason = state["reason"].as_str().unwrap();
    assert!(reason.contains("/sdapi/v1/art begins with /sdapi, which is the server's own"), "{reason}");
    grant(&server, "hello-api", json!({})).ok();
    assert_eq!(grant(&server, "rembg", json!({"aliases": ["/rembg"]})).ok()["aliases"], json!(["/rembg"]));
}

#[test]
fn rembg_takes_the_background_out_of_a_picture_that_is_sent() {
    let models = models_with(&[("networks", "redness", "u2net")]);
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "rembg");
    let bench = bench.config("[grants.rembg]\nmodels = [\"u2net*\"]\naliases = [\"/rembg\"]\n");
    let server = bench.start();
    assert_eq!(server.get("/rembg").ok(), json!({"models": ["u2net"]}));
    // Red on the right.
    let sent = png(64, 48, |x, y| if x >= 32 { [230, 20, y as u8] } else { [20, 60, 160] });
    let asked = |changes: Value| {
        let mut body =
            json!({"input_image": sent, "model": "u2net", "return_mask": false, "alpha_matting": false});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        server.post("/rembg", &body)
    };
    let made = |changes: Value| {
        let reply = asked(changes).ok();
        decode(&BASE64_STANDARD.decode(reply["image"].as_str().unwrap()).unwrap())
    };
    let (cut, mask) = (made(json!({})), made(json!({"return_mask": true})));
    let original = decode(&BASE64_STANDARD.decode(sent.split_once(',').unwrap().1).unwrap());
    assert_eq!((cut.width, cut.height, cut.data.len(), mask.data.len()), (64, 48, 64 * 48 * 4, 64 * 48));
    for (place, pixel) in cut.data.chunks(4).enumerate() {
        assert_eq!((&pixel[..3], pixel[3]), (&original.data[place * 3..][..3], mask.data[place]));
    }
    let (left, right) = (mask.data[24 * 64 + 8], mask.data[24 * 64 + 56]);
    assert!(left < 55 && right > 200, "{left} {right}");
    for (changes, says) in [
        (json!({"model": "isnet"}), "the networks here are: u2net"),
        (json!({"input_image": ""}), "input_image is missing"),
        (json!({"input_image": "aGVsbG8="}), "input_image: The bytes are not a PNG"),
        (json!({"alpha_matting": true}), "alpha_matting is not to be had here"),
    ] {
        let refused = asked(changes);
        let message = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(refused.status == 422 && message.contains(says), "{} {message}", refused.status);
    }
}
