//! What clients send to hurt, towards a plugin's HTTP API and beside it: it ends at the server, within bounds, and is no
//! failure of the plugin's.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Bench, Reply, Server, quick, request};

const HELLO: &str = "/ext/hello-api/api/hello";
const ECHO: &str = "/ext/hello-api/api/echo";

fn start() -> (Bench, Server) {
    let bench = Bench::new().config("[limits]\nbody_bytes_max = 1000000\n").plugin("plugins", "hello-api");
    let server = bench.start();
    (bench, server)
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// The status that this is answered with, where it is answered before the connection ends.
fn status(server: &Server, request: &[u8]) -> Option<u16> {
    let mut stream = connect(server);
    // It may have been answered, and the connection closed, before all of it is sent.
    let _ = stream.write_all(request);
    let mut line = [0; 12];
    if let Err(error) = stream.read_exact(&mut line) {
        let is_late = [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind());
        assert!(!is_late, "it was neither answered nor ended");
        return None;
    }
    std::str::from_utf8(&line).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

#[track_caller]
fn assert_unharmed(server: &Server) {
    assert_eq!(server.get(HELLO).status, 200);
    assert_eq!(server.admin("GET", "/plugins/hello-api", Vec::new()).ok()["failures"], json!(0));
}

#[test]
fn requests_that_are_too_large_or_none_end_at_the_server() {
    let (_bench, server) = start();
    let with = |fields: &str, body: &str| format!("POST {ECHO} HTTP/1.1\r\nhost: x\r\n{fields}\r\n{body}");
    let fields: String = (0..1000).map(|number| format!("x-{number}: x\r\n")).collect();
    for (what, request) in [
        ("an address of 1 MiB", format!("GET {HELLO}?{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(1 << 20))),
        ("a thousand fields", with(&fields, "")),
        ("a field of 1 MiB", with(&format!("x-long: {}\r\n", "x".repeat(1 << 20)), "")),
        ("two lengths", with("content-length: 2\r\ncontent-length: 3\r\n", "{}x")),
        ("a length below nothing", with("content-length: -1\r\n", "{}")),
        ("a chunk of no length", with("transfer-encoding: chunked\r\n", "none\r\n{}\r\n0\r\n\r\n")),
        ("a body that is too large", with("content-length: 1000001\r\n", &"x".repeat(1_000_001))),
        ("no HTTP", "\u{0}".repeat(1 << 16)),
    ] {
        let answered = status(&server, request.as_bytes());
        println!("{what}: {answered:?}");
        assert!(answered.is_none_or(|status| (400..500).contains(&status)), "{what}: {answered:?}");
        assert_unharmed(&server);
    }
    // The server may take or leave a host that is no text; the plugin does not fail by it.
    let request = [b"GET ", HELLO.as_bytes(), b" HTTP/1.1\r\nhost: \xff\r\n\r\n"].concat();
    let answered = status(&server, &request);
    assert!(answered.is_none_or(|status| status < 500), "{answered:?}");
    // Its body never comes.
    drop(connect(&server).write_all(with("content-length: 100\r\n", "{").as_bytes()));
    assert_unharmed(&server);
}

#[test]
fn who_asks_is_said_by_the_server_alone() {
    let bench = Bench::new().plugin("guests", "http-misbehaves");
    let server = bench.start();
    let path = "/ext/http-misbehaves/headers";
    let forged =
        [("x-gesso-user", "ann"), ("X-Gesso-Role", "admin"), ("x-gesso-role", "reader"), ("x-mark", "a")];
    let told = |reply: Reply| {
        let text = String::from_utf8(reply.body).unwrap();
        let fields = text.lines().filter(|line| line.starts_with("x-"));
        let mut fields: Vec<_> = fields.map(str::to_owned).collect();
        fields.sort();
        fields
    };
    assert_eq!(
        told(request("GET", &format!("{}{path}", server.url), &forged, Vec::new())),
        ["x-gesso-role: operator", "x-gesso-user: default", "x-mark: a"]
    );
    let admin = told(server.admin("GET", path, Vec::new()));
    assert_eq!(admin, ["x-gesso-role: admin", "x-gesso-user: admin"]);
}

#[test]
fn an_upload_without_end_is_cut_off() {
    // What the kernels on both sides hold, and the limit, many times over.
    const SENT_MAX: usize = 256 << 20;
    let (bench, server) = start();
    // What an admin uploads as a plugin has the same end.
    let key = std::fs::read_to_string(bench.data.path().join("admin-key")).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b'a'; 0x10000], b"\r\n"].concat();
    for path in [ECHO, "/txt2img", "/sdapi/v1/img2img", "/plugins"] {
        let mut stream = connect(&server);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n",
            key.trim()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut sent = 0;
        while sent < SENT_MAX && stream.write_all(&chunk).is_ok() {
            sent += chunk.len();
        }
        println!("{path}: {} KiB were taken", sent >> 10);
        assert!(sent < SENT_MAX, "{path}: the server went on reading");
        assert_unharmed(&server);
    }
}

#[test]
fn clients_that_drip_keep_nobody_waiting() {
    let (_bench, server) = start();
    let head = format!("POST {ECHO} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n");
    // Half of them in the middle of the fields, half in the middle of the body.
    let mut drips: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = connect(&server);
            let length = if number % 2 == 0 { head.len() } else { head.len() - 2 };
            stream.write_all(&head.as_bytes()[..length]).unwrap();
            stream
        })
        .collect();
    for _ in 0..10 {
        for drip in &mut drips {
            // The server may have cut it off by now, which is its right.
            drip.write_all(b"x").ok();
        }
        let started = Instant::now();
        assert_eq!(server.get(HELLO).status, 200);
        assert!(started.elapsed() < Duration::from_secs(3), "an answer took {:?}", started.elapsed());
    }
    assert_eq!(server.post("/txt2img", &quick()).ok()["status"], "succeeded");
    drop(drips);
    assert_unharmed(&server);
}
