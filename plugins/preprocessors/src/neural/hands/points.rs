//! Where the points of a hand are: what MediaPipe's network for hands (Zhang 2020) gives of a square with one.

use gesso_picture::pose::Point;
use gesso_plugin::models::Tensor;

use super::POINTS_SIDE;
use crate::neural::output::shapes;
use crate::neural::square::Square;

/// Points of a hand: the wrist, then four of each finger from the thumb on.
const POINTS: usize = 21;
const MIDDLE_KNUCKLE: usize = 9;
/// The corners of a palm: the wrist, the knuckles of the index and of the little finger.
const PALM: [usize; 3] = [0, 5, 17];
/// Numbers of each output: the points with their depth, whether there is a hand, which one, and the points in metres.
const NUMBERS: [usize; 4] = [3 * POINTS, 1, 1, 3 * POINTS];

/// Two findings are one hand where so many points are nearer to each other than this part of the palm.
const SAME_MIN: usize = 10;
const SAME_PART: f64 = 0.2;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hand {
    /// In pixels of the picture, the corner of its first one at 0.
    pub(super) points: Vec<Point>,
    /// How much farther than its wrist the middle of the hand is, which is what hands are put in order by.
    pub(super) remoteness: f64,
    /// Of the person's two hands.
    pub(super) is_left: bool,
}

/// The hand in a square of the picture. None where the network is no surer than `sure` that there is one.
///
/// # Errors
/// The end of a sentence about the network, for outputs that are no hand.
pub(super) fn hand(outputs: &[Tensor], sure: f64, square: Square) -> Result<Option<Hand>, String> {
    let is_hand = outputs.iter().map(|output| output.values.len()).eq(NUMBERS);
    let ([points, there, right, _], true) = (outputs, is_hand) else {
        let given = shapes(outputs);
        return Err(format!("gives {given}, and not {NUMBERS:?} numbers"));
    };
    // Both are after their sigmoid.
    let is_above = |output: &Tensor, least: f64| output.values.iter().any(|part| f64::from(*part) > least);
    if !is_above(there, sure) {
        return Ok(None);
    }
    let part = |number: f32| f64::from(number) / f64::from(POINTS_SIDE);
    let (numbers, _) = points.values.as_chunks::<3>();
    Ok(Some(Hand {
        points: numbers.iter().map(|[across, down, _]| square.place([part(*across), part(*down)])).collect(),
        remoteness: part(numbers[MIDDLE_KNUCKLE][2]) * square.side,
        is_left: !is_above(right, 0.5),
    }))
}

impl Hand {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let near = SAME_PART * self.palm().max(other.palm());
        let points = self.points.iter().zip(&other.points);
        points.filter(|(a, b)| distance(**a, **b) < near).count() >= SAME_MIN
    }

    /// The longest side of the triangle between the palm's corners.
    fn palm(&self) -> f64 {
        let [wrist, index, little] = PALM.map(|point| self.points[point]);
        [(wrist, index), (index, little), (little, wrist)]
            .into_iter()
            .map(|(from, to)| distance(from, to))
            .fold(0.0, f64::max)
    }
}

fn distance(from: Point, to: Point) -> f64 {
    (to[0] - from[0]).hypot(to[1] - from[1])
}
