//! One picture's random numbers: the first latent, with variation and seed resize, and every later draw. The engine
//! keeps one of these per picture, so that a batch equals single runs. Semantics follow web UIs; the generators
//! follow PyTorch. Knows nothing of samplers.

mod brownian;
mod mt19937;
mod philox;
mod seed_sequence;
mod slerp;

pub use mt19937::Mt19937;
pub use philox::Philox;

use crate::request::{GenerateRequest, NoiseSource};

/// Pixels along one side of a latent's element.
const LATENT_SCALE: u32 = 8;

/// Channels of a Stable Diffusion 1 latent.
const LATENT_CHANNELS: u32 = 4;

/// One picture's generator. Same arguments, same numbers, on every machine up to the last bits of `ln` and `cos`.
#[derive(Debug, Clone)]
pub struct ImageNoise {
    source: NoiseSource,
    seed: u64,
    subseed: u64,
    strength: f64,
    /// Channels, rows, columns.
    latent: (u32, u32, u32),
    /// Rows, columns.
    seed_resize: Option<(u32, u32)>,
    ensd: u64,
    generator: Generator,
    motion: Option<brownian::Brownian>,
}

impl ImageNoise {
    /// `latent` is (channels, rows, columns). `seed_resize` is (rows, columns) in latent elements: the size to draw
    /// at. `strength` in 0..=1 mixes `subseed`'s noise into `seed`'s. `ensd` is added to the seed of the generator
    /// after the first draw; 0 leaves the generator running.
    pub fn new(
        source: NoiseSource,
        seed: u64,
        subseed: u64,
        strength: f64,
        latent: (u32, u32, u32),
        seed_resize: Option<(u32, u32)>,
        ensd: u64,
    ) -> Self {
        let generator = Generator::new(source, seed);
        Self { source, seed, subseed, strength, latent, seed_resize, ensd, generator, motion: None }
    }

    /// The generator of picture `index` of a request in a pass of `width` x `height` pixels.
    pub fn for_image(request: &GenerateRequest, index: u32, width: u32, height: u32) -> Self {
        let (seed, subseed) = request.seeds_of(index);
        let elements = |pixels: u32| pixels / LATENT_SCALE;
        Self::new(
            request.noise_source,
            seed,
            subseed,
            request.variation.strength,
            (LATENT_CHANNELS, elements(height), elements(width)),
            request.seed_resize_from.map(|(width, height)| (elements(height), elements(width))),
            request.eta_noise_seed_delta,
        )
    }

    /// The standard normal start: channels x rows x columns, row by row. Called once, before any [`Self::draw`].
    pub fn first(&mut self) -> Vec<f32> {
        let (channels, rows, columns) = self.latent;
        let from = self.seed_resize.filter(|size| *size != (rows, columns));
        // The generator always gives a full-size draw, even where only its border is used: later draws follow it.
        let full = self.generator.randn(elements(self.latent));
        let drawn = from.map_or(self.latent, |(rows, columns)| (channels, rows, columns));
        let mut noise = match from {
            Some(_) => Generator::new(self.source, self.seed).randn(elements(drawn)),
            None => full.clone(),
        };
        if self.strength != 0.0 {
            let other = Generator::new(self.source, self.subseed).randn(elements(drawn));
            noise = slerp::slerp(self.strength, &noise, &other, drawn);
        }
        if from.is_some() {
            noise = centred(full, self.latent, &noise, drawn);
        }
        if self.ensd != 0 {
            self.generator = Generator::new(self.source, self.seed.wrapping_add(self.ensd));
        }
        noise
    }

    /// The next standard normal draw of the latent's size, in the order the sampler asks.
    pub fn draw(&mut self) -> Vec<f32> {
        self.generator.randn(elements(self.latent))
    }

