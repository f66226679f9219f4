//! What a use case can fail with, named by what the caller does next. Knows no status codes: each dialect of the
//! HTTP API turns these into its own shape, once, at the edge.

use gesso_plugin_host::HookError;
use gesso_store::{ObjectsError, TaskStoreError};

use crate::catalogue::CatalogueError;
use crate::http::wire::fields::FieldProblem;

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
            Self::Conflict(_) => "conflict",
            Self::Overloaded(_) => "overloaded",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timeout",
            Self::Unprocessable(_) => "unprocessable",
            Self::Forbidden(_) => "forbidden",
            Self::PluginFailed(_) => "plugin_failed",
            Self::Unavailable(_) => "unavailable",
            Self::StorageFull => "storage_full",
            Self::Internal(_) => "internal",
        }
    }

    /// A script that is not there, named by this field.
    pub(crate) fn no_script(field: &str, message: impl Into<String>) -> Self {
        Self::NoScript(FieldProblem { field: field.into(), message: message.into() })
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
            CatalogueError::Empty | CatalogueError::Unreadable(_) => Self::Unavailable(error.to_string()),
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
            HookError::Rejected { .. } => Self::invalid("prompt", error.to_string()),
            HookError::PluginFailed { .. } => Self::PluginFailed(error.to_string()),
            HookError::NotFound { .. } => Self::NotFound(error.to_string()),
            HookError::Overloaded => Self::Overloaded(error.to_string()),
            HookError::Cancelled => Self::Cancelled,
        }
    }
}
