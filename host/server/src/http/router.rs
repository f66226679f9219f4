//! Every route on one page, grouped by who calls it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, delete, get, post, put};
use axum::{Extension, Json, Router};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;
use utoipa::openapi::{OpenApi, Server};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::error::{WebUiFailure, problem};
use super::proxies::Asked;
use super::routes::{
    accounts, agent_scheduler, agent_scheduler_files, controlnet, controlnet_pose, extensions, files,
    functions, health, models, plugins, queue, serverless, tasks, webui, webui_config, webui_extras,
    webui_internal, webui_interrogate, webui_lists, webui_options, webui_server,
};
use super::wire::refusals::Detail;
use super::{access, calls, error, openapi, passed_on, proxies, request_id};
use crate::accounts::{Caller, Role};
use crate::app::App;
use crate::error::AppError;
use crate::settings::WebUiErrors;

/// As the web UI: smaller answers cost more than they save.
const COMPRESSED_BYTES_MIN: u64 = 1000;
/// Compression runs where requests are served; what takes longer than a moment is sent as it is.
const COMPRESSED_BYTES_MAX: u64 = 256 * 1024;
/// How long browsers remember what a preflight said.
const PREFLIGHT_LIFE: Duration = Duration::from_secs(600);
/// Who sends a body and then nothing is let go, and so is a server that drains beside such a one.
const BODY_IDLE_MAX: Duration = Duration::from_secs(60);
/// What a name and a password take, many times over. Anybody may send them, and a server that is open to the world would
/// hold a whole body for each.
const LOGIN_BYTES_MAX: usize = 16 * 1024;
/// Headers that a page of another site may read.
const EXPOSED: [HeaderName; 8] = [
    header::LOCATION,
    header::RETRY_AFTER,
    HeaderName::from_static("idempotent-replayed"),
    HeaderName::from_static("taskid"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

/// Paths of the server's own that its document does not tell of.
const UNDOCUMENTED: [&str; 3] = ["/ext", "/docs", "/openapi.json"];

/// First parts of the paths that are the server's own: no plugin's alias begins with one.
pub(crate) fn own_paths() -> BTreeSet<String> {
    let document = openapi::document();
    let paths = document.paths.paths.keys().map(String::as_str).chain(UNDOCUMENTED);
    paths.filter_map(|path| path.split('/').nth(1)).map(str::to_owned).collect()
}

/// The whole surface, by who may use it. Where a path has several methods, each stands with its own role.
pub(crate) fn router(app: Arc<App>) -> Router {
    let body_bytes_max = app.settings.limits.body_bytes_max;
    let of = |routes: Router<Arc<App>>, role: Role| {
        let routes = routes.route_layer(middleware::from_fn_with_state(app.clone(), error::layer));
        routes.route_layer(middleware::from_fn_with_state((app.clone(), role), access::need))
    };
    // Requests of these may become tasks.
    let as_task = |routes: Router<Arc<App>>| {
        routes.route_layer(middleware::from_fn_with_state(app.clone(), calls::layer))
    };
    let counted = |routes: Router<Arc<App>>| {
        routes.route_layer(middleware::from_fn_with_state(app.clone(), access::count))
    };
    let awake = |routes: Router<Arc<App>>| {
        routes.route_layer(middleware::from_fn_with_state(app.clone(), begins_nothing_at_the_end))
    };
    let plugins_own = of(as_task(plugins_own()), Role::User);
    let aliased: Router = plugins_own.clone().with_state(app.clone());
    let routes = Router::new()
        .merge(of(reading(), Role::Reader))
        .merge(of(as_task(webui_reading()), Role::Reader))
        .merge(of(counted(drawing()), Role::User))
        .merge(of(counted(as_task(awake(working()))), Role::User))
        .merge(plugins_own)
        .merge(of(using(), Role::User))
        .merge(of(as_task(webui_using()), Role::User))
        .merge(of(operating(), Role::Operator))
        .merge(of(as_task(webui_operating()), Role::Operator))
        .merge(of(administering(), Role::Admin))
        .merge(public())
        .fallback(move |State(app): State<Arc<App>>, caller: Result<Caller, Response>, request: Request| {
            by_alias(app, aliased, caller.ok(), request)
        })
        .method_not_allowed_fallback(method_not_allowed);
    bounded(routes, body_bytes_max, BODY_IDLE_MAX)
        .layer(middleware::from_fn_with_state(app.clone(), passed_on::layer))
        .layer(middleware::from_fn_with_state(app.clone(), access::identify))
        .layer(middleware::from_fn_with_state(app.clone(), proxies::layer))
        .layer(cors(&app.settings.cors_origins))
        .layer(CompressionLayer::new().gzip(true).compress_when(worth_compressing()))
        .layer(middleware::from_fn_with_state(app.clone(), process_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(request_id::layer))
        .with_state(app)
}

/// With bounds on what a body may take: bytes, unless a route has its own, and time in which nothing of it comes.
fn bounded<S: Clone + Send + Sync + 'static>(routes: Router<S>, bytes: usize, idle: Duration) -> Router<S> {
    routes.layer(DefaultBodyLimit::max(bytes)).layer(RequestBodyTimeoutLayer::new(idle))
}

/// Anybody, without credentials.
fn public() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(home))
        .route("/login", post(accounts::login).layer(DefaultBodyLimit::max(LOGIN_BYTES_MAX)))
        // Whoever holds a signed URL.
        .route("/files/{*id}", get(files::file))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .merge(documents())
}

