//! Tasks as such: listing, repeats, deadlines, another try, events as they happen, and telling a webhook.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use super::drawing::striped;
use crate::support::{Bench, Reply, Server, decode, eventually, quick, quick_with, request};

fn long() -> Value {
    quick_with(json!({"steps": 150, "width": 256, "height": 256}))
}

/// Something that keeps a server with one slot busy; its id.
fn occupy(server: &Server) -> String {
    let id = server.submit(&long());
    eventually("the task runs", || server.get(&format!("/tasks/{id}")).ok()["status"] == "running");
    id
}

fn cancel(server: &Server, id: &str) {
    server.post(&format!("/tasks/{id}/cancellation"), &Value::Null).ok();
}

fn submit_with(server: &Server, headers: &[(&str, &str)], body: &Value) -> Reply {
    let mut all = vec![("Request-Type", "async")];
    all.extend(headers);
    server.post_with("/txt2img", &all, body)
}

#[test]
fn clients_may_wait_as_long_as_they_like_and_are_told_where_to_ask() {
    let bench = Bench::new();
    let server = bench.start();
    let reply = server.post_with("/txt2img", &[("Prefer", "respond-async")], &quick());
    assert_eq!(reply.status, 202);
    let body = reply.json();
    let id = body["taskId"].as_str().unwrap();
    assert_eq!(reply.header("location"), format!("/tasks/{id}"));
    assert_eq!(body["links"]["events"], format!("/tasks/{id}/events"));
    assert_eq!(server.result(id)["status"], "succeeded");

    let reply = server.post_with("/txt2img", &[("Prefer", "wait=1")], &long());
    assert_eq!(reply.status, 202);
    let id = reply.json()["taskId"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/tasks/{id}")).ok()["status"], "running", "waiting less kills nothing");
    cancel(&server, &id);
    let reply = server.post_with("/txt2img", &[("Prefer", "wait=60")], &quick());
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("succeeded")));
}

#[test]
fn the_same_key_and_body_are_the_same_task_whatever_becomes_of_the_server() {
    let bench = Bench::new();
    let server = bench.start();
    let key = [("Idempotency-Key", "order-4711")];
    let first = server.post_with("/txt2img", &key, &quick());
    let id = first.ok()["taskId"].as_str().unwrap().to_owned();
    assert_eq!(first.header("idempotent-replayed"), "");
    server.kill();
    let server = bench.start();
    let again = server.post_with("/txt2img", &key, &quick());
    assert_eq!(
        (again.ok()["taskId"].as_str().unwrap(), again.header("idempotent-replayed")),
        (id.as_str(), "true")
    );
    assert_eq!(again.json()["status"], "succeeded");
    let other = server.post_with("/txt2img", &key, &quick_with(json!({"seed": 2})));
    assert_eq!((other.status, &other.json()["code"]), (422, &json!("unprocessable")));
    assert_eq!(server.get("/tasks").ok()["tasks"].as_array().unwrap().len(), 1);
    // Many at once are one too.
    std::thread::scope(|scope| {
        let send = || server.post_with("/txt2img", &[("Idempotency-Key", "order-4712")], &quick()).ok();
        let replies: Vec<_> = (0..6).map(|_| scope.spawn(send)).collect();
        let ids: std::collections::HashSet<_> =
            replies.into_iter().map(|reply| reply.join().unwrap()["taskId"].to_string()).collect();
        assert_eq!(ids.len(), 1);
        // And of several bodies one has the key.
        let send = |seed: u64| {
            let body = quick_with(json!({"seed": seed}));
            server.post_with("/txt2img", &[("Idempotency-Key", "order-4713")], &body).status
        };
        let replies: Vec<_> = (0..4).map(|seed| scope.spawn(move || send(seed))).collect();
        let mut statuses: Vec<_> = replies.into_iter().map(|reply| reply.join().unwrap()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 422, 422, 422]);
    });
}

