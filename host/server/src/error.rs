//! What a use case can fail with, named by what the caller does next. Knows no status codes: each dialect of the
//! HTTP API turns these into its own shape, once, at the edge.

use gesso_plugin_host::HookError;
use gesso_store::tasks::EXPIRED;
use gesso_store::{ObjectsError, TaskError, TaskProblem, TaskStoreError};

use crate::catalogue::CatalogueError;
use crate::http::wire::fields::FieldProblem;

/// Where a request says what it has for plugins; what the SDK says of it begins so.
const ARGUMENTS: &str = "alwayson_scripts";

/// The failures of a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error("{0}")]
    NotFound(String),
    /// It was there, and was deleted.
    #[error("{0}")]
    Gone(String),
    /// Something in the request is wrong; every problem is listed.
    #[error("{}", sentence(.0))]
    Invalid(Vec<FieldProblem>),
    /// A script that the request names is not there. Web UIs tell of it in other words than of what is wrong with a field.
    #[error("{}", .0.message)]
    NoScript(FieldProblem),
    /// A model's file is there, and nothing can be made of it: named by this field, or found for the request as a whole (`body`).
    #[error("{}", .0.message)]
    UnusableModel(FieldProblem),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Overloaded(String),
    #[error("the task was cancelled")]
    Cancelled,
    #[error(
        "the task did not end in the time it was given; give it more with Task-Timeout, ask for less, or have an operator give its checkpoint more (/batch_update_sd_resource)"
    )]
    TimedOut,
    /// Well-formed, and at odds with what came before.
    #[error("{0}")]
    Unprocessable(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    PluginFailed(String),
    #[error("{0}")]
    Unavailable(String),
    /// The device has not the memory for it, whatever else was dropped for it.
    #[error("{0}")]
    OutOfMemory(String),
    #[error("the disk is full; free some space in the data folder and try again")]
    StorageFull,
    #[error("{0}")]
    Internal(String),
}

impl AppError {
    /// The stable word for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Gone(_) => "gone",
            Self::Invalid(_) | Self::NoScript(_) => "invalid",
            Self::UnusableModel(_) => "unusable_model",
            Self::Conflict(_) => "conflict",
            Self::Overloaded(_) => "overloaded",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timeout",
            Self::Unprocessable(_) => "unprocessable",
            Self::Forbidden(_) => "forbidden",
            Self::PluginFailed(_) => "plugin_failed",
            Self::Unavailable(_) => "unavailable",
            Self::OutOfMemory(_) => "out_of_memory",
            Self::StorageFull => "storage_full",
            Self::Internal(_) => "internal",
        }
    }

    /// What is wrong with which field, where that is why.
    pub(crate) fn problems(&self) -> &[FieldProblem] {
        match self {
            Self::Invalid(problems) => problems,
            Self::NoScript(problem) | Self::UnusableModel(problem) => std::slice::from_ref(problem),
            _ => &[],
        }
    }

    /// As the record of a task that failed with it keeps it.
    pub(crate) fn to_task_error(&self) -> TaskError {
        let problems = self.problems().iter().cloned();
        TaskError {
            code: self.code().into(),
            message: self.to_string(),
            problems: problems
                .map(|FieldProblem { field, message }| TaskProblem { field, message })
                .collect(),
        }
    }

    /// What a task failed with, by its record.
    pub(crate) fn of_task(error: &TaskError) -> Self {
        let TaskError { code, message, problems } = error.clone();
        match code.as_str() {
            "not_found" => Self::NotFound(message),
            "gone" => Self::Gone(message),
            // A record of before fields were kept.
            "invalid" if problems.is_empty() => Self::invalid("body", message),
            "invalid" => {
                let problems = problems.into_iter();
                Self::Invalid(
                    problems.map(|TaskProblem { field, message }| FieldProblem { field, message }).collect(),
                )
            }
            "unusable_model" => {
                let field = problems.into_iter().next().map(|problem| problem.field);
                Self::unusable_model(&field.unwrap_or_else(|| "body".into()), message)
            }
            "conflict" => Self::Conflict(message),
            "overloaded" => Self::Overloaded(message),
            "cancelled" => Self::Cancelled,
            "timeout" => Self::TimedOut,
            "unprocessable" => Self::Unprocessable(message),
            "forbidden" => Self::Forbidden(message),
            "plugin_failed" => Self::PluginFailed(message),
            "unavailable" | EXPIRED => Self::Unavailable(message),
            "out_of_memory" => Self::OutOfMemory(message),
            "storage_full" => Self::StorageFull,
            _ => Self::Internal(message),
        }
    }

    /// A script that is not there, named by this field.
    pub(crate) fn no_script(field: &str, message: impl Into<String>) -> Self {
        Self::NoScript(FieldProblem { field: field.into(), message: message.into() })
    }

    /// A model that cannot be used, named by this field.
    pub(crate) fn unusable_model(field: &str, message: impl Into<String>) -> Self {
        Self::UnusableModel(FieldProblem { field: field.into(), message: message.into() })
    }

    /// What a hook behind the request's own ends with: its prompts are settled, so what it refuses is what it was told.
    pub(crate) fn of_later_hook(error: HookError) -> Self {
        match error {
            HookError::Rejected { .. } => Self::invalid(ARGUMENTS, error.to_string()),
            error => error.into(),
        }
    }

    /// A problem with one field.
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldProblem { field: field.into(), message: message.into() }])
    }
}

