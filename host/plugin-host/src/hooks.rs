//! The chain of request hooks, in the admin's order, over one snapshot of the table. Called by the host handle.
//! Knows what a verdict means, not how a call is limited.

use crate::call::{Failure, Runner};
use crate::error::{FailureKind, HookError};
use crate::interfaces::gesso::plugin::types::Fault;
use crate::interfaces::{CallState, Lent, Verdict};
use crate::on_failure::HookWorld;
use crate::report::ChainReport;
use crate::settings::{Budget, Budgets, CallContext};
use crate::table::{Entry, Table};
use gesso_core::pixels::Pixels;
use wasmtime::Store;

/// Pictures one hook may hand back.
const MAX_IMAGES: usize = 256;

/// How often a hook's room for pictures holds those that it is given.
const COPIES: u64 = 4;

/// What the `before` hooks made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// The request body to go on with; checked by the server like a client's.
    pub params: String,
    pub report: ChainReport,
}

impl Before {
    /// Whether any plugin replaced the body.
    pub fn is_changed(&self) -> bool {
        !self.report.acted.is_empty()
    }
}

/// What the `after` hooks made of a request's pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct After {
    pub pictures: Vec<AfterPicture>,
    pub report: ChainReport,
}

/// A picture as the `after` hooks left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AfterPicture {
    pub picture: Pixels,
    /// Which of the pictures that the first hook was given it is, or stands for; `None` for one that was added.
    pub from: Option<usize>,
}

/// A picture that a hook gave back, and which of those it is that the hook was lent; `None` for one that it made.
pub(crate) type Returned = (Pixels, Option<Lent>);

pub(crate) async fn before(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    params: String,
) -> Result<Before, HookError> {
    let mut done = Before { params, report: ChainReport::default() };
    for entry in table.with_hook("before", context).filter(|entry| !entry.is_off()) {
        match before_one(entry, runner, context, done.params.clone()).await {
            Err(error) => skip_or_fail(entry, HookWorld::Before, error, &mut done.report)?,
            Ok(Verdict::Unchanged) => {}
            Ok(Verdict::Replaced(params)) => {
                done.params = params;
                done.report.note_change(entry);
            }
            Ok(Verdict::Rejected(reason)) => {
                let reason = crate::log::tidy(&reason, 1024);
                return Err(HookError::Rejected { plugin: entry.id.clone(), reason });
            }
        }
    }
    Ok(done)
}

pub(crate) async fn after(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    params: &str,
    mut images: Vec<Pixels>,
) -> Result<After, HookError> {
    let mut from: Vec<_> = (0..images.len()).map(Some).collect();
    let mut report = ChainReport::default();
    for entry in table.with_hook("after", context).filter(|entry| !entry.is_off()) {
        // A failing hook takes its pictures down with its store; only a plugin that may be skipped costs a copy.
        let kept = entry.is_skipped(HookWorld::After).then(|| images.clone());
        images = match (after_one(entry, runner, context, params.to_owned(), images).await, kept) {
            (Ok(returned), _) => {
                if returned.len() != from.len() || are_changed(&returned) {
                    report.note_change(entry);
                }
                from = traced(&returned, &from);
                returned.into_iter().map(|(picture, _)| picture).collect()
            }
            (Err(error), Some(kept)) => {
                skip_or_fail(entry, HookWorld::After, error, &mut report)?;
                kept
            }
            (Err(error), None) => return Err(error),
        };
    }
    let pictures = images.into_iter().zip(from).map(|(picture, from)| AfterPicture { picture, from });
    Ok(After { pictures: pictures.collect(), report })
}

/// Which of the request's pictures those are that a hook gave back; `from` says it of those that it was lent. One that it made
/// stands for the one whose place it has, where as many came back as were lent and none has another's place.
fn traced(returned: &[Returned], from: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut places = returned.iter().enumerate();
    let stay = returned.len() == from.len()
        && places.all(|(place, (_, lent))| lent.is_none_or(|lent| lent.place == place));
    let lent = |(place, (_, lent)): (usize, &Returned)| {
        let place = if stay { Some(place) } else { lent.map(|lent| lent.place) };
        place.and_then(|place| from.get(place).copied().flatten())
    };
    returned.iter().enumerate().map(lent).collect()
}

