//! Drawn pictures through the plugins that finish them: which picture is which, and what the plugins' own drawings come to.
//! Called for a request's pictures and for those of a script's drawings.

use std::sync::Arc;

use gesso_core::infotext::Infotext;
use gesso_core::pixels::Pixels;
use gesso_engine::Progress;
use gesso_plugin_host::{CallContext, DrawnPicture, HookError, PictureFacts};
use tokio::sync::watch;

use crate::app::App;
use crate::drawings::{Account, Asker, Drawings};
use crate::error::AppError;
use crate::pipeline::Asked;
use crate::plugin_view;

/// What the plugins' drawings add to a request's account.
#[derive(Debug, Default)]
pub(crate) struct Finishing {
    pub(crate) warnings: Vec<String>,
    /// Sampler steps over all pictures.
    pub(crate) steps: f64,
}

/// Replaces pictures and infotexts by what the plugins make of them; the first is picture `first` of `count`. `show` is given
/// the progress of their drawings, one picture after the other.
pub(crate) async fn finish(
    app: &Arc<App>,
    account: &Arc<Account>,
    asked: Asked<'_>,
    (first, count): (u32, u32),
    (pictures, infotexts): (&mut [Pixels], &mut [String]),
    show: impl Fn(watch::Receiver<Progress>),
) -> Result<Finishing, AppError> {
    let mut finishing = Finishing::default();
    if !app.plugins.finishes_pictures(asked.call) {
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
            (error, _) => error.into(),
        })?;
        *picture = finished.picture;
        if !finished.fields.is_empty() {
            *infotext = Infotext::extended(infotext, &finished.fields);
        }
        finishing.warnings.extend(drawn.warnings);
        finishing.steps += drawn.steps;
    }
    Ok(finishing)
}
