//! Requests of the web UI's and the plugins' routes as tasks: with `Request-Type: async` or `Task-Flag: true` the request is
//! stored, a worker asks the router for the answer, and the answer is the task's result. Its pictures lie in the object
//! store, like those that were drawn.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_engine::CancelFlag;
use gesso_store::{ImageFormat, Lease, ObjectKey, Outcome, Task, TaskError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::access::{self, ActingFor, Counted};
use super::error::{Failure, problem};
use super::extract;
use super::proxies::Base;
use super::task_answer::{self, Shape};
use super::task_view;
use super::wire::terms::{RequestTerms, Wait};
use crate::accounts::{Caller, Role};
use crate::app::App;
use crate::blocking::{base64_of, blocking};
use crate::error::AppError;
use crate::inputs;
use crate::tasks::{self, Repeat, Submitted, Work};

/// The kind of such a task.
pub(crate) const KIND: &str = "call";
/// Where the plugins' own APIs are; aliases have been led here.
const PLUGINS: &str = "/ext/";
/// Why one failed: the route's own answer says so.
pub(crate) const REFUSED: &str = "refused";

/// Of an answer that is kept.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Shorter texts are no pictures.
const PICTURE_CHARS_MIN: usize = 64;
/// How often to look whether the task was cancelled.
const LOOK: Duration = Duration::from_millis(100);

/// A request as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    method: String,
    /// With its query.
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// A body that is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// An answer as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    status: u16,
    content_type: String,
    /// Its `content-security-policy`: a plugin's page stays in its sandbox whichever way it is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    policies: Vec<String>,
    /// JSON with paths in place of its pictures, the path of a picture, or text.
    body: Value,
    /// A body that is neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// Middleware of the routes that may become tasks.
pub(crate) async fn layer(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let is_replay = request.extensions().get::<ActingFor>().is_some();
    if is_replay || !wants_task(request.headers()) {
        return next.run(request).await;
    }
    // Readers look, and a task is more than a look.
    if caller.role < Role::User {
        let message = format!("{} may not make tasks: it takes the role user", caller.name);
        return Failure(AppError::Forbidden(message)).into_response();
    }
    // Routes that draw were counted before.
    if request.extensions().get::<Counted>().is_none()
        && let Err(left) = app.quotas.take_request(&caller)
    {
        return access::too_many(left);
    }
    match as_task(&app, &caller, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

fn wants_task(headers: &HeaderMap) -> bool {
    let says = |name: &str, wanted: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    says("task-flag", "true") || matches!(Wait::of(headers), Wait::Nothing { .. })
}

async fn as_task(app: &Arc<App>, caller: &Caller, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let terms = RequestTerms::of(&parts.headers).map_err(AppError::Invalid)?;
    let bytes = match to_bytes(body, app.settings.limits.body_bytes_max).await {
        Ok(bytes) => bytes,
        Err(error) if extract::has_stopped(&error) => return Ok(extract::stopped()),
        Err(_) => {
            let message = "the body is larger than limits.body_bytes_max, or broke off; send smaller inputs";
            return Ok(problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let submitted = submit(app, caller, &terms, (parts.method.as_str(), path, content_type), &bytes).await?;
    task_answer::respond(app, caller, &Base::of(app, &parts), &terms, submitted, Shape::Own).await
}

/// Makes a request a task. `to` is its method, path and content type.
pub(crate) async fn submit(
    app: &Arc<App>,
    caller: &Caller,
    terms: &RequestTerms,
    to: (&str, &str, Option<&str>),
    body: &[u8],
) -> Result<Submitted, AppError> {
    let text = std::str::from_utf8(body).ok().map(str::to_owned);
    let base64 = match &text {
        Some(_) => None,
        None => Some(base64_of(body.to_vec()).await?),
    };
    let call = Call {
        method: to.0.to_owned(),
        path: to.1.to_owned(),
        content_type: to.2.map(str::to_owned),
        base64,
        text,
    };
    let body = serde_json::to_string(&call).map_err(|error| AppError::Internal(error.to_string()))?;
    // A key is one route's: another route's request is another task, whatever their bodies.
    let route = call.path.split('?').next().unwrap_or_default();
    let repeat = Repeat::new(caller, &format!("{KIND} {} {route}", call.method), || &body, terms);
    if let Some(submitted) = tasks::earlier(app, repeat.as_ref()).await? {
        return Ok(submitted);
    }
    tasks::submit(app, caller, Work { kind: KIND, body, pictures: 0, model: None, repeat }, terms).await
}

/// Asks the routes on behalf of tasks.
#[derive(Clone)]
pub(crate) struct Replays(Router);

impl Replays {
    pub(crate) fn new(routes: Router) -> Self {
        Self(routes)
    }
}

/// Asks a route as the task's owner, with the rights that they have now.
pub(crate) async fn run(
    (app, replays): (&Arc<App>, &Replays),
    lease: &Lease,
    call: Value,
    cancel: &CancelFlag,
) -> Result<Outcome, AppError> {
    let call: Call = serde_json::from_value(call)
        .map_err(|error| AppError::Internal(format!("a stored call is damaged: {error}")))?;
    let owner = &lease.task.owner;
    let caller = app.caller_named(owner).ok_or_else(|| {
        AppError::Forbidden(format!("{owner} has no account any more, and the task is theirs"))
    })?;
    // The other routes know which of their fields hold pictures.
    let text = match &call.text {
        Some(text) if call.path.starts_with(PLUGINS) => inputs::bring_to_plugin(app, owner, text).await?,
        _ => None,
    };
    let said = (text.or_else(|| call.text.clone()), call.base64.clone());
    // The blocking pool: base64.
    let body = blocking(move || body_of(said)).await??;
    let mut asked = std::pin::pin!(replays.0.clone().oneshot(request(&call, body, caller)?));
    let response = loop {
        tokio::select! {
            response = &mut asked => {
                let Ok(response) = response;
                break response;
            }
            // Dropping the request is what cancels it.
            () = tokio::time::sleep(LOOK) => if cancel.is_cancelled() {
                return Err(AppError::Cancelled);
            }
        }
    };
    match response.status() {
        // Passing shortages are no answer: the task waits for its turn again, as one that draws does.
        StatusCode::TOO_MANY_REQUESTS => Err(AppError::Overloaded("the route had too much to do".into())),
        StatusCode::SERVICE_UNAVAILABLE => Err(AppError::Unavailable("the route could not answer".into())),
        _ => keep(app, lease, &call, response).await,
    }
}

/// The body of a request that was stored, as text or in base64.
fn body_of(said: (Option<String>, Option<String>)) -> Result<Bytes, AppError> {
    match said {
        (Some(text), _) => Ok(text.into()),
        (None, Some(base64)) => {
            let file = BASE64_STANDARD.decode(base64);
            file.map(Bytes::from)
                .map_err(|error| AppError::Internal(format!("a stored call is damaged: {error}")))
        }
        (None, None) => Ok(Bytes::new()),
    }
}

/// The request that was stored, with this body.
fn request(call: &Call, body: Bytes, caller: Caller) -> Result<Request, AppError> {
    let mut builder = Request::builder().method(call.method.as_str()).uri(&call.path);
    if let Some(content_type) = &call.content_type {
        builder = builder.header(header::CONTENT_TYPE, content_type);
    }
    builder
        .extension(ActingFor(caller))
        .body(Body::from(body))
        .map_err(|error| AppError::Internal(format!("a stored call is damaged: {error}")))
}

/// Stores the answer's pictures, then the answer.
async fn keep(app: &App, lease: &Lease, call: &Call, response: Response) -> Result<Outcome, AppError> {
    let status = response.status();
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let policies = response.headers().get_all(header::CONTENT_SECURITY_POLICY).iter();
    // What is no text is no policy either.
    let policies = policies.filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect();
    let bytes = to_bytes(response.into_body(), ANSWER_BYTES_MAX)
        .await
        .map_err(|error| AppError::Internal(format!("the answer cannot be kept: {error}")))?;
    let mut images = Vec::new();
    let mut base64 = None;
    let json = content_type.contains("json").then(|| serde_json::from_slice::<Value>(&bytes).ok()).flatten();
    let body = match (json, format_of(&bytes), std::str::from_utf8(&bytes)) {
        (Some(mut body), _, _) => {
            let mut pictures = Vec::new();
            find_pictures(&mut body, &mut pictures);
            for text in pictures {
                let Some(format) = picture_kind(text) else { continue };
                let said = std::mem::take(text);
                // The blocking pool: base64.
                let (said, file) = blocking(move || {
                    let file = BASE64_STANDARD.decode(&said).ok();
                    (said, file)
                })
                .await?;
                let Some(file) = file else {
                    *text = said;
                    continue;
                };
                let key = store(app, lease, images.len() as u32 + 1, file, format).await?;
                *text = key.to_string();
                images.push(key);
            }
            body
        }
        (None, Some(format), _) => {
            let key = store(app, lease, 1, bytes.to_vec(), format).await?;
            let path = Value::String(key.to_string());
            images.push(key);
            path
        }
        (None, None, Ok(text)) => text.into(),
        (None, None, Err(_)) => {
            base64 = Some(base64_of(bytes.clone()).await?);
            Value::Null
        }
    };
    let error = (!status.is_success()).then(|| {
        let said = ["detail", "message"].into_iter().find_map(|name| body.get(name)).unwrap_or(&body);
        let said = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
        TaskError { code: REFUSED.into(), message: format!("{status}: {said:.500}"), problems: Vec::new() }
    });
    let answer = Answer { status: status.as_u16(), content_type, policies, body, base64 };
    let parameters = call.text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let details = json!({
        "parameters": parameters.map(shortened).unwrap_or_else(|| json!({})),
        "info": &answer.body,
        "answer": &answer,
        "warnings": [],
        "stepsPerSecond": null,
    });
    let key = ObjectKey::details(&lease.task.id, lease.attempt);
    app.objects.put(&key, details.to_string().into_bytes().into()).await?;
    Ok(Outcome { images, details: Some(key), error })
}

/// The route's own answer again, for a client that waited; `None` when the task ended without one.
pub(crate) async fn answer(app: &App, task: &Task) -> Result<Option<Response>, AppError> {
    if task.outcome.as_ref().is_none_or(|outcome| outcome.details.is_none()) {
        return Ok(None);
    }
    let mut details = task_view::details(app, task).await?;
    let answer = serde_json::from_value::<Answer>(details.remove("answer").unwrap_or_default());
    let Ok(answer) = answer else { return Ok(None) };
    let is_json = answer.content_type.contains("json");
    let path = answer.body.as_str().filter(|_| answer.content_type.starts_with("image/"));
    // One of the task's own: a route that says of a text that it is a picture may have any path in it.
    let file = task.outcome.iter().flat_map(|outcome| &outcome.images).find(|key| path == Some(key.as_str()));
    let bytes = match (file, &answer.base64) {
        (Some(key), _) => app.objects.get(key).await?,
        (None, Some(base64)) => {
            let base64 = base64.clone();
            // The blocking pool: base64.
            blocking(move || BASE64_STANDARD.decode(base64).unwrap_or_default()).await?.into()
        }
        (None, None) => match &answer.body {
            Value::String(text) if !is_json => Bytes::from(text.clone()),
            body => body.to_string().into(),
        },
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, bytes).into_response();
    if let Ok(value) = HeaderValue::from_str(&answer.content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    for policy in answer.policies {
        if let Ok(value) = HeaderValue::from_str(&policy) {
            response.headers_mut().append(header::CONTENT_SECURITY_POLICY, value);
        }
    }
    Ok(Some(response))
}

async fn store(
    app: &App,
    lease: &Lease,
    place: u32,
    file: Vec<u8>,
    format: ImageFormat,
) -> Result<ObjectKey, AppError> {
    let key = ObjectKey::image(&lease.task.owner, &lease.task.id, lease.attempt, place, format)
        .map_err(|error| AppError::Internal(error.to_string()))?;
    app.objects.put(&key, file.into()).await?;
    Ok(key)
}

/// Every text of an answer, whatever it is in.
fn find_pictures<'a>(value: &'a mut Value, found: &mut Vec<&'a mut String>) {
    match value {
        Value::String(text) if text.len() >= PICTURE_CHARS_MIN => found.push(text),
        Value::Array(items) => items.iter_mut().for_each(|item| find_pictures(item, found)),
        Value::Object(map) => map.values_mut().for_each(|item| find_pictures(item, found)),
        _ => {}
    }
}

/// What a text is that is a picture in base64, by its beginning.
fn picture_kind(text: &str) -> Option<ImageFormat> {
    format_of(&BASE64_STANDARD.decode(text.get(..PICTURE_CHARS_MIN)?).ok()?)
}

fn format_of(file: &[u8]) -> Option<ImageFormat> {
    match file {
        [0x89, b'P', b'N', b'G', ..] => Some(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(ImageFormat::Webp),
        _ => None,
    }
}

/// The echo of a request tells what it said, and not its pictures.
fn shortened(mut body: Value) -> Value {
    let mut texts = Vec::new();
    find_pictures(&mut body, &mut texts);
    for text in texts {
        if text.len() > 2048 {
            text.clear();
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_from_other_texts() {
        let png = BASE64_STANDARD.encode([b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 60]].concat());
        assert_eq!(picture_kind(&png), Some(ImageFormat::Png));
        assert_eq!((picture_kind(&"a".repeat(100)), picture_kind("short")), (None, None));
        let mut answer = json!({"images": [png, "x"], "info": "y".repeat(80), "deep": {"image": png}});
        let mut found = Vec::new();
        find_pictures(&mut answer, &mut found);
        assert_eq!(found.iter().filter(|text| picture_kind(text).is_some()).count(), 2);
    }

    #[test]
    fn a_request_comes_back_from_the_store_as_it_was() {
        let call = Call {
            method: "POST".into(),
            path: "/sdapi/v1/x?a=b".into(),
            content_type: Some("application/json".into()),
            text: Some("{}".into()),
            base64: None,
        };
        let caller = Caller { name: "ann".into(), role: Role::User, allowance: Default::default() };
        let body = body_of((call.text.clone(), None)).unwrap();
        assert_eq!(
            (&body[..], &body_of((None, Some("AAEC".into()))).unwrap()[..]),
            (&b"{}"[..], &[0, 1, 2][..])
        );
        let request = request(&call, body, caller).unwrap();
        assert_eq!(
            (request.method().as_str(), request.uri().to_string()),
            ("POST", "/sdapi/v1/x?a=b".into())
        );
        assert_eq!(request.headers()["content-type"], "application/json");
    }
}