/// Whether any of the pictures is another than the one that was lent in its place.
pub(crate) fn are_changed(returned: &[Returned]) -> bool {
    let mut pictures = returned.iter().enumerate();
    !pictures.all(|(place, (_, lent))| lent.is_some_and(|lent| lent.is_untouched_at(place)))
}

/// That no picture is larger than a request's pictures may be.
pub(crate) fn check_sizes(returned: &[Returned], pixels_max: u64) -> Result<(), Failure> {
    match returned.iter().find(|(picture, _)| pixels(picture) > pixels_max) {
        None => Ok(()),
        Some((picture, _)) => {
            let (width, height) = (picture.width, picture.height);
            let text =
                format!("it gave back a picture of {width}x{height}; at most {pixels_max} pixels are taken");
            Err(Failure::Named(FailureKind::BadReturn, text))
        }
    }
}

pub(crate) fn pixels(picture: &Pixels) -> u64 {
    u64::from(picture.width) * u64::from(picture.height)
}

/// The admin's choice for a plugin that failed: the request ends, or goes on and the client hears of it. Cancellation and
/// overload are not the plugin's doing.
pub(crate) fn skip_or_fail(
    entry: &Entry,
    world: HookWorld,
    error: HookError,
    report: &mut ChainReport,
) -> Result<(), HookError> {
    match &error {
        HookError::PluginFailed { .. } if entry.is_skipped(world) => {
            tracing::warn!(plugin = entry.id, %error, "a failing plugin was skipped");
            report.note_left_out(entry, &error);
            Ok(())
        }
        _ => Err(error),
    }
}

async fn before_one(
    entry: &Entry,
    runner: &Runner,
    context: &CallContext,
    params: String,
) -> Result<Verdict, HookError> {
    let Some((loaded, pre)) = entry.hooks() else { return Err(entry.not_loaded("before")) };
    // What came may always be handed back.
    let (pre, most) = (pre.clone(), params.len() + loaded.budgets.hook.return_bytes);
    let work = move |mut store: Store<CallState>| -> crate::call::Work<Verdict> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            let verdict = match guest.call_before(&mut store, &params).await? {
                // What the client sent is wrong: that ends the request, and is no failure of the plugin.
                Err(Fault::InvalidInput(reason)) => Verdict::Rejected(reason),
                answer => answer.map_err(failed)?,
            };
            if let Verdict::Replaced(json) = &verdict {
                check_replacement(json, most)?;
            }
            Ok::<_, Failure>(verdict)
        })
    };
    runner.run(&entry.shared, loaded, ("before", &loaded.budgets.hook), context, work).await
}

async fn after_one(
    entry: &Entry,
    runner: &Runner,
    context: &CallContext,
    params: String,
    images: Vec<Pixels>,
) -> Result<Vec<Returned>, HookError> {
    let Some((loaded, pre)) = entry.hooks() else { return Err(entry.not_loaded("after")) };
    let pre = pre.clone();
    let bytes: u64 = images.iter().map(|image| image.data.len() as u64).sum();
    let budget = after_budget(&loaded.budgets, bytes);
    let pixels_max = images.iter().map(pixels).fold(budget.picture_pixels, u64::max);
    let work = move |mut store: Store<CallState>| -> crate::call::Work<Vec<Returned>> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            let mut lent = Vec::with_capacity(images.len());
            for (place, image) in images.into_iter().enumerate() {
                let handle = store.data_mut().lend_at(place, image);
                let room = |error: crate::interfaces::OverBudget| {
                    Failure::Named(
                        FailureKind::Handles,
                        format!("the request's pictures do not fit: {error}"),
                    )
                };
                lent.push(handle.map_err(room)?);
            }
            let returned = guest.call_after(&mut store, &params, &lent).await?.map_err(failed)?;
            if returned.len() > MAX_IMAGES {
                let text = format!("it returned {} pictures; at most {MAX_IMAGES} are taken", returned.len());
                return Err(Failure::Named(FailureKind::BadReturn, text));
            }
            let returned = returned.into_iter().map(|image| store.data_mut().take_back(image));
            let returned = returned.collect::<Result<Vec<_>, _>>()?;
            check_sizes(&returned, pixels_max)?;
            Ok::<_, Failure>(returned)
        })
    };
    runner.run(&entry.shared, loaded, ("after", &budget), context, work).await
}

