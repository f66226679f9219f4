//! Numbers that look random and are not: drawn from the request's seed, so that the same request gives the same
//! picture. PCG-64 (`oorandom`, whose sequence is fixed for good), never the clock or the system's generator.

use crate::call;

/// A stream of numbers. Use a stream of its own for each thing drawn, so that one does not shift the other.
#[derive(Debug, Clone)]
pub struct Random(oorandom::Rand64);

impl Random {
    /// The request's own numbers, asked of the host. `stream` tells apart what must not influence each other.
    pub fn for_request(stream: u64) -> Self {
        Self::new(call::seed(), stream)
    }

    pub fn new(seed: u64, stream: u64) -> Self {
        Self(oorandom::Rand64::new((u128::from(stream) << 64) | u128::from(seed)))
    }

    /// A whole number in `0..bound`, and 0 where the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.0.rand_range(0..bound as u64) as usize }
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0.rand_float()
    }

    /// The index of one of `weights`, each as likely as its share of the sum. Weights that are not positive numbers
    /// count as nothing; where all are nothing, each is as likely.
    pub fn weighted(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let weights = weights.map(|weight| if weight.is_finite() { weight.max(0.0) } else { 0.0 });
        let total: f64 = weights.clone().sum();
        if total <= 0.0 || !total.is_finite() {
            return self.below(weights.count());
        }
        let mut rest = self.unit() * total;
        let mut last = 0;
        for (index, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0.0) {
            last = index;
            if rest < weight {
                return index;
            }
            rest -= weight;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_itself_for_a_seed_and_differs_between_streams() {
        let draw = |seed, stream| {
            let mut random = Random::new(seed, stream);
            [(); 8].map(|()| random.below(1000))
        };
        assert_eq!(draw(7, 0), draw(7, 0));
        assert_ne!(draw(7, 0), draw(7, 1));
        assert_ne!(draw(7, 0), draw(8, 0));
    }

    #[test]
    fn draws_weights_by_their_share() {
        let mut random = Random::new(1, 0);
        let mut counts = [0_u32; 4];
        for _ in 0..4000 {
            counts[random.weighted([1.0, 0.0, 3.0, f64::NAN].into_iter())] += 1;
        }
        assert_eq!((counts[1], counts[3]), (0, 0));
        assert!((900..1100).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn copes_with_nothing_to_choose_from_and_with_weights_of_nothing() {
        let mut random = Random::new(1, 0);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.weighted([].into_iter()), 0);
        let drawn: Vec<_> = (0..64).map(|_| random.weighted([0.0, -1.0].into_iter())).collect();
        assert!(drawn.contains(&0) && drawn.contains(&1));
    }
}
