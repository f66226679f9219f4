//! The serverless dialect's functions: listed, given their resources, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gesso_engine::backend::{Residency, Tier};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::Kind;
use crate::engine_errors::engine_failed;
use crate::error::AppError;
use crate::functions::Resources;
use crate::http::error::Failure;
use crate::http::extract::JsonObject;
use crate::http::wire::fields::FieldProblem;
use crate::http::wire::terms::SECONDS_MAX;

/// The functions that there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionList {
    /// `success`.
    status: &'static str,
    functions: Vec<Function>,
}

/// What a checkpoint that was drawn with has of the server.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Function {
    function_name: String,
    /// The file name of the checkpoint.
    model: String,
    /// What the checkpoint takes of the machine's memory now, with what is laid over it; 0 when it is not there. What
    /// several share is counted for each.
    memory_bytes: u64,
    /// The same of the device's; 0 where that has no memory of its own.
    gpu_memory_bytes: u64,
    /// Seconds that its tasks may take. Left out unless it was set, here and below.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u64>,
    /// Threads of the processor that its pictures are computed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<u32>,
    /// MiB that the checkpoint and what is computed with it may take of the memory that is drawn in.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_memory_size: Option<u64>,
    /// Names of the variables that plugins see in its tasks; what they hold may be secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
}

/// Which functions to delete.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document alone: `remove` reads it, with a sentence for each problem")]
pub(crate) struct FunctionNames {
    /// As they are listed.
    functions: Vec<String>,
}

/// That it was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// `success`.
    status: &'static str,
}

/// What of it was not.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Failed {
    /// `fail`.
    status: &'static str,
    fails: Vec<FailedFunction>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailedFunction {
    function_name: String,
    err: &'static str,
}

/// What functions shall have. What is left out stays as it is.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "for the document alone: `update` reads it, with a sentence for each problem")]
pub(crate) struct FunctionResources {
    /// File names of checkpoints; none stands for all that have a function.
    models: Option<Vec<String>>,
    /// Seconds: a task that has not ended so long after its beginning fails.
    #[schema(minimum = 1, maximum = 604_800)]
    timeout: Option<u64>,
    /// Threads of the processor that pictures are computed on; no more than the machine has.
    #[schema(minimum = 1)]
    cpu: Option<u32>,
    /// MiB of the memory that is drawn in, the machine's where the device has none of its own, for the checkpoint and what is
    /// computed with it. Calls are made smaller to stay within it; a picture that takes more alone is refused.
    #[schema(minimum = 1, maximum = 16_777_216)]
    gpu_memory_size: Option<u64>,
    /// Environment variables that plugins see in tasks of these checkpoints; all of them, an empty object takes them away.
    env: Option<BTreeMap<String, String>>,
}

/// 16 TiB, which no device has.
const DEVICE_MIB_MAX: u64 = 1 << 24;
/// Of an environment: variables, and bytes of their names and values.
const VARIABLES_MAX: usize = 64;
const ENVIRONMENT_BYTES_MAX: usize = 16 * 1024;

/// What the product gives its machines, and where the like of it is set here.
const ELSEWHERE: [(&str, &str); 7] = [
    (
        "memorySize",
        "functions share this machine; `resident_bytes_max` in the settings file is for all of them",
    ),
    ("instanceType", "functions share the device; `device` in the settings file names it"),
    ("image", "there are no images of machines"),
    ("extraArgs", "settings are in the settings file"),
    ("vpcConfig", "the server is in the network where it runs"),
    ("nasConfig", "`models` in the settings file names the folder of models"),
    ("ossMountConfig", "`objects` in the settings file names the object store"),
];

/// The checkpoints that were drawn with, each as a function.
#[utoipa::path(get, path = "/list/sdapi/functions", tag = "models", responses((status = 200, description = "All of them", body = FunctionList)))]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<FunctionList>, Failure> {
    let catalogue = app.catalogue.clone();
    // The blocking pool: folders.
    let files = blocking(move || catalogue.files(Kind::Checkpoint)).await??;
    let Residency { host, device } = app.engine.stats().residency;
    let all = app.functions.all().into_iter();
    let functions = all.map(|(function_name, model, set)| {
        let file = files.iter().find(|file| file.file_name == model);
        // A file that was replaced while it is in memory is there twice.
        let taken = |tier: &Tier| {
            let own = tier.models.iter().filter(|(held, _)| file.is_some_and(|file| file.path == held.path));
            own.map(|(_, bytes)| bytes).sum::<u64>()
        };
        let (memory_bytes, gpu_memory_bytes) = (taken(&host), device.as_ref().map_or(0, taken));
        Function {
            function_name,
            model,
            memory_bytes,
            gpu_memory_bytes,
            timeout: set.timeout_seconds,
            cpu: set.threads,
            gpu_memory_size: set.device_mib_max,
            env: set.environment.unwrap_or_default().into_keys().collect(),
        }
    });
    Ok(Json(FunctionList { status: "success", functions: functions.collect() }))
}

