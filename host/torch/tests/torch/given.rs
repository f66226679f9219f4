//! A picture that stands in for what the first of two passes would draw.

use std::sync::Arc;

use gesso_core::hires::LatentUpscaler;
use gesso_core::img2img::{Img2Img, ResizeMode};
use gesso_core::sampler::Sampler;
use gesso_engine::Source;
use gesso_engine::backend::{PixelUpscaler, UpscaleBy};

use crate::passes::{draw, drawing, engine, gradient, over, submit, two_passes, widened};
use crate::support::{Archive, agreement};

const BY_LATENT: UpscaleBy = UpscaleBy::Latent(LatentUpscaler::Bilinear);

#[test]
fn what_the_first_pass_draws_gives_what_both_passes_give() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let first = Arc::new(draw(&engine, drawing(&path, |_| ())));
    for by in [PixelUpscaler::Lanczos, PixelUpscaler::Nearest] {
        let of = |picture| draw(&engine, two_passes(&path, UpscaleBy::Pixels(by.clone()), picture)).data;
        let both = of(None);
        assert!(agreement(&of(Some(first.clone())), &both) >= 0.999, "{by:?}");
        assert!(of(Some(gradient(64, 64))) != both, "{by:?}: the picture is not looked at");
    }
}

#[test]
fn by_latent_it_is_image_to_image_at_the_second_size() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    for picture in [gradient(64, 64), gradient(100, 76)] {
        let given = draw(&engine, two_passes(&path, BY_LATENT, Some(picture.clone())));
        let mut over_it = drawing(&path, |request| {
            (request.width, request.height, request.steps) = (96, 96, 4);
            (request.sampler, request.prompt) = (Sampler::EulerA, "a dog".into());
            let plain = over(0.6, None);
            request.img2img = Some(Img2Img { exact_steps: true, resize_mode: ResizeMode::Latent, ..plain });
        });
        over_it.source = Some(Source { pictures: vec![picture], mask: None });
        assert!(agreement(&given.data, &draw(&engine, over_it).data) >= 0.999);
    }
}

#[test]
fn one_picture_stands_in_for_each_of_a_batch() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    for by in [BY_LATENT, UpscaleBy::Pixels(PixelUpscaler::Lanczos)] {
        let of = || two_passes(&path, by.clone(), Some(gradient(64, 64)));
        let mut both = of();
        both.request.batch_size = 2;
        let both = submit(&engine, both).blocking_finish().unwrap();
        assert!(both[0] != both[1], "{by:?}: their seeds differ");
        for (index, picture) in (0_u64..).zip(&both) {
            let mut alone = of();
            alone.request.seed += index;
            assert!(agreement(&picture.data, &draw(&engine, alone).data) >= 0.999, "{by:?} {index}");
        }
    }
}

#[test]
fn pictures_of_any_size_come_to_the_second_one_with_every_kind_of_checkpoint() {
    let engine = engine();
    for channels in [4, 8, 9] {
        let archive = if channels == 4 { Archive::tiny() } else { widened(channels, 0.2) };
        let (_folder, path) = archive.write();
        for by in [BY_LATENT, UpscaleBy::Pixels(PixelUpscaler::Lanczos)] {
            for (width, height) in [(8, 8), (203, 40)] {
                let drawn = draw(&engine, two_passes(&path, by.clone(), Some(gradient(width, height))));
                assert_eq!((drawn.width, drawn.height), (96, 96), "{channels} channels, {by:?}");
            }
        }
    }
}
