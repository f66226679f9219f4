//! Who may do what: users, keys, sessions, roles, quotas, and what pages of other sites may not.

use serde_json::{Value, json};

use crate::support::{Bench, Reply, Server, checkout, quick, quick_with, request};

const PASSWORD: &str = "correct horse battery";

/// Adds a user and returns a key of theirs.
pub(super) fn user(server: &Server, name: &str, role: &str) -> String {
    let body = json!({"name": name, "role": role, "password": PASSWORD}).to_string();
    let reply = server.admin_json("POST", "/users", &body);
    assert_eq!(reply.status, 201, "{}", reply.json());
    let reply = server.admin_json("POST", "/keys", &json!({"user": name, "label": "test"}).to_string());
    assert_eq!(reply.status, 201, "{}", reply.json());
    reply.json()["key"].as_str().unwrap().to_owned()
}

pub(super) fn call(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Reply {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    request(method, &format!("{}{path}", server.url), &all, body)
}

pub(super) fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[test]
fn loopback_is_open_until_there_is_a_user_and_then_everybody_needs_credentials() {
    let bench = Bench::new();
    let server = bench.start();
    let me = server.get("/whoami").ok();
    assert_eq!(
        (&me["name"], &me["role"], &me["open"]),
        (&json!("default"), &json!("operator"), &json!(true))
    );
    let key = user(&server, "ann", "user");
    let refused = server.get("/whoami");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert!(refused.header("www-authenticate").starts_with("Basic realm"), "{:?}", refused.headers);
    let with = |name: &str, value: &str| call(&server, "GET", "/whoami", &[(name, value)], &Value::Null);
    assert_eq!(with("authorization", &bearer(&key)).ok()["name"], "ann");
    assert_eq!(with("token", &key).ok()["role"], "user");
    // ann:correct horse battery
    assert_eq!(with("authorization", "Basic YW5uOmNvcnJlY3QgaG9yc2UgYmF0dGVyeQ==").ok()["name"], "ann");
    for wrong in ["Basic YW5uOndyb25n", "Bearer x", "Bearer ", "Basic", ""] {
        assert_eq!(with("authorization", wrong).status, 401, "{wrong}");
    }
    for anybodys in ["/health/ready", "/openapi.json", "/health/live"] {
        assert_eq!(server.get(anybodys).status, 200, "{anybodys}");
    }
    // The first-run admin password is the key.
    let admin = std::fs::read_to_string(bench.data.path().join("admin-key")).unwrap();
    let login = server.post("/login", &json!({"userName": "admin", "password": admin.trim()})).ok();
    assert_eq!(with("token", login["token"].as_str().unwrap()).ok()["role"], "admin");
}

#[test]
fn access_can_be_closed_from_the_start_and_opened_for_good() {
    let closed = Bench::new().config("access = \"closed\"\n");
    let server = closed.start();
    assert_eq!(server.post("/txt2img", &quick()).status, 401);
    let open = Bench::new().config("access = \"open\"\n");
    let server = open.start();
    user(&server, "ann", "user");
    assert_eq!(server.get("/whoami").ok()["name"], "default");
    assert_eq!(server.get("/users").status, 401);
}

#[test]
fn keys_have_to_end_where_the_settings_say_so() {
    let bench = Bench::new().config("api_key_days_max = 30\n");
    let server = bench.start();
    server.admin_json("POST", "/users", &json!({"name": "ann"}).to_string());
    let make = |expires_ms: Value| {
        let body = json!({"user": "ann", "expires_ms": expires_ms}).to_string();
        server.admin_json("POST", "/keys", &body)
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let in_days = |days: u64| json!(now.as_millis() as u64 + days * 86_400_000);
    for endless in [Value::Null, in_days(31)] {
        let reply = make(endless);
        let body = reply.json();
        assert_eq!((reply.status, &body["errors"][0]["pointer"]), (400, &json!("#/expires_ms")), "{body}");
        assert!(body["message"].as_str().unwrap().contains("30 days at most"), "{body}");
    }
    let made = make(in_days(29));
    assert_eq!(made.status, 201, "{}", made.json());
    let key = made.json()["key"].as_str().unwrap().to_owned();
    let me = call(&server, "GET", "/whoami", &[("token", &key)], &Value::Null);
    assert_eq!(me.ok()["name"], "ann");
}

#[test]
fn a_session_opens_with_a_password_and_ends_with_logout() {
    let bench = Bench::new();
    let server = bench.start();
    user(&server, "ann", "user");
    let login = |password: &str| server.post("/login", &json!({"userName": "ann", "password": password}));
    let wrong = login("a wrong password");
    assert_eq!(
        (wrong.status, wrong.json()["message"].as_str().unwrap().starts_with("login fail")),
        (401, true)
    );
    let opened = login(PASSWORD).ok();
    assert_eq!((&opened["userName"], &opened["message"]), (&json!("ann"), &json!("login success")));
    let token = opened["token"].as_str().unwrap();
    assert_eq!(token.len(), 64);
    let me = || call(&server, "GET", "/whoami", &[("token", token)], &Value::Null);
    assert_eq!(me().ok()["name"], "ann");
    assert_eq!(call(&server, "POST", "/logout", &[("token", token)], &Value::Null).status, 200);
    assert_eq!(me().status, 401);
    let answers: Vec<_> = (0..12).map(|_| login("a wrong password")).collect();
    let last = &answers[11];
    assert_eq!(last.status, 429);
    assert!(last.header("retry-after").parse::<u32>().unwrap() >= 1);
}

#[test]
fn clients_of_the_serverless_product_may_be_told_410() {
    let bench = Bench::new().config("access = \"closed\"\ncompat.login_410 = true\n");
    let server = bench.start();
    let reply = server.get("/models");
    assert_eq!((reply.status, reply.json()["code"].clone()), (410, json!("unauthorized")));
    assert_eq!(server.post("/login", &json!({"userName": "x", "password": "y"})).status, 410);
}

#[test]
fn tasks_and_pictures_belong_to_who_asked_for_them() {
    let bench = Bench::new();
    let server = bench.start();
    let [ann, bob, operator] = [("ann", "user"), ("bob", "user"), ("olga", "operator")]
        .map(|(name, role)| bearer(&user(&server, name, role)));
    let as_who = |who: &str, method: &str, path: &str, body: &Value| {
        call(&server, method, path, &[("authorization", who)], body)
    };
    let done = as_who(&ann, "POST", "/txt2img", &quick()).ok();
    let id = done["taskId"].as_str().unwrap();
    let result = as_who(&ann, "GET", &format!("/tasks/{id}/result"), &Value::Null).ok();
    let picture = result["images"][0].as_str().unwrap();
    assert_eq!(picture, format!("images/ann/{id}_1.png"));
    for path in ["result", "progress"] {
        let path = format!("/tasks/{id}/{path}");
        assert_eq!(as_who(&bob, "GET", &path, &Value::Null).status, 404);
        assert_eq!(as_who(&operator, "GET", &path, &Value::Null).status, 200);
    }
    assert_eq!(as_who(&bob, "POST", &format!("/tasks/{id}/cancellation"), &Value::Null).status, 404);
    // Who may only look makes no task of a look.
    let reader = bearer(&user(&server, "rita", "reader"));
    let headers = [("authorization", reader.as_str()), ("Request-Type", "async")];
    assert_eq!(call(&server, "GET", "/sdapi/v1/samplers", &headers[..1], &Value::Null).status, 200);
    assert_eq!(call(&server, "GET", "/sdapi/v1/samplers", &headers, &Value::Null).status, 403);
    let from_picture = quick_with(json!({"init_images": [picture], "denoising_strength": 0.5}));
    assert_eq!(as_who(&ann, "POST", "/img2img", &from_picture).status, 200);
    let stolen = as_who(&bob, "POST", "/img2img", &from_picture);
    assert_eq!(stolen.status, 400, "{}", stolen.json());

    // The global routes of the web UI show and stop what is one's own.
    let long = quick_with(json!({"steps": 150, "width": 256, "height": 256}));
    let headers = [("authorization", ann.as_str()), ("Request-Type", "async")];
    let id = call(&server, "POST", "/txt2img", &headers, &long).ok()["taskId"].as_str().unwrap().to_owned();
    let progress =
        |who: &str| as_who(who, "GET", "/sdapi/v1/progress", &Value::Null).ok()["progress"].clone();
    crate::support::eventually("ann's task runs", || progress(&ann) != 0.0);
    assert_eq!(progress(&bob), 0.0);
    for route in ["interrupt", "skip"] {
        as_who(&bob, "POST", &format!("/sdapi/v1/{route}"), &Value::Null).ok();
        let state = as_who(&ann, "GET", "/sdapi/v1/progress", &Value::Null).ok()["state"].clone();
        assert_eq!((&state["interrupted"], &state["skipped"]), (&json!(false), &json!(false)), "{route}");
    }
    assert_ne!(progress(&ann), 0.0);
    as_who(&ann, "POST", "/sdapi/v1/interrupt", &Value::Null).ok();
    crate::support::eventually("ann's task has ended", || {
        as_who(&ann, "GET", &format!("/tasks/{id}/result"), &Value::Null).ok()["status"] != "running"
    });
}

#[test]
fn every_route_lets_in_the_roles_that_the_table_says_and_nobody_else() {
    let bench = Bench::new().config("access = \"closed\"\n");
    let server = bench.start();
    let roles = ["reader", "user", "operator"].map(|role| (role, bearer(&user(&server, role, role))));
    let mut document = server.get("/openapi.json").ok();
    // Those that no document tells of.
    for path in ["/list/sdapi/fucntions", "/agent-scheduler/v1/results/{id}", "/openapi.json"] {
        document["paths"][path] = json!({"get": {}});
    }
    for path in ["/ext/{plugin}", "/ext/{plugin}/", "/ext/{plugin}/x"] {
        document["paths"][path] = json!({"post": {}});
    }
    for name in ["server-kill", "server-restart", "server-stop"] {
        document["paths"][format!("/sdapi/v1/{name}")] = json!({"post": {}});
    }
    for what in ["embedding", "hypernetwork"] {
        document["paths"][format!("/sdapi/v1/create/{what}")] = json!({"post": {}});
        document["paths"][format!("/sdapi/v1/train/{what}")] = json!({"post": {}});
    }
    let router = std::fs::read_to_string(checkout().join("host/server/src/http/router.rs")).unwrap();
    let (router, _) = router.split_once("#[cfg(test)]").unwrap();
    for route in router.split(".route(").skip(1) {
        // What is no text is made of the names above.
        let Some(path) = route.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
            continue;
        };
        let path = path.replace("{*path}", "x").replace("{*id}", "{id}");
        assert!(path == "/" || document["paths"].get(&path).is_some(), "{path} is in no row of the table");
    }
    let mut table = std::collections::BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            // Nothing has this name, and no body is right, so that nothing is done.
            let url =
                path.replace("{id}", "nothing").replace("{name}", "nothing").replace("{plugin}", "nothing");
            // What is read by nobody may come when the reply is there, and the connection with both is reset.
            let body = if method == "GET" { Value::Null } else { json!([]) };
            let mut lets_in = Vec::new();

            let anonymous = call(&server, &method, &url, &[], &body);
            let is_refusal = |status| status == 401 || status == 403;
            // A file's own refusal is that of its signature.
            if !is_refusal(anonymous.status) || path.starts_with("/files/") || path == "/login" {
                lets_in.push("anybody");
            }
            for (role, key) in
                roles.iter().filter(|(role, _)| (path.as_str(), *role) != ("/restart", "operator"))
            {
                let reply = call(&server, &method, &url, &[("authorization", key)], &body);
                assert_ne!(reply.status, 401, "{method} {path} as {role}");
                assert!(
                    reply.status < 500 || reply.status == 501,
                    "{method} {path} as {role}: {}",
                    reply.status
                );
                if reply.status != 403 {
                    lets_in.push(role);
                }
            }
            // It would be done.
            if path == "/restart" {
                table.insert(format!("{path} {method}"), lets_in.first().copied().unwrap_or("operator"));
                continue;
            }
            let body = if method == "GET" { "" } else { "[]" };
            let reply = server.admin_json(&method, &url, body);
            assert!(!is_refusal(reply.status) || path.starts_with("/files/"), "{method} {path} as admin");
            let first = lets_in.first().copied().unwrap_or("admin");
            table.insert(format!("{path} {method}"), first);
        }
    }
    insta::assert_json_snapshot!("roles_by_route", table);
}

