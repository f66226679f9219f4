//! Brings the names in a control file to those of the networks' first publications: prefixes taken off, the other
//! library's spelling translated. Works on names alone.

use std::collections::BTreeMap;

use crate::error::Problem;

/// Marks a file whose tensors are differences to those of a base model.
pub(super) const DIFFERENCE: &str = "difference";

/// Gives every tensor its original name; those that belong to no control network are dropped.
///
/// # Errors
/// Two spellings of one name in the same file.
pub(super) fn rename<T>(tensors: &mut BTreeMap<String, T>) -> Result<(), Problem> {
    // Some files are a whole checkpoint with the ControlNet inside.
    let has = |prefix: &str| tensors.keys().any(|name| name.starts_with(prefix));
    if let Some(prefix) = ["control_model.", "adapter."].into_iter().find(|prefix| has(prefix)) {
        // The mark of a file of differences stands beside the prefix.
        let bare = |name: &str| {
            name.strip_prefix(prefix).or((name == DIFFERENCE).then_some(name)).map(str::to_owned)
        };
        replace(tensors, bare)?;
    }
    let has = |prefix: &str| tensors.keys().any(|name| name.starts_with(prefix));
    if has("controlnet_cond_embedding.") {
        replace(tensors, |name| Some(controlnet(name)))
    } else if has("body.0.resnets.") {
        let last = tensors.keys().filter_map(|name| adapter_block(name)).map(|(_, block, _)| block).max();
        let each = last.filter(|_| has("conv_in.")).map(|last| last.saturating_add(1));
        replace(tensors, |name| Some(adapter(name, each)))
    } else {
        Ok(())
    }
}

fn replace<T>(
    tensors: &mut BTreeMap<String, T>,
    rename: impl Fn(&str) -> Option<String>,
) -> Result<(), Problem> {
    for (name, tensor) in std::mem::take(tensors) {
        let Some(renamed) = rename(&name) else { continue };
        if tensors.contains_key(&renamed) {
            return Err(Problem::Duplicate(renamed));
        }
        tensors.insert(renamed, tensor);
    }
    Ok(())
}

fn controlnet(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let number = |text: &str| text.parse::<usize>().unwrap_or(usize::MAX / 4);
    match parts.as_slice() {
        ["controlnet_cond_embedding", "conv_in", rest @ ..] => join("input_hint_block.0", rest),
        ["controlnet_cond_embedding", "conv_out", rest @ ..] => join("input_hint_block.14", rest),
        ["controlnet_cond_embedding", "blocks", at, rest @ ..] => {
            join(&format!("input_hint_block.{}", 2 * number(at) + 2), rest)
        }
        ["controlnet_down_blocks", at, rest @ ..] => join(&format!("zero_convs.{at}.0"), rest),
        ["controlnet_mid_block", rest @ ..] => join("middle_block_out.0", rest),
        ["conv_in", rest @ ..] => join("input_blocks.0.0", rest),
        ["time_embedding", "linear_1", rest @ ..] => join("time_embed.0", rest),
        ["time_embedding", "linear_2", rest @ ..] => join("time_embed.2", rest),
        ["mid_block", "resnets", at, rest @ ..] => {
            residual(&format!("middle_block.{}", 2 * number(at)), rest)
        }
        ["mid_block", "attentions", "0", rest @ ..] => join("middle_block.1", rest),
        ["down_blocks", level, "downsamplers", "0", "conv", rest @ ..] => {
            join(&format!("input_blocks.{}.0.op", 3 * number(level) + 3), rest)
        }
        ["down_blocks", level, "resnets", at, rest @ ..] => {
            residual(&format!("input_blocks.{}.0", 3 * number(level) + number(at) + 1), rest)
        }
        ["down_blocks", level, "attentions", at, rest @ ..] => {
            join(&format!("input_blocks.{}.1", 3 * number(level) + number(at) + 1), rest)
        }
        _ => name.to_owned(),
    }
}

fn residual(place: &str, rest: &[&str]) -> String {
    let inner = match rest.first().copied().unwrap_or_default() {
        "norm1" => "in_layers.0",
        "conv1" => "in_layers.2",
        "time_emb_proj" => "emb_layers.1",
        "norm2" => "out_layers.0",
        "conv2" => "out_layers.3",
        "conv_shortcut" => "skip_connection",
        other => other,
    };
    join(&format!("{place}.{inner}"), rest.get(1..).unwrap_or_default())
}

fn join(place: &str, rest: &[&str]) -> String {
    std::iter::once(place).chain(rest.iter().copied()).collect::<Vec<_>>().join(".")
}

/// Level, block and rest of `body.LEVEL.resnets.BLOCK.REST`.
fn adapter_block(name: &str) -> Option<(usize, usize, &str)> {
    let (level, rest) = name.strip_prefix("body.")?.split_once(".resnets.")?;
    let (block, rest) = rest.split_once('.')?;
    Some((level.parse().ok()?, block.parse().ok()?, rest))
}

/// `each` is the number of blocks of a level in a full adapter, whose blocks are numbered through.
fn adapter(name: &str, each: Option<usize>) -> String {
    match (each, adapter_block(name)) {
        (Some(each), Some((level, block, rest))) => {
            format!("body.{}.{rest}", level.saturating_mul(each).saturating_add(block))
        }
        (None, Some((level, block, rest))) => format!("body.{level}.body.{block}.{rest}"),
        (Some(each), None) => {
            let level = name.strip_prefix("body.").and_then(|rest| rest.split_once('.'));
            match level.and_then(|(level, rest)| Some((level.parse::<usize>().ok()?, rest))) {
                Some((level, rest)) => format!("body.{}.{rest}", level.saturating_mul(each)),
                None => name.to_owned(),
            }
        }
        (None, None) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        let mut tensors = names.iter().map(|name| ((*name).to_owned(), ())).collect();
        rename(&mut tensors).unwrap();
        tensors.into_keys().collect()
    }

    #[test]
    fn prefixes_are_taken_off_and_the_rest_of_a_checkpoint_left_out() {
        let got =
            names(&["control_model.zero_convs.0.0.bias", "difference", "model.diffusion_model.out.0.weight"]);
        assert_eq!(got, ["difference", "zero_convs.0.0.bias"]);
        assert_eq!(names(&["zero_convs.0.0.bias"]), ["zero_convs.0.0.bias"]);
    }

    #[test]
    fn both_spellings_of_adapters_number_their_blocks() {
        let full = names(&[
            "adapter.body.0.resnets.1.block2.bias",
            "adapter.body.0.resnets.0.block1.weight",
            "adapter.body.3.resnets.1.block2.bias",
            "adapter.body.2.in_conv.weight",
            "adapter.conv_in.weight",
        ]);
        let want =
            ["body.0.block1.weight", "body.1.block2.bias", "body.4.in_conv.weight", "body.7.block2.bias"];
        assert_eq!(full[..4], want);
        let light = names(&["adapter.body.0.resnets.3.block1.weight", "adapter.body.1.in_conv.weight"]);
        assert_eq!(light, ["body.0.body.3.block1.weight", "body.1.in_conv.weight"]);
    }

    #[test]
    fn refuses_one_tensor_in_two_spellings() {
        let twice = ["controlnet_cond_embedding.conv_in.bias", "input_hint_block.0.bias"];
        let mut tensors = twice.iter().map(|name| ((*name).to_owned(), ())).collect();
        let problem = rename(&mut tensors).unwrap_err();
        assert!(matches!(problem, Problem::Duplicate(name) if name == twice[1]));
    }
}
