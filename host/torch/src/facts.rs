//! What a model is beyond its shapes: its family, what its UNet predicts, whether its schedule ends in pure noise.
//! Gathered from whatever says so: a `.yaml` beside the file, its metadata, a folder's scheduler configuration,
//! marker tensors. Called when a checkpoint is opened. Computes nothing with it.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::Problem;
use crate::outline::Outline;
use crate::source::{EDIT, INPAINT};

/// Numbers in each token of the texts that a UNet of Stable Diffusion 2.x reads.
const CONTEXT_OF_2: i64 = 1024;
/// Where it reads them.
const CONTEXT: &str = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight";

/// Longest part read of a `.yaml` beside a checkpoint. Those of the published models have 2 KB.
const YAML_BYTES_MAX: u64 = 64 << 10;

/// Facts about a checkpoint that a sampler must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelFacts {
    pub family: Family,
    pub prediction: Prediction,
    /// The model was trained with a last timestep of pure noise (Lin et al. 2024), so the schedule must have it.
    pub zero_terminal_snr: bool,
    /// What the UNet reads: 4 for latents alone, 8 with the picture to edit, 9 with mask and masked picture.
    pub input_channels: i64,
}

/// Which kind of model a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    StableDiffusion1,
    StableDiffusion2,
    StableDiffusionXl,
    StableDiffusionXlRefiner,
    StableDiffusion3,
    Flux,
}

/// What the UNet says of a noisy latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// The noise in it.
    Epsilon,
    /// The velocity (Salimans and Ho 2022).
    V,
}

/// What the files around the tensors say; `None` where they say nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) prediction: Option<Prediction>,
    pub(crate) zero_terminal_snr: Option<bool>,
}

impl Family {
    /// The family of an outline with canonical names, by the parts that only it has.
    pub(crate) fn of(outline: &Outline) -> Self {
        let width = |key: &str, axis: usize| outline.shape(key).and_then(|shape| shape.get(axis).copied());
        if outline.has_under("model.diffusion_model.joint_blocks.") || outline.has_under("joint_blocks.") {
            return Self::StableDiffusion3;
        }
        if outline.has_under("model.diffusion_model.double_blocks.") || outline.has_under("double_blocks.") {
            return Self::Flux;
        }
        if outline.has_under("conditioner.embedders.1.") {
            return Self::StableDiffusionXl;
        }
        if outline.has_under("conditioner.embedders.0.") {
            return match width("conditioner.embedders.0.model.ln_final.weight", 0) {
                Some(1280) => Self::StableDiffusionXlRefiner,
                _ => Self::StableDiffusion2,
            };
        }
        if outline.has_under("model.diffusion_model.label_emb.") {
            return Self::StableDiffusionXl;
        }
        if outline.has_under("cond_stage_model.model.") {
            return Self::StableDiffusion2;
        }
        // In folders the text encoders of both have the names of 1.x.
        if width(CONTEXT, 1) == Some(CONTEXT_OF_2) {
            return Self::StableDiffusion2;
        }
        Self::StableDiffusion1
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StableDiffusion1 => "Stable Diffusion 1.x",
            Self::StableDiffusion2 => "Stable Diffusion 2.x",
            Self::StableDiffusionXl => "Stable Diffusion XL",
            Self::StableDiffusionXlRefiner => "Stable Diffusion XL refiner",
            Self::StableDiffusion3 => "Stable Diffusion 3",
            Self::Flux => "Flux",
        })
    }
}

impl Prediction {
    /// Any of the words that tools write for it.
    pub(crate) fn parse(word: &str) -> Result<Self, Problem> {
        match word {
            "epsilon" | "eps" => Ok(Self::Epsilon),
            "v" | "v_prediction" => Ok(Self::V),
            other => {
                let other: String = other.chars().take(40).collect();
                Err(Problem::Unsupported(format!("it predicts {other:?} instead of epsilon or v")))
            }
        }
    }
}

impl ModelFacts {
    /// The UNet reads a mask and the masked picture: the checkpoint is made for inpainting.
    pub fn inpaints(&self) -> bool {
        self.input_channels == INPAINT
    }

    /// The UNet reads the picture: the checkpoint edits by instruction.
    pub fn edits_pictures(&self) -> bool {
        self.input_channels == EDIT
    }

    /// The facts of a model; what is `declared` beside the tensors goes before what they say themselves.
    ///
    /// # Errors
    /// [`Problem::Unsupported`] for a prediction that nobody here can sample with.
    pub(crate) fn of(outline: &Outline, declared: Declared, input_channels: i64) -> Result<Self, Problem> {
        let metadata = outline.metadata.get("modelspec.prediction_type");
        let metadata = metadata.map(|word| Prediction::parse(word)).transpose()?;
        let marker = outline.has("v_pred").then_some(Prediction::V);
        let prediction = declared.prediction.or(metadata).or(marker).unwrap_or(Prediction::Epsilon);
        let zero_terminal_snr = declared.zero_terminal_snr.unwrap_or_else(|| outline.has("ztsnr"));
        Ok(Self { family: Family::of(outline), prediction, zero_terminal_snr, input_channels })
    }
}