#[test]
fn tasks_are_listed_in_pages_by_state_user_and_model() {
    let bench = Bench::new();
    let server = bench.start();
    let ids: Vec<_> = (0..5)
        .map(|_| {
            server.post("/txt2img", &quick_with(json!({"steps": 1}))).ok()["taskId"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let list = |query: &str| server.get(&format!("/tasks?{query}")).ok();
    let named = |page: &Value| -> Vec<String> {
        page["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["taskId"].as_str().unwrap().to_owned())
            .collect()
    };
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("limit=2{cursor}"));
        seen.extend(named(&page));
        if page["next"].is_null() {
            break;
        }
        cursor = format!("&cursor={}", page["next"]);
    }
    assert_eq!(seen, ids.iter().rev().cloned().collect::<Vec<_>>());
    let model = list("limit=1")["tasks"][0]["model"].as_str().unwrap().to_owned();
    assert_eq!(named(&list(&format!("model={model}&state=succeeded&user=default"))).len(), 5);
    for nothing in ["state=failed", "user=ann", "model=other"] {
        assert_eq!(named(&list(nothing)), Vec::<String>::new(), "{nothing}");
    }
    for wrong in
        ["state=done", "limit=0", "limit=1001", "limit=many", "cursor=-1", "cursor=18446744073709551616"]
    {
        let reply = server.get(&format!("/tasks?{wrong}"));
        let pointer = format!("#/{}", wrong.split('=').next().unwrap());
        assert_eq!((reply.status, &reply.json()["errors"][0]["pointer"]), (400, &json!(pointer)), "{wrong}");
    }
    // What the document allows, to the last number.
    assert_eq!(named(&list("cursor=18446744073709551615")).len(), 5);
    assert_eq!(list("cursor=0"), json!({"tasks": [], "next": null}));
    let one = server.get(&format!("/tasks/{}", ids[0])).ok();
    assert_eq!((&one["seeds"], &one["progress"]), (&json!([1]), &json!(1.0)));
    assert!(one["infotexts"][0].as_str().unwrap().contains("Steps: 1"), "{one}");
}

#[test]
fn a_waiting_task_tells_its_place_and_an_operators_priority_overtakes() {
    let bench = Bench::new().config("concurrent_tasks = 1\n");
    let server = bench.start();
    // How long others wait is known from what tasks took.
    server.post("/txt2img", &quick()).ok();
    let busy = occupy(&server);
    let (first, second) = (server.submit(&quick()), server.submit(&quick()));
    let place = |id: &str| server.get(&format!("/tasks/{id}")).ok()["position"].clone();
    assert_eq!((place(&first), place(&second)), (json!(1), json!(2)));
    let eta = |id: &str| server.get(&format!("/tasks/{id}")).ok()["etaRelative"].as_f64().unwrap();
    assert!(0.0 < eta(&first) && eta(&first) < eta(&second));
    let urgent = submit_with(&server, &[("Task-Priority", "5")], &quick()).ok();
    assert_eq!(urgent["position"], 1);
    assert_eq!(place(&second), 3);
    // A user of no special rights may only step back.
    server.admin_json("POST", "/users", &json!({"name": "ann"}).to_string());
    let key = server.admin_json("POST", "/keys", &json!({"user": "ann"}).to_string()).json();
    let token = key["key"].as_str().unwrap();
    let asked =
        |priority| submit_with(&server, &[("Task-Priority", priority), ("Token", token)], &quick()).status;
    assert_eq!((asked("1"), asked("-1")), (403, 200));
    server.admin("POST", &format!("/tasks/{busy}/cancellation"), Vec::new());
}

#[test]
fn a_task_that_begins_too_late_expires_and_one_that_takes_too_long_fails_and_both_can_be_tried_again() {
    let bench = Bench::new().config("concurrent_tasks = 1\n");
    let server = bench.start();
    let busy = occupy(&server);
    let id = submit_with(&server, &[("Task-Start-Within", "1")], &quick()).ok()["taskId"]
        .as_str()
        .unwrap()
        .to_owned();
    let status = |id: &str| server.get(&format!("/tasks/{id}")).ok()["status"].clone();
    eventually("the task has expired", || status(&id) == "expired");
    assert_eq!(server.result(&id)["code"], "expired");
    cancel(&server, &busy);
    assert_eq!(server.post(&format!("/tasks/{id}/retry"), &Value::Null).ok()["taskId"], id.as_str());
    assert_eq!(server.result(&id)["status"], "succeeded");
    let again = server.post(&format!("/tasks/{id}/retry"), &Value::Null);
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("conflict")));

    let reply = server.post_with("/txt2img", &[("Task-Timeout", "1")], &long());
    assert_eq!((reply.status, &reply.json()["code"]), (504, &json!("timeout")));
    assert_eq!(server.post("/txt2img", &quick()).status, 200, "the device is free again");
}

