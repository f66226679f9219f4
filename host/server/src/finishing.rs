//! A drawing through the pipeline with the plugins that finish pictures, at both of their stages: which picture is which, and
//! what the plugins' own drawings come to. Called for a request's pictures and for those of a script's drawings.

use std::sync::Arc;

use gesso_core::infotext::Infotext;
use gesso_core::pixels::Pixels;
use gesso_engine::Progress;
use gesso_plugin_host::{ActingPlugin, CallContext, DrawnPicture, HookError, PictureFacts, PictureStage};
use tokio::sync::watch;

use crate::app::App;
use crate::drawing_account::Account;
use crate::drawings::{Asker, Drawings};
use crate::error::AppError;
use crate::pipeline::{self, Asked, Finished};
use crate::plugin_view;

/// What the plugins' drawings add to a request's account.
#[derive(Debug, Default)]
pub(crate) struct Finishing {
    pub(crate) warnings: Vec<String>,
    /// Sampler steps over all pictures.
    pub(crate) steps: f64,
    /// Those that changed a picture or its text.
    pub(crate) plugins: Vec<ActingPlugin>,
}

/// Draws, and has the plugins finish the pictures; `place` is that of the first, and how many the request has. `show_engine` is
/// given the engine's progress, `show` that of the plugins' drawings, one picture after the other.
pub(crate) async fn run(
    app: &Arc<App>,
    account: &Arc<Account>,
    asked: Asked<'_>,
    place: (u32, u32),
    show_engine: impl FnOnce(watch::Receiver<Progress>),
    show: impl Fn(watch::Receiver<Progress>),
) -> Result<(Finished, Finishing), AppError> {
    let mut decoded = pipeline::decode(app, asked, show_engine).await?;
    let pictures = (decoded.pictures.as_mut_slice(), decoded.infotexts.as_mut_slice());
    let at = (PictureStage::Decoded, place);
    let mut finishing = finish(app, account, asked, at, pictures, &show).await?;
    let mut finished = decoded.composite(asked.request.batch_size).await?;
    let pictures = (finished.pictures.as_mut_slice(), finished.infotexts.as_mut_slice());
    let at = (PictureStage::Composited, place);
    let Finishing { warnings, steps, plugins } = finish(app, account, asked, at, pictures, &show).await?;
    finishing.warnings.extend(warnings);
    finishing.steps += steps;
    finishing.plugins.extend(plugins);
    Ok((finished, finishing))
}

/// Replaces pictures and infotexts by what the plugins make of them at a stage.
async fn finish(
    app: &Arc<App>,
    account: &Arc<Account>,
    asked: Asked<'_>,
    (stage, (first, count)): (PictureStage, (u32, u32)),
    (pictures, infotexts): (&mut [Pixels], &mut [String]),
    show: impl Fn(watch::Receiver<Progress>),
) -> Result<Finishing, AppError> {
    let mut finishing = Finishing::default();
    if !app.plugins.finishes_pictures(asked.call, stage) {
        return Ok(finishing);
    }
    let (request, params) = (asked.request, plugin_view::params(asked.body));
    // What the client hears of, and what the drawing around it is cancelled by, are two flags in a script.
    let call = CallContext { cancelled: asked.cancel.shared(), ..asked.call.clone() };
    let (sources, _) = plugin_view::pictures(app, asked.body).await?;
    for (place, (picture, infotext)) in (0_u32..).zip(pictures.iter_mut().zip(infotexts)) {
        // Who interrupts a drawing has seen enough of it.
        if asked.cancel.is_interrupted() {
            break;
        }
        let (seed, subseed) = request.seeds_of(place);
        let about = PictureFacts {
            place: first + place,
            count,
            stage,
            prompt: request.prompt.clone(),
            negative_prompt: request.negative_prompt.clone(),
            seed,
            subseed,
            infotext: infotext.clone(),
        };
        let asked = Asked { call: &call, ..asked };
        let drawings = Drawings::of(Asker::PictureHook, account, app, asked, &show)?;
        let source = sources.get(place as usize % sources.len().max(1)).cloned();
        let given = DrawnPicture { about, picture: picture.clone(), source };
        let finished =
            app.plugins.finish_picture(&call, &params, given, drawings.inference(), Infotext::extended).await;
        let drawn = drawings.take();
        let finished = finished.map_err(|error| match (error, drawn.shortage) {
            // What the plugin made of it is a consequence; the task is tried again.
            (HookError::Rejected { .. } | HookError::PluginFailed { .. }, Some(shortage)) => shortage,
            (error, _) => AppError::of_later_hook(error),
        })?;
        *picture = finished.picture;
        if !finished.fields.is_empty() {
            *infotext = Infotext::extended(infotext, &finished.fields);
        }
        finishing.steps += drawn.steps;
        finishing.plugins.extend(finished.report.acted.into_iter().chain(drawn.plugins));
        // What is missing, and who is left out, is the same of every picture.
        for warning in finished.report.warnings.into_iter().chain(drawn.warnings) {
            if !finishing.warnings.contains(&warning) {
                finishing.warnings.push(warning);
            }
        }
    }
    Ok(finishing)
}
