//! Counts how much of what captions ask for is to be seen in the pictures drawn from them.

use std::fmt;

use crate::pictures::{ShapeScene, Size};

mod figure;
mod lab;
mod likeness;
mod reading;

pub(crate) use reading::{Reading, read};

/// What was right over all pictures added so far.
#[derive(Default)]
pub(crate) struct Score {
    pictures: usize,
    colour: usize,
    shape: usize,
    place: usize,
    background: usize,
    size: usize,
    /// Pictures with colour, shape and place right: what one would call the picture that was asked for.
    together: usize,
    /// The same and all, for each size that was asked for.
    by_size: [(usize, usize); 3],
}

const SIZES: [(Size, &str); 3] =
    [(Size::Small, "  small"), (Size::Medium, "  medium"), (Size::Large, "  large")];

impl Score {
    pub(crate) fn add(&mut self, asked: &ShapeScene, seen: &Reading) {
        let colour = seen.colour == Some(asked.colour);
        let shape = seen.shape == Some(asked.shape);
        let place = seen.place == Some(asked.place);
        self.pictures += 1;
        self.colour += usize::from(colour);
        self.shape += usize::from(shape);
        self.place += usize::from(place);
        self.background += usize::from(seen.background == Some(asked.background));
        self.size += usize::from(seen.size == Some(asked.size));
        self.together += usize::from(colour && shape && place);
        for ((size, _), (right, all)) in SIZES.into_iter().zip(&mut self.by_size) {
            if size == asked.size {
                *right += usize::from(colour && shape && place);
                *all += 1;
            }
        }
    }
}

/// A line for each attribute, then the pictures with colour, shape and place right, by size too, then all attributes
/// counted together.
impl fmt::Display for Score {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("colour", self.colour),
            ("shape", self.shape),
            ("place", self.place),
            ("background", self.background),
            ("size", self.size),
        ];
        for (name, right) in parts {
            writeln!(formatter, "{}", line(name, right, self.pictures))?;
        }
        writeln!(
            formatter,
            "{} with colour, shape and place right",
            line("pictures", self.together, self.pictures)
        )?;
        for ((_, name), (right, all)) in SIZES.into_iter().zip(self.by_size) {
            writeln!(formatter, "{}", line(name, right, all))?;
        }
        let right = parts.iter().map(|(_, right)| right).sum();
        write!(formatter, "{} of any kind", line("attributes", right, self.pictures * parts.len()))
    }
}

fn line(name: &str, right: usize, all: usize) -> String {
    let share = 100.0 * right as f64 / all.max(1) as f64;
    format!("{name:<10}  {right} of {all} ({share:.0} %)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::{Colour, Place, Shape, Size};

    #[test]
    fn counts_attributes_and_whole_pictures() {
        let asked = ShapeScene::new((Shape::Ring, Colour::Red), Colour::Blue, (Size::Small, Place::Left));
        let right = Reading {
            background: Some(Colour::Blue),
            colour: Some(Colour::Red),
            shape: Some(Shape::Ring),
            place: Some(Place::Left),
            size: Some(Size::Small),
        };
        let mut score = Score::default();
        score.add(&asked, &right);
        score.add(&asked, &Reading { shape: Some(Shape::Circle), size: Some(Size::Medium), ..right.clone() });
        score.add(&asked, &Reading { shape: None, background: None, ..right.clone() });
        score.add(&ShapeScene { size: Size::Large, ..asked }, &right);
        let expected = "colour      4 of 4 (100 %)\nshape       2 of 4 (50 %)\nplace       4 of 4 (100 %)\n\
            background  3 of 4 (75 %)\nsize        2 of 4 (50 %)\n\
            pictures    2 of 4 (50 %) with colour, shape and place right\n  \
            small     1 of 3 (33 %)\n  medium    0 of 0 (0 %)\n  large     1 of 1 (100 %)\n\
            attributes  15 of 20 (75 %) of any kind";
        assert_eq!(score.to_string(), expected);
    }

    #[test]
    fn says_nothing_of_no_pictures_without_dividing_by_zero() {
        assert!(Score::default().to_string().starts_with("colour      0 of 0 (0 %)\n"));
    }
}
