//! Requests that a plugin's script draws in place of the pipeline: which script a request names, what the script is given,
//! and the drawings it asks for.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use gesso_engine::{CancelFlag, Enlargement, JobSpec, Progress, Work};
use gesso_plugin_host::{
    CallContext, Drawn, HookError, Inference, InferenceError, Job, Script, ScriptError, ScriptInput,
    ScriptOutput, Upscaling,
};
use rand::RngExt;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::app::App;
use crate::blocking::blocking;
use crate::engine_errors::{engine_failed, engine_refused};
use crate::error::AppError;
use crate::http::wire::generate::{Drawing, to_request};
use crate::http::wire::styles::Styling;
use crate::pipeline::{self, Asked};
use crate::{controls, png_file, resources, sources, styles};

const NAME: &str = "script_name";
const ARGS: &str = "script_args";
/// What one enlargement may multiply a side by.
const FACTOR_MAX: f64 = 8.0;
const PIXELS_PER_MEGA: f64 = 1e6;
/// What enlarging costs, as steps at the size of the result.
const STEPS_OF_ENLARGING: f64 = 10.0;
/// Drawings of one script that are prepared and drawn at one time.
const AT_ONCE: usize = 8;

/// The script that a body names, for this kind of drawing.
///
/// # Errors
/// A problem that says what there is instead.
pub(crate) fn named(
    app: &App,
    drawing: Drawing,
    body: &Map<String, Value>,
) -> Result<Option<Script>, AppError> {
    let name = body.get(NAME).and_then(Value::as_str).unwrap_or_default().trim();
    if name.is_empty() || name.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let mut all = app.plugins.scripts();
    all.retain(|script| if drawing == Drawing::Img2Img { script.img2img } else { script.txt2img });
    if let Some(place) = all.iter().position(|script| script.title.eq_ignore_ascii_case(name)) {
        return Ok(Some(all.swap_remove(place)));
    }
    let titles: Vec<_> = all.iter().map(|script| script.title.as_str()).collect();
    let there =
        if titles.is_empty() { "there is none".into() } else { format!("there are {}", titles.join(", ")) };
    Err(AppError::invalid(NAME, format!("Script '{name}' not found for {}: {there}", drawing.as_str())))
}

/// The arguments as the script gets them, a JSON list.
pub(crate) fn arguments(script: &Script, body: &Map<String, Value>) -> Result<String, AppError> {
    let settled = script.settle(body.get(ARGS).unwrap_or(&Value::Null));
    settled.map(|list| Value::from(list).to_string()).map_err(|problem| AppError::invalid(ARGS, problem))
}

/// What a script made, and what its drawings say together.
pub(crate) struct Scripted {
    pub(crate) output: ScriptOutput,
    /// The first drawing's `info`, with the seeds and prompts of all.
    pub(crate) info: Value,
    pub(crate) warnings: Vec<String>,
    /// Sampler steps over all pictures.
    pub(crate) steps: f64,
}

/// Runs a script. `params` is the body as its plugins left it, without pictures; `pictures` are those of the request.
pub(crate) async fn run(
    app: &Arc<App>,
    asked: Asked<'_>,
    script: &Script,
    params: String,
    (init_images, mask): (Vec<Pixels>, Option<Pixels>),
    show: impl FnOnce(watch::Receiver<Progress>),
) -> Result<Scripted, AppError> {
    let (progress, shown) = watch::channel(Progress::default());
    show(shown);
    let arguments = arguments(script, asked.body)?;
    let input = ScriptInput { params, arguments, init_images, mask };
    let drawings = Arc::new(Drawings {
        app: app.clone(),
        call: asked.call.clone(),
        priority: asked.priority,
        // Guests run on threads of their own; drawings belong on the server's.
        runtime: Handle::current(),
        progress,
        turns: Semaphore::new(AT_ONCE),
        state: Mutex::default(),
    });
    let inference = Arc::new(SharedDrawings(drawings.clone()));
    let run = app.plugins.run_script(asked.call, &script.title, input, inference);
    let output = run.await;
    let mut state = std::mem::take(&mut *drawings.lock());
    let output = output.map_err(|error| match (error, state.shortage.take()) {
        // What the script made of it is a consequence; the task is tried again.
        (ScriptError::Refused(_) | ScriptError::Hook(HookError::PluginFailed { .. }), Some(shortage)) => {
            shortage
        }
        (ScriptError::Refused(reason), None) => {
            AppError::invalid(ARGS, format!("{}: {reason}", script.title))
        }
        (ScriptError::Hook(error), _) => error.into(),
    })?;
    state.done.sort_by_key(|done| done.place);
    let warnings = state.done.iter().flat_map(|done| done.warnings.clone()).collect();
    let steps = state.done.iter().map(|done| done.steps).sum();
    let info = merged(state.done.into_iter().map(|done| done.info).collect(), &output);
    Ok(Scripted { output, info, warnings, steps })
}

