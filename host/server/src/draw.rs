//! One leased drawing, from its stored body to its stored pictures: the plugins' hooks, the pipeline or the script that a
//! request names, files written. The record is the worker's.

use std::iter::Peekable;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, stream};
use gesso_core::infotext::Infotext;
use gesso_core::pixels::Pixels;
use gesso_engine::{CancelFlag, Progress};
use gesso_plugin_host::{ActingPlugin, AfterPicture, CallContext, ChainReport, Script};
use gesso_store::{Lease, ObjectKey, Outcome};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::app::App;
use crate::drawing_account::Account;
use crate::drawings::AT_ONCE;
use crate::error::AppError;
use crate::http::calls::{self, Replays};
use crate::http::wire::file_format::FileFormat;
use crate::http::wire::grid_options::{self, GridOptions};
use crate::http::wire::infotext_report;
use crate::http::wire::output_options::OutputOptions;
use crate::http::wire::styles::Styling;
use crate::http::wire::{generate, infotext, per_picture};
use crate::kept_pictures::{Cells, Keeping};
use crate::pipeline::Asked;
use crate::plugin_view::UnitPictures;
use crate::running::RunningGuard;
use crate::saved_pictures::Saving;
use crate::telemetry::stage;
use crate::{finishing, inputs, plugin_use, plugin_view, scripts, tasks};

/// Pictures that one call of the `after` hooks is given: a script makes more than a call may hold.
const AFTER_BYTES: usize = 32 << 20;

const INTERRUPTED: &str =
    "interrupted: pictures are as they were by then, and those that had not begun are missing";
const SKIPPED: &str = "skipped: pictures of a batch are as they were by then";

