//! The routes of the web UI's queue extension, agent-scheduler, as its clients use them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Bench, Reply, Server, decode, eventually, quick, quick_with, request};

const API: &str = "/agent-scheduler/v1";
const TXT2IMG: &str = "/agent-scheduler/v1/queue/txt2img";
const PAUSE: &str = "/agent-scheduler/v1/queue/pause";

fn path(id: &str, of: &str) -> String {
    format!("{API}/task/{id}{of}")
}

fn id(reply: &Reply) -> String {
    reply.ok()["task_id"].as_str().unwrap().to_owned()
}

fn enqueue(server: &Server, changes: Value) -> String {
    id(&server.post(TXT2IMG, &quick_with(changes)))
}

fn get(server: &Server, what: &str) -> Value {
    server.get(&format!("{API}/{what}")).ok()
}

/// A POST without a body.
fn told(server: &Server, what: &str) -> Value {
    server.post(&format!("{API}/{what}"), &Value::Null).ok()
}

fn status(server: &Server, id: &str) -> Value {
    server.get(&path(id, "")).ok()["data"]["status"].clone()
}

fn delete(server: &Server, id: &str) -> Reply {
    request("DELETE", &format!("{}{}", server.url, path(id, "")), &[], Vec::new())
}

fn update(server: &Server, id: &str, body: Value) -> Reply {
    let headers = [("content-type", "application/json")];
    let url = format!("{}{}", server.url, path(id, ""));
    request("PUT", &url, &headers, body.to_string().into_bytes())
}

/// A key of a new user.
fn key(server: &Server, name: &str) -> String {
    server.admin_json("POST", "/users", &json!({"name": name}).to_string());
    let made = server.admin_json("POST", "/keys", &json!({"user": name}).to_string());
    made.json()["key"].as_str().unwrap().to_owned()
}

#[test]
fn a_drawing_goes_through_the_queue_to_its_pictures() {
    let bench = Bench::new().config("concurrent_tasks = 1\n");
    let server = bench.start();
    let busy = enqueue(&server, json!({"steps": 150, "width": 256, "height": 256}));
    eventually("the task runs", || status(&server, &busy) == "running");
    let named = json!({"checkpoint": "demo-v3", "vae": "Automatic"});
    let (first, second) = (enqueue(&server, named.clone()), enqueue(&server, named));

    let queue = get(&server, "queue");
    assert_eq!((&queue["current_task_id"], &queue["paused"]), (&json!(busy), &json!(false)));
    assert_eq!(queue["total_pending_tasks"], 3);
    let tasks = queue["pending_tasks"].as_array().unwrap();
    let places: Vec<_> =
        tasks.iter().map(|task| json!([task["id"], task["status"], task["position"]])).collect();
    assert_eq!(
        places,
        [json!([busy, "running", 0]), json!([first, "pending", 1]), json!([second, "pending", 2])]
    );
    let params = &tasks[1]["params"];
    assert_eq!((&params["prompt"], &params["steps"]), (&quick()["prompt"], &json!(3)));
    assert!(params["checkpoint"].as_str().unwrap().contains("demo-v3"), "{params}");
    assert!(tasks[1]["created_at"].is_u64(), "{}", tasks[1]);
    let part = get(&server, "queue?limit=1&offset=2");
    assert_eq!(
        (part["pending_tasks"].as_array().unwrap().len(), &part["total_pending_tasks"]),
        (1, &json!(3))
    );
    assert_eq!(part["pending_tasks"][0]["id"], second.as_str());
    let place = server.get(&path(&second, "/position")).ok();
    assert_eq!(place, json!({"success": true, "data": {"status": "pending", "position": 2}}));
    let early = server.get(&path(&first, "/results")).ok();
    assert_eq!((&early["success"], early.get("data")), (&json!(false), None));

    delete(&server, &busy).ok();
    eventually("the first one is drawn", || status(&server, &first) == "done");
    let task = server.get(&path(&first, "")).ok()["data"].clone();
    let result: Value = serde_json::from_str(task["result"].as_str().unwrap()).unwrap();
    assert_eq!(result["images"], json!([format!("images/default/{first}_1.png")]));
    assert!(task["created_at"].as_str().unwrap().ends_with('Z'), "{task}");
    assert_eq!(server.get(&path(&first, "/position")).ok()["data"]["position"], Value::Null);
    let results = server.get(&path(&first, "/results?zip=false")).ok();
    assert_eq!((&results["success"], results["data"].as_array().unwrap().len()), (&json!(true), 1));
    let image = results["data"][0]["image"].as_str().unwrap();
    let file = image.strip_prefix("data:image/png;base64,").unwrap();
    let picture = decode(&BASE64_STANDARD.decode(file).unwrap());
    assert_eq!((picture.width, picture.height), (64, 64));
    assert_eq!(results["data"][0]["infotext"], picture.infotext.as_str());
    assert_eq!(result["geninfo"]["infotexts"][0], picture.infotext.as_str());
    assert_eq!(get(&server, &format!("results/{first}")), results, "clients know an older path too");
    assert_eq!(server.get(&path(&first, "/results?zip=true")).status, 422);
}

