//! `gesso plugin test`: the author's own tests, then the component in a host like the server's, with the server's budgets and
//! nothing granted but empty folders, the room that it wants, with nothing in it yet, and made-up tensors to read. Drawings are
//! made up: a colour gradient in place of a picture, or a refusal. What clients get wrong must be refused in a sentence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use gesso_core::infotext::Infotext;
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::step_hook::Point;
use gesso_plugin_host::{
    AnnotateError, Annotation, Budgets, CallContext, DrawingBudget, Drawn, DrawnPicture, FailureKind,
    FetchError, Grants, Grid, HookError, HostSettings, Inference, InferenceAnswer, InferenceError,
    InstallError, Job, LoadedModel, Manifest, ModelKind, NoNetworks, Outcome, PictureFacts, PictureStage,
    PluginHost, PluginState, SavedPicture, ScriptError, ScriptInput, Slider, Steps,
};
use gesso_store::{ObjectSettings, Objects, SystemClock};
use serde_json::{Map, Value, json};

use super::goldens::Goldens;
use super::project::Project;
use super::{check, step_trial};
use crate::made_up_device::gradient;
use crate::plugin_data::ServerStores;
use crate::startup::{Folders, open_plugin_data};
use crate::telemetry;

/// The file of a plugin's folder with the settings that it is tried with.
const SETTINGS: &str = "settings.json";

pub(super) fn run(folder: &Path, bless: bool) -> anyhow::Result<()> {
    let project = Project::open(folder)?;
    telemetry::announce("its own tests");
    project.unit_tests()?;
    telemetry::announce("the component");
    let component = project.build()?;
    if let Some(hooks) = check::called_hooks(&project.manifest) {
        telemetry::announce(&format!("  {hooks}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(trial(&project, &component, bless))
}

async fn trial(project: &Project, component: &Path, bless: bool) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let host = PluginHost::start(
        settings(&project.manifest, &project.folder, home.path())?,
        Arc::new(Folders),
        Arc::new(NoNetworks),
        Arc::new(stores(home.path()).await?),
    )
    .await?;
    let installed = host.install(std::fs::read(component)?).await;
    let status = installed.map_err(|error| not_running(error, &project.manifest, &project.folder))?;
    if let PluginState::Refused { reason } = status.state {
        bail!("the host refuses it: {reason}");
    }
    let goldens = Goldens { folder: project.folder.join("golden"), bless };
    let mut failures = 0;
    for case in cases(&project.manifest) {
        let before = host.get(&project.manifest.id);
        let outcome = case.run(&host, &goldens).await;
        let after = host.get(&project.manifest.id);
        let spent = before.zip(after).map_or(0, |(before, after)| after.cpu_ms - before.cpu_ms);
        match outcome {
            Ok(answer) => telemetry::announce(&format!("  ok      {:44} {answer}, {spent} ms", case.name)),
            Err(reason) => {
                failures += 1;
                telemetry::announce(&format!("  FAILED  {:44} {reason:#}", case.name));
            }
        }
    }
    for line in host.logs(&project.manifest.id).iter().filter(|_| failures > 0) {
        telemetry::announce(&format!("  log     {}", line.text));
    }
    let peak = host.get(&project.manifest.id).map_or(0, |status| status.memory_peak_bytes);
    telemetry::announce(&format!("it took {} MiB of memory at most", peak.div_ceil(1 << 20)));
    host.shutdown().await;
    ensure!(failures == 0, "{failures} calls failed");
    Ok(())
}

/// All that it wants is granted here, so that what it waits for is mostly settings.
fn not_running(error: InstallError, manifest: &Manifest, project: &Path) -> anyhow::Error {
    match error {
        InstallError::NeedsGrants { .. } if manifest.settings_schema.is_some() => anyhow!(
            "{error}; the settings of a test are those of {}, and without that file the defaults of `settings_schema`",
            project.join(SETTINGS).display()
        ),
        error => error.into(),
    }
}

/// The server's own stores, with nothing in them.
async fn stores(home: &Path) -> anyhow::Result<ServerStores> {
    let settings = ObjectSettings {
        options: BTreeMap::new(),
        url_secrets: home.join("url-keys"),
        clock: Arc::new(SystemClock),
    };
    let objects = Objects::open(&home.join("objects").display().to_string(), settings)?;
    let data = open_plugin_data(&home.join("plugin-data"), objects).await?;
    Ok(ServerStores { data, runtime: tokio::runtime::Handle::current() })
}

/// The server's own budgets, and an empty folder for each that the manifest wants.
fn settings(manifest: &Manifest, project: &Path, home: &Path) -> anyhow::Result<HostSettings> {
    let mut grants = Grants::default();
    for name in &manifest.wants.folders {
        let folder = home.join("granted").join(name);
        std::fs::create_dir_all(&folder)?;
        grants.folders.insert(name.clone(), folder);
    }
    (grants.kv_bytes, grants.blob_bytes) = (manifest.wants.kv_bytes, manifest.wants.blob_bytes);
    grants.read_tensors = manifest.wants.read_tensors;
    grants.settings = trial_settings(manifest, project)?;
    // A name that nobody has: the component loads, and reaches no host.
    grants.hosts = vec!["https://host.invalid".into()];
    let own = std::env::current_exe().context("this program does not know its own path")?;
    Ok(HostSettings {
        folder: home.join("plugins"),
        state: home.join("state"),
        compiler: vec![own.into(), "compile-plugin".into()],
        budgets: Budgets::default(),
        max_concurrent_calls: 4,
        trusted_keys: Vec::new(),
        grants: [(manifest.id.clone(), grants)].into(),
        tiers: BTreeMap::new(),
        own_paths: BTreeSet::new(),
    })
}

/// Those of `settings.json` in the plugin's folder; without it, the defaults that the schema gives.
fn trial_settings(manifest: &Manifest, project: &Path) -> anyhow::Result<Value> {
    let path = project.join(SETTINGS);
    if path.exists() {
        let text = std::fs::read_to_string(&path)?;
        return serde_json::from_str(&text).with_context(|| path.display().to_string());
    }
    let properties =
        manifest.settings_schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
    let defaults = properties
        .into_iter()
        .flatten()
        .filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())));
    Ok(Value::Object(defaults.collect()))
}

