//! One checkpoint in every container and layout it is published in loads to the same tensors, bit for bit.
//! `tests/fixtures/make_layouts.py` has diffusers and torch write them; the numbers come from tiny.safetensors.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gesso_core::hex::hex;
use gesso_torch::{Family, ModelFacts, Networks, Prediction, Problem, Tensors};
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::spellings::rename_vae_attention;
use crate::support::{Archive, fixture};

const VAE: &str = "first_stage_model.";

fn packed(name: &str) -> Vec<u8> {
    let mut archive = ZipArchive::new(std::fs::File::open(fixture("layouts.zip")).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

/// The tiny checkpoint in f32, as a single `.safetensors` file.
static WIDE: LazyLock<Archive> = LazyLock::new(|| {
    let mut archive = Archive::tiny();
    for name in archive.tensors.keys().cloned().collect::<Vec<_>>() {
        archive.insert(&name, Dtype::F32, &archive.tensor(&name));
    }
    archive
});

fn load(path: &Path) -> Networks {
    Networks::load(path, Kind::Float).unwrap()
}

fn plain() -> Networks {
    let (_folder, path) = WIDE.write();
    load(&path)
}

#[track_caller]
fn assert_same(got: &Networks, want: &Networks) {
    let (got, want) = (&got.tensors().named, &want.tensors().named);
    assert!(want.len() > 900 && got.keys().eq(want.keys()));
    for (name, want) in want {
        assert_eq!((got[name].size(), got[name].kind()), (want.size(), want.kind()), "{name}");
        assert!(got[name].equal(want), "{name}");
    }
}

/// Keys and bytes of the storages, in the order of the file.
fn storages(format: &str) -> Vec<(String, Vec<u8>)> {
    let mut listed: BTreeMap<String, Vec<(String, String)>> =
        serde_json::from_slice(&packed("storages.json")).unwrap();
    let bytes = |name: &str| match name {
        "alphas_cumprod" => vec![0; 4000],
        "model_ema.decay" => vec![0; 4],
        "cond_stage_model.transformer.text_model.embeddings.position_ids" => vec![0; 77 * 8],
        name => WIDE.tensors[name].2.clone(),
    };
    listed.remove(format).unwrap().into_iter().map(|(key, name)| (key, bytes(&name))).collect()
}

/// An archive as torch lays it out.
fn archive(pickle: &[u8], storages: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut add = |name: &str, bytes: &[u8]| {
        writer.start_file(format!("tiny/{name}"), options).unwrap();
        writer.write_all(bytes).unwrap();
    };
    add("data.pkl", pickle);
    add("byteorder", b"little");
    storages.iter().for_each(|(key, bytes)| add(&format!("data/{key}"), bytes));
    add("version", b"3\n");
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_ckpt_of_today_equals_the_safetensors_file() {
    let (_guard, folder) = folder();
    let path = folder.join("model.ckpt");
    std::fs::write(&path, archive(&packed("zip.pkl"), &storages("zip"))).unwrap();
    assert_same(&load(&path), &plain());
}

#[test]
fn a_ckpt_of_the_older_stream_equals_the_safetensors_file() {
    let (_guard, folder) = folder();
    let path = folder.join("model.ckpt");
    let mut bytes = packed("stream.pkl");
    for (key, storage) in storages("stream") {
        // Positions are int64, everything else f32.
        let size = if storage.len() == 77 * 8 { 8 } else { 4 };
        assert!(!key.is_empty());
        bytes.extend_from_slice(&(storage.len() as u64 / size).to_le_bytes());
        bytes.extend_from_slice(&storage);
    }
    std::fs::write(&path, bytes).unwrap();
    assert_same(&load(&path), &plain());
}

#[derive(serde::Deserialize)]
struct Known {
    shape: Vec<usize>,
    /// The first bytes in f16, in hexadecimal.
    start: String,
}

/// The parts of the folder that diffusers writes, and its configurations.
fn parts() -> (BTreeMap<String, Archive>, BTreeMap<String, Vec<u8>>) {
    let files: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&packed("folder.json")).unwrap();
    let tiny = Archive::tiny();
    let start = |bytes: &[u8]| hex(bytes.get(..16).unwrap_or(bytes));
    let by_start: BTreeMap<(String, usize), &String> = tiny
        .tensors
        .iter()
        .map(|(name, (_, shape, bytes))| ((start(bytes), shape.iter().product()), name))
        .collect();
    assert_eq!(by_start.len(), tiny.tensors.len());
    let (mut parts, mut configurations) = (BTreeMap::new(), BTreeMap::new());
    for (path, content) in files {
        if !path.ends_with(".safetensors") {
            configurations.insert(path, content.to_string().into_bytes());
            continue;
        }
        let known: BTreeMap<String, Known> = serde_json::from_value(content).unwrap();
        let mut part = Archive { tensors: BTreeMap::new(), metadata: BTreeMap::new() };
        for (name, Known { shape, start }) in known {
            let ours = by_start[&(start, shape.iter().product())];
            part.tensors.insert(name, (Dtype::F32, shape, WIDE.tensors[ours].2.clone()));
        }
        parts.insert(path, part);
    }
    let count: usize = parts.values().map(|part| part.tensors.len()).sum();
    assert_eq!(count, tiny.tensors.len());
    (parts, configurations)
}

/// The names of the tensors of one part, as diffusers writes them.
pub(crate) fn names_of(part: &str) -> Vec<String> {
    let (parts, _) = parts();
    let (_, part) = parts.into_iter().find(|(path, _)| path.starts_with(part)).unwrap();
    part.tensors.into_keys().collect()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

const FOLDER_UNET: &str = "unet/diffusion_pytorch_model.safetensors";
const FOLDER_VAE: &str = "vae/diffusion_pytorch_model.safetensors";
const FOLDER_TEXT: &str = "text_encoder/model.safetensors";

#[test]
fn a_folder_that_diffusers_wrote_equals_the_safetensors_file() {
    let (_guard, folder) = folder();
    let (parts, configurations) = parts();
    parts.iter().for_each(|(name, part)| write(&folder, name, &part.bytes()));
    configurations.iter().for_each(|(name, bytes)| write(&folder, name, bytes));
    let networks = load(&folder);
    assert_same(&networks, &plain());
    let facts = networks.facts();
    assert_eq!((facts.prediction, facts.zero_terminal_snr), (Prediction::Epsilon, false));
}

#[test]
fn a_folder_may_hold_f16_variants_pickles_and_older_names() {
    let (_guard, folder) = folder();
    let (mut parts, configurations) = parts();
    configurations.iter().for_each(|(name, bytes)| write(&folder, name, bytes));
    let text = parts.remove(FOLDER_TEXT).unwrap();
    let prefixed = |(name, tensor): (String, _)| (format!("text_model.{name}"), tensor);
    let text = Archive { tensors: text.tensors.into_iter().map(prefixed).collect(), ..text };
    write(&folder, "text_encoder/model.fp16.safetensors", &text.bytes());
    write(&folder, "unet/diffusion_pytorch_model.bin", &pickled(&parts[FOLDER_UNET]));
    write(&folder, "vae/diffusion_pytorch_model.safetensors", &older_vae(&parts[FOLDER_VAE]).bytes());
    assert_same(&load(&folder), &plain());
}

#[test]
fn a_folders_configuration_says_what_is_predicted() {
    let (_guard, folder) = folder();
    let (parts, configurations) = parts();
    parts.iter().for_each(|(name, part)| write(&folder, name, &part.bytes()));
    configurations.iter().for_each(|(name, bytes)| write(&folder, name, bytes));
    let scheduler = br#"{"prediction_type": "v_prediction", "rescale_betas_zero_snr": true}"#;
    write(&folder, "scheduler/scheduler_config.json", scheduler);
    let facts = load(&folder).facts();
    assert_eq!((facts.prediction, facts.zero_terminal_snr), (Prediction::V, true));
}

/// The names of its text encoder are those of 1.x.
#[test]
fn a_folder_of_stable_diffusion_2_is_refused_by_its_family() {
    let (_guard, folder) = folder();
    let (mut parts, configurations) = parts();
    let unet = parts.get_mut(FOLDER_UNET).unwrap();
    let reads_text =
        |name: &&String| ["attn2.to_k.weight", "attn2.to_v.weight"].iter().any(|end| name.ends_with(end));
    let names: Vec<String> = unet.tensors.keys().filter(reads_text).cloned().collect();
    assert_eq!(names.len(), 32);
    for name in names {
        let rows = unet.tensor(&name).size()[0];
        let wide = Tensor::zeros([rows, 1024], (Kind::Float, tch::Device::Cpu));
        unet.insert(&name, Dtype::F32, &wide);
    }
    parts.iter().for_each(|(name, part)| write(&folder, name, &part.bytes()));
    configurations.iter().for_each(|(name, bytes)| write(&folder, name, bytes));
    let problem = Networks::load(&folder, Kind::Float).err().unwrap().problem;
    assert!(matches!(&problem, Problem::Unsupported(why) if why.contains("2.x")), "{problem}");
}

#[test]
fn a_folder_without_a_part_or_with_a_strange_name_is_refused_by_it() {
    let (_guard, folder) = folder();
    let (mut parts, configurations) = parts();
    configurations.iter().for_each(|(name, bytes)| write(&folder, name, bytes));
    let refused = || Networks::load(&folder, Kind::Float).err().unwrap().problem;
    write(&folder, FOLDER_UNET, &parts[FOLDER_UNET].bytes());
    assert!(matches!(refused(), Problem::Unsupported(why) if why.contains("text_encoder")));
    write(&folder, FOLDER_TEXT, &parts[FOLDER_TEXT].bytes());
    write(&folder, FOLDER_VAE, &parts[FOLDER_VAE].bytes());
    load(&folder);
    let strange = "down_blocks.0.resnets.7.conv1.weight";
    let unet = parts.get_mut(FOLDER_UNET).unwrap();
    let tensor = unet.tensors["conv_in.weight"].clone();
    unet.tensors.insert(strange.into(), tensor);
    write(&folder, FOLDER_UNET, &unet.bytes());
    assert!(matches!(refused(), Problem::Unknown(name) if name.ends_with(strange)));
    unet.tensors.remove(strange);
    write(&folder, FOLDER_UNET, &unet.bytes());
    write(&folder, "unet/config.json", b"{\"norm_num_groups\": 8");
    // By its place in the folder: where that lies is no client's business.
    let is_told = |why: &str| why.starts_with("unet/config.json is not JSON");
    assert!(matches!(refused(), Problem::Malformed(why) if is_told(&why)));
}

/// What torch.save writes of a flat dict of f32 tensors.
fn pickled(part: &Archive) -> Vec<u8> {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let int = |value: usize| [b"J", &(value as i32).to_le_bytes()[..]].concat();
    let tuple = |values: &[usize]| {
        let values: Vec<u8> = values.iter().flat_map(|value| int(*value)).collect();
        [b"(", &values[..], b"t"].concat()
    };
    let (mut pickle, mut storages) = (b"\x80\x02}(".to_vec(), Vec::new());
    for (index, (name, (_, shape, bytes))) in part.tensors.iter().enumerate() {
        let key = index.to_string();
        let strides: Vec<usize> = (1..=shape.len()).map(|axis| shape[axis..].iter().product()).collect();
        pickle.extend(text(name));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle
            .extend([text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text(&key), text("cpu")].concat());
        pickle.extend([int(bytes.len() / 4), b"tQ".to_vec(), int(0), tuple(shape), tuple(&strides)].concat());
        pickle.extend(b"\x89}tR");
        storages.push((key, bytes.clone()));
    }
    pickle.extend(b"u.");
    archive(&pickle, &storages)
}

/// A VAE under the names diffusers had until 2023.
fn older_vae(part: &Archive) -> Archive {
    let older = |name: String| {
        let names = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
        names.iter().fold(name, |name, (new, old)| name.replace(&format!(".{new}."), &format!(".{old}.")))
    };
    let tensors: BTreeMap<_, _> =
        part.tensors.clone().into_iter().map(|(name, tensor)| (older(name), tensor)).collect();
    assert!(tensors.contains_key("decoder.mid_block.attentions.0.proj_attn.weight"));
    Archive { tensors, metadata: BTreeMap::new() }
}

#[track_caller]
fn assert_vae(path: &Path) {
    let base = plain();
    let vae = Tensors::read_vae(path).unwrap();
    let wanted = || base.tensors().named.iter().filter(|(name, _)| name.starts_with(VAE));
    assert!(vae.named.keys().eq(wanted().map(|(name, _)| name)));
    for (name, want) in wanted() {
        assert_eq!(vae.named[name].size(), want.size(), "{name}");
        assert!(vae.named[name].equal(want), "{name}");
    }
    base.with(&vae).unwrap();
}

#[test]
fn a_vae_by_itself_is_read_under_every_name_it_goes_by() {
    let (_guard, folder) = folder();
    for prefix in ["first_stage_model.", "vae.", ""] {
        let vae = WIDE.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(VAE)?, tensor)));
        let mut vae = Archive {
            tensors: vae.map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect(),
            metadata: BTreeMap::new(),
        };
        let junk = Tensor::zeros([1], (Kind::Float, tch::Device::Cpu));
        for name in ["loss.logvar", "model_ema.decay"] {
            vae.insert(&format!("{prefix}{name}"), Dtype::F32, &junk);
        }
        write(&folder, "vae.safetensors", &vae.bytes());
        assert_vae(&folder.join("vae.safetensors"));
        write(&folder, "vae.pt", &pickled(&vae));
        assert_vae(&folder.join("vae.pt"));
        let today = vae.clone();
        rename_vae_attention(&mut vae);
        write(&folder, "vae.safetensors", &vae.bytes());
        assert_vae(&folder.join("vae.safetensors"));
        // Beside today's names, others count for nothing.
        vae.tensors.values_mut().for_each(|(_, _, bytes)| bytes.fill(0));
        vae.tensors.extend(today.tensors);
        write(&folder, "vae.safetensors", &vae.bytes());
        assert_vae(&folder.join("vae.safetensors"));
    }
    let (parts, _) = parts();
    let vae = &parts[FOLDER_VAE];
    for part in [vae.clone(), older_vae(vae)] {
        write(&folder, FOLDER_VAE, &part.bytes());
        assert_vae(&folder.join(FOLDER_VAE));
        assert_vae(&folder.join("vae"));
        assert_vae(&folder);
    }
    let (_guard, checkpoint) = WIDE.write();
    assert_vae(&checkpoint);
}

