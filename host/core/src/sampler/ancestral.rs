//! What ancestral samplers share: how a step is parted into a way down and fresh noise, and the step itself.

use super::Assign;
use super::Register::{self, Denoised, X};

/// Parts a step into the level to go down to and the noise to add there; their squares sum to `next` squared.
pub(super) fn split(sigma: f64, next: f64, eta: f64) -> (f64, f64) {
    let variance = next * next * (sigma * sigma - next * next) / (sigma * sigma);
    let up = next.min(eta * variance.max(0.0).sqrt());
    ((next * next - up * up).max(0.0).sqrt(), up)
}

/// From level `sigma` straight down to `level` along this call's slope; `added` of noise on top.
///
/// It is `x + (x - denoised) / sigma * (level - sigma)` with the terms gathered.
pub(super) fn straight(sigma: f64, level: f64, added: f64) -> Assign {
    from(X, sigma, level, added)
}

/// The same for a latent kept in another register, by the prediction of this call: the exponential step of
/// DPM-Solver++ is of this form.
pub(super) fn from(start: Register, sigma: f64, level: f64, added: f64) -> Assign {
    let keep = level / sigma;
    Assign::new(X, [(keep, start), (1.0 - keep, Denoised), (added, Register::Noise)])
}

/// A copy of the latent.
pub(super) fn keep_x(register: Register) -> Assign {
    Assign::new(register, [(1.0, X)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_parts_of_a_step_make_up_its_level(
            sigma in 0.1f64..20.0, share in 0.01f64..1.0, eta in 0.0f64..2.0,
        ) {
            let next = sigma * share;
            let (down, up) = split(sigma, next, eta);
            prop_assert!((down.hypot(up) - next).abs() < 1e-9 && down >= 0.0 && up >= 0.0);
        }
    }
}