/// One call that a component must answer, or refuse in a sentence.
struct Case {
    name: String,
    call: Call,
}

enum Call {
    Before(Value),
    After(Vec<Pixels>),
    Finish(PictureStage, Pixels, MadeUp),
    Grid(Grid),
    Infotext(&'static str),
    Saved(SavedPicture),
    Loaded(ModelKind),
    Annotate { module: String, annotation: Annotation },
    Script { title: String, input: ScriptInput, drawings: MadeUp },
    Http { method: &'static str, path: &'static str, body: &'static [u8] },
    Fetch { scheme: String },
    Step { steps: Steps, point: Point, said: Value },
}

/// What a request says, and odd ones: hardly anything, letters of every kind, and more than a plugin knows.
fn requests() -> [(&'static str, Value); 3] {
    let ordinary = json!({"prompt": "a boat on a lake", "negative_prompt": "", "seed": 1, "steps": 20, "cfg_scale": 7.0,
        "width": 64, "height": 48, "batch_size": 1, "n_iter": 1, "sampler_name": "Euler"});
    let mut odd = ordinary.clone();
    odd["prompt"] = "夕焼け 🏔 {a|b} <lora:none:1> (((\"\\\n".into();
    odd["a_field_of_tomorrow"] = json!({"nested": [1, null]});
    [
        ("an ordinary request", ordinary),
        ("a request with nothing in it", json!({})),
        ("a request with odd text", odd),
    ]
}

fn pictures() -> [(&'static str, Pixels); 3] {
    [
        ("a picture", gradient(64, 48)),
        ("a picture of one pixel", gradient(1, 1)),
        ("a large picture", gradient(1024, 768)),
    ]
}

/// One with an empty cell, one whose pictures have sizes of their own, and one picture alone.
fn grids() -> [(&'static str, Grid); 3] {
    let mixed = pictures().map(|(_, picture)| picture).to_vec();
    [
        ("three pictures", Grid { pictures: vec![gradient(64, 48); 3], columns: 2, rows: 2 }),
        ("pictures of several sizes", Grid { pictures: mixed, columns: 3, rows: 1 }),
        ("one picture", Grid { pictures: vec![gradient(64, 48)], columns: 1, rows: 1 }),
    ]
}

/// What a client may take for an infotext.
const INFOTEXTS: [(&str, &str); 3] = [
    (
        "an ordinary infotext",
        "a boat on a lake\nNegative prompt: fog\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x48, Version: v1",
    ),
    ("a text without fields", "a boat on a lake"),
    ("an odd infotext", "夕焼け 🏔\nSteps: , Seed: \"1, 2\", Size: x, A field of tomorrow: {\"a\": [1]}"),
];

/// A picture, a grid, and a map without words.
fn saved_pictures() -> [(&'static str, SavedPicture); 3] {
    let picture = SavedPicture {
        path: "ann/txt2img-images/2026-01-31/00000-1.png".into(),
        format: "png".into(),
        bytes: 4096,
        infotext: INFOTEXTS[0].1.into(),
        is_grid: false,
    };
    let path = "ann/txt2img-grids/grid-0000.jpg".into();
    let grid = SavedPicture { path, format: "jpg".into(), is_grid: true, ..picture.clone() };
    let map = SavedPicture { infotext: String::new(), ..picture.clone() };
    [("a picture", picture), ("a grid", grid), ("a map", map)]
}

fn cases(manifest: &Manifest) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: String, call| cases.push(Case { name, call });
    let fills = |world: &str| manifest.worlds.iter().any(|name| name == world);
    let calls = |hook: &str| fills("request-hook") && manifest.hooks.iter().any(|name| name == hook);
    for (name, request) in requests().into_iter().filter(|_| calls("before")) {
        case(format!("before, {name}"), Call::Before(request));
    }
    if calls("before") {
        let [(_, mut request), ..] = requests();
        let odd = json!({"args": [ODD, null, {"odd": [ODD]}]});
        request["alwayson_scripts"] = Value::Object(Map::from_iter([(manifest.id.clone(), odd)]));
        case("before, odd arguments".into(), Call::Before(request));
    }
    for (name, picture) in pictures().into_iter().filter(|_| calls("after")) {
        case(format!("after, {name}"), Call::After(vec![picture]));
    }
    for stage in &manifest.stages {
        let finish = match stage {
            PictureStage::Decoded => "finish decoded",
            PictureStage::Composited => "finish",
        };
        for (name, picture) in pictures() {
            case(format!("{finish}, {name}"), Call::Finish(*stage, picture, MadeUp::Gradients));
        }
        let refused = Call::Finish(*stage, gradient(64, 48), MadeUp::Refusals);
        case(format!("{finish}, {REFUSED}"), refused);
    }
    for (name, grid) in grids().into_iter().filter(|_| fills("grid-hook")) {
        case(format!("grid, {name}"), Call::Grid(grid));
    }
    for (name, text) in INFOTEXTS.into_iter().filter(|_| fills("infotext-hook")) {
        case(format!("infotext, {name}"), Call::Infotext(text));
    }
    for (name, picture) in saved_pictures().into_iter().filter(|_| fills("save-hook")) {
        case(format!("saved, {name}"), Call::Saved(picture));
    }
    let kinds = [ModelKind::Drawing, ModelKind::Inpainting, ModelKind::Editing];
    for kind in kinds.into_iter().filter(|_| fills("model-hook")) {
        case(format!("loaded, a checkpoint for {kind:?}").to_lowercase(), Call::Loaded(kind));
    }
    for annotator in &manifest.annotators {
        let mut annotate = |name: &str, source: Pixels, value: fn(&Slider) -> f64| {
            let mut sliders = annotator.sliders.iter().map(value);
            let arguments = json!({
                "resolution": annotator.resolution.then_some(512),
                "threshold_a": sliders.next(),
                "threshold_b": sliders.next(),
            });
            let mask = annotator.mask.then(|| half_mask(&source));
            let annotation = Annotation { source, mask, arguments: arguments.to_string() };
            let module = annotator.name.clone();
            case(format!("{module}, {name}"), Call::Annotate { module, annotation });
        };
        for (name, source) in pictures() {
            annotate(name, source, |slider| slider.value);
        }
        if !annotator.sliders.is_empty() {
            annotate("sliders at their least", gradient(64, 48), |slider| slider.min);
            annotate("sliders at their most", gradient(64, 48), |slider| slider.max);
        }
    }
    for script in &manifest.scripts {
        let arguments: Vec<_> = script.args.iter().map(|argument| argument.value.clone()).collect();
        let odd: Vec<_> = script.args.iter().map(|_| ODD).collect();
        let (arguments, odd) = (json!(arguments).to_string(), json!(odd).to_string());
        let source = || vec![gradient(64, 48)];
        let mask = || Some(half_mask(&gradient(64, 48)));
        let one = || if script.txt2img { Vec::new() } else { source() };
        let (draws, refuses) = (MadeUp::Gradients, MadeUp::Refusals);
        let kinds = [
            ("text to image", script.txt2img, &arguments, Vec::new(), None, draws),
            ("image to image", script.img2img, &arguments, source(), None, draws),
            ("image to image with a mask", script.img2img, &arguments, source(), mask(), draws),
            ("odd arguments", !script.args.is_empty(), &odd, one(), None, draws),
            (REFUSED, true, &arguments, one(), None, refuses),
        ];
        for (name, _, arguments, init_images, mask, drawings) in kinds.into_iter().filter(|kind| kind.1) {
            let (params, arguments) = (requests()[0].1.to_string(), arguments.clone());
            let input = ScriptInput { params, arguments, init_images, mask };
            let title = script.title.clone();
            case(format!("{title}, {name}"), Call::Script { title, input, drawings });
        }
    }
    if let Some(steps) = &manifest.steps {
        for point in steps.points.iter().map(|point| Point::from(*point)) {
            let place = format!("{point:?}").to_lowercase();
            let call = Call::Step { steps: steps.clone(), point, said: Value::Null };
            case(format!("{}, {place}", steps.title), call);
        }
        let odd: Vec<_> = steps.args.iter().map(|_| ODD).collect();
        let first = steps.points.first().filter(|_| !odd.is_empty());
        if let Some(point) = first.map(|point| Point::from(*point)) {
            let call = Call::Step { steps: steps.clone(), point, said: json!({"args": odd}) };
            case(format!("{}, odd arguments", steps.title), call);
        }
    }
    for scheme in &manifest.fetches {
        case(format!("fetch, {scheme}"), Call::Fetch { scheme: scheme.clone() });
    }
    if fills("http-extension") || fills("http-handler") {
        let asked: [(_, _, _, &[u8]); 4] = [
            ("GET /", "GET", "/", b""),
            ("POST /", "POST", "/", b""),
            ("POST /, bytes that are no text", "POST", "/", b"{\"a\": \xff\0"),
            ("GET /no/such/place", "GET", "/no/such/place?x=%F0%9F%8F%94", b""),
        ];
        for (name, method, path, body) in asked {
            case(name.into(), Call::Http { method, path, body });
        }
    }
    cases
}

impl Case {
    /// What came of it, in a few words.
    async fn run(&self, host: &PluginHost, goldens: &Goldens) -> anyhow::Result<String> {
        let context = CallContext::new("test", 1);
        match &self.call {
            Call::Before(request) => match host.before(&context, request.to_string()).await {
                Ok(done) if !done.is_changed() => Ok("unchanged".into()),
                Ok(done) => {
                    let params: Value = serde_json::from_str(&done.params)?;
                    Ok(format!("changed, prompt {}", params["prompt"]))
                }
                Err(HookError::Rejected { reason, .. }) => Ok(format!("refused: {reason}")),
                Err(error) => Err(error.into()),
            },
            Call::After(pictures) => {
                let made = host.after(&context, &requests()[0].1.to_string(), pictures.clone()).await?;
                let made: Vec<_> = made.pictures.into_iter().map(|made| made.picture).collect();
                goldens.compare(&self.name, &made)
            }
            Call::Finish(stage, picture, drawings) => {
                let request = &requests()[0].1;
                let about = PictureFacts {
                    place: 0,
                    count: 1,
                    stage: *stage,
                    prompt: request["prompt"].as_str().unwrap_or_default().to_owned(),
                    negative_prompt: String::new(),
                    seed: 1,
                    subseed: 1,
                    infotext: "a boat on a lake\nSteps: 20, Seed: 1".into(),
                };
                let given = DrawnPicture { about, picture: picture.clone(), source: None };
                let params = request.to_string();
                let inference = Arc::new(*drawings);
                let finished =
                    host.finish_picture(&context, &params, given, inference, Infotext::extended).await;
                match finished {
                    Ok(finished) => {
                        let made = goldens.compare(&self.name, &[finished.picture])?;
                        Ok(format!("{made}, {} fields", finished.fields.len()))
                    }
                    Err(HookError::Rejected { reason, .. }) => {
                        goldens.compare_none(&self.name, format!("refused: {reason}"))
                    }
                    Err(error) if drawings.may_end_in(&error) => {
                        goldens.compare_none(&self.name, format!("a fault: {error}"))
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Call::Grid(grid) => {
                let params = requests()[0].1.to_string();
                match host.lay_out_grid(&context, &params, grid.clone()).await {
                    Ok((laid_out, _)) => {
                        let made = goldens.compare(&self.name, &laid_out.pictures)?;
                        Ok(format!("{made} in {} columns and {} rows", laid_out.columns, laid_out.rows))
                    }
                    Err(HookError::Rejected { reason, .. }) => {
                        goldens.compare_none(&self.name, format!("refused: {reason}"))
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Call::Infotext(text) => match host.read_infotext(&context, text, Infotext::parse(text)).await {
                Ok((read, _)) if read == Infotext::parse(text) => Ok("unchanged".into()),
                Ok((read, _)) => {
                    Ok(format!("changed, prompt {:?}, {} fields", read.prompt, read.fields.len()))
                }
                Err(HookError::Rejected { reason, .. }) => Ok(format!("refused: {reason}")),
                Err(error) => Err(error.into()),
            },
            Call::Saved(picture) => {
                host.picture_saved(&context, &requests()[0].1.to_string(), picture).await?;
                Ok("heard".into())
            }
            Call::Loaded(kind) => {
                let model = LoadedModel { name: "a-checkpoint".into(), sha256: "0a".repeat(32), kind: *kind };
                match host.model_loaded(&context, &model).await.pop() {
                    None => Ok("heard".into()),
                    Some(error) => Err(error.into()),
                }
            }
            Call::Annotate { module, annotation } => {
                match host.annotate(&context, module, annotation.clone()).await {
                    Ok(made) => goldens.compare(&self.name, &[made.picture]),
                    Err(AnnotateError::Refused(reason)) => {
                        goldens.compare_none(&self.name, format!("refused: {reason}"))
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Call::Script { title, input, drawings } => {
                match host.run_script(&context, title, input.clone(), Arc::new(*drawings)).await {
                    Ok(output) => goldens.compare(&self.name, &output.images),
                    Err(ScriptError::Refused(reason)) => {
                        goldens.compare_none(&self.name, format!("refused: {reason}"))
                    }
                    Err(ScriptError::Hook(error)) if drawings.may_end_in(&error) => {
                        goldens.compare_none(&self.name, format!("a fault: {error}"))
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Call::Fetch { scheme } => {
                // Nothing is granted, so there is nothing to bring; what matters is that it says so.
                match host.fetch(&context, scheme, &format!("{scheme}://pictures.invalid/a.png")).await {
                    Ok(file) => Ok(format!("{} bytes", file.len())),
                    Err(FetchError::Refused(reason)) => Ok(format!("refused: {reason}")),
                    Err(FetchError::Hook(HookError::PluginFailed {
                        reason: FailureKind::Fault,
                        message,
                        ..
                    })) => Ok(format!("a fault: {message}")),
                    Err(error) => Err(error.into()),
                }
            }
            // This thread carries out what the guest asks for; others go on.
            Call::Step { steps, point, said } => {
                tokio::task::block_in_place(|| step_trial::run(host, &context, steps, *point, said))
            }
            Call::Http { method, path, body } => {
                let body = Bytes::copy_from_slice(body);
                let request = axum::http::Request::builder().method(*method).uri(*path).body(body)?;
                let id = host.list().first().map(|status| status.id.clone()).unwrap_or_default();
                let answer = host.handle_http(&context, &id, request).await?;
                ensure!(!answer.status().is_server_error(), "it answered {}", answer.status());
                Ok(format!("status {}, {} bytes", answer.status().as_u16(), answer.body().len()))
            }
        }
    }
}

/// White on the right half.
fn half_mask(source: &Pixels) -> Pixels {
    let row = (0..source.width).map(|x| if x >= source.width / 2 { 255 } else { 0 });
    let data = (0..source.height).flat_map(|_| row.clone()).collect();
    Pixels { width: source.width, height: source.height, format: PixelFormat::Gray8, data }
}

/// Text where an argument is looked for, whatever its kind.
const ODD: &str = "odd 🏔";
/// The case of [`MadeUp::Refusals`].
const REFUSED: &str = "drawings are refused";

/// What comes of a drawing, at once.
#[derive(Debug, Clone, Copy)]
enum MadeUp {
    Gradients,
    /// As where a request has spent what it may.
    Refusals,
}

impl MadeUp {
    fn refused(self) -> Result<(), InferenceError> {
        match self {
            Self::Gradients => Ok(()),
            Self::Refusals => Err(InferenceError::Limit("no more is drawn for this request".into())),
        }
    }

    /// Whether a call may fail with this: one whose drawings are refused may say that it has none, in any fault.
    fn may_end_in(self, error: &HookError) -> bool {
        matches!(self, Self::Refusals)
            && matches!(error, HookError::PluginFailed { reason: FailureKind::Fault, .. })
    }
}

impl Inference for MadeUp {
    fn for_plugin(self: Arc<Self>, _: &str, _: DrawingBudget) -> Arc<dyn Inference> {
        self
    }

    fn generate(&self, params: String, _: Vec<Pixels>, _: Option<Pixels>, outcome: Outcome) -> Job {
        outcome.send(self.refused().and_then(|()| made_up(&params)));
        Job::new(|| 1.0, || {})
    }

    fn upscale(&self, picture: Pixels, _: String, factor: f64) -> InferenceAnswer<Pixels> {
        let side = |side: u32| (f64::from(side) * factor.clamp(1.0, 8.0)) as u32;
        let enlarged = |()| gradient(side(picture.width), side(picture.height));
        Box::pin(std::future::ready(self.refused().map(enlarged)))
    }

    fn interrogate(&self, _: Pixels, _: String) -> InferenceAnswer<String> {
        Box::pin(std::future::ready(self.refused().map(|()| "a colour gradient".to_owned())))
    }
}

/// As many pictures as the request asks for.
fn made_up(params: &str) -> Result<Drawn, InferenceError> {
    let params: Value = serde_json::from_str(params)
        .map_err(|error| InferenceError::Invalid(format!("the parameters are no JSON: {error}")))?;
    let number = |field: &str, default| params[field].as_u64().unwrap_or(default);
    let count = number("batch_size", 1).min(16) * number("n_iter", 1).min(16);
    let side = |field| number(field, 512).clamp(8, 2048) as u32;
    let seed = number("seed", 0);
    let prompt = params["prompt"].as_str().unwrap_or_default();
    let infotexts = (0..count).map(|index| format!("{prompt}\nSteps: 1, Seed: {}", seed + index)).collect();
    let info = json!({"prompt": prompt, "seed": seed, "all_seeds": (seed..seed + count).collect::<Vec<_>>(),
        "all_prompts": vec![prompt; count as usize]});
    let images = (0..count).map(|_| gradient(side("width"), side("height"))).collect();
    Ok(Drawn { images, infotexts, info: info.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_without_settings_that_it_needs_is_told_where_they_would_stand() {
        let told = |schema: &str| {
            let text = format!(
                r#"{{"id": "a", "version": "1.0.0", "api": "0.1.0", "worlds": ["request-hook"]{schema}}}"#
            );
            let manifest = Manifest::parse(text.as_bytes()).unwrap();
            let reason = "its settings are wrong: \"style\" is a required property".to_owned();
            let error = InstallError::NeedsGrants { id: "a".into(), reason };
            not_running(error, &manifest, Path::new("/my-plugin")).to_string()
        };
        let with = told(r#", "settings_schema": {"type": "object", "required": ["style"]}"#);
        assert!(with.contains("required property; ") && with.contains("/my-plugin/settings.json"), "{with}");
        assert!(!told("").contains("settings.json"));
    }
}