#[test]
fn every_route_says_of_others_tasks_what_it_says_of_none() {
    let bench = Bench::new();
    let server = bench.start();
    let mut document = server.get("/openapi.json").ok();
    document["paths"]["/agent-scheduler/v1/results/{id}"] = json!({"get": {}});
    let [ann, bob] = ["ann", "bob"].map(|name| bearer(&user(&server, name, "user")));
    let headers = [("authorization", ann.as_str()), ("taskid", "of-ann")];
    assert_eq!(call(&server, "POST", "/txt2img", &headers, &quick()).status, 200);
    let task = || {
        let task = call(&server, "GET", "/tasks/of-ann", &headers[..1], &Value::Null).ok();
        ["status", "attempt", "name", "pinned", "images"].map(|name| task[name].clone())
    };
    let before = task();
    let ask = |method: &str, path: &str, id: &str, body: &Value| {
        // One request id, so that the answers are the same to the letter.
        let headers = [("authorization", bob.as_str()), ("x-request-id", "one-for-all")];
        let reply = call(&server, method, &path.replace("{id}", id), &headers, body);
        (reply.status, String::from_utf8_lossy(&reply.body).replace(id, "{id}"))
    };
    let of_tasks = ["/tasks/{id}", "/agent-scheduler/v1/task/{id}", "/agent-scheduler/v1/results/{id}"];
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        if !of_tasks.iter().any(|beginning| path.starts_with(beginning)) {
            continue;
        }
        for method in methods.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            let url = format!("{}?name=mine", path.replace("{over}", "top"));
            let [others, none] = ["of-ann", "of-none"].map(|id| ask(&method, &url, id, &json!({})));
            assert_eq!(others, none, "{method} {path}");
            assert!(others.0 >= 400, "{method} {path}: {others:?}");
            asked += 1;
        }
    }
    assert!(asked >= 20, "{asked}");
    let progress = |id: &str| ask("POST", "/internal/progress", id, &json!({"id_task": id}));
    assert_eq!(progress("of-ann"), progress("of-none"));
    assert_eq!(task(), before);
}

