//! Tasks: sync, async, progress, cancel, results behind signed URLs.

use serde_json::json;

use crate::support::{Bench, decode, quick, quick_with, request};

#[test]
fn a_sync_request_answers_with_the_url_of_a_picture_that_carries_its_parameters() {
    let bench = Bench::new();
    let server = bench.start();
    let reply = server.post("/txt2img", &quick());
    let body = reply.ok();
    assert_eq!(body["status"], "succeeded");
    assert_eq!(reply.header("taskid"), body["taskId"].as_str().unwrap());
    let picture = decode(&server.picture(&body));
    assert_eq!((picture.width, picture.height), (64, 64));
    assert!(picture.data.iter().any(|&value| value != picture.data[0]), "the picture is one flat colour");
    let first = picture.infotext.lines().next().unwrap();
    assert_eq!(first, "mountain landscape during sunset");
    for part in
        ["Steps: 3, Sampler: Euler", "CFG scale: 5, Seed: 1, Size: 64x64", "Model: demo-v3", "RNG: NV"]
    {
        assert!(picture.infotext.contains(part), "{part} is not in {}", picture.infotext);
    }
}

#[test]
fn an_async_task_can_be_followed_to_its_result() {
    let bench = Bench::new();
    let server = bench.start();
    let id = server.submit(&quick_with(json!({"steps": 8})));
    let progress = server.get(&format!("/tasks/{id}/progress")).ok();
    let fraction = progress["progress"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&fraction), "{progress}");
    let result = server.result(&id);
    assert_eq!(result["status"], "succeeded", "{result}");
    assert_eq!(result["images"], json!([format!("images/default/{id}_1.png")]));
    assert_eq!(result["parameters"]["steps"], 8);
    assert_eq!(result["parameters"]["alwayson_scripts"], "");
    let info: serde_json::Value = serde_json::from_str(result["info"].as_str().unwrap()).unwrap();
    assert_eq!(info["all_seeds"], json!([1]));
    assert_eq!(server.get(&format!("/tasks/{id}/progress")).ok()["progress"], 1.0);
    decode(&server.picture(&result));
}

#[test]
fn a_signed_url_answers_as_a_store_does_whole_in_part_or_not_again() {
    let bench = Bench::new();
    let server = bench.start();
    let body = server.post("/txt2img", &quick()).ok();
    let url = body["ossUrl"][0].as_str().unwrap();
    let get = |headers: &[(&str, &str)]| request("GET", url, headers, Vec::new());
    let whole = get(&[]);
    let size = whole.body.len();
    let etag = whole.header("etag");
    assert_eq!((whole.status, whole.header("accept-ranges"), etag.is_empty()), (200, "bytes", false));
    let name = format!("inline; filename=\"{}_1.png\"", body["taskId"].as_str().unwrap());
    assert_eq!(whole.header("content-disposition"), name);

    let known = get(&[("if-none-match", etag)]);
    assert_eq!((known.status, known.header("etag"), known.body.len()), (304, etag, 0));
    let part = get(&[("range", "bytes=1-3")]);
    assert_eq!((part.status, part.body.as_slice()), (206, b"PNG".as_slice()));
    assert_eq!(part.header("content-range"), format!("bytes 1-3/{size}"));
    assert_eq!(part.header("content-type"), "image/png");
    assert_eq!(get(&[("range", "bytes=-5")]).body, whole.body[size - 5..]);
    let beyond = get(&[("range", &format!("bytes={size}-"))]);
    assert_eq!((beyond.status, beyond.header("content-range")), (416, format!("bytes */{size}").as_str()));
    assert_eq!(get(&[("range", "bytes=0-1"), ("if-range", "\"another\"")]).body, whole.body);
}

#[test]
fn the_same_seed_draws_the_same_picture_alone_in_a_batch_and_beside_others() {
    let bench = Bench::new();
    let server = bench.start();
    let alone = decode(&server.picture(&server.post("/txt2img", &quick_with(json!({"seed": 2}))).ok()));
    let others: Vec<_> = (10..14).map(|seed| server.submit(&quick_with(json!({"seed": seed})))).collect();
    let batch = server.submit(&quick_with(json!({"seed": 1, "batch_size": 2})));
    let result = server.result(&batch);
    let url = result["ossUrl"][1].as_str().unwrap();
    let second = decode(&request("GET", url, &[], Vec::new()).body);
    let apart = alone.data.iter().zip(&second.data).filter(|(a, b)| a.abs_diff(**b) > 1).count();
    // The parity bound: one grey level on 99.9 % of the values.
    assert!(apart * 1000 <= alone.data.len(), "{apart} of {} values differ", alone.data.len());
    for id in others {
        assert_eq!(server.result(&id)["status"], "succeeded");
    }
}

