//! The queue as a file, as the web UI's queue extension has it: tasks with all that was asked for, and what can be read of such a
//! file again. Knows the store's records, and nothing of routes.

use gesso_store::Task;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::agent_scheduler::{moment, status, task_name};
use super::fields::FieldProblem;
use super::generate::{Drawing, asked};
use super::query::{FromQuery, Said};

/// Tasks that are written at once, unless fewer are asked for, and read at once.
pub(crate) const TASKS_MAX: usize = 1000;
/// The field of a body that holds a file.
const CONTENT: &str = "content";

/// A part of the queue.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// 1000 unless said otherwise, and at most.
    pub(crate) limit: Option<usize>,
    /// Tasks to leave out.
    pub(crate) offset: Option<usize>,
}

impl FromQuery for ExportQuery {
    fn read(said: &mut Said) -> Self {
        Self { limit: said.count("limit"), offset: said.count("offset") }
    }
}

/// A waiting task as a file has it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExportedTask {
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
    /// txt2img or img2img.
    #[serde(rename = "type")]
    kind: String,
    /// pending
    status: &'static str,
    /// JSON in a string: args (the request, pictures too), checkpoint, is_ui (false) and is_img2img.
    params: String,
    /// Higher goes first.
    priority: i32,
    /// Always null.
    #[schema(required)]
    result: Option<String>,
    /// Whether it is pinned.
    bookmarked: bool,
    /// RFC 3339.
    created_at: String,
    updated_at: String,
}

impl ExportedTask {
    /// `stored` is the body of its request.
    pub(crate) fn new(task: &Task, drawing: Drawing, stored: Map<String, Value>) -> Self {
        let params = json!({
            "args": asked(stored).0, "checkpoint": task.terms.model, "is_ui": false,
            "is_img2img": drawing == Drawing::Img2Img,
        });
        Self {
            id: task.id.to_string(),
            api_task_id: None,
            api_task_callback: task.terms.webhook.clone(),
            name: task.terms.name.clone(),
            kind: task.kind.clone(),
            status: status(task.state),
            params: params.to_string(),
            priority: task.priority,
            result: None,
            bookmarked: task.pinned,
            created_at: moment(task.created_ms),
            updated_at: moment(task.updated_ms),
        }
    }

    /// How large it is in the body that brings it back, where a file is a string.
    pub(crate) fn bytes(&self) -> usize {
        let task = serde_json::to_string(self).unwrap_or_default();
        Value::from(task).to_string().len()
    }
}

/// A file of tasks.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document alone: `imported` reads it")]
pub(crate) struct ImportBody {
    /// What `export` answered, as JSON in a string. At most 1000 tasks.
    content: String,
}

/// A task out of a file. All but what it is to draw and what it is called is settled anew.
#[derive(Debug, PartialEq)]
pub(crate) struct ImportedTask {
    pub(crate) drawing: Drawing,
    /// As `queue/txt2img` or `queue/img2img` takes it.
    pub(crate) body: Map<String, Value>,
    pub(crate) name: Option<String>,
}

/// The tasks of a file, in its order.
///
/// # Errors
/// What is no list of at most [`TASKS_MAX`] objects; of each of these the first problem is [`ImportedTask::read`]'s to tell.
pub(crate) fn imported(body: &mut Map<String, Value>) -> Result<Vec<Map<String, Value>>, FieldProblem> {
    let problem = |message: String| FieldProblem { field: CONTENT.to_owned(), message };
    let content = match body.remove(CONTENT) {
        Some(Value::String(text)) => serde_json::from_str(&text)
            .map_err(|error| problem(format!("content is no JSON in a string: {error}")))?,
        other => other.unwrap_or_default(),
    };
    let Value::Array(items) = content else {
        return Err(problem("content must be a list of tasks, as export answers it, in a string".to_owned()));
    };
    if items.len() > TASKS_MAX {
        let count = items.len();
        return Err(problem(format!("content has {count} tasks; send at most {TASKS_MAX} at once")));
    }
    let objects = items.into_iter().enumerate().map(|(index, item)| match item {
        Value::Object(task) => Ok(task),
        _ => Err(problem(format!("content[{index}] is no object"))),
    });
    objects.collect()
}

