//! Where a pass begins and which levels it visits: the whole schedule from noise, or its end from a noised latent.
//! The rules of image-to-image are those web UIs publish.

use super::{Denoise, Pass, Sampler, Start, lcm, timesteps};
use crate::schedule::{self, NoiseSchedule};

/// Above it a strength counts as this, so that an index stays inside the schedule.
const STRENGTH_MAX: f64 = 0.999;
/// Longest schedule of which only the end is run: exact steps divide by the strength, which may be tiny.
const LENGTH_MAX: u32 = 100_000;
/// Levels whose distance is this share of the higher one are one: samplers of several steps divide by it.
const LEAST_DISTANCE: f64 = 1e-6;

/// The start of a pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Course {
    pub(super) start: Start,
    /// Steps web UIs count for this pass.
    pub(super) steps: u32,
}

/// What a sampler steps through, and only what it asks for is there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Levels {
    /// Falling noise levels; the last is usually 0. No calls when there is none. `span` is the lowest level above 0
    /// and the highest one of the whole schedule, also where only its end is run.
    Sigmas { run: Vec<f64>, span: (f64, f64) },
    /// The ends of a run whose steps are the sampler's own making, both above 0. No calls when they are equal.
    Ends { low: f64, high: f64, steps: usize },
    /// Rising timesteps; the first is where the run ends. No calls when there are less than two.
    Timesteps(Vec<usize>),
}

impl Levels {
    pub(super) fn sigmas(&self) -> &[f64] {
        if let Self::Sigmas { run, .. } = self { run } else { &[] }
    }

    /// What a Brownian motion runs over. Web UIs make it for the whole schedule.
    pub(super) fn span(&self) -> (f64, f64) {
        if let Self::Sigmas { span, .. } = *self { span } else { (0.0, 0.0) }
    }

    pub(super) fn ends(&self) -> ((f64, f64), usize) {
        if let Self::Ends { low, high, steps } = *self { ((low, high), steps) } else { ((1.0, 1.0), 0) }
    }

    pub(super) fn timesteps(&self) -> &[usize] {
        if let Self::Timesteps(timesteps) = self { timesteps } else { &[] }
    }
}

impl Course {
    pub(super) fn new(pass: &Pass, table: &NoiseSchedule) -> (Self, Levels) {
        let (length, encoded) = match pass.denoise {
            None => (pass.steps, None),
            Some(denoise) => {
                let (length, encoded) = length_and_encoded(denoise, pass.steps);
                (length, Some(encoded))
            }
        };
        let steps = encoded.map_or(pass.steps, |encoded| encoded + 1);
        let (start, levels) = if pass.sampler.is_timestep_sampler() {
            by_timesteps(pass, table, length, encoded)
        } else {
            by_sigmas(pass, table, length, encoded)
        };
        (Self { start, steps }, levels)
    }
}

/// Steps that web UIs count for a redrawn latent.
pub(super) fn steps_of(denoise: Denoise, steps: u32) -> u32 {
    length_and_encoded(denoise, steps).1 + 1
}

/// Steps of the whole schedule, and how many of them, less one, are run.
fn length_and_encoded(denoise: Denoise, steps: u32) -> (u32, u32) {
    let strength = denoise.strength.min(STRENGTH_MAX);
    if !denoise.exact_steps {
        return (steps, (strength * f64::from(steps)) as u32);
    }
    let length = if strength > 0.0 { (f64::from(steps) / strength) as u32 } else { 0 };
    (length.min(LENGTH_MAX), steps - 1)
}

/// The latent as it is.
pub(super) const UNTOUCHED: Start = Start { latent: 1.0, noise: 0.0 };

