//! The OpenAPI document, put together from the handlers and the wire types.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi, ToSchema};

use super::error::PROBLEM_JSON;
use super::passed_on::is_web_ui;
use super::routes::{
    accounts, agent_scheduler, agent_scheduler_files, controlnet, controlnet_pose, files, functions, health,
    models, plugins, queue, serverless, tasks, webui, webui_config, webui_extras, webui_internal,
    webui_interrogate, webui_lists, webui_options, webui_server,
};
use super::wire::refusals::{Detail, ProblemDetails, ValidationErrors, WebUiError};
use super::wire::schema::{
    DetectBody, ExtraBatchImagesBody, ExtraSingleImageBody, Img2ImgBody, InterrogateBody, PngInfoBody,
    TaggerBody, Txt2ImgBody,
};
use super::wire::task::Ended;
use crate::grants::GrantBody;

mod bounds;
mod calls;
mod links;

use bounds::Bounds;
use calls::CallsAsTasks;
use links::{Links, Names};

#[derive(OpenApi)]
#[openapi(
    info(title = "Gesso", description = "A Stable Diffusion server with sandboxed plugins", license(name = "Apache-2.0")),
    modifiers(&Credentials, &Names, &CallsAsTasks, &Links, &Refusals, &Bounds), security(("bearer" = []), ("basic" = []), ("token" = [])),
    paths(
        serverless::txt2img, serverless::img2img, serverless::extra_images, serverless::restart, serverless::initialize, serverless::result, serverless::progress, serverless::cancellation,
        models::list, models::show, models::register, models::change, models::remove,
        functions::list, functions::remove, functions::update, tasks::list, tasks::show, tasks::remove, tasks::retry, tasks::pin, tasks::unpin, tasks::events, tasks::websocket,
        tasks::webhook_secret, tasks::change_webhook_secret, queue::show, queue::pause, queue::resume,
        webui::txt2img, webui::img2img, webui::progress, webui::interrupt,
        webui_extras::extra_single_image, webui_extras::extra_batch_images, webui_extras::png_info,
        webui_lists::sd_models, webui_lists::samplers, webui_lists::schedulers, webui_options::webui, webui_options::change_webui, webui_options::serverless, webui_options::change_serverless,
        webui_lists::scripts, webui_lists::script_info, webui_lists::latent_upscale_modes, webui_lists::upscalers, webui_lists::face_restorers, webui_lists::sd_vae,
        webui_lists::sd_modules,
        webui_lists::embeddings, webui_lists::realesrgan_models,
        webui_server::memory, webui_server::unload_checkpoint, webui_server::reload_checkpoint, webui_server::refresh_checkpoints,
        webui_server::refresh_vae, webui_server::refresh_loras, webui_server::refresh_embeddings, webui_server::skip,
        webui_server::cmd_flags, webui_server::extensions, webui_interrogate::interrogate, webui_interrogate::tagger, webui_interrogate::taggers, webui_interrogate::unload_taggers,
        webui_config::config, webui_internal::progress, webui_internal::pending_tasks, webui_internal::ping,
        webui_lists::loras, webui_lists::hypernetworks, webui_lists::prompt_styles,
        controlnet::version, controlnet::settings, controlnet::model_list, controlnet::module_list, controlnet::control_types,
        controlnet::detect, controlnet_pose::render,
        agent_scheduler::queue_txt2img, agent_scheduler::queue_img2img, agent_scheduler::pending, agent_scheduler::history,
        agent_scheduler::show, agent_scheduler::position, agent_scheduler::results, agent_scheduler::requeue,
        agent_scheduler::requeue_failed, agent_scheduler::remove, agent_scheduler::clear_queue, agent_scheduler::clear_history,
        agent_scheduler::pause, agent_scheduler::resume, agent_scheduler::samplers, agent_scheduler::sd_models,
        agent_scheduler::update, agent_scheduler::rename, agent_scheduler::bookmark, agent_scheduler::unbookmark, agent_scheduler::run,
        agent_scheduler::move_over, agent_scheduler_files::export, agent_scheduler_files::import,
        files::file,
        plugins::list, plugins::show, plugins::install, plugins::remove, plugins::forget_data, plugins::rollback, plugins::grant, plugins::settings, plugins::restore_settings, plugins::logs, plugins::history, plugins::configure,
        accounts::login, accounts::logout, accounts::whoami, accounts::users, accounts::add_user, accounts::user,
        accounts::change_user, accounts::remove_user, accounts::keys, accounts::add_key, accounts::remove_key, accounts::audit,
        health::live, health::ready, health::metrics,
    ),
    components(schemas(
        Txt2ImgBody, Img2ImgBody, ExtraSingleImageBody, ExtraBatchImagesBody, PngInfoBody, InterrogateBody, TaggerBody, DetectBody, GrantBody, plugins::InstallBody,
        ProblemDetails, WebUiError, ValidationErrors, Detail, Ended,
    )),
)]
struct Document;

