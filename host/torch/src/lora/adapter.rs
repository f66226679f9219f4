//! The scale of a LoRA that diffusers saved: it writes no `alpha` beside the tensors but peft's configuration into
//! the metadata. Read once for a file by [`super::file`]; knows no tensor.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::parts::AdapterScale;

/// The metadata's name for it.
const KEY: &str = "lora_adapter_metadata";
/// What the parts of a pipeline are called, in tensor names and in the configuration alike.
const COMPONENTS: [&str; 2] = ["unet", "text_encoder"];

/// peft's configuration of every component, `unet.lora_alpha` and the like.
pub(crate) struct AdapterConfig(Map<String, Value>);

impl AdapterConfig {
    /// `None` for a file that has none, which means a scale of 1.
    pub(crate) fn read(metadata: &BTreeMap<String, String>) -> Option<Self> {
        serde_json::from_str(metadata.get(KEY)?).ok().map(Self)
    }

    /// The scale of the module that a tensor belongs to.
    pub(crate) fn scale_of(&self, key: &str) -> Option<AdapterScale> {
        let (component, path) = key.split_once('.')?;
        let component = COMPONENTS.into_iter().find(|name| *name == component)?;
        let stated = |name: &str| self.0.get(&format!("{component}.{name}"));
        let module = path.split_once(".lora_").map_or(path, |(module, _)| module);
        let is_end =
            |name: &str| module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let patterns = stated("alpha_pattern").and_then(Value::as_object).into_iter().flatten();
        let patterned = patterns.into_iter().find(|(name, _)| is_end(name)).map(|(_, alpha)| alpha);
        let alpha = patterned.or_else(|| stated("lora_alpha"))?.as_f64()?;
        let by_root = stated("use_rslora").and_then(Value::as_bool).unwrap_or(false);
        Some(AdapterScale { alpha, by_root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_has_its_own_alpha_and_modules_may_differ() {
        let json = r#"{"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn2.to_k": 2.5}, "unet.use_rslora": true,
            "text_encoder.lora_alpha": 4}"#;
        let config = AdapterConfig::read(&BTreeMap::from([(KEY.to_owned(), json.to_owned())])).unwrap();
        let scale = |key| config.scale_of(key).map(|scale| (scale.alpha, scale.by_root));
        assert_eq!(scale("unet.mid_block.attn1.to_k.lora_A.weight"), Some((8.0, true)));
        assert_eq!(scale("unet.mid_block.attn2.to_k.lora_B.weight"), Some((2.5, true)));
        assert_eq!(scale("unet.mid_block.xattn2.to_k.lora_B.weight"), Some((8.0, true)));
        assert_eq!(scale("text_encoder.text_model.q_proj.lora_A.weight"), Some((4.0, false)));
        assert_eq!(scale("vae.conv.lora_A.weight"), None);
        assert!(AdapterConfig::read(&BTreeMap::new()).is_none());
    }
}
