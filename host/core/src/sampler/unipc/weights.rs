//! How UniPC weighs predictions in one update: equations 3 to 9 of the paper for B(h), its appendix for varying
//! coefficients. Orders 1 and 2 have the authors' fixed weights of one half.

use super::levels::Level;
use crate::sampler::UniPcVariant;

/// Factors of the predictions in `x' = noise' / noise * x + sum`.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    /// The latest first.
    pub(super) earlier: Vec<f64>,
    /// Of the prediction at the level that is reached; 0 for a predictor.
    pub(super) this: f64,
}

/// `nodes` are the levels of earlier predictions, the latest first; there is at least one.
pub(super) fn of(variant: UniPcVariant, nodes: &[&Level], to: &Level, corrects: bool) -> Weights {
    let order = nodes.len();
    let length = to.lambda - nodes[0].lambda;
    let mut ratios: Vec<f64> =
        nodes[1..].iter().map(|node| (node.lambda - nodes[0].lambda) / length).collect();
    ratios.push(1.0);
    // Factors of the differences to the latest prediction, divided by their ratio; the last is this call's.
    let factors = match variant {
        UniPcVariant::Bh1 => by_b(-length, -length, &ratios, corrects),
        UniPcVariant::Bh2 => by_b(-length, (-length).exp_m1(), &ratios, corrects),
        UniPcVariant::VaryCoeff => varying(-length, &ratios, corrects),
    };
    let mut earlier = vec![0.0; order];
    earlier[0] = -to.signal * (-length).exp_m1();
    let mut this = 0.0;
    for (k, (factor, ratio)) in factors.iter().zip(&ratios).enumerate() {
        let weight = -to.signal * factor / ratio;
        earlier[0] -= weight;
        if k + 1 < order { earlier[k + 1] += weight } else { this = weight }
    }
    Weights { earlier, this }
}

/// With `b` for B(h). A predictor solves for all differences but this call's.
fn by_b(h: f64, b: f64, ratios: &[f64], corrects: bool) -> Vec<f64> {
    let order = ratios.len();
    let size = if corrects { order } else { order - 1 };
    let fixed = if corrects { order == 1 } else { order == 2 };
    if fixed {
        return vec![0.5 * b];
    }
    let phis = phis(h, size + 1);
    let mut factorial = 1.0;
    let right: Vec<f64> = (0..size)
        .map(|i| {
            factorial *= (i + 1) as f64;
            phis[i + 1] * factorial / b
        })
        .collect();
    let rows = (0..size).map(|i| ratios[..size].iter().map(|ratio| ratio.powi(i as i32)).collect()).collect();
    solve(rows, right).into_iter().map(|rho| rho * b).collect()
}

fn varying(h: f64, ratios: &[f64], corrects: bool) -> Vec<f64> {
    let order = ratios.len();
    let size = if corrects { order } else { order - 1 };
    let phis = phis(h, order + 1);
    // Row m, column k: ratio_m^k / (k + 1)!. What is wanted are rows of its inverse, weighed by the phis: with `w`
    // for those, the solution of `transpose * factors = w`.
    let mut columns = vec![vec![1.0; size]];
    for k in 1..size {
        let scale = (k + 1) as f64;
        columns.push((0..size).map(|m| columns[k - 1][m] * ratios[m] / scale).collect());
    }
    let inverse_row = |k: usize| -> Vec<f64> {
        let rows = columns.clone();
        let unit = (0..size).map(|i| if i == k { 1.0 } else { 0.0 }).collect();
        solve(rows, unit)
    };
    let mut factors = vec![0.0; size];
    for k in 0..order - 1 {
        for (m, value) in inverse_row(k).iter().take(order - 1).enumerate() {
            factors[m] += phis[k + 1] * value;
        }
    }
    if corrects && let Some(own) = inverse_row(order.saturating_sub(2)).last() {
        // The authors' code takes this call's own weight from the last row but one.
        factors[order - 1] = phis[order] * own;
    }
    factors
}

/// phi_1, phi_2, ... of `h`, each without its power of `h`: expm1(h), expm1(h) / h - 1, and so on.
fn phis(h: f64, count: usize) -> Vec<f64> {
    let mut factorial = 1.0;
    let mut phis = vec![h.exp_m1()];
    for k in 1..count {
        factorial *= k as f64;
        phis.push(phis[k - 1] / h - 1.0 / factorial);
    }
    phis
}

/// Gaussian elimination with row exchange. Systems here have at most ten rows.
fn solve(mut rows: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for column in 0..size {
        let largest = |best: usize, row: usize| {
            if rows[row][column].abs() > rows[best][column].abs() { row } else { best }
        };
        let pivot = (column..size).fold(column, largest);
        rows.swap(column, pivot);
        right.swap(column, pivot);
        let (above, above_right) = (rows[column].clone(), right[column]);
        for (row, value) in rows.iter_mut().zip(&mut right).skip(column + 1) {
            let factor = row[column] / above[column];
            row.iter_mut().zip(&above).for_each(|(entry, above)| *entry -= factor * above);
            *value -= factor * above_right;
        }
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|k| rows[row][k] * right[k]).sum();
        right[row] = (right[row] - known) / rows[row][row];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_system_that_needs_rows_exchanged() {
        let rows = vec![vec![0.0, 2.0, 1.0], vec![1.0, 1.0, 1.0], vec![2.0, 0.0, -1.0]];
        let got = solve(rows, vec![7.0, 6.0, -1.0]);
        for (got, want) in got.iter().zip([1.0, 2.0, 3.0]) {
            assert!((got - want).abs() < 1e-12, "{got} is not {want}");
        }
    }
}