/// The server's document, and the page that shows it and sends requests with the password that a browser remembers: no other
/// page may have it in a frame and lead a hand to its buttons.
fn documents() -> Router<Arc<App>> {
    let document = Arc::new(openapi::document());
    // Seen from the page, so that it is found below the path of a proxy too.
    let page = SwaggerUi::new("/docs").config(Config::new(["../openapi.json"]));
    Router::<Arc<App>>::from(page)
        .route(
            "/openapi.json",
            get(move |Extension(asked): Extension<Asked>| async move { told(&document, &asked) }),
        )
        .layer(middleware::map_response(unframed))
}

/// The document. Where a proxy took a path away it says so, and the page sends its requests there.
fn told(document: &OpenApi, asked: &Asked) -> Response {
    let Some(prefix) = &asked.prefix else { return Json(document).into_response() };
    let mut below = document.clone();
    below.servers = Some(vec![Server::new(prefix)]);
    Json(below).into_response()
}

async fn unframed(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// What there is, and what is one's own.
fn reading() -> Router<Arc<App>> {
    Router::new()
        .route("/whoami", get(accounts::whoami))
        .route("/logout", post(accounts::logout))
        // The serverless API.
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::show))
        .route("/tasks/{id}/events", get(tasks::events))
        .route("/tasks/{id}/ws", get(tasks::websocket))
        .route("/queue", get(queue::show))
        .route("/webhooks/secret", get(tasks::webhook_secret))
        .route("/tasks/{id}/result", get(serverless::result))
        .route("/tasks/{id}/progress", get(serverless::progress))
        .route("/models", get(models::list))
        .route("/models/{model_name}", get(models::show))
        .route("/list/sdapi/functions", get(functions::list))
        // As the product's documentation spells it.
        .route("/list/sdapi/fucntions", get(functions::list))
        .route("/options", get(webui_options::serverless))
        // The API of the web UI's queue extension; results have two paths there.
        .route("/agent-scheduler/v1/queue", get(agent_scheduler::pending))
        .route("/agent-scheduler/v1/history", get(agent_scheduler::history))
        .route("/agent-scheduler/v1/task/{id}", get(agent_scheduler::show))
        .route("/agent-scheduler/v1/task/{id}/position", get(agent_scheduler::position))
        .route("/agent-scheduler/v1/task/{id}/results", get(agent_scheduler::results))
        .route("/agent-scheduler/v1/results/{id}", get(agent_scheduler::results))
        .route("/agent-scheduler/v1/samplers", get(agent_scheduler::samplers))
        .route("/agent-scheduler/v1/sd-models", get(agent_scheduler::sd_models))
        .route("/agent-scheduler/v1/export", get(agent_scheduler_files::export))
}

