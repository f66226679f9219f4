//! Levels at even quantiles of a beta distribution, dense at both ends: Lee et al. 2024, "Beta sampling is all you
//! need", on levels instead of timesteps, as web UIs have it.

use super::{NoiseSchedule, Spacing, linspace};

/// Halvings: past 60 they are below the rounding of any level.
const BISECTIONS: usize = 64;
/// Terms of the continued fraction; for shapes up to 10 it is exact to 1e-13 by then.
const TERMS: usize = 60;

/// A quantile takes some 20 microseconds, and a run at a tiny strength is the end of 100,000 of them: those before the place
/// `from` are not looked for.
pub(super) fn sigmas(table: &NoiseSchedule, n: usize, spacing: &Spacing, from: usize) -> Vec<f64> {
    let (low, high) = spacing.ends(table);
    let (alpha, beta) = spacing.beta;
    let shares = linspace(1.0, 0.0, n).enumerate();
    shares
        .map(|(place, share)| if place < from { 1.0 } else { share })
        .map(|share| low + quantile(alpha, beta, share) * (high - low))
        .collect()
}

/// Where the distribution has that share (0..=1) of its mass below. Bisection: slower than Newton's method and sure,
/// also where the density has no bound.
fn quantile(alpha: f64, beta: f64, share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return share.clamp(0.0, 1.0);
    }
    // Which of the two parts converges changes here; together they are the whole mass.
    let middle = (alpha + 1.0) / (alpha + beta + 2.0);
    let below_middle = mass_below(alpha, beta, middle);
    let whole = below_middle + mass_below(beta, alpha, 1.0 - middle);
    let reaches = |x: f64| {
        if x < middle {
            mass_below(alpha, beta, x) >= share * whole
        } else {
            mass_below(beta, alpha, 1.0 - x) <= (1.0 - share) * whole
        }
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..BISECTIONS {
        let x = 0.5 * (low + high);
        if reaches(x) { high = x } else { low = x }
    }
    0.5 * (low + high)
}

/// The incomplete beta function (not divided by the whole), for `x` up to the middle above: the continued fraction
/// of Abramowitz & Stegun, 26.5.8, from its far end.
fn mass_below(alpha: f64, beta: f64, x: f64) -> f64 {
    let term = |i: usize| {
        let m = (i / 2) as f64;
        let (up, down) = (alpha + 2.0 * m, alpha + i as f64);
        if i.is_multiple_of(2) {
            m * (beta - m) * x / ((up - 1.0) * up)
        } else {
            -(alpha + m) * (alpha + beta + m) * x / (up * down)
        }
    };
    let fraction = (1..=TERMS).rev().fold(1.0, |rest, i| 1.0 + term(i) / rest);
    x.powf(alpha) * (1.0 - x).powf(beta) / (alpha * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Scheduler;
    use crate::schedule::tests::{check, check_spaced};

    #[test]
    fn levels_that_nobody_reads_are_not_looked_for() {
        let (table, spacing) = (NoiseSchedule::sd1(), Spacing::default());
        let (whole, end) = (sigmas(&table, 40, &spacing, 0), sigmas(&table, 40, &spacing, 30));
        assert_eq!(end[30..], whole[30..]);
        assert_eq!(end[..30], [whole[0]; 30]);
    }

    /// Values: scipy's `stats.beta.ppf`, printed by `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn agrees_with_scipy() {
        check(
            Scheduler::Beta,
            6,
            &[14.6146414897, 12.8217694997, 9.32447563505, 5.3193333878, 1.82203952317, 0.0291675331656, 0.0],
            1e-9,
        );
        check(
            Scheduler::Beta,
            20,
            &[
                14.6146414897,
                14.4152422856,
                13.9863211933,
                13.3927370008,
                12.6674405728,
                11.8355017779,
                10.9186226807,
                9.93679541238,
                8.90907421283,
                7.85399212383,
                6.78981689903,
                5.73473481003,
                4.70701361047,
                3.72518634218,
                2.808307245,
                1.9763684501,
                1.25107202202,
                0.657487829546,
                0.228566737282,
                0.0291675331656,
                0.0,
            ],
            1e-9,
        );
        let spacing = Spacing { beta: (0.9, 1.4), ..Spacing::default() };
        check_spaced(
            Scheduler::Beta,
            6,
            &spacing,
            &[
                14.6146414897,
                9.63071551922,
                6.54591861603,
                3.99107102307,
                1.79870144704,
                0.0291675331656,
                0.0,
            ],
            1e-9,
        );
    }
}