#[test]
fn every_operation_refuses_as_its_security_says_whoever_proves_nothing() {
    let bench = Bench::new().config("access = \"closed\"\n");
    let server = bench.start();
    let document = server.get("/openapi.json").ok();
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(schemes.as_object().unwrap().len(), 3, "{schemes}");
    let proofs: [&[(&str, &str)]; 6] = [
        &[],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "nonsense")],
        &[("token", "wrong")],
        &[("token", "wrong"), ("authorization", "Bearer wrong")],
        &[("cookie", "token=wrong")],
    ];
    let mut open = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let url =
            path.replace("{id}", "nothing").replace("{name}", "nothing").replace("{model_name}", "nothing");
        for (method, operation) in methods.as_object().unwrap() {
            let security = operation.get("security").unwrap_or(&document["security"]);
            // An empty requirement is met by everybody.
            if security.as_array().unwrap().contains(&json!({})) {
                open.push(path.as_str());
                continue;
            }
            for proof in proofs {
                let reply = call(&server, &method.to_uppercase(), &url, proof, &json!({}));
                assert_eq!(reply.status, 401, "{method} {path} with {proof:?}");
                assert_eq!(reply.json()["code"], "unauthorized", "{method} {path}");
                assert!(!reply.header("www-authenticate").is_empty(), "{method} {path}");
            }
        }
    }
    assert_eq!(open, ["/files/{id}", "/health/live", "/health/ready", "/login"]);
    // nobody:secret
    let basic = [("authorization", "Basic bm9ib2R5OnNlY3JldA==")];
    assert_eq!(call(&server, "GET", "/metrics", &basic, &Value::Null).status, 401);
    for probe in ["/health/live", "/health/ready"] {
        let reply = call(&server, "GET", probe, &[("authorization", "Bearer wrong")], &Value::Null);
        assert_eq!(reply.status, 200, "{probe}: wrong credentials are as good as none");
    }
}

