//! Tells from its names which control network a file holds, and names those that cannot be used. Knows no shape
//! but the few that set families apart.

use crate::error::Problem;
use crate::outline::Outline;

/// The networks that can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    ControlNet,
    FullAdapter,
    LightAdapter,
}

/// Judges an outline whose names are [original](super::names).
///
/// # Errors
/// [`Problem::Control`] says what else the file is.
pub(super) fn of(outline: &Outline) -> Result<Family, Problem> {
    if let Some(what) = other_family(outline) {
        return Err(Problem::Control(what.into()));
    }
    if outline.has_under("input_hint_block.") {
        Ok(Family::ControlNet)
    } else if outline.has("conv_in.weight") && outline.has("body.0.block1.weight") {
        Ok(Family::FullAdapter)
    } else if outline.has("body.0.in_conv.weight") && outline.has("body.0.out_conv.weight") {
        Ok(Family::LightAdapter)
    } else {
        Err(Problem::Control("it holds no control network that is known here".into()))
    }
}

fn other_family(outline: &Outline) -> Option<&'static str> {
    let any = |part: &str| outline.tensors.keys().any(|key| key.contains(part));
    let under = |prefix: &str| outline.has_under(prefix);
    // Text contexts of Stable Diffusion 2.x and XL are 1024 and 2048 wide.
    let context = outline.shape("middle_block.1.transformer_blocks.0.attn2.to_k.weight");
    let context = context.and_then(|shape| shape.get(1)).copied();
    let found = if any("lllite") {
        "it is a ControlNet-LLLite, not a ControlNet"
    } else if under("lora_controlnet") {
        "it is a Control-LoRA, not a ControlNet"
    } else if under("task_embedding") || under("control_add_embedding.") {
        "it is a union ControlNet of many types"
    } else if under("ip_adapter.") || under("image_proj.") {
        "it is an IP-Adapter, not a ControlNet"
    } else if under("style_embedding") || under("transformer_layes.") {
        "it is a style adapter, which reads a vision encoder's output and not a picture"
    } else if any("motion_modules.") {
        "it is a SparseCtrl network for films"
    } else if under("label_emb.") || under("add_embedding.") || context == Some(2048) {
        "it is a ControlNet for Stable Diffusion XL"
    } else if context == Some(1024) {
        "it is a ControlNet for Stable Diffusion 2.x"
    } else if outline.shape("conv_in.weight").is_some_and(|shape| shape.get(1) == Some(&768)) {
        // Three channels of 16x16 pixels.
        "it is a T2I-Adapter for Stable Diffusion XL"
    } else if under("double_blocks.") || under("controlnet_blocks.") || under("controlnet_x_embedder.") {
        "it is a ControlNet for Flux or Stable Diffusion 3"
    } else {
        return None;
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::outline::Form;

    fn outline(entries: &[(&str, &[i64])]) -> Outline {
        let form = |shape: &[i64]| Form { kind: Some(Kind::Half), shape: shape.to_vec() };
        let tensors = entries.iter().map(|(key, shape)| ((*key).to_owned(), form(shape))).collect();
        Outline { tensors, ..Outline::default() }
    }

    #[test]
    fn refuses_what_it_cannot_build_by_name() {
        let context = "middle_block.1.transformer_blocks.0.attn2.to_k.weight";
        for (key, shape, name) in [
            ("lora_controlnet", &[0][..], "Control-LoRA"),
            ("lllite_unet_input_blocks_4_1_attn1_to_q.down.0.weight", &[1], "LLLite"),
            ("task_embedding", &[6, 320], "union"),
            ("control_add_embedding.linear_1.weight", &[1280, 1536], "union"),
            ("ip_adapter.1.to_k_ip.weight", &[320, 768], "IP-Adapter"),
            ("image_proj.proj.weight", &[3072, 1024], "IP-Adapter"),
            ("style_embedding", &[1, 8, 1024], "style adapter"),
            ("down_blocks.0.motion_modules.0.proj_in.weight", &[1], "SparseCtrl"),
            ("label_emb.0.0.weight", &[1280, 2816], "XL"),
            ("add_embedding.linear_1.weight", &[1280, 2816], "XL"),
            (context, &[1280, 2048], "XL"),
            (context, &[1280, 1024], "2.x"),
            ("conv_in.weight", &[320, 768, 3, 3], "XL"),
            ("controlnet_x_embedder.weight", &[1], "Flux"),
            ("something.else", &[1], "no control network"),
        ] {
            // A ControlNet's own keys beside the other family's do not make it one.
            let hint: (&str, &[i64]) = ("input_hint_block.0.weight", &[16, 3, 3, 3]);
            let whole = if key == "something.else" { vec![(key, shape)] } else { vec![(key, shape), hint] };
            match of(&outline(&whole)) {
                Err(Problem::Control(why)) => assert!(why.contains(name), "{key}: {why}"),
                other => panic!("{key}: {other:?}"),
            }
        }
    }

    #[test]
    fn tells_the_three_that_it_can_build() {
        let family = |keys: &[&str]| {
            of(&outline(&keys.iter().map(|key| (*key, &[1, 1][..])).collect::<Vec<_>>())).unwrap()
        };
        assert_eq!(family(&["input_hint_block.0.weight", "zero_convs.0.0.weight"]), Family::ControlNet);
        assert_eq!(family(&["conv_in.weight", "body.0.block1.weight"]), Family::FullAdapter);
        assert_eq!(family(&["body.0.in_conv.weight", "body.0.out_conv.weight"]), Family::LightAdapter);
    }
}
