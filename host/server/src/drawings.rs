//! Drawings that a plugin asks for, a script or a picture hook: each checked like a client's request, counted against what
//! the plugins of one request may have drawn, and drawn by the pipeline.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::hires::UpscaleTiles;
use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use gesso_engine::{CancelFlag, Enlargement, JobSpec, Progress, Work};
use gesso_plugin_host::{
    ActingPlugin, CallContext, DrawingBudget, Inference, InferenceAnswer, InferenceError, Job, Outcome,
};
use rand::RngExt;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::abort_on_drop::AbortOnDrop;
use crate::app::App;
use crate::blocking::blocking;
use crate::drawing_account::{Account, Payer};
use crate::engine_errors::{engine_failed, engine_refused};
use crate::error::AppError;
use crate::finishing::{self, Finishing};
use crate::http::wire::generate::{Drawing, FIRST_PASS_PICTURE, cut_sides, takes_first_pass, to_request};
use crate::http::wire::interrogate::{TagOptions, Words};
use crate::http::wire::per_picture;
use crate::http::wire::styles::Styling;
use crate::interrogate::Interrogator;
use crate::pipeline::{self, Asked, Finished};
use crate::plugin_view::{SCRIPT_NAME, UnitPictures};
use crate::{controls, png_file, resources, styles};

/// What one enlargement may multiply a side by.
const FACTOR_MAX: f64 = 8.0;
const PIXELS_PER_MEGA: f64 = 1e6;
/// What enlarging costs, as steps at the size of the result, and interrogating, at that of the picture.
const STEPS_OF_A_NETWORK: f64 = 10.0;
/// Drawings of one call, or of one request, that are prepared and drawn at one time.
pub(crate) const AT_ONCE: usize = 8;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Script,
    /// Its drawings are parts of a picture, which no hook finishes again.
    PictureHook,
}

/// What the drawings of one call share.
pub(crate) struct Drawings {
    asker: Asker,
    account: Arc<Account>,
    app: Arc<App>,
    call: CallContext,
    priority: i32,
    /// Of the drawing or task that the call is made for.
    cancel: CancelFlag,
    /// As the request's options have tags of pictures written.
    tags: TagOptions,
    /// As the request has networks enlarge pictures.
    tiles: UpscaleTiles,
    /// Stands in for the first pass of drawings in two passes, as it would for the request's own.
    first_pass: Option<Value>,
    /// Those of the request, which its plugins name instead of having them.
    units: UnitPictures,
    runtime: Handle,
    /// That of the drawing that moved last.
    progress: watch::Sender<Progress>,
    /// For drawings that are prepared and drawn at one time; the others wait with what the call gave them.
    turns: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    done: Vec<Done>,
    /// The first drawing that failed for want of room in the server.
    shortage: Option<AppError>,
}

struct Done {
    /// Which drawing of the call it was.
    place: u32,
    info: Value,
    warnings: Vec<String>,
    steps: f64,
    plugins: Vec<ActingPlugin>,
}

/// What was drawn in one call.
pub(crate) struct Drawn {
    /// Of every drawing, in the order they were asked for.
    pub(crate) infos: Vec<Value>,
    pub(crate) warnings: Vec<String>,
    /// Sampler steps over all pictures.
    pub(crate) steps: f64,
    /// Those that acted in the drawings.
    pub(crate) plugins: Vec<ActingPlugin>,
    /// The first drawing that failed for want of room in the server, for which the task is tried again.
    pub(crate) shortage: Option<AppError>,
}

impl Drawings {
    /// Those for the call of `asked`. `show` is given the progress of the drawing that moved last. Call it on the server's
    /// threads.
    ///
    /// # Errors
    /// Options of the request that cannot be read.
    pub(crate) fn of(
        asker: Asker,
        account: &Arc<Account>,
        app: &Arc<App>,
        asked: Asked<'_>,
        show: impl FnOnce(watch::Receiver<Progress>),
    ) -> Result<Arc<Self>, AppError> {
        let tags = TagOptions::of(asked.body).map_err(AppError::Invalid)?;
        let first_pass = asked.body.get(FIRST_PASS_PICTURE).filter(|picture| picture.is_string());
        let (progress, shown) = watch::channel(Progress::default());
        show(shown);
        Ok(Arc::new(Self {
            asker,
            account: account.clone(),
            app: app.clone(),
            call: asked.call.clone(),
            priority: asked.priority,
            cancel: asked.cancel.clone(),
            tags,
            tiles: asked.request.upscale_tiles,
            first_pass: first_pass.filter(|_| asker == Asker::Script).cloned(),
            units: UnitPictures::of(asked.body),
            // Guests run on threads of their own; drawings belong on the server's.
            runtime: Handle::current(),
            progress,
            turns: Semaphore::new(AT_ONCE),
            state: Mutex::default(),
        }))
    }

