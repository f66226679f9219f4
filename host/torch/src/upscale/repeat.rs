//! Enlarges a picture by any factor with a network of a fixed one, as the generic upscaler of web UIs does: the
//! network as often as needed, then a resize to the exact size. Knows neither the network nor the resize.

use gesso_core::pixels::Pixels;

use super::error::PictureError;

/// Most runs of the network for one picture.
const RUNS_MAX: usize = 3;
/// Sides of the result are whole multiples of this.
const SIDE_MULTIPLE: f64 = 8.0;

/// Enlarges `picture` to its sides times `scale`, each rounded down to a multiple of eight.
///
/// `net` runs up to three times, until neither side is too short; at `scale` 1 it runs once all the same, which is
/// how a network of scale 1 cleans a picture. A network that keeps the size runs once. `resize` (Lanczos in web
/// UIs) takes what came out to the exact width and height, and is not called when it is that already.
///
/// # Errors
/// [`PictureError::Request`] when a side of the result would be 0 or too long, else what `net` or `resize` met.
pub fn upscale_by(
    picture: &Pixels,
    scale: f64,
    net: &mut dyn FnMut(&Pixels) -> Result<Pixels, PictureError>,
    resize: &dyn Fn(&Pixels, u32, u32) -> Result<Pixels, PictureError>,
) -> Result<Pixels, PictureError> {
    let (width, height) = (side(picture.width, scale)?, side(picture.height, scale)?);
    let mut enlarged: Option<Pixels> = None;
    for run in 0..RUNS_MAX {
        let now = enlarged.as_ref().unwrap_or(picture);
        let clean = run == 0 && scale == 1.0;
        if now.width >= width && now.height >= height && !clean {
            break;
        }
        let next = net(now)?;
        let same = (next.width, next.height) == (now.width, now.height);
        enlarged = Some(next);
        if same {
            break;
        }
    }
    let enlarged = enlarged.unwrap_or_else(|| picture.clone());
    if (enlarged.width, enlarged.height) == (width, height) {
        return Ok(enlarged);
    }
    resize(&enlarged, width, height)
}

/// A side of the result.
fn side(length: u32, scale: f64) -> Result<u32, PictureError> {
    let side = (f64::from(length) * scale / SIDE_MULTIPLE).floor() * SIDE_MULTIPLE;
    if (SIDE_MULTIPLE..=f64::from(u32::MAX)).contains(&side) {
        return Ok(side as u32);
    }
    Err(PictureError::Request(format!(
        "{length} pixels times {scale} leave a side of {side} pixels; choose a scale that gives from 8 to {} pixels",
        u32::MAX
    )))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use gesso_core::pixels::PixelFormat;

    use super::*;

    fn blank(width: u32, height: u32) -> Pixels {
        let data = vec![0; Pixels::byte_len(width, height, PixelFormat::Gray8).unwrap()];
        Pixels::new(width, height, PixelFormat::Gray8, data).unwrap()
    }

    /// Size of the result, runs of the network, and whether the resize was needed.
    fn run(width: u32, height: u32, scale: f64, net: u32) -> (u32, u32, usize, bool) {
        let mut runs = 0;
        let resized = Cell::new(false);
        let mut enlarge = |picture: &Pixels| {
            runs += 1;
            Ok(blank(picture.width * net, picture.height * net))
        };
        let resize = |_: &Pixels, width, height| {
            resized.set(true);
            Ok(blank(width, height))
        };
        let result = upscale_by(&blank(width, height), scale, &mut enlarge, &resize).unwrap();
        (result.width, result.height, runs, resized.get())
    }

    #[test]
    fn the_network_runs_until_the_picture_is_large_enough() {
        assert_eq!(run(16, 24, 4.0, 4), (64, 96, 1, false));
        assert_eq!(run(16, 24, 2.0, 4), (32, 48, 1, true));
        assert_eq!(run(16, 24, 4.0, 2), (64, 96, 2, false));
        assert_eq!(run(16, 24, 16.0, 2), (256, 384, 3, true));
    }

    #[test]
    fn sides_are_rounded_down_to_eights() {
        assert_eq!(run(20, 30, 1.5, 2), (24, 40, 1, true));
        assert_eq!(run(13, 13, 1.9, 4), (24, 24, 1, true));
    }

    #[test]
    fn a_network_that_keeps_the_size_runs_once() {
        assert_eq!(run(16, 16, 2.0, 1), (32, 32, 1, true));
    }

    #[test]
    fn scale_one_runs_the_network_once_and_smaller_ones_never() {
        assert_eq!(run(16, 16, 1.0, 1), (16, 16, 1, false));
        assert_eq!(run(16, 16, 1.0, 4), (16, 16, 1, true));
        assert_eq!(run(16, 16, 0.5, 4), (8, 8, 0, true));
    }

    #[test]
    fn refuses_sides_of_nothing_and_beyond_measure() {
        for scale in [0.0, -1.0, 0.4, 1e9, f64::NAN, f64::INFINITY] {
            let result = upscale_by(&blank(16, 16), scale, &mut |_| panic!(), &|_, _, _| panic!());
            assert!(matches!(result, Err(PictureError::Request(_))), "{scale}");
        }
    }

    #[test]
    fn what_stops_the_network_stops_the_whole() {
        let result =
            upscale_by(&blank(16, 16), 2.0, &mut |_| Err(PictureError::Cancelled), &|_, _, _| panic!());
        assert!(matches!(result, Err(PictureError::Cancelled)));
    }
}