#[test]
fn what_only_a_running_task_finds_wrong_names_its_field() {
    let bench = Bench::new();
    let server = bench.start();
    let masked = json!({"init_images": [striped(64, 64)], "mask": "aGVsbG8="});
    let enlarged = json!({"enable_hr": true, "denoising_strength": 0.4, "hr_upscaler": "8x-foo"});
    // What only the checkpoint decides: the demo's text encoder has four layers, and its noise ends at 14.6.
    let skipping = json!({"override_settings": {"CLIP_stop_at_last_layers": 5}});
    let crossing = json!({"override_settings": {"sigma_min": 20}});
    for (route, changes, field) in [
        ("img2img", masked, "mask"),
        ("txt2img", enlarged, "hr_upscaler"),
        ("txt2img", skipping, "CLIP_stop_at_last_layers"),
        ("txt2img", crossing, "sigma_min"),
    ] {
        let body = quick_with(changes);
        let reply = server.post(&format!("/{route}"), &body);
        let told = reply.json();
        let pointer = json!(format!("#/{field}"));
        assert_eq!((reply.status, &told["errors"][0]["pointer"]), (400, &pointer), "{told}");
        assert_eq!(told["errors"][0]["detail"], told["message"]);
        let id = told["taskId"].as_str().unwrap();
        for place in ["", "/result"] {
            let again = server.get(&format!("/tasks/{id}{place}")).ok();
            assert_eq!(again["errors"], told["errors"], "{place} {again}");
        }
        let reply = server.post(&format!("/sdapi/v1/{route}"), &body);
        let told = reply.json();
        assert_eq!((reply.status, &told["detail"][0]["loc"]), (422, &json!(["body", field])), "{told}");
    }
    let id = server.post("/txt2img", &quick()).ok()["taskId"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/tasks/{id}")).ok().get("errors"), None, "nothing was wrong");
}

#[test]
fn a_paused_queue_keeps_what_comes_in_over_a_restart_until_it_is_resumed() {
    let bench = Bench::new();
    let server = bench.start();
    let paused = server.admin("POST", "/queue/pause", Vec::new()).ok();
    assert_eq!(paused, json!({"paused": true, "waiting": 0, "running": 0}));
    let id = server.submit(&quick());
    assert!(server.stop().success());
    let server = bench.start();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(server.get("/queue").ok(), json!({"paused": true, "waiting": 1, "running": 0}));
    assert_eq!(server.get(&format!("/tasks/{id}")).ok()["status"], "waiting");
    server.admin("POST", "/queue/resume", Vec::new()).ok();
    assert_eq!(server.result(&id)["status"], "succeeded");
}

#[test]
fn a_removed_task_is_gone_with_its_pictures() {
    let bench = Bench::new();
    let server = bench.start();
    let done = server.post("/txt2img", &quick()).ok();
    let (id, url) = (done["taskId"].as_str().unwrap(), done["ossUrl"][0].as_str().unwrap());
    assert_eq!(request("GET", url, &[], Vec::new()).status, 200);
    let remove = || request("DELETE", &format!("{}/tasks/{id}", server.url), &[], Vec::new()).status;
    assert_eq!((remove(), remove()), (200, 404));
    assert_eq!(request("GET", url, &[], Vec::new()).status, 410);
    assert_eq!(server.get(&format!("/tasks/{id}/result")).status, 404);
    let objects = bench.data.path().join("objects");
    let left: Vec<_> = walk(&objects).into_iter().filter(|path| path.contains(id)).collect();
    assert_eq!(left, Vec::<String>::new());
    let running = server.submit(&long());
    assert_eq!(request("DELETE", &format!("{}/tasks/{running}", server.url), &[], Vec::new()).status, 409);
}

#[test]
fn a_task_whose_removal_was_cut_short_is_not_tried_again_and_can_be_removed() {
    let bench = Bench::new().plugin("guests", "panic");
    let server = bench.start();
    let id = server.submit(&quick());
    assert_eq!(server.result(&id)["status"], "failed");
    // Where a result would be is what cannot be deleted like one.
    let folder = bench.data.path().join(format!("objects/tasks/{id}/details_1.json/in-the-way"));
    std::fs::create_dir_all(&folder).unwrap();
    let remove = || request("DELETE", &format!("{}/tasks/{id}", server.url), &[], Vec::new()).status;
    assert_eq!(remove(), 503);
    assert_eq!(server.post(&format!("/tasks/{id}/retry"), &Value::Null).status, 410);
    assert_eq!(server.get(&format!("/tasks/{id}")).ok()["status"], "failed");
    std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    assert_eq!(remove(), 200);
}

#[test]
fn an_attempt_that_fails_leaves_no_pictures() {
    let bench = Bench::new().plugin("guests", "panic");
    let server = bench.start();
    server.admin("POST", "/queue/pause", Vec::new()).ok();
    let id = server.submit(&quick());
    // As if it had come further.
    let folder = bench.data.path().join("objects/images/default");
    std::fs::create_dir_all(&folder).unwrap();
    let [first, second, others] =
        [format!("{id}_1.png"), format!("{id}_2.webp"), format!("{id}-_1.png")].map(|name| folder.join(name));
    for file in [&first, &second, &others] {
        std::fs::write(file, "a picture").unwrap();
    }
    server.admin("POST", "/queue/resume", Vec::new()).ok();
    assert_eq!(server.result(&id)["status"], "failed");
    eventually("they are deleted", || !first.exists() && !second.exists());
    assert!(others.exists());
}

#[test]
fn an_ended_task_tells_from_when_on_it_is_forgotten() {
    for (config, hours) in [("", None), ("retention_hours = 2\n", Some(2))] {
        let bench = Bench::new().config(config);
        let server = bench.start();
        let id = server.post("/txt2img", &quick()).ok()["taskId"].as_str().unwrap().to_owned();
        let task = server.get(&format!("/tasks/{id}")).ok();
        let expected = hours.map(|hours| task["finishedMs"].as_u64().unwrap() + hours * 3_600_000);
        assert_eq!(task["expiresMs"], json!(expected), "{config}");
        server.admin("POST", "/queue/pause", Vec::new()).ok();
        let waiting = server.submit(&quick());
        assert_eq!(server.get(&format!("/tasks/{waiting}")).ok()["expiresMs"], Value::Null);
    }
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let Ok(items) = std::fs::read_dir(folder) else { return vec![folder.display().to_string()] };
    items.flat_map(|item| walk(&item.unwrap().path())).collect()
}

/// The events of a stream of Server-Sent Events, to its end.
fn events(server: &Server, path: &str, headers: &[(&str, &str)]) -> Vec<(String, String, Value)> {
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let mut builder = ureq::http::Request::builder().uri(format!("{}{path}", server.url));
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let response = agent.run(builder.body(()).unwrap()).unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut all, mut event, mut id) = (Vec::new(), String::new(), String::new());
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        match line.unwrap().split_once(": ") {
            Some(("event", name)) => event = name.to_owned(),
            Some(("id", text)) => id = text.to_owned(),
            Some(("data", data)) => {
                all.push((event.clone(), id.clone(), serde_json::from_str(data).unwrap()))
            }
            _ => {}
        }
    }
    all
}

