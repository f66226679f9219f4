//! The colours that captions name.

use super::canvas::Rgb;
use super::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    Brown,
    Black,
    White,
    Gray,
    Cyan,
}

impl Colour {
    pub(crate) const ALL: [Self; 12] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::Brown,
        Self::Black,
        Self::White,
        Self::Gray,
        Self::Cyan,
    ];

    pub(crate) fn name(self) -> &'static str {
        self.named().0
    }

    pub(crate) fn rgb(self) -> Rgb {
        self.named().1
    }

    /// Somewhat lighter, darker or off in hue, so that a name stands for a range and not for three numbers.
    pub(crate) fn shade(self, dice: &mut Dice) -> Rgb {
        self.rgb().map(|value| value + dice.between(-10.0, 10.0))
    }

    fn named(self) -> (&'static str, Rgb) {
        match self {
            Self::Red => ("red", [214.0, 40.0, 40.0]),
            Self::Orange => ("orange", [245.0, 130.0, 32.0]),
            Self::Yellow => ("yellow", [250.0, 210.0, 50.0]),
            Self::Green => ("green", [50.0, 160.0, 70.0]),
            Self::Blue => ("blue", [40.0, 90.0, 210.0]),
            Self::Purple => ("purple", [130.0, 60.0, 180.0]),
            Self::Pink => ("pink", [240.0, 120.0, 170.0]),
            Self::Brown => ("brown", [130.0, 85.0, 50.0]),
            Self::Black => ("black", [20.0, 20.0, 24.0]),
            Self::White => ("white", [245.0, 245.0, 245.0]),
            Self::Gray => ("gray", [130.0, 130.0, 135.0]),
            Self::Cyan => ("cyan", [60.0, 200.0, 220.0]),
        }
    }
}
