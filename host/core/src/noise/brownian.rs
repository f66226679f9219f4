//! One picture's Brownian motion over noise levels, for samplers of stochastic equations: however the levels are
//! spaced and in whatever order they are asked, the increments belong to one path. The path and its numbers are those
//! of torchsde 0.2.6 (`BrownianTree`, Li et al. 2020) as k-diffusion drives it, with the picture's source of normals.
//!
//! The whole span has one increment; each interval is halved on the way to the levels that are asked for, and a
//! bridge parts its increment. Every interval has a seed of its own, so nothing need be kept but for speed.

use std::collections::HashMap;

use super::{Generator, seed_sequence};
use crate::request::NoiseSource;

/// Levels are rounded to this many decimals.
const DECIMALS: usize = 6;
/// Words of the pool that seeds are mixed in.
const POOL: usize = 24;

/// A path for one seed. Arithmetic on values is in f32 and in torchsde's order, on times in f64.
#[derive(Debug, Clone)]
pub(super) struct Brownian {
    source: NoiseSource,
    seed: u64,
    elements: usize,
    span: (f64, f64),
    whole: Interval,
    /// Increment over the whole span.
    root: Vec<f32>,
    /// Increments on the way to the levels asked for last: the next question is for one of them again.
    known: HashMap<(u64, u64), Vec<f32>>,
}

/// An interval of the tree. `key` counts the intervals of its depth from the left.
#[derive(Debug, Clone, Copy)]
struct Interval {
    start: f64,
    end: f64,
    key: u64,
    depth: u64,
}

/// One question: the levels, and what has been found so far.
struct Search {
    from: f64,
    to: f64,
    sum: Option<Vec<f32>>,
    seen: HashMap<(u64, u64), Vec<f32>>,
}

impl Brownian {
    /// `span` is the lowest and highest level there will be.
    pub(super) fn new(source: NoiseSource, seed: u64, elements: usize, span: (f64, f64)) -> Self {
        let (low, high) = (single(span.0), single(span.1));
        let whole = Interval { start: rounded(low), end: rounded(high), key: 0, depth: 0 };
        let mut root = normals(source, seed_sequence::first_word::<POOL>(seed, &[]), elements);
        let scale = (high - low).sqrt() as f32;
        root.iter_mut().for_each(|value| *value *= scale);
        Self { source, seed, elements, span, whole, root, known: HashMap::new() }
    }

    pub(super) fn spans(&self, span: (f64, f64)) -> bool {
        self.span == span
    }

    /// The increment from one level to another, divided by the root of their distance. Equal levels give zeros.
    pub(super) fn increment(&mut self, from: f64, to: f64) -> Vec<f32> {
        let (from, to) = (single(from), single(to));
        let inside = |level: f64| rounded(level.clamp(self.whole.start, self.whole.end));
        let mut search =
            Search { from: inside(from.min(to)), to: inside(from.max(to)), sum: None, seen: HashMap::new() };
        if search.from >= search.to {
            return vec![0.0; self.elements];
        }
        let root = std::mem::take(&mut self.root);
        self.visit(self.whole, &root, &mut search);
        self.root = root;
        self.known = search.seen;
        let distance = (to as f32 - from as f32).abs().sqrt();
        let divisor = if from > to { -distance } else { distance };
        let mut increment = search.sum.unwrap_or_else(|| vec![0.0; self.elements]);
        increment.iter_mut().for_each(|value| *value /= divisor);
        increment
    }

    /// Adds up the increments of the largest intervals that the levels are made of, from the left.
    fn visit(&mut self, interval: Interval, value: &[f32], search: &mut Search) {
        let (from, to) = (search.from.max(interval.start), search.to.min(interval.end));
        let middle = rounded(0.5 * (interval.end + interval.start));
        let is_whole = from <= interval.start && to >= interval.end;
        if is_whole || middle <= interval.start || middle >= interval.end {
            match &mut search.sum {
                None => search.sum = Some(value.to_vec()),
                Some(sum) => sum.iter_mut().zip(value).for_each(|(sum, value)| *sum += value),
            }
            return;
        }
        let [left, right] = interval.halves(middle);
        let left_value = self.left_value(interval, middle, value);
        if from < middle {
            self.visit(left, &left_value, search);
        }
        if to > middle {
            let right_value: Vec<f32> =
                value.iter().zip(&left_value).map(|(whole, left)| whole - left).collect();
            self.visit(right, &right_value, search);
        }
        search.seen.insert((left.depth, left.key), left_value);
    }