    /// The increment of this picture's Brownian motion from level `from` to level `to`, divided by the root of their
    /// distance: standard normal. `span` is the lowest and the highest level of the run, equal in all calls.
    ///
    /// The motion is the seed's own: neither a variation nor the seed delta changes it, and it takes no draws.
    pub fn brownian(&mut self, from: f64, to: f64, span: (f64, f64)) -> Vec<f32> {
        let (source, seed, elements) = (self.source, self.seed, elements(self.latent));
        let fresh = || brownian::Brownian::new(source, seed, elements, span);
        let motion = self.motion.get_or_insert_with(fresh);
        if !motion.spans(span) {
            *motion = fresh();
        }
        motion.increment(from, to)
    }
}

#[derive(Debug, Clone)]
enum Generator {
    Cpu(Box<Mt19937>),
    Nv(Philox),
}

impl Generator {
    fn new(source: NoiseSource, seed: u64) -> Self {
        match source {
            NoiseSource::Cpu => Self::Cpu(Box::new(Mt19937::new(seed))),
            NoiseSource::Nv => Self::Nv(Philox::new(seed)),
        }
    }

    fn randn(&mut self, n: usize) -> Vec<f32> {
        match self {
            Self::Cpu(generator) => generator.randn(n),
            Self::Nv(generator) => generator.randn(n),
        }
    }
}

fn elements((channels, rows, columns): (u32, u32, u32)) -> usize {
    channels as usize * rows as usize * columns as usize
}

/// Lays `noise` over the middle of `full`; what does not fit is cut off on all sides.
fn centred(mut full: Vec<f32>, to: (u32, u32, u32), noise: &[f32], from: (u32, u32, u32)) -> Vec<f32> {
    let (rows, columns) = (Overlap::new(from.1, to.1), Overlap::new(from.2, to.2));
    for channel in 0..to.0 as usize {
        for row in 0..rows.len {
            let source = (channel * from.1 as usize + rows.from + row) * from.2 as usize + columns.from;
            let target = (channel * to.1 as usize + rows.to + row) * to.2 as usize + columns.to;
            full[target..target + columns.len].copy_from_slice(&noise[source..source + columns.len]);
        }
    }
    full
}

/// Where one side of the smaller lies on the larger.
struct Overlap {
    from: usize,
    to: usize,
    len: usize,
}

