//! Pixel upscalers against spandrel on random weights, in every spelling of their files, whole and in tiles.
//! `tests/fixtures/make_upscaler_fixtures.py` makes what is compared with.

use std::cell::Cell;
use std::path::Path;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_torch::{ChannelOrder, PictureError, Tiling, Upscaler, upscale_by};
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::drawn_weights::{draw, recipes};
use crate::support::{Archive, fixture, relative_error};

const BOUND: f64 = 1e-4;

fn goldens() -> Archive {
    Archive::read(&fixture("upscalers.safetensors"))
}

/// The weights of one case under the names spandrel gives them.
fn weights(goldens: &Archive, case: &str) -> Archive {
    draw(&recipes(goldens)[case])
}

fn load(archive: &Archive, kind: Kind) -> Result<Upscaler, PictureError> {
    let (_folder, path) = archive.write();
    Upscaler::load(&path, tch::Device::Cpu, kind, ChannelOrder::default())
}

fn picture(goldens: &Archive, name: &str) -> Pixels {
    let (_, shape, data) = &goldens.tensors[&format!("{name}.picture")];
    Pixels::new(shape[1] as u32, shape[0] as u32, PixelFormat::Rgb8, data.clone()).unwrap()
}

/// `[1, 3, height, width]` in 0..1.
fn tensor(picture: &Pixels) -> Tensor {
    Tensor::from_slice(&picture.data)
        .reshape([picture.height.into(), picture.width.into(), 3])
        .permute([2, 0, 1])
        .unsqueeze(0)
        / 255.0
}

/// Largest difference of two pictures in grey levels.
#[track_caller]
fn difference(got: &[u8], want: &[u8]) -> u8 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(got, want)| got.abs_diff(*want)).max().unwrap()
}

/// Renames the tensors of a file in ESRGAN's first spelling.
fn respell(old: &Archive, rename: impl Fn(&[&str]) -> String) -> Archive {
    let tensors = old.tensors.iter().map(|(key, value)| {
        let parts: Vec<&str> = key.split('.').collect();
        (rename(&parts), value.clone())
    });
    Archive { tensors: tensors.collect(), metadata: old.metadata.clone() }
}

/// ESRGAN's later spelling, for a network that doubles twice and has two blocks.
fn middle(parts: &[&str]) -> String {
    match parts {
        ["model", "0", last] => format!("conv_first.{last}"),
        ["model", "1", "sub", "2", last] => format!("trunk_conv.{last}"),
        ["model", "1", "sub", block, part, conv, "0", last] => {
            format!("RRDB_trunk.{block}.{part}.{conv}.{last}")
        }
        ["model", "3", last] => format!("upconv1.{last}"),
        ["model", "6", last] => format!("upconv2.{last}"),
        ["model", "8", last] => format!("HRconv.{last}"),
        ["model", "10", last] => format!("conv_last.{last}"),
        other => panic!("{other:?}"),
    }
}

/// Real-ESRGAN's spelling of the same.
fn new(parts: &[&str]) -> String {
    middle(parts)
        .replace("RRDB_trunk", "body")
        .replace("RDB", "rdb")
        .replace("trunk_conv", "conv_body")
        .replace("upconv", "conv_up")
        .replace("HRconv", "conv_hr")
}

#[test]
fn every_network_equals_spandrels_at_every_scale() {
    let goldens = goldens();
    let recipes = recipes(&goldens);
    assert_eq!(recipes.len(), 12);
    for (case, recipe) in &recipes {
        let (_folder, path) = draw(recipe).write();
        let upscaler = Upscaler::load(&path, tch::Device::Cpu, Kind::Float, ChannelOrder::Rgb).unwrap();
        assert_eq!(Upscaler::scale_of(&path).unwrap(), upscaler.scale());
        let mut pictures = 0;
        while goldens.tensors.contains_key(&format!("{case}.{pictures}.picture")) {
            let name = format!("{case}.{pictures}");
            let picture = picture(&goldens, &name);
            let got = upscaler.forward(&tensor(&picture)).unwrap();
            let scale = i64::from(upscaler.scale());
            assert_eq!(
                got.size()[2..],
                [i64::from(picture.height) * scale, i64::from(picture.width) * scale]
            );
            let error = relative_error(&got, &goldens.tensor(&format!("{name}.out")));
            println!("{name}: {error:.1e}");
            assert!(error < BOUND, "{name} differs by {error:e}");
            pictures += 1;
        }
        assert!(pictures > 0, "{case} has no picture");
        assert!(
            case.contains(&format!("x{}", upscaler.scale())),
            "{case} is said to enlarge by {}",
            upscaler.scale()
        );
    }
}

