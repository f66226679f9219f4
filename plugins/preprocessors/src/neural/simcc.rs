//! People and animals by networks that tell the position of each point across and down (SimCC, Li 2022), one after the other
//! in boxes that a detector finds: DWPose (Yang 2023) and RTMPose (Jiang 2023).

mod people;

use std::ops::Range;

use gesso_core::pixels::Pixels;
use gesso_picture::pose::{ANIMAL, Person, Point, draw, draw_animals};
use gesso_plugin::Fault;
use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::Value;

use super::boxes::{Area, DETECTORS, boxes};
use super::input::Feed;
use super::output::shapes;
use super::pose::told;
use super::sampling::{Beyond, sampled};
use super::{Look, find, unlike};
use crate::{Settings, resolution, unfit};

/// Whose points are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    People,
    Animals,
}

const MODULES: [(&str, Subject); 2] =
    [("dw_openpose_full", Subject::People), ("animal_openpose", Subject::Animals)];

/// A network of positions.
#[derive(Debug)]
struct Positions {
    /// Stems of the files that it may be, the published weights' first.
    networks: &'static [&'static str],
    /// Of the detector's, what it tells the points of.
    classes: Range<usize>,
    points: usize,
    /// Pixels of its input, across and down.
    size: [u32; 2],
}

const PEOPLE: Positions = Positions {
    networks: &["dw-ll_ucoco_384", "dw-ll_ucoco_384_bs5", "dw_openpose_full"],
    classes: 0..1,
    points: people::POINTS,
    size: [288, 384],
};
const ANIMALS: Positions = Positions {
    networks: &[
        "rtmpose-m_simcc-ap10k_pt-aic-coco_210e-256x256-7a041aa1_20230206",
        "rtmpose-m_ap10k_256",
        "rtmpose-m_ap10k_256_bs5",
        "animal_openpose",
    ],
    // From birds to giraffes.
    classes: 14..24,
    points: ANIMAL,
    size: [256, 256],
};

/// How much larger than a box the part of the picture is that a network sees.
const MARGIN: f64 = 1.25;
/// Positions for each pixel of the input.
const SPLIT: usize = 2;
/// Points that are less sure were not found.
const SURE_MIN: f32 = 0.3;
/// What stands in a file's name before the number of pictures that it takes at once, where that is not one.
const BATCH_MARK: &str = "_bs";
const BATCH_MAX: usize = 8;

/// Points of one person or animal, in pixels of the picture.
type Points = Vec<Option<Point>>;

/// The part of a picture that a network sees.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    /// Where the network's first pixel is, in pixels of the picture.
    corner: Point,
    /// The picture's pixels for each of the network's.
    step: f64,
}

/// Whose points a module tells, where it does.
pub(super) fn subject_of(module: &str) -> Option<Subject> {
    MODULES.iter().find(|(name, _)| *name == module).map(|(_, subject)| *subject)
}

/// The people or animals of an RGB picture on black, its short side of the settings' resolution, and as OpenPose writes them.
pub(super) fn map(
    subject: Subject,
    source: &Pixels,
    settings: Settings,
    look: &dyn Look,
) -> Result<(Pixels, Value), Fault> {
    let picture = resolution::scaled(source, settings.resolution)?;
    let (width, height) = (picture.width, picture.height);
    match subject {
        Subject::People => {
            let found = PEOPLE.found(&picture, look)?;
            let people: Vec<Person> = found.iter().map(|points| people::person(points)).collect();
            Ok((draw(&people, width, height).map_err(unfit)?, told::told(&people, (width, height))))
        }
        Subject::Animals => {
            let animals = ANIMALS.found(&picture, look)?;
            let mut map = draw(&[], width, height).map_err(unfit)?;
            draw_animals(&mut map, &animals);
            Ok((map, told::told_animals(&animals, (width, height))))
        }
    }
}

