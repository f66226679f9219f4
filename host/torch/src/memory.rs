//! What is done when a device runs out of memory: what is not in use goes, and the same work is done once more, in smaller
//! parts where there are any. Called by the backend; knows neither the work nor the device.

use std::cell::Cell;
use std::fmt::Display;
use std::slice;

use gesso_engine::backend::BackendError;

use crate::upscale::Tiling;

/// No tile is made smaller than this: what is around it would be most of the work.
const TILE_MIN: u32 = 32;

/// How much of what the items ask is computed at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Portion {
    /// As much as memory is reckoned for.
    #[default]
    Usual,
    /// The least there is: one question of one item.
    Least,
}

/// `run` over all items at once or, where that takes more memory than there is, over each alone after `free` has dropped
/// what is not in use and said whether there was any; of one that does not fit alone the least at a time. An item that does
/// not fit even so fails alone. An item that took the least is begun with it from then on, as `known` keeps it: what does not
/// fit in one step would not in the next.
///
/// # Errors
/// What `run` says of all items together when it is not memory that lacks, or of the only one.
pub(crate) fn all_or_each<'a, T, R>(
    items: &'a [T],
    known: impl Fn(&'a T) -> &'a Cell<Portion>,
    free: impl FnOnce() -> bool,
    run: impl Fn(&[T], Portion) -> Result<Vec<R>, BackendError>,
) -> Result<Vec<Result<R, BackendError>>, BackendError> {
    let portion = match items {
        [only] => known(only).get(),
        _ => Portion::Usual,
    };
    match run(items, portion) {
        Err(BackendError::OutOfMemory(why)) => {
            let freed = free();
            if let [only] = items {
                // Where nothing has gone, the same would end the same.
                let again = if freed { run(items, portion) } else { Err(BackendError::OutOfMemory(why)) };
                let again = or_least(again, known(only), || run(items, Portion::Least));
                return Ok(again?.into_iter().map(Ok).collect());
            }
            tracing::warn!(
                rows = items.len(),
                why,
                "out of memory; the rows of a step are computed one by one"
            );
            let alone = |item: &'a T| {
                let none = || BackendError::Device("a row was computed and gave nothing".into());
                let (known, item) = (known(item), slice::from_ref(item));
                let done = or_least(run(item, known.get()), known, || run(item, Portion::Least));
                done?.pop().ok_or_else(none)
            };
            Ok(items.iter().map(alone).collect())
        }
        all => Ok(all?.into_iter().map(Ok).collect()),
    }
}

/// What is `done` or, where memory lacked for it, what the least at a time gives, unless it was that already.
fn or_least<R>(
    done: Result<R, BackendError>,
    known: &Cell<Portion>,
    least: impl FnOnce() -> Result<R, BackendError>,
) -> Result<R, BackendError> {
    match done {
        Err(BackendError::OutOfMemory(why)) if known.get() == Portion::Usual => {
            tracing::warn!(why, "out of memory; what a row asks of the UNet is computed one by one");
            let done = least()?;
            known.set(Portion::Least);
            Ok(done)
        }
        done => done,
    }
}

/// `whole` or, where that takes more memory than there is, `tiles` after `free`.
///
/// # Errors
/// What the last of them that ran says.
pub(crate) fn whole_or_tiles<R, E: Display>(
    is_out_of_memory: impl Fn(&E) -> bool,
    free: impl FnOnce() -> bool,
    whole: impl FnOnce() -> Result<R, E>,
    tiles: impl FnOnce() -> Result<R, E>,
) -> Result<R, E> {
    match whole() {
        Err(error) if is_out_of_memory(&error) => {
            let error = error.to_string();
            // The rest of a C++ message is a stack trace.
            let why = error.lines().next().unwrap_or_default();
            tracing::warn!(why, "out of memory; the picture goes through the VAE in tiles");
            free();
            tiles()
        }
        done => done,
    }
}

