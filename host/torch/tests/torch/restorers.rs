//! Face restorers against the reference networks on random weights.
//! `tests/fixtures/make_restorer_fixtures.py` makes what is compared with.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_torch::{PictureError, Restorer};
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::drawn_weights::{draw, recipes};
use crate::support::{Archive, fixture, relative_error};

const BOUND: f64 = 1e-4;

fn goldens() -> Archive {
    Archive::read(&fixture("restorers.safetensors"))
}

fn load(archive: &Archive) -> Result<Restorer, PictureError> {
    let (_folder, path) = archive.write();
    Restorer::load(&path, tch::Device::Cpu)
}

fn face(goldens: &Archive, case: &str) -> Pixels {
    let (_, shape, data) = &goldens.tensors[&format!("{case}.face")];
    Pixels::new(shape[1] as u32, shape[0] as u32, PixelFormat::Rgb8, data.clone()).unwrap()
}

/// `[1, 3, side, side]` in -1..1.
fn tensor(face: &Pixels) -> Tensor {
    let bytes = Tensor::from_slice(&face.data).reshape([face.height.into(), face.width.into(), 3]);
    bytes.permute([2, 0, 1]).unsqueeze(0) / 255.0 * 2.0 - 1.0
}

#[test]
fn every_network_equals_the_reference_at_every_fidelity() {
    let goldens = goldens();
    let recipes = recipes(&goldens);
    let mut compared = 0;
    for (case, recipe) in &recipes {
        let restorer = load(&draw(recipe)).unwrap();
        let face = face(&goldens, case);
        assert_eq!(restorer.side(), face.width);
        for fidelity in ["0", "0.5", "1"] {
            let name = format!("{case}.{fidelity}");
            if !goldens.tensors.contains_key(&name) {
                continue;
            }
            let got = restorer.forward(&tensor(&face), fidelity.parse().unwrap()).unwrap();
            let error = relative_error(&got, &goldens.tensor(&name));
            println!("{name}: {error:.1e}");
            assert!(error < BOUND, "{name} differs by {error:e}");
            compared += 1;
        }
    }
    assert!(compared > recipes.len(), "{compared} of {} cases", recipes.len());
}

#[test]
fn a_face_in_bytes_is_the_network_clipped_and_rounded() {
    let goldens = goldens();
    let restorer = load(&draw(&recipes(&goldens)["codeformer"])).unwrap();
    let face = face(&goldens, "codeformer");
    let got = restorer.restore_face(&face, 0.5).unwrap();
    assert_eq!((got.width, got.height, got.format), (face.width, face.height, PixelFormat::Rgb8));
    let want = (goldens.tensor("codeformer.0.5") + 1.0) / 2.0;
    let want = (want.clamp(0.0, 1.0) * 255.0).round().squeeze().permute([1, 2, 0]);
    let want = Vec::<u8>::try_from(want.to_kind(Kind::Uint8).flatten(0, -1)).unwrap();
    let exact = got.data.iter().zip(&want).filter(|(got, want)| got == want).count();
    assert!(got.data.iter().zip(&want).all(|(got, want)| got.abs_diff(*want) <= 1));
    assert!(exact * 1000 >= want.len() * 999, "{exact} of {}", want.len());
}

#[test]
fn a_face_comes_out_the_same_each_time() {
    let goldens = goldens();
    let restorer = load(&draw(&recipes(&goldens)["gfpgan"])).unwrap();
    let face = face(&goldens, "gfpgan");
    assert_eq!(restorer.restore_face(&face, 0.0).unwrap(), restorer.restore_face(&face, 1.0).unwrap());
}

#[test]
fn refuses_faces_of_another_size_and_fidelities_out_of_range() {
    let goldens = goldens();
    let restorer = load(&draw(&recipes(&goldens)["gfpgan"])).unwrap();
    let small = Pixels::new(2, 1, PixelFormat::Gray8, vec![0; 2]).unwrap();
    let refused = restorer.restore_face(&small, 0.5).unwrap_err().to_string();
    assert!(refused.contains("resize it to 32x32"), "{refused}");
    for fidelity in [-0.1, 1.1, f64::NAN] {
        let refused = restorer.restore_face(&face(&goldens, "gfpgan"), fidelity);
        assert!(matches!(refused, Err(PictureError::Request(_))), "{fidelity}");
    }
}

/// What a changed file is refused with.
#[track_caller]
fn refused(case: &str, change: impl FnOnce(&mut Archive)) -> String {
    let mut archive = draw(&recipes(&goldens())[case]);
    change(&mut archive);
    match load(&archive) {
        Err(PictureError::File { why, .. }) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the file was taken"),
    }
}

#[test]
fn bad_files_are_refused_with_the_key_and_a_remedy() {
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu));
    for (case, key) in [
        ("gfpgan", "stylegan_decoder.noises.noise3"),
        ("gfpgan", "condition_shift.1.2.bias"),
        ("codeformer", "fuse_convs_dict.64.shift.2.weight"),
        ("codeformer", "ft_layers.1.self_attn.in_proj_weight"),
    ] {
        let why = refused(case, |archive| drop(archive.tensors.remove(key)));
        assert!(why.contains(&format!("{key} is missing")) && why.contains("fetch"), "{why}");
        let why = refused(case, |archive| archive.insert(key, Dtype::F32, &zeros(&[7])));
        assert!(why.contains(&format!("{key} has the shape [7]")), "{why}");
    }
    let why = refused("gfpgan", |archive| {
        archive.insert("conv_body_up.0.conv2.weight", Dtype::F32, &zeros(&[1, 4, 3, 3]))
    });
    assert!(why.contains("ways down and up"), "{why}");
    let why = refused("gfpgan", |archive| {
        archive.insert("condition_scale.0.2.weight", Dtype::F32, &zeros(&[3, 4, 3, 3]))
    });
    assert!(why.contains("neither all channels"), "{why}");
    let why = refused("codeformer", |archive| archive.insert("position_emb", Dtype::F32, &zeros(&[64, 32])));
    assert!(why.contains("codes are not 16x16"), "{why}");
    let why = refused("codeformer", |archive| archive.insert("generator.x", Dtype::F32, &zeros(&[1])));
    assert!(why.contains("also has the tensor generator.x"), "{why}");
}

#[test]
fn the_wrapper_of_published_files_is_seen_through() {
    let goldens = goldens();
    let bare = draw(&recipes(&goldens)["gfpgan"]);
    let tensors = bare.tensors.iter().map(|(key, value)| (format!("params_ema.{key}"), value.clone()));
    let wrapped = Archive { tensors: tensors.collect(), metadata: bare.metadata.clone() };
    let face = face(&goldens, "gfpgan");
    let draw = |archive: &Archive| load(archive).unwrap().restore_face(&face, 0.0).unwrap();
    assert_eq!(draw(&wrapped), draw(&bare));
}