#[test]
fn a_file_without_a_vae_gives_none() {
    let mut archive = WIDE.clone();
    archive.tensors.retain(|name, _| !name.starts_with(VAE));
    let (_guard, path) = archive.write();
    let problem = Tensors::read_vae(&path).unwrap_err().problem;
    assert!(matches!(&problem, Problem::Missing(name) if name.contains("decoder")), "{problem}");
}

#[test]
fn another_vae_changes_pictures_and_nothing_else() {
    let base = plain();
    let mut vae = Tensors::default();
    let name = format!("{VAE}decoder.conv_out.bias");
    vae.named.insert(name.clone(), &base.tensors().named[&name] + 1.0);
    let changed = base.with(&vae).unwrap();
    let latents = Tensor::ones([1, 4, 2, 2], (Kind::Float, tch::Device::Cpu));
    let (before, after) = (base.decode_latent(&latents).unwrap(), changed.decode_latent(&latents).unwrap());
    assert!((after - before - 1.0).abs().max().double_value(&[]) < 1e-5);
    let tokens = Tensor::from_slice(&[49406i64, 320, 49407]).unsqueeze(0);
    assert!(base.encode_text(&tokens, 1).unwrap().equal(&changed.encode_text(&tokens, 1).unwrap()));
}

#[test]
fn what_a_model_predicts_is_read_beside_it_and_in_it() {
    let (guard, path) = WIDE.write();
    let plain = ModelFacts {
        family: Family::StableDiffusion1,
        prediction: Prediction::Epsilon,
        zero_terminal_snr: false,
        input_channels: 4,
    };
    assert_eq!(load(&path).facts(), plain);
    std::fs::write(guard.path().join("model.yaml"), "model:\n  params:\n    parameterization: \"v\"\n")
        .unwrap();
    assert_eq!(load(&path).facts(), ModelFacts { prediction: Prediction::V, ..plain });

    let mut archive = WIDE.clone();
    archive.metadata.insert("modelspec.prediction_type".into(), "v".into());
    let (_guard, path) = archive.write();
    assert_eq!(load(&path).facts(), ModelFacts { prediction: Prediction::V, ..plain });

    let mut archive = WIDE.clone();
    let marker = Tensor::zeros([0], (Kind::Float, tch::Device::Cpu));
    archive.insert("v_pred", Dtype::F32, &marker);
    archive.insert("ztsnr", Dtype::F32, &marker);
    let (_guard, path) = archive.write();
    let facts = load(&path).facts();
    assert_eq!(facts, ModelFacts { prediction: Prediction::V, zero_terminal_snr: true, ..plain });
}

