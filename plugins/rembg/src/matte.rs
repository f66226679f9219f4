//! How the networks that rembg made known are fed, and what they give. Pure: asks nobody.

use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::Value;

const SIDE_MAX: u64 = 2048;

/// A network's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// Pixels of its square input.
    pub side: u32,
    mean: [f32; 3],
    deviation: [f32; 3],
}

impl Network {
    /// U²-Net and its kin see 320 pixels by the mean and deviation of ImageNet, IS-Net 1024 by a half and one; a file that
    /// says `imgsz` has that.
    pub fn of(name: &str, about: Option<&Value>) -> Self {
        let usual = if name.to_ascii_lowercase().starts_with("isnet") {
            Self { side: 1024, mean: [0.5; 3], deviation: [1.0; 3] }
        } else {
            Self { side: 320, mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] }
        };
        let asked = about.and_then(|about| match &about["imgsz"] {
            Value::Array(sides) => sides.first()?.as_u64(),
            one => one.as_u64(),
        });
        let asked = asked.filter(|side| (8..=SIDE_MAX).contains(side)).map(|side| side as u32);
        Self { side: asked.unwrap_or(usual.side), ..usual }
    }

    /// `[1, 3, side, side]` of RGB bytes; the brightest of them counts as white.
    pub fn input(&self, colours: &[u8]) -> Tensor {
        let brightest = colours.iter().copied().max().unwrap_or_default().max(1);
        let (pixels, _) = colours.as_chunks::<3>();
        let mut values = Vec::with_capacity(colours.len());
        for channel in 0..3 {
            let (mean, deviation) = (self.mean[channel], self.deviation[channel]);
            let unit = |pixel: &[u8; 3]| f32::from(pixel[channel]) / f32::from(brightest);
            values.extend(pixels.iter().map(|pixel| (unit(pixel) - mean) / deviation));
        }
        Tensor { shape: vec![1, 3, self.side, self.side], values }
    }
}

/// Rows, columns and grey levels of the first output, from its least to its greatest value.
///
/// # Errors
/// The end of a sentence about the network.
pub fn levels(outputs: &[Tensor]) -> Result<(u32, u32, Vec<u8>), String> {
    let first = outputs.first().ok_or("gives nothing")?;
    let (rows, columns) = match *first.shape.as_slice() {
        [1, 1, rows, columns] | [1, rows, columns] | [rows, columns] => (rows, columns),
        _ => (0, 0),
    };
    let count = rows as usize * columns as usize;
    if count == 0 || first.values.len() != count {
        return Err(format!("gives {:?}, which is no mask", first.shape));
    }
    let numbers = first.values.iter().copied().filter(|value| value.is_finite());
    let (least, most) =
        numbers.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
    let span = (most - least).max(f32::MIN_POSITIVE);
    let level = |value: &f32| ((value - least) / span * 255.0).clamp(0.0, 255.0) as u8;
    Ok((rows, columns, first.values.iter().map(level).collect()))
}

/// RGB and grey bytes as RGBA.
pub fn with_alpha(colours: &[u8], mask: &[u8]) -> Vec<u8> {
    let (pixels, _) = colours.as_chunks::<3>();
    pixels.iter().zip(mask).flat_map(|([red, green, blue], alpha)| [*red, *green, *blue, *alpha]).collect()
}

#[cfg(test)]
mod tests {
    use gesso_plugin::serde_json::json;

    use super::*;

    #[test]
    fn networks_are_fed_by_their_names_and_files() {
        assert_eq!(Network::of("u2netp", None).side, 320);
        assert_eq!(Network::of("ISNet-anime", None).side, 1024);
        let small = Network::of("u2net", Some(&json!({"imgsz": [8, 8]})));
        assert_eq!(small.side, 8);
        let input = small.input(&[[100, 50, 0]; 64].concat());
        assert_eq!(input.shape, [1, 3, 8, 8]);
        // 100 is the brightest, and so white.
        assert!((input.values[0] - (1.0 - 0.485) / 0.229).abs() < 1e-6);
        assert!((input.values[64] - (0.5 - 0.456) / 0.224).abs() < 1e-6);
    }

    #[test]
    fn the_least_is_background_and_the_greatest_stays() {
        let output = Tensor { shape: vec![1, 1, 1, 4], values: vec![0.25, 0.5, 0.75, f32::NAN] };
        assert_eq!(levels(&[output]).unwrap(), (1, 4, vec![0, 127, 255, 0]));
        let even = Tensor { shape: vec![2, 1], values: vec![0.5, 0.5] };
        assert_eq!(levels(&[even]).unwrap().2, [0, 0]);
        assert!(levels(&[]).is_err());
        let two = Tensor { shape: vec![1, 2, 1, 1], values: vec![0.0; 2] };
        assert!(levels(&[two]).unwrap_err().contains("[1, 2, 1, 1]"));
        assert_eq!(with_alpha(&[1, 2, 3, 4, 5, 6], &[7, 8]), [1, 2, 3, 7, 4, 5, 6, 8]);
    }
}
