//! LoRA files of every kind against lycoris-lora, peft and diffusers, and what becomes of files that do not fit.

use std::collections::BTreeMap;
use std::rc::Rc;

use gesso_torch::lora::{BlockWeights, LoraError, LoraFile, LoraUse, Warning, patch, patch_fitting};
use gesso_torch::{Family, Networks, Tensors};
use proptest::prelude::*;
use safetensors::tensor::Dtype;
use tch::{Device, Kind, Tensor};

use crate::support::{Archive, fixture, relative_error};

/// Tensors by name.
type Named = BTreeMap<String, Tensor>;

const TO_K: &str = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight";
const Q_PROJ: &str = "cond_stage_model.transformer.text_model.encoder.layers.1.self_attn.q_proj.weight";

/// The tiny checkpoint's text encoder and UNet in f32.
fn checkpoint() -> Tensors {
    let tiny = Archive::read(&fixture("tiny.safetensors"));
    let names = tiny.tensors.keys().filter(|name| name.starts_with("cond") || name.starts_with("model."));
    let named = names.map(|name| (name.clone(), tiny.tensor(name).to_kind(Kind::Float))).collect();
    Tensors { named, ..Tensors::default() }
}

/// Writes the archive and reads it as a LoRA of that name.
fn load(name: &str, archive: &Archive) -> Result<Rc<LoraFile>, LoraError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{name}.safetensors"));
    std::fs::write(&path, archive.bytes()).unwrap();
    LoraFile::load(&path).map(Rc::new)
}

/// A file and the weights that the reference makes of the checkpoint with it.
struct Case {
    name: String,
    file: Rc<LoraFile>,
    want: Named,
}

struct Cases {
    strength: f64,
    cases: Vec<Case>,
}

fn cases() -> Cases {
    let archive = Archive::read(&fixture("lora.safetensors"));
    let table: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(&archive.metadata["cases"]).unwrap();
    let under = |prefix: &str| {
        let entries = archive.tensors.iter();
        let entries = entries.filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
        entries.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect::<BTreeMap<_, _>>()
    };
    let case = |(name, metadata): (String, BTreeMap<String, String>)| {
        let file = Archive { tensors: under(&format!("{name}/file/")), metadata };
        let want = under(&format!("{name}/want/"));
        let want = want.keys().map(|key| (key.clone(), archive.tensor(&format!("{name}/want/{key}"))));
        let want = want.collect();
        Case { file: load(&name, &file).unwrap(), name, want }
    };
    Cases {
        strength: archive.metadata["strength"].parse().unwrap(),
        cases: table.into_iter().map(case).collect(),
    }
}

fn case(name: &str) -> Case {
    cases().cases.into_iter().find(|case| case.name == name).unwrap()
}

fn bits(tensors: &Tensors) -> BTreeMap<&String, Vec<u8>> {
    let bytes = |tensor: &Tensor| {
        let tensor = tensor.contiguous();
        let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes
    };
    tensors.named.iter().map(|(name, tensor)| (name, bytes(tensor))).collect()
}

