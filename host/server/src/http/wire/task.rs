//! Tasks as answers tell of them, in the serverless dialect and on Gesso's own routes.

use gesso_core::ids::TaskId;
use gesso_engine::{CancelFlag, Progress};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::refusals::FieldMistake;

/// One task. What only some tasks have is left out of the others.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskView {
    pub(crate) task_id: String,
    /// waiting, running, succeeded, failed, canceled or expired.
    pub(crate) status: &'static str,
    /// The status, or of a running task: plugins, queued, loading_model, sampling, saving or canceling.
    pub(crate) phase: &'static str,
    /// txt2img, img2img, or call for a request of another route.
    pub(crate) kind: String,
    /// The file name of the checkpoint; null where there is none.
    #[schema(required)]
    pub(crate) model: Option<String>,
    /// What its owner calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) name: Option<String>,
    /// Whose it is.
    pub(crate) user: String,
    /// Higher goes first.
    pub(crate) priority: i32,
    /// How often it has begun.
    pub(crate) attempt: u32,
    /// Milliseconds since 1970, as all times here.
    pub(crate) created_ms: u64,
    #[schema(required)]
    pub(crate) started_ms: Option<u64>,
    #[schema(required)]
    pub(crate) finished_ms: Option<u64>,
    /// When it expires if it has not begun by then.
    #[schema(required)]
    pub(crate) start_by_ms: Option<u64>,
    /// From when on it is forgotten, with its pictures; null of a task that has not ended, and where they are kept.
    #[schema(required)]
    pub(crate) expires_ms: Option<u64>,
    /// From when on its pictures and its result are deleted, while it stays; null where they stay as long, or there are none.
    #[schema(required)]
    pub(crate) result_expires_ms: Option<u64>,
    /// Whether neither happens to it.
    pub(crate) pinned: bool,
    /// Why it failed, for programs.
    #[schema(required)]
    pub(crate) code: Option<String>,
    /// Why it failed.
    #[schema(required)]
    pub(crate) message: Option<String>,
    /// What was wrong with which field, where that is why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) errors: Option<Vec<FieldMistake>>,
    /// The paths of its pictures.
    pub(crate) images: Vec<String>,
    /// URLs that show them to whoever has these, for a while.
    #[serde(rename = "ossUrl")]
    pub(crate) oss_url: Vec<String>,
    /// Share done, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) progress: Option<f64>,
    /// Seconds to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) eta_relative: Option<f64>,
    /// Of a waiting task: its place in the queue, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) position: Option<u64>,
    /// Of a waiting task: how many wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) waiting: Option<u64>,
    /// Of a running task, in its events: the sampler's step of the picture that is furthest behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) step: Option<u32>,
    /// Steps asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) steps: Option<u32>,
    /// A data URI, in events for those who want previews.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) preview: Option<String>,
    /// Of a task that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<u64>>, nullable = false)]
    pub(crate) seeds: Option<Value>,
    /// How each picture was drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    pub(crate) infotexts: Option<Value>,
    /// What was missing and could be done without.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    pub(crate) warnings: Option<Value>,
    /// The plugins that changed something, in the order in which they did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) plugins: Option<Vec<TaskPlugin>>,
}

/// A plugin that changed something of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TaskPlugin {
    pub(crate) id: String,
    /// The version that did.
    pub(crate) version: String,
}

impl TaskPlugin {
    /// Those that a task's details tell; none of details from before they told them.
    pub(crate) fn of_details(details: &Map<String, Value>) -> Vec<Self> {
        let told = details.get("plugins").map(Vec::<Self>::deserialize);
        told.and_then(Result::ok).unwrap_or_default()
    }
}

/// A page of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskList {
    pub(crate) tasks: Vec<TaskView>,
    /// The `cursor` of the next page; null on the last.
    #[schema(required)]
    pub(crate) next: Option<u64>,
}

/// A task that was made, for those who do not wait for its end.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Accepted {
    pub(crate) task_id: String,
    pub(crate) status: &'static str,
    /// Place in the queue, from 1; 0 for one that does not wait.
    pub(crate) position: u64,
    /// Share done, 0 to 1.
    pub(crate) progress: f64,
    /// Seconds to the end, by what tasks took lately.
    pub(crate) eta_relative: f64,
    pub(crate) links: TaskLinks,
}

/// Where a task's own resources are; clients need not build these.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskLinks {
    #[serde(rename = "self")]
    pub(crate) itself: String,
    pub(crate) result: String,
    pub(crate) progress: String,
    pub(crate) cancel: String,
    pub(crate) events: String,
    pub(crate) websocket: String,
}

impl TaskLinks {
    pub(crate) fn of(id: &TaskId) -> Self {
        Self {
            itself: format!("/tasks/{id}"),
            result: format!("/tasks/{id}/result"),
            progress: format!("/tasks/{id}/progress"),
            cancel: format!("/tasks/{id}/cancellation"),
            events: format!("/tasks/{id}/events"),
            websocket: format!("/tasks/{id}/ws"),
        }
    }
}

