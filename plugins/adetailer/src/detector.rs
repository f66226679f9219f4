//! YOLO detectors: a picture brought to their input, and what their outputs say of it. Shapes are those that `yolo export
//! format=torchscript` gives for YOLOv5u to YOLO11 (`[1, 4 + classes + coefficients, places]`, with a second output of mask
//! prototypes where the network segments) and for networks that suppress by themselves (`[1, places, 6]`).
//! Pure: asks nobody.

use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::Value;

/// Two boxes of one class that share more of their union than this are one find.
const OVERLAP_MAX: f32 = 0.7;
/// Finds in one picture.
const FINDS_MAX: usize = 300;
/// The longest side of an input.
const SIDE_MAX: u32 = 2048;
const GREY: f32 = 114.0 / 255.0;

/// What a network's file says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Pixels of its input.
    pub width: u32,
    pub height: u32,
    /// By number; empty where the file does not say.
    pub classes: Vec<String>,
}

impl About {
    /// Of `config.txt`; what it does not say is as most detectors have it.
    pub fn read(about: Option<&Value>) -> Self {
        let side = |value: &Value| value.as_u64().map(|side| side.clamp(32, u64::from(SIDE_MAX)) as u32);
        let size = about.and_then(|about| match &about["imgsz"] {
            Value::Array(sides) => Some((side(sides.first()?)?, side(sides.get(1)?)?)),
            one => side(one).map(|one| (one, one)),
        });
        let (height, width) = size.unwrap_or((640, 640));
        let name = |name: &Value| name.as_str().unwrap_or_default().to_owned();
        let classes = match about.map(|about| &about["names"]) {
            Some(Value::Array(names)) => names.iter().map(name).collect(),
            Some(Value::Object(names)) => (0..names.len())
                .map(|number| names.get(&number.to_string()).map(name).unwrap_or_default())
                .collect(),
            _ => Vec::new(),
        };
        Self { width, height, classes }
    }
}

/// How a picture lies in a network's input: scaled to fit, in the middle, grey around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Pixels of the picture.
    pub picture: (u32, u32),
    pub input: (u32, u32),
    /// Pixels it has in the input.
    pub scaled: (u32, u32),
    left: u32,
    top: u32,
}

impl Placement {
    pub fn of(picture: (u32, u32), input: (u32, u32)) -> Self {
        let (width, height) = (picture.0.max(1), picture.1.max(1));
        let scale = (f64::from(input.0) / f64::from(width)).min(f64::from(input.1) / f64::from(height));
        let side = |side: u32, most: u32| ((f64::from(side) * scale).round() as u32).clamp(1, most);
        let scaled = (side(width, input.0), side(height, input.1));
        // Half a pixel more goes to the right and to the bottom.
        let before = |whole: u32, part: u32| (whole - part) / 2;
        Self { picture, input, scaled, left: before(input.0, scaled.0), top: before(input.1, scaled.1) }
    }

    /// The input, from RGB bytes of the scaled picture.
    pub fn input(&self, scaled: &[u8]) -> Tensor {
        let (width, height) = (self.input.0 as usize, self.input.1 as usize);
        let plane = width * height;
        let mut values = vec![GREY; 3 * plane];
        let row_bytes = self.scaled.0 as usize * 3;
        for (y, row) in scaled.chunks_exact(row_bytes).take(self.scaled.1 as usize).enumerate() {
            let start = (y + self.top as usize) * width + self.left as usize;
            for (x, pixel) in row.as_chunks::<3>().0.iter().enumerate() {
                for (channel, &level) in pixel.iter().enumerate() {
                    values[channel * plane + start + x] = f32::from(level) / 255.0;
                }
            }
        }
        Tensor { shape: vec![1, 3, self.input.1, self.input.0], values }
    }

    /// A place of the input in the picture, within it.
    fn in_picture(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let back = |at: f32, before: u32, scaled: u32, picture: u32| {
            ((at - before as f32) * picture as f32 / scaled as f32).clamp(0.0, picture as f32)
        };
        (back(x, self.left, self.scaled.0, self.picture.0), back(y, self.top, self.scaled.1, self.picture.1))
    }
}

/// Left, top, right, bottom.
pub type Box = [f32; 4];

/// Something that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Find {
    /// In pixels of the picture.
    pub area: Box,
    /// 0 to 1.
    pub score: f32,
    pub class: usize,
    /// Of each mask prototype, how much it says of the find; none where the network does not segment.
    coefficients: Vec<f32>,
}

