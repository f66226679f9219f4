//! One picture through the plugins that finish pictures at its stage, in the admin's order. Called by the host handle with
//! what draws for them. Knows no request.

use crate::call::{Draws, Failure, Runner, Work};
use crate::error::{FailureKind, HookError};
use crate::hooks::{are_changed, check_sizes, failed, pixels, skip_or_fail};
use crate::inference::Inference;
use crate::interfaces::gesso::plugin::types::Fault;
use crate::interfaces::{CallState, OverBudget, picture_hook};
use crate::manifest::PictureStage;
use crate::on_failure::HookWorld;
use crate::report::ChainReport;
use crate::settings::CallContext;
use crate::table::{Entry, Table};
use gesso_core::pixels::Pixels;
use std::sync::Arc;
use wasmtime::Store;

/// Fields that one plugin may add to an infotext, and bytes of a name and a value.
const FIELDS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 4096;

/// Which picture it is, and how it was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureFacts {
    /// Its place in the request, from 0, and how many there are.
    pub place: u32,
    pub count: u32,
    pub stage: PictureStage,
    pub prompt: String,
    pub negative_prompt: String,
    pub seed: u64,
    pub subseed: u64,
    pub infotext: String,
}

/// What picture hooks are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawnPicture {
    pub about: PictureFacts,
    pub picture: Pixels,
    /// The one that was drawn over, as it was sent.
    pub source: Option<Pixels>,
}

/// A picture as its plugins left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedPicture {
    pub picture: Pixels,
    /// What its infotext says beside, in order.
    pub fields: Vec<(String, String)>,
    pub report: ChainReport,
}

/// A picture as one plugin left it.
struct Made {
    picture: Pixels,
    fields: Vec<(String, String)>,
    /// Whether the picture may be another than it was.
    is_changed: bool,
}

/// Those that a call is the business of, and that are called at that stage.
pub(crate) fn finishers<'a>(
    table: &'a Table,
    call: &'a CallContext,
    stage: PictureStage,
) -> impl Iterator<Item = &'a Entry> {
    table
        .filling(HookWorld::Picture, call)
        .filter(move |entry| entry.counted_on().is_some_and(|manifest| manifest.stages.contains(&stage)))
}

/// Runs the hooks. `add` lays fields into an infotext, so that later hooks see them.
pub(crate) async fn finish(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    params: &str,
    DrawnPicture { mut about, mut picture, source }: DrawnPicture,
    inference: Arc<dyn Inference>,
    add: impl Fn(&str, &[(String, String)]) -> String,
) -> Result<FinishedPicture, HookError> {
    let (mut fields, mut report) = (Vec::new(), ChainReport::default());
    for entry in finishers(table, context, about.stage).filter(|entry| !entry.is_off()) {
        let kept = entry.is_skipped(HookWorld::Picture).then(|| picture.clone());
        let call = DrawnPicture { about: about.clone(), picture, source: source.clone() };
        match (finish_one(entry, runner, context, (params.to_owned(), call), inference.clone()).await, kept) {
            (Ok(made), _) => {
                if made.is_changed || !made.fields.is_empty() {
                    report.note_change(entry);
                }
                about.infotext = add(&about.infotext, &made.fields);
                picture = made.picture;
                fields.extend(made.fields);
            }
            (Err(error), Some(kept)) => {
                skip_or_fail(entry, HookWorld::Picture, error, &mut report)?;
                picture = kept;
            }
            (Err(error), None) => return Err(error),
        }
    }
    Ok(FinishedPicture { picture, fields, report })
}

async fn finish_one(
    entry: &Entry,
    runner: &Runner,
    context: &CallContext,
    (params, DrawnPicture { about, picture, source }): (String, DrawnPicture),
    inference: Arc<dyn Inference>,
) -> Result<Made, HookError> {
    let Some((loaded, pre)) = entry.finisher() else { return Err(entry.not_loaded("finish")) };
    let pre = pre.clone();
    let pixels_max = loaded.budgets.script.picture_pixels.max(pixels(&picture));
    let inference = inference.for_plugin(&entry.id, loaded.drawings);
    let work = move |mut store: Store<CallState>| -> Work<Result<Made, String>> {
        Box::pin(async move {
            store.data_mut().inference = Some(inference);
            let guest = pre.instantiate_async(&mut store).await?;
            let room = |error: OverBudget| {
                Failure::Named(FailureKind::Handles, format!("the picture does not fit: {error}"))
            };
            let lent = store.data_mut().lend_at(0, picture).map_err(room)?;
            let source = source.map(|source| store.data_mut().lend(source).map_err(room)).transpose()?;
            let stage = match about.stage {
                PictureStage::Decoded => picture_hook::Stage::Decoded,
                PictureStage::Composited => picture_hook::Stage::Composited,
            };
            let about = picture_hook::DrawnPicture {
                place: about.place,
                count: about.count,
                stage,
                prompt: about.prompt,
                negative_prompt: about.negative_prompt,
                seed: about.seed,
                subseed: about.subseed,
                infotext: about.infotext,
            };
            let finished = match guest.call_finish(&mut store, &params, &about, lent, source).await? {
                Ok(finished) => finished,
                // A request that asks for too much is wrong too.
                Err(Fault::InvalidInput(reason) | Fault::LimitExceeded(reason)) => {
                    return Ok(Err(crate::log::tidy(&reason, 1024)));
                }
                Err(fault) => return Err(failed(fault)),
            };
            check_fields(&finished.fields)
                .map_err(|problem| Failure::Named(FailureKind::BadReturn, problem))?;
            let returned = [store.data_mut().take_back(finished.picture)?];
            check_sizes(&returned, pixels_max)?;
            let is_changed = are_changed(&returned);
            let [(picture, _)] = returned;
            Ok::<_, Failure>(Ok(Made { picture, fields: finished.fields, is_changed }))
        })
    };
    let answer = runner.run_drawing(Draws::PictureHook, &entry.shared, loaded, context, work).await?;
    answer.map_err(|reason| HookError::Rejected { plugin: entry.id.clone(), reason })
}

/// An infotext is a line that others read: its layout must hold what plugins add.
fn check_fields(fields: &[(String, String)]) -> Result<(), String> {
    if fields.len() > FIELDS_MAX {
        return Err(format!("it added {} fields; at most {FIELDS_MAX} are taken", fields.len()));
    }
    let is_name = |name: &str| {
        (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -/".contains(&byte))
            && name.trim() == name
    };
    match fields.iter().find(|(name, value)| !is_name(name) || value.len() > VALUE_BYTES_MAX) {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "it added the field {:?}; a name has 1 to {NAME_BYTES_MAX} letters, digits, blanks, - and /, a value at most \
             {VALUE_BYTES_MAX} bytes",
            crate::log::tidy(name, NAME_BYTES_MAX)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_must_fit_the_layout_of_infotexts() {
        let field = |name: &str, length| vec![(name.to_owned(), "x".repeat(length))];
        assert_eq!(check_fields(&field("ADetailer model 2nd", 10)), Ok(()));
        for bad in [field("", 1), field("a: b", 1), field("a\nb", 1), field(" a", 1), field("a", 5000)] {
            assert!(check_fields(&bad).is_err(), "{bad:?}");
        }
        assert!(check_fields(&vec![("a".to_owned(), String::new()); 65]).is_err());
    }
}
