//! Every spelling under which LoRA files name a module, looked up in a table that is built from the checkpoint's
//! own tensor names. Nothing is parsed: `lora_unet_mid_block_attentions_0_proj_in` has no dots to tell words from
//! levels by. Knows no file format and no formula.

use std::collections::HashMap;
use std::rc::Rc;

use super::parts::{ENDINGS, Part};
use crate::diffusers_names::unet_to_diffusers;
use crate::layout::{TEXT, UNET};

/// From every spelling to the module's name in the checkpoint, `model.diffusion_model.input_blocks.0.0` and the
/// like.
pub(crate) struct Spellings {
    modules: HashMap<String, Rc<str>>,
}

impl Spellings {
    /// Of every module that has a weight among `names`, the checkpoint's tensors.
    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        let mut table = Self { modules: HashMap::new() };
        for module in names.into_iter().filter_map(|name| name.strip_suffix(".weight")) {
            if let Some(path) = module.strip_prefix(UNET) {
                table.add_unet(module, path);
            } else if let Some(path) = module.strip_prefix(TEXT) {
                table.add_text(module, path);
            }
        }
        table
    }

    /// The module and part that a tensor of a LoRA file is, if the checkpoint has it.
    pub(crate) fn find(&self, key: &str) -> Option<(&Rc<str>, Part)> {
        // Several endings can fit (`lora.down.weight`, `weight`), but only one leaves a module's name.
        ENDINGS.iter().find_map(|(ending, part)| {
            let spelling = key.strip_suffix(ending)?.strip_suffix('.')?;
            Some((self.modules.get(spelling)?, *part))
        })
    }

    fn add_unet(&mut self, module: &str, path: &str) {
        let module: Rc<str> = module.into();
        self.add(&module, module.to_string());
        self.add(&module, format!("diffusion_model.{path}"));
        self.add_flat(&module, path, &["lora_unet_", "lycoris_unet_", "lycoris_"]);
        let Some(theirs) = unet_to_diffusers(path) else { return };
        self.add_flat(&module, &theirs, &["lora_unet_", "lycoris_unet_", "lycoris_"]);
        for name in [Some(theirs.clone()), on_processor(&theirs)].into_iter().flatten() {
            self.add_dotted(&module, &name, &["unet.", "base_model.model.", "unet.base_model.model.", ""]);
        }
    }

    fn add_text(&mut self, module: &str, path: &str) {
        let module: Rc<str> = module.into();
        self.add(&module, module.to_string());
        let theirs = format!("text_model.{path}");
        self.add_flat(&module, &theirs, &["lora_te_", "lora_te1_", "lycoris_te_", "lycoris_"]);
        // transformers 5 saves its text encoder without the level in between.
        self.add_dotted(&module, path, &["text_encoder."]);
        let prefixes = ["text_encoder.", "base_model.model.", "text_encoder.base_model.model.", ""];
        for name in [Some(theirs.clone()), on_text_attention(&theirs)].into_iter().flatten() {
            self.add_dotted(&module, &name, &prefixes);
        }
    }

    fn add_flat(&mut self, module: &Rc<str>, path: &str, prefixes: &[&str]) {
        let flat = path.replace('.', "_");
        prefixes.iter().for_each(|prefix| self.add(module, format!("{prefix}{flat}")));
    }

    fn add_dotted(&mut self, module: &Rc<str>, path: &str, prefixes: &[&str]) {
        prefixes.iter().for_each(|prefix| self.add(module, format!("{prefix}{path}")));
    }

    fn add(&mut self, module: &Rc<str>, spelling: String) {
        self.modules.entry(spelling).or_insert_with(|| module.clone());
    }
}

/// Where diffusers kept a UNet attention's LoRA at first: `attn1.to_q` at `attn1.processor.to_q_lora`.
fn on_processor(module: &str) -> Option<String> {
    let (attention, projection) = module.rsplit_once(".to_")?;
    Some(format!("{attention}.processor.to_{}_lora", projection.strip_suffix(".0").unwrap_or(projection)))
}