/// Draws a task's pictures and stores them, or has a route answer that is a task.
pub(crate) async fn draw(
    (app, replays): (&Arc<App>, &Replays),
    lease: &Lease,
    running: &RunningGuard<'_>,
    cancel: &CancelFlag,
) -> Result<Outcome, AppError> {
    let stored = tasks::body(app, &lease.task).await?;
    if lease.task.kind == calls::KIND {
        return calls::run((app, replays), lease, stored, cancel).await;
    }
    let kind = generate::Drawing::parse(&lease.task.kind).ok_or_else(|| {
        AppError::Internal(format!("a stored task is of the unknown kind {:?}", lease.task.kind))
    })?;
    let Value::Object(mut body) = stored else {
        return Err(AppError::Internal("a stored request is not an object".into()));
    };
    let styling = Styling::take(&mut body);
    let of_infotext = infotext_report::take(&mut body);
    let has_grid = grid_options::take_mark(&mut body);
    let named = inputs::references(&mut body);
    // Pictures are megabytes of text that no hook of this version reads. Their fields keep their places.
    let pictures: Vec<_> =
        generate::PICTURES.iter().filter_map(|name| Some((*name, body.get_mut(*name)?.take()))).collect();
    let seed = body.get("seed").and_then(Value::as_u64).unwrap_or_default();
    let function = lease.task.terms.model.as_deref();
    let call = CallContext {
        request_id: lease.task.id.to_string(),
        seed,
        environment: function.map(|model| app.functions.environment(model)).unwrap_or_default(),
        named: plugin_use::addressed(&body),
        whom: plugin_use::whom_of_task(app, &lease.task.owner, &body),
        cancelled: cancel.shared(),
    };
    let mut told = body.clone();
    told.retain(|name, _| !generate::PICTURES.contains(&name.as_str()));
    let units = (UnitPictures::take(&mut told), app.settings.limits.body_bytes_max);
    generate::tell_batch(kind, &mut told, &pictures);
    let began = Instant::now();
    let before = app.plugins.before(&call, Value::Object(told).to_string()).await?;
    let told_after = plugin_view::without_infotext(&before.params);
    if before.is_changed() {
        body = reread((kind, &app.defaults), &before.params, &body, &pictures, (&units.0, units.1))?;
    } else {
        body.extend(pictures.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    // A plugin that takes the second pass away takes along what it would have begun from.
    if before.is_changed() && !generate::takes_first_pass(kind, &body) {
        body.insert(generate::FIRST_PASS_PICTURE.into(), Value::Null);
    }
    // What the client said is what it is told again, not the files that it named.
    let said = (!named.is_empty()).then(|| body.clone());
    inputs::bring(app, &call, &lease.task.owner, &named, &mut body).await?;
    stage("prepare", began.elapsed());
    let request = generate::to_request(kind, &body, &app.defaults, &app.limits).map_err(AppError::Invalid)?;
    let outputs = OutputOptions::of(&body).map_err(AppError::Invalid)?;
    if !outputs.shows_previews {
        running.hides_preview();
    }
    let asked = Asked { call: &call, body: &body, request: &request, priority: lease.task.priority, cancel };
    let began = Instant::now();
    let script = scripts::named(app, &call.whom, kind, &body)?;
    running.heeds_skip();
    let drawn = match &script {
        None => by_pipeline(app, asked, kind, lease, running).await?,
        Some(script) => by_script(app, asked, script, running).await?,
    };
    let seconds = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let format = FileFormat::of(&body).map_err(AppError::Invalid)?;
    let grid = GridOptions::of(&body).map_err(AppError::Invalid)?;
    let DrawnPictures {
        pictures,
        masks,
        maps,
        infotexts,
        mut info,
        warnings: found,
        plugins: drew,
        steps,
        seconds: drawing,
    } = drawn;
    let ChainReport { acted: mut plugins, warnings: mut left_out } = of_infotext;
    plugins.extend(before.report.acted.into_iter().chain(drew));
    left_out.extend(before.report.warnings);
    // The client's own styles stand in both.
    info["styles"] = body.get("styles").filter(|styles| !styles.is_null()).cloned().unwrap_or(json!([]));
    info["job_timestamp"] = timestamp(lease.task.started_ms.unwrap_or(lease.task.created_ms)).into();
    let options = (&outputs, &styling);
    let saving = Saving::new((kind, &call), lease, &body, &info, request.scheduler.label(), options);
    let saving = saving.await?;
    // A script makes grids of its own.
    let cells = (has_grid && script.is_none()).then(|| Cells::new(grid, request.batch_size));
    let first = info["index_of_first_image"].as_u64().unwrap_or_default() as usize;
    let mut keeping = Keeping::new(app, saving, format, first, cells);
    let texts = infotexts.into_iter().chain(std::iter::repeat(String::new()));
    let mut pictures = pictures.into_iter().zip(texts).peekable();
    // Which of the pictures that were drawn each is that is kept, and how many of them the hooks have seen.
    let (mut carried, mut given) = (Vec::new(), 0);
    while pictures.peek().is_some() {
        let (some, texts) = up_to(AFTER_BYTES, &mut pictures);
        let after = app.plugins.after(&call, &told_after, some).await?;
        if cancel.is_cancelled() {
            return Err(AppError::Cancelled);
        }
        plugins.extend(after.report.acted);
        left_out.extend(after.report.warnings);
        for AfterPicture { picture, from } in after.pictures {
            // A plugin may have added it; then it carries no infotext.
            let infotext = from.and_then(|from| texts.get(from)).cloned().unwrap_or_default();
            let from = from.map(|from| given + from);
            keeping.add(picture, infotext, from).await?;
            carried.push(from);
        }
        given += texts.len();
    }
    for map in masks.into_iter().chain(maps) {
        keeping.add_beside(map).await?;
    }
    let kept = keeping.finish().await?;
    carry(&mut info, &carried, given);
    if let Some(infotext) = kept.grid {
        info["index_of_first_image"] = 1.into();
        if let Some(infotexts) = info["infotexts"].as_array_mut() {
            infotexts.insert(0, infotext.into());
        }
    }
    let skipped = cancel.has_skipped().then(|| SKIPPED.to_owned());
    let warnings = styling.warnings.iter().cloned().chain(left_out).chain(found).chain(skipped);
    // One folder that cannot be written is one reason, however many pictures there are.
    let warnings = each_once(warnings.chain(kept.warnings));
    let plugins = each_once(plugins.into_iter().chain(kept.plugins));
    let seconds = drawing.unwrap_or(seconds);
    let mut parameters = said.unwrap_or_else(|| body.clone());
    if parameters.get("include_init_images") != Some(&Value::Bool(true)) {
        for name in generate::PICTURES {
            if let Some(picture) = parameters.get_mut(name) {
                *picture = Value::Null;
            }
        }
    }
    styling.undo(&mut parameters);
    per_picture::tidy(&mut parameters);
    plugin_use::tidy(&mut parameters);
    let details = json!({
        "parameters": parameters,
        "info": info,
        "warnings": warnings,
        "plugins": plugins,
        "stepsPerSecond": steps / seconds,
    });
    let key = ObjectKey::details(&lease.task.id, lease.attempt);
    app.objects.put(&key, details.to_string().into_bytes().into()).await?;
    stage("store", began.elapsed());
    Ok(Outcome { images: kept.images, details: Some(key), error: None })
}

/// Pictures that the `after` hooks have not seen yet, and what is told of them.
struct DrawnPictures {
    pictures: Vec<Pixels>,
    /// Masks and what was drawn under them, which no hook sees.
    masks: Vec<Pixels>,
    /// ControlNet's, which no hook sees either; equal for all pictures.
    maps: Vec<Pixels>,
    infotexts: Vec<String>,
    info: Value,
    warnings: Vec<String>,
    /// Those that acted in the drawing.
    plugins: Vec<ActingPlugin>,
    /// Sampler steps over all pictures, and what they took; `None` is all of the time.
    steps: f64,
    seconds: Option<f64>,
}

async fn by_pipeline(
    app: &Arc<App>,
    asked: Asked<'_>,
    kind: generate::Drawing,
    lease: &Lease,
    running: &RunningGuard<'_>,
) -> Result<DrawnPictures, AppError> {
    running.heeds_interrupt();
    let started = timestamp(lease.task.started_ms.unwrap_or(lease.task.created_ms));
    let account = Arc::default();
    let count = per_picture::count(asked.body);
    if count == 0 {
        let whole = (0, asked.request.image_count());
        return once(app, &account, asked, &started, whole, |progress| running.show(progress)).await;
    }
    let (progress, shown) = watch::channel(Progress::default());
    running.show(shown);
    let alone = async |place: u32| {
        let body = per_picture::alone(asked.body, asked.request, place);
        let request =
            generate::to_request(kind, &body, &app.defaults, &app.limits).map_err(AppError::Invalid)?;
        let asked = Asked { body: &body, request: &request, ..asked };
        // A tokio worker: it ends with the drawing whose progress it shows.
        let show = |own| drop(tokio::spawn(relay(own, progress.clone())));
        once(app, &account, asked, &started, (place, count), show).await
    };
    // On the worker's own task: drawings wait for the device.
    let mut parts = pin!(stream::iter(0..count).map(alone).buffered(AT_ONCE));
    let mut together: Option<DrawnPictures> = None;
    let mut infos = Vec::new();
    while let Some(part) = parts.next().await {
        let part = match part {
            // It had not begun.
            Err(AppError::Cancelled) if asked.cancel.is_interrupted() && together.is_some() => break,
            part => part?,
        };
        infos.push(part.info.clone());
        match &mut together {
            None => together = Some(part),
            Some(all) => {
                all.pictures.extend(part.pictures);
                all.infotexts.extend(part.infotexts);
                all.masks.extend(part.masks);
                all.steps += part.steps;
                all.plugins.extend(part.plugins);
                // What is missing is missing for all of them.
                for warning in part.warnings {
                    if !all.warnings.contains(&warning) {
                        all.warnings.push(warning);
                    }
                }
            }
        }
    }
    let mut all = together.ok_or_else(|| AppError::Internal("a request came to no picture".into()))?;
    all.info = scripts::merged(infos, &all.infotexts, 0);
    // They were drawn beside each other.
    all.seconds = None;
    Ok(all)
}

/// Shows the progress of the drawing that moved last as the request's.
async fn relay(mut own: watch::Receiver<Progress>, request: watch::Sender<Progress>) {
    while own.changed().await.is_ok() {
        request.send_replace(own.borrow_and_update().clone());
    }
}

/// One request through the pipeline and the plugins that finish pictures. `place` is that of its first picture among so many.
async fn once(
    app: &Arc<App>,
    account: &Arc<Account>,
    asked: Asked<'_>,
    started: &str,
    place: (u32, u32),
    show: impl Fn(watch::Receiver<Progress>),
) -> Result<DrawnPictures, AppError> {
    let (finished, finishing) = finishing::run(app, account, asked, place, &show, &show).await?;
    let interrupted = asked.cancel.is_interrupted().then(|| INTERRUPTED.to_owned());
    Ok(DrawnPictures {
        info: finished.info(asked.request, asked.body, started),
        warnings: finished.warnings().chain(finishing.warnings).chain(interrupted).collect(),
        plugins: finished.plugins().chain(finishing.plugins).collect(),
        steps: f64::from(asked.request.opening_pass().steps) * finished.pictures.len() as f64,
        seconds: Some(finished.seconds),
        pictures: finished.pictures,
        masks: finished.masks,
        maps: finished.maps,
        infotexts: finished.infotexts,
    })
}

async fn by_script(
    app: &Arc<App>,
    asked: Asked<'_>,
    script: &Script,
    running: &RunningGuard<'_>,
) -> Result<DrawnPictures, AppError> {
    let (mut init_images, mask) = plugin_view::pictures(app, asked.body).await?;
    if let Some(settings) = &asked.request.img2img {
        init_images = plugin_view::flattened(init_images, settings.pictures.background).await?;
    }
    let params = plugin_view::params(asked.body);
    let pictures = (init_images, mask);
    let scripted =
        scripts::run(app, asked, script, params, pictures, |progress| running.show(progress)).await?;
    Ok(DrawnPictures {
        pictures: scripted.output.images,
        masks: Vec::new(),
        maps: Vec::new(),
        infotexts: scripted.output.infotexts,
        info: scripted.info,
        warnings: scripted.warnings,
        plugins: scripted.plugins,
        steps: scripted.steps,
        seconds: None,
    })
}

/// The next pictures that take `bytes_max` together, with their texts; one that is larger comes alone.
fn up_to(
    bytes_max: usize,
    pictures: &mut Peekable<impl Iterator<Item = (Pixels, String)>>,
) -> (Vec<Pixels>, Vec<String>) {
    let mut bytes = 0;
    let mut taken = (Vec::new(), Vec::new());
    while let Some((picture, text)) =
        pictures.next_if(|(next, _)| bytes == 0 || bytes + next.data.len() <= bytes_max)
    {
        bytes += picture.data.len();
        taken.0.push(picture);
        taken.1.push(text);
    }
    taken
}

/// Puts what `info` says of each picture where the `after` hooks left the picture. `carried` says of those that are kept which
/// of the `given` ones they are; what hooks added has the request's own prompt and seed, and behind the last that was drawn
/// nothing, as maps have.
fn carry(info: &mut Value, carried: &[Option<usize>], given: usize) {
    let last = carried.iter().rposition(Option::is_some).map_or(0, |place| place + 1);
    let carried = &carried[..last];
    if last == given && carried.iter().enumerate().all(|(place, from)| *from == Some(place)) {
        return;
    }
    // A script's grids have no seed of their own.
    let first = info["index_of_first_image"].as_u64().unwrap_or_default() as usize;
    let grids = carried.iter().take_while(|from| from.is_some_and(|from| from < first)).count();
    for (key, own) in [
        ("all_prompts", "prompt"),
        ("all_negative_prompts", "negative_prompt"),
        ("all_seeds", "seed"),
        ("all_subseeds", "subseed"),
    ] {
        let Some(all) = info[key].as_array().filter(|all| first + all.len() == given) else { continue };
        let of = |from: &Option<usize>| {
            let place = from.and_then(|from| from.checked_sub(first));
            place.and_then(|place| all.get(place)).unwrap_or(&info[own]).clone()
        };
        let moved: Vec<Value> = carried[grids..].iter().map(of).collect();
        info[key] = moved.into();
    }
    if let Some(all) = info["infotexts"].as_array() {
        let of = |from: &Option<usize>| from.and_then(|from| all.get(from)).cloned().unwrap_or("".into());
        let moved: Vec<Value> = carried.iter().map(of).collect();
        info["infotexts"] = moved.into();
    }
    info["index_of_first_image"] = grids.into();
}

/// In the order in which they came.
fn each_once<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut once = Vec::new();
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
}

/// What a plugin made of the request goes through the same reading as what a client sent.
///
/// Seeds it took away are the request's again: a stored request draws the same picture every time. The client's infotext has
/// filled the request already, by what plugins left of it.
fn reread(
    (kind, defaults): (generate::Drawing, &generate::Defaults),
    params: &str,
    original: &Map<String, Value>,
    pictures: &[(&str, Value)],
    (units, more_bytes_max): (&UnitPictures, usize),
) -> Result<Map<String, Value>, AppError> {
    let mut changed: Map<String, Value> = serde_json::from_str(params).map_err(|error| {
        AppError::PluginFailed(format!("a plugin replaced the request by something else: {error}"))
    })?;
    units.put_back(&mut changed, more_bytes_max).map_err(AppError::PluginFailed)?;
    for name in ["seed", "subseed"] {
        if changed.get(name).and_then(Value::as_i64).is_none_or(|seed| seed < 0) {
            changed.insert(name.into(), original.get(name).cloned().unwrap_or_default());
        }
    }
    // Where the client sent none, a plugin may have put one of a unit's.
    let sent = pictures.iter().filter(|(_, value)| !value.is_null());
    changed.extend(sent.map(|(name, value)| ((*name).to_owned(), value.clone())));
    let is_another = changed.get("infotext") != original.get("infotext");
    let text = infotext::of_body(&changed).filter(|_| is_another).map(Infotext::parse);
    kind.read_with(&changed, (text.as_ref(), defaults), || 0).map_err(AppError::Invalid)
}

/// `YYYYMMDDhhmmss`, UTC.
fn timestamp(unix_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms as i64)
        .map(|time| time.strftime("%Y%m%d%H%M%S").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use gesso_core::pixels::PixelFormat;
    use gesso_core::request::NoiseSource;

    use super::*;

    #[test]
    fn a_plugin_that_takes_the_seeds_away_gets_the_requests_own_back() {
        let original = json!({"seed": 7, "subseed": 8});
        let (original, units) = (original.as_object().unwrap(), UnitPictures::default());
        let (kind, defaults) = (generate::Drawing::Txt2Img, generate::Defaults::default());
        let read = |params| reread((kind, &defaults), params, original, &[], (&units, 0));
        for params in [r#"{"prompt": "x", "seed": -1, "subseed": ""}"#, "{}"] {
            let changed = read(params).unwrap();
            assert_eq!((&changed["seed"], &changed["subseed"]), (&json!(7), &json!(8)), "{params}");
        }
        assert_eq!(read(r#"{"seed": 9}"#).unwrap()["seed"], 9);
        assert!(read("[]").is_err());
    }

    #[test]
    fn a_text_that_a_plugin_sets_is_read_under_the_servers_settings() {
        let defaults = generate::Defaults { noise_source: NoiseSource::Cpu, ..Default::default() };
        let text = "a cat\nSteps: 7, Sampler: Euler, Seed: 5";
        let (params, units) = (json!({"infotext": text}), UnitPictures::default());
        let read = |sent: &Value| {
            let (how, sent) = ((generate::Drawing::Txt2Img, &defaults), sent.as_object().unwrap());
            reread(how, &params.to_string(), sent, &[], (&units, 0)).unwrap()
        };
        let set = read(&json!({}));
        assert_eq!(set["prompt"], "a cat");
        assert_eq!(set["override_settings"]["randn_source"], "CPU");
        assert_eq!(read(&params)["prompt"], "", "the client's own has filled the request before");
    }

    #[test]
    fn pictures_go_through_the_hooks_as_many_at_a_time_as_fit() {
        let picture = |height| Pixels::new(1, height, PixelFormat::Gray8, vec![0; height as usize]).unwrap();
        let mut all = [4, 4, 20, 2, 8, 1].map(|height| (picture(height), height.to_string()));
        let mut pictures = all.iter_mut().map(|pair| pair.clone()).peekable();
        let mut parts = Vec::new();
        while pictures.peek().is_some() {
            parts.push(up_to(10, &mut pictures).1.join(" "));
        }
        assert_eq!(parts, ["4 4", "20", "2 8", "1"]);
    }

    #[test]
    fn pictures_come_back_after_the_plugins() {
        let original = Map::new();
        let pictures = [("init_images", json!(["abc"]))];
        let unit = json!({"controlnet": {"args": [{"image": "A".repeat(5000)}]}});
        let mut told: Map<_, _> = [("alwayson_scripts".to_owned(), unit.clone())].into_iter().collect();
        let units = UnitPictures::take(&mut told);
        let told = Value::Object(told).to_string();
        assert!(told.len() < 100, "{told}");
        let how = (generate::Drawing::Img2Img, &generate::Defaults::default());
        let read = reread(how, &told, &original, &pictures, (&units, 0)).unwrap();
        assert_eq!((&read["init_images"], &read["alwayson_scripts"]), (&json!(["abc"]), &unit));
    }

    #[test]
    fn a_plugin_may_put_the_picture_of_a_unit_where_the_client_sent_none() {
        let picture = "A".repeat(5000);
        let unit = json!({"alwayson_scripts": {"controlnet": {"args": [{"image": picture}]}}});
        let mut told = unit.as_object().unwrap().clone();
        let units = UnitPictures::take(&mut told);
        told.insert("mask".into(), "<unit picture 0>".into());
        let told = Value::Object(told).to_string();
        for (sent, expected) in [(Value::Null, json!(picture)), (json!("sent"), json!("sent"))] {
            let pictures = [("init_images", json!(["abc"])), ("mask", sent)];
            let how = (generate::Drawing::Img2Img, &generate::Defaults::default());
            let read = reread(how, &told, &Map::new(), &pictures, (&units, 5000)).unwrap();
            assert_eq!(read["mask"], expected);
        }
    }

    #[test]
    fn what_is_told_of_pictures_follows_them() {
        let told = |carried: &[Option<usize>], (first, given): (usize, usize)| {
            let all: Vec<usize> = (first..given).collect();
            let texts: Vec<String> = (0..given).map(|place| place.to_string()).collect();
            let mut info = json!({"seed": 90, "all_seeds": all, "infotexts": texts, "index_of_first_image": first,
                "all_prompts": ["of one alone"]});
            carry(&mut info, carried, given);
            assert_eq!(info["all_prompts"], json!(["of one alone"]), "not one for each picture");
            (info["all_seeds"].clone(), info["infotexts"].clone(), info["index_of_first_image"].clone())
        };
        for (carried, (first, given), seeds, texts, index) in [
            (vec![Some(0), Some(1), Some(2)], (0, 3), json!([0, 1, 2]), json!(["0", "1", "2"]), 0),
            (vec![Some(0), Some(1), Some(2), None], (0, 3), json!([0, 1, 2]), json!(["0", "1", "2"]), 0),
            (vec![Some(1), Some(2)], (0, 3), json!([1, 2]), json!(["1", "2"]), 0),
            (vec![Some(2), None, Some(0)], (0, 3), json!([2, 90, 0]), json!(["2", "", "0"]), 0),
            (vec![None], (0, 3), json!([]), json!([]), 0),
            (vec![Some(0), Some(2), Some(1)], (1, 4), json!([2, 1]), json!(["0", "2", "1"]), 1),
            (vec![Some(3), Some(1)], (1, 4), json!([3, 1]), json!(["3", "1"]), 0),
        ] {
            assert_eq!(told(&carried, (first, given)), (seeds, texts, json!(index)), "{carried:?}");
        }
    }
}