#[test]
fn others_see_nothing_of_a_task_and_clear_nothing_but_their_own() {
    let bench = Bench::new();
    let server = bench.start();
    let (ann, bob) = (key(&server, "ann"), key(&server, "bob"));
    let ask = |who: &str, method: &str, path: &str| {
        request(method, &format!("{}{path}", server.url), &[("token", who)], Vec::new())
    };
    let total = |who: &str| ask(who, "GET", &format!("{API}/queue")).ok()["total_pending_tasks"].clone();
    assert_eq!(ask(&ann, "POST", PAUSE).status, 403, "the queue is everybody's");
    server.admin("POST", PAUSE, Vec::new()).ok();
    let hers = id(&server.post_with(TXT2IMG, &[("token", &ann)], &quick()));
    for (method, of) in [
        ("GET", ""),
        ("GET", "/position"),
        ("GET", "/results"),
        ("POST", "/requeue"),
        ("POST", "/run"),
        ("POST", "/move/top"),
        ("POST", "/bookmark"),
        ("POST", "/unbookmark"),
        ("POST", "/rename?name=mine"),
        ("DELETE", ""),
    ] {
        assert_eq!(ask(&bob, method, &path(&hers, of)).status, 404, "{method} {of}");
    }
    let url = format!("{}{}", server.url, path(&hers, ""));
    let headers = [("token", bob.as_str()), ("content-type", "application/json")];
    assert_eq!(request("PUT", &url, &headers, b"{\"name\": \"mine\"}".to_vec()).status, 404);
    assert_eq!(ask(&bob, "GET", &format!("{API}/export")).ok(), json!([]));
    assert_eq!(total(&bob), 0);
    let his = id(&server.post_with(TXT2IMG, &[("token", &bob)], &quick()));
    let queue = ask(&bob, "GET", &format!("{API}/queue")).ok();
    let one = &queue["pending_tasks"][0];
    assert_eq!((&one["id"], &one["position"]), (&json!(his), &json!(2)), "a place counts others' tasks");
    assert_eq!(total(&bob), 1);
    let everybodys = || server.admin("GET", &format!("{API}/queue"), Vec::new()).ok();
    assert_eq!(everybodys()["total_pending_tasks"], 2);
    server.admin("POST", &format!("{API}/queue/clear"), Vec::new()).ok();
    assert_eq!(everybodys()["total_pending_tasks"], 2, "an operator clears their own too");
    for what in ["queue/clear", "history/clear"] {
        ask(&bob, "POST", &format!("{API}/{what}")).ok();
    }
    assert_eq!((total(&bob), total(&ann)), (json!(0), json!(1)));
    assert_eq!(ask(&bob, "GET", &path(&his, "")).status, 404);
}

#[test]
fn tasks_that_came_to_nothing_are_requeued_and_others_deleted() {
    let bench = Bench::new();
    let server = bench.start();
    told(&server, "queue/pause");
    assert_eq!(get(&server, "queue")["paused"], true);
    let late = || {
        let late = id(&server.post_with(TXT2IMG, &[("Task-Start-Within", "1")], &quick()));
        eventually("the task has expired", || status(&server, &late) == "failed");
        late
    };
    let task = late();
    let failed = get(&server, "history?status=failed");
    assert_eq!((&failed["total"], &failed["tasks"][0]["id"]), (&json!(1), &json!(task)));
    assert!(failed["tasks"][0]["result"].is_string(), "the reason: {failed}");
    let requeue = path(&task, "/requeue");
    assert_eq!(server.post(&requeue, &Value::Null).ok()["success"], true);
    assert_eq!(status(&server, &task), "pending");
    delete(&server, &task).ok();
    assert_eq!(status(&server, &task), "interrupted");
    assert_eq!(server.post(&requeue, &Value::Null).status, 409, "it has not failed");
    delete(&server, &task).ok();
    assert_eq!((server.get(&path(&task, "")).status, delete(&server, &task).status), (404, 404));

    assert_eq!(told(&server, "task/requeue-failed")["success"], false);
    let task = late();
    assert_eq!(told(&server, "task/requeue-failed")["success"], true);
    assert_eq!(status(&server, &task), "pending");
    told(&server, "queue/resume");
    eventually("the task is drawn", || status(&server, &task) == "done");
}