#[test]
fn every_kind_changes_weights_as_its_reference_does() {
    let base = checkpoint();
    let Cases { strength, cases } = cases();
    assert!(cases.len() >= 25, "{} cases", cases.len());
    for Case { name, file, want } in cases {
        let (overlay, _) = patch(&base, &[LoraUse::new(file, strength)]).unwrap();
        assert_eq!(overlay.named.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{name}");
        for (key, want) in want {
            let (got, base) = (&overlay.named[&key], &base.named[&key]);
            assert_eq!(got.size(), base.size(), "{name}: {key}");
            // Of the change alone, so that a small one cannot hide behind the weight.
            let error = relative_error(&(got - base), &(want.reshape(base.size()) - base));
            println!("{name}: {key}: {error:.1e}");
            assert!(error < 1e-5, "{name}: {key}: {error:e}");
        }
    }
}

#[test]
fn a_patch_leaves_the_checkpoint_as_it_is_bit_for_bit() {
    let base = checkpoint();
    let before = bits(&base);
    let cases = cases().cases;
    for round in 0..50 {
        let two = [&cases[round % cases.len()], &cases[(round * 7 + 3) % cases.len()]];
        let uses = two.map(|case| LoraUse::new(case.file.clone(), 0.5 + round as f64 / 50.0));
        let (overlay, _) = patch(&base, &uses).unwrap();
        let patched = base.overlaid(&overlay);
        assert!(bits(&patched) != before, "round {round} changes nothing");
        drop((patched, overlay));
        assert!(bits(&base) == before, "round {round} wrote into the checkpoint");
    }
}

#[test]
fn a_patched_network_predicts_otherwise_and_its_base_as_before() {
    let (_folder, path) = Archive::tiny().write();
    for kind in [Kind::Float, Kind::BFloat16] {
        let base = Networks::load(&path, kind).unwrap();
        let (x, context) =
            (Tensor::ones([1, 4, 8, 8], (kind, Device::Cpu)), Tensor::ones([1, 77, 64], (kind, Device::Cpu)));
        let noise = |networks: &Networks| {
            networks.predict_noise(&x, &Tensor::from_slice(&[500.0f32]), &context).unwrap()
        };
        let before = noise(&base);
        let (overlay, _) = patch(base.tensors(), &[LoraUse::new(case("lora").file, 1.0)]).unwrap();
        let patched = base.with(&overlay).unwrap();
        let error = relative_error(&noise(&patched).to_kind(Kind::Float), &before.to_kind(Kind::Float));
        assert!(error > 1e-2, "{kind:?}: the patch changes {error:e}");
        assert!(noise(&base).equal(&before), "{kind:?}");
        drop((patched, overlay));
        assert!(noise(&base).equal(&before), "{kind:?}");
    }
}

#[test]
fn two_files_act_one_after_the_other() {
    let base = checkpoint();
    let [first, second] = ["ia3 by output", "glora"].map(|name| LoraUse::new(case(name).file, 0.7));
    let (once, _) = patch(&base, std::slice::from_ref(&first)).unwrap();
    let (twice, _) = patch(&base.overlaid(&once), std::slice::from_ref(&second)).unwrap();
    let (both, _) = patch(&base, &[first, second]).unwrap();
    assert!(relative_error(&both.named[TO_K], &twice.named[TO_K]) < 1e-6);
    assert!(relative_error(&both.named[TO_K], &once.named[TO_K]) > 1e-2);
}

#[test]
fn text_and_unet_have_strengths_of_their_own() {
    let base = checkpoint();
    let lora = LoraUse { text: 0.0, ..LoraUse::new(case("lora").file, 1.0) };
    let (overlay, _) = patch(&base, &[lora]).unwrap();
    assert!(overlay.named.contains_key(TO_K) && !overlay.named.contains_key(Q_PROJ));
    let lora = LoraUse { unet: 0.0, ..LoraUse::new(case("lora").file, 1.0) };
    let (overlay, _) = patch(&base, &[lora]).unwrap();
    assert_eq!(overlay.named.keys().collect::<Vec<_>>(), [Q_PROJ]);
}

#[test]
fn block_weights_multiply_the_strength() {
    let base = checkpoint();
    let plain = LoraUse::new(case("lora").file, 0.5);
    let mut weights = [0.0; 17];
    weights[1] = 2.0;
    let blocks = Some(BlockWeights::new(&weights).unwrap());
    let (overlay, _) = patch(&base, &[LoraUse { blocks, ..plain.clone() }]).unwrap();
    // IN01 has all of the file but the text encoder.
    assert!(!overlay.named.contains_key(Q_PROJ));
    let (want, _) = patch(&base, &[LoraUse { unet: 1.0, ..plain }]).unwrap();
    assert!(relative_error(&overlay.named[TO_K], &want.named[TO_K]) < 1e-6);
}

#[test]
fn the_first_ranks_alone_can_act() {
    let base = checkpoint();
    let lora = |dyn_dim| LoraUse { dyn_dim, ..LoraUse::new(case("lora").file, 1.0) };
    let change = |dyn_dim| &patch(&base, &[lora(dyn_dim)]).unwrap().0.named[TO_K] - &base.named[TO_K];
    let rank = |tensor: &Tensor| {
        i64::try_from(tensor.linalg_matrix_rank_tol_tensor(&Tensor::from(1e-4f32), false)).unwrap()
    };
    assert_eq!(
        [change(None), change(Some(9)), change(Some(2)), change(Some(0))].map(|c| rank(&c)),
        [4, 4, 2, 1]
    );
}

#[test]
fn a_patch_keeps_the_kind_of_each_weight() {
    let mut base = checkpoint();
    let name = TO_K.to_owned();
    base.named.insert(name, base.named[TO_K].to_kind(Kind::BFloat16));
    let Case { file, want, .. } = case("dora by output");
    let (overlay, _) = patch(&base, &[LoraUse::new(file, 0.75)]).unwrap();
    assert_eq!(overlay.named[TO_K].kind(), Kind::BFloat16);
    assert!(relative_error(&overlay.named[TO_K].to_kind(Kind::Float), &want[TO_K]) < 1e-2);
}

#[test]
fn tensors_that_fit_nothing_are_reported() {
    let (_, warnings) = patch(&checkpoint(), &[LoraUse::new(case("lora").file, 1.0)]).unwrap();
    let first = vec!["lora_unet_double_blocks_0_img_mlp_0.lora_down.weight".to_owned()];
    assert_eq!(warnings, [Warning::Unknown { file: "lora".into(), count: 1, first }]);
    assert!(warnings[0].to_string().starts_with("1 tensors of the LoRA lora fit no part"));
}

/// A file with the given tensors of zeros.
fn file(tensors: &[(&str, &[i64])], metadata: &[(&str, &str)]) -> Result<Rc<LoraFile>, LoraError> {
    let mut archive = Archive { tensors: BTreeMap::new(), metadata: BTreeMap::new() };
    for (name, shape) in tensors {
        archive.insert(name, Dtype::F32, &Tensor::ones(*shape, (Kind::Float, Device::Cpu)));
    }
    archive.metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    load("file", &archive)
}

fn refused(tensors: &[(&str, &[i64])], metadata: &[(&str, &str)]) -> LoraError {
    patch(&checkpoint(), &[LoraUse::new(file(tensors, metadata).unwrap(), 1.0)]).map(drop).unwrap_err()
}

/// An inpainting checkpoint reads nine channels, of which files know the four of the latent.
#[test]
fn the_first_convolution_of_an_inpainting_checkpoint_changes_where_files_know_it() {
    const FIRST: &str = "model.diffusion_model.input_blocks.0.0.weight";
    let mut base = checkpoint();
    let outputs = base.named[FIRST].size()[0];
    let weight = Tensor::ones([outputs, 9, 3, 3], (Kind::Float, Device::Cpu));
    base.named.insert(FIRST.into(), weight.shallow_clone());
    let part = |name: &str, shape: &[i64]| (format!("lora_unet_conv_in.{name}"), shape.to_vec());
    for (parts, by) in [
        (vec![part("diff", &[outputs, 4, 3, 3])], 0.5),
        (vec![part("lora_down.weight", &[2, 4, 3, 3]), part("lora_up.weight", &[outputs, 2, 1, 1])], 1.0),
    ] {
        let parts: Vec<_> = parts.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        let (overlay, warnings) = patch(&base, &[LoraUse::new(file(&parts, &[]).unwrap(), 0.5)]).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let patched = &overlay.named[FIRST];
        assert!(patched.narrow(1, 0, 4).equal(&(weight.narrow(1, 0, 4) + by)), "{parts:?}");
        assert!(patched.narrow(1, 4, 5).equal(&weight.narrow(1, 4, 5)), "{parts:?}");
    }
    // Everything else has to fit as before.
    base.named.insert(FIRST.into(), Tensor::ones([outputs, 8, 3, 3], (Kind::Float, Device::Cpu)));
    let (name, shape) = part("diff", &[outputs, 4, 3, 3]);
    assert!(patch(&base, &[LoraUse::new(file(&[(&name, &shape)], &[]).unwrap(), 1.0)]).is_err());
}

const KOHYA: &str = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";

#[test]
fn a_file_for_another_family_is_refused_by_name() {
    let other = "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight";
    let error = refused(&[(other, &[4, 8])], &[]);
    assert!(
        matches!(error, LoraError::NothingFits { family: Some(Family::StableDiffusionXl), .. }),
        "{error}"
    );
    assert!(error.to_string().contains("it is for Stable Diffusion XL"));
    let down = format!("{KOHYA}.lora_down.weight");
    let up = format!("{KOHYA}.lora_up.weight");
    let error = refused(&[(&down, &[4, 2048]), (&up, &[24, 4])], &[]);
    assert!(matches!(error, LoraError::Misfit { family: Some(Family::StableDiffusionXl), .. }), "{error}");
    let stated = [("ss_base_model_version", "sd_v2_768_v")];
    let error = refused(&[(&down, &[4, 100]), (&up, &[24, 4])], &stated);
    assert!(error.to_string().contains("it is for Stable Diffusion 2.x"), "{error}");
}

#[test]
fn files_that_do_not_fit_are_left_out_and_told_of() {
    let base = checkpoint();
    let fitting = || LoraUse::new(case("lora").file, 0.5);
    let (want, _) = patch(&base, &[fitting()]).unwrap();
    let names = ["lora_te2_text_model_encoder_layers_0_mlp_fc1", KOHYA];
    for (name, inputs, outputs) in [(names[0], 8, 8), (names[1], 2048, 24)] {
        let parts = [
            (format!("{name}.lora_down.weight"), [4, inputs]),
            (format!("{name}.lora_up.weight"), [outputs, 4]),
        ];
        let parts = parts.each_ref().map(|(name, shape)| (name.as_str(), &shape[..]));
        let other = LoraUse::new(file(&parts, &[]).unwrap(), 1.0);
        let (overlay, told) = patch_fitting(&base, vec![other, fitting()]).unwrap();
        assert!(overlay.named.keys().eq(want.named.keys()), "{name}");
        assert!(overlay.named[TO_K].equal(&want.named[TO_K]), "{name}");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("the LoRA file") && told[0].contains("Stable Diffusion XL"), "{told:?}");
        assert!(told[1].contains("the LoRA lora fit no part"), "{told:?}");
    }
}

