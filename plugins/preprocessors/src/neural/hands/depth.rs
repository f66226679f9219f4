//! How near the surface of a mesh is, at the middle of each pixel. Of all triangles there the nearest is seen; where that one is
//! seen from inside, through the open wrist, there is nothing.

use gesso_picture::pose::Point;

use super::mesh::{Corner, Mesh};

/// The nearest is white, and the farthest so much darker.
const SPAN: f64 = 0.8;

/// The mesh in a square of `side` pixels along a side, row by row: 255 where it is nearest, 50 where it is farthest, 0 where
/// there is none.
pub(super) fn levels(mesh: &Mesh, side: usize) -> Vec<u8> {
    let corners = mesh.corners(side);
    let mut view = View { side, nearness: vec![0.0; side * side] };
    for triangle in &mesh.triangles {
        if let [Some(a), Some(b), Some(c)] = triangle.map(|vertex| corners[vertex]) {
            view.draw([a, b, c]);
        }
    }
    let remoteness = |nearness: f32| 1.0 / f64::from(nearness);
    let surface = view.nearness.iter().copied().filter(|nearness| *nearness > 0.0);
    let (least, most) = surface
        .map(remoteness)
        .fold((f64::INFINITY, 0.0_f64), |(least, most), place| (least.min(place), most.max(place)));
    let span = (most - least).max(f64::MIN_POSITIVE);
    let level = |nearness: &f32| {
        let share = (remoteness(*nearness) - least) / span;
        if *nearness > 0.0 { ((1.0 - SPAN * share) * 255.0) as u8 } else { 0 }
    };
    view.nearness.iter().map(level).collect()
}

struct View {
    side: usize,
    /// Of the nearest triangle; less than 0 where it is seen from inside, 0 where there is none.
    nearness: Vec<f32>,
}

impl View {
    fn draw(&mut self, [a, b, c]: [Corner; 3]) {
        let is_outside = beside([a.at, b.at], c.at) < 0.0;
        let [a, b, c] = if is_outside { [a, c, b] } else { [a, b, c] };
        let edges = [[b.at, c.at], [c.at, a.at], [a.at, b.at]];
        let range = |axis: usize| {
            let places = [a, b, c].map(|corner| corner.at[axis]);
            let inside = |place: f64| place.clamp(0.0, self.side as f64) as usize;
            let least = places.into_iter().fold(f64::INFINITY, f64::min);
            let most = places.into_iter().fold(f64::NEG_INFINITY, f64::max);
            inside(least.floor())..inside(most.ceil())
        };
        let (columns, rows) = (range(0), range(1));
        for row in rows {
            for column in columns.clone() {
                let at = [column, row].map(|place| place as f64 + 0.5);
                let parts = edges.map(|edge| beside(edge, at));
                let is_covered = |(edge, part): (&[Point; 2], &f64)| {
                    *part > 0.0 || (*part == 0.0 && is_upper_or_left(*edge))
                };
                if !edges.iter().zip(&parts).all(is_covered) {
                    continue;
                }
                let [of_a, of_b, of_c] = parts;
                let sum = of_a + of_b + of_c;
                let nearness = ((of_a * a.nearness + of_b * b.nearness + of_c * c.nearness) / sum) as f32;
                let nearest = &mut self.nearness[row * self.side + column];
                if nearness > nearest.abs() {
                    *nearest = if is_outside { nearness } else { -nearness };
                }
            }
        }
    }
}

/// Twice the area of the triangle between an edge and a place, more than 0 where the place is on the edge's right. Exactly the
/// opposite for the edge the other way round, so that two triangles with an edge in common agree on what is on it.
fn beside([from, to]: [Point; 2], at: Point) -> f64 {
    if from > to {
        return -beside([to, from], at);
    }
    (to[0] - from[0]) * (at[1] - from[1]) - (to[1] - from[1]) * (at[0] - from[0])
}

/// Of the two triangles that an edge belongs to, the one that it is the upper or the left edge of has the places on it.
fn is_upper_or_left([from, to]: [Point; 2]) -> bool {
    to[1] < from[1] || (to[1] == from[1] && to[0] > from[0])
}

#[cfg(test)]
mod tests;