#[test]
fn events_tell_a_task_from_its_waiting_to_its_pictures_and_can_be_taken_up_again() {
    let bench = Bench::new().config("concurrent_tasks = 1\n");
    let server = bench.start();
    let busy = occupy(&server);
    let id = server.submit(&quick_with(json!({"steps": 40, "width": 128, "height": 128})));
    let path = format!("/tasks/{id}/events");
    let all = std::thread::scope(|scope| {
        let listening = scope.spawn(|| events(&server, &format!("{path}?previews=true"), &[]));
        std::thread::sleep(Duration::from_millis(300));
        cancel(&server, &busy);
        listening.join().unwrap()
    });
    let names: Vec<_> =
        all.iter().map(|(event, _, data)| (event.as_str(), data["status"].as_str().unwrap())).collect();
    assert_eq!(names.first(), Some(&("task.status", "waiting")));
    assert!(
        names.contains(&("task.status", "running")) && names.contains(&("task.progress", "running")),
        "{names:?}"
    );
    assert_eq!(names.last(), Some(&("task.done", "succeeded")));
    assert_eq!(names.iter().filter(|(event, _)| *event == "task.done").count(), 1);
    let done: Vec<f64> = all.iter().filter_map(|(_, _, data)| data["progress"].as_f64()).collect();
    assert!(done.is_sorted() && done.last() == Some(&1.0), "{done:?}");
    assert!(
        all.iter().any(|(_, _, data)| data["preview"]
            .as_str()
            .is_some_and(|text| text.starts_with("data:image/png")))
    );
    // Browsers offer to take them compressed, which would hold them back.
    let zipped = request("GET", &format!("{}{path}", server.url), &[("accept-encoding", "gzip")], Vec::new());
    assert_eq!((zipped.status, zipped.header("content-encoding")), (200, ""));
    let last = &all.last().unwrap().2;
    assert_eq!(request("GET", last["ossUrl"][0].as_str().unwrap(), &[], Vec::new()).status, 200);
    // Whoever comes back is told the end, and not the way there again.
    let seen = &all[1].1;
    let again = events(&server, &path, &[("Last-Event-ID", seen)]);
    assert_eq!(again.iter().map(|(event, _, _)| event.as_str()).collect::<Vec<_>>(), ["task.done"]);
    assert_eq!(server.get("/tasks/nothing/events").status, 404);
}

