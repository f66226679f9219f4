//! The levels UniPC visits, between those of the table: log signal is linear in time there, as in the authors' code.

use crate::sampler::UniPcSkip;
use crate::schedule::NoiseSchedule;

/// A level on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    /// Fractional timestep, 0..=999.
    pub(super) timestep: f64,
    /// Factors of signal and noise; their squares sum to 1.
    pub(super) signal: f64,
    pub(super) noise: f64,
    /// Half the logarithm of the signal-to-noise ratio.
    pub(super) lambda: f64,
}

/// `steps + 1` levels from fractional timestep `from` to 0.
pub(super) fn between(table: &NoiseSchedule, from: f64, steps: usize, skip: UniPcSkip) -> Vec<Level> {
    let share = |i: usize| i as f64 / steps as f64;
    // In the authors' time, timestep t is (t + 1) / 1000.
    let (begin, end) = ((from + 1.0) / 1000.0, 1.0 / 1000.0);
    let timestep = |i: usize| match skip {
        UniPcSkip::TimeUniform => (begin + share(i) * (end - begin)) * 1000.0 - 1.0,
        UniPcSkip::TimeQuadratic => {
            let root: f64 = begin.sqrt() + share(i) * (end.sqrt() - begin.sqrt());
            root * root * 1000.0 - 1.0
        }
        UniPcSkip::LogSnr => {
            let (first, last) = (at(table, from).lambda, at(table, 0.0).lambda);
            timestep_of(table, first + share(i) * (last - first))
        }
    };
    (0..=steps).map(|i| at(table, timestep(i))).collect()
}

fn at(table: &NoiseSchedule, timestep: f64) -> Level {
    let timestep = timestep.clamp(0.0, (table.sigmas().len() - 1) as f64);
    let (low, high) = (timestep.floor() as usize, timestep.ceil() as usize);
    let weight = timestep.fract();
    let log_signal =
        0.5 * ((1.0 - weight) * table.alpha_cumprod(low).ln() + weight * table.alpha_cumprod(high).ln());
    let signal = log_signal.exp();
    let noise = (-(2.0 * log_signal).exp_m1()).sqrt();
    Level { timestep, signal, noise, lambda: log_signal - noise.ln() }
}

fn timestep_of(table: &NoiseSchedule, lambda: f64) -> f64 {
    // ln(a) of a signal-to-noise ratio a / (1 - a) = exp(2 lambda).
    let log_alpha = -(-2.0 * lambda).exp().ln_1p();
    let last = table.sigmas().len() - 1;
    let (mut low, mut high) = (0, last);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if table.alpha_cumprod(middle).ln() >= log_alpha { low = middle } else { high = middle }
    }
    let (above, below) = (table.alpha_cumprod(low).ln(), table.alpha_cumprod(high).ln());
    low as f64 + ((above - log_alpha) / (above - below)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spacings_run_from_the_same_start_to_the_same_end() {
        let table = NoiseSchedule::sd1();
        for skip in [UniPcSkip::TimeUniform, UniPcSkip::TimeQuadratic, UniPcSkip::LogSnr] {
            for from in [999.0, 651.0] {
                let levels = between(&table, from, 10, skip);
                assert!((levels[0].timestep - from).abs() < 1e-6, "{skip:?}");
                assert!(levels[10].timestep.abs() < 1e-6, "{skip:?}");
                assert!(levels.windows(2).all(|pair| pair[0].lambda < pair[1].lambda), "{skip:?}");
            }
        }
    }

    #[test]
    fn a_ratio_gives_its_timestep_back() {
        let table = NoiseSchedule::sd1();
        for timestep in [0.0, 0.3, 17.5, 500.0, 998.9, 999.0] {
            assert!((timestep_of(&table, at(&table, timestep).lambda) - timestep).abs() < 1e-7);
        }
    }
}
