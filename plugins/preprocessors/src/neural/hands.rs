//! Hands as depth, for pictures whose hands are drawn again: MediaPipe's networks say where hands are, Mesh Graphormer (Lin
//! 2021) gives the mesh of each, and this draws how near its surface is, as HandRefiner (Lu 2023) does.
//!
//! The triangles between the mesh's vertices are MANO's, whose licence lets nobody hand them on: the network's file holds them.

mod crop;
mod depth;
mod mesh;
mod palms;
mod points;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin::Fault;

use super::input::Feed;
use super::sampling::Beyond;
use super::square::Square;
use super::{Look, find, unlike_made};
use crate::{Settings, resolution, unfit};
use crop::Crop;
use mesh::Mesh;
use points::Hand;

/// Stems of the files that networks are, by the published weights.
const PALMS: &[&str] = &["palm_detection_full"];
const POINTS: &[&str] = &["hand_landmark_full"];
const MESHES: &[&str] = &["graphormer_hand_state_dict", "depth_hand_refiner"];

/// Pixels along a side of what each network sees.
const PALMS_SIDE: u32 = 192;
const POINTS_SIDE: u32 = 224;
const MESH_SIDE: u32 = 224;

/// What HandRefiner asks of MediaPipe: how sure it is of a hand, twice, and how many there are at most.
const SURE_MIN: f64 = 0.6;
const HANDS_MAX: usize = 2;

/// The depth of an RGB picture's hands on black, near is white, its short side of the settings' resolution.
pub(super) fn map(source: &Pixels, settings: Settings, look: &dyn Look) -> Result<Pixels, Fault> {
    // All files first: what is missing is said before anything is run.
    let networks = [find(PALMS, look)?, find(POINTS, look)?, find(MESHES, look)?];
    let [palms, points, meshes] = networks.each_ref().map(String::as_str);
    resolution::at(source, settings.resolution, |picture| {
        let data = vec![0; picture.data.len()];
        let mut map =
            Pixels { width: picture.width, height: picture.height, format: PixelFormat::Rgb8, data };
        for hand in hands(picture, [palms, points], look)? {
            let Some(crop) = Crop::around(&hand, picture) else { continue };
            let fed = crop.seen(picture, MESH_SIDE).map_err(unfit)?;
            let outputs = look.run(meshes, vec![Feed::IMAGENET.tensor(&fed)])?;
            let mesh = Mesh::of(&outputs).map_err(|why| unlike_made(meshes, &why))?;
            crop.draw(&mut map, &depth::levels(&mesh, crop.side as usize));
        }
        Ok(map)
    })
}

/// The hands of a picture, the farthest first.
fn hands(picture: &Pixels, [palms, points]: [&str; 2], look: &dyn Look) -> Result<Vec<Hand>, Fault> {
    let whole = Square::around(picture);
    let fed = whole.seen(picture, PALMS_SIDE, Beyond::Black);
    let outputs = look.run(palms, vec![Feed::UNIT.tensor(&fed)])?;
    let mut squares = palms::squares(&outputs, SURE_MIN, whole).map_err(|why| unlike_made(palms, &why))?;
    squares.truncate(HANDS_MAX);
    let mut hands: Vec<Hand> = Vec::new();
    for square in squares {
        let fed = square.seen(picture, POINTS_SIDE, Beyond::Edge);
        let outputs = look.run(points, vec![Feed::UNIT.tensor(&fed)])?;
        let hand = points::hand(&outputs, SURE_MIN, square).map_err(|why| unlike_made(points, &why))?;
        // Of one hand that was found twice the surer finding stays.
        hands.extend(hand.filter(|hand| !hands.iter().any(|other| other.is_same(hand))));
    }
    hands.sort_by(|a, b| b.remoteness.total_cmp(&a.remoteness));
    Ok(hands)
}

#[cfg(test)]
mod tests;