/// What was found in one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Finds {
    /// The surest first.
    pub all: Vec<Find>,
    placement: Placement,
    prototypes: Option<Tensor>,
}

/// Grey, 255 where something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    pub width: u32,
    pub height: u32,
    pub data: Vec<u8>,
}

/// What the outputs of a network say, the surest first.
///
/// # Errors
/// A sentence for outputs that no such detector gives.
pub fn finds(outputs: &[Tensor], placement: Placement, score_min: f32) -> Result<Finds, String> {
    let unfit = || {
        let shapes: Vec<_> = outputs.iter().map(|output| format!("{:?}", output.shape)).collect();
        format!("its outputs {} are not those of a YOLO detector", shapes.join(", "))
    };
    let first = outputs.first().ok_or_else(unfit)?;
    let &[1, rows, columns] = first.shape.as_slice() else { return Err(unfit()) };
    let prototypes = outputs.iter().skip(1).find(|output| output.shape.len() == 4);
    let (rows, columns) = (rows as usize, columns as usize);
    if first.values.len() != rows * columns {
        return Err(unfit());
    }
    let raw = if columns == 6 && prototypes.is_none() && rows != 6 {
        suppressed_by_network(first, score_min)
    } else {
        let coefficients = prototypes.map_or(0, |prototypes| prototypes.shape[1] as usize);
        let classes = rows.checked_sub(4 + coefficients).filter(|classes| *classes > 0).ok_or_else(unfit)?;
        suppress(candidates(first, columns, classes, coefficients, score_min))
    };
    if let Some(&[batch, count, rows, columns]) = prototypes.map(|prototypes| prototypes.shape.as_slice()) {
        let values = prototypes.map_or(0, |prototypes| prototypes.values.len());
        let sides = [batch, count, rows, columns].map(|side| side as usize);
        if batch != 1 || sides.contains(&0) || values != sides.iter().product::<usize>() {
            return Err(unfit());
        }
    }
    let placed = |raw: Find| {
        let (left, top) = placement.in_picture((raw.area[0], raw.area[1]));
        let (right, bottom) = placement.in_picture((raw.area[2], raw.area[3]));
        Find { area: [left, top, right, bottom], ..raw }
    };
    let all = raw.into_iter().map(placed).collect();
    Ok(Finds { all, placement, prototypes: prototypes.cloned() })
}

// Up to where they are placed, finds are in pixels of the input.

fn candidates(
    output: &Tensor,
    places: usize,
    classes: usize,
    coefficients: usize,
    score_min: f32,
) -> Vec<Find> {
    let at = |row: usize, place: usize| output.values[row * places + place];
    let candidate = |place: usize| {
        let scores = (0..classes).map(|class| (class, at(4 + class, place)));
        let (class, score) = scores.max_by(|a, b| a.1.total_cmp(&b.1))?;
        let [x, y, width, height] = [0, 1, 2, 3].map(|row| at(row, place));
        let area = [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
        let is_good = score > score_min && area.iter().all(|side| side.is_finite());
        is_good.then(|| Find {
            area,
            score,
            class,
            coefficients: (0..coefficients).map(|index| at(4 + classes + index, place)).collect(),
        })
    };
    (0..places).filter_map(candidate).collect()
}

fn suppressed_by_network(output: &Tensor, score_min: f32) -> Vec<Find> {
    let rows = output.values.as_chunks::<6>().0.iter();
    let finds = rows.filter(|row| row[4] > score_min && row.iter().all(|value| value.is_finite()));
    finds
        .map(|&[left, top, right, bottom, score, class]| Find {
            area: [left, top, right, bottom],
            score,
            class: class.max(0.0) as usize,
            coefficients: Vec::new(),
        })
        .take(FINDS_MAX)
        .collect()
}

/// Of several of one class that lie on each other, the surest.
fn suppress(mut candidates: Vec<Find>) -> Vec<Find> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Find> = Vec::new();
    for candidate in candidates {
        let is_known = kept.iter().any(|known| {
            known.class == candidate.class && overlap(&known.area, &candidate.area) > OVERLAP_MAX
        });
        if !is_known {
            kept.push(candidate);
        }
        if kept.len() == FINDS_MAX {
            break;
        }
    }
    kept
}