#[test]
fn incomplete_and_misshapen_modules_are_refused_with_their_part() {
    for (parts, named) in [
        (&[("lora_down.weight", &[4, 64][..])][..], "lora_up.weight"),
        (&[("lora_down.weight", &[0, 64]), ("lora_up.weight", &[24, 0])], "lora_up.weight"),
        (&[("lora_down.weight", &[4, 64]), ("lora_up.weight", &[24, 5])], "lora_up.weight"),
        (&[("lora_down.weight", &[4, 64]), ("lora_up.weight", &[24, 4]), ("alpha", &[2])], "alpha"),
        (
            &[
                ("lora_down.weight", &[4, 64]),
                ("lora_up.weight", &[24, 4]),
                ("lora_mid.weight", &[5, 4, 1, 1]),
            ],
            "lora_mid.weight",
        ),
        (
            &[("lora_down.weight", &[4, 64]), ("lora_up.weight", &[24, 4]), ("dora_scale", &[7, 1])],
            "dora_scale",
        ),
        (&[("lokr_w1", &[3000, 3000]), ("lokr_w2", &[100, 100])], "lokr_w2"),
        (&[("lokr_w1", &[2, 2]), ("lokr_w2_a", &[90_000, 1]), ("lokr_w2_b", &[1, 90_000])], "lokr_w2_b"),
        (
            &[
                ("lokr_w1", &[2, 2]),
                ("lokr_w2_a", &[1, 12]),
                ("lokr_w2_b", &[1, 32]),
                ("lokr_t2", &[1, 1, 999, 999]),
            ],
            "lokr_t2",
        ),
        (
            &[
                ("hada_w1_a", &[24, 4]),
                ("hada_w1_b", &[4, 64]),
                ("hada_w2_a", &[24, 3]),
                ("hada_w2_b", &[4, 64]),
            ],
            "hada_w2_a",
        ),
        (&[("oft_blocks", &[5, 5, 5])], "oft_blocks"),
        (&[("oft_blocks", &[9_000_000_000, 0, 0])], "oft_blocks"),
        (&[("oft_blocks", &[30, 6, 4, 4])], "oft_blocks"),
        (&[("oft_diag", &[24])], "oft_diag"),
        (&[("diff", &[3])], "diff"),
        (&[("weight", &[9]), ("on_input", &[])], "weight"),
        (&[("a1.weight", &[64, 2]), ("a2.weight", &[2, 64]), ("b1.weight", &[24, 2])], "b2.weight"),
    ] {
        let tensors: Vec<_> = parts.iter().map(|(part, shape)| (format!("{KOHYA}.{part}"), *shape)).collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        let error = refused(&tensors, &[]);
        assert!(
            matches!(&error, LoraError::Misfit { reason, .. } if reason.contains(named)),
            "{parts:?}: {error}"
        );
    }
}

