//! Probes, metrics, documents.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Bench, checkout, eventually, quick};

#[test]
fn probes_answer_and_metrics_count_what_was_drawn() {
    let bench = Bench::new();
    let server = bench.start();
    assert_eq!(server.get("/health/live").ok(), json!({"status": "live"}));
    assert_eq!(server.get("/health/ready").ok(), json!({"status": "ready"}));
    server.post("/txt2img", &quick()).ok();
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    for line in [
        "gesso_images_total 1",
        "gesso_unet_calls_total 3",
        "gesso_unet_batches_total{rows=\"1\"} 3",
        "gesso_tasks_submitted_total 1",
        "gesso_model_loaded{model=\"demo-v3\"} 1",
        "gesso_stage_seconds_count{stage=\"engine\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let number = |name: &str| {
        let told = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        told.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse::<f64>().unwrap()
    };
    let bytes = number("gesso_model_bytes{model=\"demo-v3\",memory=\"host\"}");
    assert!(bytes > 0.0);
    assert_eq!(number("gesso_models_bytes{memory=\"host\"}"), bytes, "it is the only one");
    assert!(number("gesso_models_bytes_max{memory=\"host\"}") > bytes);
    assert!(number("gesso_store_bytes") > 0.0);
    server.admin("POST", "/sdapi/v1/unload-checkpoint", Vec::new()).ok();
    let told = String::from_utf8(server.get("/metrics").body).unwrap();
    for line in
        ["gesso_model_bytes{model=\"demo-v3\",memory=\"host\"} 0", "gesso_models_bytes{memory=\"host\"} 0"]
    {
        assert!(told.lines().any(|found| found == line), "{line} is not in\n{told}");
    }
    server.admin("POST", "/queue/pause", Vec::new()).ok();
    let id = server.submit(&quick());
    let waiting = || {
        let text = String::from_utf8(server.get("/metrics").body).unwrap();
        let told = text.lines().find_map(|line| line.strip_prefix("gesso_tasks_waiting{").map(str::to_owned));
        told.unwrap_or_default()
    };
    assert_eq!(waiting(), "model=\"demo-v3.safetensors\",priority=\"0\"} 1");
    server.post(&format!("/tasks/{id}/cancellation"), &Value::Null).ok();
    assert_eq!(waiting(), "model=\"demo-v3.safetensors\",priority=\"0\"} 0");
}

#[test]
fn what_failed_is_counted_by_its_reason() {
    let bench = Bench::new().plugin("guests", "trap");
    let server = bench.start();
    assert_eq!(server.post("/txt2img", &quick()).status, 500);
    let mut told = String::new();
    eventually("the task is counted", || {
        told = String::from_utf8(server.get("/metrics").body).unwrap();
        told.contains("gesso_tasks_ended_total")
    });
    for line in [
        "gesso_plugin_failures_total{plugin=\"trap\",reason=\"trap\"} 1",
        "gesso_plugin_failures_total{plugin=\"trap\",reason=\"cpu\"} 0",
        "gesso_tasks_ended_total{state=\"failed\",code=\"plugin_failed\"} 1",
    ] {
        assert!(told.lines().any(|found| found == line), "{line} is not in\n{told}");
    }
}

/// The command line of a server that writes its log into a file.
fn logging_into(log: &Path, bench: &Bench) -> Command {
    let direct = bench.command();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2> \"$LOG_FILE\""]).env("LOG_FILE", log);
    command.arg(direct.get_program()).args(direct.get_args());
    command
}

#[test]
fn every_request_is_logged_where_that_is_asked_for_and_no_query_is() {
    let bench = Bench::new().config("log_format = \"json\"\n");
    let log = bench.data.path().join("server.log");
    let mut command = logging_into(&log, &bench);
    command.env("GESSO_LOG", "info,gesso::requests=debug");
    let server = bench.start_with(command);
    server.get("/sdapi/v1/progress?skip_current_image=true").ok();
    assert_eq!(server.get("/gone?word=unspoken").status, 404);
    let answered = |path: &str| {
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(!text.contains("skip_current_image") && !text.contains("unspoken"), "{text}");
        // The last line may be on its way.
        let lines = text.split_inclusive('\n').filter(|line| line.starts_with('{') && line.ends_with('\n'));
        let mut lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let line = lines.find(|line| line["target"] == "gesso::requests" && line["span"]["path"] == path)?;
        assert!(line["fields"]["seconds"].is_f64() && line["span"]["method"] == "GET", "{line}");
        line["fields"]["status"].as_u64()
    };
    eventually("both are logged", || {
        answered("/sdapi/v1/progress") == Some(200) && answered("/gone") == Some(404)
    });
}