/// What the web UI's clients look at.
fn webui_reading() -> Router<Arc<App>> {
    Router::new()
        .route("/sdapi/v1/progress", get(webui::progress))
        .route("/sdapi/v1/png-info", post(webui_extras::png_info))
        .route("/sdapi/v1/sd-models", get(webui_lists::sd_models))
        .route("/sdapi/v1/sd-vae", get(webui_lists::sd_vae))
        .route("/sdapi/v1/sd-modules", get(webui_lists::sd_modules))
        .route("/sdapi/v1/loras", get(webui_lists::loras))
        .route("/sdapi/v1/hypernetworks", get(webui_lists::hypernetworks))
        .route("/sdapi/v1/samplers", get(webui_lists::samplers))
        .route("/sdapi/v1/schedulers", get(webui_lists::schedulers))
        .route("/sdapi/v1/upscalers", get(webui_lists::upscalers))
        .route("/sdapi/v1/face-restorers", get(webui_lists::face_restorers))
        .route("/sdapi/v1/prompt-styles", get(webui_lists::prompt_styles))
        .route("/sdapi/v1/latent-upscale-modes", get(webui_lists::latent_upscale_modes))
        .route("/sdapi/v1/options", get(webui_options::webui))
        .route("/sdapi/v1/embeddings", get(webui_lists::embeddings))
        .route("/sdapi/v1/realesrgan-models", get(webui_lists::realesrgan_models))
        .route("/sdapi/v1/memory", get(webui_server::memory))
        .route("/sdapi/v1/cmd-flags", get(webui_server::cmd_flags))
        .route("/sdapi/v1/extensions", get(webui_server::extensions))
        .route("/sdapi/v1/refresh-checkpoints", post(webui_server::refresh_checkpoints))
        .route("/sdapi/v1/refresh-vae", post(webui_server::refresh_vae))
        .route("/sdapi/v1/refresh-loras", post(webui_server::refresh_loras))
        .route("/sdapi/v1/refresh-embeddings", post(webui_server::refresh_embeddings))
        .route("/config", get(webui_config::config))
        .route("/internal/progress", post(webui_internal::progress))
        .route("/internal/pending-tasks", get(webui_internal::pending_tasks))
        .route("/internal/ping", get(webui_internal::ping))
        .route("/sdapi/v1/scripts", get(webui_lists::scripts))
        .route("/sdapi/v1/script-info", get(webui_lists::script_info))
        .route("/tagger/v1/interrogators", get(webui_interrogate::taggers))
        .route("/tagger/v1/unload-interrogators", post(webui_interrogate::unload_taggers))
        // ControlNet's API.
        .route("/controlnet/version", get(controlnet::version))
        .route("/controlnet/settings", get(controlnet::settings))
        .route("/controlnet/model_list", get(controlnet::model_list))
        .route("/controlnet/module_list", get(controlnet::module_list))
        .route("/controlnet/control_types", get(controlnet::control_types))
}

/// What keeps the device busy; counted against the caller's rate.
fn drawing() -> Router<Arc<App>> {
    Router::new()
        .route("/txt2img", post(serverless::txt2img))
        .route("/img2img", post(serverless::img2img))
        .route("/extra_images", post(serverless::extra_images))
        .route("/tasks/{id}/retry", post(tasks::retry))
        .route("/sdapi/v1/txt2img", post(webui::txt2img))
        .route("/sdapi/v1/img2img", post(webui::img2img))
        .route("/agent-scheduler/v1/queue/txt2img", post(agent_scheduler::queue_txt2img))
        .route("/agent-scheduler/v1/queue/img2img", post(agent_scheduler::queue_img2img))
        .route("/agent-scheduler/v1/task/{id}/requeue", post(agent_scheduler::requeue))
        .route("/agent-scheduler/v1/task/requeue-failed", post(agent_scheduler::requeue_failed))
        .route("/agent-scheduler/v1/import", post(agent_scheduler_files::import))
}

/// The same, of routes that know no tasks by themselves.
fn working() -> Router<Arc<App>> {
    Router::new()
        .route("/sdapi/v1/extra-single-image", post(webui_extras::extra_single_image))
        .route("/sdapi/v1/extra-batch-images", post(webui_extras::extra_batch_images))
        .route("/controlnet/detect", post(controlnet::detect))
        .route("/controlnet/render_openpose_json", post(controlnet_pose::render))
        .route("/sdapi/v1/interrogate", post(webui_interrogate::interrogate))
        .route("/tagger/v1/interrogate", post(webui_interrogate::tagger))
}

