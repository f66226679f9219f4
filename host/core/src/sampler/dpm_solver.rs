//! One step of DPM-Solver (Lu et al. 2022) of order 1 to 3 in sigma space, as k-diffusion's `DPMSolver` takes it.
//! DPM fast and DPM adaptive are made of these.
//!
//! Registers: `Saved(0)` is the latent the step starts from, `Saved(1)` the noise seen there.

use super::Register::{Denoised, Saved, X};
use super::ancestral::{keep_x, straight};
use super::{Assign, Call};
use crate::schedule::NoiseSchedule;

/// From level `sigma` down to level `next`, both above 0 and not equal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) sigma: f64,
    pub(super) next: f64,
    pub(super) number: usize,
}

impl Step {
    /// Length in -ln sigma.
    fn length(self) -> f64 {
        (self.sigma / self.next).ln()
    }

    /// The level that far along the step.
    fn level(self, share: f64) -> f64 {
        self.sigma * (-share * self.length()).exp()
    }

    pub(super) fn first_order(self, table: &NoiseSchedule) -> [Call; 1] {
        let after = vec![straight(self.sigma, self.next, 0.0)];
        [Call { after, ..Call::at_sigma(table, self.sigma, self.number) }]
    }

    pub(super) fn second_order(self, table: &NoiseSchedule) -> [Call; 2] {
        let share = 0.5;
        [self.opening(table, share), self.closing(table, share, self.second_order_end(share))]
    }

    /// A step of third order. `low` takes the second-order result on the way, for an estimate of the error.
    pub(super) fn third_order(self, table: &NoiseSchedule, low: Option<u8>) -> [Call; 3] {
        let (near, far) = (1.0 / 3.0, 2.0 / 3.0);
        let bend = |share: f64| {
            let length = share * self.length();
            length.exp_m1() / length - 1.0
        };
        let target = self.level(far);
        let second = self.towards(target, target * (far / near) * bend(far), self.level(near));
        let mut middle = self.closing(table, near, second);
        if let Some(register) = low {
            let low = Assign { target: Saved(register), ..self.second_order_end(near) };
            middle.after.insert(0, low);
        }
        let end = self.towards(self.next, self.next / far * bend(1.0), self.level(far));
        [self.opening(table, near), middle, self.closing(table, far, end)]
    }

    /// The call at the start, and a first-order step to the share where the next call is.
    fn opening(self, table: &NoiseSchedule, share: f64) -> Call {
        let sigma = self.sigma;
        let noise = Assign::new(Saved(1), [(1.0 / sigma, X), (-1.0 / sigma, Denoised)]);
        let after = vec![keep_x(Saved(0)), noise, straight(sigma, self.level(share), 0.0)];
        Call { after, ..Call::at_sigma(table, sigma, self.number) }
    }

    fn closing(self, table: &NoiseSchedule, share: f64, end: Assign) -> Call {
        Call { after: vec![end], ..Call::at_sigma(table, self.level(share), self.number) }
    }

    fn second_order_end(self, share: f64) -> Assign {
        self.towards(self.next, (self.sigma - self.next) / (2.0 * share), self.level(share))
    }

    /// From the start of the step to `target` along the noise seen there, and `bend` of how the noise has changed at
    /// level `here`, where this call is.
    fn towards(self, target: f64, bend: f64, here: f64) -> Assign {
        let straight = self.sigma - target;
        let terms =
            [(1.0, Saved(0)), (bend - straight, Saved(1)), (-bend / here, X), (bend / here, Denoised)];
        Assign::new(X, terms)
    }
}

/// Where a step with fresh noise really ends, and the noise to add there. Not below `lowest`, where the run ends.
pub(super) fn down_and_up(sigma: f64, next: f64, lowest: f64, eta: f64) -> (f64, f64) {
    if eta == 0.0 {
        return (next, 0.0);
    }
    let (down, _) = super::ancestral::split(sigma, next, eta);
    let down = down.max(lowest).min(next);
    (down, (next * next - down * down).sqrt())
}