#[test]
fn log_lines_are_json_that_names_the_request_and_the_task() {
    let bench = Bench::new().config("log_format = \"json\"\n");
    let log = bench.data.path().join("server.log");
    let server = bench.start_with(logging_into(&log, &bench));
    let task = server.post("/txt2img", &quick()).ok()["taskId"].clone();
    server.post_with("/queue/pause", &[("x-request-id", "asked-by-a-test")], &Value::Null).ok();
    let find = |message: &str| {
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(!text.contains(" INFO "), "a line is no JSON: {text}");
        // Libraries may say something of their own, and the last line may be on its way.
        let lines = text.split_inclusive('\n').filter(|line| line.starts_with('{') && line.ends_with('\n'));
        let mut lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|line| line["fields"]["message"] == message)
    };
    eventually("both are logged", || {
        find("task ended").is_some() && find("the queue was paused or resumed").is_some()
    });
    let ended = find("task ended").unwrap();
    assert_eq!((&ended["fields"]["task"], &ended["span"]["id"]), (&task, &task), "{ended}");
    let paused = find("the queue was paused or resumed").unwrap();
    let spans = paused["spans"].as_array().unwrap();
    let of_request = spans.iter().find(|span| span["name"] == "request").unwrap();
    assert_eq!(of_request["id"], "asked-by-a-test", "{paused}");
}

