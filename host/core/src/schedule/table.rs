//! The noise table a model was trained with: 1000 levels, and the two-way map between levels and timesteps.
//! Interpolation is linear in log sigma, as in k-diffusion's `DiscreteSchedule`; a quantized table knows whole
//! timesteps alone.

use super::half;

/// Timesteps of the training process.
const TIMESTEPS: usize = 1000;

/// What is left of the signal at the last timestep of a table without terminal signal, instead of nothing: levels
/// stay finite. The figure web UIs use.
const TERMINAL_ALPHA: f64 = 4.897_345_189_085_343_5e-8;

/// What a network was trained to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Prediction {
    /// The noise.
    #[default]
    Epsilon,
    /// `sqrt(a) * noise - sqrt(1 - a) * signal` (Salimans & Ho 2022).
    V,
}

/// The noise a model was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NoiseTable {
    /// Betas linear in their square root from 0.00085 to 0.012: Stable Diffusion 1, 2 and XL.
    #[default]
    ScaledLinear,
    /// The same, shifted and scaled so that the last timestep has no signal (Lin et al. 2023).
    ZeroTerminalSnr,
}

/// Whose published levels "align your steps" takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AlignedSteps {
    /// Stable Diffusion 1, and 2.
    #[default]
    Sd1,
    Sdxl,
}

/// Noise levels by timestep, rising, and what the network predicts at them.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    prediction: Prediction,
    aligned_steps: AlignedSteps,
    quantized: bool,
    alphas_cumprod: Vec<f64>,
    sigmas: Vec<f64>,
    log_sigmas: Vec<f64>,
}

impl NoiseSchedule {
    /// Stable Diffusion 1: predicts noise, scaled-linear betas.
    pub fn sd1() -> Self {
        Self::new(Prediction::Epsilon, NoiseTable::ScaledLinear)
    }

    /// The cumulative product is taken in f64 and kept as f32, as checkpoints store it; all later arithmetic is
    /// f64 on those f32 values.
    pub fn new(prediction: Prediction, table: NoiseTable) -> Self {
        let mut alphas = scaled_linear();
        if table == NoiseTable::ZeroTerminalSnr {
            remove_terminal_signal(&mut alphas);
        }
        Self::from_alphas(prediction, alphas, |number| number)
    }

    /// The same in half precision, as web UIs had it on a GPU before they could do without terminal signal: the shares of
    /// signal were a tensor of halves, and k-diffusion computed the levels and their logarithms from it, each step of which
    /// PyTorch rounds. Without terminal signal only the shares are rounded, and first, or the last levels would be equal.
    pub fn in_halves(prediction: Prediction, table: NoiseTable) -> Self {
        let mut alphas: Vec<_> = scaled_linear().into_iter().map(half::rounded).collect();
        if table == NoiseTable::ZeroTerminalSnr {
            remove_terminal_signal(&mut alphas);
            return Self::from_alphas(prediction, alphas, |number| number);
        }
        Self::from_alphas(prediction, alphas, half::rounded)
    }

    /// `kept` is what is left of each intermediate result.
    fn from_alphas(prediction: Prediction, alphas_cumprod: Vec<f64>, kept: fn(f64) -> f64) -> Self {
        let sigma = |alpha: &f64| kept(kept(kept(1.0 - alpha) / alpha).sqrt());
        let sigmas: Vec<f64> = alphas_cumprod.iter().map(sigma).collect();
        let log_sigmas = sigmas.iter().map(|sigma| kept(sigma.ln())).collect();
        let aligned_steps = AlignedSteps::default();
        Self { prediction, aligned_steps, quantized: false, alphas_cumprod, sigmas, log_sigmas }
    }

    /// The same table with another model's levels for "align your steps".
    pub fn with_aligned_steps(self, aligned_steps: AlignedSteps) -> Self {
        Self { aligned_steps, ..self }
    }

    /// The same table, whose levels have the nearest whole timestep.
    pub fn quantized(self, quantized: bool) -> Self {
        Self { quantized, ..self }
    }

    pub fn aligned_steps(&self) -> AlignedSteps {
        self.aligned_steps
    }

