//! The words of the web UI's queue extension, agent-scheduler: what its bodies have beside the web UI's fields, and tasks
//! as it tells them. Knows the store's records, and nothing of routes.

use gesso_store::{ObjectKey, Payload, Task, TaskState};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::fields::FieldProblem;
use super::generate::{Drawing, PICTURES, asked};
use super::options;
use super::query::{FromQuery, Said};

/// The extension's word for the checkpoint that is there without naming one.
const UNSAID: &str = "System";
/// What a request may have much of, beside its pictures; lists go without both, as there.
const UNTOLD: [&str; 2] = ["alwayson_scripts", "script_args"];
/// As the extension has room for.
const NAME_CHARS_MAX: usize = 255;
/// The filter of the history that means no state.
const BOOKMARKED: &str = "bookmarked";

/// A part of the queue.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct QueueQuery {
    /// 20 unless said otherwise.
    pub(crate) limit: Option<usize>,
    /// Tasks to leave out.
    pub(crate) offset: Option<usize>,
}

impl FromQuery for QueueQuery {
    fn read(said: &mut Said) -> Self {
        Self { limit: said.count("limit"), offset: said.count("offset") }
    }
}

/// A part of what has ended.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// done, failed or interrupted; bookmarked are those that are pinned. Any when left out.
    pub(crate) status: Option<String>,
    /// 20 unless said otherwise, 100 at most.
    pub(crate) limit: Option<usize>,
    /// Tasks to leave out.
    pub(crate) offset: Option<usize>,
}

impl FromQuery for HistoryQuery {
    fn read(said: &mut Said) -> Self {
        let status = said.text("status").map(str::to_owned);
        Self { status, limit: said.count("limit"), offset: said.count("offset") }
    }
}

impl HistoryQuery {
    /// Whether only what is pinned is asked for.
    pub(crate) fn is_of_pinned(&self) -> bool {
        self.status.as_deref() == Some(BOOKMARKED)
    }
}

/// What a task is to be called.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RenameQuery {
    /// 255 characters at most; empty takes the name away.
    #[param(max_length = 255)]
    pub(crate) name: String,
}

impl FromQuery for RenameQuery {
    fn read(said: &mut Said) -> Self {
        Self { name: said.needed_text("name") }
    }
}

/// A task's name as it is kept; an empty one is none.
///
/// # Errors
/// A name that is too long, or that goes over lines.
pub(crate) fn task_name(text: &str) -> Result<Option<String>, FieldProblem> {
    let problem = |message: String| FieldProblem { field: "name".to_owned(), message };
    let text = text.trim();
    let chars = text.chars().count();
    if chars > NAME_CHARS_MAX {
        return Err(problem(format!("name has {chars} characters; send at most {NAME_CHARS_MAX}")));
    }
    if text.contains(char::is_control) {
        return Err(problem("name holds a line break or another control character; leave it out".to_owned()));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// What is changed of a task. What is left out, or null, stays.
#[derive(Debug, Default, ToSchema)]
pub(crate) struct TaskUpdate {
    /// 255 characters at most; empty takes the name away.
    #[schema(max_length = 255)]
    pub(crate) name: Option<String>,
    /// Another checkpoint for a task that waits.
    pub(crate) checkpoint: Option<String>,
    /// Fields of the request of a task that waits, as txt2img or img2img has them.
    #[schema(value_type = Option<Object>)]
    pub(crate) params: Option<Map<String, Value>>,
}

impl TaskUpdate {
    /// # Errors
    /// Every field of another type.
    pub(crate) fn read(mut body: Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let name = take_text(&mut body, "name", &mut problems);
        let checkpoint = take_text(&mut body, "checkpoint", &mut problems);
        let params = match body.remove("params") {
            None | Some(Value::Null) => None,
            Some(Value::Object(params)) => Some(params),
            Some(_) => {
                let message = "params must be an object".to_owned();
                problems.push(FieldProblem { field: "params".to_owned(), message });
                None
            }
        };
        if problems.is_empty() { Ok(Self { name, checkpoint, params }) } else { Err(problems) }
    }
}

/// Takes out of a body what the web UI's fields do not have: the checkpoint and the VAE become options of the request, and
/// the URL that is told of the end is returned.
///
/// # Errors
/// Every field that is no text.
pub(crate) fn take_own(body: &mut Map<String, Value>) -> Result<Option<String>, Vec<FieldProblem>> {
    let mut problems = Vec::new();
    let mut take = |name: &str| take_text(body, name, &mut problems).filter(|text| !text.is_empty());
    let (checkpoint, vae, callback) = (take("checkpoint"), take("vae"), take("callback_url"));
    if !problems.is_empty() {
        return Err(problems);
    }
    if checkpoint.is_none() && vae.is_none() {
        return Ok(callback);
    }
    let overrides = body.entry("override_settings").or_insert_with(|| json!({}));
    if overrides.is_null() {
        *overrides = json!({});
    }
    // What is no object is refused where the field is read.
    if let Some(overrides) = overrides.as_object_mut() {
        if let Some(checkpoint) = checkpoint {
            overrides.remove(options::CHECKPOINT);
            if checkpoint != UNSAID {
                overrides.insert(options::CHECKPOINT.to_owned(), checkpoint.into());
            }
        }
        if let Some(vae) = vae {
            overrides.insert("sd_vae".to_owned(), vae.into());
        }
    }
    Ok(callback)
}

/// Takes a text out of a body. What is none is one of the problems.
fn take_text(body: &mut Map<String, Value>, name: &str, problems: &mut Vec<FieldProblem>) -> Option<String> {
    match body.remove(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(_) => {
            let message = format!("{name} must be a string");
            problems.push(FieldProblem { field: name.to_owned(), message });
            None
        }
    }
}

/// The extension's word for a state.
pub(crate) fn status(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "pending",
        TaskState::Running => "running",
        TaskState::Succeeded => "done",
        TaskState::Failed | TaskState::Expired => "failed",
        TaskState::Canceled => "interrupted",
    }
}

/// The ended states that a filter of the history means.
pub(crate) fn ended(status: &str) -> &'static [TaskState] {
    match status {
        "" | "all" | BOOKMARKED => {
            &[TaskState::Succeeded, TaskState::Failed, TaskState::Canceled, TaskState::Expired]
        }
        "done" => &[TaskState::Succeeded],
        "failed" => &[TaskState::Failed, TaskState::Expired],
        "interrupted" => &[TaskState::Canceled],
        _ => &[],
    }
}

