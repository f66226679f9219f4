//! A request's grid through the plugins that lay it out, in the admin's order. Called by the host handle. Knows neither how large
//! a grid may be nor what becomes of it.

use crate::call::{Failure, Runner, Work};
use crate::error::{FailureKind, HookError};
use crate::hooks::{are_changed, check_sizes, failed, pixels, skip_or_fail};
use crate::interfaces::gesso::plugin::types::Fault;
use crate::interfaces::{CallState, OverBudget, grid_hook};
use crate::on_failure::HookWorld;
use crate::report::ChainReport;
use crate::settings::{Budget, CallContext};
use crate::table::{Entry, Table};
use gesso_core::pixels::Pixels;
use wasmtime::Store;

/// Pictures one hook may hand back, where it was given fewer.
const PICTURES_MAX: usize = 256;

/// Pictures row by row, in as many cells or fewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// At least one.
    pub pictures: Vec<Pixels>,
    pub columns: u32,
    pub rows: u32,
}

/// Those that a call is the business of.
pub(crate) fn layers<'a>(table: &'a Table, call: &'a CallContext) -> impl Iterator<Item = &'a Entry> {
    table.filling(HookWorld::Grid, call)
}

pub(crate) async fn lay_out(
    table: &Table,
    runner: &Runner,
    context: &CallContext,
    params: &str,
    mut grid: Grid,
) -> Result<(Grid, ChainReport), HookError> {
    let mut report = ChainReport::default();
    for entry in layers(table, context).filter(|entry| !entry.is_off()) {
        // A failing hook takes its pictures down with its store; only a plugin that may be skipped costs a copy.
        let kept = entry.is_skipped(HookWorld::Grid).then(|| grid.clone());
        grid = match (lay_out_one(entry, runner, context, params.to_owned(), grid).await, kept) {
            (Ok((laid_out, is_changed)), _) => {
                if is_changed {
                    report.note_change(entry);
                }
                laid_out
            }
            (Err(error), Some(kept)) => {
                skip_or_fail(entry, HookWorld::Grid, error, &mut report)?;
                kept
            }
            (Err(error), None) => return Err(error),
        };
    }
    Ok((grid, report))
}

/// The grid, and whether it is another than it was.
async fn lay_out_one(
    entry: &Entry,
    runner: &Runner,
    context: &CallContext,
    params: String,
    grid: Grid,
) -> Result<(Grid, bool), HookError> {
    let Some((loaded, pre)) = entry.grids() else { return Err(entry.not_loaded("on-grid")) };
    let pre = pre.clone();
    let pixels_max = grid.pictures.iter().map(pixels).fold(loaded.budgets.hook.picture_pixels, u64::max);
    let work = move |mut store: Store<CallState>| -> Work<Result<(Grid, bool), String>> {
        Box::pin(async move {
            let guest = pre.instantiate_async(&mut store).await?;
            let Grid { pictures, columns, rows } = grid;
            let given = (pictures.len(), columns, rows);
            let most = pictures.len().max(PICTURES_MAX);
            let room = |error: OverBudget| {
                Failure::Named(FailureKind::Handles, format!("the request's pictures do not fit: {error}"))
            };
            let mut lent = Vec::with_capacity(pictures.len());
            for (place, picture) in pictures.into_iter().enumerate() {
                lent.push(store.data_mut().lend_at(place, picture).map_err(room)?);
            }
            let laid_out = match guest.call_on_grid(&mut store, &params, &lent, columns, rows).await? {
                Ok(laid_out) => laid_out,
                Err(Fault::InvalidInput(reason)) => return Ok(Err(crate::log::tidy(&reason, 1024))),
                Err(fault) => return Err(failed(fault)),
            };
            let grid_hook::Grid { pictures, columns, rows } = laid_out;
            check(pictures.len(), most, (columns, rows))
                .map_err(|problem| Failure::Named(FailureKind::BadReturn, problem))?;
            let returned = pictures.into_iter().map(|image| store.data_mut().take_back(image));
            let returned = returned.collect::<Result<Vec<_>, _>>()?;
            check_sizes(&returned, pixels_max)?;
            let is_changed = given != (returned.len(), columns, rows) || are_changed(&returned);
            let pictures = returned.into_iter().map(|(picture, _)| picture).collect();
            Ok::<_, Failure>(Ok((Grid { pictures, columns, rows }, is_changed)))
        })
    };
    // All pictures of a request at once, as a script may have them.
    let image_bytes = loaded.budgets.script.image_bytes.max(loaded.budgets.hook.image_bytes);
    let budget = Budget { image_bytes, ..loaded.budgets.hook.clone() };
    let answer = runner.run(&entry.shared, loaded, ("on-grid", &budget), context, work).await?;
    answer.map_err(|reason| HookError::Rejected { plugin: entry.id.clone(), reason })
}

/// That there is a cell for every picture.
fn check(pictures: usize, most: usize, (columns, rows): (u32, u32)) -> Result<(), String> {
    if pictures == 0 {
        return Err(
            "it returned a grid without pictures; return_grid and grid_save leave a grid out".to_owned()
        );
    }
    if pictures > most {
        return Err(format!("it returned a grid of {pictures} pictures; at most {most} are taken"));
    }
    if u64::from(columns) * u64::from(rows) < pictures as u64 {
        return Err(format!("it returned {columns} columns and {rows} rows for {pictures} pictures"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_has_a_cell_and_cells_may_stay_empty() {
        assert_eq!(check(4, 256, (2, 2)), Ok(()));
        assert_eq!(check(1, 256, (u32::MAX, u32::MAX)), Ok(()));
        for (pictures, most, shape) in
            [(0, 256, (1, 1)), (257, 256, (257, 1)), (5, 256, (2, 2)), (1, 256, (0, 9))]
        {
            assert!(check(pictures, most, shape).is_err(), "{pictures} in {shape:?}");
        }
    }
}