    /// The increment of the left half: its share of the whole, and the bridge's own noise.
    fn left_value(&mut self, interval: Interval, middle: f64, value: &[f32]) -> Vec<f32> {
        let [left, _] = interval.halves(middle);
        if let Some(known) = self.known.remove(&(left.depth, left.key)) {
            return known;
        }
        let (before, after) = (middle - interval.start, interval.end - middle);
        let reciprocal = 1.0 / (interval.end - interval.start);
        let deviation = (before * after * reciprocal).sqrt() as f32;
        let (before, reciprocal) = (before as f32, reciprocal as f32);
        let seed = seed_sequence::first_word::<POOL>(self.seed, &[interval.key, interval.depth]);
        let mut values = normals(self.source, seed, self.elements);
        for (noise, whole) in values.iter_mut().zip(value) {
            *noise = before * whole * reciprocal + deviation * *noise;
        }
        values
    }
}

impl Interval {
    fn halves(self, middle: f64) -> [Self; 2] {
        let (key, depth) = (2 * self.key, self.depth + 1);
        [Self { end: middle, key, depth, ..self }, Self { start: middle, key: key + 1, depth, ..self }]
    }
}

fn normals(source: NoiseSource, seed: u32, elements: usize) -> Vec<f32> {
    Generator::new(source, seed.into()).randn(elements)
}

/// k-diffusion holds levels in f32.
fn single(level: f64) -> f64 {
    f64::from(level as f32)
}