#[test]
fn one_module_under_two_names_is_refused() {
    let other = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight";
    let error = refused(&[(&format!("{KOHYA}.lora_down.weight"), &[4, 64]), (other, &[4, 64])], &[]);
    assert!(matches!(error, LoraError::Repeated { .. }), "{error}");
}

#[test]
fn metadata_gives_alias_hash_and_family() {
    let tensors: &[(&str, &[i64])] = &[("x.alpha", &[])];
    let named = [
        ("ss_output_name", "Alias"),
        ("sshs_model_hash", "0123456789ABCDEF"),
        ("ss_base_model_version", "sd_v1"),
    ];
    let lora = file(tensors, &named).unwrap();
    assert_eq!(
        (lora.alias(), lora.hash12(), lora.family()),
        (Some("Alias"), "0123456789ab", Some(Family::StableDiffusion1))
    );
    // SHA-256 of the four bytes of 1.0f32.
    let lora = file(tensors, &[("sshs_model_hash", "not one")]).unwrap();
    assert_eq!((lora.alias(), lora.hash12(), lora.family()), (None, "e00e5eb94441", None));
}

#[test]
fn a_pickle_is_read_too_and_hashed_as_a_whole() {
    let pickle = fixture("embeddings/single.bin");
    let lora = LoraFile::load(&pickle).unwrap();
    assert_eq!(lora.hash12(), gesso_torch::embedding::Embedding::load(&pickle).unwrap().hash12);
    let error = patch(&checkpoint(), &[LoraUse::new(Rc::new(lora), 1.0)]).unwrap_err();
    assert!(matches!(error, LoraError::NothingFits { family: None, .. }), "{error}");
}

