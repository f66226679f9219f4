//! What the engine refuses or fails with, as use cases tell it.

use gesso_core::step_hook::StepHookError;
use gesso_engine::backend::BackendError;
use gesso_engine::{JobError, SubmitError};

use crate::error::AppError;
use crate::http::wire::control;

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
        JobError::Backend(BackendError::Lora(message)) => AppError::invalid("prompt", message),
        JobError::Backend(BackendError::Control { index, message }) => {
            AppError::Invalid(vec![control::fault(index, &message)])
        }
        JobError::Backend(BackendError::Field { field, why }) => AppError::invalid(field, why),
        // So far as its head tells, it was refused before; which field named it is not known here.
        JobError::Backend(BackendError::Model(_)) => AppError::unusable_model("body", error.to_string()),
        JobError::Backend(BackendError::Vae(_)) => AppError::unusable_model(
            "override_settings",
            format!("sd_vae: {error}; name another VAE, or \"None\" for the checkpoint's own"),
        ),
        JobError::Backend(BackendError::OutOfMemory(_)) => AppError::OutOfMemory(format!(
            "{error}; ask for a smaller picture, or for fewer at a time (batch_size)"
        )),
        JobError::Backend(_) | JobError::Panicked(_) => AppError::Internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_memory_is_told_with_what_helps() {
        let failed = engine_failed(JobError::Backend(BackendError::OutOfMemory("CUDA out of memory".into())));
        assert_eq!(failed.code(), "out_of_memory");
        let told = failed.to_string();
        assert!(told.contains("CUDA out of memory") && told.contains("a smaller picture"), "{told}");
    }

    #[test]
    fn what_does_not_fit_the_model_is_told_of_its_field_where_one_is_known() {
        let field = |error: BackendError| engine_failed(JobError::Backend(error)).problems()[0].field.clone();
        let why = || "sigma_min 20 is not below sigma_max 14.6".to_owned();
        assert_eq!(field(BackendError::Field { field: "sigma_min", why: why() }), "sigma_min");
        assert_eq!(field(BackendError::Request(why())), "body");
    }

    #[test]
    fn a_file_that_turns_out_to_be_damaged_while_it_loads_is_named_with_a_code_of_its_own() {
        let why = "a.ckpt: it is not a whole model file (it ends early); fetch it again";
        let failed = engine_failed(JobError::Backend(BackendError::Model(why.into())));
        assert_eq!((failed.code(), failed.problems()[0].field.as_str()), ("unusable_model", "body"));
        assert!(failed.to_string().ends_with(why), "{failed}");
    }

    #[test]
    fn a_lora_that_cannot_be_used_is_laid_to_the_prompt_that_names_it() {
        let why = "the LoRA sea: it is not a whole model file (it ends early); fetch it again";
        let failed = engine_failed(JobError::Backend(BackendError::Lora(why.into())));
        let problem = &failed.problems()[0];
        assert_eq!((problem.field.as_str(), problem.message.as_str()), ("prompt", why));
    }

    #[test]
    fn what_does_not_fit_a_control_network_is_laid_to_its_unit() {
        let message = "advanced_weighting has 10 factors".to_owned();
        let failed = engine_failed(JobError::Backend(BackendError::Control { index: 2, message }));
        let problem = &failed.problems()[0];
        assert_eq!(
            (failed.code(), problem.field.as_str()),
            ("invalid", "alwayson_scripts.controlnet.args.2")
        );
        assert!(problem.message.contains("advanced_weighting has 10 factors"), "{}", problem.message);
    }

    #[test]
    fn a_vae_that_does_not_fit_is_laid_to_the_option_that_names_it() {
        let why = "ae.safetensors: its VAE has 16 latent channels";
        let failed = engine_failed(JobError::Backend(BackendError::Vae(why.into())));
        assert_eq!(
            (failed.code(), failed.problems()[0].field.as_str()),
            ("unusable_model", "override_settings")
        );
        let told = failed.to_string();
        assert!(told.starts_with("sd_vae: ") && told.contains(why), "{told}");
        assert!(told.contains("name another VAE"), "{told}");
    }

    #[test]
    fn a_lost_device_is_a_shortage_that_passes_with_the_next_start() {
        let failed = engine_failed(JobError::Backend(BackendError::Lost("CUDA error: unknown error".into())));
        assert!(matches!(failed, AppError::Unavailable(_)), "{failed}");
    }
}