impl Overlap {
    /// Halves are rounded down, and below zero that is away from it: of an odd surplus both halves are cut by the
    /// larger one, so that one line of the target keeps its own noise.
    fn new(from: u32, to: u32) -> Self {
        let offset = (i64::from(to) - i64::from(from)).div_euclid(2);
        let cut = (-offset).max(0) as usize;
        Self { from: cut, to: offset.max(0) as usize, len: (from as usize).saturating_sub(2 * cut) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;
    use crate::request::Variation;

    const LATENT: (u32, u32, u32) = (2, 3, 4);

    fn plain(seed: u64, latent: (u32, u32, u32)) -> Vec<f32> {
        ImageNoise::new(NoiseSource::Cpu, seed, 0, 0.0, latent, None, 0).first()
    }

    #[test]
    fn later_draws_continue_the_same_generator() {
        let mut image = ImageNoise::new(NoiseSource::Cpu, 7, 0, 0.0, LATENT, None, 0);
        let mut bare = Mt19937::new(7);
        assert_eq!(
            (image.first(), image.draw(), image.draw()),
            (bare.randn(24), bare.randn(24), bare.randn(24))
        );
    }

    #[test]
    fn a_seed_delta_restarts_the_later_draws_only() {
        let mut image = ImageNoise::new(NoiseSource::Nv, u64::MAX, 0, 0.0, LATENT, None, 3);
        assert_eq!(image.first(), Philox::new(u64::MAX).randn(24));
        let mut later = Philox::new(2);
        assert_eq!((image.draw(), image.draw()), (later.randn(24), later.randn(24)));
    }

    #[test]
    fn brownian_increments_take_no_draws_and_look_at_the_seed_alone() {
        let mut plain = ImageNoise::new(NoiseSource::Cpu, 7, 0, 0.0, LATENT, None, 0);
        let mut varied = ImageNoise::new(NoiseSource::Cpu, 7, 8, 0.5, LATENT, None, 31337);
        assert_ne!(plain.first(), varied.first());
        let mut untouched = plain.clone();
        let increment = plain.brownian(10.0, 2.0, (0.1, 14.0));
        assert_eq!(increment, varied.brownian(10.0, 2.0, (0.1, 14.0)));
        assert_eq!(plain.draw(), untouched.draw());
        // Another run has another path.
        assert_ne!(increment, plain.brownian(10.0, 2.0, (0.1, 10.0)));
    }

    #[test]
    fn variation_leaves_later_draws_alone() {
        let mut varied = ImageNoise::new(NoiseSource::Cpu, 7, 8, 0.5, LATENT, None, 0);
        let mut image = ImageNoise::new(NoiseSource::Cpu, 7, 0, 0.0, LATENT, None, 0);
        assert_ne!(varied.first(), image.first());
        assert_eq!(varied.draw(), image.draw());
    }

    #[test]
    fn a_full_variation_is_the_subseeds_noise() {
        let got = ImageNoise::new(NoiseSource::Cpu, 7, 8, 1.0, LATENT, None, 0).first();
        for (got, want) in got.iter().zip(plain(8, LATENT)) {
            assert!((got - want).abs() < 1e-6);
        }
    }

    #[test]
    fn a_smaller_draw_is_centred_in_the_seeds_own_noise() {
        let (large, small) = ((1, 6, 7), (1, 4, 4));
        let got = ImageNoise::new(NoiseSource::Cpu, 3, 0, 0.0, large, Some((4, 4)), 0).first();
        let (frame, inner) = (plain(3, large), plain(3, small));
        for row in 0..6 {
            for column in 0..7 {
                let inside = (1..5).contains(&row) && (1..5).contains(&column);
                let want = if inside { inner[(row - 1) * 4 + column - 1] } else { frame[row * 7 + column] };
                assert_eq!(got[row * 7 + column], want, "{row} {column}");
            }
        }
    }

    #[test]
    fn a_larger_draw_is_cropped_and_an_odd_surplus_leaves_a_line() {
        let (small, large) = ((1, 4, 5), (1, 6, 8));
        let got = ImageNoise::new(NoiseSource::Cpu, 3, 0, 0.0, small, Some((6, 8)), 0).first();
        let (frame, outer) = (plain(3, small), plain(3, large));
        for row in 0..4 {
            for column in 0..5 {
                // Three columns too many: two go left and two right, and the fifth is the frame's own.
                let want =
                    if column < 4 { outer[(row + 1) * 8 + column + 2] } else { frame[row * 5 + column] };
                assert_eq!(got[row * 5 + column], want, "{row} {column}");
            }
        }
    }

    #[test]
    fn pictures_of_a_request_have_the_seeds_it_says() {
        let request = crate::request::GenerateRequest { width: 64, height: 128, ..fixture::request() };
        assert_eq!(
            ImageNoise::for_image(&request, 2, request.width, request.height).first(),
            plain(3, (4, 16, 8))
        );
        let variation = Variation { subseed: 5, strength: 0.5 };
        let request = crate::request::GenerateRequest { variation, ..request };
        let want = ImageNoise::new(NoiseSource::Cpu, 1, 7, 0.5, (4, 16, 8), None, 0).first();
        assert_eq!(ImageNoise::for_image(&request, 2, request.width, request.height).first(), want);
    }

    proptest! {
        #[test]
        fn noise_is_finite_whatever_the_sizes(
            seed: u64, subseed: u64, ensd: u64,
            strength in 0.0f64..=1.0,
            latent in (1u32..4, 1u32..12, 1u32..12),
            resize in prop::option::of((1u32..12, 1u32..12)),
            source in prop::sample::select(vec![NoiseSource::Cpu, NoiseSource::Nv]),
        ) {
            let mut image = ImageNoise::new(source, seed, subseed, strength, latent, resize, ensd);
            for noise in [image.first(), image.draw()] {
                prop_assert_eq!(noise.len(), elements(latent));
                prop_assert!(noise.iter().all(|x| x.is_finite()));
            }
        }
    }
}