#[test]
fn a_listener_that_comes_back_after_a_crash_is_told_the_next_attempt() {
    let bench = Bench::new();
    let server = bench.start();
    let id = server.submit(&quick_with(json!({"steps": 150, "width": 128, "height": 128})));
    let path = format!("/tasks/{id}/events");
    let url = format!("{}{path}", server.url);
    let listening = std::thread::spawn(move || {
        let lines = BufReader::new(ureq::get(url).call().unwrap().into_body().into_reader()).lines();
        let ids = lines.map_while(Result::ok).filter_map(|line| Some(line.strip_prefix("id: ")?.to_owned()));
        ids.collect::<Vec<_>>()
    });
    eventually("it is drawn", || server.get(&format!("/tasks/{id}")).ok()["progress"] != 0.0);
    std::thread::sleep(Duration::from_millis(300));
    server.kill();
    let seen = listening.join().unwrap();
    let server = bench.start();
    let again = events(&server, &path, &[("Last-Event-ID", seen.last().unwrap())]);
    assert!(again.iter().all(|(_, id, _)| !seen.contains(id)), "{seen:?} {again:?}");
    let (event, _, data) = again.last().unwrap();
    assert_eq!((event.as_str(), &data["status"]), ("task.done", &json!("succeeded")));
    assert_eq!(data["attempt"], 2);
}