#[test]
fn all_that_failed_is_requeued_and_all_that_ended_is_cleared_however_many_pages_there_are() {
    let bench = Bench::new().config("waiting_tasks_max = 500\n");
    let server = bench.start();
    told(&server, "queue/pause");
    let total = |query: &str| get(&server, &format!("history?limit=1{query}"))["total"].clone();
    for _ in 0..230 {
        id(&server.post_with(TXT2IMG, &[("Task-Start-Within", "1")], &quick()));
    }
    eventually("all have expired", || total("&status=failed") == 230);
    let again = told(&server, "task/requeue-failed");
    assert_eq!(again, json!({"success": true, "message": "230 failed tasks wait again"}));
    let queue = get(&server, "queue?limit=500");
    let tasks = queue["pending_tasks"].as_array().unwrap().iter();
    let places: Vec<_> = tasks.map(|task| task["position"].clone()).collect();
    assert_eq!(places, (1..=230).map(|place| json!(place)).collect::<Vec<_>>());
    told(&server, "queue/clear");
    assert_eq!((total(""), total("&status=interrupted")), (json!(230), json!(230)));
    told(&server, "history/clear");
    assert_eq!(total(""), 0);
}

#[test]
fn the_queue_and_the_history_are_cleared_each_for_itself() {
    let bench = Bench::new();
    let server = bench.start();
    let drawn = enqueue(&server, json!({}));
    eventually("the task is drawn", || status(&server, &drawn) == "done");
    told(&server, "queue/pause");
    let (first, second) = (enqueue(&server, json!({})), enqueue(&server, json!({})));
    let history = |query: &str| {
        let page = get(&server, &format!("history{query}"));
        let ids = page["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone());
        json!([page["total"], ids.collect::<Value>()])
    };
    told(&server, "history/clear");
    assert_eq!(history(""), json!([0, []]));
    assert_eq!(server.get(&path(&drawn, "")).status, 404);
    assert_eq!(get(&server, "queue")["total_pending_tasks"], 2, "what waits is no history");
    told(&server, "queue/clear");
    assert_eq!(get(&server, "queue")["total_pending_tasks"], 0);
    assert_eq!(history("?status=all"), json!([2, [second, first]]));
    assert_eq!(history("?status=interrupted&limit=1&offset=1"), json!([2, [first]]));
    for nothing in ["?status=done", "?status=failed", "?status=bookmarked"] {
        assert_eq!(history(nothing), json!([0, []]), "{nothing}");
    }
    let many: Vec<_> = (0..25).map(|_| enqueue(&server, json!({}))).collect();
    told(&server, "queue/clear");
    let oldest: Vec<_> = many[..4].iter().rev().chain([&second, &first]).collect();
    assert_eq!(history("?offset=21"), json!([27, oldest]));
    assert_eq!(get(&server, "history")["tasks"].as_array().unwrap().len(), 20, "a page");
    told(&server, "queue/resume");
    let drawn = enqueue(&server, json!({}));
    eventually("the task is drawn", || status(&server, &drawn) == "done");
    let task = get(&server, "history?status=done")["tasks"][0].clone();
    assert_eq!((&task["params"]["prompt"], &task["params"]["seed"]), (&quick()["prompt"], &json!(1)));
    assert!(task["result"].as_str().unwrap().contains(&format!("{drawn}_1.png")), "{task}");
}

#[test]
fn what_cannot_be_had_is_refused_with_a_reason() {
    let bench = Bench::new();
    let server = bench.start();
    let refused = |changes: Value| {
        let reply = server.post(TXT2IMG, &quick_with(changes));
        (reply.status, reply.json()["detail"][0]["loc"][1].clone())
    };
    assert_eq!(refused(json!({"callback_url": "https://127.0.0.1/"})), (422, json!("callback_url")));
    assert_eq!(refused(json!({"callback_url": 1})), (422, json!("callback_url")));
    assert_eq!(refused(json!({"checkpoint": []})), (422, json!("checkpoint")));
    assert_eq!(refused(json!({"checkpoint": "no-such"})).0, 404);
    assert_eq!(server.post(&format!("{API}/queue/img2img"), &quick()).status, 404, "no picture");
    let url = "https://hooks.example/x";
    let task = enqueue(&server, json!({"callback_url": url, "checkpoint": "System"}));
    assert_eq!(server.get(&path(&task, "")).ok()["data"]["api_task_callback"], url);
    assert!(get(&server, "samplers").as_array().unwrap().contains(&json!("Euler")));
    let models = server.get("/sdapi/v1/sd-models").ok();
    assert_eq!(get(&server, "sd-models")[0], models[0]["title"]);
}

#[test]
fn tasks_are_moved_among_the_places_of_their_owner_and_stay_there_over_a_restart() {
    let bench = Bench::new();
    let server = bench.start();
    let (ann, bob) = (key(&server, "ann"), key(&server, "bob"));
    server.admin("POST", PAUSE, Vec::new()).ok();
    let ids = [&ann, &bob, &ann, &ann, &bob]
        .map(|who| id(&server.post_with(TXT2IMG, &[("token", who.as_str())], &quick())));
    let order = |server: &Server| -> String {
        let queue = server.admin("GET", &format!("{API}/queue"), Vec::new()).ok();
        let tasks = queue["pending_tasks"].as_array().unwrap().iter();
        tasks
            .enumerate()
            .map(|(place, task)| {
                assert_eq!(task["position"], place + 1, "{task}");
                ids.iter().position(|id| task["id"] == id.as_str()).unwrap().to_string()
            })
            .collect()
    };
    let told = |who: &str, index: usize, what: &str| {
        let url = format!("{}{}", server.url, path(&ids[index], what));
        request("POST", &url, &[("token", who)], Vec::new())
    };
    assert_eq!(order(&server), "01234");
    told(&ann, 3, "/run").ok();
    assert_eq!(order(&server), "31024");
    told(&ann, 0, "/move/bottom").ok();
    assert_eq!(order(&server), "31204");
    told(&bob, 4, &format!("/move/{}", ids[1])).ok();
    assert_eq!(order(&server), "34201");
    told(&ann, 2, "/move/top").ok();
    told(&ann, 2, &format!("/move/{}", ids[0])).ok();
    assert_eq!(order(&server), "34201");
    // Nobody's task goes before another's by it.
    assert_eq!(told(&ann, 0, &format!("/move/{}", ids[1])).status, 404);
    for no_task in ["none", "%20"] {
        assert_eq!(told(&ann, 0, &format!("/move/{no_task}")).status, 404);
    }
    let by_admin = server.admin("POST", &path(&ids[0], &format!("/move/{}", ids[1])), Vec::new());
    assert_eq!(by_admin.status, 422, "{}", by_admin.json());
    assert_eq!(order(&server), "34201");

    assert!(server.stop().success());
    let server = bench.start();
    assert_eq!(order(&server), "34201");
    server.admin("POST", &format!("{API}/queue/resume"), Vec::new()).ok();
    let state = |id: &str| server.admin("GET", &path(id, ""), Vec::new()).ok()["data"]["status"].clone();
    eventually("the tasks are drawn", || ids.iter().all(|id| state(id) == "done"));
    let late = server.admin("POST", &path(&ids[0], "/run"), Vec::new());
    assert_eq!(late.status, 409);
    assert!(late.json()["detail"].as_str().unwrap().contains("succeeded"), "{}", late.json());
}

#[test]
fn tasks_have_names_and_bookmarks_which_are_pins() {
    let bench = Bench::new().config("[allowance]\npinned_tasks = 1\n");
    let server = bench.start();
    let drawn = enqueue(&server, json!({}));
    eventually("the task is drawn", || status(&server, &drawn) == "done");
    let rename = |id: &str, query: &str| server.post(&path(id, &format!("/rename{query}")), &Value::Null);
    rename(&drawn, "?name=the%20sea").ok();
    let task = get(&server, "history")["tasks"][0].clone();
    assert_eq!((&task["name"], &task["bookmarked"]), (&json!("the sea"), &json!(false)));
    assert_eq!(server.get(&format!("/tasks/{drawn}")).ok()["name"], "the sea");
    for wrong in [String::new(), format!("?name={}", "x".repeat(256)), "?name=a%0Ab".to_owned()] {
        assert_eq!(rename(&drawn, &wrong).status, 422, "{wrong}");
    }
    assert_eq!(rename("none", "?name=x").status, 404);
    rename(&drawn, "?name=").ok();
    assert_eq!(server.get(&path(&drawn, "")).ok()["data"]["name"], Value::Null);
    assert_eq!(server.get(&format!("/tasks/{drawn}")).ok().get("name"), None);

    let bookmarked = || {
        let page = get(&server, "history?status=bookmarked");
        let ids = page["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone());
        json!([page["total"], ids.collect::<Value>()])
    };
    assert_eq!(bookmarked(), json!([0, []]));
    told(&server, &format!("task/{drawn}/bookmark"));
    assert_eq!(bookmarked(), json!([1, [drawn]]));
    assert_eq!(server.get(&path(&drawn, "")).ok()["data"]["bookmarked"], true);
    assert_eq!(server.get(&format!("/tasks/{drawn}")).ok()["pinned"], true);

    told(&server, "queue/pause");
    let waiting = enqueue(&server, json!({}));
    let pin = || request("PUT", &format!("{}/tasks/{waiting}/pin", server.url), &[], Vec::new());
    for refused in [server.post(&path(&waiting, "/bookmark"), &Value::Null), pin()] {
        assert_eq!(refused.status, 409, "{}", refused.json());
        let reason = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(reason.contains("unpin one") && reason.contains("pinned_tasks"), "{reason}");
    }
    // It stays what it is.
    told(&server, &format!("task/{drawn}/bookmark"));
    told(&server, &format!("task/{drawn}/unbookmark"));
    pin().ok();
    assert_eq!(get(&server, "queue")["pending_tasks"][0]["bookmarked"], true);
    assert_eq!(bookmarked(), json!([0, []]), "it has not ended");
}

#[test]
fn a_waiting_task_draws_what_it_was_changed_to() {
    let bench = Bench::new().config("[allowance]\npictures_per_day = 4\n");
    let server = bench.start();
    told(&server, "queue/pause");
    let task = enqueue(&server, json!({"override_settings": {"eta_ddim": 0.5}}));
    let data = || server.get(&path(&task, "")).ok()["data"].clone();
    let files = || {
        let folder = bench.data.path().join("objects/tasks").join(&task);
        std::fs::read_dir(folder).map_or(0, |files| files.count())
    };
    // Larger than what lies in a record.
    update(&server, &task, json!({"params": {"prompt": "sea ".repeat(3000)}})).ok();
    assert_eq!((files(), &data()["params"]["prompt"]), (1, &Value::Null));
    let changes = json!({
        "name": "wide", "checkpoint": "demo-v3", "params": {"prompt": "a cat", "width": 128, "n_iter": 2},
    });
    update(&server, &task, changes).ok();
    let one_setting = json!({"params": {"override_settings": {"CLIP_stop_at_last_layers": 2}}});
    update(&server, &task, one_setting).ok();
    let changed = data();
    assert_eq!(files(), 0, "the request before is nobody's");
    let params = &changed["params"];
    assert_eq!((&changed["name"], &params["prompt"]), (&json!("wide"), &json!("a cat")));
    assert_eq!((&params["width"], &params["height"], &params["steps"]), (&json!(128), &json!(64), &json!(3)));
    let settings = &params["override_settings"];
    assert_eq!(
        (&settings["eta_ddim"], &settings["CLIP_stop_at_last_layers"], &settings["sd_model_checkpoint"]),
        (&json!(0.5), &json!(2), &json!("demo-v3"))
    );
    update(&server, &task, json!({})).ok();

    let refused = |body: Value| {
        let reply = update(&server, &task, body);
        (reply.status, reply.json()["detail"][0]["loc"][1].clone())
    };
    assert_eq!(refused(json!({"params": {"steps": 0}})), (422, json!("steps")));
    assert_eq!(refused(json!({"params": "x"})), (422, json!("params")));
    assert_eq!(refused(json!({"name": "x".repeat(256), "params": {"width": 64}})), (422, json!("name")));
    let callback = json!({"params": {"callback_url": "https://hooks.example/x"}});
    assert_eq!(refused(callback), (422, json!("callback_url")));
    assert_eq!(refused(json!({"checkpoint": "no-such"})).0, 404);
    assert_eq!(update(&server, "none", json!({"name": "x"})).status, 404);
    let many = update(&server, &task, json!({"params": {"n_iter": 9}}));
    assert_eq!(many.status, 429, "{}", many.json());
    assert_eq!(data(), changed, "what was refused changed nothing");

    told(&server, "queue/resume");
    eventually("the task is drawn", || status(&server, &task) == "done");
    let results = server.get(&path(&task, "/results")).ok();
    let images = results["data"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    let infotext = images[0]["infotext"].as_str().unwrap();
    assert!(infotext.starts_with("a cat") && infotext.contains("Size: 128x64"), "{infotext}");
    let late = update(&server, &task, json!({"params": {"width": 64}}));
    assert_eq!(late.status, 409, "{}", late.json());
    update(&server, &task, json!({"name": "drawn"})).ok();
    assert_eq!(data()["name"], "drawn");
}

#[test]
fn what_waits_is_exported_and_becomes_new_tasks_again_all_or_none() {
    let bench = Bench::new().config("waiting_tasks_max = 4\n");
    let server = bench.start();
    told(&server, "queue/pause");
    let (first, second) =
        (enqueue(&server, json!({"prompt": "a cat"})), enqueue(&server, json!({"steps": 4})));
    told(&server, &format!("task/{first}/rename?name=cat"));
    told(&server, &format!("task/{second}/run"));
    let file = get(&server, "export");
    let ids: Vec<_> = file.as_array().unwrap().iter().map(|task| task["id"].clone()).collect();
    assert_eq!(ids, [second.as_str(), first.as_str()]);
    assert_eq!(
        (&file[1]["name"], &file[1]["type"], &file[1]["status"]),
        (&json!("cat"), &json!("txt2img"), &json!("pending"))
    );
    let params: Value = serde_json::from_str(file[1]["params"].as_str().unwrap()).unwrap();
    assert_eq!((&params["args"]["prompt"], &params["is_ui"]), (&json!("a cat"), &json!(false)));
    assert_eq!(get(&server, "export?limit=1&offset=1"), json!([file[1]]));
    told(&server, "queue/clear");
    assert_eq!(get(&server, "export"), json!([]));

    let import = |file: &Value| server.post(&format!("{API}/import"), &json!({"content": file.to_string()}));
    assert_eq!(import(&file).ok(), json!({"success": true, "message": "2 tasks wait"}));
    let queue = get(&server, "queue")["pending_tasks"].clone();
    assert_eq!((&queue[0]["params"]["steps"], &queue[1]["params"]["prompt"]), (&json!(4), &json!("a cat")));
    assert_eq!((&queue[0]["name"], &queue[1]["name"]), (&Value::Null, &json!("cat")));
    assert!(queue[0]["id"] != second.as_str() && queue[1]["id"] != first.as_str(), "{queue}");
    assert_eq!(import(&json!([])).ok()["success"], false);
    let key = [("Idempotency-Key", "again")];
    let repeated = server.post_with(&format!("{API}/import"), &key, &json!({"content": file.to_string()}));
    assert_eq!((repeated.status, &repeated.json()["detail"][0]["loc"][1]), (422, &json!("Idempotency-Key")));
    let five = import(&Value::Array(vec![file[0].clone(); 5]));
    assert_eq!(five.status, 422, "{}", five.json());

    let args = |kind: &str, args: Value| json!({"type": kind, "params": {"args": args}});
    for (bad, field) in [
        (args("txt2img", json!({"steps": 0})), "content.1.steps"),
        (args("txt2img", json!({"checkpoint": "no-such"})), "content.1"),
        (args("img2img", json!({})), "content.1"),
        (args("txt2vid", json!({})), "content.1.type"),
    ] {
        let reply = import(&json!([args("txt2img", quick()), bad]));
        assert_eq!((reply.status, &reply.json()["detail"][0]["loc"][1]), (422, &json!(field)));
        assert!(reply.json()["detail"][0]["msg"].as_str().unwrap().starts_with("content[1]: "), "{field}");
    }
    assert_eq!(import(&json!("no list")).status, 422);
    assert_eq!(get(&server, "queue")["total_pending_tasks"], 2, "none of them was taken in");
    enqueue(&server, json!({}));
    assert_eq!(import(&file).status, 429, "three wait, and four may");
    assert_eq!(get(&server, "queue")["total_pending_tasks"], 3);
}
