//! What a network's numbers mean as a map.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::Value;

use super::classes::{self, Palette};
use super::parts::{self, Colours};
use super::{edges, segments, slopes};
use crate::Settings;

/// What a network gives at most, of those that are known here; each edge map is brought to the picture's size.
const OUTPUTS_MAX: usize = 16;

/// How its output becomes a map. What the web UIs' modules do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Of the least and the greatest nearness: far is black.
    Nearness,
    /// Between the distances that 2 % and 85 % of the picture stay below: near is white.
    Distance,
    /// Of the least and the greatest distance: near is white. The settings say how much is nearest, and farthest.
    Remoteness,
    /// Nearness, as the directions that its surfaces face. The settings say what is background.
    Slopes,
    /// Directions of surfaces, -1 to 1, as colours.
    Normals,
    /// The picture itself, 0 to 1.
    Colours,
    /// Edges before their sigmoid, the mean of all outputs.
    Logits(Steps),
    ScribbledLogits,
    /// Edges, 0 to 1.
    Strength(Steps),
    /// Edges over a half.
    Sketch,
    ScribbledStrength,
    /// A drawing on white paper, 0 to 1: white lines on black.
    Paper,
    /// The same, -1 to 1.
    SignedPaper,
    /// The same, 0 to 255.
    PaperLevels,
    /// Ends and middles of straight lines, drawn. The settings say how likely and how long they have to be.
    Segments,
    /// What each place is, as a colour.
    Classes(Palette),
    /// Which part of a body each place of a person is, as a colour.
    Parts(&'static Colours),
}

/// How many steps above black edges come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Steps {
    /// All that there are.
    Smooth,
    Two,
    /// As the settings say; 0 is smooth.
    Asked,
}

impl Steps {
    fn count(self, settings: Settings) -> u8 {
        match self {
            Self::Smooth => 0,
            Self::Two => 2,
            Self::Asked => settings.a(2.0).round() as u8,
        }
    }
}

impl Reading {
    /// The map at `size`, width first, of outputs for an input of `fed`. `about` is what the network's file says.
    ///
    /// # Errors
    /// The end of a sentence about the network, for outputs that are no map.
    pub(super) fn map(
        self,
        outputs: &[Tensor],
        fed: (u32, u32),
        size: (u32, u32),
        settings: Settings,
        about: Option<&Value>,
    ) -> Result<Pixels, String> {
        let Some(last) = outputs.last() else {
            return Err("gives nothing".to_owned());
        };
        match self {
            Self::Segments => {
                let (value, distance) = (settings.a(0.1), settings.threshold_b.unwrap_or(0.1));
                return segments::drawn(last, size, value, distance);
            }
            Self::Classes(palette) => return classes::coloured(last, &palette.colours(about)?, size),
            Self::Parts(colours) => return parts::drawn(outputs, fed, size, colours),
            _ => {}
        }
        let pixels =
            |data: Vec<u8>| Pixels { width: size.0, height: size.1, format: PixelFormat::Rgb8, data };
        if self == Self::Slopes {
            let nearness = planes(Some(last), 1, fed, size)?.swap_remove(0);
            let background = settings.a(0.4) as f32;
            return Ok(pixels(slopes::coloured(&nearness, size.0 as usize, background)));
        }
        if matches!(self, Self::Normals | Self::Colours) {
            let planes = planes(outputs.last(), 3, fed, size)?;
            let is_signed = self == Self::Normals;
            let unit = |value: f32| if is_signed { (value + 1.0) / 2.0 } else { value };
            let level = |value: f32| byte(unit(value) * 255.0);
            let count = planes[0].len();
            let data = (0..count).flat_map(|place| [0, 1, 2].map(|channel| level(planes[channel][place])));
            return Ok(pixels(data.collect()));
        }
        let levels = match self {
            Self::Logits(_) | Self::ScribbledLogits => {
                if outputs.len() > OUTPUTS_MAX {
                    let given = shapes(outputs);
                    return Err(format!(
                        "gives {given}, more than {OUTPUTS_MAX} maps; export it so that it gives the map alone"
                    ));
                }
                let mut sum = vec![0.0_f32; size.0 as usize * size.1 as usize];
                for output in outputs {
                    for (sum, value) in sum.iter_mut().zip(&planes(Some(output), 1, fed, size)?[0]) {
                        *sum += value;
                    }
                }
                let count = outputs.len().max(1) as f32;
                sum.iter().map(|sum| 1.0 / (1.0 + (-sum / count).exp())).collect()
            }
            _ => planes(outputs.last(), 1, fed, size)?.swap_remove(0),
        };
        let width = size.0 as usize;
        let grey: Vec<u8> = match self {
            Self::Nearness => {
                let (least, most) = range(&levels);
                let span = (most - least).max(f32::MIN_POSITIVE);
                levels.iter().map(|level| byte((level - least) / span * 255.0)).collect()
            }
            Self::Remoteness => near_is_white(&levels, settings),
            Self::Distance => {
                let (near, far) = (percentile(&levels, 0.02), percentile(&levels, 0.85));
                let span = (far - near).max(f32::MIN_POSITIVE);
                levels.iter().map(|level| byte((1.0 - (level - near) / span) * 255.0)).collect()
            }
            Self::Logits(steps) | Self::Strength(steps) => {
                let count = f32::from(steps.count(settings));
                let step =
                    |level: f32| if count > 0.0 { (level * (count + 1.0)).floor() / count } else { level };
                levels.iter().map(|level| byte(step(*level) * 255.0)).collect()
            }
            Self::Sketch => levels.iter().map(|level| if *level > 0.5 { 255 } else { 0 }).collect(),
            Self::ScribbledLogits | Self::ScribbledStrength => {
                let edges: Vec<u8> = levels.iter().map(|level| byte(level * 255.0)).collect();
                edges::scribbled(&edges, width)
            }
            Self::Paper => levels.iter().map(|level| 255 - byte(level * 255.0)).collect(),
            Self::PaperLevels => levels.iter().map(|level| byte(255.0 - level)).collect(),
            Self::SignedPaper => levels.iter().map(|level| 255 - byte(level * 127.5 + 127.5)).collect(),
            // Came back above.
            Self::Slopes
            | Self::Normals
            | Self::Colours
            | Self::Segments
            | Self::Classes(_)
            | Self::Parts(_) => Vec::new(),
        };
        Ok(pixels(grey.into_iter().flat_map(|level| [level; 3]).collect()))
    }
}