impl Declared {
    /// What the `.yaml` beside a checkpoint file says, if there is one.
    ///
    /// # Errors
    /// A prediction that nobody here can sample with.
    pub(crate) fn beside(checkpoint: &Path) -> Result<Self, Problem> {
        let file = match File::open(checkpoint.with_extension("yaml")) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let mut text = Vec::new();
        file.take(YAML_BYTES_MAX).read_to_end(&mut text)?;
        Self::in_yaml(&String::from_utf8_lossy(&text))
    }

    /// Looks for `parameterization` alone: one word on a line of its own in every configuration that was ever
    /// published, so lines are compared and no YAML reader is needed.
    fn in_yaml(text: &str) -> Result<Self, Problem> {
        let value = text.lines().find_map(|line| line.trim_start().strip_prefix("parameterization:"));
        let word =
            value.map(|value| value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']));
        Ok(Self { prediction: word.map(Prediction::parse).transpose()?, ..Self::default() })
    }

    /// What a folder's `scheduler_config.json` says.
    ///
    /// # Errors
    /// A prediction that nobody here can sample with.
    pub(crate) fn in_scheduler(config: &serde_json::Value) -> Result<Self, Problem> {
        let prediction = config.get("prediction_type").and_then(serde_json::Value::as_str);
        Ok(Self {
            prediction: prediction.map(Prediction::parse).transpose()?,
            zero_terminal_snr: config.get("rescale_betas_zero_snr").and_then(serde_json::Value::as_bool),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::outline::Form;

    fn outline(names: &[(&str, &[i64])]) -> Outline {
        let form = |shape: &[i64]| Form { kind: Some(tch::Kind::Half), shape: shape.to_vec() };
        let tensors = names.iter().map(|(name, shape)| ((*name).to_owned(), form(shape))).collect();
        Outline { tensors, metadata: BTreeMap::new() }
    }

    #[test]
    fn finds_the_parameterization_however_it_is_quoted() {
        for (text, want) in [
            ("model:\n  params:\n    parameterization: \"v\"\n", Some(Prediction::V)),
            ("    parameterization: v # velocity\n", Some(Prediction::V)),
            ("\tparameterization: 'eps'\r\n", Some(Prediction::Epsilon)),
            ("model:\n  params:\n    timesteps: 1000\n    # parameterization: \"v\"\n", None),
            ("", None),
        ] {
            assert_eq!(Declared::in_yaml(text).unwrap().prediction, want, "{text:?}");
        }
        assert!(matches!(Declared::in_yaml("parameterization: x0"), Err(Problem::Unsupported(_))));
    }

    #[test]
    fn what_stands_beside_the_file_goes_before_what_is_in_it() {
        let mut outline = outline(&[("v_pred", &[0]), ("ztsnr", &[0])]);
        let facts = |outline: &Outline, declared| ModelFacts::of(outline, declared, 4).unwrap();
        let plain = facts(&outline, Declared::default());
        assert_eq!((plain.prediction, plain.zero_terminal_snr), (Prediction::V, true));
        outline.metadata.insert("modelspec.prediction_type".into(), "epsilon".into());
        assert_eq!(facts(&outline, Declared::default()).prediction, Prediction::Epsilon);
        let declared = Declared { prediction: Some(Prediction::V), zero_terminal_snr: Some(false) };
        let declared = facts(&outline, declared);
        assert_eq!((declared.prediction, declared.zero_terminal_snr), (Prediction::V, false));
    }

    #[test]
    fn tells_the_families_by_what_only_they_have() {
        let of = |names: &[(&str, &[i64])]| Family::of(&outline(names));
        let refiner: &[(&str, &[i64])] = &[
            ("conditioner.embedders.0.model.ln_final.weight", &[1280]),
            ("model.diffusion_model.label_emb.0.0.weight", &[1536, 2560]),
        ];
        assert_eq!(of(refiner), Family::StableDiffusionXlRefiner);
        let turbo = of(&[("conditioner.embedders.0.model.ln_final.weight", &[1024])]);
        assert_eq!(turbo, Family::StableDiffusion2);
        let xl = of(&[("conditioner.embedders.1.model.ln_final.weight", &[1280])]);
        assert_eq!(xl, Family::StableDiffusionXl);
        assert_eq!(of(&[("model.diffusion_model.x", &[1])]), Family::StableDiffusion1);
        assert_eq!(of(&[(CONTEXT, &[1280, 768])]), Family::StableDiffusion1);
        assert_eq!(of(&[(CONTEXT, &[1280, 1024])]), Family::StableDiffusion2);
    }
}
