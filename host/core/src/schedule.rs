//! Noise levels: which sigmas a run of n steps visits. Called by sampler plans; lists served by the HTTP edge.
//! Formulas and check tables: Karras et al. 2022, k-diffusion, and the published behaviour of web UIs.
//! Knows nothing of what a sampler does at those levels.

mod align_your_steps;
mod beta;
mod ddim;
mod exponential;
mod half;
mod karras;
mod kl_optimal;
mod normal;
mod polyexponential;
mod sgm_uniform;
mod simple;
mod table;
mod uniform;

pub(crate) use karras::between as karras_between;
pub use table::{AlignedSteps, NoiseSchedule, NoiseTable, Prediction};

/// How the noise levels of a run are spaced, in the order web UIs list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheduler {
    /// The sampler's own default.
    Automatic,
    Uniform,
    Karras,
    Exponential,
    Polyexponential,
    SgmUniform,
    KlOptimal,
    AlignYourSteps,
    Simple,
    Normal,
    Ddim,
    Beta,
}

impl Scheduler {
    pub const ALL: [Self; 12] = [
        Self::Automatic,
        Self::Uniform,
        Self::Karras,
        Self::Exponential,
        Self::Polyexponential,
        Self::SgmUniform,
        Self::KlOptimal,
        Self::AlignYourSteps,
        Self::Simple,
        Self::Normal,
        Self::Ddim,
        Self::Beta,
    ];

    /// The id on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Uniform => "uniform",
            Self::Karras => "karras",
            Self::Exponential => "exponential",
            Self::Polyexponential => "polyexponential",
            Self::SgmUniform => "sgm_uniform",
            Self::KlOptimal => "kl_optimal",
            Self::AlignYourSteps => "align_your_steps",
            Self::Simple => "simple",
            Self::Normal => "normal",
            Self::Ddim => "ddim",
            Self::Beta => "beta",
        }
    }

    /// The name people read, also in infotext.
    pub fn label(self) -> &'static str {
        match self {
            Self::Automatic => "Automatic",
            Self::Uniform => "Uniform",
            Self::Karras => "Karras",
            Self::Exponential => "Exponential",
            Self::Polyexponential => "Polyexponential",
            Self::SgmUniform => "SGM Uniform",
            Self::KlOptimal => "KL Optimal",
            Self::AlignYourSteps => "Align Your Steps",
            Self::Simple => "Simple",
            Self::Normal => "Normal",
            Self::Ddim => "DDIM",
            Self::Beta => "Beta",
        }
    }

    /// Other names it answers to.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::SgmUniform => &["SGMUniform"],
            _ => &[],
        }
    }

    /// The exponent of the spacing; -1 where there is none.
    pub fn default_rho(self) -> f64 {
        match self {
            Self::Karras => karras::RHO,
            Self::Polyexponential => polyexponential::RHO,
            _ => -1.0,
        }
    }

    /// Whether the spacing depends on the model's table and not only on its ends.
    pub fn need_inner_model(self) -> bool {
        matches!(self, Self::Uniform | Self::SgmUniform | Self::Simple | Self::Normal | Self::Ddim)
    }

    /// Whether the levels end in 0.
    pub fn ends_in_zero(self) -> bool {
        self != Self::KlOptimal
    }

    /// By name, label or alias, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Self::ALL.into_iter().find(|s| s.spellings().any(|name| name.eq_ignore_ascii_case(text)))
    }

    /// Every spelling [`Scheduler::parse`] accepts.
    pub(crate) fn spellings(self) -> impl Iterator<Item = &'static str> {
        [self.label(), self.name()].into_iter().chain(self.aliases().iter().copied())
    }
}

/// What a schedule can be told beyond its steps. Each looks only at its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spacing {
    /// Lowest and highest level; `None` is the table's. Schedules that pick entries of the table have no use for it.
    pub sigma_min: Option<f64>,
    pub sigma_max: Option<f64>,
    /// Exponent; `None` is the schedule's own.
    pub rho: Option<f64>,
    /// Alpha and beta of the beta distribution.
    pub beta: (f64, f64),
}

impl Default for Spacing {
    fn default() -> Self {
        Self { sigma_min: None, sigma_max: None, rho: None, beta: (0.6, 0.6) }
    }
}

impl Spacing {
    /// Lowest and highest level.
    pub fn ends(&self, table: &NoiseSchedule) -> (f64, f64) {
        (self.sigma_min.unwrap_or(table.sigma_min()), self.sigma_max.unwrap_or(table.sigma_max()))
    }
}

/// The noise levels of a run, falling, ending in 0 (but for [`Scheduler::KlOptimal`]). [`Scheduler::Automatic`] must have been replaced by the
/// sampler's default before; it counts as [`Scheduler::Uniform`] here.
///
/// Every spacing gives `steps + 1` values but [`Scheduler::Ddim`], which strides the table by whole timesteps and
/// so may give more. No steps give no values.
pub fn sigmas(scheduler: Scheduler, table: &NoiseSchedule, steps: u32, spacing: &Spacing) -> Vec<f64> {
    sigmas_from(scheduler, table, steps, spacing, 0)
}

