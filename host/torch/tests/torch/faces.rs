//! What brings a restorer the faces of a picture, against facexlib on random weights.
//! `tests/fixtures/make_face_fixtures.py` makes what is compared with.

use std::path::PathBuf;
use std::sync::LazyLock;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_torch::{Face, FaceDetector, FaceParser, FaceRole, PictureError, restore_faces};
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::drawn_weights::{draw, recipes};
use crate::support::{Archive, fixture, relative_error};

const BOUND: f64 = 1e-4;

static GOLDENS: LazyLock<Archive> = LazyLock::new(|| Archive::read(&fixture("faces.safetensors")));

/// Both networks' files, which are 110 and 85 MB, written once.
static FILES: LazyLock<(tempfile::TempDir, [PathBuf; 2])> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let recipes = recipes(&GOLDENS);
    let paths = ["detector", "parser"].map(|name| {
        let path = folder.path().join(format!("{name}.safetensors"));
        std::fs::write(&path, draw(&recipes[name]).bytes()).unwrap();
        path
    });
    (folder, paths)
});

fn detector() -> FaceDetector {
    FaceDetector::load(&FILES.1[0], tch::Device::Cpu).unwrap()
}

fn parser() -> FaceParser {
    FaceParser::load(&FILES.1[1], tch::Device::Cpu).unwrap()
}

fn picture() -> Pixels {
    let (_, shape, data) = &GOLDENS.tensors["picture"];
    Pixels::new(shape[1] as u32, shape[0] as u32, PixelFormat::Rgb8, data.clone()).unwrap()
}

fn face(landmarks: &Tensor) -> Face {
    let points = Vec::<f32>::try_from(landmarks.flatten(0, -1)).unwrap();
    let landmarks = std::array::from_fn(|index| [points[2 * index], points[2 * index + 1]]);
    Face { corners: [0.0; 4], confidence: 1.0, landmarks }
}

#[test]
fn the_detectors_heads_equal_facexlibs() {
    let heads = detector().heads(&picture()).unwrap();
    for (name, got) in ["boxes", "scores", "landmarks"].into_iter().zip(heads) {
        let error = relative_error(&got, &GOLDENS.tensor(&format!("detector.{name}")));
        println!("{name}: {error:.1e}");
        assert!(error < BOUND, "{name} differ by {error:e}");
    }
}

#[test]
fn the_faces_equal_facexlibs_in_its_order() {
    let confidence = GOLDENS.metadata["confidence"].parse().unwrap();
    let faces = detector().find(&picture(), confidence).unwrap();
    let numbers = faces.iter().flat_map(|face| {
        face.corners.into_iter().chain([face.confidence]).chain(face.landmarks.into_iter().flatten())
    });
    let got = Tensor::from_slice(&numbers.collect::<Vec<f32>>()).reshape([-1, 15]);
    let want = GOLDENS.tensor("detector.faces");
    assert_eq!(got.size(), want.size());
    // Equally certain faces may change places: each is looked for near its own.
    for row in 0..want.size()[0] {
        let near = (&got - want.get(row)).abs().amax([1], false).min();
        let near = f64::try_from(near).unwrap();
        assert!(near < BOUND * f64::from(picture().width) * 10.0, "face {row} is {near} away");
    }
}

#[test]
fn the_parser_equals_facexlibs() {
    let got = parser().forward(&GOLDENS.tensor("parser.in")).unwrap();
    let error = relative_error(&got, &GOLDENS.tensor("parser.out"));
    println!("parser: {error:.1e}");
    assert!(error < BOUND, "differs by {error:e}");
}

#[test]
fn faces_are_turned_as_opencv_turns_them() {
    let (landmarks, matrices) = (GOLDENS.tensor("align.landmarks"), GOLDENS.tensor("align.matrices"));
    let mut worst: f64 = 0.0;
    for case in 0..landmarks.size()[0] {
        let [[a, b, x], [c, d, y]] = face(&landmarks.get(case)).upright(512).unwrap();
        let got = Tensor::from_slice(&[a, b, x, c, d, y]).reshape([2, 3]);
        // The farthest corner of what is cut out, in pixels of the face.
        let want = matrices.get(case);
        let corners = Tensor::from_slice(&[0.0, 0.0, 512.0, 0.0, 0.0, 512.0, 512.0, 512.0]).reshape([4, 2]);
        let shifts = want.narrow(1, 2, 1).transpose(0, 1);
        let inverse = want.narrow(1, 0, 2).inverse();
        let sources = (corners.shallow_clone() - shifts).matmul(&inverse.transpose(0, 1));
        let there =
            sources.matmul(&got.narrow(1, 0, 2).transpose(0, 1)) + got.narrow(1, 2, 1).transpose(0, 1);
        worst = worst.max(f64::try_from((there - corners).abs().max()).unwrap());
    }
    println!("farthest corner: {worst:.1e} pixels");
    assert!(worst < 0.01, "a corner is {worst} pixels off");
}

