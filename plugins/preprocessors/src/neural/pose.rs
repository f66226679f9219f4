//! People as figures of coloured sticks: OpenPose's networks (Cao 2017, Simon 2017) say where the parts of a body, a hand and a
//! face may be, and this draws them as the server draws poses that a client sends. Each of the three is a file of its own.
//!
//! Bodies are looked for in the whole picture, hands and faces in the squares where a body says they are.

mod body;
mod heat;
mod squares;
pub(super) mod told;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::composite::{Rect, crop};
use gesso_picture::pose::{FACE, HAND, Person, Point, draw};
use gesso_plugin::Fault;
use gesso_plugin::serde_json::Value;

use super::input::{Feed, at_size};
use super::{Look, NUMBERS_MAX, find, unlike};
use crate::{Settings, resolution, unfit};
use body::Parts;
use heat::{Planes, STRIDE};

/// Stems of the files that networks may be, the published weights' first.
const BODIES: &[&str] = &["body_pose_model", "openpose_body"];
const HANDS: &[&str] = &["hand_pose_model", "openpose_hand"];
const FACES: &[&str] = &["facenet", "openpose_face"];

/// Pixels down that the body's network sees of a picture, and along the sides of the squares that the others see.
const BODY_HEIGHT: u32 = 184;
const HAND_SIDE: u32 = 368;
const FACE_SIDE: u32 = 384;
/// A level of nothing, for what is fed beyond the picture.
const GREY: u8 = 128;

/// Which of a person is looked for and drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figure {
    body: bool,
    hands: bool,
    face: bool,
}

const MODULES: [(&str, Figure); 5] = [
    ("openpose", Figure { body: true, hands: false, face: false }),
    ("openpose_hand", Figure { body: true, hands: true, face: false }),
    ("openpose_face", Figure { body: true, hands: false, face: true }),
    ("openpose_faceonly", Figure { body: false, hands: false, face: true }),
    ("openpose_full", Figure { body: true, hands: true, face: true }),
];

/// What a module draws, where it draws people.
pub(super) fn figure_of(module: &str) -> Option<Figure> {
    MODULES.iter().find(|(name, _)| *name == module).map(|(_, figure)| *figure)
}

/// The people of an RGB picture on black, its short side of the settings' resolution, and as OpenPose writes them.
pub(super) fn map(
    figure: Figure,
    source: &Pixels,
    settings: Settings,
    look: &dyn Look,
) -> Result<(Pixels, Value), Fault> {
    let picture = resolution::scaled(source, settings.resolution)?;
    let (width, height) = (picture.width, picture.height);
    let people = people(figure, &picture, look)?;
    Ok((draw(&people, width, height).map_err(unfit)?, told::told(&people, (width, height))))
}

fn people(figure: Figure, picture: &Pixels, look: &dyn Look) -> Result<Vec<Person>, Fault> {
    // All files first: what is missing is said before anything is run.
    let body = find(BODIES, look)?;
    let hand = figure.hands.then(|| find(HANDS, look)).transpose()?;
    let face = figure.face.then(|| find(FACES, look)).transpose()?;
    let mut people = Vec::new();
    for parts in bodies(picture, &body, look)? {
        let mut person = Person::default();
        if let Some(network) = &hand {
            let [left, right] = squares::hands(&parts, (picture.width, picture.height));
            person.hands = [
                inside(picture, left, network, (HAND, HAND_SIDE), look)?,
                inside(picture, right, network, (HAND, HAND_SIDE), look)?,
            ];
        }
        if let Some(network) = &face {
            let square = squares::face(&parts, (picture.width, picture.height));
            person.face = inside(picture, square, network, (FACE, FACE_SIDE), look)?;
        }
        if figure.body {
            person.body = parts.to_vec();
        }
        people.push(person);
    }
    Ok(people)
}

/// The parts of every body, in pixels of the picture.
fn bodies(picture: &Pixels, network: &str, look: &dyn Look) -> Result<Vec<Parts>, Fault> {
    let (width, height) = (f64::from(picture.width), f64::from(picture.height));
    let seen = (width * f64::from(BODY_HEIGHT) / height).round().max(1.0);
    if seen * f64::from(BODY_HEIGHT * 3) > NUMBERS_MAX as f64 {
        return Err(Fault::InvalidInput(format!(
            "a picture of {width} x {height} is too wide for its height to look for people in; crop it"
        )));
    }
    let seen = at_size(picture, seen as u32, BODY_HEIGHT).map_err(unfit)?;
    let fed = beyond_grey(&seen);
    let outputs = look.run(network, vec![Feed::POSES.tensor(&fed)])?;
    let planes = |count| Planes::of(&outputs, count, (fed.width, fed.height));
    let (heat, fields) = (planes(body::HEAT_PLANES), planes(body::FIELD_PLANES));
    let (heat, fields) =
        (heat.map_err(|why| unlike(network, &why))?, fields.map_err(|why| unlike(network, &why))?);
    let scale = [width / f64::from(seen.width), height / f64::from(seen.height)];
    let place = |part: Option<Point>| part.map(|at| scaled(at, scale));
    let found = body::people(&heat, &fields, (seen.width as usize, seen.height as usize));
    Ok(found.into_iter().map(|parts| parts.map(place)).collect())
}

/// Points of one thing in a square of the picture; none where there is no square.
fn inside(
    picture: &Pixels,
    square: Option<Rect>,
    network: &str,
    (points, side): (usize, u32),
    look: &dyn Look,
) -> Result<Vec<Option<Point>>, Fault> {
    let Some(square) = square else { return Ok(Vec::new()) };
    let fed = crop(picture, square).and_then(|part| at_size(&part, side, side)).map_err(unfit)?;
    let outputs = look.run(network, vec![Feed::POSES.tensor(&fed)])?;
    // The last plane is of what is none of them.
    let planes = Planes::of(&outputs, points + 1, (side, side)).map_err(|why| unlike(network, &why))?;
    let scale = [square.width, square.height].map(|length| f64::from(length) / f64::from(side));
    let place = |at: Point| {
        let [across, down] = scaled(at, scale);
        [f64::from(square.x) + across, f64::from(square.y) + down]
    };
    Ok((0..points).map(|point| planes.highest(point).map(place)).collect())
}

/// A place of a resized picture, where its middle is in the other one.
fn scaled(at: Point, scale: [f64; 2]) -> Point {
    [0, 1].map(|axis| (at[axis] + 0.5) * scale[axis] - 0.5)
}

/// An RGB picture, wider by what its maps are short of whole places.
fn beyond_grey(picture: &Pixels) -> Pixels {
    let width = picture.width.next_multiple_of(STRIDE as u32);
    let row_bytes = picture.width as usize * 3;
    let beyond = vec![GREY; width as usize * 3 - row_bytes];
    let rows = picture.data.chunks_exact(row_bytes);
    let data = rows.flat_map(|row| row.iter().chain(&beyond).copied()).collect();
    Pixels { width, height: picture.height, format: PixelFormat::Rgb8, data }
}

#[cfg(test)]
mod scene;
#[cfg(test)]
pub(super) mod tests;