impl ImportedTask {
    /// Reads what this server has written, and what the extension writes of requests to its API. What the web UI's page asked for
    /// is written there by the places of the page's fields, which nothing else has.
    ///
    /// # Errors
    /// The first field that cannot be read.
    pub(crate) fn read(mut task: Map<String, Value>) -> Result<Self, FieldProblem> {
        let problem = |field: &str, message: &str| FieldProblem {
            field: field.to_owned(),
            message: format!("{field} {message}"),
        };
        let kind = task.get("type").and_then(Value::as_str).and_then(Drawing::parse);
        let drawing = kind.ok_or_else(|| problem("type", "must be txt2img or img2img"))?;
        let params = match task.remove("params") {
            Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or_default(),
            other => other.unwrap_or_default(),
        };
        let mut params = if let Value::Object(params) = params { params } else { Map::new() };
        if params.get("is_ui") == Some(&Value::Bool(true)) {
            return Err(problem("params", "are of the web UI's page; only tasks of the API can be imported"));
        }
        let Some(Value::Object(mut body)) = params.remove("args") else {
            return Err(problem("params", "must be an object with args, or that as JSON in a string"));
        };
        let others = ["checkpoint", "vae"].map(|name| (name, params.remove(name)));
        let callback = ("callback_url", task.remove("api_task_callback"));
        for (name, value) in others.into_iter().chain([callback]) {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                body.insert(name.to_owned(), value);
            }
        }
        let name = match task.get("name") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => task_name(text)?,
            Some(_) => return Err(problem("name", "must be a string")),
        };
        Ok(Self { drawing, body, name })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gesso_store::testing::ManualClock;
    use gesso_store::testing::conformance::new_task;
    use gesso_store::{MemoryTasks, NewTask, TaskStore, Terms};

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn read(task: Value) -> Result<ImportedTask, String> {
        ImportedTask::read(object(task)).map_err(|problem| problem.message)
    }

    #[tokio::test]
    async fn what_is_exported_is_imported_as_it_was_asked_for() {
        let terms = Terms {
            model: Some("demo.safetensors".to_owned()),
            name: Some("the sea".to_owned()),
            webhook: Some("https://hooks.example/x".to_owned()),
            ..Terms::default()
        };
        let store = MemoryTasks::new(Arc::new(ManualClock::new(0)));
        let task = store.submit(NewTask { terms, ..new_task("one") }).await.unwrap();
        let stored = object(json!({"prompt": "a cat", "steps": 20, "grid": true}));
        let exported = json!([ExportedTask::new(&task, Drawing::Txt2Img, stored)]);
        assert_eq!((&exported[0]["status"], &exported[0]["type"]), (&json!("pending"), &json!("txt2img")));
        assert_eq!(exported[0]["created_at"], "1970-01-01T00:00:00Z");
        for content in [Value::String(exported.to_string()), exported.clone()] {
            let tasks = imported(&mut object(json!({"content": content}))).unwrap();
            let task = ImportedTask::read(tasks.into_iter().next().unwrap()).unwrap();
            let body = object(json!({
                "prompt": "a cat", "steps": 20, "checkpoint": "demo.safetensors",
                "callback_url": "https://hooks.example/x",
            }));
            assert_eq!(
                task,
                ImportedTask { drawing: Drawing::Txt2Img, body, name: Some("the sea".to_owned()) }
            );
        }
    }

    #[test]
    fn what_is_no_file_of_tasks_is_refused_with_the_place() {
        let refused =
            |content: Value| imported(&mut object(json!({"content": content}))).unwrap_err().message;
        for content in [Value::Null, json!({}), json!(1), json!("{}"), json!("\"x\"")] {
            assert!(refused(content.clone()).contains("a list of tasks"), "{content}");
        }
        assert!(refused(json!("[")).contains("no JSON"));
        assert!(refused(json!([{}, 1])).contains("content[1]"));
        assert!(refused(json!(vec![json!({}); TASKS_MAX + 1])).contains("at most 1000"));
        assert_eq!(imported(&mut object(json!({"content": "[]"}))), Ok(Vec::new()));
    }

    #[test]
    fn a_task_that_cannot_be_read_is_told_by_its_field() {
        let good = json!({"type": "txt2img", "params": {"args": {"prompt": "x"}, "vae": "v"}});
        assert_eq!(read(good.clone()).unwrap().body, object(json!({"prompt": "x", "vae": "v"})));
        for (changes, word) in [
            (json!({"type": "txt2vid"}), "type must be"),
            (json!({"type": null}), "type must be"),
            (json!({"params": "no json"}), "params must be"),
            (json!({"params": [1]}), "params must be"),
            (json!({"params": {"prompt": "x"}}), "params must be"),
            (json!({"params": {"args": {}, "is_ui": true}}), "page"),
            (json!({"name": 1}), "name must be"),
            (json!({"name": "x".repeat(256)}), "at most 255"),
        ] {
            let mut task = object(good.clone());
            task.extend(object(changes));
            let message = read(Value::Object(task)).unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }
}
