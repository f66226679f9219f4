//! A drawn picture and the one that steered it, put together: one gives the colours and the other the light, one the
//! detail and the other the tones, or each a part of the picture.
//!
//! What ControlNet's modules for inpainting, recolouring and tiles do to a result. All pictures of a call have one size;
//! results are RGB. Knows neither modules nor where the pictures come from.

use gesso_core::pixels::Pixels;

use crate::blur::pillow_gaussian;
use crate::composite::mix_by_mask;
use crate::convert::{to_gray, to_rgb};
use crate::error::{PictureError, same_size};
use crate::{lab, mask};

/// Sigma of the bell that softens the edge between kept and repainted, pixels: the default of the web UI's setting.
const EDGE: f64 = 7.0;

/// `drawn` where `hidden` (grey) is white, `source` elsewhere, with a soft edge on the source's side; all of `source` where
/// nothing is hidden.
pub fn pasted(drawn: &Pixels, source: &Pixels, hidden: Option<&Pixels>) -> Result<Pixels, PictureError> {
    let (drawn, source) = pair(drawn, source)?;
    let Some(hidden) = hidden else { return Ok(source) };
    let hidden = to_gray(hidden)?;
    let soft = mask::for_overlay(&mask::blur(&hidden, EDGE, EDGE)?);
    // A small hole is blurred away, and stays one all the same.
    let cover = soft.data.iter().zip(&hidden.data).map(|(soft, hidden)| *soft.max(hidden)).collect();
    mix_by_mask(&source, &drawn, &Pixels { data: cover, ..soft })
}

/// `drawn` with the first channel of `map` for its L, in the 8-bit L*a*b* of [`lab`].
pub fn with_lightness(drawn: &Pixels, map: &Pixels) -> Result<Pixels, PictureError> {
    by_pixel(drawn, map, |colour, [lightness, ..]| {
        let [_, a, b] = lab::from_rgb(colour);
        lab::to_rgb([lightness, a, b])
    })
}

/// `drawn` with the first channel of `map` for its V of HSV: hue and saturation stay, and black has neither.
pub fn with_value(drawn: &Pixels, map: &Pixels) -> Result<Pixels, PictureError> {
    by_pixel(drawn, map, |colour, [value, ..]| {
        let most = u32::from(colour.into_iter().fold(0, u8::max));
        if most == 0 {
            return [value; 3];
        }
        colour.map(|level| ((u32::from(level) * u32::from(value) + most / 2) / most) as u8)
    })
}

/// `drawn` with the tones of `source`: what a bell of sigma `radius` (pixels, 0 to 4096) leaves of either changes place.
/// What is finer is multiplied by `gain`.
pub fn with_tones(drawn: &Pixels, source: &Pixels, radius: f64, gain: f64) -> Result<Pixels, PictureError> {
    let (drawn, source) = pair(drawn, source)?;
    let (own, wanted) = (pillow_gaussian(&drawn, radius)?, pillow_gaussian(&source, radius)?);
    let tones = own.data.iter().zip(&wanted.data);
    let level = |(level, (own, wanted)): (&u8, (&u8, &u8))| {
        let detail = f64::from(*level) - f64::from(*own);
        (f64::from(*wanted) + gain * detail).round_ties_even().clamp(0.0, 255.0) as u8
    };
    let data = drawn.data.iter().zip(tones).map(level).collect();
    Ok(Pixels { data, ..drawn })
}

fn by_pixel(
    drawn: &Pixels,
    map: &Pixels,
    mix: impl Fn([u8; 3], [u8; 3]) -> [u8; 3],
) -> Result<Pixels, PictureError> {
    let (drawn, map) = pair(drawn, map)?;
    let ((colours, _), (levels, _)) = (drawn.data.as_chunks::<3>(), map.data.as_chunks::<3>());
    let data = colours.iter().zip(levels).flat_map(|(colour, levels)| mix(*colour, *levels)).collect();
    Ok(Pixels { data, ..drawn })
}

/// Both in RGB.
fn pair(drawn: &Pixels, with: &Pixels) -> Result<(Pixels, Pixels), PictureError> {
    same_size("The picture that a drawn one is put together with", with, drawn)?;
    Ok((to_rgb(drawn)?, to_rgb(with)?))
}

#[cfg(test)]
mod tests {
    use gesso_core::pixels::PixelFormat;

    use super::*;

    fn flat(width: u32, height: u32, colour: [u8; 3]) -> Pixels {
        let data = colour.repeat(width as usize * height as usize);
        Pixels::new(width, height, PixelFormat::Rgb8, data).unwrap()
    }

    /// One pixel put together with a grey one.
    fn pixel(
        work: impl Fn(&Pixels, &Pixels) -> Result<Pixels, PictureError>,
        colour: [u8; 3],
        level: u8,
    ) -> Vec<u8> {
        work(&flat(1, 1, colour), &flat(1, 1, [level; 3])).unwrap().data
    }

