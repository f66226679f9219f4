//! UniPC: Zhao et al. 2023, "UniPC: a unified predictor-corrector framework for fast sampling of diffusion models",
//! multistep and data-predicting. Each call's prediction first corrects the latent it was made for, then predicts
//! the next one. Its levels are its own: no schedule is asked.

use super::Register::{self, Denoised, Saved, X};
use super::{Assign, Call, UniPc};
use crate::schedule::NoiseSchedule;

mod levels;
mod weights;

use levels::Level;

/// The last corrected latent; the predictions are kept from 1 on.
const CORRECTED: Register = Saved(0);

/// `steps` calls from fractional timestep `from` down to the table's first.
pub(super) fn calls(table: &NoiseSchedule, from: f64, steps: usize, options: &UniPc) -> Vec<Call> {
    let Some(last) = steps.checked_sub(1) else { return Vec::new() };
    let levels = levels::between(table, from, steps, options.skip_type);
    let most = (options.order as usize).clamp(1, steps);
    // The order by which level `i` is reached.
    let order = |i: usize| {
        let left = if options.lower_order_final { steps + 1 - i } else { most };
        if i < most { i } else { left.min(most) }
    };
    let slot = |i: usize| Saved((i % most) as u8 + 1);
    // The update that leads to level `i` from the corrected latent, with the weights of `nodes` before it.
    let update = |i: usize, corrects: bool| {
        let nodes: Vec<&Level> = (0..order(i)).map(|j| &levels[i - 1 - j]).collect();
        let weights = weights::of(options.variant, &nodes, &levels[i], corrects);
        let mut terms = vec![(levels[i].noise / levels[i - 1].noise, CORRECTED)];
        terms.extend(weights.earlier.iter().enumerate().map(|(j, weight)| (*weight, slot(i - 1 - j))));
        if corrects {
            terms.push((weights.this, Denoised));
        }
        Assign { target: X, terms }
    };
    let call = |i: usize| {
        let mut after = Vec::new();
        if i > 0 {
            after.push(update(i, true));
        }
        after.push(Assign::new(CORRECTED, [(1.0, X)]));
        after.push(Assign::new(slot(i), [(1.0, Denoised)]));
        after.push(update(i + 1, false));
        let Level { signal, timestep, .. } = levels[i];
        Call { after, ..Call::at_alpha(table, signal * signal, timestep, i) }
    };
    (0..=last).map(call).collect()
}

#[cfg(test)]
mod tests {
    use crate::sampler::reference::agrees;
    use crate::sampler::{Pass, Plan, Sampler, SamplerOptions, UniPc, UniPcSkip, UniPcVariant};
    use crate::schedule::{NoiseSchedule, Scheduler};

    fn pass(steps: u32, unipc: UniPc) -> Pass {
        let options = SamplerOptions { unipc, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(Sampler::UniPc, Scheduler::Automatic, steps) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_diffusers() {
        let plain = UniPc::default();
        agrees(&pass(8, plain), [1.09941432104, 1.21096631548, 0.976116964579, 0.505319587682]);
        let bh2 = UniPc { variant: UniPcVariant::Bh2, order: 2, ..plain };
        agrees(&pass(8, bh2), [1.09080163773, 1.2007513645, 0.969275252464, 0.505240134018]);
        let uneven = UniPc { variant: UniPcVariant::Bh2, skip_type: UniPcSkip::LogSnr, ..plain };
        agrees(&pass(8, uneven), [1.17633909202, 1.30220184098, 1.03722419498, 0.506029281316]);
        let quadratic = UniPc { skip_type: UniPcSkip::TimeQuadratic, lower_order_final: false, ..plain };
        agrees(&pass(8, quadratic), [1.07317652961, 1.17984734159, 0.955274297614, 0.505077609312]);
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`, the formula of the paper's appendix in numpy.
    #[test]
    fn varying_coefficients_agree_with_the_closed_form() {
        let varying = UniPc { variant: UniPcVariant::VaryCoeff, ..UniPc::default() };
        agrees(&pass(8, varying), [1.07578439598, 1.18294038076, 0.957345907121, 0.505101581036]);
    }

    #[test]
    fn has_a_call_for_each_timestep_and_an_order_that_fits() {
        for (steps, order, calls) in [(2, 3, 2), (20, 10, 20), (30, 1, 31)] {
            let unipc = UniPc { order, ..UniPc::default() };
            let plan = Plan::new(&pass(steps, unipc), &NoiseSchedule::sd1()).unwrap();
            assert_eq!(plan.total_calls(), calls);
        }
    }
}
