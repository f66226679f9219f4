//! Makes a picture's map of few levels. Rows go through in bands, so that a large picture takes no large memory.

use gesso_plugin::{Annotated, Annotation, Annotator, Fault};

const BAND_ROWS: u32 = 256;

struct Plugin;

impl Annotator for Plugin {
    fn annotate(_module: &str, annotation: Annotation) -> Result<Annotated, Fault> {
        let levels = annotation.threshold_a.unwrap_or(4.0) as u8;
        let mut picture = annotation.source;
        let height = picture.desc().height;
        for first in (0..height).step_by(BAND_ROWS as usize) {
            let mut rows = picture.read_rows(first, BAND_ROWS.min(height - first))?;
            rows.iter_mut().for_each(|level| *level = posterized(*level, levels));
            picture.write_rows(first, &rows)?;
        }
        Ok(picture.into())
    }
}

gesso_plugin::annotator!(Plugin, manifest = "manifest.json");

/// The nearest of `levels` levels from black to white.
fn posterized(level: u8, levels: u8) -> u8 {
    let steps = u32::from(levels.max(2)) - 1;
    let step = (u32::from(level) * steps + 127) / 255;
    (step * 255 / steps) as u8
}

#[cfg(test)]
mod tests {
    use gesso_plugin::{PixelFormat, fake};

    use super::*;

    #[test]
    fn levels_are_the_nearest_of_a_few() {
        assert_eq!([0, 100, 130, 255].map(|level| posterized(level, 2)), [0, 0, 255, 255]);
        assert_eq!(posterized(90, 4), 85);
    }

    #[test]
    fn every_row_of_a_picture_of_several_bands_is_posterized() -> Result<(), Fault> {
        let height = 2 * BAND_ROWS + 1;
        let source = fake::picture(1, height, PixelFormat::Rgb8, &[90_u8, 0, 255].repeat(height as usize));
        let annotation =
            Annotation { source, mask: None, resolution: None, threshold_a: Some(4.0), threshold_b: None };
        let Annotated { picture: map, data } = Plugin::annotate("posterize", annotation)?;
        assert_eq!(data, None);
        assert_eq!(map.read_rows(0, height)?, [85_u8, 0, 255].repeat(height as usize));
        Ok(())
    }
}