#[test]
fn rows_of_different_requests_go_through_the_network_in_one_call() {
    let bench = Bench::new().config("concurrent_tasks = 2\n");
    let server = bench.start();
    server.post("/queue/pause", &json!({})).ok();
    let ids = [1, 2].map(|seed| server.submit(&quick_with(json!({"seed": seed, "steps": 100}))));
    server.post("/queue/resume", &json!({})).ok();
    for id in &ids {
        assert_eq!(server.result(id)["status"], "succeeded");
    }
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let together = text.lines().find_map(|line| line.strip_prefix("gesso_unet_batches_total{rows=\"2\"} "));
    assert!(together.is_some_and(|calls| calls != "0"), "no call had two rows:\n{text}");
}

#[test]
fn a_running_task_stops_soon_after_it_is_cancelled_and_a_waiting_one_never_starts() {
    let bench = Bench::new().config("concurrent_tasks = 1\n");
    let server = bench.start();
    let long = server.submit(&quick_with(json!({"steps": 150, "width": 256, "height": 256})));
    let waiting = server.submit(&quick());
    assert_eq!(
        server.post(&format!("/tasks/{waiting}/cancellation"), &json!({})).ok(),
        json!({"message": "success"})
    );
    assert_eq!(server.result(&waiting)["status"], "canceled");
    assert_eq!(server.post(&format!("/tasks/{long}/cancellation"), &json!({})).status, 200);
    assert_eq!(server.result(&long)["status"], "canceled");
    // Repeating it gives the same answer.
    assert_eq!(server.post(&format!("/tasks/{long}/cancellation"), &json!({})).status, 200);
    // The place is free again.
    assert_eq!(server.post("/txt2img", &quick()).ok()["status"], "succeeded");
}

#[test]
fn a_finished_task_cannot_be_cancelled_any_more() {
    let bench = Bench::new();
    let server = bench.start();
    let id = server.post("/txt2img", &quick()).ok()["taskId"].as_str().unwrap().to_owned();
    let reply = server.post(&format!("/tasks/{id}/cancellation"), &json!({}));
    assert_eq!(reply.status, 409);
    assert_eq!(server.result(&id)["status"], "succeeded");
}

#[test]
fn a_client_may_choose_the_task_id_once() {
    let bench = Bench::new();
    let server = bench.start();
    let reply = server.post_with("/txt2img", &[("taskId", "my-own-1")], &quick());
    assert_eq!(reply.ok()["taskId"], "my-own-1");
    assert_eq!(server.post_with("/txt2img", &[("taskId", "my-own-1")], &quick()).status, 409);
    assert_eq!(server.post_with("/txt2img", &[("taskId", "../etc")], &quick()).status, 400);
}

#[test]
fn a_signed_url_that_was_changed_shows_nothing() {
    let bench = Bench::new();
    let server = bench.start();
    let body = server.post("/txt2img", &quick()).ok();
    let url = body["ossUrl"][0].as_str().unwrap();
    let (path, query) = url.split_once('?').unwrap();
    assert_eq!(request("GET", path, &[], Vec::new()).status, 403);
    let other = url.replace("exp=", "exp=9");
    assert_eq!(request("GET", &other, &[], Vec::new()).status, 403);
    let elsewhere = format!("{}/files/..%2F..%2Fadmin-key?{query}", server.url);
    assert!([403, 404].contains(&request("GET", &elsewhere, &[], Vec::new()).status));
}

#[test]
fn picture_urls_begin_with_the_host_that_was_asked_or_the_public_url() {
    let bench = Bench::new().config("access = \"open\"\n");
    let server = bench.start();
    let id = server.post("/txt2img", &quick()).ok()["taskId"].as_str().unwrap().to_owned();
    let result = format!("{}/tasks/{id}/result", server.url);
    let url_for = |host: &str| {
        let reply = request("GET", &result, &[("host", host)], Vec::new()).ok();
        reply["ossUrl"][0].as_str().unwrap().to_owned()
    };
    assert!(url_for("gesso.test:7860").starts_with("http://gesso.test:7860/files/images/default/"));
    assert!(url_for("evil@x").starts_with("http://127.0.0.1:"), "{}", url_for("evil@x"));
    let bench = Bench::new().config("access = \"open\"\npublic_url = \"https://pictures.test/\"\n");
    let server = bench.start();
    let body = server.post("/txt2img", &quick()).ok();
    assert!(body["ossUrl"][0].as_str().unwrap().starts_with("https://pictures.test/files/images/"), "{body}");
}

#[test]
fn the_checkpoint_is_listed() {
    let bench = Bench::new();
    let server = bench.start();
    let models = server.get("/models").ok();
    assert_eq!(models[0]["name"], "demo-v3.safetensors");
    assert_eq!(models[0]["type"], "stableDiffusion");
}
