//! Every route on one page, grouped by who calls it.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use axum::{Json, Router};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_swagger_ui::SwaggerUi;

use super::routes::{
    controlnet, extensions, files, health, plugins, serverless, webui, webui_extras, webui_lists,
};
use super::{openapi, request_id};
use crate::app::App;

/// The whole surface.
pub(crate) fn router(app: Arc<App>) -> Router {
    let body_bytes_max = app.settings.limits.body_bytes_max;
    Router::new()
        // Applications: tasks.
        .route("/txt2img", post(serverless::txt2img))
        .route("/img2img", post(serverless::img2img))
        .route("/tasks/{id}/result", get(serverless::result))
        .route("/tasks/{id}/progress", get(serverless::progress))
        .route("/tasks/{id}/cancellation", post(serverless::cancellation))
        .route("/models", get(serverless::models))
        // Applications: the web UI's API.
        .route("/sdapi/v1/txt2img", post(webui::txt2img))
        .route("/sdapi/v1/img2img", post(webui::img2img))
        .route("/sdapi/v1/extra-single-image", post(webui_extras::extra_single_image))
        .route("/sdapi/v1/extra-batch-images", post(webui_extras::extra_batch_images))
        .route("/sdapi/v1/png-info", post(webui_extras::png_info))
        .route("/sdapi/v1/progress", get(webui::progress))
        .route("/sdapi/v1/interrupt", post(webui::interrupt))
        .route("/sdapi/v1/sd-models", get(webui_lists::sd_models))
        .route("/sdapi/v1/sd-vae", get(webui_lists::sd_vae))
        .route("/sdapi/v1/loras", get(webui_lists::loras))
        .route("/sdapi/v1/hypernetworks", get(webui_lists::hypernetworks))
        .route("/sdapi/v1/samplers", get(webui_lists::samplers))
        .route("/sdapi/v1/schedulers", get(webui_lists::schedulers))
        .route("/sdapi/v1/upscalers", get(webui_lists::upscalers))
        .route("/sdapi/v1/face-restorers", get(webui_lists::face_restorers))
        .route("/sdapi/v1/prompt-styles", get(webui_lists::prompt_styles))
        .route("/sdapi/v1/latent-upscale-modes", get(webui_lists::latent_upscale_modes))
        .route("/sdapi/v1/options", get(webui_lists::options))
        .route("/sdapi/v1/scripts", get(webui_lists::scripts))
        .route("/sdapi/v1/script-info", get(webui_lists::script_info))
        // Applications: ControlNet's API.
        .route("/controlnet/version", get(controlnet::version))
        .route("/controlnet/settings", get(controlnet::settings))
        .route("/controlnet/model_list", get(controlnet::model_list))
        .route("/controlnet/module_list", get(controlnet::module_list))
        .route("/controlnet/control_types", get(controlnet::control_types))
        .route("/controlnet/detect", post(controlnet::detect))
        // Whoever holds a signed URL.
        .route("/files/{*id}", get(files::file))
        // Plugins: their own APIs, and the admin's side.
        .route("/ext/{plugin}", any(extensions::handle_root))
        .route("/ext/{plugin}/", any(extensions::handle_root))
        .route("/ext/{plugin}/{*path}", any(extensions::handle))
        .route("/plugins", get(plugins::list).post(plugins::install))
        .route("/plugins/{id}", get(plugins::show).patch(plugins::configure).delete(plugins::remove))
        .route("/plugins/{id}/rollback", post(plugins::rollback))
        .route("/plugins/{id}/grants", put(plugins::grant))
        .route("/plugins/{id}/logs", get(plugins::logs))
        .route("/plugins/{id}/history", get(plugins::history))
        // Operators.
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .merge(SwaggerUi::new("/docs").url("/openapi.json", openapi::document()))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(middleware::from_fn(process_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(request_id::layer))
        .with_state(app)
}

/// The exact body clients test for to see whether an API is there.
async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"detail": "Not Found"}))).into_response()
}

async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({"detail": "Method Not Allowed"}))).into_response()
}

/// `X-Process-Time` in seconds, as the web UI has it, and the request's metrics.
async fn process_time(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let mut response = next.run(request).await;
    let seconds = started.elapsed().as_secs_f64();
    metrics::counter!("gesso_http_requests_total", "status" => response.status().as_str().to_owned())
        .increment(1);
    metrics::histogram!("gesso_http_request_seconds").record(seconds);
    if let Ok(value) = HeaderValue::from_str(&format!("{seconds:.4}")) {
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
    let body = json!({
        "message": "the server made a mistake; it goes on, please report the request that did it",
        "code": "internal",
        "requestId": request_id::current(),
    });
    (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
}