/// The pictures of a request, decoded: those drawn over, and the mask.
pub(crate) async fn pictures(
    app: &App,
    body: &Map<String, Value>,
) -> Result<(Vec<Pixels>, Option<Pixels>), AppError> {
    let limits = app.source_limits().decode;
    let texts = body.get("init_images").and_then(Value::as_array).cloned().unwrap_or_default();
    let mask = body.get("mask").filter(|mask| !mask.is_null()).cloned();
    // The blocking pool: decoding.
    blocking(move || {
        let pictures = texts.iter().map(|text| sources::picture("init_images", text, limits));
        let pictures = pictures.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let mask = mask.map(|mask| sources::picture("mask", &mask, limits)).transpose()?.flatten();
        Ok((pictures, mask))
    })
    .await?
}

/// What the drawings of one script share.
struct Drawings {
    app: Arc<App>,
    call: CallContext,
    priority: i32,
    runtime: Handle,
    /// That of the drawing that moved last.
    progress: watch::Sender<Progress>,
    /// For drawings that are prepared and drawn at one time; the others wait with what the script gave them.
    turns: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: u32,
    megapixel_steps: f64,
    done: Vec<Done>,
    /// The first drawing that failed for want of room in the server.
    shortage: Option<AppError>,
}

struct Done {
    /// Which drawing of the script it was.
    place: u32,
    info: Value,
    warnings: Vec<String>,
    steps: f64,
}

impl Drawings {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a drawing's place among those that the script may have.
    fn enter(&self) -> Result<u32, InferenceError> {
        let most = self.app.settings.limits.script_jobs_max;
        let mut state = self.lock();
        if state.jobs >= most {
            return Err(InferenceError::Limit(format!(
                "a script may ask for {most} drawings (limits.script_jobs_max); ask for fewer"
            )));
        }
        state.jobs += 1;
        Ok(state.jobs)
    }

    /// Takes the cost of a drawing off what the script may have drawn, in megapixels times steps.
    fn spend(&self, cost: f64) -> Result<(), InferenceError> {
        let most = self.app.settings.limits.script_megapixel_steps_max as f64;
        let mut state = self.lock();
        if state.megapixel_steps + cost > most {
            return Err(InferenceError::Limit(format!(
                "a script may take {most} megapixels times steps (limits.script_megapixel_steps_max); ask for fewer or \
                 smaller pictures"
            )));
        }
        state.megapixel_steps += cost;
        Ok(())
    }

    async fn draw(
        &self,
        params: String,
        init_images: Vec<Pixels>,
        mask: Option<Pixels>,
        place: u32,
        (cancel, seen): (&CancelFlag, &watch::Sender<f32>),
    ) -> Result<Drawn, InferenceError> {
        // Cannot fail: nobody closes it.
        let _turn = self.turns.acquire().await;
        if cancel.is_cancelled() {
            return Err(InferenceError::Cancelled);
        }
        let drawing = if init_images.is_empty() { Drawing::Txt2Img } else { Drawing::Img2Img };
        let mut params: Map<String, Value> = serde_json::from_str(&params).map_err(|error| {
            InferenceError::Invalid(format!("the parameters are not a JSON object: {error}"))
        })?;
        params.remove(NAME);
        params.extend(encoded(init_images, mask).await?);
        let mut body = drawing
            .read(&params, || rand::rng().random())
            .map_err(|problems| told(AppError::Invalid(problems)))?;
        styles::lay_into(&mut body, &self.app.styles, &self.app.limits).await.map_err(told)?;
        let styling = Styling::take(&mut body);
        let request = to_request(drawing, &body, &self.app.defaults, &self.app.limits)
            .map_err(|problems| told(AppError::Invalid(problems)))?;
        controls::check(&self.app, &body).map_err(told)?;
        self.spend(megapixel_steps(&request))?;
        let asked =
            Asked { call: &self.call, body: &body, request: &request, priority: self.priority, cancel };
        let mut shown = None;
        let finished = pipeline::run(&self.app, asked, |progress| {
            let (sender, seen) = (self.progress.clone(), seen.clone());
            // A tokio worker: it waits.
            shown = Some(AbortOnDrop(tokio::spawn(forward(progress, sender, seen))));
        });
        let finished = finished.await.map_err(|error| self.told(error))?;
        drop(shown);
        let infotexts = finished.infotexts(&request);
        let info = finished.info(&request, &body, &infotexts, "");
        let steps = f64::from(request.steps * request.image_count());
        let warnings = styling.warnings.iter().chain(finished.warnings()).cloned().collect();
        self.lock().done.push(Done { place, info: info.clone(), warnings, steps });
        Ok(Drawn { images: finished.pictures, infotexts, info: info.to_string() })
    }
}