#[test]
fn bundled_embeddings_come_with_the_file() {
    let bundle = ("bundle_emb.my word.string_to_param.*", &[3, 64][..]);
    let lora = file(&[bundle], &[]).unwrap();
    let embeddings = lora.embeddings().unwrap();
    assert_eq!((embeddings[0].name.as_str(), embeddings[0].vectors.size()), ("my word", vec![3, 64]));
    let (overlay, warnings) = patch(&checkpoint(), &[LoraUse::new(lora, 1.0)]).unwrap();
    assert!(overlay.named.is_empty() && warnings.is_empty());
}

const PARTS: [&str; 34] = [
    "lora_down.weight",
    "lora_up.weight",
    "lora_mid.weight",
    "alpha",
    "dora_scale",
    "lora_magnitude_vector",
    "hada_w1_a",
    "hada_w1_b",
    "hada_w2_a",
    "hada_w2_b",
    "hada_t1",
    "hada_t2",
    "lokr_w1",
    "lokr_w1_a",
    "lokr_w1_b",
    "lokr_w2",
    "lokr_w2_a",
    "lokr_w2_b",
    "lokr_t2",
    "diff",
    "diff_b",
    "a1.weight",
    "a2.weight",
    "b1.weight",
    "b2.weight",
    "bm.weight",
    "oft_blocks",
    "oft_diag",
    "rescale",
    "w_norm",
    "b_norm",
    "on_input",
    "lora_alpha",
    "weight",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_parts_of_any_shape_are_applied_or_refused(parts in proptest::collection::btree_map(
        0..PARTS.len(),
        proptest::collection::vec(prop_oneof![Just(0i64), Just(1), Just(2), Just(4), Just(24), Just(64), 0i64..70], 0..5),
        1..7,
    ), is_convolution in any::<bool>()) {
        thread_local!(static BASE: Tensors = {
            let to_k = Tensor::ones([24, 64], (Kind::Float, Device::Cpu));
            let conv = Tensor::ones([24, 4, 3, 3], (Kind::Float, Device::Cpu));
            let bias = Tensor::ones([24], (Kind::Float, Device::Cpu));
            let at = |name: &str| format!("model.diffusion_model.input_blocks.{name}");
            let named = Named::from([(TO_K.to_owned(), to_k), (at("0.0.weight"), conv), (at("0.0.bias"), bias)]);
            Tensors { named, ..Tensors::default() }
        });
        let module = if is_convolution { "lora_unet_conv_in" } else { KOHYA };
        let small = |shape: &Vec<i64>| shape.iter().product::<i64>() < 1 << 18;
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, shape)| small(shape))
            .map(|(part, shape)| (format!("{module}.{}", PARTS[part]), shape))
            .collect();
        let parts: Vec<_> = parts.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        // A file without tensors is no safetensors file.
        prop_assume!(!parts.is_empty());
        BASE.with(|base| {
            let _ = patch(base, &[LoraUse::new(file(&parts, &[]).unwrap(), 1.0)]);
        });
    }
}
