//! Hypernetworks through the server: one acts where a prompt names it, and leaves nothing behind.

use std::path::Path;

use serde_json::json;

use super::drawing::{draw, models};
use super::redraw::redraws;
use crate::support::Bench;

/// Width of the demo checkpoint's texts.
const WIDTH: u16 = 64;

/// A file as PyTorch's first format has it (five pickles, then the storages), with one linear layer for keys and one for
/// values.
fn write_hypernetwork(path: &Path) {
    let elements = u64::from(WIDTH) * u64::from(WIDTH);
    let tensors = [
        ("k", "weight", elements),
        ("k", "bias", WIDTH.into()),
        ("v", "weight", elements),
        ("v", "bias", WIDTH.into()),
    ];
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    file.extend(b"\x80\x02M\xe9\x03.");
    file.extend([&b"\x80\x02}"[..], &text("little_endian"), b"\x88s."].concat());
    let pair = |part: &str| {
        let named = |end: &str, shape: &[u16]| {
            [text(&format!("linear.0.{end}")), tensor(&format!("{part}.{end}"), shape)].concat()
        };
        [&b"}("[..], &named("weight", &[WIDTH, WIDTH]), &named("bias", &[WIDTH]), b"u"].concat()
    };
    let structure = [text("layer_structure"), b"](K\x01K\x01e".to_vec()].concat();
    let pickle = [&b"\x80\x02}("[..], &structure, &number(WIDTH), &pair("k"), &pair("v"), b"\x86u."].concat();
    file.extend(pickle);
    let keys: Vec<u8> = tensors.iter().flat_map(|(part, end, _)| text(&format!("{part}.{end}"))).collect();
    file.extend([&b"\x80\x02]("[..], &keys, b"e."].concat());
    for (part, end, elements) in tensors {
        file.extend(elements.to_le_bytes());
        let begin = (part.len() + end.len()) as f32;
        for place in 0..elements {
            file.extend((((place as f32 * 1.7 + begin).sin()) * 0.2).to_le_bytes());
        }
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, file).unwrap();
}

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn number(number: u16) -> Vec<u8> {
    [&b"M"[..], &number.to_le_bytes()].concat()
}

/// A call of what PyTorch rebuilds tensors with, over a storage of its own.
fn tensor(key: &str, shape: &[u16]) -> Vec<u8> {
    let elements = shape.iter().product::<u16>();
    let storage = [
        &b"("[..],
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text(key),
        &text("cpu"),
        &number(elements),
        b"NtQ",
    ]
    .concat();
    let sizes: Vec<u8> = shape.iter().flat_map(|side| number(*side)).collect();
    let strides: Vec<u8> = match shape {
        [_, columns] => [number(*columns), number(1)].concat(),
        _ => number(1),
    };
    [
        &b"ctorch._utils\n_rebuild_tensor_v2\n("[..],
        &storage,
        b"K\x00(",
        &sizes,
        b"t(",
        &strides,
        b"t\x89ccollections\nOrderedDict\n)RtR",
    ]
    .concat()
}

#[test]
fn a_hypernetwork_acts_while_it_is_named_and_leaves_no_trace() {
    let models = models();
    write_hypernetwork(&models.path().join("hypernetworks/style.pt"));
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    assert_eq!(server.get("/sdapi/v1/hypernetworks").ok()[0]["name"], "style");
    let of = |prompt: &str| draw(&server, "txt2img", json!({"prompt": prompt}));
    let plain = of("sea at night").0.data;
    let (styled, reply) = of("sea at night<hypernet:style:1>");
    assert!(styled.data != plain);
    assert!(reply["warnings"].as_array().is_none_or(Vec::is_empty), "{reply}");
    assert!(of("sea at night<hypernet:style:0.5>").0.data != styled.data);
    let off = json!({"prompt": "sea at night<hypernet:style:1>", "disable_extra_networks": true});
    assert_eq!(draw(&server, "txt2img", off).0.data, plain);
    assert_eq!(of("sea at night<hypernet:style:1>").0.data, styled.data);
    assert_eq!(of("sea at night").0.data, plain, "the hypernetwork left something behind");
    let (missing, reply) = of("sea at night<hypernet:gone:1>");
    assert_eq!(missing.data, plain);
    assert!(reply["warnings"][0].as_str().unwrap().starts_with("Hypernetwork not found: "), "{reply}");
    let says = ["<hypernet:style:0.8>"];
    redraws(&server, "txt2img", json!({"prompt": "sea <hypernet:style:0.8>"}), json!({}), &says);
}
