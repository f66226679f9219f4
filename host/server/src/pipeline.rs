//! One drawing from a body that was read to its pictures, in two parts: names and pictures looked up, maps made, the engine,
//! maps put to the drawn pictures, faces restored; then the kept parts laid back. Run for a task, and for every drawing that a
//! script asks for; knows neither, nor what happens to the pictures between the two.

use std::sync::Arc;
use std::time::Instant;

use gesso_core::infotext::{self, DrawnWith, Infotext};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::request::GenerateRequest;
use gesso_core::step_hook::StepHook;
use gesso_engine::{CancelFlag, Drawing, JobSpec, Progress, Work};
use gesso_plugin_host::{ActingPlugin, CallContext, PluginStepHook};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::Instrument;

use crate::annotators;
use crate::app::{App, VERSION};
use crate::blocking::blocking;
use crate::catalogue::{Checkpoint, ModelFacts};
use crate::controls::{self, Controls};
use crate::engine_errors::{engine_failed, engine_refused};
use crate::error::AppError;
use crate::faces::DrawnFaces;
use crate::http::wire::faces::FacesWanted;
use crate::http::wire::info;
use crate::http::wire::infotext_options::InfotextOptions;
use crate::resources::{self, Found};
use crate::sources::{Device, Enlarger, Sources, first_pass};
use crate::telemetry::stage;

/// What is drawn, and for whom.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) call: &'a CallContext,
    pub(crate) body: &'a Map<String, Value>,
    /// What the body came to.
    pub(crate) request: &'a GenerateRequest,
    pub(crate) priority: i32,
    pub(crate) cancel: &'a CancelFlag,
}

/// Pictures as the network and the restorer of faces left them. Where only a masked part is drawn, each is that part.
pub(crate) struct Decoded {
    /// In order, without the maps; fewer than were asked for, where the drawing was interrupted.
    pub(crate) pictures: Vec<Pixels>,
    /// What of each is hidden, where the engine says so.
    hidden: Vec<Option<Pixels>>,
    /// One for each.
    pub(crate) infotexts: Vec<String>,
    seconds: f64,
    prepared: Prepared,
}

/// What came of it.
pub(crate) struct Finished {
    /// As in [`Decoded`].
    pub(crate) pictures: Vec<Pixels>,
    /// One for each.
    pub(crate) infotexts: Vec<String>,
    /// Masks and what was drawn under them, where they are to be shown.
    pub(crate) masks: Vec<Pixels>,
    /// ControlNet's maps, which web UIs show behind the pictures.
    pub(crate) maps: Vec<Pixels>,
    pub(crate) seconds: f64,
    prepared: Prepared,
}

/// What a request's names and pictures stand for.
struct Prepared {
    checkpoint: Checkpoint,
    /// `None` of a checkpoint that cannot be read, and that neither pass is drawn with.
    facts: Option<ModelFacts>,
    found: Found,
    control: Controls,
    sources: Option<Sources>,
    faces: Option<DrawnFaces>,
    step_hooks: Vec<Arc<PluginStepHook>>,
    /// What of this infotexts tell, and whose the drawing is.
    told: (InfotextOptions, String),
}

/// Draws. `show` is given the engine's progress once there is one.
pub(crate) async fn run(
    app: &App,
    asked: Asked<'_>,
    show: impl FnOnce(watch::Receiver<Progress>),
) -> Result<Finished, AppError> {
    decode(app, asked, show).await?.composite(asked.request.batch_size).await
}