/// `run` in these tiles or, where they take more memory than there is, in tiles of half the side. Those overlap by half of
/// their own side at most: an overlap of nearly the whole side would be a tile for every pixel.
///
/// # Errors
/// What the last of them that ran says.
pub(crate) fn tiles_or_smaller<R, E>(
    tiling: Tiling,
    is_out_of_memory: impl Fn(&E) -> bool,
    mut run: impl FnMut(Tiling) -> Result<R, E>,
) -> Result<R, E> {
    let smaller = match tiling.tile {
        0 => Tiling::default(),
        tile => Tiling { tile: tile / 2, overlap: tiling.overlap.min(tile / 4) },
    };
    match run(tiling) {
        Err(error) if smaller.tile >= TILE_MIN && is_out_of_memory(&error) => {
            tracing::warn!(tile = smaller.tile, "out of memory; the picture is enlarged in smaller tiles");
            run(smaller)
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn out_of_memory<R>() -> Result<R, BackendError> {
        Err(BackendError::OutOfMemory("fake".into()))
    }

    fn is_out_of_memory(error: &BackendError) -> bool {
        matches!(error, BackendError::OutOfMemory(_))
    }

    type Done = Result<Vec<Result<u32, BackendError>>, BackendError>;

    const USUAL: Portion = Portion::Usual;
    const LEAST: Portion = Portion::Least;

    /// Doubles numbers, at most `most` together in memory, and says what it was asked for. Each asks two questions, which take
    /// half of it each.
    fn run(items: &[u32], most: u32) -> (Done, Vec<(Vec<u32>, Portion)>) {
        let asked = RefCell::new(Vec::new());
        let known: Vec<Cell<Portion>> = (0..16).map(|_| Cell::default()).collect();
        let done = all_or_each(
            items,
            |item| &known[*item as usize],
            || false,
            |items: &[u32], portion| {
                asked.borrow_mut().push((items.to_vec(), portion));
                let whole: u32 = items.iter().sum();
                let taken = if portion == LEAST { whole / 2 } else { whole };
                if taken > most {
                    return out_of_memory();
                }
                Ok(items.iter().map(|item| item * 2).collect())
            },
        );
        (done, asked.into_inner())
    }

    #[test]
    fn rows_that_fit_together_run_together() {
        assert_eq!(run(&[1, 2, 3], 6), (Ok(vec![Ok(2), Ok(4), Ok(6)]), vec![(vec![1, 2, 3], USUAL)]));
    }

    #[test]
    fn rows_that_do_not_fit_together_run_one_by_one_and_one_too_large_fails_alone() {
        let (done, asked) = run(&[1, 12, 3], 5);
        assert_eq!(done, Ok(vec![Ok(2), out_of_memory(), Ok(6)]));
        let calls: Vec<(Vec<u32>, Portion)> = vec![
            (vec![1, 12, 3], USUAL),
            (vec![1], USUAL),
            (vec![12], USUAL),
            (vec![12], LEAST),
            (vec![3], USUAL),
        ];
        assert_eq!(asked, calls);
    }

    #[test]
    fn of_a_row_whose_questions_do_not_fit_together_one_is_answered_at_a_time() {
        let asked = vec![(vec![9], USUAL), (vec![9], LEAST)];
        assert_eq!(run(&[9], 5), (Ok(vec![Ok(18)]), asked));
        assert_eq!(run(&[1, 9], 5).0, Ok(vec![Ok(2), Ok(18)]));
    }

    #[test]
    fn a_single_row_is_not_tried_twice_alike() {
        assert_eq!(run(&[12], 5), (out_of_memory(), vec![(vec![12], USUAL), (vec![12], LEAST)]));
    }

    #[test]
    fn a_single_row_is_tried_again_when_something_was_freed() {
        let room = Cell::new(5);
        let run = |items: &[u32], portion: Portion| {
            let fits = portion == USUAL && items[0] <= room.get();
            if fits { Ok(items.to_vec()) } else { out_of_memory() }
        };
        let free = |until| move |room: &Cell<u32>| room.replace(until) < until;
        let known = Cell::new(USUAL);
        assert_eq!(all_or_each(&[9], |_| &known, || free(9)(&room), run), Ok(vec![Ok(9)]));
        assert_eq!(all_or_each(&[12], |_| &known, || free(10)(&room), run), out_of_memory());
        assert_eq!(known.get(), USUAL, "the least has not helped");
    }

    #[test]
    fn a_row_that_took_the_least_is_begun_with_it_from_then_on() {
        let (room, known, asked) = (Cell::new(5), Cell::new(USUAL), RefCell::new(Vec::new()));
        let run = |items: &[u32], portion: Portion| {
            asked.borrow_mut().push(portion);
            let whole: u32 = items.iter().sum();
            let taken = if portion == LEAST { whole / 2 } else { whole };
            if taken > room.get() { out_of_memory() } else { Ok(items.to_vec()) }
        };
        let step = |frees: bool| all_or_each(&[9], |_| &known, || frees, run);
        assert_eq!((step(false), asked.take()), (Ok(vec![Ok(9)]), vec![USUAL, LEAST]));
        assert_eq!((step(false), asked.take()), (Ok(vec![Ok(9)]), vec![LEAST]));
        let both = all_or_each(&[9, 9], |_| &known, || false, run);
        assert_eq!((both, asked.take()), (Ok(vec![Ok(9), Ok(9)]), vec![USUAL, LEAST, LEAST]));
        room.set(1);
        assert_eq!((step(false), asked.take()), (out_of_memory(), vec![LEAST]));
        assert_eq!((step(true), asked.take()), (out_of_memory(), vec![LEAST, LEAST]));
    }

    #[test]
    fn other_failures_are_not_tried_again() {
        let calls = RefCell::new(0);
        let lost = || BackendError::Device("lost".into());
        let free = || panic!("memory does not lack");
        let known = Cell::new(USUAL);
        let done = all_or_each(
            &[1, 2],
            |_| &known,
            free,
            |_: &[u32], _: Portion| -> Result<Vec<u32>, _> {
                *calls.borrow_mut() += 1;
                Err(lost())
            },
        );
        assert_eq!((done, calls.into_inner()), (Err(lost()), 1));
        assert_eq!(whole_or_tiles(is_out_of_memory, free, || Err(lost()), || Ok(1)), Err(lost()));
    }

    #[test]
    fn tiles_are_for_wholes_that_do_not_fit() {
        assert_eq!(whole_or_tiles(is_out_of_memory, || true, || Ok(1), || Ok(2)), Ok(1));
        let freed = Cell::new(false);
        let free = || !freed.replace(true);
        assert_eq!(whole_or_tiles(is_out_of_memory, free, out_of_memory, || Ok(freed.get())), Ok(true));
        let none: Result<u8, _> = whole_or_tiles(is_out_of_memory, || true, out_of_memory, out_of_memory);
        assert_eq!(none, out_of_memory());
    }

    #[test]
    fn tiles_that_do_not_fit_are_halved_once() {
        let run = |tile: u32, most: u32| {
            let asked = RefCell::new(Vec::new());
            let done = tiles_or_smaller(Tiling { tile, overlap: 8 }, is_out_of_memory, |tiling| {
                asked.borrow_mut().push(tiling.tile);
                let side = if tiling.tile == 0 { u32::MAX } else { tiling.tile };
                if side > most { out_of_memory() } else { Ok(tiling.overlap) }
            });
            (done, asked.into_inner())
        };
        assert_eq!(run(192, 192), (Ok(8), vec![192]));
        assert_eq!(run(192, 100), (Ok(8), vec![192, 96]));
        assert_eq!(run(192, 50), (out_of_memory(), vec![192, 96]));
        assert_eq!(run(0, 500), (Ok(8), vec![0, 192]));
        assert_eq!(run(48, 8), (out_of_memory(), vec![48]), "half of it is below what helps");
        let wide = tiles_or_smaller(
            Tiling { tile: 64, overlap: 32 },
            |_: &BackendError| true,
            |tiling| if tiling.tile == 64 { out_of_memory() } else { Ok(tiling.overlap) },
        );
        assert_eq!(wide, Ok(16), "an overlap that was half of the side still is");
        let lost = || Err::<u8, _>(BackendError::Device("lost".into()));
        assert_eq!(tiles_or_smaller(Tiling::default(), is_out_of_memory, |_| lost()), lost());
    }
}