    /// What a guest asks.
    pub(crate) fn inference(self: &Arc<Self>) -> Arc<dyn Inference> {
        // Who asks is said by the plugin host, which knows.
        let payer = Payer::new("", DrawingBudget::default());
        Arc::new(SharedDrawings { drawings: self.clone(), payer })
    }

    /// What was drawn so far.
    pub(crate) fn take(&self) -> Drawn {
        let mut state = std::mem::take(&mut *self.lock());
        state.done.sort_by_key(|done| done.place);
        Drawn {
            warnings: state.done.iter().flat_map(|done| done.warnings.clone()).collect(),
            steps: state.done.iter().map(|done| done.steps).sum(),
            plugins: state.done.iter().flat_map(|done| done.plugins.clone()).collect(),
            infos: state.done.into_iter().map(|done| done.info).collect(),
            shortage: state.shortage,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a drawing's place among those that the payer may have.
    fn enter(&self, payer: &Payer) -> Result<u32, InferenceError> {
        self.account.enter(payer, &self.app.settings.limits)
    }

    /// Takes the cost of a drawing off what the payer may have drawn, in megapixels times steps.
    fn spend(&self, payer: &Payer, cost: f64) -> Result<(), InferenceError> {
        self.account.spend(payer, cost, &self.app.settings.limits)
    }

    async fn draw(
        &self,
        params: String,
        init_images: Vec<Pixels>,
        mask: Option<Pixels>,
        (place, payer): (u32, &Payer),
        (cancel, seen): (&CancelFlag, &watch::Sender<f32>),
    ) -> Result<gesso_plugin_host::Drawn, InferenceError> {
        // Cannot fail: nobody closes it.
        let _turn = self.turns.acquire().await;
        if cancel.is_cancelled() {
            return Err(InferenceError::Cancelled);
        }
        let drawing = if init_images.is_empty() { Drawing::Txt2Img } else { Drawing::Img2Img };
        let mut params: Map<String, Value> = serde_json::from_str(&params).map_err(|error| {
            InferenceError::Invalid(format!("the parameters are not a JSON object: {error}"))
        })?;
        params.remove(SCRIPT_NAME);
        // A drawing has the prompt that it is asked for.
        params.remove(per_picture::FIELD);
        // Scripts draw in the web UI's dialect.
        cut_sides(&mut params);
        let more_bytes_max = self.app.settings.limits.body_bytes_max;
        self.units.put_back(&mut params, more_bytes_max).map_err(InferenceError::Invalid)?;
        params.extend(encoded(init_images, mask).await?);
        let mut body = drawing
            .read(&params, || rand::rng().random())
            .map_err(|problems| told(AppError::Invalid(problems)))?;
        let has_own = body.get(FIRST_PASS_PICTURE).is_some_and(Value::is_string);
        let takes = !has_own && takes_first_pass(drawing, &body);
        if let Some(picture) = self.first_pass.as_ref().filter(|_| takes) {
            body.insert(FIRST_PASS_PICTURE.into(), picture.clone());
        }
        styles::lay_into(&mut body, &self.app.styles, &self.app.limits).await.map_err(told)?;
        let styling = Styling::take(&mut body);
        let request = to_request(drawing, &body, &self.app.defaults, &self.app.limits)
            .map_err(|problems| told(AppError::Invalid(problems)))?;
        controls::check(&self.app, &self.call.whom, &body).map_err(told)?;
        self.spend(payer, megapixel_steps(&request))?;
        let asked =
            Asked { call: &self.call, body: &body, request: &request, priority: self.priority, cancel };
        let mut shown = None;
        let show = |progress| {
            let (sender, seen) = (self.progress.clone(), seen.clone());
            // A tokio worker: it waits.
            shown = Some(AbortOnDrop(tokio::spawn(forward(progress, sender, seen))));
        };
        let drawn = match self.asker {
            Asker::Script => {
                let whole = (0, request.image_count());
                finishing::run(&self.app, &self.account, asked, whole, show, |_| ()).await
            }
            Asker::PictureHook => {
                let finished = pipeline::run(&self.app, asked, show).await;
                finished.map(|finished| (finished, Finishing::default()))
            }
        };
        let (finished, finishing) = drawn.map_err(|error| self.told(error))?;
        drop(shown);
        let steps = f64::from(request.opening_pass().steps * request.image_count()) + finishing.steps;
        let found = finished.warnings().chain(finishing.warnings);
        let warnings = styling.warnings.iter().cloned().chain(found).collect();
        let info = finished.info(&request, &body, "");
        let plugins = finished.plugins().chain(finishing.plugins).collect();
        self.lock().done.push(Done { place, info: info.clone(), warnings, steps, plugins });
        let Finished { pictures: images, infotexts, .. } = finished;
        Ok(gesso_plugin_host::Drawn { images, infotexts, info: info.to_string() })
    }
}

impl Drawings {
    async fn enlarge(
        &self,
        picture: Pixels,
        upscaler: String,
        factor: f64,
        (payer, cancel): (Payer, CancelFlag),
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
        self.enter(&payer)?;
        self.spend(&payer, pixels / PIXELS_PER_MEGA * STEPS_OF_A_NETWORK)?;
        let _turn = self.turns.acquire().await;
        let catalogue = self.app.catalogue.clone();
        let tiles = self.tiles;
        // The blocking pool: folders, and the heads of files.
        let by = blocking(move || {
            let name = resources::counted_upscaler(&catalogue, &upscaler)?;
            resources::upscaler(&catalogue, &name, tiles)
        });
        let by = by.await.map_err(told)?;
        let by = by.map_err(|error| told(error.into()))?;
        let work = Work::Enlarge(Enlargement { picture: Arc::new(picture), factor, by });
        let job = self.app.engine.submit(JobSpec { work, priority: self.priority, cancel });
        let job = job.map_err(|error| self.told(engine_refused(error)))?;
        let enlarged = job.finish().await.map_err(|error| self.told(engine_failed(error)))?.pop();
        enlarged.ok_or_else(|| InferenceError::Failed("the engine enlarged a picture to none".into()))
    }

    async fn interrogate(
        &self,
        picture: Pixels,
        model: String,
        (payer, cancel): (Payer, CancelFlag),
    ) -> Result<String, InferenceError> {
        let Some(words) = Words::named(&model) else {
            let sentence = format!(
                "there is no model {model:.50} that has words for pictures; there are clip and deepbooru"
            );
            return Err(InferenceError::Invalid(sentence));
        };
        self.enter(&payer)?;
        let pixels = f64::from(picture.width) * f64::from(picture.height);
        self.spend(&payer, pixels / PIXELS_PER_MEGA * STEPS_OF_A_NETWORK)?;
        let _turn = self.turns.acquire().await;
        let catalogue = self.app.catalogue.clone();
        // The blocking pool: folders and a file's head.
        let found = blocking(move || Interrogator::find(&catalogue, words)).await.map_err(told)?;
        let interrogator = found.map_err(|error| self.told(error))?;
        let words = interrogator.words(&self.app, None, picture, &self.tags, (&cancel, self.priority)).await;
        words.map_err(|error| self.told(error))
    }

    /// What the plugin hears of an error. A shortage of the server is kept too, for the task that may be tried again.
    fn told(&self, error: AppError) -> InferenceError {
        let is_shortage = matches!(error, AppError::Overloaded(_) | AppError::Unavailable(_));
        let for_plugin = InferenceError::Unavailable(error.to_string());
        if !is_shortage {
            return told(error);
        }
        self.lock().shortage.get_or_insert(error);
        for_plugin
    }
}

/// What the drawing of a request costs, in all of the passes that are drawn.
fn megapixel_steps(request: &GenerateRequest) -> f64 {
    let pass = |(width, height): (u32, u32), steps: u32| {
        f64::from(width) * f64::from(height) / PIXELS_PER_MEGA * f64::from(steps)
    };
    let first =
        if request.draws_first_pass() { pass((request.width, request.height), request.steps) } else { 0.0 };
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

/// Shows a drawing's progress as the call's, and its share as its own.
async fn forward(
    mut progress: watch::Receiver<Progress>,
    call: watch::Sender<Progress>,
    own: watch::Sender<f32>,
) {
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        own.send_replace(now.fraction() as f32);
        call.send_replace(now);
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
        AppError::Invalid(_) | AppError::NoScript(_) | AppError::UnusableModel(_) | AppError::NotFound(_) => {
            InferenceError::Invalid(error.to_string())
        }
        AppError::Cancelled => InferenceError::Cancelled,
        AppError::Overloaded(_) | AppError::Unavailable(_) => InferenceError::Unavailable(error.to_string()),
        _ => InferenceError::Failed(error.to_string()),
    }
}

/// Jobs outlive the call that began them, so each holds what they share.
struct SharedDrawings {
    drawings: Arc<Drawings>,
    payer: Payer,
}

impl SharedDrawings {
    /// Work that ends with whoever waits for it.
    fn answer<T, W>(&self, work: impl FnOnce(Arc<Drawings>, (Payer, CancelFlag)) -> W) -> InferenceAnswer<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, InferenceError>> + Send + 'static,
    {
        let cancel = CancelFlag::default();
        // The guest may end while it waits.
        let given_up = CancelOnDrop(cancel.clone());
        // The server's tokio workers: it waits for the device.
        let task = self.drawings.runtime.spawn(work(self.drawings.clone(), (self.payer.clone(), cancel)));
        Box::pin(async move {
            let _given_up = given_up;
            task.await
                .unwrap_or_else(|_| Err(InferenceError::Failed("the work on a picture ended early".into())))
        })
    }
}

impl Inference for SharedDrawings {
    fn for_plugin(self: Arc<Self>, plugin: &str, most: DrawingBudget) -> Arc<dyn Inference> {
        Arc::new(Self { drawings: self.drawings.clone(), payer: Payer::new(plugin, most) })
    }

    fn generate(
        &self,
        params: String,
        init_images: Vec<Pixels>,
        mask: Option<Pixels>,
        outcome: Outcome,
    ) -> Job {
        let (drawings, payer) = (self.drawings.clone(), self.payer.clone());
        let cancel = drawings.cancel.part();
        let (seen, progress) = watch::channel(0.0_f32);
        let flag = cancel.clone();
        // Here and not in the task, so that drawings are counted in the order they were asked for.
        let place = drawings.enter(&payer);
        // The server's tokio workers: it waits for the device and for the pools.
        self.drawings.runtime.spawn(async move {
            let drawn = match place {
                Ok(place) => drawings.draw(params, init_images, mask, (place, &payer), (&flag, &seen)).await,
                Err(error) => Err(error),
            };
            if drawn.is_ok() {
                seen.send_replace(1.0);
            }
            // Onto the account of the call's pictures, where it fits: a guest may leave it there.
            outcome.send(drawn);
        });
        Job::new(move || *progress.borrow(), move || cancel.cancel())
    }

    fn upscale(&self, picture: Pixels, upscaler: String, factor: f64) -> InferenceAnswer<Pixels> {
        self.answer(
            move |drawings, asked| async move { drawings.enlarge(picture, upscaler, factor, asked).await },
        )
    }

    fn interrogate(&self, picture: Pixels, model: String) -> InferenceAnswer<String> {
        self.answer(move |drawings, asked| async move { drawings.interrogate(picture, model, asked).await })
    }
}

#[cfg(test)]
mod tests {
    use gesso_core::hires::{Hires, HiresSize, HiresUpscaler, LatentUpscaler};

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
            from_picture: false,
        };
        let plain = GenerateRequest {
            width: 1000,
            height: 1000,
            steps: 20,
            batch_size: 3,
            ..GenerateRequest::default()
        };
        assert_eq!(megapixel_steps(&plain), 60.0);
        let two = |hires| megapixel_steps(&GenerateRequest { hires: Some(hires), ..plain.clone() });
        assert_eq!(two(hires.clone()), 180.0);
        assert_eq!(two(Hires { from_picture: true, ..hires }), 120.0);
    }
}