/// What changes one's own tasks, options and keys.
fn using() -> Router<Arc<App>> {
    Router::new()
        .route("/tasks/{id}", delete(tasks::remove))
        .route("/tasks/{id}/cancellation", post(serverless::cancellation))
        .route("/tasks/{id}/pin", put(tasks::pin).delete(tasks::unpin))
        .route("/webhooks/secret", post(tasks::change_webhook_secret))
        .route("/sdapi/v1/interrupt", post(webui::interrupt))
        .route("/sdapi/v1/skip", post(webui_server::skip))
        .route("/options", post(webui_options::change_serverless))
        .route("/keys", get(accounts::keys).post(accounts::add_key))
        .route("/keys/{id}", delete(accounts::remove_key))
        .route("/agent-scheduler/v1/task/{id}", put(agent_scheduler::update).delete(agent_scheduler::remove))
        .route("/agent-scheduler/v1/queue/clear", post(agent_scheduler::clear_queue))
        .route("/agent-scheduler/v1/history/clear", post(agent_scheduler::clear_history))
        .route("/agent-scheduler/v1/task/{id}/run", post(agent_scheduler::run))
        .route("/agent-scheduler/v1/task/{id}/move/{over}", post(agent_scheduler::move_over))
        .route("/agent-scheduler/v1/task/{id}/bookmark", post(agent_scheduler::bookmark))
        .route("/agent-scheduler/v1/task/{id}/unbookmark", post(agent_scheduler::unbookmark))
        .route("/agent-scheduler/v1/task/{id}/rename", post(agent_scheduler::rename))
}

/// The same of the web UI's, which may become tasks.
fn webui_using() -> Router<Arc<App>> {
    Router::new().route("/sdapi/v1/options", post(webui_options::change_webui))
}

/// The plugins' own APIs.
fn plugins_own() -> Router<Arc<App>> {
    Router::new()
        .route("/ext/{plugin}", any(extensions::handle_root))
        .route("/ext/{plugin}/", any(extensions::handle_root))
        .route("/ext/{plugin}/{*path}", any(extensions::handle))
}

/// What concerns everybody's work.
fn operating() -> Router<Arc<App>> {
    let elsewhere = [
        "server-kill",
        "server-restart",
        "server-stop",
        "create/embedding",
        "create/hypernetwork",
        "train/embedding",
        "train/hypernetwork",
    ];
    elsewhere
        .into_iter()
        .fold(Router::new(), |routes, name| {
            routes.route(&format!("/sdapi/v1/{name}"), post(webui_server::not_here))
        })
        .route("/metrics", get(health::metrics))
        .route("/models", post(models::register))
        .route("/models/{model_name}", put(models::change).delete(models::remove))
        .route("/del/sd/functions", post(functions::remove))
        .route("/batch_update_sd_resource", post(functions::update))
        .route("/queue/pause", post(queue::pause))
        .route("/queue/resume", post(queue::resume))
        .route("/agent-scheduler/v1/queue/pause", post(agent_scheduler::pause))
        .route("/agent-scheduler/v1/queue/resume", post(agent_scheduler::resume))
        .route("/restart", post(serverless::restart))
        .route("/initialize", post(serverless::initialize))
}

/// The same of the web UI's, which may become tasks.
fn webui_operating() -> Router<Arc<App>> {
    Router::new()
        .route("/sdapi/v1/unload-checkpoint", post(webui_server::unload_checkpoint))
        .route("/sdapi/v1/reload-checkpoint", post(webui_server::reload_checkpoint))
}

/// What decides who may do what.
fn administering() -> Router<Arc<App>> {
    Router::new()
        .route("/users", get(accounts::users).post(accounts::add_user))
        .route(
            "/users/{name}",
            get(accounts::user).patch(accounts::change_user).delete(accounts::remove_user),
        )
        .route("/audit", get(accounts::audit))
        .route("/plugins", get(plugins::list).post(plugins::install))
        .route("/plugins/{id}", get(plugins::show).patch(plugins::configure).delete(plugins::remove))
        .route("/plugins/{id}/rollback", post(plugins::rollback))
        .route("/plugins/{id}/grants", put(plugins::grant))
        .route("/plugins/{id}/settings", get(plugins::settings).post(plugins::restore_settings))
        .route("/plugins/{id}/data", delete(plugins::forget_data))
        .route("/plugins/{id}/logs", get(plugins::logs))
        .route("/plugins/{id}/history", get(plugins::history))
}

/// Which pages of other sites may read answers. The preflight needs no credentials.
fn cors(origins: &[String]) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(PREFLIGHT_LIFE);
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(tower_http::cors::Any);
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    layer.allow_origin(AllowOrigin::list(origins)).allow_credentials(true)
}