#[test]
fn an_allowance_bounds_requests_tasks_and_pictures_and_says_what_is_left() {
    let bench = Bench::new().config("[allowance]\npictures_per_day = 5\n");
    let server = bench.start();
    let key = bearer(&user(&server, "ann", "user"));
    let draw = |body: &Value| call(&server, "POST", "/txt2img", &[("authorization", &key)], body);
    let fast = quick_with(json!({"steps": 1}));
    assert_eq!(draw(&quick_with(json!({"steps": 1, "batch_size": 4}))).status, 200);
    let too_many = draw(&quick_with(json!({"steps": 1, "n_iter": 2})));
    assert_eq!(too_many.status, 429);
    assert!(
        too_many.json()["detail"].as_str().unwrap().contains("4 of your 5 pictures"),
        "{}",
        too_many.json()
    );
    assert_eq!(draw(&fast).status, 200);

    let change = json!({"allowance": {"requests_per_minute": 2, "pictures_per_day": 0}}).to_string();
    assert_eq!(server.admin_json("PATCH", "/users/ann", &change).status, 200);
    let (first, second, third) = (draw(&fast), draw(&fast), draw(&fast));
    assert_eq!([first.status, second.status, third.status], [200, 200, 429]);
    assert_eq!((first.header("ratelimit-limit"), first.header("ratelimit-remaining")), ("2", "1"));
    assert_eq!(second.header("ratelimit-remaining"), "0");
    assert!(third.header("retry-after").parse::<u32>().unwrap() <= 31);

    let change = json!({"allowance": {"tasks_at_once": 1, "pictures_per_day": 0}}).to_string();
    assert_eq!(server.admin_json("PATCH", "/users/ann", &change).status, 200);
    let headers = [("authorization", key.as_str()), ("Request-Type", "async")];
    let long = quick_with(json!({"steps": 150, "width": 256, "height": 256}));
    let id = call(&server, "POST", "/txt2img", &headers, &long).ok()["taskId"].as_str().unwrap().to_owned();
    let refused = draw(&fast);
    assert_eq!(refused.status, 429);
    assert!(refused.json()["detail"].as_str().unwrap().contains("cancel one"), "{}", refused.json());
    let path = format!("/tasks/{id}/cancellation");
    assert_eq!(call(&server, "POST", &path, &[("authorization", &key)], &Value::Null).status, 200);
    crate::support::eventually("the task has ended", || draw(&fast).status == 200);
}

