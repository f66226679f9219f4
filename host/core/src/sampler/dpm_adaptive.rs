//! DPM adaptive: DPM-Solver-23 with adaptive steps, Lu et al. 2022, "DPM-Solver" (k-diffusion's
//! `sample_dpm_adaptive`). The one sampler whose path depends on the picture: after every third call it is told how
//! far its results of order 2 and 3 are apart, and takes the step or tries a shorter one.

use super::Register::{Noise, Saved, X};
use super::dpm_solver::{Step, down_and_up};
use super::{Assign, Call, Measure};
use crate::schedule::NoiseSchedule;

const ORDER: u32 = 3;
/// Tolerances and first length of a step, in -ln sigma, as k-diffusion sets them.
const RELATIVE: f64 = 0.05;
const ABSOLUTE: f64 = 0.0078;
const FIRST_LENGTH: f64 = 0.05;
/// A step is taken when the next one need not be shorter than this share of it.
const ACCEPT: f64 = 0.81;
/// The run ends this close to the lowest level, in -ln sigma.
const END: f64 = 1e-5;
/// Calls before the first measure says more.
const FIRST_ESTIMATE: u32 = 60;
/// Past this many calls every step is taken and what is left is one step, so that a run ends for any picture.
const MAX_CALLS: u32 = 3000;

const LOW: u8 = 2;
const PREVIOUS: u8 = 3;

/// The state of one run.
#[derive(Debug, Clone)]
pub(super) struct Solver {
    table: NoiseSchedule,
    /// The levels to run between, and the one reached, as -ln sigma: rising.
    begin: f64,
    end: f64,
    at: f64,
    length: f64,
    eta: f64,
    /// Where the step under way leads, and the noise to add there.
    target: f64,
    added: f64,
    /// Calls of the step under way that are not handed out yet, last first.
    pending: Vec<Call>,
    handed_out: u32,
}

impl Solver {
    pub(super) fn new(table: &NoiseSchedule, (low, high): (f64, f64), eta: f64) -> Self {
        let (begin, end) = (-high.ln(), -low.ln());
        let (length, target, pending) = (FIRST_LENGTH, begin, Vec::new());
        let table = table.clone();
        Self { table, begin, end, at: begin, length, eta, target, added: 0.0, pending, handed_out: 0 }
    }

    /// `measured` answers the last call's measure. Without an answer the step is taken and the length kept.
    pub(super) fn next_call(&mut self, measured: Option<f64>) -> Option<Call> {
        if self.pending.is_empty() {
            let before = self.settle(measured);
            if self.at >= self.end - END {
                return None;
            }
            self.plan_step(before);
        }
        self.handed_out += 1;
        self.pending.pop()
    }

    pub(super) fn calls_done(&self) -> u32 {
        self.handed_out
    }

    /// Calls in all, judged by the way gone so far; never less than the calls handed out.
    pub(super) fn total_calls(&self) -> u32 {
        let gone = (self.at - self.begin) / (self.end - self.begin);
        if gone >= 1.0 - END || self.end - self.begin <= END {
            return self.handed_out;
        }
        let guess = if gone > 0.0 { (f64::from(self.handed_out) / gone) as u32 } else { FIRST_ESTIMATE };
        guess.min(MAX_CALLS).max(self.handed_out + 1)
    }

    /// Judges the step that is over; gives back what has to be done before the next one.
    fn settle(&mut self, measured: Option<f64>) -> Vec<Assign> {
        if self.handed_out == 0 {
            return vec![Assign::new(Saved(PREVIOUS), [(1.0, X)])];
        }
        if !self.judge(measured) {
            return vec![Assign::new(X, [(1.0, Saved(0))])];
        }
        self.at = self.target;
        let noise = Assign::new(X, [(1.0, X), (self.added, Noise)]);
        vec![Assign::new(Saved(PREVIOUS), [(1.0, Saved(LOW))]), noise]
    }

    /// Sets the length of the next step by the error of this one; says whether this one stands.
    fn judge(&mut self, measured: Option<f64>) -> bool {
        if self.handed_out >= MAX_CALLS {
            self.length = self.end - self.begin;
            return true;
        }
        let Some(error) = measured.filter(|error| error.is_finite()) else { return true };
        let order = if self.eta == 0.0 { f64::from(ORDER) } else { 1.5 };
        let factor = (1.0 / (error + 1e-8)).powf(1.0 / order);
        // Steps grow at most to 2.6 times and shrink at most to a fifth.
        let factor = 1.0 + (factor - 1.0).atan();
        self.length *= factor;
        factor >= ACCEPT
    }

    fn plan_step(&mut self, before: Vec<Assign>) {
        let (sigma, lowest) = ((-self.at).exp(), (-self.end).exp());
        self.target = (self.at + self.length).min(self.end);
        let (down, up) = down_and_up(sigma, (-self.target).exp(), lowest, self.eta);
        self.added = up;
        let number = (self.handed_out / ORDER) as usize;
        let [mut first, second, mut third] =
            Step { sigma, next: down, number }.third_order(&self.table, Some(LOW));
        let draws = before.iter().any(|assign| assign.target == Saved(PREVIOUS)) && self.handed_out > 0;
        first.before = before;
        // A draw is taken for every step that stood, also where it adds nothing: later draws follow.
        let first = if draws { first.drawing_always() } else { first };
        third.measure = Some(Measure {
            low: Saved(LOW),
            high: X,
            previous: Saved(PREVIOUS),
            absolute: ABSOLUTE,
            relative: RELATIVE,
        });
        self.pending = vec![third, second, first];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::reference::agrees;
    use crate::sampler::{Pass, Plan, Sampler, SamplerOptions};
    use crate::schedule::Scheduler;

    fn pass(eta: Option<f64>) -> Pass {
        let options = SamplerOptions { eta, ..SamplerOptions::default() };
        Pass { options, ..Pass::new(Sampler::DpmAdaptive, Scheduler::Automatic, 20) }
    }

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion() {
        agrees(&pass(Some(0.0)), [1.16011596503, 1.28293327233, 1.02436716562, 0.506025325097]);
        agrees(&pass(None), [0.545697260721, 0.540130565282, 0.514187098654, 0.48006847857]);
    }

    #[test]
    fn ends_whatever_it_is_told_and_never_runs_past_its_estimate() {
        for answer in [None, Some(0.0), Some(1e9), Some(f64::NAN), Some(1.0)] {
            let mut plan = Plan::new(&pass(None), &NoiseSchedule::sd1()).unwrap();
            assert_eq!((plan.total_calls(), plan.calls_done()), (FIRST_ESTIMATE, 0));
            let mut measured = None;
            while let Some(call) = plan.next_call(measured) {
                measured = call.measure.and(answer);
                assert!(plan.calls_done() <= plan.total_calls() && plan.calls_done() <= MAX_CALLS + 6);
            }
            assert_eq!(plan.total_calls(), plan.calls_done(), "{answer:?}");
        }
    }

    #[test]
    fn a_step_that_does_not_stand_is_tried_again_from_where_it_began() {
        let mut solver = Solver::new(&NoiseSchedule::sd1(), (0.03, 14.0), 0.0);
        let first: Vec<Call> = (0..3).filter_map(|_| solver.next_call(None)).collect();
        let again = solver.next_call(Some(100.0)).unwrap();
        assert_eq!((again.sigma, again.before), (first[0].sigma, vec![Assign::new(X, [(1.0, Saved(0))])]));
        assert!(first[0].measure.is_none() && first[2].measure.is_some());
    }
}