fn sentence(problems: &[FieldProblem]) -> String {
    problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}

impl From<CatalogueError> for AppError {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::Unknown { .. } => Self::NotFound(error.to_string()),
            // Of the default, which no request names.
            CatalogueError::Unusable { .. } | CatalogueError::Empty | CatalogueError::Unreadable(_) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl From<TaskStoreError> for AppError {
    fn from(error: TaskStoreError) -> Self {
        match error {
            TaskStoreError::NotFound => Self::NotFound("there is no such task".into()),
            TaskStoreError::Exists => {
                Self::Conflict("a task of this id exists already; choose another".into())
            }
            TaskStoreError::State(_) => Self::Conflict(error.to_string()),
            TaskStoreError::Full(_) => Self::StorageFull,
            TaskStoreError::Unavailable(_) => Self::Unavailable(error.to_string()),
            other => Self::Internal(format!("the task store failed: {other}")),
        }
    }
}

impl From<ObjectsError> for AppError {
    fn from(error: ObjectsError) -> Self {
        match error {
            ObjectsError::NotFound(_) => Self::NotFound("there is no such file any more".into()),
            ObjectsError::Full(_) => Self::StorageFull,
            ObjectsError::Unavailable(_) => Self::Unavailable(error.to_string()),
            ObjectsError::Copy(_) => Self::Internal(error.to_string()),
            ObjectsError::Changed(_) => Self::Conflict(error.to_string()),
            other => Self::Internal(format!("the object store failed: {other}")),
        }
    }
}

impl From<HookError> for AppError {
    fn from(error: HookError) -> Self {
        match &error {
            HookError::Rejected { reason, .. } => {
                let field = if reason.starts_with(ARGUMENTS) { ARGUMENTS } else { "prompt" };
                Self::invalid(field, error.to_string())
            }
            HookError::PluginFailed { .. } => Self::PluginFailed(error.to_string()),
            HookError::NotFound { .. } => Self::NotFound(error.to_string()),
            HookError::Overloaded => Self::Overloaded(error.to_string()),
            HookError::Cancelled => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_fails_with_what_its_record_says() {
        for error in [
            AppError::NotFound("no".into()),
            AppError::Gone("no".into()),
            AppError::invalid("mask", "no mask"),
            AppError::no_script("script_name", "no script"),
            AppError::unusable_model("refiner_checkpoint", "no model"),
            AppError::Conflict("no".into()),
            AppError::Overloaded("no".into()),
            AppError::Cancelled,
            AppError::TimedOut,
            AppError::Unprocessable("no".into()),
            AppError::Forbidden("no".into()),
            AppError::PluginFailed("no".into()),
            AppError::Unavailable("no".into()),
            AppError::OutOfMemory("no".into()),
            AppError::StorageFull,
            AppError::Internal("no".into()),
        ] {
            let told = AppError::of_task(&error.to_task_error());
            assert_eq!((told.code(), told.to_string()), (error.code(), error.to_string()));
            assert_eq!(told.problems(), error.problems());
        }
    }

    #[test]
    fn a_plugin_that_refuses_its_arguments_blames_them_and_not_the_prompt() {
        let rejected = |reason: &str| HookError::Rejected { plugin: "a".into(), reason: reason.into() };
        let arguments = "alwayson_scripts.a.args cannot be used: no";
        for (error, field) in [
            (AppError::from(rejected("No such word.")), "prompt"),
            (AppError::from(rejected(arguments)), "alwayson_scripts"),
            (AppError::of_later_hook(rejected(arguments)), "alwayson_scripts"),
            (AppError::of_later_hook(rejected("Not this one.")), "alwayson_scripts"),
        ] {
            assert_eq!(error.problems()[0].field, field, "{error}");
        }
        assert_eq!(AppError::of_later_hook(HookError::Cancelled).code(), AppError::Cancelled.code());
    }

    #[test]
    fn a_record_without_fields_blames_the_request_as_a_whole() {
        let old = TaskError { code: "invalid".into(), message: "no".into(), problems: Vec::new() };
        assert_eq!(AppError::of_task(&old).problems()[0].field, "body");
    }
}
