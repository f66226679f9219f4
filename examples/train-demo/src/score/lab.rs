//! Colours as far apart as people see them: CIELAB for sRGB under D65.

use crate::pictures::Colour;

pub(super) type Lab = [f32; 3];

pub(super) fn lab(rgb: [u8; 3]) -> Lab {
    let [r, g, b] = rgb.map(linear);
    // Already divided by D65's white.
    let x = 0.433_953 * r + 0.376_219 * g + 0.189_828 * b;
    let y = 0.212_671 * r + 0.715_160 * g + 0.072_169 * b;
    let z = 0.017_758 * r + 0.109_477 * g + 0.872_765 * b;
    let [x, y, z] = [x, y, z].map(root);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// How different two colours look; about 2 can just be told apart.
pub(super) fn difference(one: Lab, other: Lab) -> f32 {
    one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

/// The name a colour would be called by.
pub(super) fn nearest(rgb: [u8; 3]) -> Colour {
    let seen = lab(rgb);
    let far = |colour: &Colour| difference(seen, lab(colour.rgb().map(|value| value as u8)));
    let nearest = Colour::ALL.into_iter().min_by(|one, other| far(one).total_cmp(&far(other)));
    nearest.expect("there are colours")
}

fn linear(value: u8) -> f32 {
    let value = f32::from(value) / 255.0;
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

fn root(value: f32) -> f32 {
    const CUT: f32 = 216.0 / 24_389.0;
    if value > CUT { value.cbrt() } else { (value * 24_389.0 / 27.0 + 16.0) / 116.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_values_of_pure_colours() {
        for (rgb, expected) in [
            ([255, 255, 255], [100.0, 0.0, 0.0]),
            ([255, 0, 0], [53.24, 80.09, 67.2]),
            ([0, 0, 255], [32.3, 79.19, -107.86]),
        ] {
            assert!(difference(lab(rgb), expected) < 0.3, "{rgb:?} is {:?}", lab(rgb));
        }
    }

    #[test]
    fn calls_every_colour_by_its_name_when_it_is_somewhat_off() {
        for colour in Colour::ALL {
            for shift in [[10, -10, 10], [-10, 10, -10], [10, 10, 10], [-10, -10, -10], [0, 10, -10]] {
                let [r, g, b]: [f32; 3] = colour.rgb();
                let shifted = [(r, shift[0]), (g, shift[1]), (b, shift[2])];
                let rgb = shifted.map(|(value, by)| (value as i32 + by).clamp(0, 255) as u8);
                assert_eq!(nearest(rgb), colour, "{rgb:?}");
            }
        }
    }
}