impl Drawings {
    async fn enlarge(
        &self,
        picture: Pixels,
        upscaler: String,
        factor: f64,
        cancel: CancelFlag,
    ) -> Result<Pixels, InferenceError> {
        if !(factor > 0.0 && factor <= FACTOR_MAX) {
            return Err(InferenceError::Invalid(format!(
                "the factor is {factor}; choose one above 0, up to {FACTOR_MAX}"
            )));
        }
        let pixels = f64::from(picture.width) * f64::from(picture.height) * factor * factor;
        let most = self.app.source_limits().decode.pixels_max;
        if pixels > most as f64 {
            return Err(InferenceError::Limit(format!(
                "the enlarged picture may have {most} pixels; choose a smaller factor"
            )));
        }
        self.enter()?;
        self.spend(pixels / PIXELS_PER_MEGA * STEPS_OF_ENLARGING)?;
        let _turn = self.turns.acquire().await;
        let catalogue = self.app.catalogue.clone();
        // The blocking pool: folders.
        let by = blocking(move || resources::upscaler(&catalogue, &upscaler)).await.map_err(told)?;
        let by = by.map_err(|error| told(error.into()))?;
        let work = Work::Enlarge(Enlargement { picture: Arc::new(picture), factor, by });
        let job = self.app.engine.submit(JobSpec { work, priority: self.priority, cancel });
        let job = job.map_err(|error| self.told(engine_refused(error)))?;
        let enlarged = job.finish().await.map_err(|error| self.told(engine_failed(error)))?.pop();
        enlarged.ok_or_else(|| InferenceError::Failed("the engine enlarged a picture to none".into()))
    }

    /// What the script hears of an error. A shortage of the server is kept too, for the task that may be tried again.
    fn told(&self, error: AppError) -> InferenceError {
        let is_shortage = matches!(error, AppError::Overloaded(_) | AppError::Unavailable(_));
        let for_script = InferenceError::Unavailable(error.to_string());
        if !is_shortage {
            return told(error);
        }
        self.lock().shortage.get_or_insert(error);
        for_script
    }
}

/// What the drawing of a request costs, both passes of a second one included.
fn megapixel_steps(request: &GenerateRequest) -> f64 {
    let pass = |(width, height): (u32, u32), steps: u32| {
        f64::from(width) * f64::from(height) / PIXELS_PER_MEGA * f64::from(steps)
    };
    let first = pass((request.width, request.height), request.steps);
    let second = request.hires.as_ref().map_or(0.0, |hires| {
        let target = hires.size.target(request.width, request.height).size;
        pass(target, hires.steps.unwrap_or(request.steps))
    });
    (first + second) * f64::from(request.image_count())
}

struct CancelOnDrop(CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Shows a drawing's progress as the script's, and its share as its own.
async fn forward(
    mut progress: watch::Receiver<Progress>,
    script: watch::Sender<Progress>,
    own: watch::Sender<f32>,
) {
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        own.send_replace(now.fraction() as f32);
        script.send_replace(now);
    }
}

/// Pictures as a body has them.
async fn encoded(
    init_images: Vec<Pixels>,
    mask: Option<Pixels>,
) -> Result<Vec<(String, Value)>, InferenceError> {
    if init_images.is_empty() {
        return Ok(Vec::new());
    }
    // The blocking pool: compression.
    let encoded = blocking(move || {
        let text = |picture: &Pixels| {
            let file = png_file::encode_with(picture, &[]);
            file.map(|file| Value::String(BASE64_STANDARD.encode(file)))
        };
        let images = init_images.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let mask = mask.as_ref().map(text).transpose()?;
        let mut fields = vec![("init_images".to_owned(), Value::from(images))];
        fields.extend(mask.map(|mask| ("mask".to_owned(), mask)));
        Ok::<_, png::EncodingError>(fields)
    });
    let encoded = encoded.await.map_err(told)?;
    encoded.map_err(|error| InferenceError::Failed(format!("a picture cannot be encoded: {error}")))
}