#[test]
fn bytes_equal_a_web_uis_to_the_grey_level() {
    let goldens = goldens();
    for case in ["esrgan_x4", "esrgan_x2_folded"] {
        let upscaler = load(&weights(&goldens, case), Kind::Float).unwrap();
        let source = picture(&goldens, &format!("{case}.0"));
        let got = upscaler.upscale(&source, Tiling::WHOLE, &|| false).unwrap();
        let (_, shape, want) = &goldens.tensors[&format!("{case}.0.bytes")];
        assert_eq!(shape[..2], [got.height as usize, got.width as usize]);
        // The last bit of a sum may carry a value over a half.
        let exact = got.data.iter().zip(want).filter(|(got, want)| got == want).count();
        assert!(
            difference(&got.data, want) <= 1 && exact * 1000 >= want.len() * 999,
            "{exact} of {}",
            want.len()
        );
    }
}

#[test]
fn the_order_of_colours_reaches_the_network() {
    let goldens = goldens();
    let (_folder, path) = weights(&goldens, "esrgan_x4").write();
    let source = picture(&goldens, "esrgan_x4.0");
    let draw = |order| {
        let upscaler = Upscaler::load(&path, tch::Device::Cpu, Kind::Float, order).unwrap();
        (upscaler.upscale(&source, Tiling::WHOLE, &|| false).unwrap(), upscaler)
    };
    let (red_first, upscaler) = draw(ChannelOrder::Rgb);
    let want = upscaler.forward(&tensor(&source)).unwrap().clamp(0.0, 1.0) * 255.0;
    let want: Vec<u8> =
        Vec::try_from(want.round().squeeze().permute([1, 2, 0]).to_kind(Kind::Uint8).flatten(0, -1)).unwrap();
    assert_eq!(red_first.data, want);
    let (blue_first, _) = draw(ChannelOrder::Bgr);
    assert!(difference(&red_first.data, &blue_first.data) > 8);
}

#[test]
fn the_three_spellings_and_their_wrappers_draw_equal_bits() {
    let goldens = goldens();
    let old = weights(&goldens, "esrgan_x4");
    let x = tensor(&picture(&goldens, "esrgan_x4.0"));
    let want = load(&old, Kind::Float).unwrap().forward(&x).unwrap();
    let wrap = |archive: &Archive, prefix: &str| {
        let tensors = archive.tensors.iter().map(|(key, value)| (format!("{prefix}{key}"), value.clone()));
        Archive { tensors: tensors.collect(), metadata: archive.metadata.clone() }
    };
    let (middle, new) = (respell(&old, middle), respell(&old, new));
    let wrapped = [
        wrap(&new, "params_ema."),
        wrap(&new, "params."),
        wrap(&middle, "state_dict.module."),
        wrap(&old, "model."),
    ];
    for archive in [&middle, &new].into_iter().chain(&wrapped) {
        let got = load(archive, Kind::Float).unwrap().forward(&x).unwrap();
        assert!(got.equal(&want), "{:?}", archive.tensors.keys().next());
    }
    // Averaged weights win over the last step's beside them.
    let mut both = wrap(&new, "params_ema.");
    for (key, (dtype, shape, bytes)) in &new.tensors {
        both.tensors.insert(format!("params.{key}"), (*dtype, shape.clone(), vec![0; bytes.len()]));
    }
    assert!(load(&both, Kind::Float).unwrap().forward(&x).unwrap().equal(&want));
}

#[test]
fn a_published_pth_file_draws_what_the_same_weights_in_safetensors_do() {
    let goldens = goldens();
    let x = tensor(&picture(&goldens, "compact_x4.0"));
    let path = fixture("compact_x4.pth");
    assert_eq!(Upscaler::scale_of(&path).unwrap(), 4);
    let pth = Upscaler::load(&path, tch::Device::Cpu, Kind::Float, ChannelOrder::Rgb).unwrap();
    let want = load(&weights(&goldens, "compact_x4"), Kind::Float).unwrap().forward(&x).unwrap();
    assert!(pth.forward(&x).unwrap().equal(&want));
}

#[test]
fn tiles_are_put_together_as_pillow_does() {
    let goldens = goldens();
    let upscaler = load(&weights(&goldens, "compact_x2"), Kind::Float).unwrap();
    let source = picture(&goldens, "compact_x2.0");
    let [tile, overlap] = Vec::<i64>::try_from(goldens.tensor("compact_x2.tiling")).unwrap()[..] else {
        panic!("a tiling is two numbers")
    };
    let tiling = Tiling { tile: tile as u32, overlap: overlap as u32 };
    let got = upscaler.upscale(&source, tiling, &|| false).unwrap();
    let (_, shape, want) = &goldens.tensors["compact_x2.tiled"];
    assert_eq!(shape[..2], [got.height as usize, got.width as usize]);
    let exact = got.data.iter().zip(want).filter(|(got, want)| got == want).count();
    assert!(
        difference(&got.data, want) <= 1 && exact * 1000 >= want.len() * 999,
        "{exact} of {}",
        want.len()
    );
    let whole = upscaler.upscale(&source, Tiling::WHOLE, &|| false).unwrap();
    assert!(difference(&got.data, &whole.data) > 1, "tiles that show nowhere prove nothing");
}