/// Lists and documents. Pictures are compressed as they are, and a drawing's answer is mostly pictures.
fn worth_compressing() -> impl Predicate {
    let small = |_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| {
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        length.is_none_or(|length| length <= COMPRESSED_BYTES_MAX)
    };
    // Events are sent as they happen, which compression would wait with.
    let plain = NotForContentType::IMAGES.and(NotForContentType::SSE);
    SizeAbove::new(COMPRESSED_BYTES_MIN).and(plain).and(small)
}

/// Where browsers begin; some clients ask for it to see whether a server is there.
async fn home() -> Redirect {
    Redirect::temporary("/docs")
}

/// What no route is for may be for a plugin that an admin lets answer there: it is asked through the plugins' own routes, so that
/// the same credentials, counts and tasks are theirs.
async fn by_alias(
    app: Arc<App>,
    plugins_own: Router,
    caller: Option<Caller>,
    mut request: Request,
) -> Response {
    let Some(uri) = extensions::behind_alias(&app, caller.as_ref(), request.uri()) else {
        return not_found(request.uri());
    };
    *request.uri_mut() = uri;
    let Ok(response) = plugins_own.oneshot(request).await;
    response
}

/// The exact body clients test for to see whether an API is there. Some write a web UI's path with a slash behind it, and are
/// shown the way as there.
fn not_found(uri: &Uri) -> Response {
    if let Some(path) = uri.path().strip_suffix('/')
        && path.starts_with("/sdapi/")
    {
        let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
        return Redirect::temporary(&format!("{path}{query}")).into_response();
    }
    (StatusCode::NOT_FOUND, Json(Detail { detail: "Not Found".into() })).into_response()
}

async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, Json(Detail { detail: "Method Not Allowed".into() })).into_response()
}

/// A server that drains begins nothing new but what belongs to tasks that it has taken.
async fn begins_nothing_at_the_end(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.is_draining() && request.extensions().get::<access::ActingFor>().is_none() {
        let message = "the server is shutting down; try again in a moment";
        return WebUiFailure(AppError::Unavailable(message.into())).into_response();
    }
    next.run(request).await
}

/// `X-Process-Time` in seconds, as the web UI has it and Forge has not, the request's metrics, and a line in the log for
/// those who ask for one: clients poll, so that most would be about progress. Method and path are told of the line's span.
async fn process_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let mut response = next.run(request).await;
    let seconds = started.elapsed().as_secs_f64();
    metrics::counter!("gesso_http_requests_total", "status" => response.status().as_str().to_owned())
        .increment(1);
    metrics::histogram!("gesso_http_request_seconds").record(seconds);
    tracing::debug!(target: "gesso::requests", status = response.status().as_u16(), seconds, "answered");
    if app.settings.compat.webui_errors == WebUiErrors::A1111
        && let Ok(value) = HeaderValue::from_str(&format!("{seconds:.4}"))
    {
        response.headers_mut().insert("x-process-time", value);
    }
    response
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    tracing::error!(panic = text.as_deref().unwrap_or("no message"), "a handler panicked");
    let message = "the server made a mistake; it goes on, please report the request that did it";
    problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use futures::{StreamExt, stream};

    use super::*;
    use crate::http::extract::RawBody;

    #[tokio::test]
    async fn a_body_that_stops_coming_is_given_up_and_a_larger_one_is_not_read() {
        let ask = async |idle: Duration, body: Body| {
            let routes = Router::new().route("/", post(|RawBody(bytes): RawBody| async move { bytes }));
            let routes: Router = bounded(routes, 4, idle);
            let request = Request::builder().method("POST").uri("/").body(body).unwrap();
            routes.oneshot(request).await.unwrap().status()
        };
        let stops = stream::iter([Ok::<_, Infallible>("ab")]).chain(stream::pending());
        let given_up = ask(Duration::from_millis(20), Body::from_stream(stops)).await;
        assert_eq!(given_up, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(ask(BODY_IDLE_MAX, Body::from("abcd")).await, StatusCode::OK);
        assert_eq!(ask(BODY_IDLE_MAX, Body::from("abcde")).await, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn no_alias_may_begin_as_a_route_does() {
        let own = own_paths();
        let routes = include_str!("router.rs").split(".route(\"/").skip(1);
        let firsts =
            routes.filter_map(|rest| rest.split(['/', '"']).next()).filter(|first| !first.is_empty());
        let missing: Vec<_> = firsts.filter(|first| !own.contains(*first)).collect();
        assert!(missing.is_empty(), "{missing:?} are not in {own:?}");
        assert!(own.contains("sdapi") && own.contains("openapi.json") && !own.contains(""));
    }
}
