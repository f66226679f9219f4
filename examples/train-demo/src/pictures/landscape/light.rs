//! What a time of day does to colours.

use crate::pictures::canvas::Rgb;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Sunset,
    Sunrise,
    Day,
    Night,
}

impl Time {
    pub(super) const ALL: [Self; 4] = [Self::Sunset, Self::Sunrise, Self::Day, Self::Night];
}

pub(super) struct Light {
    /// How captions say it.
    pub(super) words: &'static [&'static str],
    /// The sky at the top and at the bottom.
    pub(super) sky: [Rgb; 2],
    /// The sun, or the moon at night.
    pub(super) disc: Rgb,
    /// Windows at this time, if they are lit from inside.
    pub(super) windows: Option<Rgb>,
    strength: f32,
    tint: Rgb,
}

impl Light {
    pub(super) fn of(time: Time) -> Self {
        const LIT: Option<Rgb> = Some([255.0, 225.0, 130.0]);
        match time {
            Time::Sunset => Self {
                words: &["during sunset", "at sunset"],
                sky: [[70.0, 50.0, 110.0], [250.0, 140.0, 60.0]],
                disc: [255.0, 225.0, 120.0],
                windows: LIT,
                strength: 0.5,
                tint: [60.0, 20.0, 30.0],
            },
            Time::Sunrise => Self {
                words: &["at sunrise", "during sunrise"],
                sky: [[120.0, 150.0, 210.0], [255.0, 205.0, 150.0]],
                disc: [255.0, 240.0, 190.0],
                windows: None,
                strength: 0.8,
                tint: [30.0, 20.0, 20.0],
            },
            Time::Day => Self {
                words: &["at day", "in daylight", "during the day"],
                sky: [[70.0, 140.0, 225.0], [190.0, 225.0, 250.0]],
                disc: [255.0, 245.0, 170.0],
                windows: None,
                strength: 1.0,
                tint: [0.0; 3],
            },
            Time::Night => Self {
                words: &["at night", "in the night"],
                sky: [[8.0, 10.0, 35.0], [35.0, 45.0, 95.0]],
                disc: [240.0, 240.0, 215.0],
                windows: LIT,
                strength: 0.32,
                tint: [5.0, 8.0, 25.0],
            },
        }
    }

    /// A colour of the land, seen in this light.
    pub(super) fn on(&self, colour: Rgb) -> Rgb {
        std::array::from_fn(|i| colour[i] * self.strength + self.tint[i])
    }
}
