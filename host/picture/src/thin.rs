//! Maps of black and white: Otsu's threshold, and lines made one pixel wide again after resampling.
//!
//! Grey pictures only; called by `control_fit`. The thinning is the textbook one: hit-or-miss with the eight
//! rotations of Golay's L until nothing changes, then one round of pruning of the ends.

use gesso_core::pixels::Pixels;

/// Rounds of thinning after which lines are as thin as they get in practice.
const ROUNDS_MAX: usize = 32;

/// A 3 x 3 pattern: 1 must be white, -1 must be black, 0 may be either.
type Pattern = [[i8; 3]; 3];

const THINNING: [Pattern; 2] = [[[-1, -1, -1], [0, 1, 0], [1, 1, 1]], [[0, -1, -1], [1, 1, -1], [0, 1, 0]]];
const PRUNING: [Pattern; 2] =
    [[[-1, -1, -1], [-1, 1, -1], [0, 0, -1]], [[-1, -1, -1], [-1, 1, -1], [-1, 0, 0]]];

/// True if opening by 3 x 3 pixels takes away more than half of what is white: drawn in lines, not in areas.
pub(crate) fn is_mostly_lines(gray: &Pixels) -> bool {
    let opened = extreme(&extreme(gray, false), true);
    let lost = gray.data.iter().zip(&opened.data).filter(|(before, after)| after < before).count();
    let white = gray.data.iter().filter(|&&level| level > 127).count();
    lost * 2 > white
}

/// The largest (dilation) or smallest (erosion) level of each pixel's 3 x 3 neighbours inside the picture.
fn extreme(gray: &Pixels, largest: bool) -> Pixels {
    let mut result = gray.clone();
    for (index, value) in result.data.iter_mut().enumerate() {
        let levels = NEIGHBOURS.iter().filter_map(|&offset| at(gray, index, offset));
        *value = if largest { levels.max() } else { levels.min() }.unwrap_or(*value);
    }
    result
}

const NEIGHBOURS: [(isize, isize); 9] =
    [(-1, -1), (0, -1), (1, -1), (-1, 0), (0, 0), (1, 0), (-1, 1), (0, 1), (1, 1)];

/// The level `offset` (x, y) away from pixel `index`, `None` outside.
fn at(gray: &Pixels, index: usize, offset: (isize, isize)) -> Option<u8> {
    let width = gray.width as usize;
    let x = (index % width).checked_add_signed(offset.0).filter(|&x| x < width)?;
    let y = (index / width).checked_add_signed(offset.1).filter(|&y| y < gray.height as usize)?;
    Some(gray.data[y * width + x])
}

/// Black and white at the level that parts the two most.
pub(crate) fn otsu(gray: &Pixels) -> Pixels {
    let threshold = otsu_level(gray);
    let data = gray.data.iter().map(|&level| if level > threshold { 255 } else { 0 }).collect();
    Pixels { data, ..*gray }
}

/// The first level with the largest variance between the classes at or below it and above it.
fn otsu_level(gray: &Pixels) -> u8 {
    let mut counts = [0_u32; 256];
    for &level in &gray.data {
        counts[usize::from(level)] += 1;
    }
    let scale = 1.0 / gray.data.len() as f64;
    let mean: f64 =
        counts.iter().enumerate().map(|(level, &count)| level as f64 * f64::from(count)).sum::<f64>() * scale;
    let (mut below, mut below_mean) = (0.0, 0.0);
    let (mut best, mut best_level) = (0.0, 0);
    for (level, &count) in counts.iter().enumerate() {
        let share = f64::from(count) * scale;
        below_mean *= below;
        below += share;
        let above = 1.0 - below;
        if below.min(above) < f64::from(f32::EPSILON) || below.max(above) > 1.0 - f64::from(f32::EPSILON) {
            continue;
        }
        below_mean = (below_mean + level as f64 * share) / below;
        let above_mean = (mean - below * below_mean) / above;
        let variance = below * above * (below_mean - above_mean) * (below_mean - above_mean);
        if variance > best {
            (best, best_level) = (variance, level as u8);
        }
    }
    best_level
}

/// Only the crests of the resampled lines, black and white, thinned to one pixel; `prune` cuts spurs once.
pub(crate) fn thinned(gray: &Pixels, prune: bool) -> Pixels {
    let mut lines = otsu(&crests(gray));
    for _ in 0..ROUNDS_MAX {
        let mut changed = false;
        for pattern in THINNING {
            changed |= erase_all_turns(&mut lines, pattern);
        }
        if !changed {
            break;
        }
    }
    if prune {
        for pattern in PRUNING {
            erase_all_turns(&mut lines, pattern);
        }
    }
    lines
}

/// Keeps each pixel that is the largest of three in at least one of four directions.
fn crests(gray: &Pixels) -> Pixels {
    let directions: [(isize, isize); 4] = [(1, 0), (0, 1), (1, 1), (1, -1)];
    let mut result = gray.clone();
    for (index, value) in result.data.iter_mut().enumerate() {
        let lower = |offset| at(gray, index, offset).is_none_or(|level| level <= gray.data[index]);
        if !directions.iter().any(|&(x, y)| lower((x, y)) && lower((-x, -y))) {
            *value = 0;
        }
    }
    result
}

fn erase_all_turns(lines: &mut Pixels, mut pattern: Pattern) -> bool {
    let mut changed = false;
    for _ in 0..4 {
        changed |= erase(lines, pattern);
        // A quarter turn against the clock.
        pattern = std::array::from_fn(|row| std::array::from_fn(|column| pattern[column][2 - row]));
    }
    changed
}

/// Blackens every pixel around which `pattern` fits, all at once; outside the picture anything fits.
fn erase(lines: &mut Pixels, pattern: Pattern) -> bool {
    let fits = |index: usize| {
        NEIGHBOURS.iter().zip(pattern.as_flattened()).all(|(&offset, &wanted)| {
            match (wanted, at(lines, index, offset)) {
                (0, _) | (_, None) => true,
                (wanted, Some(level)) => (level != 0) == (wanted > 0),
            }
        })
    };
    let hits: Vec<usize> =
        (0..lines.data.len()).filter(|&index| lines.data[index] != 0 && fits(index)).collect();
    for &hit in &hits {
        lines.data[hit] = 0;
    }
    !hits.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gesso_core::pixels::PixelFormat;

    #[test]
    fn parts_dark_from_light_between_them() {
        let gray = Pixels::new(4, 1, PixelFormat::Gray8, vec![10, 20, 200, 210]).unwrap();
        assert_eq!(otsu(&gray).data, [0, 0, 255, 255]);
    }

    #[test]
    fn a_thick_line_becomes_one_pixel_wide() {
        let mut data = vec![0; 9 * 9];
        data[3 * 9..6 * 9].fill(255);
        let bar = Pixels::new(9, 9, PixelFormat::Gray8, data).unwrap();
        let thin = thinned(&bar, false);
        for x in 2..7 {
            assert_eq!(
                (0..9).filter(|y| thin.data[y * 9 + x] != 0).count(),
                1,
                "column {x}: {:?}",
                thin.data
            );
        }
    }
}
