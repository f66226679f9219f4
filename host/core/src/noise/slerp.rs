//! Spherical interpolation of two noises, for variation seeds. The sphere is taken per channel and column, over the
//! rows: not what one would choose, but what every web UI draws.

/// Above this mean cosine the two are taken for parallel.
const PARALLEL: f64 = 0.9995;

/// From `low` (0) to `high` (1). `shape` is (channels, rows, columns).
pub(super) fn slerp(amount: f64, low: &[f32], high: &[f32], shape: (u32, u32, u32)) -> Vec<f32> {
    let (channels, rows, columns) = (shape.0 as usize, shape.1 as usize, shape.2 as usize);
    let cosines = cosines(low, high, (channels, rows, columns));
    if cosines.iter().sum::<f64>() / cosines.len() as f64 > PARALLEL {
        // Reversed against the branch below; web UIs do the same, so equal seeds at any strength draw alike.
        return mix(low, high, |_| (amount, 1.0 - amount));
    }
    let weights: Vec<(f64, f64)> = cosines
        .iter()
        .map(|cosine| {
            let omega = cosine.clamp(-1.0, 1.0).acos();
            let sine = omega.sin();
            // A single row makes every column parallel to its partner; web UIs divide by zero there.
            if sine < 1e-6 {
                return (1.0 - amount, amount);
            }
            (((1.0 - amount) * omega).sin() / sine, (amount * omega).sin() / sine)
        })
        .collect();
    mix(low, high, |i| weights[i / (rows * columns) * columns + i % columns])
}

/// The cosine between the two in each channel and column.
fn cosines(low: &[f32], high: &[f32], (channels, rows, columns): (usize, usize, usize)) -> Vec<f64> {
    let mut cosines = Vec::with_capacity(channels * columns);
    for channel in 0..channels {
        for column in 0..columns {
            let (mut product, mut low_square, mut high_square) = (0.0, 0.0, 0.0);
            for row in 0..rows {
                let i = (channel * rows + row) * columns + column;
                let (a, b) = (f64::from(low[i]), f64::from(high[i]));
                product += a * b;
                low_square += a * a;
                high_square += b * b;
            }
            cosines.push(product / (low_square * high_square).sqrt());
        }
    }
    cosines
}

fn mix(low: &[f32], high: &[f32], weights: impl Fn(usize) -> (f64, f64)) -> Vec<f32> {
    let pairs = low.iter().zip(high).enumerate();
    pairs
        .map(|(i, (low, high))| {
            let (low_weight, high_weight) = weights(i);
            (low_weight * f64::from(*low) + high_weight * f64::from(*high)) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Mt19937;

    /// Values: `python host/core/tests/reference_tables.py slerp`.
    #[test]
    fn agrees_with_torch_norms_along_the_rows() {
        let (low, high) = (Mt19937::new(10).randn(24), Mt19937::new(20).randn(24));
        let want = [
            -0.622181773186,
            -0.245545506477,
            0.232660770416,
            -1.48961305618,
            0.251894533634,
            -0.992476940155,
            -0.823165774345,
            2.37826919556,
            0.569773137569,
            -0.354776978493,
            -0.755933761597,
            -0.360772192478,
            0.234901621938,
            -1.63945293427,
            1.82658207417,
            -0.948559999466,
            -0.457049190998,
            0.00718434154987,
            0.27716088295,
            0.794533729553,
            0.407768845558,
            0.317132562399,
            -0.214324593544,
            -1.3510055542,
        ];
        for (got, want) in slerp(0.3, &low, &high, (2, 3, 4)).iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 2e-6, "{got} is not {want}");
        }
    }

    #[test]
    fn nearly_parallel_noises_are_mixed_the_other_way_round() {
        let low = Mt19937::new(1).randn(32);
        let high: Vec<f32> = low.iter().map(|x| x * 2.0).collect();
        for (got, x) in slerp(0.25, &low, &high, (1, 8, 4)).iter().zip(&low) {
            assert!((got - x * (0.25 + 0.75 * 2.0)).abs() < 1e-6);
        }
    }
}
