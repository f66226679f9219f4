//! Pictures that a request names instead of carrying: by an address that a plugin fetches, by the path of an earlier result.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::drawing::{draw, png, striped};
use crate::support::{Bench, quick, quick_with};

/// A little web server on this machine.
struct Site {
    address: String,
    asked: Arc<AtomicUsize>,
}

/// Answers `/picture.png`, redirects `/to?<place>`, streams `/endless`, and has nothing else.
fn site(picture: Vec<u8>) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (head, body) = match path.split_once('?') {
                Some(("/to", place)) => (format!("302 Found\r\nlocation: {place}"), Vec::new()),
                _ if path == "/picture.png" => ("200 OK".to_owned(), picture.clone()),
                _ if path == "/endless" => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                    while stream.write_all(&[0; 65536]).is_ok() {}
                    continue;
                }
                _ => ("404 Not Found".to_owned(), Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    Site { address, asked }
}

fn stripes() -> (String, Vec<u8>) {
    let uri = striped(64, 64);
    let bytes = BASE64_STANDARD.decode(uri.split(',').nth(1).unwrap()).unwrap();
    (uri, bytes)
}

#[test]
fn an_address_draws_what_the_picture_itself_draws() {
    let (carried, bytes) = stripes();
    let site = site(bytes);
    let grants = format!("[grants.input-fetch]\nhosts = [\"{}\"]\n", site.address);
    let bench = Bench::new().plugin("plugins", "input-fetch").config(&grants);
    let server = bench.start();
    let wanted = draw(
        &server,
        "img2img",
        json!({"init_images": [carried], "mask": carried, "denoising_strength": 0.6}),
    )
    .0;
    let picture = format!("{}/picture.png", site.address);
    let redirect = format!("{}/to?/picture.png", site.address);
    let named = json!({"init_images": [picture], "mask": redirect, "denoising_strength": 0.6, "include_init_images": true});
    let (got, reply) = draw(&server, "img2img", named);
    assert!(got.data == wanted.data, "the address drew another picture");
    assert_eq!(reply["parameters"]["init_images"], json!([picture]), "the echo is what was said");
    assert_eq!(site.asked.load(Ordering::Relaxed), 3);
}

#[test]
fn the_picture_of_a_controlnet_unit_may_be_an_address_or_a_path_too() {
    let (carried, bytes) = stripes();
    let site = site(bytes);
    let grants = format!("[grants.input-fetch]\nhosts = [\"{}\"]\n", site.address);
    let bench = Bench::new().plugin("plugins", "input-fetch").config(&grants);
    let server = bench.start();
    let after = |image: &str| {
        let unit = json!({"module": "reference_only", "image": image});
        draw(&server, "txt2img", json!({"alwayson_scripts": {"controlnet": {"args": [unit]}}})).0.data
    };
    let wanted = after(&carried);
    let address = format!("{}/picture.png", site.address);
    assert!(after(&address) == wanted, "the address drew another picture");
    assert_eq!(site.asked.load(Ordering::Relaxed), 1);
    let made = server.post("/txt2img", &quick()).ok();
    let by_path = after(&format!("images/default/{}_1.png", made["taskId"].as_str().unwrap()));
    assert!(
        by_path == after(&BASE64_STANDARD.encode(server.picture(&made))),
        "the path drew another picture"
    );
    assert!(by_path != wanted, "the unit's picture changed nothing");
}

#[test]
fn what_may_not_be_fetched_is_refused_and_never_asked() {
    let (_, bytes) = stripes();
    let (granted, inside) = (site(bytes.clone()), site(bytes));
    let grants = format!("[grants.input-fetch]\nhosts = [\"{}\", \"https://*\"]\n", granted.address);
    let bench = Bench::new().plugin("plugins", "input-fetch").config(&grants);
    let server = bench.start();
    let refused = |address: &str, says: &str| {
        let reply = server.post("/sdapi/v1/img2img", &quick_with(json!({"init_images": [address]})));
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(
            reply.status == 422 && text.contains("init_images") && text.contains(says),
            "{} {text}",
            reply.status
        );
    };
    let inside_address = format!("{}/picture.png", inside.address);
    refused(&inside_address, "does not fetch from");
    refused(&format!("{}/to?{inside_address}", granted.address), "does not fetch from");
    refused(&inside_address.replace("http:", "https:"), "does not fetch from");
    refused("https://localhost/x.png", "does not fetch from");
    refused("https://169.254.169.254/latest/meta-data", "does not fetch from");
    refused(&format!("{}/none.png", granted.address), "404 Not Found");
    refused(
        &format!("{0}/to?{0}/to?{0}/to?/to?/to?/to?/to?/to?/to?/picture.png", granted.address),
        "redirects more than",
    );
    refused(&format!("{}/endless", granted.address), "larger than");
    refused("gopher://x", "no active plugin fetches gopher");
    assert_eq!(inside.asked.load(Ordering::Relaxed), 0, "a place that was not granted was asked");
}