fn by_sigmas(pass: &Pass, table: &NoiseSchedule, length: u32, encoded: Option<u32>) -> (Start, Levels) {
    let options = &pass.options;
    let from = encoded.and_then(|encoded| (length as usize).checked_sub(encoded as usize + 1));
    let mut sigmas = levels(pass, table, length, from.unwrap_or(0));
    let highest = sigmas.iter().copied().fold(0.0, f64::max);
    let lowest = sigmas.iter().copied().filter(|sigma| *sigma > 0.0).fold(highest, f64::min);
    let run = |run: Vec<f64>| Levels::Sigmas { run, span: (lowest, highest) };
    let own_levels = pass.sampler.makes_its_own_levels();
    if encoded.is_none() {
        if own_levels {
            let (low, high) = (table.sigma_min(), table.sigma_max());
            let start = Start { latent: 0.0, noise: first_noise(pass, high) };
            return (start, Levels::Ends { low, high, steps: pass.steps as usize });
        }
        // LCM divides by no distance, and web UIs run each of its levels with fresh noise.
        if pass.sampler != Sampler::Lcm {
            keep_apart(&mut sigmas);
        }
        let first = sigmas.first().copied().unwrap_or(0.0);
        return (Start { latent: 0.0, noise: first_noise(pass, first) }, run(sigmas));
    }
    let Some(from) = from else { return (UNTOUCHED, run(Vec::new())) };
    let mut sigmas = sigmas.get(from..).unwrap_or_default().to_vec();
    keep_apart(&mut sigmas);
    let Some(first) = sigmas.first() else { return (UNTOUCHED, run(sigmas)) };
    let noise = (first + options.extra_noise) * options.initial_noise_multiplier;
    let start = Start { latent: 1.0, noise };
    match *sigmas {
        [high, .., low, _] if own_levels => (start, Levels::Ends { low, high, steps: sigmas.len() - 1 }),
        [high, _] if own_levels => (start, Levels::Ends { low: high, high, steps: 1 }),
        _ => (start, run(sigmas)),
    }
}

/// Leaves out levels that repeat the one before, as those of a long schedule do for which the table is too short, and those of
/// a beta distribution that is nearly all at its ends.
fn keep_apart(sigmas: &mut Vec<f64>) {
    sigmas.dedup_by(|next, kept| (*kept - *next).abs() <= LEAST_DISTANCE * *kept);
}

fn first_noise(pass: &Pass, sigma: f64) -> f64 {
    if pass.options.sgm_noise_multiplier { (sigma * sigma + 1.0).sqrt() } else { sigma }
}

/// The schedule of a sigma sampler, of which the levels from the place `from` on are run. "Discard" asks for one level
/// more and drops the one before the last.
fn levels(pass: &Pass, table: &NoiseSchedule, length: u32, from: usize) -> Vec<f64> {
    if length == 0 {
        return Vec::new();
    }
    let own_table = (pass.sampler == Sampler::Lcm).then(|| lcm::table(table));
    let table = own_table.as_ref().unwrap_or(table);
    let discard = discards(pass);
    let steps = length + u32::from(discard);
    let mut sigmas = schedule::sigmas_from(pass.resolved_scheduler(), table, steps, &pass.spacing(), from);
    if discard && sigmas.len() > 1 {
        sigmas.remove(sigmas.len() - 2);
    }
    sigmas
}

fn discards(pass: &Pass) -> bool {
    pass.options.discard_penultimate || pass.sampler.discards_penultimate()
}

