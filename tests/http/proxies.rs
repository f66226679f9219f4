//! Proxies before the server: whom they are believed, and where clients behind them are led.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::accounts::{call, user};
use crate::support::{Bench, Server, quick, request};

/// More than one address has for one name, on a slow machine too, to which one or two have come back meanwhile.
const TRIES: usize = 14;

/// Says a wrong password, by way of a proxy.
fn guess(server: &Server, client: &str) -> u16 {
    let body = json!({"userName": "ann", "password": "a wrong password"});
    server.post_with("/login", &[("x-forwarded-for", client)], &body).status
}

/// Where the audit log says that the refused came from.
fn refused_from(server: &Server) -> BTreeSet<String> {
    let lines = server.admin_json("GET", "/audit", "").ok();
    let refused = lines.as_array().unwrap().iter().filter(|line| line["status"] == 401);
    refused.map(|line| line["from"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn who_guesses_behind_a_trusted_proxy_keeps_nobody_else_from_signing_in() {
    let bench = Bench::new().config("trusted_proxies = [\"192.0.2.0/24\", \"127.0.0.1\"]\n");
    let server = bench.start();
    user(&server, "ann", "user");
    // With addresses that the client made up, and another proxy on the way.
    let one = |place: usize| guess(&server, &format!("198.51.100.{place}, 203.0.113.9, 192.0.2.7"));
    let guesses: Vec<u16> = (0..TRIES).map(one).collect();
    assert_eq!(guesses.last(), Some(&429), "{guesses:?}");
    assert_eq!(guess(&server, "203.0.113.10"), 401);
    let wanted = ["203.0.113.9", "203.0.113.10"].map(str::to_owned);
    assert_eq!(refused_from(&server), BTreeSet::from(wanted));
}

#[test]
fn who_is_no_trusted_proxy_is_not_believed() {
    let bench = Bench::new().config("access = \"open\"\ntrusted_proxies = [\"192.0.2.0/24\"]\n");
    let server = bench.start();
    user(&server, "ann", "user");
    let guesses: Vec<u16> = (0..TRIES).map(|place| guess(&server, &format!("203.0.113.{place}"))).collect();
    assert_eq!(guesses.last(), Some(&429), "{guesses:?}");
    assert_eq!(refused_from(&server), BTreeSet::from(["127.0.0.1".to_owned()]));
    let said = [("host", "gesso.test"), ("x-forwarded-proto", "https"), ("x-forwarded-prefix", "/gesso")];
    assert_eq!(call(&server, "GET", "/", &said, &Value::Null).header("location"), "/docs");
    let drawn = server.post_with("/txt2img", &said, &quick());
    let url = drawn.ok()["ossUrl"][0].as_str().unwrap().to_owned();
    assert!(url.starts_with("http://gesso.test/files/"), "{url}");
}

#[test]
fn proxies_before_a_server_say_that_others_reach_it() {
    let bench = Bench::new().config("trusted_proxies = [\"127.0.0.1\"]\n");
    let server = bench.start();
    assert_eq!(server.get("/models").status, 401);
}

#[test]
fn below_the_path_of_a_proxy_clients_are_led_below_it() {
    let bench = Bench::new().config("access = \"open\"\ntrusted_proxies = [\"127.0.0.1\"]\n");
    let server = bench.start();
    let said = [("host", "gesso.test"), ("x-forwarded-proto", "https"), ("x-forwarded-prefix", "/gesso")];
    let get = |path: &str| request("GET", &format!("{}{path}", server.url), &said, Vec::new());
    for (path, to) in [
        ("/", "/gesso/docs"),
        ("/docs", "/gesso/docs/"),
        ("/sdapi/v1/samplers/?a=1", "/gesso/sdapi/v1/samplers?a=1"),
    ] {
        assert_eq!(get(path).header("location"), to, "{path}");
    }
    let drawn = server.post_with("/txt2img", &said, &quick());
    let body = drawn.ok();
    assert_eq!(drawn.header("location"), format!("/gesso/tasks/{}", body["taskId"].as_str().unwrap()));
    let url = body["ossUrl"][0].as_str().unwrap();
    assert!(url.starts_with("https://gesso.test/gesso/files/images/"), "{url}");
    // The page finds the document beside itself, and the document says where requests go.
    let script = get("/docs/swagger-initializer.js");
    assert!(String::from_utf8_lossy(&script.body).contains("\"../openapi.json\""));
    assert_eq!(get("/openapi.json").ok()["servers"], json!([{"url": "/gesso"}]));
    assert_eq!(server.get("/openapi.json").ok()["servers"], Value::Null);
}