/// Distances in steps of a byte, as OpenCV makes it of 16 bits; so many percent of them count as the least, and so many of what is
/// left as the greatest.
pub(super) fn near_is_white(distances: &[f32], settings: Settings) -> Vec<u8> {
    let (least, most) = range(distances);
    let span = (most - least).max(f32::MIN_POSITIVE);
    let cut = |level: u8, percent: f64| if f64::from(level) > percent / 100.0 * 255.0 { level } else { 0 };
    let (near, background) = (settings.a(0.0), settings.threshold_b.unwrap_or(0.0));
    let level = |distance: &f32| {
        let of_16_bits = ((distance - least) / span * 65_535.0).floor();
        let far = byte((of_16_bits / 257.0).round_ties_even());
        cut(255 - cut(far, near), background)
    };
    distances.iter().map(level).collect()
}

/// Truncated, as numpy's `astype` has it; what is no number is black.
fn byte(level: f32) -> u8 {
    level.clamp(0.0, 255.0) as u8
}

/// The shapes of what a network gives, for a sentence about it; of very many the first.
pub(super) fn shapes(outputs: &[Tensor]) -> String {
    let named: Vec<&Vec<u32>> = outputs.iter().take(OUTPUTS_MAX).map(|output| &output.shape).collect();
    match outputs.len() - named.len() {
        0 => format!("{named:?}"),
        more => format!("{named:?} and {more} more"),
    }
}

/// The least and the greatest.
pub(super) fn range(levels: &[f32]) -> (f32, f32) {
    levels.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), level| {
        (least.min(*level), most.max(*level))
    })
}

/// Between the two nearest, as numpy has it.
fn percentile(levels: &[f32], share: f32) -> f32 {
    let mut sorted = levels.to_vec();
    sorted.sort_by(f32::total_cmp);
    let place = share * (sorted.len().saturating_sub(1)) as f32;
    let at = |place: f32| sorted.get(place as usize).copied().unwrap_or_default();
    at(place.floor()) + (at(place.ceil()) - at(place.floor())) * place.fract()
}

/// The first `count` planes of an output, each brought to `size` where the network gives another.
pub(super) fn planes(
    output: Option<&Tensor>,
    count: usize,
    fed: (u32, u32),
    size: (u32, u32),
) -> Result<Vec<Vec<f32>>, String> {
    let output = output.ok_or("gives nothing")?;
    let (rows, columns, channels) = match *output.shape.as_slice() {
        [rows, columns] | [1, rows, columns] => (rows, columns, 1),
        [1, channels, rows, columns] => (rows, columns, channels as usize),
        _ => (0, 0, 0),
    };
    let (rows, columns) = (rows as usize, columns as usize);
    let plane = rows * columns;
    if plane == 0 || channels < count || output.values.len() != plane * channels {
        return Err(format!(
            "gives {:?} for a picture of {} x {}, which is no map; export it so that it gives the map alone",
            output.shape, fed.0, fed.1
        ));
    }
    let planes = output.values.chunks_exact(plane).take(count);
    Ok(planes.map(|values| resized(values, (rows, columns), size)).collect())
}

/// Where a place lies between two others, along one side: the first, the second, and how far it is from the first.
pub(super) type Between = (usize, usize, f32);

/// The place `at` of `to` between those of `from`, by the middles of places; beyond the outermost it is they.
pub(super) fn between(at: f64, from: usize, to: f64) -> Between {
    let last = from - 1;
    let exact = ((at + 0.5) * from as f64 / to - 0.5).clamp(0.0, last as f64);
    (exact as usize, (exact as usize + 1).min(last), exact.fract() as f32)
}

/// Bilinear, between the centres of pixels.
pub(super) fn resized(
    values: &[f32],
    (rows, columns): (usize, usize),
    (width, height): (u32, u32),
) -> Vec<f32> {
    let (width, height) = (width as usize, height as usize);
    if (rows, columns) == (height, width) {
        return values.to_vec();
    }
    let places = |from: usize, to: usize| -> Vec<Between> {
        (0..to).map(|at| between(at as f64, from, to as f64)).collect()
    };
    let (across, down) = (places(columns, width), places(rows, height));
    let mut resized = Vec::with_capacity(width * height);
    for (top, bottom, share) in down {
        let (top, bottom) = (&values[top * columns..][..columns], &values[bottom * columns..][..columns]);
        resized.extend(across.iter().map(|&(left, right, along)| {
            let row = |row: &[f32]| row[left] + (row[right] - row[left]) * along;
            row(top) + (row(bottom) - row(top)) * share
        }));
    }
    resized
}
