//! numpy's `SeedSequence`: a seed and a place in a tree of generators, mixed into 32-bit seeds (O'Neill 2015,
//! "Developing a seed_seq alternative"). Only what the Brownian motion needs of it: the first word.

const INIT_A: u32 = 0x43b0_d7e5;
const MULT_A: u32 = 0x931e_8875;
const INIT_B: u32 = 0x8b51_f9dd;
const MULT_B: u32 = 0x58f3_8ded;
const MIX_LEFT: u32 = 0xca01_f9dd;
const MIX_RIGHT: u32 = 0x4973_f715;
const SHIFT: u32 = 16;

/// `SeedSequence(entropy, spawn_key=spawn_key, pool_size=POOL).generate_state(1)[0]`.
pub(super) fn first_word<const POOL: usize>(entropy: u64, spawn_key: &[u64]) -> u32 {
    let mut words = words_of(entropy);
    if !spawn_key.is_empty() {
        // So that a spawn key cannot be taken for a longer seed.
        words.resize(words.len().max(POOL), 0);
        words.extend(spawn_key.iter().flat_map(|key| words_of(*key)));
    }
    let mut mixer = Mixer(INIT_A);
    let mut pool: [u32; POOL] = std::array::from_fn(|i| mixer.hash(words.get(i).copied().unwrap_or(0)));
    for from in 0..POOL {
        for to in (0..POOL).filter(|to| *to != from) {
            pool[to] = mix(pool[to], mixer.hash(pool[from]));
        }
    }
    for word in words.iter().skip(POOL) {
        for slot in &mut pool {
            *slot = mix(*slot, mixer.hash(*word));
        }
    }
    let word = (pool[0] ^ INIT_B).wrapping_mul(INIT_B.wrapping_mul(MULT_B));
    word ^ (word >> SHIFT)
}

/// Low words first, without leading zeros; zero is one word.
fn words_of(number: u64) -> Vec<u32> {
    let (low, high) = (number as u32, (number >> 32) as u32);
    if high == 0 { vec![low] } else { vec![low, high] }
}

/// A hash whose constant moves on with each use.
struct Mixer(u32);

impl Mixer {
    fn hash(&mut self, value: u32) -> u32 {
        let value = value ^ self.0;
        self.0 = self.0.wrapping_mul(MULT_A);
        let value = value.wrapping_mul(self.0);
        value ^ (value >> SHIFT)
    }
}

fn mix(left: u32, right: u32) -> u32 {
    let mixed = left.wrapping_mul(MIX_LEFT).wrapping_sub(right.wrapping_mul(MIX_RIGHT));
    mixed ^ (mixed >> SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values: `python host/core/tests/reference_tables.py seeds`.
    #[test]
    fn gives_numpys_words() {
        assert_eq!(first_word::<4>(0, &[]), 2_968_811_710);
        assert_eq!(first_word::<24>(42, &[3, 2]), 2_593_260_554);
        assert_eq!(first_word::<24>((1 << 40) + 7, &[0, 0]), 3_031_313_268);
        assert_eq!(first_word::<24>(u64::MAX, &[(1 << 33) + 5, 34]), 3_423_280_695);
    }
}
