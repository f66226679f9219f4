//! One leased drawing, from its stored body to its stored pictures: the plugins' hooks, names and pictures looked up,
//! the engine, the kept parts laid back, files written. The record is the worker's.

use std::time::Instant;

use gesso_core::infotext;
use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use gesso_engine::backend::BackendError;
use gesso_engine::{CancelFlag, Drawing, JobError, JobSpec, SubmitError, Work};
use gesso_plugin_host::CallContext;
use gesso_store::{ImageFormat, Lease, ObjectKey, Outcome, Payload};
use serde_json::{Map, Value, json};

use crate::app::{App, VERSION};
use crate::blocking::blocking;
use crate::catalogue::{Checkpoint, ModelFacts};
use crate::controls::{self, Controls};
use crate::error::AppError;
use crate::faces::DrawnFaces;
use crate::http::wire::faces::FacesWanted;
use crate::http::wire::styles::Styling;
use crate::http::wire::{generate, img2img, info};
use crate::png_file;
use crate::resources::{self, Found};
use crate::running::RunningGuard;
use crate::sources::Sources;

/// Draws a task's pictures and stores them.
pub(crate) async fn draw(
    app: &App,
    lease: &Lease,
    running: &RunningGuard<'_>,
    cancel: &CancelFlag,
) -> Result<Outcome, AppError> {
    let kind = generate::Drawing::parse(&lease.task.kind).ok_or_else(|| {
        AppError::Internal(format!("a stored task is of the unknown kind {:?}", lease.task.kind))
    })?;
    let Value::Object(mut body) = payload(app, &lease.task.payload).await? else {
        return Err(AppError::Internal("a stored request is not an object".into()));
    };
    let styling = Styling::take(&mut body);
    // Pictures are megabytes of text that no hook of this version reads.
    let pictures: Vec<_> =
        img2img::PICTURES.iter().filter_map(|name| Some((*name, body.remove(*name)?))).collect();
    let seed = body.get("seed").and_then(Value::as_u64).unwrap_or_default();
    let call = CallContext { request_id: lease.task.id.to_string(), seed, cancelled: cancel.shared() };
    let before = app.plugins.before(&call, Value::Object(body.clone()).to_string()).await?;
    if !before.applied.is_empty() {
        body = reread(kind, &before.params, &body, &pictures)?;
    }
    body.extend(pictures.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let request = generate::to_request(kind, &body, &app.defaults, &app.limits).map_err(AppError::Invalid)?;
    let prepared = prepare(app, &call, &body, &request).await?;

    let drawing = Drawing {
        request: request.clone(),
        model: prepared.checkpoint.file.clone(),
        resources: prepared.found.first.clone(),
        source: prepared.sources.as_ref().map(|sources| sources.source.clone()),
        second: prepared.found.second.clone(),
    };
    let work = Work::Draw(Box::new(drawing));
    let spec = JobSpec { work, priority: lease.task.priority, cancel: cancel.clone() };
    let began = Instant::now();
    let job = app.engine.submit(spec).map_err(engine_refused)?;
    running.show(job.progress());
    let drawn = job.finish().await.map_err(engine_failed)?;
    let seconds = began.elapsed().as_secs_f64();
    let drawn = match &prepared.faces {
        Some(faces) => faces.restore(app, cancel, lease.task.priority, drawn).await?,
        None => drawn,
    };
    let (mut prepared, drawn) = finish(prepared, drawn, request.batch_size).await?;
    let mut drawn = app.plugins.after(&call, &before.params, drawn).await?;
    drawn.append(&mut prepared.control.maps);
    if cancel.is_cancelled() {
        return Err(AppError::Cancelled);
    }
    store(app, lease, (body, &styling), &request, &prepared, drawn, seconds).await
}

/// What a request's names and pictures stand for.
struct Prepared {
    checkpoint: Checkpoint,
    /// `None` when the checkpoint cannot be read; the engine then says why.
    facts: Option<ModelFacts>,
    found: Found,
    control: Controls,
    sources: Option<Sources>,
    faces: Option<DrawnFaces>,
}

async fn prepare(
    app: &App,
    call: &CallContext,
    body: &Map<String, Value>,
    request: &GenerateRequest,
) -> Result<Prepared, AppError> {
    let (catalogue, limits) = (app.catalogue.clone(), app.source_limits());
    let (body, asked) = (body.clone(), request.clone());
    let wanted_faces = FacesWanted::read(&body).map_err(AppError::Invalid)?;
    // The blocking pool: folders, hashes, codecs.
    let prepared = blocking(move || {
        let checkpoint = catalogue.checkpoint(asked.model.as_deref())?;
        let facts = catalogue.facts(&checkpoint.file);
        let found = resources::find(&catalogue, &asked, &checkpoint)?;
        let settings = asked.img2img.as_ref();
        let sources = settings.map(|settings| Sources::read(&body, &asked, settings, limits)).transpose()?;
        let crop = sources.as_ref().and_then(Sources::crop);
        let decoded = controls::decode(&catalogue, &body, limits.decode, crop)?;
        let faces = DrawnFaces::find(&catalogue, wanted_faces)?;
        let control = Controls::default();
        Ok::<_, AppError>((Prepared { checkpoint, facts, found, control, sources, faces }, decoded))
    });
    let (mut prepared, mut decoded) = prepared.await??;
    if decoded.is_empty() {
        return Ok(prepared);
    }
    controls::annotate(app, call, request, &mut decoded).await?;
    let request = request.clone();
    // The blocking pool: resampling.
    blocking(move || {
        prepared.control = controls::place(decoded, &request, &mut prepared.found)?;
        Ok(prepared)
    })
    .await?
}

/// Lays the kept parts of the source over the drawn pictures.
async fn finish(
    prepared: Prepared,
    drawn: Vec<Pixels>,
    batch_size: u32,
) -> Result<(Prepared, Vec<Pixels>), AppError> {
    if prepared.sources.is_none() {
        return Ok((prepared, drawn));
    }
    // The blocking pool: resampling and compositing.
    blocking(move || {
        let Some(sources) = &prepared.sources else { return Ok((prepared, drawn)) };
        let place = |index: usize| index % (batch_size.max(1) as usize);
        let finished =
            drawn.into_iter().enumerate().map(|(index, drawn)| sources.finish(place(index), drawn));
        let finished = finished.collect::<Result<Vec<_>, _>>()?;
        Ok((prepared, finished))
    })
    .await?
}

/// Writes the pictures, then the details, and names them.
async fn store(
    app: &App,
    lease: &Lease,
    (mut body, styling): (Map<String, Value>, &Styling),
    request: &GenerateRequest,
    prepared: &Prepared,
    pictures: Vec<Pixels>,
    seconds: f64,
) -> Result<Outcome, AppError> {
    let Prepared { checkpoint, facts, found, control, sources, faces } = prepared;
    let drawn_with = infotext::DrawnWith {
        model_name: &checkpoint.file.name,
        model_hash: checkpoint.short_hash(),
        edits_pictures: facts.is_some_and(|facts| facts.edits_pictures),
        vae_name: found.vae.as_ref().map(|vae| vae.name.as_str()),
        vae_hash: found.vae_hash.as_deref(),
        lora_hashes: &found.lora_hashes,
        inversion_hashes: &found.inversion_hashes,
        control: &control.units,
        face_restoration: faces.as_ref().map(DrawnFaces::name),
        face_fidelity: faces.as_ref().and_then(DrawnFaces::fidelity),
        version: VERSION,
    };
    let infotexts: Vec<String> =
        (0..request.image_count()).map(|image| infotext::of(request, image, &drawn_with)).collect();
    let mut images = Vec::new();
    for (index, picture) in pictures.into_iter().enumerate() {
        // A plugin may have added pictures; those carry no infotext.
        let infotext = infotexts.get(index).cloned().unwrap_or_default();
        let bytes = blocking(move || png_file::encode(&picture, &infotext))
            .await?
            .map_err(|error| AppError::Internal(format!("a picture could not be encoded: {error}")))?;
        let key = ObjectKey::image(
            &lease.task.owner,
            &lease.task.id,
            lease.attempt,
            index as u32 + 1,
            ImageFormat::Png,
        )
        .map_err(|error| AppError::Internal(error.to_string()))?;
        app.objects.put(&key, bytes.into()).await?;
        images.push(key);
    }
    if body.get("include_init_images") != Some(&Value::Bool(true)) {
        for name in img2img::PICTURES {
            if let Some(picture) = body.get_mut(name) {
                *picture = Value::Null;
            }
        }
    }
    styling.undo(&mut body);
    let drawn = info::Drawn {
        request,
        styles: body.get("styles"),
        inpaints: facts.is_some_and(|facts| facts.inpaints),
        drawn_with: &drawn_with,
        infotexts: &infotexts,
        job_timestamp: &timestamp(lease.task.started_ms.unwrap_or(lease.task.created_ms)),
    };
    let of_sources = sources.iter().flat_map(|sources| &sources.warnings);
    let warnings: Vec<&String> = styling.warnings.iter().chain(&found.warnings).chain(of_sources).collect();
    let steps = f64::from(request.steps * request.image_count());
    let details = json!({
        "parameters": body,
        "info": info::info(&drawn),
        "warnings": warnings,
        "stepsPerSecond": steps / seconds,
    });
    let key = ObjectKey::details(&lease.task.id, lease.attempt);
    app.objects.put(&key, details.to_string().into_bytes().into()).await?;
    Ok(Outcome { images, details: Some(key), error: None })
}

async fn payload(app: &App, payload: &Payload) -> Result<Value, AppError> {
    let text = match payload {
        Payload::Inline(text) => text.clone().into_bytes(),
        Payload::Object(key) => app.objects.get(key).await?.to_vec(),
    };
    serde_json::from_slice(&text)
        .map_err(|error| AppError::Internal(format!("a stored request is damaged: {error}")))
}

/// What a plugin made of the request goes through the same reading as what a client sent.
///
/// Seeds it took away are the request's again: a stored request draws the same picture every time.
fn reread(
    kind: generate::Drawing,
    params: &str,
    original: &Map<String, Value>,
    pictures: &[(&str, Value)],
) -> Result<Map<String, Value>, AppError> {
    let mut changed: Map<String, Value> = serde_json::from_str(params).map_err(|error| {
        AppError::PluginFailed(format!("a plugin replaced the request by something else: {error}"))
    })?;
    for name in ["seed", "subseed"] {
        if changed.get(name).and_then(Value::as_i64).is_none_or(|seed| seed < 0) {
            changed.insert(name.into(), original.get(name).cloned().unwrap_or_default());
        }
    }
    changed.extend(pictures.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    kind.read(&changed, || 0).map_err(AppError::Invalid)
}

pub(crate) fn engine_refused(error: SubmitError) -> AppError {
    match error {
        SubmitError::Overloaded { .. } => AppError::Overloaded(error.to_string()),
        SubmitError::ShutDown => AppError::Unavailable(error.to_string()),
    }
}

pub(crate) fn engine_failed(error: JobError) -> AppError {
    match error {
        JobError::Cancelled => AppError::Cancelled,
        JobError::ShutDown => AppError::Unavailable(error.to_string()),
        JobError::Backend(BackendError::Request(message)) => AppError::invalid("body", message),
        JobError::Backend(_) | JobError::Panicked(_) => AppError::Internal(error.to_string()),
    }
}

/// `YYYYMMDDhhmmss`, UTC.
fn timestamp(unix_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms as i64)
        .map(|time| time.strftime("%Y%m%d%H%M%S").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_takes_the_seeds_away_gets_the_requests_own_back() {
        let original = json!({"seed": 7, "subseed": 8});
        let read = |params| reread(generate::Drawing::Txt2Img, params, original.as_object().unwrap(), &[]);
        for params in [r#"{"prompt": "x", "seed": -1, "subseed": ""}"#, "{}"] {
            let changed = read(params).unwrap();
            assert_eq!((&changed["seed"], &changed["subseed"]), (&json!(7), &json!(8)), "{params}");
        }
        assert_eq!(read(r#"{"seed": 9}"#).unwrap()["seed"], 9);
        assert!(read("[]").is_err());
    }

    #[test]
    fn pictures_come_back_after_the_plugins() {
        let original = Map::new();
        let pictures = [("init_images", json!(["abc"]))];
        let read = reread(generate::Drawing::Img2Img, r#"{"prompt": "x"}"#, &original, &pictures).unwrap();
        assert_eq!(read["init_images"], json!(["abc"]));
    }
}
