//! Draws random weights from a recipe, with the arithmetic of `tests/fixtures/drawn_weights.py`, so that fixtures
//! need not hold them.

use std::collections::BTreeMap;

use safetensors::tensor::Dtype;

use crate::support::Archive;

/// Shape, mean and spread for each tensor.
pub(crate) type Recipe = BTreeMap<String, (Vec<usize>, f64, f64)>;

/// The recipes of a fixture file, by name.
pub(crate) fn recipes(fixture: &Archive) -> BTreeMap<String, Recipe> {
    serde_json::from_str(&fixture.metadata["cases"]).unwrap()
}

pub(crate) fn draw(recipe: &Recipe) -> Archive {
    let tensors = recipe.iter().map(|(name, (shape, mean, spread))| {
        let bytes = values(name, shape.iter().product(), *mean, *spread).flat_map(f32::to_le_bytes).collect();
        (name.clone(), (Dtype::F32, shape.clone(), bytes))
    });
    Archive { tensors: tensors.collect(), metadata: BTreeMap::new() }
}

/// Splitmix64 from the FNV-1a hash of the name.
fn values(name: &str, count: usize, mean: f64, spread: f64) -> impl Iterator<Item = f32> {
    let hash = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..count).map(move |_| {
        let unit = (next() >> 40) as f64 / f64::from(1 << 23) - 1.0;
        (mean + spread * unit) as f32
    })
}