/// A task that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuedId {
    pub(crate) task_id: String,
}

/// Tasks that have not ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuePart {
    /// Of those that run, the one that was made first; null when none runs.
    #[schema(required)]
    pub(crate) current_task_id: Option<String>,
    /// In the order in which they are drawn.
    pub(crate) pending_tasks: Vec<QueuedTask>,
    /// Of the caller, on all pages.
    pub(crate) total_pending_tasks: usize,
    /// Whether it rests: what waits does not begin, until an operator resumes it.
    pub(crate) paused: bool,
}

/// Tasks that have ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryPart {
    /// Newest first.
    pub(crate) tasks: Vec<QueuedTask>,
    /// On all pages.
    pub(crate) total: usize,
}

/// A task as the extension has it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuedTask {
    id: String,
    /// Always null.
    #[schema(required)]
    api_task_id: Option<String>,
    /// The URL that is told of the end.
    #[schema(required)]
    api_task_callback: Option<String>,
    /// What its owner calls it.
    #[schema(required)]
    name: Option<String>,
    /// txt2img, img2img, or call for a request of another route.
    #[serde(rename = "type")]
    kind: String,
    /// pending, running, done, failed or interrupted.
    status: &'static str,
    /// What was asked for, without pictures and arguments of scripts. Of a large request that has not succeeded the
    /// checkpoint alone.
    #[schema(value_type = Object)]
    params: Map<String, Value>,
    /// Higher goes first.
    priority: i32,
    /// From 1, 0 for one that runs; null when it has ended.
    #[schema(required)]
    position: Option<u64>,
    /// Of a task that is done JSON in a string: images (paths) and geninfo. Of one that failed the reason.
    #[schema(required)]
    result: Option<String>,
    /// Whether it is pinned: kept with its pictures until it is removed.
    bookmarked: bool,
    created_at: Moment,
    updated_at: Moment,
}

/// Milliseconds since 1970 in lists, and a text (RFC 3339) of one task: the extension has both.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Moment {
    Milliseconds(u64),
    Text(String),
}

impl Moment {
    fn text(ms: u64) -> Self {
        Self::Text(moment(ms))
    }
}

/// RFC 3339, UTC.
pub(super) fn moment(ms: u64) -> String {
    jiff::Timestamp::from_millisecond(ms as i64).unwrap_or_default().to_string()
}

impl QueuedTask {
    /// As lists have it. `details` is what was stored with its pictures.
    pub(crate) fn listed(task: &Task, position: Option<u64>, details: Option<&Map<String, Value>>) -> Self {
        Self {
            id: task.id.to_string(),
            api_task_id: None,
            api_task_callback: task.terms.webhook.clone(),
            name: task.terms.name.clone(),
            kind: task.kind.clone(),
            status: status(task.state),
            params: params(task, details),
            priority: task.priority,
            position,
            result: result(task, details),
            bookmarked: task.pinned,
            created_at: Moment::Milliseconds(task.created_ms),
            updated_at: Moment::Milliseconds(task.updated_ms),
        }
    }

    /// On its own.
    pub(crate) fn alone(task: &Task, position: Option<u64>, details: Option<&Map<String, Value>>) -> Self {
        Self {
            created_at: Moment::text(task.created_ms),
            updated_at: Moment::text(task.updated_ms),
            ..Self::listed(task, position, details)
        }
    }
}

/// One task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OneQueued {
    /// Always true.
    pub(crate) success: bool,
    pub(crate) data: QueuedTask,
}

/// Where one task is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OnePlace {
    /// Always true.
    pub(crate) success: bool,
    pub(crate) data: Place,
}

