//! The shapes that captions name, and their outlines.

use std::f32::consts::{FRAC_PI_2, PI, TAU};

use tiny_skia::{Path, PathBuilder};

use super::canvas::polygon;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Heart,
    Diamond,
    Hexagon,
    Ring,
    Cross,
}

impl Shape {
    pub(crate) const ALL: [Self; 9] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Heart,
        Self::Diamond,
        Self::Hexagon,
        Self::Ring,
        Self::Cross,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Heart => "heart",
            Self::Diamond => "diamond",
            Self::Hexagon => "hexagon",
            Self::Ring => "ring",
            Self::Cross => "cross",
        }
    }

    /// Whether pictures may show it turned by a little; circles and rings would not show it, and the rest stay
    /// upright because the first demo checkpoint learned them so.
    pub(crate) fn turns(self) -> bool {
        matches!(self, Self::Square | Self::Triangle | Self::Star | Self::Hexagon)
    }

    /// Around the origin, upright, for a radius of one; points reach beyond it so that shapes of one radius look
    /// equally large. To be filled by the even-odd rule.
    pub(crate) fn outline(self) -> Path {
        let path = match self {
            Self::Circle => PathBuilder::from_circle(0.0, 0.0, 1.0),
            Self::Ring => ring(0.55),
            Self::Square => polygon(corners(4, 1.15, PI / 4.0)),
            Self::Triangle => polygon(corners(3, 1.15, 0.0)),
            Self::Hexagon => polygon(corners(6, 1.0, 0.0)),
            Self::Diamond => polygon([(0.0, -1.15), (0.8, 0.0), (0.0, 1.15), (-0.8, 0.0)]),
            Self::Star => {
                let points = corners(5, 1.15, 0.0).zip(corners(5, 0.48, PI / 5.0));
                polygon(points.flat_map(|(outer, inner)| [outer, inner]))
            }
            Self::Heart => polygon((0..59).map(|step| heart(TAU * step as f32 / 59.0))),
            Self::Cross => polygon(cross(0.38)),
        };
        path.expect("every shape encloses something")
    }
}

/// Corners of a regular polygon, the first one at the top but for `turn`, in radians clockwise.
fn corners(count: usize, radius: f32, turn: f32) -> impl Iterator<Item = (f32, f32)> {
    (0..count).map(move |at| {
        let angle = turn + TAU * at as f32 / count as f32 - FRAC_PI_2;
        (radius * angle.cos(), radius * angle.sin())
    })
}

fn ring(hole: f32) -> Option<Path> {
    let mut path = PathBuilder::new();
    path.push_circle(0.0, 0.0, 1.0);
    path.push_circle(0.0, 0.0, hole);
    path.finish()
}

/// The well-known heart curve, whose widest half is 16 and whose point is at 17.
fn heart(t: f32) -> (f32, f32) {
    const SCALE: f32 = 1.1 / 17.0;
    let up = 13.0 * t.cos() - 5.0 * (2.0 * t).cos() - 2.0 * (3.0 * t).cos() - (4.0 * t).cos();
    (SCALE * 16.0 * t.sin().powi(3), -SCALE * up)
}

fn cross(half: f32) -> impl Iterator<Item = (f32, f32)> {
    // One arm's three corners, turned by quarters.
    [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)].into_iter().flat_map(move |(cos, sin)| {
        [(-half, -half), (-half, -1.0), (half, -1.0)].map(|(x, y)| (x * cos - y * sin, x * sin + y * cos))
    })
}