/// As [`run`], up to the pictures that are still to be composited.
pub(crate) async fn decode(
    app: &App,
    asked: Asked<'_>,
    show: impl FnOnce(watch::Receiver<Progress>),
) -> Result<Decoded, AppError> {
    let Asked { request, priority, cancel, .. } = asked;
    let mut prepared = prepare(app, asked).await?;
    let mut second = prepared.found.second.clone();
    if let Some((second, file_name)) = second.as_mut().zip(prepared.found.second_file_name.as_ref()) {
        second.share = Some(app.functions.share(file_name));
    }
    let drawing = Drawing {
        request: request.clone(),
        model: prepared.checkpoint.file.clone(),
        resources: prepared.found.first.clone(),
        source: prepared.sources.as_ref().map(|sources| sources.source.clone()),
        refiner: prepared.found.refiner.clone(),
        second,
        step_hooks: prepared.step_hooks.iter().map(|hook| hook.clone() as Arc<dyn StepHook>).collect(),
        share: app.functions.share(&prepared.checkpoint.file_name),
    };
    let spec = JobSpec { work: Work::Draw(Box::new(drawing)), priority, cancel: cancel.clone() };
    let began = Instant::now();
    let job = app.engine.submit(spec).map_err(engine_refused)?;
    let progress = job.progress();
    show(progress.clone());
    let span = tracing::info_span!("engine", model = prepared.checkpoint.file_name);
    let drawn = job.finish().instrument(span).await.map_err(engine_failed)?;
    prepared.found.warnings.extend(progress.borrow().warnings.iter().cloned());
    stage("engine", began.elapsed());
    let seconds = began.elapsed().as_secs_f64();
    let (drawn, hidden) = parted(drawn).await?;
    let (prepared, drawn) = recombine(prepared, drawn).await?;
    let pictures = match &prepared.faces {
        Some(faces) => faces.restore(app, cancel, priority, drawn).await?,
        None => drawn,
    };
    let mut infotexts = prepared.infotexts(request);
    infotexts.truncate(pictures.len());
    Ok(Decoded { pictures, hidden, infotexts, seconds, prepared })
}

async fn prepare(app: &App, asked: Asked<'_>) -> Result<Prepared, AppError> {
    let Asked { call, body, request, priority, cancel } = asked;
    let told = (InfotextOptions::of(body).map_err(AppError::Invalid)?, call.whom.name.clone());
    let (catalogue, limits) = (app.catalogue.clone(), app.source_limits());
    let device = Device { engine: app.engine.clone(), priority, cancel: cancel.clone() };
    let wanted_faces = FacesWanted::read(body).map_err(AppError::Invalid)?;
    let step_hooks = match body.get("alwayson_scripts").and_then(Value::as_object) {
        Some(scripts) => app.plugins.step_hooks(call, scripts),
        None => Ok(Vec::new()),
    };
    let step_hooks = step_hooks.map_err(|problem| AppError::invalid("alwayson_scripts", problem))?;
    let (body, asked) = (body.clone(), request.clone());
    // The blocking pool: folders, hashes, codecs; and where pictures are enlarged, waiting for that.
    let prepared = blocking(move || {
        let checkpoint = resources::checkpoint(&catalogue, &asked)?;
        let facts = catalogue.facts(&checkpoint.file);
        let mut found = resources::find(&catalogue, &asked, &checkpoint)?;
        if let Some(second) = found.second.as_mut().filter(|_| !asked.draws_first_pass()) {
            let given = first_pass::read(&body, second.upscale.target.enlarged, limits)?;
            second.picture = Some(Arc::new(given));
        }
        let settings = asked.img2img.as_ref();
        let enlarger = Enlarger::find(&catalogue, &asked, device, limits.decode.pixels_max)?;
        let read = |settings| Sources::read(&body, &asked, settings, limits, enlarger.as_ref());
        let sources = settings.map(read).transpose()?;
        let crop = sources.as_ref().and_then(Sources::crop);
        let decoded = controls::decode(&catalogue, &body, &asked, limits.decode, crop)?;
        let faces = DrawnFaces::find(&catalogue, wanted_faces)?;
        let control = Controls::default();
        Ok::<_, AppError>((
            Prepared { checkpoint, facts, found, control, sources, faces, step_hooks, told },
            decoded,
        ))
    });
    let (mut prepared, mut decoded) = prepared.await??;
    if decoded.is_empty() {
        return Ok(prepared);
    }
    controls::annotate(app, call, request, &mut decoded).await?;
    let request = request.clone();
    // The blocking pool: resampling.
    blocking(move || {
        prepared.control = controls::place(decoded, &request, limits.decode, &mut prepared.found)?;
        Ok(prepared)
    })
    .await?
}

/// The drawn pictures, and what of each is hidden, where they came with an alpha of their own.
async fn parted(drawn: Vec<Pixels>) -> Result<(Vec<Pixels>, Vec<Option<Pixels>>), AppError> {
    if drawn.iter().all(|picture| picture.format != PixelFormat::Rgba8) {
        let hidden = vec![None; drawn.len()];
        return Ok((drawn, hidden));
    }
    // The blocking pool: every pixel is copied.
    blocking(move || drawn.into_iter().map(annotators::split).unzip()).await
}