fn by_timesteps(pass: &Pass, table: &NoiseSchedule, length: u32, encoded: Option<u32>) -> (Start, Levels) {
    let options = &pass.options;
    if length == 0 {
        return (UNTOUCHED, Levels::Timesteps(Vec::new()));
    }
    let mut timesteps = timesteps::list(table, length + u32::from(discards(pass)));
    let Some(encoded) = encoded else {
        return (Start { latent: 0.0, noise: 1.0 }, Levels::Timesteps(timesteps));
    };
    let level = timesteps.get(encoded as usize).or(timesteps.last()).copied().unwrap_or(0);
    timesteps.truncate(encoded as usize);
    // The one call of such a run is made at the first timestep, and would leave what was noised to the next.
    let level = match *timesteps {
        [only] if pass.sampler == Sampler::UniPc => only,
        _ => level,
    };
    let alpha = table.alpha_cumprod(level);
    let noise = (1.0 - alpha).sqrt() + options.extra_noise * alpha.sqrt();
    let start = Start { latent: alpha.sqrt(), noise: noise * options.initial_noise_multiplier };
    (start, Levels::Timesteps(timesteps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Call, Draw, Plan};
    use crate::schedule::{Scheduler, Spacing};

    #[test]
    fn a_tiny_strength_asks_for_a_bounded_schedule() {
        let table = NoiseSchedule::sd1();
        for sampler in [Sampler::Euler, Sampler::Ddim, Sampler::Dpm2, Sampler::DpmFast] {
            for strength in [1e-300, 1e-12, 1e-4] {
                let plan = Plan::new(&pass(sampler, strength, true), &table).unwrap();
                assert!(plan.total_calls() <= 2 * 20, "{sampler:?} {strength}");
            }
        }
    }

    #[test]
    fn what_is_run_of_a_long_schedule_is_its_end() {
        let (table, spacing) = (NoiseSchedule::sd1(), Spacing::default());
        for scheduler in Scheduler::ALL {
            for discard in [false, true] {
                // 20 / 0.0625 = 320 steps.
                let mut pass = Pass { scheduler, ..pass(Sampler::Euler, 0.0625, true) };
                pass.options.discard_penultimate = discard;
                let steps = if discard { 321 } else { 320 };
                let mut whole = schedule::sigmas(pass.resolved_scheduler(), &table, steps, &spacing);
                if discard {
                    whole.remove(whole.len() - 2);
                }
                let levels = Course::new(&pass, &table).1;
                assert_eq!(levels.sigmas(), &whole[300..], "{scheduler:?} {discard}");
                let lowest = whole.iter().rfind(|level| **level > 0.0).unwrap();
                assert_eq!(levels.span(), (*lowest, whole[0]), "{scheduler:?} {discard}");
            }
        }
    }

    fn pass(sampler: Sampler, strength: f64, exact_steps: bool) -> Pass {
        let denoise = Some(Denoise { strength, exact_steps });
        Pass { denoise, ..Pass::new(sampler, Scheduler::Automatic, 20) }
    }

    #[test]
    fn runs_the_published_number_of_steps() {
        let table = NoiseSchedule::sd1();
        for (sampler, strength, exact, calls) in [
            (Sampler::Euler, 0.75, false, 16),
            (Sampler::Ddim, 0.75, false, 14),
            (Sampler::Euler, 1.0, false, 20),
            (Sampler::Euler, 0.0, false, 1),
            (Sampler::Ddim, 0.0, false, 0),
            (Sampler::Euler, 0.3, true, 20),
            (Sampler::Euler, 0.0, true, 0),
            (Sampler::Ddim, 0.3, true, 18),
        ] {
            let plan = Plan::new(&pass(sampler, strength, exact), &table).unwrap();
            assert_eq!(plan.total_calls(), calls, "{sampler:?} {strength} {exact}");
        }
    }

    #[test]
    fn starts_at_the_level_the_run_begins_with() {
        let table = NoiseSchedule::sd1();
        let whole = schedule::sigmas(Scheduler::Uniform, &table, 20, &Default::default());
        let plan = Plan::new(&pass(Sampler::Euler, 0.75, false), &table).unwrap();
        assert_eq!(plan.start(), Start { latent: 1.0, noise: whole[4] });
        // 20 / 0.5 = 40 steps, of which the last 20 are run.
        let whole = schedule::sigmas(Scheduler::Uniform, &table, 40, &Default::default());
        let plan = Plan::new(&pass(Sampler::Euler, 0.5, true), &table).unwrap();
        assert_eq!(plan.start(), Start { latent: 1.0, noise: whole[20] });
        // Timestep 1 + 15 * 50 is noised, and 1 + 14 * 50 is the first one denoised.
        let plan = Plan::new(&pass(Sampler::Ddim, 0.75, false), &table).unwrap();
        let alpha = table.alpha_cumprod(751);
        assert_eq!(plan.start(), Start { latent: alpha.sqrt(), noise: (1.0 - alpha).sqrt() });
    }

    #[test]
    fn samplers_with_their_own_levels_take_the_ends_of_what_is_run() {
        let table = NoiseSchedule::sd1();
        let ends = |pass: &Pass| Course::new(pass, &table).1.ends();
        let whole = Pass::new(Sampler::DpmFast, Scheduler::Karras, 20);
        assert_eq!(ends(&whole), ((table.sigma_min(), table.sigma_max()), 20));
        let even = schedule::sigmas(Scheduler::Uniform, &table, 20, &Default::default());
        assert_eq!(ends(&pass(Sampler::DpmFast, 0.75, false)), ((even[19], even[4]), 16));
        // One level has no way to go.
        let plan = Plan::new(&pass(Sampler::DpmAdaptive, 0.0, false), &table).unwrap();
        assert_eq!((plan.total_calls(), plan.start()), (0, UNTOUCHED));
    }

    #[test]
    fn what_no_call_would_take_away_is_not_added() {
        let mut without_calls = Vec::new();
        for sampler in Sampler::ALL {
            for (steps, strength) in (1..=3).flat_map(|steps| [0.3, 0.7, 1.0].map(|share| (steps, share))) {
                for exact_steps in [false, true] {
                    let pass = Pass { steps, ..pass(sampler, strength, exact_steps) };
                    let mut plan = Plan::new(&pass, &NoiseSchedule::sd1()).unwrap();
                    let start = plan.start();
                    if std::iter::from_fn(|| plan.next_call(None)).count() == 0 {
                        assert_eq!(start, UNTOUCHED, "{sampler:?} {steps} {strength} {exact_steps}");
                        without_calls.push((sampler, steps));
                    } else {
                        assert!(start.noise > 0.0, "{sampler:?} {steps} {strength} {exact_steps}");
                    }
                }
            }
        }
        for known in
            [(Sampler::DpmFast, 1), (Sampler::DpmAdaptive, 1), (Sampler::Ddim, 2), (Sampler::Plms, 2)]
        {
            assert!(without_calls.contains(&known), "{known:?}");
        }
    }

    #[test]
    fn unipc_with_one_call_is_noised_to_where_that_is_made() {
        let table = NoiseSchedule::sd1();
        let short = Pass { steps: 2, ..pass(Sampler::UniPc, 1.0, false) };
        let mut plan = Plan::new(&short, &table).unwrap();
        let alpha = table.alpha_cumprod(1);
        assert_eq!(plan.start(), Start { latent: alpha.sqrt(), noise: (1.0 - alpha).sqrt() });
        let told: Vec<f64> =
            std::iter::from_fn(|| plan.next_call(None)).map(|call| call.timestep.round()).collect();
        assert_eq!(told, [1.0]);
    }

    #[test]
    fn levels_that_a_schedule_repeats_are_run_once() {
        let table = NoiseSchedule::sd1();
        for shape in [0.01, 0.05] {
            for denoise in [None, Some(Denoise { strength: 0.7, exact_steps: false })] {
                let mut pass = Pass { denoise, ..Pass::new(Sampler::Euler, Scheduler::Beta, 20) };
                (pass.options.beta_alpha, pass.options.beta_beta) = (shape, shape);
                let levels = Course::new(&pass, &table).1;
                let sigmas = levels.sigmas();
                assert!((3..20).contains(&sigmas.len()), "{shape}: {sigmas:?}");
                assert!(
                    sigmas.windows(2).all(|pair| pair[0] - pair[1] > LEAST_DISTANCE * pair[0]),
                    "{sigmas:?}"
                );
            }
        }
    }

    #[test]
    fn lcm_runs_every_step_also_where_its_table_is_too_short() {
        let table = NoiseSchedule::sd1();
        for steps in [50, 60, 120] {
            let plan = Plan::new(&Pass::new(Sampler::Lcm, Scheduler::Simple, steps), &table).unwrap();
            assert_eq!(plan.total_calls(), steps);
        }
    }

    #[test]
    fn a_motion_spans_the_whole_schedule_also_where_its_end_is_run() {
        let table = NoiseSchedule::sd1();
        for sampler in [Sampler::DpmppSde, Sampler::Dpmpp2mSde, Sampler::Dpmpp2mSdeHeun, Sampler::Dpmpp3mSde]
        {
            let spans = |pass: &Pass| -> Vec<(f64, f64)> {
                let mut plan = Plan::new(pass, &table).unwrap();
                let calls = std::iter::from_fn(move || plan.next_call(None));
                let span = |call: Call| match call.draw {
                    Draw::Brownian { lowest, highest, .. } => Some((lowest, highest)),
                    _ => None,
                };
                calls.filter_map(span).collect()
            };
            let whole = spans(&Pass::new(sampler, Scheduler::Automatic, 20));
            let end = spans(&pass(sampler, 0.5, false));
            assert!(
                end.len() < whole.len() && end.iter().all(|span| *span == whole[0]),
                "{sampler:?}: {end:?}"
            );
        }
    }

    #[test]
    fn lcm_starts_among_the_levels_it_knows() {
        let table = NoiseSchedule::sd1();
        let plan = Plan::new(&pass(Sampler::Lcm, 0.5, true), &table).unwrap();
        let known = lcm::table(&table);
        let whole = schedule::sigmas(Scheduler::Uniform, &known, 40, &Default::default());
        assert_eq!((plan.start().noise, plan.total_calls()), (whole[20], 20));
    }

    #[test]
    fn no_strength_with_exact_steps_leaves_the_latent_alone() {
        for sampler in [Sampler::Euler, Sampler::Ddim] {
            let plan = Plan::new(&pass(sampler, 0.0, true), &NoiseSchedule::sd1()).unwrap();
            assert_eq!((plan.start(), plan.total_calls()), (UNTOUCHED, 0));
        }
    }

    #[test]
    fn scales_the_first_noise_as_asked() {
        let table = NoiseSchedule::sd1();
        let mut plain = Pass::new(Sampler::Euler, Scheduler::Karras, 20);
        plain.options.sgm_noise_multiplier = true;
        let noise = (table.sigma_max().powi(2) + 1.0).sqrt();
        assert!((Plan::new(&plain, &table).unwrap().start().noise - noise).abs() < 1e-9);
        for (sampler, extra) in [(Sampler::Euler, 1.0), (Sampler::Ddim, table.alpha_cumprod(751).sqrt())] {
            let mut redrawn = pass(sampler, 0.75, false);
            let before = Plan::new(&redrawn, &table).unwrap().start().noise;
            (redrawn.options.extra_noise, redrawn.options.initial_noise_multiplier) = (0.1, 1.5);
            let after = Plan::new(&redrawn, &table).unwrap().start().noise;
            assert!((after - 1.5 * (before + 0.1 * extra)).abs() < 1e-12, "{sampler:?}");
        }
    }

    #[test]
    fn discarding_drops_the_level_before_the_last_of_one_more() {
        let table = NoiseSchedule::sd1();
        let mut pass = Pass::new(Sampler::Euler, Scheduler::Karras, 6);
        pass.options.discard_penultimate = true;
        let longer = schedule::sigmas(Scheduler::Karras, &table, 7, &Default::default());
        let got = levels(&pass, &table, 6, 0);
        assert_eq!((got.len(), &got[..6], got[6]), (7, &longer[..6], 0.0));
    }
}
