//! A picture under the noise that drawing begins from.

use gesso_core::hires::LatentUpscaler;
use gesso_engine::backend::UpscaleBy;

use crate::passes::{draw, drawing, engine, gradient, submit, two_passes};
use crate::support::{Archive, agreement};

#[test]
fn every_picture_of_a_batch_begins_from_it() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let over = |seed: u64, batch_size: u32| {
        let mut drawing = drawing(&path, |request| (request.seed, request.batch_size) = (seed, batch_size));
        drawing.resources.underlay = Some(gradient(64, 64));
        drawing
    };
    let both = submit(&engine, over(7, 2)).blocking_finish().unwrap();
    for (seed, picture) in (7..).zip(&both) {
        assert!(agreement(&picture.data, &draw(&engine, over(seed, 1)).data) >= 0.999, "{seed}");
        let plain = draw(&engine, drawing(&path, |request| request.seed = seed));
        assert_ne!(picture.data, plain.data, "{seed}");
    }
}

#[test]
fn enlarged_pictures_do_not() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let twice = || two_passes(&path, UpscaleBy::Latent(LatentUpscaler::Bilinear), None);
    let mut over = twice();
    over.second.as_mut().unwrap().resources.underlay = Some(gradient(96, 96));
    assert_eq!(draw(&engine, over).data, draw(&engine, twice()).data);
}