    /// A table of every `stride`-th level, counted so that the last one stays.
    pub fn every(&self, stride: usize) -> Self {
        let stride = stride.max(1);
        let from = (self.alphas_cumprod.len() + stride - 1) % stride;
        let some = |all: &[f64]| all.iter().skip(from).step_by(stride).copied().collect();
        Self {
            alphas_cumprod: some(&self.alphas_cumprod),
            sigmas: some(&self.sigmas),
            log_sigmas: some(&self.log_sigmas),
            ..*self
        }
    }

    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// Noise levels by timestep, rising.
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    pub fn sigma_min(&self) -> f64 {
        self.sigmas[0]
    }

    pub fn sigma_max(&self) -> f64 {
        self.sigmas[self.sigmas.len() - 1]
    }

    /// The share of signal (not its root) left at timestep `i`; the last one's for any later `i`.
    pub fn alpha_cumprod(&self, i: usize) -> f64 {
        self.alphas_cumprod[i.min(self.alphas_cumprod.len() - 1)]
    }

    /// Noise level at a fractional timestep, which is first brought into 0..=999.
    pub fn sigma_at(&self, t: f64) -> f64 {
        let t = t.clamp(0.0, (self.log_sigmas.len() - 1) as f64);
        let (low, high, weight) = (t.floor() as usize, t.ceil() as usize, t.fract());
        ((1.0 - weight) * self.log_sigmas[low] + weight * self.log_sigmas[high]).exp()
    }

    /// The timestep whose level is nearest in its logarithm.
    pub fn nearest_timestep(&self, sigma: f64) -> usize {
        self.timestep_of(sigma).round() as usize
    }

    /// The timestep whose level is nearest as it is, and not in its logarithm; the lower of two equally near ones.
    pub fn closest_timestep(&self, sigma: f64) -> usize {
        let above = self.sigmas.partition_point(|level| *level < sigma);
        let last = self.sigmas.len() - 1;
        let Some(below) = above.checked_sub(1) else { return 0 };
        let is_nearer = above <= last && self.sigmas[above] - sigma < sigma - self.sigmas[below];
        if is_nearer { above } else { below }
    }

    /// The timestep of a noise level, fractional unless the table is quantized: 0 for anything below the table, 999
    /// for anything above.
    pub fn timestep_of(&self, sigma: f64) -> f64 {
        let log_sigma = sigma.ln();
        let below = self.log_sigmas.partition_point(|level| *level <= log_sigma);
        let low = below.saturating_sub(1).min(self.log_sigmas.len() - 2);
        let (from, to) = (self.log_sigmas[low], self.log_sigmas[low + 1]);
        let timestep = low as f64 + ((log_sigma - from) / (to - from)).clamp(0.0, 1.0);
        if self.quantized { timestep.round() } else { timestep }
    }
}

/// The shares of signal of [`NoiseTable::ScaledLinear`].
fn scaled_linear() -> Vec<f64> {
    let (first, last) = (0.00085_f64.sqrt(), 0.012_f64.sqrt());
    let mut product = 1.0;
    super::linspace(first, last, TIMESTEPS)
        .map(|root| {
            product *= 1.0 - root * root;
            f64::from(product as f32)
        })
        .collect()
}

