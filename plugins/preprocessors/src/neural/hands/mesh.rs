//! The mesh of a hand: what Mesh Graphormer gives of a square with a right one, and where it lies in that square.

use gesso_picture::pose::Point;
use gesso_plugin::models::Tensor;

use super::MESH_SIDE;
use crate::neural::output::shapes;

/// Pixels of what the network sees between two rays that are as far apart as they are long: HandRefiner's camera.
const FOCAL: f64 = 1000.0;
/// Of MANO's hand, which no mesh has more of: every triangle may cover the whole square.
const VERTICES_MAX: usize = 778;
const TRIANGLES_MAX: usize = 1538;

#[derive(Debug)]
pub(super) struct Mesh {
    /// How large the hand is seen, and how far it is moved across and down.
    camera: [f64; 3],
    /// Across, down, away, in metres.
    vertices: Vec<[f64; 3]>,
    /// Counter-clockwise as seen from outside.
    pub(super) triangles: Vec<[usize; 3]>,
}

/// A vertex as it is seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Corner {
    /// In pixels of the square, the corner of its first one at 0.
    pub(super) at: Point,
    /// One divided by how far away it is, which between the corners of a triangle is a plane.
    pub(super) nearness: f64,
}

impl Mesh {
    /// # Errors
    /// The end of a sentence about the network, for outputs that are no mesh.
    pub(super) fn of(outputs: &[Tensor]) -> Result<Self, String> {
        let [camera, vertices, triangles] = outputs else {
            return Err(no_mesh(outputs));
        };
        let Ok(camera): Result<[f32; 3], _> = camera.values.as_slice().try_into() else {
            return Err(no_mesh(outputs));
        };
        let ((vertices, []), (triangles, [])) =
            (vertices.values.as_chunks::<3>(), triangles.values.as_chunks::<3>())
        else {
            return Err(no_mesh(outputs));
        };
        let count = vertices.len();
        if count > VERTICES_MAX || triangles.len() > TRIANGLES_MAX {
            return Err(no_mesh(outputs));
        }
        let is_vertex = |number: &f32| number.fract() == 0.0 && (0.0..count as f32).contains(number);
        if let Some(number) = triangles.as_flattened().iter().find(|number| !is_vertex(number)) {
            return Err(format!("has a triangle with the vertex {number} of {count}"));
        }
        Ok(Self {
            camera: camera.map(f64::from),
            vertices: vertices.iter().map(|vertex| vertex.map(f64::from)).collect(),
            triangles: triangles.iter().map(|triangle| triangle.map(|number| number as usize)).collect(),
        })
    }

    /// Where each vertex is seen in the square at `side` pixels. None behind the camera, and of what is no number.
    pub(super) fn corners(&self, side: usize) -> Vec<Option<Corner>> {
        let [size, right, down] = self.camera;
        let seen = f64::from(MESH_SIDE);
        let distance = 2.0 * FOCAL / (seen * size);
        let focal = FOCAL * side as f64 / seen;
        let corner = |[x, y, z]: &[f64; 3]| {
            let away = z + distance;
            let at = [x + right, y + down].map(|place| focal * place / away + side as f64 / 2.0);
            let is_seen = away > 0.0 && away.is_finite() && at.iter().all(|place| place.is_finite());
            is_seen.then_some(Corner { at, nearness: 1.0 / away })
        };
        self.vertices.iter().map(corner).collect()
    }
}

fn no_mesh(outputs: &[Tensor]) -> String {
    let given = shapes(outputs);
    format!("gives {given}, and not [1, 3], [1, {VERTICES_MAX}, 3] and [{TRIANGLES_MAX}, 3]")
}