/// Where diffusers kept a text attention's LoRA at first: `self_attn.q_proj` at `self_attn.to_q_lora`.
fn on_text_attention(module: &str) -> Option<String> {
    let (attention, projection) = module.rsplit_once(".self_attn.")?;
    Some(format!("{attention}.self_attn.to_{}_lora", projection.strip_suffix("_proj")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TO_OUT: &str = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_out.0";
    const Q_PROJ: &str = "cond_stage_model.transformer.text_model.encoder.layers.11.self_attn.q_proj";

    fn table() -> Spellings {
        let modules = [
            TO_OUT,
            Q_PROJ,
            "model.diffusion_model.input_blocks.4.0.in_layers.2",
            "model.diffusion_model.input_blocks.4.1.proj_in",
            "model.diffusion_model.input_blocks.6.0.op",
            "model.diffusion_model.time_embed.0",
            "model.diffusion_model.output_blocks.2.1.conv",
            "first_stage_model.decoder.conv_in",
        ];
        let names: Vec<String> = modules.iter().map(|module| format!("{module}.weight")).collect();
        Spellings::of(&names)
    }

    #[track_caller]
    fn check(key: &str, module: &str, part: Part) {
        let table = table();
        let found = table.find(key).unwrap_or_else(|| panic!("{key} is not found"));
        assert_eq!((&**found.0, found.1), (module, part), "{key}");
    }

    #[test]
    fn one_unet_module_is_found_under_each_of_its_names() {
        let theirs = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0";
        let flat = theirs.replace('.', "_");
        for (key, part) in [
            (format!("lora_unet_{flat}.lora_down.weight"), Part::Down),
            (format!("lora_unet_{flat}.alpha"), Part::Alpha),
            (format!("lycoris_{flat}.hada_w1_a"), Part::HadamardFirstA),
            (format!("unet.{theirs}.lora_A.weight"), Part::Down),
            (format!("unet.{theirs}.lora_magnitude_vector"), Part::Magnitude),
            (format!("base_model.model.{theirs}.lora_B.default.weight"), Part::Up),
            (format!("unet.{theirs}.lora_linear_layer.up.weight"), Part::Up),
            (format!("unet.{theirs}.lora.down.weight"), Part::Down),
            (format!("{theirs}.lora_up.weight"), Part::Up),
            (theirs.replace("to_out.0", "processor.to_out_lora.up.weight"), Part::Up),
            (format!("unet.{}", theirs.replace("to_out.0", "processor.to_out_lora.down.weight")), Part::Down),
            (
                "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_out_0.lokr_w1".into(),
                Part::KroneckerFirst,
            ),
            (
                "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_out.0.diff".into(),
                Part::Difference,
            ),
            (format!("{TO_OUT}.weight"), Part::Scale),
        ] {
            check(&key, TO_OUT, part);
        }
    }

    #[test]
    fn one_text_module_is_found_under_each_of_its_names() {
        let theirs = "text_model.encoder.layers.11.self_attn.q_proj";
        let flat = theirs.replace('.', "_");
        for (key, part) in [
            (format!("lora_te_{flat}.lora_up.weight"), Part::Up),
            (format!("lora_te1_{flat}.dora_scale"), Part::DoraScale),
            (format!("lycoris_{flat}.oft_blocks"), Part::Rotation),
            (format!("text_encoder.{theirs}.lora_A.weight"), Part::Down),
            ("text_encoder.encoder.layers.11.self_attn.q_proj.lora_B.weight".into(), Part::Up),
            (format!("text_encoder.{theirs}.lora_linear_layer.down.weight"), Part::Down),
            (format!("base_model.model.{theirs}.lora_A.weight"), Part::Down),
            ("text_encoder.text_model.encoder.layers.11.self_attn.to_q_lora.down.weight".into(), Part::Down),
        ] {
            check(&key, Q_PROJ, part);
        }
    }

    #[test]
    fn convolutions_and_time_layers_have_their_other_names() {
        for (key, module) in [
            ("lora_unet_down_blocks_1_resnets_0_conv1.diff", "input_blocks.4.0.in_layers.2"),
            ("lora_unet_down_blocks_1_attentions_0_proj_in.diff", "input_blocks.4.1.proj_in"),
            ("lora_unet_down_blocks_1_downsamplers_0_conv.diff", "input_blocks.6.0.op"),
            ("lora_unet_time_embedding_linear_1.diff", "time_embed.0"),
            ("lora_unet_up_blocks_0_upsamplers_0_conv.diff", "output_blocks.2.1.conv"),
        ] {
            check(key, &format!("{UNET}{module}"), Part::Difference);
        }
    }

    #[test]
    fn names_of_other_modules_and_other_endings_are_not_found() {
        for key in
            ["", ".alpha", "alpha", "lora_te2_text_model_final_layer_norm.alpha", "lora_unet_conv_in.diff"]
        {
            assert!(table().find(key).is_none(), "{key}");
        }
        assert!(table().find(&format!("{TO_OUT}.bias")).is_none());
    }

    #[test]
    fn every_part_has_a_name() {
        for (ending, part) in ENDINGS {
            assert!(!part.name().is_empty(), "{ending}");
        }
    }

    proptest! {
        #[test]
        fn any_names_make_a_table(names in proptest::collection::vec(
            "(model\\.diffusion_model\\.)?(input_blocks|output_blocks|middle_block|.{0,4})[0-9.a-z]{0,12}(\\.weight)?",
            0..8,
        ), key in ".{0,40}") {
            let _ = Spellings::of(&names).find(&key);
        }
    }
}
