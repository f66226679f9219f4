//! Animals as coloured lines, in the colours that ControlNet's network for their poses was trained with.

use gesso_core::pixels::Pixels;

use super::{Point, found, line};

/// Points of an animal, as AP-10K (Yu 2021) counts them.
pub const ANIMAL: usize = 17;

/// One animal: left and right eye, nose, neck, root of the tail, then shoulder, elbow and paw of the left and of the right,
/// hip, knee and paw likewise. What was not found is left out as of a person.
pub type Animal = Vec<Option<Point>>;

/// Ends of the lines and their colours, as 0xrrggbb, in the order in which they are drawn.
const LINES: [([usize; 2], u32); 17] = [
    ([0, 1], 0xffffff),
    ([1, 2], 0x64ff64),
    ([0, 2], 0x96ffff),
    ([2, 3], 0x6432ff),
    ([3, 8], 0x3296c8),
    ([8, 9], 0x00ffff),
    ([9, 10], 0x009600),
    ([3, 5], 0x0000ff),
    ([5, 6], 0x000096),
    ([6, 7], 0xff32ff),
    ([3, 4], 0xff00ff),
    ([4, 14], 0xff0000),
    ([14, 15], 0x960000),
    ([15, 16], 0xffff64),
    ([4, 11], 0x009600),
    ([11, 12], 0xffff00),
    ([12, 13], 0x969696),
];
/// Half the width of a line, which has its middle pixel besides.
const LINE_RADIUS: f64 = 2.0;

/// Draws `animals` one after the other onto what [`draw`](super::draw) gives.
pub fn draw_animals(canvas: &mut Pixels, animals: &[Animal]) {
    for animal in animals {
        for ([from, to], colour) in LINES {
            if let (Some(from), Some(to)) = (found(canvas, animal, from), found(canvas, animal, to)) {
                let colour = [(colour >> 16) as u8, (colour >> 8) as u8, colour as u8];
                line(canvas, from, to, LINE_RADIUS, colour);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw;
    use super::*;

    fn drawn(points: &[(usize, Point)]) -> Pixels {
        let mut animal = vec![None; ANIMAL];
        for (place, point) in points {
            animal[*place] = Some(*point);
        }
        let mut canvas = draw(&[], 64, 32).unwrap();
        draw_animals(&mut canvas, &[animal]);
        canvas
    }

    fn at(picture: &Pixels, x: u32, y: u32) -> [u8; 3] {
        let start = (y * picture.width + x) as usize * 3;
        [picture.data[start], picture.data[start + 1], picture.data[start + 2]]
    }

    #[test]
    fn a_line_is_five_pixels_wide_and_ends_at_its_points() {
        // Neck and root of the tail.
        let picture = drawn(&[(3, [10.0, 16.0]), (4, [50.0, 16.0])]);
        let back = [255, 0, 255];
        assert_eq!((at(&picture, 10, 16), at(&picture, 30, 14), at(&picture, 50, 18)), (back, back, back));
        assert_eq!((at(&picture, 30, 13), at(&picture, 30, 19)), ([0; 3], [0; 3]));
        assert_eq!((at(&picture, 7, 16), at(&picture, 53, 16)), ([0; 3], [0; 3]));
    }

    #[test]
    fn legs_of_either_side_have_their_own_colours() {
        let leg = |points: [usize; 3]| {
            let picture =
                drawn(&[(points[0], [8.0, 4.0]), (points[1], [30.0, 4.0]), (points[2], [52.0, 4.0])]);
            [at(&picture, 19, 4), at(&picture, 41, 4)]
        };
        assert_eq!(leg([5, 6, 7]), [[0, 0, 150], [255, 50, 255]], "the left fore leg");
        assert_eq!(leg([8, 9, 10]), [[0, 255, 255], [0, 150, 0]], "the right fore leg");
        assert_eq!(leg([11, 12, 13]), [[255, 255, 0], [150, 150, 150]], "the left hind leg");
        assert_eq!(leg([14, 15, 16]), [[150, 0, 0], [255, 255, 100]], "the right hind leg");
    }

    #[test]
    fn what_is_missing_or_far_outside_leaves_no_trace() {
        let empty = draw(&[], 64, 32).unwrap();
        assert_eq!(drawn(&[(3, [10.0, 16.0])]), empty, "a point alone is no line");
        assert_eq!(drawn(&[(3, [10.0, 16.0]), (4, [f64::NAN, 0.0])]), empty);
        let mut short = draw(&[], 64, 32).unwrap();
        draw_animals(&mut short, &[vec![Some([4.0, 4.0])]]);
        assert_eq!(short, empty);
    }
}