#[test]
fn cancelling_stops_before_the_next_tile() {
    let goldens = goldens();
    let upscaler = load(&weights(&goldens, "compact_x2"), Kind::Float).unwrap();
    let source = picture(&goldens, "compact_x2.0");
    let asked = Cell::new(0);
    let after = |tiles: u32| {
        asked.set(0);
        let cancelled = || {
            asked.set(asked.get() + 1);
            asked.get() > tiles
        };
        upscaler.upscale(&source, Tiling { tile: 12, overlap: 4 }, &cancelled)
    };
    assert!(matches!(after(2), Err(PictureError::Cancelled)));
    assert_eq!(asked.get(), 3);
    assert!(after(100).is_ok());
    assert_eq!(asked.get(), 12);
}

#[test]
fn bf16_stays_near_f32() {
    let goldens = goldens();
    let archive = weights(&goldens, "esrgan_x4");
    let source = picture(&goldens, "esrgan_x4.0");
    let draw = |kind| load(&archive, kind).unwrap().upscale(&source, Tiling::WHOLE, &|| false).unwrap();
    let (single, half) = (draw(Kind::Float), draw(Kind::BFloat16));
    let difference = difference(&single.data, &half.data);
    println!("bf16: {difference} grey levels");
    assert!((1..=6).contains(&difference), "{difference}");
}

#[test]
fn grey_and_transparent_pictures_come_out_as_rgb() {
    let goldens = goldens();
    let upscaler = load(&weights(&goldens, "compact_x2"), Kind::Float).unwrap();
    let make = |format: PixelFormat, data: &[u8]| Pixels::new(2, 1, format, data.to_vec()).unwrap();
    let draw = |picture: &Pixels| upscaler.upscale(picture, Tiling::default(), &|| false).unwrap();
    let want = draw(&make(PixelFormat::Rgb8, &[9, 9, 9, 200, 200, 200]));
    assert_eq!((want.width, want.height, want.format), (4, 2, PixelFormat::Rgb8));
    assert_eq!(draw(&make(PixelFormat::Gray8, &[9, 200])), want);
    assert_eq!(draw(&make(PixelFormat::Rgba8, &[9, 9, 9, 0, 200, 200, 200, 255])), want);
    let empty = Pixels { width: 0, height: 3, format: PixelFormat::Rgb8, data: Vec::new() };
    assert!(matches!(upscaler.upscale(&empty, Tiling::WHOLE, &|| false), Err(PictureError::Request(_))));
}

#[test]
fn any_factor_is_reached_by_repeating_the_network() {
    let goldens = goldens();
    let upscaler = load(&weights(&goldens, "compact_x2"), Kind::Float).unwrap();
    let source = picture(&goldens, "esrgan_x4.0");
    let mut runs = 0;
    let mut net = |picture: &Pixels| {
        runs += 1;
        upscaler.upscale(picture, Tiling::default(), &|| false)
    };
    let resize = |picture: &Pixels, width: u32, height: u32| {
        assert_eq!((picture.width, picture.height), (64, 52));
        let data = vec![0; Pixels::byte_len(width, height, picture.format).unwrap()];
        Ok(Pixels::new(width, height, picture.format, data).unwrap())
    };
    let result = upscale_by(&source, 3.0, &mut net, &resize).unwrap();
    assert_eq!((result.width, result.height, runs), (48, 32, 2));
}

/// What a changed file is refused with.
#[track_caller]
fn refused(change: impl FnOnce(&mut Archive)) -> String {
    let mut archive = respell(&weights(&goldens(), "esrgan_x4"), new);
    change(&mut archive);
    let (_folder, path) = archive.write();
    match Upscaler::load(&path, tch::Device::Cpu, Kind::Float, ChannelOrder::default()) {
        Err(PictureError::File { path: named, why }) if named == path => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the file was taken"),
    }
}

#[test]
fn bad_files_are_refused_with_the_key_and_a_remedy() {
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu));
    let why = refused(|archive| drop(archive.tensors.remove("body.1.rdb3.conv5.bias")));
    assert!(why.contains("body.1.rdb3.conv5.bias is missing") && why.contains("fetch"), "{why}");
    let why = refused(|archive| archive.insert("conv_hr.weight", Dtype::F32, &zeros(&[8, 9, 3, 3])));
    assert!(why.contains("conv_hr.weight has the shape [8, 9, 3, 3]"), "{why}");
    let why = refused(|archive| archive.insert("body.2.rdb1.conv1.bias", Dtype::F32, &zeros(&[32])));
    assert!(why.contains("also has the tensor body.2.rdb1.conv1.bias"), "{why}");
    let key = "layers.0.residual_group.blocks.0.attn.relative_position_index";
    let why = refused(|archive| archive.insert(key, Dtype::I64, &zeros(&[4])));
    assert!(
        why.contains("it is a SwinIR upscaler, which is not supported") && why.contains("use an ESRGAN"),
        "{why}"
    );
    let absent =
        Upscaler::load(Path::new("/absent/x.safetensors"), tch::Device::Cpu, Kind::Float, ChannelOrder::Rgb);
    assert!(matches!(absent, Err(PictureError::File { why, .. }) if why.contains("cannot be read")));
}