#[test]
fn what_is_done_to_accounts_is_written_down_with_who_did_it_and_without_secrets() {
    let bench = Bench::new();
    let server = bench.start();
    let key = user(&server, "ann", "user");
    server.post("/login", &json!({"userName": "ann", "password": "a wrong password"}));
    call(&server, "DELETE", "/users/ann", &[("authorization", &bearer(&key))], &Value::Null);
    assert_eq!(server.admin_json("DELETE", "/users/ann", "").status, 200);
    let lines = server.admin_json("GET", "/audit", "").ok();
    let told: Vec<_> = lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            format!("{} {} {}", line["who"].as_str().unwrap(), line["what"].as_str().unwrap(), line["status"])
        })
        .collect();
    assert_eq!(
        told,
        [
            "admin POST /users 201",
            "admin POST /keys 201",
            "ann POST /login 401",
            "ann DELETE /users/ann 403",
            "admin DELETE /users/ann 200",
        ]
    );
    assert!(!lines.to_string().contains(&key) && !lines.to_string().contains(PASSWORD));
}

#[test]
fn pages_of_other_sites_change_nothing_unless_they_are_named() {
    let bench = Bench::new().config("cors_origins = [\"https://studio.example\"]\n");
    let server = bench.start();
    let interrupt =
        |headers: &[(&str, &str)]| call(&server, "POST", "/sdapi/v1/interrupt", headers, &Value::Null);
    assert_eq!(interrupt(&[("origin", "https://evil.example")]).status, 403);
    let sandboxed = interrupt(&[("origin", "null")]);
    let why = sandboxed.json().to_string();
    assert!(sandboxed.status == 403 && why.contains("own_origin") && !why.contains("cors_origins"), "{why}");
    assert_eq!(interrupt(&[("origin", &server.url)]).status, 200);
    let named = interrupt(&[("origin", "https://studio.example")]);
    assert_eq!((named.status, named.header("access-control-allow-origin")), (200, "https://studio.example"));
    // A name that was made to stand for this machine.
    for proof in
        [&[][..], &[("token", "x")], &[("authorization", "Bearer x")], &[("authorization", "Basic eDp4")]]
    {
        let headers = [&[("host", "rebound.example")], proof].concat();
        assert_eq!(call(&server, "GET", "/models", &headers, &Value::Null).status, 403, "{proof:?}");
    }
    // What a proxy passed on comes from who knows where.
    for says_so in [
        ("x-forwarded-for", "10.0.0.9"),
        ("via", "1.1 proxy"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/gesso"),
    ] {
        let passed_on = call(&server, "GET", "/models", &[says_so], &Value::Null);
        assert_eq!(passed_on.status, 401, "{says_so:?}");
    }
    // The preflight asks without credentials.
    user(&server, "ann", "user");
    let headers = [
        ("origin", "https://studio.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let preflight = call(&server, "OPTIONS", "/sdapi/v1/txt2img", &headers, &Value::Null);
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-headers"), "authorization,content-type");
}

#[test]
fn lists_are_compressed_for_those_who_ask() {
    let bench = Bench::new();
    let server = bench.start();
    let get = |path: &str| call(&server, "GET", path, &[("accept-encoding", "gzip")], &Value::Null);
    assert_eq!(get("/sdapi/v1/samplers").header("content-encoding"), "gzip");
    assert_eq!(get("/controlnet/version").header("content-encoding"), "");
}

#[test]
fn wrong_bodies_are_problems_with_a_pointer() {
    let bench = Bench::new();
    let server = bench.start();
    for (body, pointer) in [
        (json!({"name": "ann", "role": "king"}), "#/role"),
        (json!({"name": "ann", "allowance": {"pictures_per_day": "many"}}), "#/allowance/pictures_per_day"),
        (json!({"name": "ann", "colour": 1}), "#/colour"),
        (json!({"name": "a b"}), "#/name"),
        (json!({"name": "ann", "password": "short"}), "#/password"),
        (json!({}), "#"),
    ] {
        let reply = server.admin_json("POST", "/users", &body.to_string());
        assert_eq!((reply.status, reply.header("content-type")), (400, "application/problem+json"), "{body}");
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer, "{}", reply.json());
    }
}
