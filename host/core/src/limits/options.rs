//! What the options of samplers and schedules may be. Wide enough for every published use, and narrow enough that no
//! plan ends in numbers that are none.

use super::Problems;
use crate::sampler::SamplerOptions;

const MAX_CHURN: f64 = 100.0;
/// Above every noise level there is.
const MAX_SIGMA: f64 = 1000.0;
const MAX_CHURN_NOISE: f64 = 10.0;
const MAX_RHO: f64 = 100.0;
/// From here to its inverse the inverse of the beta distribution is exact.
const MAX_BETA_SHAPE: f64 = 10.0;
const MAX_NOISE_MULTIPLIER: f64 = 10.0;
/// Past it UniPC's equations are too ill-conditioned to help.
const MAX_UNIPC_ORDER: u32 = 10;

/// Problems of the options, under the wire names of fields and of settings.
pub(super) fn check(options: &SamplerOptions, problems: &mut Problems) {
    let churn = &options.churn;
    problems.number("eta", options.eta.unwrap_or(0.0), 1.0);
    problems.number("eta_ancestral", options.eta_ancestral.unwrap_or(0.0), 1.0);
    problems.number("eta_ddim", options.eta_ddim.unwrap_or(0.0), 1.0);
    problems.number("s_churn", churn.amount, MAX_CHURN);
    problems.number("s_tmin", churn.min_sigma, MAX_SIGMA);
    if churn.max_sigma != f64::INFINITY {
        problems.number("s_tmax", churn.max_sigma, MAX_SIGMA);
    }
    problems.number("s_noise", churn.noise, MAX_CHURN_NOISE);
    problems.number("s_min_uncond", options.ngms_sigma, MAX_SIGMA);
    problems.number("skip_early_cond", options.skip_early_cond, 1.0);
    problems.above_zero("sigma_min", options.sigma_min, MAX_SIGMA);
    problems.above_zero("sigma_max", options.sigma_max, MAX_SIGMA);
    problems.above_zero("rho", options.rho, MAX_RHO);
    problems.above_zero("beta_dist_alpha", Some(options.beta_alpha), MAX_BETA_SHAPE);
    problems.above_zero("beta_dist_beta", Some(options.beta_beta), MAX_BETA_SHAPE);
    if let (Some(low), Some(high)) = (options.sigma_min, options.sigma_max)
        && low >= high
    {
        problems.add("sigma_min", format!("sigma_min must be below sigma_max {high}, not {low}"));
    }
    problems.number("img2img_extra_noise", options.extra_noise, 1.0);
    problems.number("initial_noise_multiplier", options.initial_noise_multiplier, MAX_NOISE_MULTIPLIER);
    problems.whole("uni_pc_order", options.unipc.order, 1, MAX_UNIPC_ORDER);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::UniPc;

    fn fields(options: SamplerOptions) -> Vec<&'static str> {
        let mut problems = Problems(Vec::new());
        check(&options, &mut problems);
        problems.0.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn names_every_problem_of_the_options_at_once() {
        let options = SamplerOptions {
            ngms_sigma: -1.0,
            skip_early_cond: 1.1,
            sigma_min: Some(0.0),
            sigma_max: Some(f64::NAN),
            rho: Some(-7.0),
            beta_alpha: 0.0,
            beta_beta: 11.0,
            extra_noise: f64::INFINITY,
            initial_noise_multiplier: 11.0,
            unipc: UniPc { order: 0, ..UniPc::default() },
            ..SamplerOptions::default()
        };
        assert_eq!(
            fields(options).join(" "),
            "s_min_uncond skip_early_cond sigma_min sigma_max rho beta_dist_alpha beta_dist_beta \
             img2img_extra_noise initial_noise_multiplier uni_pc_order"
        );
        assert!(fields(SamplerOptions::default()).is_empty());
    }

    #[test]
    fn ends_must_not_cross() {
        let options =
            SamplerOptions { sigma_min: Some(2.0), sigma_max: Some(1.0), ..SamplerOptions::default() };
        assert_eq!(fields(options), ["sigma_min"]);
    }
}