    #[test]
    fn colours_stay_and_lightness_is_the_maps() {
        // Computed in double precision by the CIE's formulas, with OpenCV's matrices.
        for (colour, lightness, wanted) in [
            ([160, 120, 90], 128, [150.6, 111.3, 81.7]),
            ([160, 120, 90], 200, [230.0, 185.3, 152.9]),
            ([90, 120, 160], 60, [19.6, 57.9, 93.2]),
            ([70, 130, 100], 90, [32.8, 93.6, 65.8]),
        ] {
            let found = pixel(with_lightness, colour, lightness);
            let near =
                found.iter().zip(wanted).all(|(found, wanted)| (f64::from(*found) - wanted).abs() < 3.0);
            assert!(near, "{colour:?} at {lightness}: {found:?}, not {wanted:?}");
            let back = lab::from_rgb([found[0], found[1], found[2]])[0];
            assert!(back.abs_diff(lightness) <= 1, "{colour:?} at {lightness}: {back}");
        }
        // OpenCV has an L of 136 for red, 224 for green and 82 for blue.
        for (colour, lightness) in [([255, 0, 0], 136), ([0, 255, 0], 224), ([0, 0, 255], 82)] {
            let found = pixel(with_lightness, colour, lightness);
            assert!(found.iter().zip(colour).all(|(found, wanted)| found.abs_diff(wanted) <= 8), "{found:?}");
        }
    }

    #[test]
    fn hue_and_saturation_stay_and_value_is_the_maps() {
        assert_eq!(pixel(with_value, [200, 100, 50], 100), [100, 50, 25]);
        assert_eq!(pixel(with_value, [10, 20, 40], 200), [50, 100, 200]);
        assert_eq!(pixel(with_value, [7, 3, 0], 0), [0; 3]);
        assert_eq!(pixel(with_value, [0; 3], 90), [90; 3]);
        assert_eq!(pixel(with_value, [3, 2, 1], 255), [255, 170, 85]);
    }

    #[test]
    fn tones_change_place_and_detail_stays() {
        // Stripes of one pixel average out under a wide bell, so that only their mean is the source's.
        let stripes = |low: u8, high: u8| {
            let data = (0..64 * 64).flat_map(|at| [if at % 2 == 0 { low } else { high }; 3]).collect();
            Pixels::new(64, 64, PixelFormat::Rgb8, data).unwrap()
        };
        let drawn = stripes(90, 110);
        assert_eq!(with_tones(&drawn, &drawn, 8.0, 1.0).unwrap(), drawn);
        let found = with_tones(&drawn, &flat(64, 64, [150, 60, 200]), 8.0, 1.0).unwrap();
        let strong = with_tones(&drawn, &flat(64, 64, [150, 60, 200]), 8.0, 1.5).unwrap();
        // Away from the edges, which are repeated outside.
        let at = |picture: &Pixels, x: usize| picture.data[(32 * 64 + x) * 3..][..3].to_vec();
        for (picture, swing) in [(&found, 10), (&strong, 15)] {
            for (x, sign) in [(32, -1), (33, 1)] {
                let wanted = [150, 60, 200].map(|level| level + sign * swing);
                let found = at(picture, x);
                let is_near = found.iter().zip(wanted).all(|(a, b)| (i32::from(*a) - b).abs() <= 2);
                assert!(is_near, "{found:?}, not {wanted:?}");
            }
        }
    }

    #[test]
    fn what_is_hidden_is_drawn_and_what_lies_far_from_it_is_kept() {
        let (drawn, source) = (flat(96, 8, [200; 3]), flat(96, 8, [40; 3]));
        // The left third, and one pixel far from it.
        let hidden: Vec<u8> =
            (0..8).flat_map(|_| (0..96).map(|x| if x < 32 || x == 80 { 255 } else { 0 })).collect();
        let hidden = Pixels::new(96, 8, PixelFormat::Gray8, hidden).unwrap();
        let found = pasted(&drawn, &source, Some(&hidden)).unwrap();
        let row: Vec<u8> = found.data[..96 * 3].iter().step_by(3).copied().collect();
        assert!(row[..32].iter().all(|level| *level == 200) && row[80] == 200, "{row:?}");
        // The bell reaches 18 pixels.
        assert!(row[50..62].iter().all(|level| *level == 40), "{row:?}");
        assert!(row[31..51].iter().rev().is_sorted() && (41..200).contains(&row[36]), "{row:?}");
        assert_eq!(pasted(&drawn, &source, None).unwrap(), source);
    }

    #[test]
    fn pictures_of_two_sizes_are_refused() {
        let (small, large) = (flat(2, 2, [0; 3]), flat(2, 3, [0; 3]));
        assert!(with_lightness(&small, &large).is_err() && with_value(&small, &large).is_err());
        assert!(with_tones(&small, &large, 1.0, 1.0).is_err() && pasted(&small, &large, None).is_err());
    }
}