/// How a request says who sent it. None is needed where access is open, and by the routes of anybody.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let http = |scheme, text: &str| {
            SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(text)).build())
        };
        let bearer = "An API key, a session's token, or the admin key, which is in the file admin-key in the data folder";
        let basic = "A user's name, with their password or one of their keys";
        let token =
            ApiKeyValue::with_description("Token", "The same as bearer, as the serverless API has it");
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", http(HttpAuthScheme::Bearer, bearer));
        components.add_security_scheme("basic", http(HttpAuthScheme::Basic, basic));
        components.add_security_scheme("token", SecurityScheme::ApiKey(ApiKey::Header(token)));
    }
}

/// Routes that ask nobody who they are.
const PUBLIC: [&str; 4] = ["/login", "/files/{id}", "/health/live", "/health/ready"];

/// Routes whose request is a task; a client that waits for its end is answered in the task's shape.
const DRAWING: [&str; 3] = ["/txt2img", "/img2img", "/extra_images"];

/// Refusals by dialect. Credentials, rates and bodies that are too large are judged before the dialects part, so that
/// problem details may come from every route; and what was asked of the web UI's may have become a task.
struct Dialects {
    own: Response,
    drawing: Response,
    web_ui: Response,
}

impl Dialects {
    fn new() -> Self {
        fn of<T: ToSchema>() -> Ref {
            Ref::from_schema_name(T::name())
        }
        let problem = ContentBuilder::new().schema(Some(of::<ProblemDetails>())).build();
        let own = ResponseBuilder::new()
            .description("Refused, with the reason")
            .content(PROBLEM_JSON, problem)
            .build();
        let or_json = |shapes: &[Ref]| {
            let any = shapes.iter().fold(AnyOfBuilder::new(), |any, shape| any.item(shape.clone()));
            let json = ContentBuilder::new().schema(Some(any)).build();
            ResponseBuilder::from(own.clone()).content("application/json", json).build()
        };
        // A task that could not be waited for is told by a problem's fields, with the task's.
        let task = [of::<Ended>(), of::<ProblemDetails>()];
        let words = [of::<WebUiError>(), of::<ValidationErrors>(), of::<Detail>()];
        Self { drawing: or_json(&task), web_ui: or_json(&[&words[..], &task[..]].concat()), own }
    }

    fn of(&self, path: &str) -> &Response {
        if is_web_ui(path) {
            &self.web_ui
        } else if DRAWING.contains(&path) {
            &self.drawing
        } else {
            &self.own
        }
    }
}

/// The operations of a path, with their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, post, put, patch, delete, .. } = item;
    let all = [("get", get), ("post", post), ("put", put), ("patch", patch), ("delete", delete)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// What every operation may answer beside what its own lines say.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let dialects = Dialects::new();
        for (path, item) in &mut document.paths.paths {
            let refused = dialects.of(path);
            for (_, operation) in operations(item) {
                let responses = &mut operation.responses.responses;
                for (status, response) in responses.iter_mut() {
                    // Where a line of the operation has a body of its own, that is what is sent.
                    if let RefOr::T(response) = response
                        && status.starts_with(['4', '5'])
                        && response.content.is_empty()
                    {
                        response.content.clone_from(&refused.content);
                    }
                }
                responses.insert("4XX".into(), refused.clone().into());
                if PUBLIC.contains(&path.as_str()) {
                    operation.security = Some(vec![SecurityRequirement::default()]);
                }
            }
        }
    }
}

