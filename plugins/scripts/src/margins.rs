//! Margins around a picture: which sides a request asks for, and how wide they become. Numbers only.

use gesso_plugin::Fault;

const DIRECTIONS: [&str; 4] = ["left", "right", "up", "down"];
/// Sides of the result are multiples of this.
const STEP: u32 = 64;

/// Pixels added before and behind, along one side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Margins {
    pub(crate) before: u32,
    pub(crate) behind: u32,
}

/// The margins around a picture of that size, across and down, where `pixels` are added in each direction.
///
/// # Errors
/// A direction that there is not.
pub(crate) fn around(
    (width, height): (u32, u32),
    directions: &[String],
    pixels: u32,
) -> Result<(Margins, Margins), Fault> {
    if let Some(other) = directions.iter().find(|given| !DIRECTIONS.contains(&given.as_str())) {
        return Err(Fault::InvalidInput(format!(
            "\"Outpainting direction\" has {other:?}; it must be a list of {}.",
            DIRECTIONS.join(", ")
        )));
    }
    let asked = |direction: &str| if directions.iter().any(|given| given == direction) { pixels } else { 0 };
    Ok((Margins::of(width, asked("left"), asked("right")), Margins::of(height, asked("up"), asked("down"))))
}

impl Margins {
    /// What is asked for and what makes the whole a multiple of [`STEP`], spread as it was asked for.
    fn of(side: u32, before: u32, behind: u32) -> Self {
        let added = (side + before + behind).next_multiple_of(STEP) - side;
        match before + behind {
            // Nothing asked for: what is missing goes behind.
            0 => Self { before: 0, behind: added },
            asked => {
                let before = before * added / asked;
                Self { before, behind: added - before }
            }
        }
    }

    pub(crate) fn whole(self, side: u32) -> u32 {
        self.before + side + self.behind
    }

    /// Where the picture is kept, from and to, with a band off each side that has a margin.
    pub(crate) fn kept(self, whole: u32, band: u32) -> (u32, u32) {
        let band = |margin: u32| if margin > 0 { margin + band } else { 0 };
        (band(self.before), whole.saturating_sub(band(self.behind)))
    }

    /// Whether a tile has nothing of the margins.
    pub(crate) fn keeps(self, start: u32, tile: u32, whole: u32) -> bool {
        start >= self.before && start + tile <= whole - self.behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_make_the_whole_a_multiple_of_64() {
        for (side, before, behind, margins) in [
            (512, 128, 128, (128, 128)),
            (500, 128, 0, (140, 0)),
            (500, 0, 128, (0, 140)),
            (500, 64, 64, (70, 70)),
            (512, 0, 0, (0, 0)),
            (500, 0, 0, (0, 12)),
        ] {
            let found = Margins::of(side, before, behind);
            assert_eq!((found.before, found.behind), margins, "{side} {before} {behind}");
            assert_eq!(found.whole(side) % STEP, 0);
        }
    }

    #[test]
    fn only_tiles_without_margins_are_kept() {
        let margins = Margins { before: 64, behind: 64 };
        let kept: Vec<_> = [0, 64, 96, 128].into_iter().filter(|x| margins.keeps(*x, 64, 256)).collect();
        assert_eq!(kept, [64, 96, 128]);
    }

    #[test]
    fn directions_go_by_their_names() {
        let around = |directions: &[&str]| {
            let directions: Vec<String> = directions.iter().map(|text| (*text).to_owned()).collect();
            around((512, 512), &directions, 64)
        };
        let margins = |before, behind| Margins { before, behind };
        assert_eq!(around(&["left", "down"]), Ok((margins(64, 0), margins(0, 64))));
        let Err(Fault::InvalidInput(text)) = around(&["left", "north"]) else { panic!("accepted") };
        assert!(text.contains("north") && text.contains("left, right, up, down"), "{text}");
    }
}