/// Intersection over union.
fn overlap(a: &Box, b: &Box) -> f32 {
    let size = |area: &Box| (area[2] - area[0]).max(0.0) * (area[3] - area[1]).max(0.0);
    let both = [a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])];
    let both = size(&both);
    let union = size(a) + size(b) - both;
    if union > 0.0 { both / union } else { 0.0 }
}

impl Finds {
    /// Pixels of the picture.
    pub fn picture(&self) -> (u32, u32) {
        self.placement.picture
    }

    /// White where a find is, of the picture's size: a rectangle, or the part of it that the network means.
    pub fn mask(&self, find: &Find) -> Mask {
        let mut mask = Mask::rectangle(self.placement.picture, &find.area);
        if let Some(prototypes) = &self.prototypes {
            self.shape(prototypes, find, &mut mask);
        }
        mask
    }

    /// Takes out of a rectangle where the prototypes, in the find's proportions, are not positive; the picture's pixels lie
    /// between their values.
    fn shape(&self, prototypes: &Tensor, find: &Find, mask: &mut Mask) {
        let placement = &self.placement;
        let (rows, columns) = (prototypes.shape[2] as usize, prototypes.shape[3] as usize);
        let plane = rows * columns;
        let mut logits = vec![0.0_f32; plane];
        for (prototype, coefficient) in prototypes.values.chunks_exact(plane).zip(&find.coefficients) {
            for (logit, value) in logits.iter_mut().zip(prototype) {
                *logit += coefficient * value;
            }
        }
        let (across, down) =
            (columns as f32 / placement.input.0 as f32, rows as f32 / placement.input.1 as f32);
        let scale = |scaled: u32, picture: u32| scaled as f32 / picture as f32;
        let (scale_x, scale_y) =
            (scale(placement.scaled.0, placement.picture.0), scale(placement.scaled.1, placement.picture.1));
        let width = mask.width as usize;
        for (index, pixel) in mask.data.iter_mut().enumerate().filter(|(_, pixel)| **pixel > 0) {
            let (x, y) = ((index % width) as f32 + 0.5, (index / width) as f32 + 0.5);
            let at_x = (x * scale_x + placement.left as f32) * across - 0.5;
            let at_y = (y * scale_y + placement.top as f32) * down - 0.5;
            if bilinear(&logits, (rows, columns), (at_x, at_y)) <= 0.0 {
                *pixel = 0;
            }
        }
    }
}

fn bilinear(values: &[f32], (rows, columns): (usize, usize), (x, y): (f32, f32)) -> f32 {
    let (x, y) = (x.clamp(0.0, columns as f32 - 1.0), y.clamp(0.0, rows as f32 - 1.0));
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(columns - 1), (top + 1).min(rows - 1));
    let (along, down) = (x - left as f32, y - top as f32);
    let row =
        |row: usize| values[row * columns + left] * (1.0 - along) + values[row * columns + right] * along;
    row(top) * (1.0 - down) + row(bottom) * down
}

impl Mask {
    pub fn rectangle((width, height): (u32, u32), area: &Box) -> Self {
        let last = |side: f32, whole: u32| (side.max(0.0) as u32).min(whole.saturating_sub(1));
        let (left, right) = (last(area[0], width), last(area[2], width));
        let (top, bottom) = (last(area[1], height), last(area[3], height));
        let mut data = vec![0; width as usize * height as usize];
        for y in top..=bottom.max(top) {
            let start = y as usize * width as usize;
            data[start + left as usize..=start + right.max(left) as usize].fill(255);
        }
        Self { width, height, data }
    }
}

#[cfg(test)]
mod tests {
    use gesso_plugin::serde_json::json;

    use super::*;

    /// Rows of x, y, width, height, scores of two classes.
    fn output(finds: &[[f32; 6]]) -> Tensor {
        let values = (0..6).flat_map(|row| finds.iter().map(move |find| find[row])).collect();
        Tensor { shape: vec![1, 6, finds.len() as u32], values }
    }

