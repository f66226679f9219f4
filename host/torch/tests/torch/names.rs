//! diffusers' names and those of single-file checkpoints, there and back again.

use std::collections::BTreeSet;

use gesso_torch::diffusers_names::{
    SD_UP_ATTENTION, unet_from_diffusers, unet_to_diffusers, vae_from_diffusers, vae_to_diffusers,
};
use proptest::prelude::*;

use crate::layouts::names_of;
use crate::support::Archive;

fn unet(name: &str) -> Option<String> {
    unet_from_diffusers(name, SD_UP_ATTENTION)
}

#[test]
fn every_name_of_diffusers_modules_leads_to_the_checkpoints_and_back() {
    let tiny = Archive::tiny();
    for (part, prefix, there, back) in [
        ("unet", "model.diffusion_model.", unet as fn(&str) -> _, unet_to_diffusers as fn(&str) -> _),
        ("vae", "first_stage_model.", vae_from_diffusers, vae_to_diffusers),
    ] {
        let mut reached = BTreeSet::new();
        for name in names_of(part) {
            let ours = there(&name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(back(&ours), Some(name));
            reached.insert(format!("{prefix}{ours}"));
        }
        let all = tiny.tensors.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        assert_eq!(reached, all);
    }
}

#[test]
fn modules_are_named_as_their_tensors_are() {
    for (theirs, ours) in [
        ("conv_in", "input_blocks.0.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("down_blocks.0.resnets.1.conv_shortcut", "input_blocks.2.0.skip_connection"),
        (
            "down_blocks.2.attentions.0.transformer_blocks.3.attn1.to_q",
            "input_blocks.7.1.transformer_blocks.3.attn1.to_q",
        ),
        ("down_blocks.1.downsamplers.0.conv", "input_blocks.6.0.op"),
        ("mid_block.attentions.0.proj_in", "middle_block.1.proj_in"),
        ("mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks.2.1.conv"),
        ("up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv"),
        ("up_blocks.3.resnets.2.norm2", "output_blocks.11.0.out_layers.0"),
        ("controlnet_down_blocks.11", "zero_convs.11.0"),
        ("controlnet_mid_block.weight", "middle_block_out.0.weight"),
        ("controlnet_cond_embedding.conv_in", "input_hint_block.0"),
        ("controlnet_cond_embedding.blocks.5.bias", "input_hint_block.12.bias"),
        ("controlnet_cond_embedding.conv_out", "input_hint_block.14"),
    ] {
        assert_eq!(unet(theirs).as_deref(), Some(ours));
        assert_eq!(unet_to_diffusers(ours).as_deref(), Some(theirs));
    }
    // With attention on every level, as in XL, the first upsampler stands third too.
    let upsampler = unet_from_diffusers("up_blocks.0.upsamplers.0.conv.weight", |_| true);
    assert_eq!(upsampler.as_deref(), Some("output_blocks.2.2.conv.weight"));
}

#[test]
fn names_of_no_module_have_no_other_spelling() {
    for name in [
        "",
        ".",
        "conv_inner.weight",
        "down_blocks.0.resnets.2.conv1",
        "down_blocks.01.resnets.0.conv1",
        "down_blocks.0.resnets.0",
        "up_blocks.0.downsamplers.0.conv",
        "mid_block.attentions.1.norm",
        "down_blocks.99999999999999999999.resnets.0.conv1",
        "decoder.up_blocks.4.resnets.0.conv1.weight",
    ] {
        assert_eq!((unet(name), vae_from_diffusers(name)), (None, None), "{name}");
    }
    for name in [
        "input_blocks.0.1.norm",
        "input_blocks.3.1.norm",
        "output_blocks.1.1.conv.weight",
        "middle_block.3.x",
        "input_hint_block.3.weight",
        "decoder.up.4.block.0.conv1",
    ] {
        assert_eq!((unet_to_diffusers(name), vae_to_diffusers(name)), (None, None), "{name}");
    }
}

/// Words that names are made of, so that most of what is drawn is nearly one.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        (0usize..14).prop_map(|number| number.to_string()),
        prop::sample::select(vec![
            "down_blocks",
            "up_blocks",
            "mid_block",
            "resnets",
            "attentions",
            "upsamplers",
            "downsamplers",
            "conv",
            "conv1",
            "norm",
            "input_blocks",
            "output_blocks",
            "middle_block",
            "op",
            "in_layers",
            "encoder",
            "decoder",
            "up",
            "down",
            "mid",
            "block",
            "upsample",
            "attn_1",
            "q",
            "weight",
            "conv_shortcut",
            "conv_in",
            "zero_convs",
        ])
        .prop_map(str::to_owned),
        "[a-z_.0-9]{0,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_spelling_leads_back_to_the_name_it_came_from(words in prop::collection::vec(word(), 1..8)) {
        let name = words.join(".");
        if let Some(ours) = unet(&name) {
            prop_assert_eq!(unet_to_diffusers(&ours), Some(name.clone()));
        }
        if let Some(theirs) = unet_to_diffusers(&name) {
            let levels = [unet_from_diffusers(&theirs, |_| true), unet_from_diffusers(&theirs, |_| false)];
            prop_assert!(levels.contains(&Some(name.clone())), "{} {:?}", theirs, levels);
        }
        if let Some(theirs) = vae_to_diffusers(&name) {
            prop_assert_eq!(vae_from_diffusers(&theirs), Some(name));
        }
    }
}
