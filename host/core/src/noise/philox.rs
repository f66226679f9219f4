//! CUDA's normal generator as web UIs emulate it ("NV"): Philox 4x32 with ten rounds (Salmon et al. 2011, "Parallel
//! random numbers: as easy as 1, 2, 3") and the sine half of Box-Muller. The same numbers on any device.

const MULTIPLIERS: (u32, u32) = (0xd251_1f53, 0xcd9e_8d57);
const WEYL: (u32, u32) = (0x9e37_79b9, 0xbb67_ae85);
const ROUNDS: usize = 10;

/// A generator with one counter per draw.
#[derive(Debug, Clone)]
pub struct Philox {
    seed: u64,
    draws: u32,
}

impl Philox {
    pub fn new(seed: u64) -> Self {
        Self { seed, draws: 0 }
    }

    /// `n` normals. Element `i` depends on the seed, the number of draws before, and `i`; not on `n`.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        let draw = self.draws;
        self.draws = self.draws.wrapping_add(1);
        (0..n).map(|element| sine_half(philox([draw, 0, element as u32, 0], self.seed))).collect()
    }
}

fn philox(mut counter: [u32; 4], seed: u64) -> [u32; 4] {
    let mut key = (seed as u32, (seed >> 32) as u32);
    for _ in 0..ROUNDS {
        let first = u64::from(MULTIPLIERS.0) * u64::from(counter[0]);
        let second = u64::from(MULTIPLIERS.1) * u64::from(counter[2]);
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key.0,
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key.1,
            first as u32,
        ];
        key = (key.0.wrapping_add(WEYL.0), key.1.wrapping_add(WEYL.1));
    }
    counter
}

/// The constants are rounded to f32 first, as CUDA's are; the rest is f64, as the emulations compute it.
fn sine_half(words: [u32; 4]) -> f32 {
    let per_word = f64::from(2.0_f32.powi(-32));
    let turn_per_word = f64::from(2.328_306_4e-10_f64 as f32 * std::f32::consts::TAU);
    let magnitude = f64::from(words[0]) * per_word + per_word / 2.0;
    let angle = f64::from(words[1]) * turn_per_word + turn_per_word / 2.0;
    ((-2.0 * magnitude.ln()).sqrt() * angle.sin()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(got: &[f32], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 5e-7, "{got} is not {want}");
        }
    }

    #[test]
    fn has_the_published_numbers_of_seed_zero() {
        let got = Philox::new(0).randn(12);
        check(&got[..4], &[-0.92466259, -0.42534415, -2.6438457, 0.14518388]);
        check(&got[11..], &[2.26550497]);
    }

    /// Values: `python host/core/tests/reference_tables.py philox`.
    #[test]
    fn counts_draws_and_takes_all_of_the_seed() {
        let mut generator = Philox::new(0);
        generator.randn(3);
        check(&generator.randn(3), &[0.180825888053, -0.552262699173, 0.923813397504]);
        let mut generator = Philox::new((1 << 40) + 7);
        generator.randn(1);
        generator.randn(1);
        check(
            &generator.randn(6),
            &[-1.02265228716, 1.24237841903, 0.911067307371, -0.653782441263, 0.832876847148, 0.208247821689],
        );
    }

    #[test]
    fn a_longer_draw_begins_as_a_shorter_one() {
        assert_eq!(Philox::new(9).randn(100)[..10], Philox::new(9).randn(10));
    }
}
