//! What a body's network gives of a scene that a test lays out.

use gesso_picture::pose::BODY;
use gesso_plugin::models::Tensor;

use super::body::{self, FIELD_PLANES, HEAT_PLANES, LIMBS, Parts};
use super::heat::{Planes, STRIDE};

/// Places of the maps for a picture of 280 x 184.
pub(super) const COLUMNS: usize = 35;
pub(super) const ROWS: usize = 23;
const SEEN: (usize, usize) = (COLUMNS * STRIDE, ROWS * STRIDE);

/// A whole figure, by its parts in their order; its places are 13 columns wide.
pub(super) const STANDING: [[usize; 2]; BODY] = [
    [6, 4],
    [6, 7],
    [4, 7],
    [3, 10],
    [3, 13],
    [8, 7],
    [9, 10],
    [9, 13],
    [5, 13],
    [5, 16],
    [5, 20],
    [7, 13],
    [7, 16],
    [7, 20],
    [5, 3],
    [7, 3],
    [4, 4],
    [8, 4],
];

/// What a body's network gives.
pub(super) struct Scene {
    pub(super) heat: Vec<f32>,
    pub(super) fields: Vec<f32>,
}

impl Scene {
    pub(super) fn empty() -> Self {
        let zeros = |planes: usize| vec![0.0; planes * COLUMNS * ROWS];
        Self { heat: zeros(HEAT_PLANES), fields: zeros(FIELD_PLANES) }
    }

    /// A bell as wide as the networks were trained with: seven pixels.
    pub(super) fn part(&mut self, part: usize, at: [usize; 2], height: f32) {
        bell(&mut self.heat[part * COLUMNS * ROWS..][..COLUMNS * ROWS], COLUMNS, at, height);
    }

    /// The direction of a limb, on the places along it.
    pub(super) fn limb(&mut self, limb: usize, [from, to]: [[usize; 2]; 2], strength: f32) {
        let [start, end] = [from, to].map(|at| at.map(|place| place as f32));
        let way = [end[0] - start[0], end[1] - start[1]];
        let length = way[0].hypot(way[1]);
        let plane = LIMBS[limb].1;
        for place in 0..COLUMNS * ROWS {
            let at = [(place % COLUMNS) as f32 - start[0], (place / COLUMNS) as f32 - start[1]];
            let along = ((at[0] * way[0] + at[1] * way[1]) / (length * length)).clamp(0.0, 1.0);
            if (at[0] - along * way[0]).hypot(at[1] - along * way[1]) <= 1.5 {
                for axis in [0, 1] {
                    self.fields[(plane + axis) * COLUMNS * ROWS + place] = way[axis] / length * strength;
                }
            }
        }
    }

    /// The parts of a person and the limbs between them.
    pub(super) fn person(&mut self, parts: &[(usize, [usize; 2])], height: f32, strength: f32) {
        for (part, at) in parts {
            self.part(*part, *at, height);
        }
        let at = |part: usize| parts.iter().find(|(known, _)| *known == part).map(|(_, at)| *at);
        for (limb, ([from, to], _)) in LIMBS.into_iter().enumerate() {
            if let (Some(from), Some(to)) = (at(from), at(to)) {
                self.limb(limb, [from, to], strength);
            }
        }
    }

    pub(super) fn outputs(&self) -> Vec<Tensor> {
        let tensor = |planes: usize, values: &[f32]| Tensor {
            shape: [1, planes, ROWS, COLUMNS].map(|length| length as u32).to_vec(),
            values: values.to_vec(),
        };
        vec![tensor(FIELD_PLANES, &self.fields), tensor(HEAT_PLANES, &self.heat)]
    }

    pub(super) fn people(&self) -> Vec<Parts> {
        let outputs = self.outputs();
        let planes = |count| Planes::of(&outputs, count, (SEEN.0 as u32, SEEN.1 as u32)).unwrap();
        body::people(&planes(HEAT_PLANES), &planes(FIELD_PLANES), SEEN)
    }
}

pub(super) fn bell(plane: &mut [f32], columns: usize, at: [usize; 2], height: f32) {
    for (place, level) in plane.iter_mut().enumerate() {
        let away = [(place % columns) as f32 - at[0] as f32, (place / columns) as f32 - at[1] as f32];
        let bell = height * (-(away[0] * away[0] + away[1] * away[1]) / (2.0 * 0.875 * 0.875)).exp();
        *level = level.max(bell);
    }
}

/// The figure, `right` columns from its place, without the parts that are left out.
pub(super) fn standing(right: usize, without: &[usize]) -> Vec<(usize, [usize; 2])> {
    let parts = STANDING.into_iter().enumerate().filter(|(part, _)| !without.contains(part));
    parts.map(|(part, [column, row])| (part, [column + right, row])).collect()
}