#[test]
fn a_websocket_has_the_same_events_and_pictures_of_what_is_drawn_so_far() {
    let bench = Bench::new();
    let server = bench.start();
    let id = server.submit(&quick_with(json!({"steps": 40, "width": 128, "height": 128})));
    let host = server.url.strip_prefix("http://").unwrap();
    let stream = std::net::TcpStream::connect(host).unwrap();
    let (mut socket, _) =
        tungstenite::client(format!("ws://{host}/tasks/{id}/ws?previews=true"), stream).unwrap();
    let (mut texts, mut pictures) = (Vec::new(), 0);
    loop {
        match socket.read().unwrap() {
            tungstenite::Message::Text(text) => texts.push(serde_json::from_str::<Value>(&text).unwrap()),
            tungstenite::Message::Binary(file) => {
                assert!(decode(&file).width > 0);
                pictures += 1;
            }
            tungstenite::Message::Close(_) => break,
            _ => {}
        }
    }
    let last = texts.last().unwrap();
    assert_eq!((&last["event"], &last["data"]["status"]), (&json!("task.done"), &json!("succeeded")));
    assert!(texts.iter().any(|text| text["event"] == "task.progress") && pictures > 0, "{pictures}");
    let plain = server.get(&format!("/tasks/{id}/ws"));
    assert!([400, 426].contains(&plain.status), "{}", plain.status);
}

#[test]
fn a_draining_server_ends_its_streams_and_not_what_they_tell_of() {
    let bench = Bench::new().config("drain_seconds = 6\n");
    let server = bench.start();
    let id = server.submit(&quick_with(json!({"steps": 150, "width": 512, "height": 512})));
    let url = format!("{}/tasks/{id}/events", server.url);
    let listening = std::thread::spawn(move || {
        let response = ureq::get(url).call().unwrap();
        let lines = BufReader::new(response.into_body().into_reader()).lines().map_while(Result::ok);
        (lines.collect::<Vec<_>>(), std::time::Instant::now())
    });
    eventually("the task runs", || server.get(&format!("/tasks/{id}")).ok()["status"] == "running");
    let began = std::time::Instant::now();
    assert!(server.stop().success());
    let stopped = began.elapsed();
    let (lines, ended) = listening.join().unwrap();
    assert!(!lines.contains(&"event: task.done".to_owned()), "{lines:?}");
    assert!(
        ended - began < Duration::from_secs(4) && ended - began < stopped,
        "{:?}, {stopped:?}",
        ended - began
    );
}

/// The headers of a message, names in lower case, with the request line as `asked`, and its body.
type Heard = (Vec<(String, String)>, String);

/// Answers every request with the next of `statuses`, the last one for ever, and names another path; what it was sent comes
/// out.
fn receiver(statuses: Vec<u16>) -> (String, mpsc::Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut headers, mut line) = (Vec::new(), String::new());
            while stream.read_line(&mut line).unwrap() > 2 {
                match line.trim().split_once(": ") {
                    Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
                    None => headers.push(("asked".to_owned(), line.trim().to_owned())),
                }
                line.clear();
            }
            let length =
                headers.iter().find(|(name, _)| name == "content-length").unwrap().1.parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let status = statuses.get(number).or(statuses.last()).unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            if told.send((headers, String::from_utf8(body).unwrap())).is_err() {
                return;
            }
        }
    });
    (url, heard)
}

#[test]
fn a_webhook_is_told_of_the_end_until_it_answers_and_can_verify_who_told_it() {
    let (url, heard) = receiver(vec![500, 200]);
    let config =
        format!("webhook_hosts = [\"{}\"]\nwebhook_retry_seconds = [1, 1]\n", url.trim_end_matches("/hook"));
    let bench = Bench::new().config(&config);
    let server = bench.start();
    let former = server.get("/webhooks/secret").ok();
    let changed = server.post("/webhooks/secret", &Value::Null).ok();
    assert!(former["formerUntilMs"].is_null() && changed["formerUntilMs"].is_u64(), "{former} {changed}");
    assert_eq!(server.get("/webhooks/secret").ok(), changed);
    let id =
        submit_with(&server, &[("Task-Webhook", &url)], &quick()).ok()["taskId"].as_str().unwrap().to_owned();
    let [first, second] = [0, 1].map(|_| heard.recv_timeout(Duration::from_secs(60)).unwrap());
    let header =
        |message: &Heard, name: &str| message.0.iter().find(|(known, _)| known == name).unwrap().1.clone();
    assert_eq!(header(&first, "webhook-id"), header(&second, "webhook-id"), "a repeat can be told");
    let mut headers = ureq::http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, header(&second, name).parse().unwrap());
    }
    for secret in [&former, &changed].map(|body| body["secret"].as_str().unwrap()) {
        standardwebhooks::Webhook::new(secret).unwrap().verify(second.1.as_bytes(), &headers).unwrap();
    }
    let message: Value = serde_json::from_str(&second.1).unwrap();
    assert_eq!((&message["type"], &message["data"]["taskId"]), (&json!("task.succeeded"), &json!(id)));
    assert_eq!(request("GET", message["data"]["ossUrl"][0].as_str().unwrap(), &[], Vec::new()).status, 200);
    assert!(heard.recv_timeout(Duration::from_secs(3)).is_err(), "it was told once it had answered");
}