/// Where a task is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Place {
    /// pending, running, done, failed or interrupted.
    pub(crate) status: &'static str,
    /// From 1, 0 for one that runs; null when it has ended.
    #[schema(required)]
    pub(crate) position: Option<u64>,
}

/// The pictures of a task, or why there are none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pictures {
    /// Whether there are any.
    pub(crate) success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) data: Option<Vec<QueuedPicture>>,
}

/// One picture.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuedPicture {
    /// A data URI.
    pub(crate) image: String,
    /// How it was drawn; empty where that is not known.
    pub(crate) infotext: String,
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueDone {
    /// False when there was nothing to do.
    pub(crate) success: bool,
    pub(crate) message: String,
}

/// What was asked for, where that is told or lies in the record.
fn params(task: &Task, details: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut params = match (details, &task.payload) {
        (Some(details), _) => {
            details.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default()
        }
        (None, Payload::Inline(text)) if Drawing::parse(&task.kind).is_some() => {
            asked(serde_json::from_str(text).unwrap_or_default()).0
        }
        // Clients look every second, and a request with pictures is megabytes in the object store.
        (None, _) => Map::new(),
    };
    params.retain(|name, _| UNTOLD.iter().chain(&PICTURES).all(|untold| untold != name));
    params.insert("checkpoint".to_owned(), json!(task.terms.model));
    params
}

/// JSON in a string, or why there is none.
fn result(task: &Task, details: Option<&Map<String, Value>>) -> Option<String> {
    let outcome = task.outcome.as_ref()?;
    if let Some(error) = &outcome.error {
        return Some(error.message.clone());
    }
    let info = details?.get("info")?;
    let images: Vec<_> = outcome.images.iter().map(ObjectKey::as_str).collect();
    Some(json!({"images": images, "geninfo": info}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(body: Value) -> (Option<String>, Value) {
        let mut body = body.as_object().unwrap().clone();
        let callback = take_own(&mut body).unwrap();
        (callback, body.into())
    }

    #[test]
    fn the_checkpoint_and_the_vae_become_options_of_the_request() {
        let (callback, body) = taken(json!({
            "prompt": "x", "checkpoint": "a", "vae": "b", "callback_url": "https://hooks.example/x",
            "override_settings": {"sd_model_checkpoint": "c", "eta_ddim": 0.5},
        }));
        assert_eq!(callback.as_deref(), Some("https://hooks.example/x"));
        let options = json!({"sd_model_checkpoint": "a", "sd_vae": "b", "eta_ddim": 0.5});
        assert_eq!(body, json!({"prompt": "x", "override_settings": options}));
        let (callback, body) = taken(json!({"checkpoint": "", "vae": null, "callback_url": null}));
        assert_eq!((callback, body), (None, json!({})));
        let unsaid = json!({"checkpoint": "System", "override_settings": {"sd_model_checkpoint": "c"}});
        assert_eq!(taken(unsaid).1, json!({"override_settings": {}}));
        let null = json!({"checkpoint": "a", "override_settings": null});
        assert_eq!(taken(null).1["override_settings"]["sd_model_checkpoint"], "a");
    }

    #[test]
    fn fields_that_are_no_text_are_named_together() {
        let mut body = json!({"checkpoint": 1, "callback_url": []}).as_object().unwrap().clone();
        let problems = take_own(&mut body).unwrap_err();
        let fields: Vec<_> = problems.into_iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["checkpoint", "callback_url"]);
    }

    #[test]
    fn names_are_short_and_in_one_line() {
        let name = |text: &str| task_name(text).map_err(|problem| problem.message);
        assert_eq!(name(" the sea "), Ok(Some("the sea".to_owned())));
        assert_eq!((name(""), name(" ")), (Ok(None), Ok(None)));
        assert_eq!(name(&"é".repeat(255)), Ok(Some("é".repeat(255))));
        assert!(name(&"é".repeat(256)).unwrap_err().contains("at most 255"));
        assert!(name("a\nb").unwrap_err().contains("line break"));
    }

    #[test]
    fn an_update_says_what_changes_and_fields_of_another_type_are_named_together() {
        let read = |body: Value| TaskUpdate::read(body.as_object().unwrap().clone());
        let update = read(json!({"name": "x", "checkpoint": null, "params": {"steps": 3}, "id": 4})).unwrap();
        assert_eq!((update.name.as_deref(), update.checkpoint), (Some("x"), None));
        assert_eq!(update.params.unwrap()["steps"], 3);
        let problems = read(json!({"name": 1, "checkpoint": [], "params": "{}"})).unwrap_err();
        let fields: Vec<_> = problems.into_iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["name", "checkpoint", "params"]);
    }

    #[test]
    fn every_end_has_a_word_that_finds_it_again() {
        let ends: Vec<_> = TaskState::ALL.into_iter().filter(|state| state.is_terminal()).collect();
        assert_eq!(ended(""), ends);
        for state in ends.clone() {
            assert!(ended(status(state)).contains(&state), "{state}");
        }
        assert_eq!(ended(BOOKMARKED), ends);
        assert!(ended("pending").is_empty());
    }
}