/// Puts the drawn pictures together with the maps of units that ask for it.
async fn recombine(prepared: Prepared, drawn: Vec<Pixels>) -> Result<(Prepared, Vec<Pixels>), AppError> {
    if prepared.control.recombined.is_empty() {
        return Ok((prepared, drawn));
    }
    // The blocking pool: resampling and colours.
    blocking(move || {
        let all = |drawn: Pixels| {
            prepared.control.recombined.iter().try_fold(drawn, |drawn, unit| unit.apply(&drawn))
        };
        let drawn = drawn.into_iter().map(all).collect::<Result<Vec<_>, _>>()?;
        Ok((prepared, drawn))
    })
    .await?
}

impl Decoded {
    /// Matches colours to the source where that is asked for, and lays its kept parts over the pictures.
    pub(crate) async fn composite(self, batch_size: u32) -> Result<Finished, AppError> {
        let Self { pictures, hidden, infotexts, seconds, prepared } = self;
        let (mut prepared, pictures, masks) = lay_back(prepared, pictures, hidden, batch_size).await?;
        let maps = std::mem::take(&mut prepared.control.maps);
        Ok(Finished { pictures, infotexts, masks, maps, seconds, prepared })
    }
}

/// Lays the kept parts of the source over the drawn pictures. The last are masks that are to be shown.
async fn lay_back(
    prepared: Prepared,
    drawn: Vec<Pixels>,
    hidden: Vec<Option<Pixels>>,
    batch_size: u32,
) -> Result<(Prepared, Vec<Pixels>, Vec<Pixels>), AppError> {
    if prepared.sources.is_none() {
        return Ok((prepared, drawn, Vec::new()));
    }
    // The blocking pool: resampling and compositing.
    blocking(move || {
        let mut masks = Vec::new();
        let Some(sources) = &prepared.sources else { return Ok((prepared, drawn, masks)) };
        let place = |index: usize| index % (batch_size.max(1) as usize);
        let finished = drawn.into_iter().zip(&hidden).enumerate();
        let finished = finished
            .map(|(index, (drawn, hidden))| sources.finish(place(index), drawn, hidden.as_ref(), &mut masks));
        let finished = finished.collect::<Result<Vec<_>, _>>()?;
        Ok((prepared, finished, masks))
    })
    .await?
}

impl Finished {
    /// The web UI's `info`.
    pub(crate) fn info(
        &self,
        request: &GenerateRequest,
        body: &Map<String, Value>,
        job_timestamp: &str,
    ) -> Value {
        info::info(&info::Drawn {
            request,
            styles: body.get("styles"),
            inpaints: self.prepared.facts.is_some_and(|facts| facts.inpaints),
            drawn_with: &self.prepared.drawn_with(),
            infotexts: &self.infotexts,
            job_timestamp,
        })
    }

    /// Plugins that acted within its steps.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = ActingPlugin> {
        self.prepared.step_hooks.iter().filter_map(|hook| hook.acted())
    }

    /// Remarks for the client.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let of_sources = self.prepared.sources.iter().flat_map(|sources| &sources.warnings);
        let of_hooks = self.prepared.step_hooks.iter().filter_map(|hook| hook.warning());
        self.prepared.found.warnings.iter().chain(of_sources).cloned().chain(of_hooks)
    }
}

impl Prepared {
    /// One for each picture of the request.
    fn infotexts(&self, request: &GenerateRequest) -> Vec<String> {
        let (options, user) = &self.told;
        let drawn_with = options.told(self.drawn_with(), user);
        let fields: Vec<_> = self.step_hooks.iter().filter_map(|hook| hook.field()).collect();
        let of = |image| infotext::of(request, image, &drawn_with);
        let texts = (0..request.image_count()).map(of);
        if fields.is_empty() {
            return texts.collect();
        }
        texts.map(|text| Infotext::extended(&text, &fields)).collect()
    }

    fn drawn_with(&self) -> DrawnWith<'_> {
        let Self { checkpoint, facts, found, control, faces, .. } = self;
        DrawnWith {
            model_name: &checkpoint.file.name,
            model_hash: checkpoint.short_hash(),
            edits_pictures: facts.is_some_and(|facts| facts.edits_pictures),
            vae_name: found.vae.as_ref().map(|vae| vae.name.as_str()),
            vae_hash: found.vae_hash.as_deref(),
            lora_hashes: &found.lora_hashes,
            inversion_hashes: &found.inversion_hashes,
            refiner: found.refiner_title.as_deref(),
            control: &control.units,
            face_restoration: faces.as_ref().map(DrawnFaces::name),
            face_fidelity: faces.as_ref().and_then(DrawnFaces::fidelity),
            version: VERSION,
            user: None,
        }
    }
}
