//! What a fake host answers, beside what the contract says. Tensors are tried as those of the kits for Python and JavaScript.

use serde_json::json;

use super::*;
use crate::tensor::{Axis, Binary, Over, Reduction, Unary};
use crate::{ImageDesc, Params, Random, assets, blobs, call, folders, inference, kv, models, outgoing};

fn counted() -> Tensor {
    tensor((2, 2, 3), &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0])
}

#[test]
fn a_call_reads_what_the_host_has_and_leaves_what_it_said() {
    let host = Host::new().settings(json!({"style": "ink"})).seed(7).request_id("r1").cancelled();
    host.run(|| {
        let settings: Value = call::settings().unwrap();
        assert_eq!(settings, json!({"style": "ink"}));
        assert_eq!((call::request_id(), call::seed(), call::cancelled()), ("r1".into(), 7, true));
        assert_eq!(Random::for_request(1).below(1000), Random::new(7, 1).below(1000));
        call::log(Level::Warn, "careful");
    });
    assert_eq!(host.log(), [(Level::Warn, "careful".to_owned())]);
    let settings: Value = Host::new().run(call::settings).unwrap();
    assert_eq!(settings, json!({}));
}

#[test]
fn a_host_within_a_host_gives_place_to_it_again() {
    let (outer, inner) = (Host::new().seed(1), Host::new().seed(2));
    let seeds = outer.run(|| [call::seed(), inner.run(call::seed), call::seed()]);
    assert_eq!(seeds, [1, 2, 1]);
}

#[test]
#[should_panic(expected = "inside `gesso_plugin::fake::Host::run`")]
fn without_a_host_it_says_where_to_get_one() {
    call::seed();
}

#[test]
fn what_nobody_named_is_not_permitted_and_what_is_not_there_is_no_input() {
    let host = Host::new().file("wildcards", "colours.txt", b"red\n").asset("page.html", "<p>");
    host.run(|| {
        assert_eq!(folders::list("wildcards").unwrap(), ["colours.txt"]);
        assert_eq!(folders::read("wildcards", "colours.txt").unwrap(), b"red\n");
        assert!(matches!(folders::read("wildcards", "other.txt"), Err(Fault::InvalidInput(_))));
        assert!(matches!(folders::list("others"), Err(Fault::NotPermitted(_))));
        assert_eq!(
            (assets::list(), assets::read("page.html").unwrap()),
            (vec!["page.html".into()], b"<p>".to_vec())
        );
        assert!(matches!(assets::read("none"), Err(Fault::InvalidInput(_))));
        assert!(matches!(models::list(), Err(Fault::NotPermitted(_))));
        let request = Request::get("https://a.example/").body(Vec::new()).unwrap();
        assert!(matches!(outgoing::send(&request), Err(Fault::NotPermitted(_))));
    });
}

#[test]
fn values_and_blobs_outlive_a_call_and_have_the_room_that_is_granted() {
    let host = Host::new().kv_bytes(8).value("old", "1").blob("file", b"abc");
    host.run(|| {
        assert_eq!(kv::update("old", |old| old.map(|old| [old, b"2"].concat())), Ok(Some(b"12".to_vec())));
        assert!(!kv::swap("old", Some(b"1"), None).unwrap());
        assert!(matches!(kv::set("new", b"long"), Err(Fault::LimitExceeded(_))));
        assert!(matches!(kv::set("", b""), Err(Fault::InvalidInput(_))));
        assert!(matches!(blobs::put("a", &vec![0; (16 << 20) + 1]), Err(Fault::LimitExceeded(_))));
        assert_eq!(blobs::read("file", 1, 9), Ok(b"bc".to_vec()));
        assert!(matches!(blobs::read("none", 0, 1), Err(Fault::InvalidInput(_))));
    });
    host.run(|| {
        assert_eq!(kv::get("old").unwrap().as_deref(), Some(b"12".as_slice()));
        blobs::put("filed", b"").unwrap();
        assert_eq!(blobs::list("fil", Some("file")).unwrap(), ["filed"]);
        blobs::remove("file").unwrap();
    });
    assert_eq!(host.kv(), BTreeMap::from([("old".into(), b"12".to_vec())]));
    assert_eq!(host.blobs().into_keys().collect::<Vec<_>>(), ["filed"]);
    let refused = Host::new().blob_bytes(0).run(|| blobs::put("a", b""));
    assert!(matches!(refused, Err(Fault::NotPermitted(_))), "{refused:?}");
}