/// The same for whoever reads the levels from the place `from` on, and the first: those between may all be the first,
/// where working them out takes long.
pub(crate) fn sigmas_from(
    scheduler: Scheduler,
    table: &NoiseSchedule,
    steps: u32,
    spacing: &Spacing,
    from: usize,
) -> Vec<f64> {
    let n = steps as usize;
    if n == 0 {
        return Vec::new();
    }
    let mut sigmas = match scheduler {
        Scheduler::Automatic | Scheduler::Uniform => uniform::sigmas(table, n),
        Scheduler::Karras => karras::sigmas(table, n, spacing),
        Scheduler::Exponential => exponential::sigmas(table, n, spacing),
        Scheduler::Polyexponential => polyexponential::sigmas(table, n, spacing),
        Scheduler::KlOptimal => kl_optimal::sigmas(table, n, spacing),
        Scheduler::AlignYourSteps => align_your_steps::sigmas(table, n),
        Scheduler::Beta => beta::sigmas(table, n, spacing, from),
        Scheduler::SgmUniform => sgm_uniform::sigmas(table, n, spacing),
        Scheduler::Simple => simple::sigmas(table, n),
        Scheduler::Normal => normal::sigmas(table, n, spacing),
        Scheduler::Ddim => ddim::sigmas(table, n),
    };
    if scheduler.ends_in_zero() {
        sigmas.push(0.0);
    }
    sigmas
}

/// `n` values from `first` to `last`, both included; only `first` when `n` is 1.
fn linspace(first: f64, last: f64, n: usize) -> impl Iterator<Item = f64> {
    let step = if n > 1 { (last - first) / (n - 1) as f64 } else { 0.0 };
    (0..n).map(move |i| if i > 0 && i == n - 1 { last } else { first + i as f64 * step })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Compares with a printed table, `tolerance` relative.
    #[track_caller]
    pub(super) fn check(scheduler: Scheduler, steps: u32, want: &[f64], tolerance: f64) {
        check_spaced(scheduler, steps, &Spacing::default(), want, tolerance);
    }

    #[track_caller]
    pub(super) fn check_spaced(
        scheduler: Scheduler,
        steps: u32,
        spacing: &Spacing,
        want: &[f64],
        tolerance: f64,
    ) {
        let got = sigmas(scheduler, &NoiseSchedule::sd1(), steps, spacing);
        assert_eq!(got.len(), want.len(), "{got:?}");
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= tolerance * want.abs(), "{got} is not {want}");
        }
    }

    #[test]
    fn parses_names_labels_and_aliases_in_any_case() {
        for scheduler in Scheduler::ALL {
            for spelling in scheduler.spellings() {
                assert_eq!(Scheduler::parse(&spelling.to_uppercase()), Some(scheduler));
                assert_eq!(Scheduler::parse(&spelling.to_lowercase()), Some(scheduler));
            }
        }
        assert_eq!(Scheduler::parse("SGMUniform"), Some(Scheduler::SgmUniform));
        assert_eq!(Scheduler::parse("polynomial"), None);
        assert_eq!(Scheduler::parse(""), None);
    }

    #[test]
    fn automatic_counts_as_uniform() {
        let table = NoiseSchedule::sd1();
        assert_eq!(
            sigmas(Scheduler::Automatic, &table, 7, &Spacing::default()),
            sigmas(Scheduler::Uniform, &table, 7, &Spacing::default())
        );
    }

    #[test]
    fn one_step_starts_at_the_highest_level() {
        let table = NoiseSchedule::sd1();
        for scheduler in Scheduler::ALL.into_iter().filter(|s| *s != Scheduler::Ddim) {
            let got = sigmas(scheduler, &table, 1, &Spacing::default());
            let near = (got[0] - table.sigma_max()).abs() < 1e-3;
            let end = if scheduler.ends_in_zero() { 0.0 } else { table.sigma_min() };
            assert!(near && got.len() == 2 && (got[1] - end).abs() < 1e-12, "{scheduler:?}: {got:?}");
        }
        assert!(sigmas(Scheduler::Karras, &table, 0, &Spacing::default()).is_empty());
    }

    #[test]
    fn asked_for_ends_are_the_ends_of_a_schedule_that_takes_them() {
        let spacing = Spacing { sigma_min: Some(0.1), sigma_max: Some(10.0), ..Spacing::default() };
        let table = NoiseSchedule::sd1();
        for scheduler in [
            Scheduler::Karras,
            Scheduler::Exponential,
            Scheduler::Polyexponential,
            Scheduler::Normal,
            Scheduler::Beta,
        ] {
            let got = sigmas(scheduler, &table, 7, &spacing);
            assert!((got[0] - 10.0).abs() < 1e-9 && (got[6] - 0.1).abs() < 1e-9, "{scheduler:?}: {got:?}");
        }
        let smaller = sigmas(Scheduler::Karras, &table, 7, &Spacing { rho: Some(3.0), ..spacing });
        assert!(smaller[3] > sigmas(Scheduler::Karras, &table, 7, &spacing)[3]);
    }

    proptest! {
        #[test]
        fn levels_fall_strictly_and_end_in_zero(steps in 1u32..=1000, which in 0..Scheduler::ALL.len()) {
            let table = NoiseSchedule::sd1();
            let scheduler = Scheduler::ALL[which];
            let got = sigmas(scheduler, &table, steps, &Spacing::default());
            prop_assert!(got.windows(2).all(|pair| pair[0] > pair[1]), "{scheduler:?}: {got:?}");
            prop_assert!(!scheduler.ends_in_zero() || got.last() == Some(&0.0));
            prop_assert!(got[0] <= table.sigma_max() * (1.0 + 1e-4));
            if scheduler != Scheduler::Ddim {
                prop_assert_eq!(got.len(), steps as usize + 1);
            }
        }
    }
}