/// A task that has ended, for those who waited: its pictures, or why there are none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    pub(crate) task_id: String,
    pub(crate) status: &'static str,
    #[serde(rename = "ossUrl", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) oss_url: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) code: Option<String>,
    /// What was wrong with which field, where that is why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) errors: Option<Vec<FieldMistake>>,
}

/// How a request that is a task is answered.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "for the document alone: each is sent as what it is")]
pub(crate) enum Answer {
    Ended(Ended),
    Accepted(Accepted),
}

/// One event of a stream.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document alone: axum writes the lines")]
pub(crate) struct SentEvent {
    /// To come back with, as `Last-Event-ID`.
    id: String,
    /// `task.status`, `task.progress` or `task.done`.
    event: String,
    /// The task as JSON, with `preview`, a data URI, where previews were asked for.
    data: String,
}

/// What became of a task. Only one that made something has the pictures and what belongs to them.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskResult {
    pub(crate) task_id: String,
    pub(crate) status: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) code: Option<String>,
    /// What was wrong with which field, where that is why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) errors: Option<Vec<FieldMistake>>,
    /// The paths of its pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) images: Option<Vec<String>>,
    /// URLs that show them to whoever has these, for a while.
    #[serde(rename = "ossUrl", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) oss_url: Option<Vec<String>>,
    /// What was asked for, without pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub(crate) parameters: Option<Value>,
    /// The web UI's `info`: JSON in a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) info: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    pub(crate) warnings: Option<Value>,
    /// The plugins that changed something, in the order in which they did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) plugins: Option<Vec<TaskPlugin>>,
    /// Sampler steps in a second, over all pictures; null for a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub(crate) steps_per_second: Option<Value>,
    /// Of a call: the status, content type and body that the route answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub(crate) answer: Option<Value>,
}

/// How far a task is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskProgress {
    pub(crate) task_id: String,
    pub(crate) status: &'static str,
    /// Share done, 0 to 1; 1 at any end.
    pub(crate) progress: f64,
    /// Seconds to the end.
    pub(crate) eta_relative: f64,
    pub(crate) state: JobState,
    /// A small PNG in base64; null where there is none.
    #[schema(required)]
    pub(crate) current_image: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) message: Option<String>,
}

/// The web UI's `state` of a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobState {
    pub(crate) skipped: bool,
    pub(crate) interrupted: bool,
    pub(crate) stopping_generation: bool,
    /// `txt2img` while anything runs, else empty.
    pub(crate) job: &'static str,
    /// Pictures in all; 0 when idle.
    pub(crate) job_count: u32,
    pub(crate) job_timestamp: &'static str,
    /// Pictures done.
    pub(crate) job_no: u32,
    pub(crate) sampling_step: u32,
    pub(crate) sampling_steps: u32,
}

impl JobState {
    pub(crate) fn of(progress: Option<&Progress>, cancel: Option<&CancelFlag>) -> Self {
        Self {
            skipped: cancel.is_some_and(CancelFlag::is_skipping),
            interrupted: cancel.is_some_and(CancelFlag::is_interrupted),
            stopping_generation: false,
            job: if progress.is_some() { "txt2img" } else { "" },
            job_count: progress.map_or(0, |progress| progress.images_total),
            job_timestamp: "0",
            job_no: progress.map_or(0, |progress| progress.images_done),
            sampling_step: progress.map_or(0, |progress| progress.step),
            sampling_steps: progress.map_or(0, |progress| progress.steps),
        }
    }
}

/// That it was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// `success`; of models `register success` and `delete success`.
    pub(crate) message: &'static str,
}

impl Done {
    pub(crate) const SUCCESS: Self = Self { message: "success" };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plugins_are_told_as_they_were_stored_and_are_none_before_they_were() {
        let of = |details: Value| TaskPlugin::of_details(details.as_object().unwrap());
        let stored = json!({"plugins": [{"id": "good", "version": "0.1.0"}]});
        assert_eq!(of(stored), [TaskPlugin { id: "good".into(), version: "0.1.0".into() }]);
        assert!(of(json!({"warnings": []})).is_empty());
    }

    #[test]
    fn a_job_tells_a_skip_and_an_interrupt_apart() {
        let state = |raise: fn(&CancelFlag)| {
            let cancel = CancelFlag::default();
            raise(&cancel);
            let state = JobState::of(None, Some(&cancel));
            (state.skipped, state.interrupted)
        };
        assert_eq!(state(CancelFlag::skip), (true, false));
        assert_eq!(state(CancelFlag::interrupt), (false, true));
        assert_eq!(state(CancelFlag::cancel), (false, false));
    }
}