    #[test]
    fn the_surest_of_each_class_and_place_is_kept_in_pixels_of_the_picture() {
        // A picture of 200x100 in 100x100: half as large, 25 rows below the top.
        let placement = Placement::of((200, 100), (100, 100));
        assert_eq!((placement.scaled, placement.top, placement.left), ((100, 50), 25, 0));
        let finds = finds(
            &[output(&[
                [50.0, 50.0, 20.0, 10.0, 0.8, 0.1],
                [51.0, 50.0, 20.0, 10.0, 0.9, 0.1],
                [50.0, 50.0, 20.0, 10.0, 0.1, 0.7],
                [10.0, 30.0, 40.0, 20.0, 0.6, 0.0],
                [80.0, 50.0, 5.0, 5.0, 0.2, 0.3],
                [f32::NAN, 50.0, 5.0, 5.0, 0.9, 0.3],
            ])],
            placement,
            0.3,
        )
        .unwrap();
        let found: Vec<_> = finds.all.iter().map(|find| (find.class, find.area)).collect();
        assert_eq!(
            found,
            [
                (0, [82.0, 40.0, 122.0, 60.0]),
                (1, [80.0, 40.0, 120.0, 60.0]),
                // What lies outside of the picture is cut off.
                (0, [0.0, 0.0, 60.0, 30.0]),
            ]
        );
        let mask = finds.mask(&finds.all[0]);
        assert_eq!((mask.width, mask.height), (200, 100));
        assert_eq!(mask.data.iter().filter(|pixel| **pixel == 255).count(), 41 * 21);
    }

    #[test]
    fn a_segmenting_network_says_which_part_of_its_box_it_means() {
        let placement = Placement::of((64, 64), (64, 64));
        let find = Tensor { shape: vec![1, 6, 1], values: vec![32.0, 32.0, 64.0, 64.0, 0.9, 1.0] };
        // The prototype is positive on the left half.
        let values = (0..16).flat_map(|_| (0..16).map(|x| if x < 8 { 1.0 } else { -1.0 })).collect();
        let prototypes = Tensor { shape: vec![1, 1, 16, 16], values };
        let found = finds(&[find, prototypes], placement, 0.3).unwrap();
        let mask = found.mask(&found.all[0]);
        let row = &mask.data[32 * 64..33 * 64];
        assert!(
            row[..31].iter().all(|pixel| *pixel == 255) && row[33..].iter().all(|pixel| *pixel == 0),
            "{row:?}"
        );
    }

    #[test]
    fn networks_that_suppress_by_themselves_are_read_too() {
        let placement = Placement::of((64, 64), (64, 64));
        let values = vec![1.0, 2.0, 30.0, 40.0, 0.8, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let found = finds(&[Tensor { shape: vec![1, 2, 6], values }], placement, 0.3).unwrap();
        let found = found.all;
        assert_eq!((found.len(), found[0].class, found[0].area), (1, 3, [1.0, 2.0, 30.0, 40.0]));
    }

    #[test]
    fn other_outputs_are_told_by_their_shapes() {
        let placement = Placement::of((64, 64), (64, 64));
        for shape in [vec![], vec![1, 4], vec![1, 4, 2], vec![2, 6, 1]] {
            let values = vec![0.0; Tensor::default().values.len() + shape.iter().product::<u32>() as usize];
            let error = finds(&[Tensor { shape: shape.clone(), values }], placement, 0.3).unwrap_err();
            assert!(error.contains(&format!("{shape:?}")), "{error}");
        }
        assert!(finds(&[], placement, 0.3).is_err());
    }

    #[test]
    fn the_input_is_the_picture_in_the_middle_of_grey() {
        let placement = Placement::of((2, 1), (4, 4));
        assert_eq!(placement.scaled, (4, 2));
        let input = placement.input(&[[255, 0, 0]; 8].concat());
        assert_eq!(input.shape, [1, 3, 4, 4]);
        assert_eq!(input.values[..8], [GREY, GREY, GREY, GREY, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(input.values[16 + 4], 0.0);
        assert_eq!(input.values[15], GREY);
    }

    #[test]
    fn a_network_says_its_size_and_classes_in_any_of_their_forms() {
        let about = |value: Value| About::read(Some(&value));
        let listed = about(json!({"imgsz": [320, 640], "names": ["face", "hand"]}));
        assert_eq!((listed.width, listed.height, listed.classes.len()), (640, 320, 2));
        let keyed = about(json!({"imgsz": 512, "names": {"1": "hand", "0": "face"}}));
        assert_eq!((keyed.width, keyed.classes), (512, vec!["face".to_owned(), "hand".to_owned()]));
        assert_eq!(about(json!({"imgsz": [9_999_999, 1]})).width, 32);
        assert_eq!(About::read(None), About { width: 640, height: 640, classes: vec![] });
    }
}