#[test]
fn cutting_out_and_pasting_back_equal_facexlibs() {
    let picture = picture();
    let landmarks = GOLDENS.tensor("whole.landmarks");
    let faces: Vec<_> = (0..landmarks.size()[0]).map(|index| face(&landmarks.get(index))).collect();
    let (_, shape, cuts) = &GOLDENS.tensors["whole.cuts"];
    let side = shape[1] as u32;
    let mut cut = Vec::new();
    let mut negative = |face: &Pixels| {
        cut.extend_from_slice(&face.data);
        Ok(Pixels { data: face.data.iter().map(|level| 255 - level).collect(), ..face.clone() })
    };
    let got = restore_faces(&picture, &faces, &parser(), side, &mut negative).unwrap();
    close("what was cut out", &cut, cuts, 0.001);
    // facexlib's mask is read at 1/32 of a pixel, and where it is 1 but for the last bit of f64, a level is cut to
    // the one below: a twentieth of the levels here.
    close("the result", &got.data, &GOLDENS.tensors["whole.result"].2, 0.1);

    let alpha: Vec<u8> = (0..picture.width * picture.height).map(|at| at as u8).collect();
    let pixels = picture.data.chunks_exact(3).zip(&alpha);
    let data = pixels.flat_map(|(pixel, alpha)| pixel.iter().copied().chain([*alpha])).collect();
    let clear = Pixels { format: PixelFormat::Rgba8, data, ..picture };
    let mut same = |face: &Pixels| Ok(face.clone());
    let kept = restore_faces(&clear, &faces[..1], &parser(), side, &mut same).unwrap();
    assert!(kept.data.chunks_exact(4).map(|pixel| pixel[3]).eq(alpha), "alpha changed");
}

/// At most `share` of the levels differ, and none by more than two.
#[track_caller]
fn close(what: &str, got: &[u8], want: &[u8], share: f64) {
    assert_eq!(got.len(), want.len());
    let differences = || got.iter().zip(want).map(|(got, want)| got.abs_diff(*want));
    let worst = differences().max().unwrap();
    let off = differences().filter(|difference| *difference > 0).count() as f64 / want.len() as f64;
    println!("{what}: {worst} at worst, {:.3} % of the levels differ", off * 100.0);
    assert!(worst <= 2 && off < share, "{what}: {worst} at worst, {off} of the levels differ");
}

#[test]
fn a_picture_without_a_face_is_unchanged() {
    let grey = Pixels::new(3, 2, PixelFormat::Gray8, vec![1, 2, 3, 4, 5, 6]).unwrap();
    let mut never = |_: &Pixels| -> Result<Pixels, PictureError> { panic!("there is no face") };
    assert_eq!(restore_faces(&grey, &[], &parser(), 512, &mut never).unwrap(), grey);
}

#[test]
fn files_are_told_apart_by_what_is_in_them() {
    let [detector, parser] = &FILES.1;
    assert_eq!(FaceRole::of(detector).unwrap(), FaceRole::Detector);
    assert_eq!(FaceRole::of(parser).unwrap(), FaceRole::Parser);
    let restorers = Archive::read(&fixture("restorers.safetensors"));
    for (case, role) in [("gfpgan", FaceRole::Gfpgan), ("codeformer", FaceRole::CodeFormer)] {
        let (_folder, path) = draw(&recipes(&restorers)[case]).write();
        assert_eq!(FaceRole::of(&path).unwrap(), role);
    }
    let why = FaceDetector::load(parser, tch::Device::Cpu).err().unwrap().to_string();
    assert!(why.contains("use detection_Resnet50_Final.pth"), "{why}");
    assert!(FaceRole::of(&fixture("compact_x4.pth")).is_err());
}

#[test]
fn the_trainers_prefix_and_counters_are_seen_through() {
    let mut archive = draw(&recipes(&GOLDENS)["parser"]);
    let named = |key: &str| format!("module.{key}");
    archive.tensors = archive.tensors.into_iter().map(|(key, value)| (named(&key), value)).collect();
    let counter = Tensor::zeros([1], (Kind::Int64, tch::Device::Cpu));
    archive.insert("module.body.0.conv1.norm.norm.num_batches_tracked", Dtype::I64, &counter);
    let (_folder, path) = archive.write();
    assert!(FaceParser::load(&path, tch::Device::Cpu).is_ok());

    archive.tensors.remove("module.body.9.conv2.norm.norm.running_var");
    let (_folder, path) = archive.write();
    let why = FaceParser::load(&path, tch::Device::Cpu).err().unwrap().to_string();
    assert!(why.contains("body.9.conv2.norm.norm.running_var is missing") && why.contains("fetch"), "{why}");
}
