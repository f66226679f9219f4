//! Runs a plan on four numbers with a closed-form network, so that its result can be compared with other
//! implementations of the same sampler. Test builds only; `tests/reference_tables.py` is the other side.

use std::collections::HashMap;

use super::{Assign, Draw, Measure, Pass, Plan, Register};
use crate::schedule::NoiseSchedule;

const ELEMENTS: usize = 4;

type Latent = [f64; ELEMENTS];

/// Draw `k` of the noise both sides use; draw 0 is the start.
pub(super) fn draw(k: usize) -> Latent {
    std::array::from_fn(|i| (1.0 + 2.3 * k as f64 + 0.7 * i as f64).sin())
}

/// The exact denoiser for data drawn from a normal of mean 0.5 and variance 0.64.
fn gaussian(x: f64, sigma: f64) -> f64 {
    (0.64 * x + 0.5 * sigma * sigma) / (0.64 + sigma * sigma)
}

/// Where the plan ends. `denoiser` takes x and sigma; it is reached only through the UNet's own input and output,
/// so that `c_in`, `timestep`, `c_skip` and `c_out` are tested with the rest.
pub(super) fn run(pass: &Pass, denoiser: impl Fn(f64, f64) -> f64) -> Latent {
    run_guided(pass, 1.0, &denoiser, |_, _| 0.0)
}

/// The same with a network for each prompt and a CFG scale.
fn run_guided(
    pass: &Pass,
    cfg_scale: f64,
    positive: impl Fn(f64, f64) -> f64,
    negative: impl Fn(f64, f64) -> f64,
) -> Latent {
    let table = NoiseSchedule::sd1();
    let mut plan = Plan::new(pass, &table).unwrap();
    let start = plan.start();
    assert_eq!(start.latent, 0.0);
    let mut registers = HashMap::from([(Register::X, draw(0).map(|x| x * start.noise))]);
    let mut draws = 0;
    let mut measured = None;
    while let Some(call) = plan.next_call(measured) {
        if call.draw != Draw::None {
            draws += 1;
            registers.insert(Register::Noise, draw(draws));
        }
        call.before.iter().for_each(|assign| apply(assign, &mut registers));
        let sigma = table.sigma_at(call.timestep);
        let x = registers[&Register::X];
        let predict = |denoiser: &dyn Fn(f64, f64) -> f64| {
            x.map(|x| {
                let noisy = x * call.c_in * (sigma * sigma + 1.0).sqrt();
                let predicted_noise = (noisy - denoiser(noisy, sigma)) / sigma;
                call.c_skip * x + call.c_out * predicted_noise
            })
        };
        let (with, without) = (predict(&positive), predict(&negative));
        let scale = cfg_scale * call.guidance.scale;
        registers
            .insert(Register::Denoised, std::array::from_fn(|i| without[i] + scale * (with[i] - without[i])));
        registers.insert(Register::Unconditional, without);
        call.after.iter().for_each(|assign| apply(assign, &mut registers));
        measured = call.measure.map(|measure| measure_by(&measure, &registers));
        for gone in [Register::Noise, Register::Denoised, Register::Unconditional] {
            registers.remove(&gone);
        }
    }
    registers[&Register::X]
}

fn measure_by(measure: &Measure, registers: &HashMap<Register, Latent>) -> f64 {
    let (low, high) = (registers[&measure.low], registers[&measure.high]);
    let previous = registers[&measure.previous];
    let squares = (0..ELEMENTS).map(|i| {
        let scale = measure.absolute.max(measure.relative * low[i].abs().max(previous[i].abs()));
        ((low[i] - high[i]) / scale).powi(2)
    });
    (squares.sum::<f64>() / ELEMENTS as f64).sqrt()
}

/// Panics when a term names a register that holds nothing at that moment.
fn apply(assign: &Assign, registers: &mut HashMap<Register, Latent>) {
    let sum =
        |i| assign.terms.iter().map(|(coefficient, register)| coefficient * registers[register][i]).sum();
    let value = std::array::from_fn(sum);
    registers.insert(assign.target, value);
}

/// Runs the pass on Gaussian data and compares with what another implementation printed.
#[track_caller]
pub(super) fn agrees(pass: &Pass, want: Latent) {
    compare(run(pass, gaussian), want);
}

/// The same with a negative prompt, which knows data of mean -0.2 and variance 1.
#[track_caller]
pub(super) fn agrees_guided(pass: &Pass, cfg_scale: f64, want: Latent) {
    let negative = |x: f64, sigma: f64| (x - 0.2 * sigma * sigma) / (1.0 + sigma * sigma);
    compare(run_guided(pass, cfg_scale, gaussian, negative), want);
}

#[track_caller]
fn compare(got: Latent, want: Latent) {
    for (got_one, want_one) in got.iter().zip(want) {
        assert!((got_one - want_one).abs() < 1e-9, "{got:?} is not {want:?}");
    }
}
