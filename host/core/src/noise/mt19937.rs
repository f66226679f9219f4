//! `torch.randn` on the CPU: Mersenne Twister (Matsumoto & Nishimura 1998) and the two ways PyTorch makes normals
//! from it (ATen `DistributionTemplates.h`). Draws depend on the size asked for, so `randn(2)` is no prefix of
//! `randn(32)`.
//!
//! PyTorch's own builds differ among themselves by a few units in the last place (vectorised `log` and `cos`).

const WORDS: usize = 624;
const SHIFT: usize = 397;

/// From this size on normals are made in blocks.
const BLOCK: usize = 16;

/// `torch.Generator` of the CPU.
#[derive(Debug, Clone)]
pub struct Mt19937 {
    state: [u32; WORDS],
    next: usize,
    /// The sine half of the last pair of single normals; it outlives draws of blocks.
    spare: Option<f64>,
}

impl Mt19937 {
    /// As `manual_seed(seed)`: only the low 32 bits count.
    pub fn new(seed: u64) -> Self {
        let mut state = [seed as u32; WORDS];
        for i in 1..WORDS {
            let last = state[i - 1];
            state[i] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: WORDS, spare: None }
    }

    /// As `torch.randn(n, generator=self)` of f32.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        if n < BLOCK {
            return (0..n).map(|_| self.single_normal() as f32).collect();
        }
        let mut values: Vec<f32> = (0..n).map(|_| self.uniform_f32()).collect();
        for block in values.chunks_exact_mut(BLOCK) {
            box_muller(block);
        }
        if !n.is_multiple_of(BLOCK) {
            // The last block is drawn anew and lies over the end of the one before.
            let tail = &mut values[n - BLOCK..];
            tail.iter_mut().for_each(|value| *value = self.uniform_f32());
            box_muller(tail);
        }
        values
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            self.refill();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn refill(&mut self) {
        for i in 0..WORDS {
            let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7fff_ffff);
            let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % WORDS] ^ (joined >> 1) ^ twist;
        }
        self.next = 0;
    }

    /// 24 bits in [0, 1).
    fn uniform_f32(&mut self) -> f32 {
        (self.next_u32() & 0x00ff_ffff) as f32 * 2.0_f32.powi(-24)
    }

    /// 53 bits in [0, 1), the first word above the second.
    fn uniform_f64(&mut self) -> f64 {
        let (high, low) = (u64::from(self.next_u32()), u64::from(self.next_u32()));
        ((high << 32 | low) & ((1 << 53) - 1)) as f64 * 2.0_f64.powi(-53)
    }

    fn single_normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (turn, magnitude) = (self.uniform_f64(), self.uniform_f64());
        let radius = (-2.0 * (-magnitude).ln_1p()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * turn).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }
}

/// Sixteen uniforms into sixteen normals: the first half gives radii, the second angles. Each step is rounded to
/// f32, as PyTorch's is; `ln`, `sin` and `cos` themselves are taken in f64.
fn box_muller(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (first, second) in radii.iter_mut().zip(angles) {
        let logarithm = f64::from(1.0 - *first).ln() as f32;
        let radius = (-2.0 * logarithm).sqrt();
        let (sine, cosine) = f64::from(std::f32::consts::TAU * *second).sin_cos();
        *first = radius * cosine as f32;
        *second = radius * sine as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values: `python host/core/tests/reference_tables.py noise` with PyTorch 2.11.
    #[track_caller]
    fn check(got: &[f32], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} is not {want}");
        }
    }

    #[test]
    fn fewer_than_sixteen_are_made_one_by_one() {
        check(
            &Mt19937::new(0).randn(5),
            &[1.54099607468, -0.293428897857, -2.17878937721, 0.568431258202, -1.08452236652],
        );
        check(
            &Mt19937::new(42).randn(5),
            &[0.336690366268, 0.128809407353, 0.234462365508, 0.230333030224, -1.12285637856],
        );
    }

    #[test]
    fn sixteen_are_one_block() {
        check(
            &Mt19937::new(0).randn(16),
            &[
                -1.12583982944,
                -1.15236020088,
                -0.250578582287,
                -0.433878809214,
                0.848710358143,
                0.692009150982,
                -0.316012769938,
                -2.11521935463,
                0.322274923325,
                -1.26333475113,
                0.34998318553,
                0.308133929968,
                0.119841508567,
                1.23765790462,
                1.11677718163,
                -0.247278153896,
            ],
        );
    }

    #[test]
    fn a_broken_last_block_is_drawn_anew() {
        check(
            &Mt19937::new(42).randn(20),
            &[
                1.92691528797,
                1.48728406429,
                0.900717198849,
                -2.10552096367,
                -0.758131146431,
                1.07831764221,
                0.800800561905,
                1.68062055111,
                0.355859905481,
                -0.686622977257,
                -0.493356347084,
                0.241487786174,
                -0.231624320149,
                0.0417594909668,
                -0.251575291157,
                0.859858512878,
                -0.309726774693,
                -0.395710498095,
                0.803409337997,
                -0.62159538269,
            ],
        );
    }

    #[test]
    fn only_the_low_half_of_a_seed_counts() {
        assert_eq!(Mt19937::new((1 << 32) + 1).randn(40), Mt19937::new(1).randn(40));
        check(
            &Mt19937::new((1 << 40) + 7).randn(5),
            &[-0.146795094013, 0.78614127636, 0.946821630001, -1.11434400082, 1.69079017639],
        );
        check(
            &Mt19937::new(u64::MAX).randn(5),
            &[1.21976304054, -0.392979472876, 1.02307510376, -0.373421132565, -0.0755101963878],
        );
    }

    #[test]
    fn the_spare_single_outlives_a_block() {
        let mut generator = Mt19937::new(7);
        check(&generator.randn(3), &[-0.146795094013, 0.78614127636, 0.946821630001]);
        check(&generator.randn(16)[..4], &[-0.176437929273, 1.75017237663, 1.93001687527, 0.986111819744]);
        check(&generator.randn(3), &[-1.11434400082, 0.137324094772, 0.240546122193]);
    }

    #[test]
    fn a_whole_latent_agrees_to_its_end() {
        let values = Mt19937::new(1234).randn(4 * 64 * 64);
        check(&values[16380..], &[1.38833761215, -1.08497190475, 0.54430949688, 1.57986307144]);
        let sum: f64 = values.iter().map(|x| f64::from(*x)).sum();
        let squares: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((sum - -6.56993372724).abs() < 1e-3, "{sum}");
        assert!((squares - 16757.6015747).abs() < 1e-2, "{squares}");
    }
}