#[test]
fn a_webhook_that_redirects_has_not_been_told_and_one_that_is_gone_is_told_no_more() {
    // Redirects of both kinds: those that would become a GET, and those that would stay a POST.
    let (url, heard) = receiver(vec![302, 308, 410]);
    let config = format!(
        "webhook_hosts = [\"{}\"]\nwebhook_retry_seconds = [1, 1, 1]\n",
        url.trim_end_matches("/hook")
    );
    let bench = Bench::new().config(&config);
    let server = bench.start();
    submit_with(&server, &[("Task-Webhook", &url)], &quick()).ok();
    for _ in 0..3 {
        let (headers, _) = heard.recv_timeout(Duration::from_secs(60)).unwrap();
        let asked = &headers.iter().find(|(name, _)| name == "asked").unwrap().1;
        assert_eq!(asked, "POST /hook HTTP/1.1", "nobody is led elsewhere");
    }
    assert!(
        heard.recv_timeout(Duration::from_secs(3)).is_err(),
        "410 ends it, though another attempt was left"
    );
}

#[test]
fn a_webhook_that_is_owed_is_told_after_a_crash() {
    let (url, heard) = receiver(vec![500, 500, 200]);
    let config =
        format!("webhook_hosts = [\"{}\"]\nwebhook_retry_seconds = [2, 2]\n", url.trim_end_matches("/hook"));
    let bench = Bench::new().config(&config);
    let server = bench.start();
    submit_with(&server, &[("Task-Webhook", &url)], &quick()).ok();
    heard.recv_timeout(Duration::from_secs(60)).unwrap();
    server.kill();
    let server = bench.start();
    heard.recv_timeout(Duration::from_secs(60)).unwrap();
    heard.recv_timeout(Duration::from_secs(60)).unwrap();
    drop(server);
}

#[test]
fn webhooks_reach_only_hosts_that_the_operator_allows() {
    let bench = Bench::new();
    let server = bench.start();
    for url in [
        "http://127.0.0.1:9/",
        "https://127.0.0.1/",
        "http://hooks.example/",
        "https://[::1]/",
        "file:///etc/passwd",
        "x",
    ] {
        let reply = submit_with(&server, &[("Task-Webhook", url)], &quick());
        assert_eq!(
            (reply.status, &reply.json()["errors"][0]["pointer"]),
            (400, &json!("#/Task-Webhook")),
            "{url}"
        );
    }
    assert_eq!(submit_with(&server, &[("Task-Webhook", "https://hooks.example/x")], &quick()).status, 200);
}

#[test]
fn headers_that_cannot_be_read_are_named_together() {
    let bench = Bench::new();
    let server = bench.start();
    let headers =
        [("taskId", "a b"), ("Idempotency-Key", "x"), ("Task-Timeout", "-1"), ("Task-Priority", "high")];
    let reply = submit_with(&server, &headers, &quick());
    assert_eq!(
        (reply.status, reply.json()["errors"].as_array().unwrap().len()),
        (400, 4),
        "{}",
        reply.json()
    );
}