/// Lin et al. 2023, algorithm 1: the root of the signal keeps its first value and loses its last.
fn remove_terminal_signal(alphas: &mut [f64]) {
    let [first, .., last] = *alphas else { return };
    let (first, last) = (first.sqrt(), last.sqrt());
    for alpha in alphas.iter_mut() {
        let root = (alpha.sqrt() - last) * first / (first - last);
        *alpha = f64::from((root * root) as f32);
    }
    if let Some(end) = alphas.last_mut() {
        *end = TERMINAL_ALPHA;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn has_the_published_ends_and_middle() {
        let table = NoiseSchedule::sd1();
        assert_eq!(table.sigmas().len(), 1000);
        for (got, want) in [
            (table.alpha_cumprod(0), 0.99915),
            (table.alpha_cumprod(999), 0.0046600985),
            (table.sigma_min(), 0.0291672),
            (table.sigma_max(), 14.6146412),
            (table.sigmas()[500], 1.61828),
        ] {
            assert!((got - want).abs() < want * 2e-5, "{got} is not {want}");
        }
    }

    /// Values: `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn finds_fractional_timesteps_by_log_sigma() {
        let table = NoiseSchedule::sd1();
        for (sigma, t) in
            [(0.02, 0.0), (0.5, 169.31476486), (3.0, 673.155450299), (14.0, 991.884415915), (20.0, 999.0)]
        {
            assert!((table.timestep_of(sigma) - t).abs() < 1e-7, "{sigma}: {}", table.timestep_of(sigma));
        }
        assert_eq!(table.timestep_of(0.0), 0.0);
        assert_eq!(table.timestep_of(f64::INFINITY), 999.0);
    }

    #[test]
    fn a_quantized_table_knows_whole_timesteps_alone() {
        let table = NoiseSchedule::sd1().quantized(true);
        for (sigma, t) in [(0.02, 0.0), (0.5, 169.0), (3.0, 673.0), (14.0, 992.0), (20.0, 999.0)] {
            assert_eq!(table.timestep_of(sigma), t);
        }
        assert_eq!(table.every(20).timestep_of(3.0).fract(), 0.0);
        assert_eq!(table.sigma_at(500.5), NoiseSchedule::sd1().sigma_at(500.5));
    }

    /// Values: `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn a_table_without_terminal_signal_keeps_its_first_level() {
        let table = NoiseSchedule::new(Prediction::V, NoiseTable::ZeroTerminalSnr);
        for (at, want) in
            [(0, 0.0291675331656), (500, 1.77455752586), (998, 2254.22691889), (999, 4518.76369866)]
        {
            // The shares of signal are f32, and their last bit shows where little is left.
            let got = table.sigmas()[at];
            assert!((got - want).abs() < 1e-6 * want, "{got} is not {want}");
        }
        assert!(table.sigmas().windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(table.prediction(), Prediction::V);
    }

    /// Values: `python host/core/tests/reference_tables.py schedules`.
    #[test]
    fn a_table_in_halves_is_rounded_at_each_step() {
        let table = NoiseSchedule::in_halves(Prediction::Epsilon, NoiseTable::ScaledLinear);
        for (at, alpha, sigma, log_sigma) in [
            (0, 0.999_023_437_5, 0.031_25, -3.464_843_75),
            (1, 0.998_535_156_25, 0.038_299_560_546_875, -3.261_718_75),
            (500, 0.276_367_187_5, 1.618_164_062_5, 0.481_201_171_875),
            (998, 0.004_714_965_820_312_5, 14.523_437_5, 2.675_781_25),
            (999, 0.004_661_560_058_593_75, 14.609_375, 2.681_640_625),
        ] {
            assert_eq!((table.alpha_cumprod(at), table.sigmas()[at]), (alpha, sigma), "at {at}");
            assert_eq!(table.log_sigmas[at], log_sigma, "at {at}");
        }
        let without = NoiseSchedule::in_halves(Prediction::V, NoiseTable::ZeroTerminalSnr);
        for (at, want) in
            [(0, 0.031265269974), (500, 1.774406697442), (998, 2389.01004121), (999, 4518.76369866)]
        {
            let got = without.sigmas()[at];
            assert!((got - want).abs() < 1e-6 * want, "{got} is not {want}");
        }
    }

    #[test]
    fn no_level_of_a_table_in_halves_is_infinite_or_equal_to_the_one_before() {
        for kind in [NoiseTable::ScaledLinear, NoiseTable::ZeroTerminalSnr] {
            let table = NoiseSchedule::in_halves(Prediction::Epsilon, kind);
            assert!(table.sigma_min() > 0.0 && table.sigma_max().is_finite(), "{kind:?}");
            for levels in [&table.sigmas, &table.log_sigmas] {
                assert!(levels.windows(2).all(|pair| pair[0] < pair[1]), "{kind:?}");
            }
        }
        let some = NoiseSchedule::in_halves(Prediction::Epsilon, NoiseTable::ScaledLinear).every(20);
        assert_eq!((some.sigma_max(), some.sigmas().len()), (14.609_375, 50));
    }

    proptest! {
        #[test]
        fn the_closest_level_is_found_among_all(sigma in 0.0f64..20.0) {
            let table = NoiseSchedule::sd1();
            let distance = |t: &usize| (table.sigmas()[*t] - sigma).abs();
            let want = (0..1000).min_by(|a, b| distance(a).total_cmp(&distance(b)));
            prop_assert_eq!(Some(table.closest_timestep(sigma)), want);
        }

        #[test]
        fn level_and_timestep_are_inverse(t in 0.0f64..=999.0) {
            let table = NoiseSchedule::sd1();
            prop_assert!((table.timestep_of(table.sigma_at(t)) - t).abs() < 1e-8);
        }
    }
}
