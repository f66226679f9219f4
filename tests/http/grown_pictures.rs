//! Scripts that make a picture larger: with margins over noise, and enlarged in tiles whose seams are drawn over. What both
//! leave alone is compared byte by byte.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::drawing::striped;
use super::scripts::{bench, part, run};
use crate::support::{Picture, decode, quick_with};

/// Mean difference of two parts in levels.
fn apart(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

fn most_apart(a: &Picture, b: &Picture) -> u8 {
    a.data.iter().zip(&b.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

fn outpainted(directions: Value, exponent: f64, side: u32) -> Value {
    json!({"script_name": "Outpainting mk2", "script_args": ["", 16, 2, directions, exponent, 0.05],
        "init_images": [striped(64, 64)], "denoising_strength": 0.4, "seed": 3, "width": side, "height": side})
}

#[test]
fn outpainting_mk2_draws_one_side_after_the_other() {
    let bench = bench();
    let server = bench.start();
    let draw = |exponent: f64| run(&server, "img2img", outpainted(json!(["left", "down"]), exponent, 128));
    let (pictures, info) = draw(1.0);
    assert_eq!((pictures.len(), pictures[0].width, pictures[0].height), (1, 128, 128));
    // A drawing for each side.
    assert_eq!(info["all_seeds"], json!([3, 3]));
    let source = striped(64, 64);
    let original = decode(&BASE64_STANDARD.decode(source.split_once(',').unwrap().1).unwrap());
    // All but a band beside the margins, over which the mask fades.
    let kept = (48, 48);
    assert!(part(&pictures[0], (80, 0), kept) == part(&original, (16, 0), kept));
    for (corner, size) in [((0, 0), (64, 64)), ((0, 64), (128, 64))] {
        let added = part(&pictures[0], corner, size);
        let black = added.chunks(3).filter(|pixel| pixel.iter().all(|level| *level < 8)).count();
        assert!(black < added.len() / 6, "{black} pixels of a margin are as they were");
    }
    // The noise is the seed's, and it shows in what is drawn over it.
    let (again, _) = draw(1.0);
    assert!(most_apart(&again[0], &pictures[0]) <= 2);
    let (smoother, _) = draw(4.0);
    let margin = |picture: &Picture| part(picture, (0, 0), (48, 64));
    let differs = apart(&margin(&smoother[0]), &margin(&pictures[0]));
    assert!(differs > 1.0, "{differs}");
}

#[test]
fn outpainting_mk2_says_what_it_cannot_do() {
    let bench = bench();
    let server = bench.start();
    for (changes, says) in [
        (outpainted(json!(["north"]), 1.0, 128), "left, right, up, down"),
        (outpainted(json!([]), 1.0, 128), "Outpainting direction"),
        (outpainted(json!(["left"]), 9.0, 128), "Fall-off exponent"),
        // The margin alone would fill the frame.
        (outpainted(json!(["left"]), 1.0, 64), "larger width"),
    ] {
        let reply = server.post("/sdapi/v1/img2img", &quick_with(changes));
        assert_eq!(reply.status, 422, "{says} {}", reply.json());
        assert!(reply.json().to_string().contains(says), "{says} {}", reply.json());
    }
}

/// In tiles of 64 pixels; `target` is the last four arguments.
fn enlarged(redraw: Value, seams: Value, target: [u32; 4], seed: u64) -> Value {
    let [kind, width, height, scale] = target;
    let args = json!([
        "", 64, 0, 4, 16, 16, 0.5, 8, "Lanczos", true, redraw, false, 2, seams, kind, width, height, scale
    ]);
    json!({"script_name": "Ultimate SD upscale", "script_args": args, "init_images": [striped(64, 48)],
        "denoising_strength": 0.4, "seed": seed, "width": 128, "height": 96})
}

const TWICE: [u32; 4] = [2, 2048, 2048, 2];

#[test]
fn tiles_are_drawn_over_and_then_the_seams_between_them() {
    let bench = bench();
    let server = bench.start();
    let (pictures, info) = run(&server, "img2img", enlarged(json!("Chess"), json!(3), TWICE, 3));
    let sizes: Vec<_> = pictures.iter().map(|picture| (picture.width, picture.height)).collect();
    assert_eq!(sizes, [(128, 96), (128, 96)]);
    // Four tiles, two half tiles over the upright seam, two over the level one, and the corner.
    assert_eq!(info["all_seeds"], Value::from(vec![3; 9]));
    let (redrawn, finished) = (&pictures[0], &pictures[1]);
    let (corner, middle) = (((0, 0), (16, 16)), ((56, 56), (16, 16)));
    assert!(part(finished, corner.0, corner.1) == part(redrawn, corner.0, corner.1));
    let differs = apart(&part(finished, middle.0, middle.1), &part(redrawn, middle.0, middle.1));
    assert!(differs > 0.5, "{differs}");
    // One after the other, to a size that is no multiple of eight.
    let (pictures, info) = run(&server, "img2img", enlarged(json!(0), json!(0), [1, 100, 72, 2], 3));
    assert_eq!((pictures.len(), pictures[0].width, pictures[0].height), (1, 100, 72));
    assert_eq!(info["all_seeds"], Value::from(vec![3; 4]));
    assert!(pictures[0].infotext.contains("Denoising strength: 0.4"), "{}", pictures[0].infotext);
}

#[test]
fn bands_draw_over_the_seams_alone() {
    let bench = bench();
    let server = bench.start();
    let draw = |seed: u64| run(&server, "img2img", enlarged(json!("None"), json!("Band pass"), TWICE, seed));
    let ((one, info), (other, _)) = (draw(3), draw(4));
    assert_eq!((one.len(), one[0].width, one[0].height), (1, 128, 96));
    assert_eq!(info["all_seeds"], Value::from(vec![3; 4]));
    // Where no band lies the picture is the enlarged one, whatever the seed.
    let far = ((0, 0), (48, 48));
    assert!(part(&one[0], far.0, far.1) == part(&other[0], far.0, far.1));
    let pixel = part(&one[0], (8, 40), (1, 1));
    assert!(apart(&pixel, &[16, 80, 200]) < 24.0, "{pixel:?}");
    let band = ((60, 0), (8, 96));
    let differs = apart(&part(&one[0], band.0, band.1), &part(&other[0], band.0, band.1));
    assert!(differs > 0.5, "{differs}");
    let reply =
        server.post("/sdapi/v1/img2img", &quick_with(enlarged(json!("None"), json!("None"), TWICE, 3)));
    assert!(reply.status == 422 && reply.json().to_string().contains("Redraw mode"), "{}", reply.json());
}