#[test]
fn networks_are_functions_of_their_inputs() {
    let double = |inputs: &[NetworkTensor]| {
        let values = inputs[0].values.iter().map(|value| *value * 2.0).collect();
        Ok(vec![NetworkTensor { shape: inputs[0].shape.clone(), values }])
    };
    let host = Host::new().network("double", double).about("double", json!({"names": ["a"]}));
    host.run(|| {
        let input = NetworkTensor { shape: vec![1, 2], values: vec![1.0, 2.0] };
        assert_eq!(models::list().unwrap(), ["double"]);
        assert_eq!(models::about("double").unwrap(), Some(json!({"names": ["a"]})));
        assert_eq!(models::run("double", vec![input.clone()]).unwrap()[0].values, [2.0, 4.0]);
        assert!(matches!(models::run("other", vec![]), Err(Fault::NotPermitted(_))));
        let short = NetworkTensor { shape: vec![3], ..input };
        assert!(matches!(models::run("double", vec![short]), Err(Fault::InvalidInput(_))));
    });
}

#[test]
fn a_drawing_is_a_black_picture_or_what_the_test_says() {
    let params = Params::from_json(r#"{"prompt": "a cat", "seed": 3, "width": 16, "height": 8}"#).unwrap();
    let host = Host::new();
    let drawn = host.run(|| inference::generate(&params, &[], None)?.finish()).unwrap();
    let desc = ImageDesc { width: 16, height: 8, format: PixelFormat::Rgb8 };
    assert_eq!(drawn.images.iter().map(Image::desc).collect::<Vec<_>>(), [desc]);
    assert_eq!(drawn.infotexts, ["a cat\nSeed: 3"]);
    assert_eq!(host.drawings()[0].params, params);

    let host = Host::new().drawing(|drawing| match drawing.init_images.first() {
        Some(source) => Ok(drawing.drawn(vec![source.resize(2, 2)?])),
        None => Err(Fault::InvalidInput("steps must be more".into())),
    });
    host.run(|| {
        let white = picture(4, 4, PixelFormat::Gray8, &[255; 16]);
        let drawn = inference::generate(&params, &[white], None).unwrap().finish().unwrap();
        assert!(drawn.images[0].read_rows(0, 2).unwrap().iter().all(|level| *level >= 254));
        let refused = inference::generate(&params, &[], None).unwrap().finish();
        assert!(matches!(refused, Err(Fault::InvalidInput(_))), "{refused:?}");
        let job = inference::generate(&params, &[], None).unwrap();
        job.cancel();
        assert!(matches!(job.finish(), Err(Fault::Cancelled)));
    });
    assert_eq!(host.drawings().len(), 3);
}

#[test]
fn hosts_of_the_network_answer_as_the_test_says() {
    let host = Host::new().answer(|request| Ok(Response::new(request.uri().path().as_bytes().to_vec())));
    let request = Request::get("https://a.example/cat.png").body(Vec::new()).unwrap();
    assert_eq!(host.run(|| outgoing::send(&request)).unwrap().into_body(), b"/cat.png");
    let nowhere = Request::get("/cat.png").body(Vec::new()).unwrap();
    assert!(matches!(host.run(|| outgoing::send(&nowhere)), Err(Fault::InvalidInput(_))));
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn pictures_have_rows_formats_and_sizes_as_in_a_host() {
    let mut image = Image::allocate(ImageDesc { width: 2, height: 2, format: PixelFormat::Rgb8 }).unwrap();
    image.write_rows(1, &[255, 0, 0, 0, 255, 0]).unwrap();
    assert_eq!(image.convert(PixelFormat::Gray8).unwrap().read_rows(0, 2).unwrap(), [0, 0, 76, 150]);
    assert_eq!(image.convert(PixelFormat::Rgba8).unwrap().read_rows(1, 1).unwrap()[..4], [255, 0, 0, 255]);
    let larger = picture(3, 3, PixelFormat::Rgba8, &[200; 36]).resize(7, 5).unwrap();
    assert_eq!(larger.desc(), ImageDesc { width: 7, height: 5, format: PixelFormat::Rgba8 });
    assert!(larger.read_rows(0, 5).unwrap().iter().all(|level| level.abs_diff(200) <= 1));
    for refused in [
        image.read_rows(1, 2).map(drop),
        image.write_rows(0, &[1, 2, 3]),
        image.write_rows(2, &[0; 6]),
        image.resize(0, 4).map(drop),
        Image::allocate(ImageDesc { width: 1, height: 16_385, format: PixelFormat::Gray8 }).map(drop),
    ] {
        assert!(matches!(refused, Err(Fault::InvalidInput(_))), "{refused:?}");
    }
}

#[test]
fn pictures_are_resized_as_on_a_server() {
    use gesso_core::pixels::{PixelFormat as HostFormat, Pixels};
    use gesso_picture::resize::{Filter, resize};

    for (format, host_format) in [
        (PixelFormat::Gray8, HostFormat::Gray8),
        (PixelFormat::Rgb8, HostFormat::Rgb8),
        (PixelFormat::Rgba8, HostFormat::Rgba8),
    ] {
        let bytes = 13 * 9 * format.channels() as u32;
        let data: Vec<u8> = (0..bytes).map(|at| (at * at * 37 % 251) as u8).collect();
        let made_up = picture(13, 9, format, &data);
        let real = Pixels { width: 13, height: 9, format: host_format, data };
        for (width, height) in [(13, 9), (5, 20), (40, 3), (1, 1), (13, 4), (26, 9)] {
            let wanted = resize(&real, width, height, Filter::Lanczos).unwrap().data;
            let resized = made_up.resize(width, height).unwrap().read_rows(0, height).unwrap();
            assert_eq!(resized, wanted, "{format:?} at {width}x{height}");
        }
    }
}

#[test]
fn reductions_are_those_of_the_definitions() {
    for (op, over, want) in [
        (Reduction::Sum, Over::Everything, vec![66.0]),
        (Reduction::Mean, Over::Places, vec![2.5, 8.5]),
        (Reduction::Maximum, Over::Channels, vec![6.0, 7.0, 8.0, 9.0, 10.0, 11.0]),
        (Reduction::Minimum, Over::Channels, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (Reduction::Deviation, Over::Places, vec![3.5_f32.sqrt(); 2]),
        (Reduction::Norm, Over::Everything, vec![506.0_f32.sqrt()]),
        (Reduction::Quantile(0.9), Over::Places, vec![4.5, 10.5]),
    ] {
        let reduced = counted().reduce(op, over).unwrap().read().unwrap();
        assert_eq!(reduced.len(), want.len(), "{op:?}");
        assert!(reduced.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{op:?} {reduced:?}");
    }
    let refused = counted().reduce(Reduction::Quantile(1.5), Over::Places);
    assert!(matches!(refused, Err(Fault::InvalidInput(_))), "{refused:?}");
}

#[test]
fn a_reduction_meets_larger_tensors_everywhere_and_not_the_other_way_round() {
    let mut tensor = counted();
    let mut mean = tensor.reduce(Reduction::Mean, Over::Places).unwrap();
    tensor.combine(Binary::Subtract, &mean).unwrap();
    assert_eq!(tensor.read().unwrap()[6..], [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]);
    assert!(matches!(mean.combine(Binary::Add, &tensor), Err(Fault::InvalidInput(_))));
    tensor.apply(Unary::Sign).unwrap();
    tensor.combine_number(Binary::Multiply, 3.0).unwrap();
    assert_eq!(tensor.read().unwrap()[..6], [-3.0, -3.0, -3.0, 3.0, 3.0, 3.0]);
}

#[test]
fn functions_of_each_element_are_those_of_mathematics() {
    for (op, want) in [
        (Unary::Floor, [-1.0, 0.0, 1.0]),
        (Unary::ArcCosine, [std::f32::consts::PI * 2.0 / 3.0, std::f32::consts::FRAC_PI_2, 0.0]),
        (Unary::Sine, [-0.479_425_54, 0.0, 0.841_471]),
        (Unary::Cosine, [0.877_582_55, 1.0, 0.540_302_3]),
    ] {
        let mut tensor = tensor((1, 1, 3), &[-0.5, 0.0, 1.0]);
        tensor.apply(op).unwrap();
        let got = tensor.read().unwrap();
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6), "{op:?}: {got:?}");
    }
}

#[test]
fn a_part_is_cut_out_and_put_elsewhere() {
    let mut tensor = counted();
    let column = tensor.slice(Axis::Columns, 2, 1).unwrap();
    assert_eq!(column.read().unwrap(), [2.0, 5.0, 8.0, 11.0]);
    tensor.paste(Axis::Columns, 0, &column).unwrap();
    assert_eq!(tensor.read().unwrap()[..6], [2.0, 1.0, 2.0, 5.0, 4.0, 5.0]);
    assert!(matches!(tensor.slice(Axis::Rows, 2, 9), Err(Fault::InvalidInput(_))));
    assert!(matches!(tensor.paste(Axis::Rows, 0, &column), Err(Fault::InvalidInput(_))));
    assert!(matches!(tensor.write(&[1.0]), Err(Fault::InvalidInput(_))));
}

#[test]
fn a_lent_tensor_is_the_same_one_and_a_hook_reads_it_by_grant_alone() {
    let tensor = counted();
    let mut lent = lend(&tensor);
    assert!(matches!(Host::new().run(|| lent.read()), Err(Fault::NotPermitted(_))));
    assert_eq!(Host::new().read_tensors().run(|| lent.read()).unwrap().len(), 12);
    let copy = tensor.duplicate().unwrap();
    lent.draw(5).unwrap();
    assert_eq!(lent.read(), tensor.read());
    assert_ne!(copy.read(), tensor.read());
    let both = tensor.duplicate().unwrap();
    let mut same = lend(&both);
    same.combine(Binary::Subtract, &both).unwrap();
    assert_eq!(both.read().unwrap(), [0.0; 12]);
}
