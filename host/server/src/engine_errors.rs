//! What the engine refuses or fails with, as use cases tell it.

use gesso_core::step_hook::StepHookError;
use gesso_engine::backend::BackendError;
use gesso_engine::{JobError, SubmitError};

use crate::error::AppError;

pub(crate) fn engine_refused(error: SubmitError) -> AppError {
    match error {
        SubmitError::Overloaded { .. } => AppError::Overloaded(error.to_string()),
        SubmitError::ShutDown => AppError::Unavailable(error.to_string()),
    }
}

pub(crate) fn engine_failed(error: JobError) -> AppError {
    match error {
        JobError::Cancelled => AppError::Cancelled,
        // Whoever watches over the server starts it again, and the task with it.
        JobError::ShutDown | JobError::Backend(BackendError::Lost(_)) => {
            AppError::Unavailable(error.to_string())
        }
        JobError::Backend(BackendError::StepHook(StepHookError::Rejected(reason))) => {
            AppError::invalid("alwayson_scripts", reason)
        }
        JobError::Backend(BackendError::StepHook(StepHookError::Failed(reason))) => {
            AppError::PluginFailed(reason)
        }
        JobError::Backend(BackendError::Request(message)) => AppError::invalid("body", message),
        JobError::Backend(_) | JobError::Panicked(_) => AppError::Internal(error.to_string()),
    }
}