#[test]
fn nothing_is_fetched_until_an_admin_grants_hosts() {
    let (_, bytes) = stripes();
    let site = site(bytes);
    let bench = Bench::new().plugin("plugins", "input-fetch");
    let server = bench.start();
    let listed = server.admin("GET", "/plugins/input-fetch", Vec::new()).ok();
    assert!(listed["state"]["reason"].as_str().unwrap().contains("hosts `https://*`"), "{listed}");
    let body = quick_with(json!({"init_images": [format!("{}/picture.png", site.address)]}));
    let reply = server.post("/sdapi/v1/img2img", &body);
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(
        reply.status == 422 && text.contains("grant hosts to the plugin input-fetch"),
        "{} {text}",
        reply.status
    );

    let grant = |hosts: Value| {
        server.admin("PUT", "/plugins/input-fetch/grants", json!({ "hosts": hosts }).to_string().into_bytes())
    };
    let wrong = grant(json!(["ftp://x"]));
    assert!(
        wrong.status == 400 && wrong.json()["message"].as_str().unwrap().contains("neither http nor https")
    );
    grant(json!([site.address])).ok();
    server.post("/sdapi/v1/img2img", &body).ok();
}

#[test]
fn a_plugin_reaches_no_host_through_a_request() {
    let (_, bytes) = stripes();
    let site = site(bytes);
    let grants = format!("[grants.input-fetch]\nhosts = [\"{}\"]\n", site.address);
    let bench =
        Bench::new().plugin("plugins", "input-fetch").plugin("guests", "names-picture").config(&grants);
    let server = bench.start();
    let reply = server
        .post("/sdapi/v1/txt2img", &quick_with(json!({"prompt": format!("{}/picture.png", site.address)})));
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(reply.status == 422 && text.contains("which only a client may"), "{} {text}", reply.status);
    assert_eq!(site.asked.load(Ordering::Relaxed), 0, "the plugin had a host asked");
}

#[test]
fn pictures_are_no_larger_together_than_a_request_may_be() {
    let noise =
        png(128, 128, |x, y| [x * 31 + y * 17, x * y, x ^ (y * 5)].map(|level| ((level * 167) >> 3) as u8));
    let bytes = BASE64_STANDARD.decode(noise.split(',').nth(1).unwrap()).unwrap();
    let length = bytes.len();
    let site = site(bytes);
    let settings = format!(
        "[limits]\nbody_bytes_max = {}\n[grants.input-fetch]\nhosts = [\"{}\"]\n",
        3 * length,
        site.address
    );
    let bench = Bench::new().plugin("plugins", "input-fetch").config(&settings);
    let server = bench.start();
    let picture = format!("{}/picture.png", site.address);
    let send = |images: Value| {
        server.post("/sdapi/v1/img2img", &quick_with(json!({"init_images": images, "batch_size": 3})))
    };
    send(json!([picture, picture])).ok();
    assert_eq!(site.asked.load(Ordering::Relaxed), 1, "the same address is asked once");
    let images = json!([picture, format!("{picture}#2"), picture]);
    let reply = send(images);
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(reply.status == 422 && text.contains("limits.body_bytes_max"), "{} {text}", reply.status);
}

#[test]
fn the_path_of_an_earlier_result_is_a_picture_too() {
    let bench = Bench::new();
    let server = bench.start();
    let made = server.post("/txt2img", &quick()).ok();
    let path = format!("images/default/{}_1.png", made["taskId"].as_str().unwrap());
    let bytes = server.picture(&made);
    let carried = draw(&server, "img2img", json!({"init_images": [BASE64_STANDARD.encode(bytes)]})).0;
    let named = draw(&server, "img2img", json!({"init_images": [path]})).0;
    assert!(named.data == carried.data, "the path drew another picture");
    for nobodys in [path.replace("images/default", "images/other"), path.replace("_1.", "_7.")] {
        let reply = server.post("/sdapi/v1/img2img", &quick_with(json!({"init_images": [nobodys]})));
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(reply.status == 422 && text.contains("there is no picture"), "{} {text}", reply.status);
    }
}