#[test]
fn a_server_that_asks_nobody_who_they_are_says_so_and_no_log_has_the_admin_key() {
    for (access, says) in [
        ("auto", "nobody has an account: whoever uses this machine may draw and read results"),
        ("closed", "only the user admin has them: the password is in"),
    ] {
        let bench = Bench::new().config(&format!("log_format = \"json\"\naccess = \"{access}\"\n"));
        let log = bench.data.path().join("server.log");
        let server = bench.start_with(logging_into(&log, &bench));
        server.admin_json("POST", "/users", &json!({"name": "ann"}).to_string());
        assert!(server.stop().success());
        let told = std::fs::read_to_string(&log).unwrap();
        assert!(told.contains(says), "{access}: {told}");
        let path = bench.data.path().join("admin-key");
        let key = std::fs::read_to_string(&path).unwrap();
        assert!(key.trim().len() >= 43 && !told.contains(key.trim()), "{told}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn the_api_documents_itself_and_the_manuals_have_every_route() {
    let bench = Bench::new();
    let server = bench.start();
    let document = server.get("/openapi.json").ok();
    assert!(document["paths"]["/sdapi/v1/txt2img"]["post"].is_object());
    let manuals = ["http-api", "migrating-from-a1111", "migrating-from-serverless", "operations", "plugins"];
    let manuals = manuals
        .map(|name| std::fs::read_to_string(checkout().join("docs").join(format!("{name}.md"))).unwrap());
    for path in document["paths"].as_object().unwrap().keys() {
        // Tables write a route's beginning once.
        let end = path.rsplit('/').find(|part| !part.starts_with('{')).unwrap();
        let is_told = |text: &String| text.contains(&format!("/{end}"));
        assert!(manuals.iter().any(is_told), "no manual speaks of {path}");
    }
    let page = server.get("/docs/");
    assert_eq!(page.status, 200);
    assert!(String::from_utf8_lossy(&page.body).contains("swagger-ui"));
    assert_eq!(page.header("x-frame-options"), "DENY");
}

/// A path without the names of its places, which manuals call otherwise.
fn unnamed(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with(['{', '<']) { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn the_tables_of_routes_say_yes_to_those_that_there_are_and_no_to_the_others() {
    let bench = Bench::new();
    let server = bench.start();
    let document = server.get("/openapi.json").ok();
    let paths = document["paths"].as_object().unwrap();
    let mut routes: BTreeMap<_, _> =
        paths.iter().map(|(path, methods)| (unnamed(path), methods.clone())).collect();
    // What the document does not tell of: itself, and the second spelling of a path.
    let untold = ["/docs", "/openapi.json", "/agent-scheduler/v1/results/{}"];
    routes.extend(untold.map(|path| (path.to_owned(), json!({"get": {}}))));
    let mut judged = 0;
    for name in ["migrating-from-a1111", "migrating-from-serverless"] {
        let manual = std::fs::read_to_string(checkout().join(format!("docs/{name}.md"))).unwrap();
        let table = manual.split("\n## Routes\n").nth(1).unwrap().split("\n## ").next().unwrap();
        // Paths of plugins are there with the plugin.
        let rows = table.lines().filter(|line| line.starts_with("| ") && !line.contains("with the plugin `"));
        for row in rows {
            let cells: Vec<_> = row.split(" | ").collect();
            let is_there = ["yes", "501"].contains(&cells[1]);
            let (mut first, mut method) = (String::new(), None);
            for span in cells[0].split('`').skip(1).step_by(2).filter(|span| span.contains('/')) {
                let (verb, path) =
                    span.split_once(' ').map_or((None, span), |(verb, path)| (Some(verb), path));
                method = verb.map(str::to_lowercase).or(method);
                let path = unnamed(path.split('?').next().unwrap().trim_start_matches('…'));
                if first.is_empty() {
                    first.clone_from(&path);
                }
                judged += 1;
                if let Some(beginning) = path.strip_suffix('…') {
                    let begin = routes.keys().filter(|route| route.starts_with(beginning)).count();
                    assert_eq!(begin > 0, is_there, "{name}: {span}");
                    continue;
                }
                // The first path of a row is whole; others stand behind some beginning of it.
                let has_method =
                    |route: &Value| method.as_ref().is_none_or(|method| route.get(method).is_some());
                let mut whole = first.match_indices('/').map(|(at, _)| format!("{}{path}", &first[..at]));
                let is_route = whole.any(|whole| match cells[1] {
                    "501" => server.post(&whole, &json!({})).status == 501,
                    _ => routes.get(&whole).is_some_and(has_method),
                });
                assert_eq!(is_route, is_there, "{name}: {span} in {row}");
            }
        }
    }
    assert!(judged > 100, "{judged} paths were found in the tables");
}

#[test]
fn requests_that_the_manuals_show_have_fields_that_their_routes_take() {
    let bench = Bench::new();
    let server = bench.start();
    let document = server.get("/openapi.json").ok();
    let mut shown = 0;
    for manual in ["README", "docs/http-api", "docs/migrating-from-a1111", "docs/migrating-from-serverless"] {
        let text = std::fs::read_to_string(checkout().join(format!("{manual}.md"))).unwrap();
        let text = text.replace("\\\n", " ");
        for line in text.lines().filter(|line| line.contains("curl ")) {
            let Some((_, body)) = line.split_once("-d '{") else { continue };
            let body = format!("{{{}", body.split('\'').next().unwrap());
            let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {line}"));
            let path = line.split("http://127.0.0.1:7860").nth(1).unwrap().split([' ', '\'']).next().unwrap();
            let pointer = format!(
                "/paths/{}/post/requestBody/content/application~1json/schema",
                path.replace('/', "~1")
            );
            let schema = document.pointer(&pointer).unwrap_or_else(|| panic!("{path} takes no body: {line}"));
            let named = schema["$ref"].as_str().and_then(|name| document.pointer(name.strip_prefix('#')?));
            let known = named.unwrap_or(schema);
            // Options are maps, whose names the document does not list.
            let Some(known) = known["properties"].as_object() else { continue };
            for field in body.as_object().unwrap().keys() {
                assert!(known.contains_key(field), "{path} has no field {field}: {line}");
            }
            shown += 1;
        }
    }
    assert!(shown > 10, "{shown} requests were found");
}

#[test]
fn every_number_that_the_server_tells_is_in_the_manual_and_those_of_the_dashboard_are_told() {
    let bench = Bench::new().plugin("plugins", "watermark");
    let server = bench.start();
    server.post("/txt2img", &quick()).ok();
    server.admin("POST", "/queue/pause", Vec::new()).ok();
    server.submit(&quick());
    // A task is counted when all of it is over, which its client does not wait for.
    let mut told = String::new();
    eventually("the task is counted", || {
        told = String::from_utf8(server.get("/metrics").body).unwrap();
        told.contains("gesso_task_seconds_bucket") && told.contains("gesso_data_bytes")
    });
    let text = std::fs::read_to_string(checkout().join("deploy/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut names = BTreeSet::new();
    for target in
        dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap())
    {
        let expression = target["expr"].as_str().unwrap();
        let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        names.extend(words.filter(|word| word.starts_with("gesso_")).map(str::to_owned));
    }
    assert!(names.len() > 10, "{names:?}");
    // Told only once somebody was refused, which nobody is where access is open, once a webhook was told, and once a
    // plugin was compiled, which it need not be where an earlier start has left what came of it.
    let seldom =
        ["gesso_refused_credentials_total", "gesso_webhook_attempts_total", "gesso_plugin_compiler_confined"];
    for name in names.iter().filter(|name| !seldom.contains(&name.as_str())) {
        let is_told =
            |line: &str| line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with([' ', '{']));
        assert!(told.lines().any(is_told), "{name} is not in\n{told}");
    }
    let manual = std::fs::read_to_string(checkout().join("docs/operations.md")).unwrap();
    let rows = manual.lines().filter(|line| line.starts_with("| `gesso_"));
    let in_manual: BTreeSet<_> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    let types = told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let all: BTreeSet<_> = types.filter(|name| name.starts_with("gesso_")).chain(seldom).collect();
    assert_eq!(in_manual, all);
}

#[test]
fn the_unit_for_systemd_is_one_and_hears_when_the_server_listens_and_stops() {
    let bench = Bench::new();
    let socket = bench.data.path().join("notify");
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let mut command = bench.command();
    command.env("NOTIFY_SOCKET", &socket);
    let server = bench.start_with(command);
    let hear = || {
        let mut text = [0; 256];
        let length = heard.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    assert_eq!(hear(), "READY=1");
    assert!(server.stop().success());
    assert_eq!(hear(), "STOPPING=1");

    // Where the tool is: a setting that does not exist is a warning that names its line.
    let unit = checkout().join("deploy/gesso.service");
    let Ok(verified) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output()
    else {
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    let own: Vec<_> = said
        .lines()
        .filter(|line| line.contains("gesso.service") && !line.contains("gesso is not executable"))
        .collect();
    assert_eq!(own, Vec::<&str>::new());
}
