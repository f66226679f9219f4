//! Faces as coloured outlines: MediaPipe's networks say where faces are and where the points of each, and this draws them with
//! the colours and strokes that CrucibleAI's `ControlNetMediaPipeFace` was trained with. Both are the published ones, fed as
//! MediaPipe feeds them (`FaceMesh`, one picture at a time, with finer eyes, lips and irises).

mod boxes;
mod mesh;
mod outlines;
mod stroke;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::pose::Point;
use gesso_plugin::Fault;

use super::input::Feed;
use super::sampling::Beyond;
use super::square::Square;
use super::{Look, find, unlike_made};
use crate::{Settings, resolution};

/// Stems of the files that networks are, by the published weights.
const BOXES: &[&str] = &["face_detection_short_range"];
const MESHES: &[&str] = &["face_landmark_with_attention"];

/// Pixels along a side of what each network sees.
const BOXES_SIDE: u32 = 128;
const MESH_SIDE: u32 = 192;

/// Faces smaller than this, in pixels of the map, were left out of what the network for control was trained with.
const SIZE_MIN: f64 = 64.0;

/// The faces of an RGB picture on black, its short side of the settings' resolution.
pub(super) fn map(source: &Pixels, settings: Settings, look: &dyn Look) -> Result<Pixels, Fault> {
    // Both files first: what is missing is said before anything is run.
    let networks = [find(BOXES, look)?, find(MESHES, look)?];
    resolution::at(source, settings.resolution, |picture| {
        let data = vec![0; picture.data.len()];
        let mut map =
            Pixels { width: picture.width, height: picture.height, format: PixelFormat::Rgb8, data };
        for points in faces(picture, settings, networks.each_ref().map(String::as_str), look)? {
            outlines::draw(&mut map, &points);
        }
        Ok(map)
    })
}

/// The points of every face that is large enough, in pixels of the picture, the corner of its first one at 0.
fn faces(
    picture: &Pixels,
    settings: Settings,
    [boxes, mesh]: [&str; 2],
    look: &dyn Look,
) -> Result<Vec<Vec<Point>>, Fault> {
    let (most, sure) = (settings.a(1.0).round() as usize, settings.threshold_b.unwrap_or(0.5));
    let whole = Square::around(picture);
    let fed = whole.seen(picture, BOXES_SIDE, Beyond::Black);
    let outputs = look.run(boxes, vec![Feed::SIGNED.tensor(&fed)])?;
    let mut squares = boxes::squares(&outputs, sure, whole).map_err(|why| unlike_made(boxes, &why))?;
    squares.truncate(most);
    let mut faces = Vec::new();
    for square in squares {
        let fed = square.seen(picture, MESH_SIDE, Beyond::Edge);
        let outputs = look.run(mesh, vec![Feed::UNIT.tensor(&fed)])?;
        if let Some(points) =
            mesh::points(&outputs, f64::from(MESH_SIDE)).map_err(|why| unlike_made(mesh, &why))?
        {
            let points: Vec<Point> = points.into_iter().map(|point| square.place(point)).collect();
            if size(&points) >= SIZE_MIN {
                faces.push(points);
            }
        }
    }
    Ok(faces)
}

/// The shorter side of the upright rectangle around them.
fn size(points: &[Point]) -> f64 {
    let length = |axis: usize| {
        let places = points.iter().map(|point| point[axis]);
        places.clone().fold(f64::NEG_INFINITY, f64::max) - places.fold(f64::INFINITY, f64::min)
    };
    length(0).min(length(1))
}

#[cfg(test)]
mod tests;