impl Positions {
    /// The points of all that the detector finds, its surest first.
    fn found(&self, picture: &Pixels, look: &dyn Look) -> Result<Vec<Points>, Fault> {
        // Both files first: what is missing is said before anything is run.
        let detector = find(DETECTORS, look)?;
        let network = find(self.networks, look)?;
        let batch = batch_of(&network);
        let mut found = Vec::new();
        for areas in boxes(picture, &detector, &self.classes, look)?.chunks(batch) {
            let windows: Vec<Window> = areas.iter().map(|area| Window::around(area, self.size)).collect();
            let outputs = look.run(&network, vec![self.input(picture, &windows, batch)])?;
            let read = self.read(&outputs, batch).map_err(|why| unlike(&network, &why))?;
            for (window, points) in windows.iter().zip(read) {
                found.push(points.into_iter().map(|point| point.map(|at| window.place(at))).collect());
            }
        }
        Ok(found)
    }

    /// `batch` pictures, those beyond the windows of zeros.
    fn input(&self, picture: &Pixels, windows: &[Window], batch: usize) -> Tensor {
        let [width, height] = self.size;
        let mut values = Vec::new();
        for window in windows {
            values.extend(Feed::IMAGENET.tensor(&window.seen(picture, self.size)).values);
        }
        values.resize(batch * 3 * (width * height) as usize, 0.0);
        Tensor { shape: vec![batch as u32, 3, height, width], values }
    }

    /// The points of each picture that was fed, in its pixels.
    ///
    /// # Errors
    /// The end of a sentence about the network, for outputs that are no positions.
    fn read(&self, outputs: &[Tensor], batch: usize) -> Result<Vec<Points>, String> {
        let lengths = self.size.map(|side| side as usize * SPLIT);
        let wanted = lengths.map(|length| [batch as u32, self.points as u32, length as u32]);
        let fits = |(output, shape): (&Tensor, &[u32; 3])| {
            output.shape == shape && output.values.len() == shape.iter().product::<u32>() as usize
        };
        let [across, down] = match outputs {
            [across, down, ..] if [across, down].into_iter().zip(&wanted).all(fits) => [across, down],
            _ => {
                let given = shapes(outputs);
                let [width, height] = self.size;
                return Err(format!(
                    "gives {given} for [{batch}, 3, {height}, {width}], and not {wanted:?}; export it as the plugin's \
                     README says"
                ));
            }
        };
        let rows = across.values.chunks_exact(lengths[0]).zip(down.values.chunks_exact(lengths[1]));
        let points: Points = rows.map(|(across, down)| point(across, down)).collect();
        Ok(points.chunks(self.points).map(<[_]>::to_vec).collect())
    }
}

/// Where the position across and the one down are surest, where both are sure enough.
fn point(across: &[f32], down: &[f32]) -> Option<Point> {
    // Of equal ones the first.
    let surest =
        |positions: &[f32]| (0..positions.len()).rev().max_by(|a, b| positions[*a].total_cmp(&positions[*b]));
    let (x, y) = (surest(across)?, surest(down)?);
    let is_sure = across[x] >= SURE_MIN && down[y] >= SURE_MIN;
    is_sure.then_some([x, y].map(|position| position as f64 / SPLIT as f64))
}

impl Window {
    /// Around the middle of a box, as wide or as high beyond it as the shape of the input asks for.
    fn around(&[left, top, right, bottom]: &Area, size: [u32; 2]) -> Self {
        let [width, height] = size.map(f64::from);
        let step = MARGIN * ((right - left) / width).max((bottom - top) / height);
        let corner = [
            f64::midpoint(left, right) - step * width / 2.0,
            f64::midpoint(top, bottom) - step * height / 2.0,
        ];
        Self { corner, step }
    }

    /// A place of the input in the picture.
    fn place(self, at: Point) -> Point {
        [0, 1].map(|axis| self.corner[axis] + at[axis] * self.step)
    }

    /// What the network sees of an RGB picture, black beyond its edges.
    fn seen(self, picture: &Pixels, size: [u32; 2]) -> Pixels {
        sampled(picture, size, Beyond::Black, |at| self.place(at))
    }
}

/// How many pictures a network takes at once, by the end of its name.
fn batch_of(network: &str) -> usize {
    let said = network.rsplit_once(BATCH_MARK).and_then(|(_, count)| count.parse::<usize>().ok());
    said.filter(|count| (1..=BATCH_MAX).contains(count)).unwrap_or(1)
}

#[cfg(test)]
mod tests;
