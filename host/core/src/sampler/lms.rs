//! LMS: the linear multistep method (Adams-Bashforth for uneven steps) of order 4 over the slopes at the last levels,
//! as k-diffusion's `sample_lms`. That one integrates its Lagrange polynomials numerically; they are integrated
//! exactly here, and both agree to 1e-9.

use super::Register::{Denoised, Saved, X};
use super::{Assign, Call};
use crate::schedule::NoiseSchedule;

const ORDER: usize = 4;

pub(super) fn calls(table: &NoiseSchedule, sigmas: &[f64]) -> Vec<Call> {
    let step = |(i, pair): (usize, &[f64])| {
        let slot = |at: usize| Saved((at % ORDER) as u8);
        let slope = Assign::new(slot(i), [(1.0 / pair[0], X), (-1.0 / pair[0], Denoised)]);
        let order = ORDER.min(i + 1);
        // The last levels, this one first.
        let nodes: Vec<f64> = sigmas[i + 1 - order..=i].iter().rev().copied().collect();
        let mut terms = vec![(1.0, X)];
        terms.extend((0..order).map(|j| (weight(&nodes, j, pair[1]), slot(i - j))));
        Call { after: vec![slope, Assign { target: X, terms }], ..Call::at_sigma(table, pair[0], i) }
    };
    sigmas.windows(2).enumerate().map(step).collect()
}

/// The integral of the Lagrange polynomial that is 1 at node `j` and 0 at the others, from node 0 to `end`.
fn weight(nodes: &[f64], j: usize, end: f64) -> f64 {
    // Coefficients from the constant up, in the distance from node 0: the powers stay small there.
    let mut polynomial = vec![1.0];
    for (k, node) in nodes.iter().enumerate().filter(|(k, _)| *k != j) {
        let (root, scale) = (node - nodes[0], nodes[j] - nodes[k]);
        let mut product = vec![0.0; polynomial.len() + 1];
        for (power, coefficient) in polynomial.iter().enumerate() {
            product[power] -= coefficient * root / scale;
            product[power + 1] += coefficient / scale;
        }
        polynomial = product;
    }
    let length = end - nodes[0];
    polynomial
        .iter()
        .rev()
        .zip((1..=polynomial.len()).rev())
        .fold(0.0, |sum, (coefficient, power)| (sum + coefficient / power as f64) * length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::reference::agrees;
    use crate::sampler::{Pass, Sampler};
    use crate::schedule::Scheduler;

    /// Values: `python host/core/tests/reference_tables.py samplers`.
    #[test]
    fn agrees_with_k_diffusion() {
        agrees(
            &Pass::new(Sampler::Lms, Scheduler::Uniform, 6),
            [1.07830979195, 1.18590672218, 0.959383930281, 0.505278624799],
        );
        agrees(
            &Pass::new(Sampler::Lms, Scheduler::Karras, 6),
            [1.0313675325, 1.13023066108, 0.922095058568, 0.504850151032],
        );
    }

    #[test]
    fn one_node_is_eulers_step_and_two_extrapolate_a_line() {
        assert_eq!(weight(&[3.0], 0, 1.0), -2.0);
        // The line through (2, 1) and (3, 0), from 2 to 1: 1.5 over a length of -1.
        assert!((weight(&[2.0, 3.0], 0, 1.0) + 1.5).abs() < 1e-12);
        assert!((weight(&[2.0, 3.0], 1, 1.0) - 0.5).abs() < 1e-12);
    }
}