#[test]
fn a_unet_for_inpainting_or_editing_reads_more_channels_and_writes_four() {
    let first = "model.diffusion_model.input_blocks.0.0.weight";
    for channels in [8, 9] {
        let mut archive = WIDE.clone();
        let narrow = archive.tensor(first);
        let more = Tensor::zeros([24, channels - 4, 3, 3], (Kind::Float, tch::Device::Cpu));
        archive.insert(first, Dtype::F32, &Tensor::cat(&[&narrow, &more], 1));
        let (_guard, path) = archive.write();
        let networks = load(&path);
        assert_eq!(networks.facts().input_channels, channels);
        let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, tch::Device::Cpu));
        let context = ones(&[1, 77, 64]);
        let t = Tensor::from_slice(&[500.0f32]);
        let got = networks.predict_noise(&ones(&[1, channels, 8, 8]), &t, &context).unwrap();
        // The weights of the further channels are zeros.
        let want = plain().predict_noise(&ones(&[1, 4, 8, 8]), &t, &context).unwrap();
        assert_eq!(got.size(), [1, 4, 8, 8]);
        assert!((got - want).abs().max().double_value(&[]) < 1e-4);
    }
}

/// Each kind holds the numbers of the next narrower one exactly.
#[test]
fn tensors_of_every_floating_kind_become_the_networks_kind() {
    let name = "model.diffusion_model.out.2.bias";
    let values = Tensor::from_slice(&[0.5f32, -1.75, 0.0, 24.0]);
    for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F8_E4M3, Dtype::F8_E5M2] {
        for unet_kind in [Kind::Float, Kind::BFloat16] {
            let mut archive = Archive::tiny();
            archive.insert(name, dtype, &values);
            let (_guard, path) = archive.write();
            let networks = Networks::load(&path, unet_kind).unwrap();
            let got = &networks.tensors().named[name];
            assert_eq!(got.kind(), unet_kind, "{dtype:?}");
            assert!(got.to_kind(Kind::Float).equal(&values), "{dtype:?}");
        }
    }
}