/// Forgets functions with their resources, and takes from memory what no task needs. The next request for a checkpoint makes
/// a new one.
#[utoipa::path(post, path = "/del/sd/functions", tag = "models", request_body = FunctionNames,
    responses((status = 200, description = "Deleted", body = Status), (status = 404, description = "Those that are no functions; the others are deleted", body = Failed)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Response, Failure> {
    let names =
        texts("functions", body.get("functions")).map_err(|problem| AppError::Invalid(vec![problem]))?;
    let names = names.ok_or_else(|| AppError::invalid("functions", "functions: it is missing"))?;
    let unknown = app.functions.remove(&names).await?;
    app.engine.unload().await.map_err(engine_failed)?;
    if unknown.is_empty() {
        return Ok(Json(Status { status: "success" }).into_response());
    }
    let fail = |function_name| FailedFunction { function_name, err: "there is no such function" };
    let failed = Failed { status: "fail", fails: unknown.into_iter().map(fail).collect() };
    Ok((StatusCode::NOT_FOUND, Json(failed)).into_response())
}

/// Sets what tasks of checkpoints may have: how long they run, on how many threads, in how much memory, and what plugins see.
#[utoipa::path(post, path = "/batch_update_sd_resource", tag = "models", request_body = FunctionResources,
    responses((status = 200, description = "Set", body = Status), (status = 400, description = "Every problem of the body; nothing was set")))]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Status>, Failure> {
    let said = |name: &str| body.get(name).filter(|value| !value.is_null());
    let mut problems: Vec<_> = ELSEWHERE
        .iter()
        .filter(|(name, _)| said(name).is_some())
        .map(|(name, why)| FieldProblem {
            field: (*name).into(),
            message: format!("{name}: {why}; leave it out"),
        })
        .collect();
    let models = texts("models", body.get("models")).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let set = Resources {
        timeout_seconds: count(&body, "timeout", SECONDS_MAX, &mut problems),
        threads: count(&body, "cpu", cores, &mut problems).map(|threads| threads as u32),
        device_mib_max: count(&body, "gpuMemorySize", DEVICE_MIB_MAX, &mut problems),
        environment: said("env").and_then(|env| environment(env, &mut problems)),
    };
    if !problems.is_empty() {
        return Err(AppError::Invalid(problems).into());
    }
    app.functions.set(&models.unwrap_or_default(), &set).await?;
    Ok(Json(Status { status: "success" }))
}

/// A whole number from 1 to `most`; `None` where nothing is said.
fn count(body: &Map<String, Value>, field: &str, most: u64, problems: &mut Vec<FieldProblem>) -> Option<u64> {
    let value = body.get(field).filter(|value| !value.is_null())?;
    // Clients that know one kind of number send 8.0.
    let whole = || value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 1.0);
    let count = value.as_u64().or_else(|| whole().map(|number| number as u64));
    let count = count.filter(|count| (1..=most).contains(count));
    if count.is_none() {
        let message = format!("{field}: a whole number from 1 to {most} is wanted");
        problems.push(FieldProblem { field: field.into(), message });
    }
    count
}

/// Variables as a guest's environment can hold them.
fn environment(value: &Value, problems: &mut Vec<FieldProblem>) -> Option<BTreeMap<String, String>> {
    let before = problems.len();
    let mut refuse = |message: String| problems.push(FieldProblem { field: "env".into(), message });
    let Some(given) = value.as_object() else {
        refuse("env: an object of texts is wanted".into());
        return None;
    };
    let mut all = BTreeMap::new();
    for (name, value) in given {
        let Some(text) = value.as_str().filter(|text| !text.contains('\0')) else {
            refuse(format!("env: {name:.100} must be a text without a null character"));
            continue;
        };
        if name.is_empty() || name.contains(['=', '\0']) {
            refuse(format!("env: {name:?} is no name of a variable; leave out = and null characters"));
            continue;
        }
        all.insert(name.clone(), text.to_owned());
    }
    let bytes: usize = all.iter().map(|(name, text)| name.len() + text.len()).sum();
    if all.len() > VARIABLES_MAX || bytes > ENVIRONMENT_BYTES_MAX {
        refuse(format!(
            "env: {} variables of {bytes} bytes; at most {VARIABLES_MAX} of {ENVIRONMENT_BYTES_MAX} bytes are kept",
            all.len()
        ));
    }
    (problems.len() == before).then_some(all)
}

/// A list of texts; `None` where there is none.
fn texts(field: &str, value: Option<&Value>) -> Result<Option<Vec<String>>, FieldProblem> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let items = value.as_array().and_then(|items| {
        items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    let problem =
        || FieldProblem { field: field.into(), message: format!("{field}: a list of texts is wanted") };
    items.map(Some).ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;

    #[test]
    fn the_document_says_the_bounds_that_are_held() {
        let schema = serde_json::to_value(FunctionResources::schema()).unwrap();
        assert_eq!(schema["properties"]["timeout"]["maximum"], SECONDS_MAX);
        assert_eq!(schema["properties"]["gpuMemorySize"]["maximum"], DEVICE_MIB_MAX);
    }
}