fn told(error: AppError) -> InferenceError {
    match error {
        AppError::Invalid(_) | AppError::NotFound(_) => InferenceError::Invalid(error.to_string()),
        AppError::Cancelled => InferenceError::Cancelled,
        AppError::Overloaded(_) | AppError::Unavailable(_) => InferenceError::Unavailable(error.to_string()),
        _ => InferenceError::Failed(error.to_string()),
    }
}

/// Jobs outlive the call that began them, so each holds what they share.
struct SharedDrawings(Arc<Drawings>);

impl Inference for SharedDrawings {
    fn generate(&self, params: String, init_images: Vec<Pixels>, mask: Option<Pixels>) -> Job {
        let drawings = self.0.clone();
        let cancel = CancelFlag::default();
        let (seen, progress) = watch::channel(0.0_f32);
        let (sender, result) = oneshot::channel();
        let flag = cancel.clone();
        // Here and not in the task, so that drawings are counted in the order they were asked for.
        let place = drawings.enter();
        // The server's tokio workers: it waits for the device and for the pools.
        self.0.runtime.spawn(async move {
            let drawn = match place {
                Ok(place) => drawings.draw(params, init_images, mask, place, (&flag, &seen)).await,
                Err(error) => Err(error),
            };
            if drawn.is_ok() {
                seen.send_replace(1.0);
            }
            // Nobody to tell where the script has dropped the job.
            let _ = sender.send(drawn);
        });
        Job::new(move || *progress.borrow(), move || cancel.cancel(), result)
    }

    fn upscale(&self, picture: Pixels, upscaler: String, factor: f64) -> Upscaling {
        let drawings = self.0.clone();
        let cancel = CancelFlag::default();
        // The script may end while it waits.
        let given_up = CancelOnDrop(cancel.clone());
        // The server's tokio workers: it waits for the device.
        let task =
            self.0.runtime.spawn(async move { drawings.enlarge(picture, upscaler, factor, cancel).await });
        Box::pin(async move {
            let _given_up = given_up;
            task.await.unwrap_or_else(|_| Err(InferenceError::Failed("the enlargement ended early".into())))
        })
    }
}

/// The info of a script's pictures: the first drawing's, with what differs between drawings of all of them.
fn merged(infos: Vec<Value>, output: &ScriptOutput) -> Value {
    let mut lists: Vec<(&str, Vec<Value>)> =
        ["all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds"]
            .map(|key| (key, Vec::new()))
            .into();
    for info in &infos {
        for (key, list) in &mut lists {
            list.extend(info.get(*key).and_then(Value::as_array).into_iter().flatten().cloned());
        }
    }
    let mut info = infos.into_iter().next().unwrap_or_else(|| Value::Object(Map::new()));
    for (key, list) in lists {
        info[key] = list.into();
    }
    info["infotexts"] = output.infotexts.clone().into();
    info["index_of_first_image"] = output.index_of_first_image.into();
    info
}

#[cfg(test)]
mod tests {
    use gesso_core::hires::{Hires, HiresSize, HiresUpscaler, LatentUpscaler};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_second_pass_costs_by_its_own_size_and_steps() {
        let hires = Hires {
            size: HiresSize::Scale(2.0),
            upscaler: HiresUpscaler::Latent(LatentUpscaler::Bilinear),
            denoising_strength: 0.5,
            steps: Some(10),
            sampler: None,
            scheduler: None,
            prompt: None,
            negative_prompt: None,
            model: None,
        };
        let plain = GenerateRequest {
            width: 1000,
            height: 1000,
            steps: 20,
            batch_size: 3,
            ..GenerateRequest::default()
        };
        assert_eq!(megapixel_steps(&plain), 60.0);
        let second = megapixel_steps(&GenerateRequest { hires: Some(hires), ..plain });
        assert_eq!(second, 180.0);
    }

    #[test]
    fn the_info_of_a_script_has_the_seeds_of_all_its_drawings() {
        let info = |seed: u64| json!({"prompt": "a", "all_seeds": [seed], "all_prompts": ["a"], "index_of_first_image": 0});
        let output =
            ScriptOutput { images: Vec::new(), infotexts: vec!["x".into()], index_of_first_image: 1 };
        let merged = merged(vec![info(3), info(4)], &output);
        assert_eq!((&merged["all_seeds"], &merged["prompt"]), (&json!([3, 4]), &json!("a")));
        assert_eq!((&merged["infotexts"], &merged["index_of_first_image"]), (&json!(["x"]), &json!(1)));
    }
}
