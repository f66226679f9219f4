//! MistoLine's edges, which its authors call Anyline (TheMistoAI/ComfyUI-Anyline, MIT): soft edges of a TEED that they trained
//! themselves, and over them what is darker than its surroundings, without specks.

use gesso_core::pixels::Pixels;
use gesso_plugin::Fault;

use super::input::Feed;
use super::output::{Reading, Steps};
use super::{Look, Ready, Recipe, recipe};
use crate::{Settings, lines, resolution};

const RECIPE: Recipe =
    recipe("softedge_anyline", &["MTEED", "softedge_anyline"], Feed::LEVELS, Reading::Logits(Steps::Asked));
/// Pixels of the bell that tells the surroundings, and up to what a difference is paper.
const SIGMA: f64 = 2.0;
const PAPER: f32 = 3.0;
/// Pixels of a line; fewer are a speck. Theirs are 36 of a picture of three equal channels.
const LINE_MIN: usize = 12;

/// White edges on black.
pub(super) fn map(
    source: &Pixels,
    _: Option<&Pixels>,
    settings: Settings,
    look: &dyn Look,
) -> Result<Pixels, Fault> {
    let ready = Ready::find(&RECIPE, look)?;
    resolution::at(source, settings.resolution, |picture| {
        let mut edges = ready.map(picture, settings, |_| Vec::new())?;
        let mut lines = lines::shades(picture, SIGMA, PAPER)?;
        remove_specks(&mut lines, picture.width as usize);
        let (pixels, _) = edges.data.as_chunks_mut::<3>();
        for (pixel, line) in pixels.iter_mut().zip(lines) {
            *pixel = pixel.map(|edge| screened(edge, line));
        }
        Ok(edges)
    })
}

/// What is black in both is black; truncated.
fn screened(one: u8, other: u8) -> u8 {
    let dark = u32::from(255 - one) * u32::from(255 - other);
    (255 - dark.div_ceil(255)) as u8
}

/// Blackens what hangs together, side by side and not across corners, of too few pixels.
fn remove_specks(levels: &mut [u8], width: usize) {
    let mut is_seen = vec![false; levels.len()];
    let mut line = Vec::new();
    for start in 0..levels.len() {
        if levels[start] == 0 || is_seen[start] {
            continue;
        }
        is_seen[start] = true;
        line.clear();
        line.push(start);
        let mut next = 0;
        while let Some(&place) = line.get(next) {
            next += 1;
            let column = place % width;
            let beside = [
                (column > 0).then(|| place - 1),
                (column + 1 < width).then(|| place + 1),
                place.checked_sub(width),
                Some(place + width).filter(|below| *below < levels.len()),
            ];
            for near in beside.into_iter().flatten() {
                if levels[near] > 0 && !is_seen[near] {
                    is_seen[near] = true;
                    line.push(near);
                }
            }
        }
        if line.len() < LINE_MIN {
            line.iter().for_each(|place| levels[*place] = 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_screened_is_at_least_as_bright_as_either() {
        for (one, other, want) in
            [(0, 0, 0), (0, 77, 77), (77, 0, 77), (255, 3, 255), (100, 100, 160), (200, 50, 210)]
        {
            assert_eq!(screened(one, other), want, "{one} {other}");
        }
    }

    #[test]
    fn specks_are_removed_and_lines_stay_whole() {
        // A line of 12, one of 11, and two of 12 that only a corner holds together.
        let picture = [
            "111111111111....",
            "................",
            "11111111111.....",
            "................",
            "111111..........",
            "......111111....",
            "..............11",
            "............1111",
            "............1..1",
            "............1..1",
            "............1...",
            ".............1..",
        ];
        let mut levels: Vec<u8> =
            picture.concat().bytes().map(|mark| if mark == b'1' { 9 } else { 0 }).collect();
        remove_specks(&mut levels, 16);
        let left: Vec<usize> =
            (0..12).map(|row| levels[row * 16..][..16].iter().filter(|level| **level > 0).count()).collect();
        assert_eq!(left, [12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(levels[..12].iter().all(|level| *level == 9));
        // One more, and the last is a line of 13.
        let mut levels: Vec<u8> =
            picture.concat().bytes().map(|mark| if mark == b'1' { 9 } else { 0 }).collect();
        levels[10 * 16 + 13] = 1;
        remove_specks(&mut levels, 16);
        assert_eq!(levels[6 * 16..].iter().filter(|level| **level > 0).count(), 13);
    }
}
