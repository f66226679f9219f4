//! sRGB to CIE L*a*b* and back in 8 bits, with the tables and shifts of OpenCV's `COLOR_RGB2LAB`.
//!
//! L is scaled from 0..100 to 0..255, a and b are moved up by 128. Called by the colour correction and by `recombine`, and by plugins.

use std::sync::LazyLock;

/// One in the fixed point of the XYZ matrices.
const MATRIX_ONE: i32 = 1 << 12;
/// Linear light: 255 * 8 is one.
const LIGHT_ONE: usize = 255 * 8;
/// Bits of the cube roots.
const ROOT_BITS: i32 = 15;
/// One on the way back from Lab.
const BASE: i32 = 1 << 14;
/// Steps of linear light on the way back to sRGB.
const INVERSE_STEPS: usize = 1 << 12;

/// Red, green and blue of sRGB in X, Y and Z of D65, and back; OpenCV's digits.
const TO_XYZ: [[f64; 3]; 3] =
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]];
const FROM_XYZ: [[f64; 3]; 3] =
    [[3.240479, -1.53715, -0.498535], [-0.969256, 1.875991, 0.041556], [0.055648, -0.204043, 1.057311]];
const WHITE: [f64; 3] = [0.950456, 1.0, 1.088754];

struct Tables {
    to_xyz: [[i32; 3]; 3],
    from_xyz: [[i32; 3]; 3],
    light: Vec<i32>,
    root: Vec<i32>,
    /// Relative luminance and its cube root for each L.
    luminance: Vec<(i32, i32)>,
    level: Vec<u8>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables {
    to_xyz: std::array::from_fn(|axis| {
        TO_XYZ[axis].map(|part| (part / WHITE[axis] * f64::from(MATRIX_ONE)).round_ties_even() as i32)
    }),
    from_xyz: FROM_XYZ.map(|row| {
        std::array::from_fn(|axis| (row[axis] * WHITE[axis] * f64::from(MATRIX_ONE)).round_ties_even() as i32)
    }),
    light: (0..256)
        .map(|level| {
            let x = f64::from(level) / 255.0;
            let linear = if x <= 0.04045 { x / 12.92 } else { ((x + 0.055) / 1.055).powf(2.4) };
            (linear * LIGHT_ONE as f64).round_ties_even() as i32
        })
        .collect(),
    root: (0..LIGHT_ONE * 3 / 2)
        .map(|light| {
            let x = light as f64 / LIGHT_ONE as f64;
            let root = if x < 216.0 / 24389.0 { x * 841.0 / 108.0 + 16.0 / 116.0 } else { x.cbrt() };
            (root * f64::from(1 << ROOT_BITS)).round_ties_even() as i32
        })
        .collect(),
    luminance: (0..256)
        .map(|level| {
            let lightness = f64::from(level) * 100.0 / 255.0;
            let root = (lightness + 16.0) / 116.0;
            let y = if lightness <= 8.0 { lightness * 27.0 / 24389.0 } else { root.powi(3) };
            let fixed = |value: f64| (value * f64::from(BASE)).round_ties_even() as i32;
            (fixed(y), fixed(root))
        })
        .collect(),
    level: (0..INVERSE_STEPS)
        .map(|step| {
            let x = step as f64 / INVERSE_STEPS as f64;
            let encoded = if x <= 0.0031308 { x * 12.92 } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 };
            (encoded * 255.0).round_ties_even() as u8
        })
        .collect(),
});

/// `value / 2^bits`, rounded half up.
fn descale(value: i32, bits: i32) -> i32 {
    (value + (1 << (bits - 1))) >> bits
}

fn dot(row: [i32; 3], vector: [i32; 3]) -> i32 {
    row.iter().zip(vector).map(|(a, b)| a * b).sum()
}

pub fn from_rgb(rgb: [u8; 3]) -> [u8; 3] {
    let tables = &*TABLES;
    let light = rgb.map(|level| tables.light[usize::from(level)]);
    let [x, y, z] = tables.to_xyz.map(|row| {
        let index = descale(dot(row, light), 12) as usize;
        tables.root[index.min(tables.root.len() - 1)]
    });
    let lightness = descale((116 * 255 + 50) / 100 * y - (16 * 255 * (1 << ROOT_BITS) + 50) / 100, ROOT_BITS);
    let a = descale(500 * (x - y) + 128 * (1 << ROOT_BITS), ROOT_BITS);
    let b = descale(200 * (y - z) + 128 * (1 << ROOT_BITS), ROOT_BITS);
    [lightness, a, b].map(|value| value.clamp(0, 255) as u8)
}

/// The cube of `root`, or the straight line that replaces it near black; both in parts of [`BASE`].
fn cubed(root: i32) -> i32 {
    if root <= BASE * 6 / 29 {
        root * 108 / 841 - BASE * 16 / 116 * 108 / 841
    } else {
        root * root / BASE * root / BASE
    }
}

pub fn to_rgb([lightness, a, b]: [u8; 3]) -> [u8; 3] {
    let tables = &*TABLES;
    let (y, root) = tables.luminance[usize::from(lightness)];
    // a / 500 and b / 200 in parts of BASE, the offset of 128 taken out after the shift.
    let a = ((5 * i32::from(a) * 53687 + (1 << 7)) >> 13) - 128 * BASE / 500;
    let b = ((i32::from(b) * 41943 + (1 << 4)) >> 9) - 128 * BASE / 200 + 1;
    let xyz = [cubed(root + a), y, cubed(root - b)];
    tables.from_xyz.map(|row| {
        let step = descale(dot(row, xyz), 14).clamp(0, INVERSE_STEPS as i32 - 1);
        tables.level[step as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greys_have_no_colour_and_come_back() {
        for level in 0..=255_u8 {
            let [_, a, b] = from_rgb([level; 3]);
            assert_eq!((a, b), (128, 128), "{level}");
            let back = to_rgb(from_rgb([level; 3]));
            assert!(back.iter().all(|&channel| channel.abs_diff(level) <= 2), "{level}: {back:?}");
        }
    }
}