/// To the nearest number of six decimals, as Python's `round` finds it: by the digits, not by scaling.
fn rounded(level: f64) -> f64 {
    format!("{level:.DECIMALS$}").parse().unwrap_or(level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{NoiseSchedule, Scheduler, Spacing, sigmas};

    /// Seed, from, to, and elements 0, 7 and 19 of 20. Each run's first level is its span's highest.
    type Row = (u64, f64, f64, [f64; 3]);

    const LOWEST: f64 = 0.029167532920837402;
    const HIGHEST: f64 = 14.614641189575195;

    #[track_caller]
    fn check(source: NoiseSource, rows: &[Row]) {
        let mut motion: Option<Brownian> = None;
        for (seed, from, to, want) in rows {
            if motion.as_ref().is_none_or(|motion| motion.seed != *seed) {
                motion = Some(Brownian::new(source, *seed, 20, (LOWEST, HIGHEST)));
            }
            let got = motion.as_mut().unwrap().increment(*from, *to);
            for (at, want) in [0, 7, 19].into_iter().zip(want) {
                // The last bits of the normals, grown by the division by a short distance.
                assert!(
                    (f64::from(got[at]) - want).abs() < 3e-6,
                    "{from} to {to}: {} is not {want}",
                    got[at]
                );
            }
        }
    }

    /// Values: torchsde, printed by `python host/core/tests/reference_tables.py brownian`.
    #[test]
    fn is_torchsdes_path_with_either_source() {
        check(NoiseSource::Cpu, &CPU);
        check(NoiseSource::Nv, &NV);
    }

    const CPU: [Row; 13] = [
        (7, 14.614641189575195, 3.168610095977783, [0.021996295, 0.303296298, -1.567753911]),
        (7, 3.168610095977783, 0.44692081212997437, [-0.116008066, -1.698701024, 0.96773535]),
        (7, 0.44692081212997437, 0.029167532920837402, [-0.913156033, -0.03311928, 1.434977889]),
        ((1 << 40) + 3, 14.614641189575195, 3.088986873626709, [0.262494922, 0.16941306, 0.548266411]),
        ((1 << 40) + 3, 3.088986873626709, 0.6528958678245544, [-0.533719182, 0.934723139, -1.761678338]),
        ((1 << 40) + 3, 0.6528958678245544, 0.13799768686294556, [0.472550839, -1.943057418, -0.08947894]),
        ((1 << 40) + 3, 0.13799768686294556, 0.029167532920837402, [-1.32101965, 0.013902896, -1.248902678]),
        (7, 14.614640235900879, 6.8050055503845215, [-0.221340895, -0.047176275, -1.510079741]),
        (7, 14.614640235900879, 3.168610095977783, [0.022622438, 0.303561777, -1.56805563]),
        (7, 3.168610095977783, 1.1900074481964111, [0.282665044, -1.597706795, 0.412509292]),
        (7, 3.168610095977783, 0.44692081212997437, [-0.116008066, -1.698701024, 0.96773535]),
        (7, 0.44692081212997437, 0.11417347192764282, [-2.091286659, -0.001351091, 0.857894719]),
        (7, 0.44692081212997437, 0.0291675366461277, [-0.913156033, -0.03311928, 1.434977889]),
    ];

    const NV: [Row; 13] = [
        (7, 14.614641189575195, 3.168610095977783, [-1.757768154, -1.675859809, 0.987614334]),
        (7, 3.168610095977783, 0.44692081212997437, [1.026597142, 1.085003495, -0.50492537]),
        (7, 0.44692081212997437, 0.029167532920837402, [1.542001724, 0.837957025, -1.390493393]),
        ((1 << 40) + 3, 14.614641189575195, 3.088986873626709, [2.82801795, 1.382627249, -0.827401757]),
        ((1 << 40) + 3, 3.088986873626709, 0.6528958678245544, [-1.549440026, 0.468175977, -1.348265171]),
        ((1 << 40) + 3, 0.6528958678245544, 0.13799768686294556, [-1.064302325, 0.554588556, -1.292111158]),
        ((1 << 40) + 3, 0.13799768686294556, 0.029167532920837402, [-0.341165632, -0.445869535, 1.107022643]),
        (7, 14.614640235900879, 6.8050055503845215, [-1.144160748, -0.717311561, 0.673087299]),
        (7, 14.614640235900879, 3.168610095977783, [-1.757217765, -1.67617619, 0.987400115]),
        (7, 3.168610095977783, 1.1900074481964111, [0.247251317, 0.153908804, 0.257279605]),
        (7, 3.168610095977783, 0.44692081212997437, [1.026597142, 1.085003495, -0.50492537]),
        (7, 0.44692081212997437, 0.11417347192764282, [1.706833005, 0.972450495, -0.98072964]),
        (7, 0.44692081212997437, 0.0291675366461277, [1.542001724, 0.837957025, -1.390493393]),
    ];

    #[test]
    fn what_was_asked_before_changes_nothing() {
        let span = (LOWEST, HIGHEST);
        let mut asked = Brownian::new(NoiseSource::Nv, 5, 8, span);
        for (from, to) in [(14.0, 3.0), (3.0, 9.0), (0.5, 0.1), (9.0, 1.0)] {
            let fresh = Brownian::new(NoiseSource::Nv, 5, 8, span).increment(from, to);
            assert_eq!(asked.increment(from, to), fresh);
        }
        assert_eq!(asked.increment(2.0, 2.0), [0.0; 8]);
    }

    #[test]
    fn increments_add_up_and_turn_with_their_direction() {
        let mut motion = Brownian::new(NoiseSource::Cpu, 5, 16, (LOWEST, HIGHEST));
        let mut over = |from: f64, to: f64| -> Vec<f64> {
            let root = (from - to).abs().sqrt();
            motion.increment(from, to).into_iter().map(|value| f64::from(value) * root).collect()
        };
        let (whole, first, second, back) =
            (over(12.0, 2.0), over(12.0, 5.5), over(5.5, 2.0), over(2.0, 12.0));
        for i in 0..16 {
            assert!((whole[i] - first[i] - second[i]).abs() < 1e-5);
            assert_eq!(whole[i], -back[i]);
        }
    }

    #[test]
    fn increments_are_standard_normal_whatever_the_step() {
        let levels = sigmas(Scheduler::Karras, &NoiseSchedule::sd1(), 20, &Spacing::default());
        let mut motion = Brownian::new(NoiseSource::Nv, 1, 4096, (levels[19], levels[0]));
        for pair in levels[..20].windows(2) {
            let values = motion.increment(pair[0], pair[1]);
            let square = values.iter().map(|value| f64::from(value * value)).sum::<f64>() / 4096.0;
            assert!((square - 1.0).abs() < 0.1, "{pair:?}: {square}");
        }
    }
}