/// A hook has room for what it is given and as much again for each of its copies. What a script puts together into one picture
/// may take more than that alone: such a call has a script's room.
fn after_budget(budgets: &Budgets, bytes: u64) -> Budget {
    let (hook, script) = (&budgets.hook, &budgets.script);
    let is_large = bytes.saturating_mul(COPIES) > hook.image_bytes;
    let image_bytes = if is_large { hook.image_bytes.max(script.image_bytes) } else { hook.image_bytes };
    Budget { image_bytes, ..hook.clone() }
}

fn check_replacement(json: &str, most: usize) -> Result<(), Failure> {
    let problem = if json.len() > most {
        format!("it returned {} bytes of parameters; at most {most} are taken", json.len())
    } else {
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json) {
            Ok(_) => return Ok(()),
            Err(error) => format!("the parameters it returned are not a JSON object: {error}"),
        }
    };
    Err(Failure::Named(FailureKind::BadReturn, problem))
}

pub(crate) fn failed(fault: Fault) -> Failure {
    let (what, text) = match fault {
        Fault::Cancelled => return Failure::Cancelled,
        Fault::InvalidInput(text) => ("invalid input: ", text),
        Fault::NotPermitted(text) => ("not permitted: ", text),
        Fault::LimitExceeded(text) => ("limit exceeded: ", text),
        Fault::DeadlineExceeded => ("deadline exceeded", String::new()),
        Fault::Unavailable(text) => ("unavailable: ", text),
        Fault::Other(text) => ("", text),
    };
    Failure::Named(FailureKind::Fault, format!("{what}{}", crate::log::tidy(&text, 1024)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gesso_core::pixels::PixelFormat;

    fn returned(lent: &[Option<usize>]) -> Vec<Returned> {
        let pixel = Pixels::new(1, 1, PixelFormat::Gray8, vec![0]).unwrap();
        lent.iter().map(|lent| (pixel.clone(), lent.map(Lent::at))).collect()
    }

    #[test]
    fn pictures_are_known_by_what_they_were_lent_as_and_new_ones_by_their_place() {
        // The second hook of a chain, whose first took away a picture and added one.
        let from = [Some(1), Some(2), None];
        for (lent, expected) in [
            (vec![Some(0), Some(1), Some(2)], vec![Some(1), Some(2), None]),
            (vec![Some(1), Some(0)], vec![Some(2), Some(1)]),
            (vec![Some(1), None, Some(0)], vec![Some(2), None, Some(1)]),
            (vec![None, None, None], vec![Some(1), Some(2), None]),
            (vec![None, Some(1), Some(2)], vec![Some(1), Some(2), None]),
            (vec![None, None], vec![None, None]),
            (vec![Some(0), None, None, None], vec![Some(1), None, None, None]),
        ] {
            assert_eq!(traced(&returned(&lent), &from), expected, "{lent:?}");
        }
    }

    #[test]
    fn what_came_back_untouched_and_in_its_place_is_unchanged() {
        assert!(!are_changed(&returned(&[Some(0), Some(1)])));
        assert!(are_changed(&returned(&[Some(1), Some(0)])));
        assert!(are_changed(&returned(&[Some(0), None])));
    }

    #[test]
    fn what_a_script_put_together_has_a_scripts_room() {
        let room = |bytes: u64| after_budget(&Budgets::default(), bytes).image_bytes;
        assert_eq!((room(32 << 20), room(154 << 20)), (128 << 20, 1 << 30));
    }

    #[test]
    fn a_picture_has_as_many_pixels_as_a_request_may_have_and_no_more() {
        assert!(check_sizes(&returned(&[None]), 1).is_ok());
        let Err(Failure::Named(kind, text)) = check_sizes(&returned(&[None]), 0) else {
            panic!("it was taken")
        };
        assert_eq!(kind, FailureKind::BadReturn);
        assert!(text.contains("a picture of 1x1; at most 0 pixels"), "{text}");
    }
}