/// The document served at `/openapi.json`.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json};

    use super::*;

    /// Every operation of the document: its method, its path and what is said of it.
    fn all() -> Vec<(String, String, Value)> {
        let document = serde_json::to_value(document()).unwrap();
        let paths = document["paths"].as_object().unwrap().clone();
        let of = |(path, item): (String, Value)| {
            let item = item.as_object().unwrap().clone();
            item.into_iter().map(move |(method, operation)| (method, path.clone(), operation))
        };
        paths.into_iter().flat_map(of).collect()
    }

    #[test]
    fn the_published_contract_changes_only_on_purpose() {
        insta::assert_json_snapshot!(super::document());
    }

    /// With `*` for what a path or a sentence about it leaves open: `{id}`, `<id>`.
    fn with_stars(text: &str) -> String {
        let mut stars = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '<']) {
            let (before, from) = rest.split_at(at);
            stars.push_str(before);
            let name = from[1..].find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let end = name.map(|length| 1 + length).filter(|&end| from[end..].starts_with(['}', '>']));
            stars.push_str(if end.is_some() { "*" } else { &from[..1] });
            rest = &from[end.map_or(1, |end| end + 1)..];
        }
        stars + rest
    }

    /// Whether a line speaks of a path, or of one like it and then of this one's end: `/v1/samplers`, `/schedulers`, `-vae`.
    fn is_told(path: &str, line: &str) -> bool {
        let goes_on = |letter: char| letter.is_alphanumeric() || "-_/*".contains(letter);
        let whole = line.match_indices(path).any(|(at, _)| !line[at + path.len()..].starts_with(goes_on));
        let mut ends = path.match_indices(['/', '-']).skip(1).map(|(at, _)| path.split_at(at));
        whole || ends.any(|(begin, end)| line.contains(begin) && line.contains(&format!("{end}`")))
    }

    #[test]
    fn every_path_is_told_of_in_a_document() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let names =
            ["http-api", "migrating-from-a1111", "migrating-from-serverless", "operations", "plugins"];
        let read = |name| std::fs::read_to_string(folder.join(format!("{name}.md"))).unwrap();
        let text = names.map(read).join("\n");
        let lines: Vec<_> = text.lines().map(with_stars).collect();
        let paths: BTreeSet<_> = all().into_iter().map(|(_, path, _)| path).collect();
        // Where signed URLs lead, which nobody writes by hand.
        let untold = paths.iter().filter(|path| *path != "/files/{id}").filter(|path| {
            let path = with_stars(path);
            !lines.iter().any(|line| is_told(&path, line))
        });
        assert_eq!(untold.collect::<Vec<_>>(), Vec::<&String>::new());
        assert!(!is_told("/tasks", "`/tasks/*/events`") && is_told("/a/b-c", "`/a/b-d`, `-c`"));
        assert_eq!(with_stars("/a/{id}/<n> a < b, <lora:x>"), "/a/*/* a < b, <lora:x>");
    }

    #[test]
    fn refusals_have_the_shapes_of_their_dialect() {
        let document = serde_json::to_value(super::document()).unwrap();
        let kinds = |path: &str, method: &str, status: &str| {
            let content = &document["paths"][path][method]["responses"][status]["content"];
            content.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        let (problem, json) = ("application/problem+json", "application/json");
        assert_eq!(kinds("/users", "get", "4XX"), [problem]);
        assert_eq!(kinds("/users", "post", "409"), [problem]);
        assert_eq!(kinds("/txt2img", "post", "409"), [problem, json]);
        assert_eq!(kinds("/sdapi/v1/samplers", "get", "4XX"), [problem, json]);
        assert_eq!(kinds("/sdapi/v1/options", "post", "422"), [problem, json]);
        assert_eq!(kinds("/health/ready", "get", "503"), [json], "the line has a body of its own");
    }

    #[test]
    fn every_route_that_may_be_a_task_says_how_it_answers_who_does_not_wait() {
        let accepted = json!({"$ref": "#/components/schemas/Accepted"});
        let mut tasks = BTreeSet::new();
        for (method, path, operation) in all() {
            let response = &operation["responses"]["202"];
            if response.is_null() {
                continue;
            }
            assert_eq!(response["content"]["application/json"]["schema"], accepted, "{method} {path}");
            assert!(response["links"]["result"].is_object(), "{method} {path}");
            let headers: Vec<_> = operation["parameters"].as_array().unwrap().iter().collect();
            for name in ["Request-Type", "taskId"] {
                assert!(headers.iter().any(|header| header["name"] == name), "{method} {path}: {name}");
            }
            tasks.insert(path);
        }
        for path in
            ["/txt2img", "/sdapi/v1/txt2img", "/sdapi/v1/interrogate", "/controlnet/detect", "/config"]
        {
            assert!(tasks.contains(path), "{path}");
        }
        for path in ["/sdapi/v1/interrupt", "/agent-scheduler/v1/queue", "/models"] {
            assert!(!tasks.contains(path), "{path}");
        }
    }

    #[test]
    fn files_are_told_as_bytes_and_not_as_lists_of_numbers() {
        let mut files = Vec::new();
        for (method, path, operation) in all() {
            for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
                if kind != "application/json" {
                    let schema = &content["schema"];
                    assert_eq!(schema["type"], "string", "{method} {path}: {schema}");
                    files.push((path.clone(), kind.clone(), schema["format"].clone()));
                }
            }
        }
        assert_eq!(files, [("/plugins".to_owned(), "application/wasm".to_owned(), json!("binary"))]);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_every_link_fills_a_parameter_of_one() {
        let all = all();
        let mut parameters = BTreeMap::new();
        for (method, path, operation) in &all {
            let name = operation["operationId"].as_str().unwrap();
            let known = operation["parameters"].as_array().into_iter().flatten();
            let known: BTreeSet<_> = known.map(|parameter| parameter["name"].as_str().unwrap()).collect();
            assert!(parameters.insert(name, known).is_none(), "{method} {path}: {name} is another's too");
        }
        let mut links = 0;
        for (method, path, operation) in &all {
            let responses = operation["responses"].as_object().unwrap().values();
            for link in
                responses.filter_map(|response| response["links"].as_object()).flat_map(|all| all.values())
            {
                let target = link["operationId"].as_str().unwrap();
                let known = parameters.get(target).unwrap_or_else(|| panic!("{method} {path}: no {target}"));
                for name in link["parameters"].as_object().unwrap().keys() {
                    assert!(known.contains(name.as_str()), "{method} {path}: {target} takes no {name}");
                }
                links += 1;
            }
        }
        for (method, path, status) in
            [("post", "/models", "200"), ("post", "/users", "201"), ("post", "/plugins", "201")]
        {
            let found = all.iter().find(|(of, at, _)| (of.as_str(), at.as_str()) == (method, path));
            assert!(found.unwrap().2["responses"][status]["links"].is_object(), "{path}");
        }
        assert!(links > 100, "{links}");
    }
}
