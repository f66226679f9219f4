//! Loopback: each picture is drawn over again, several times, with a strength that moves from the request's to a last one;
//! where that is asked for, each time by the words for what is drawn over.

use std::f64::consts::FRAC_PI_2;

use gesso_plugin::{Arguments, Fault, ScriptCall, ScriptOutput, inference};
use serde_json::Value;

use crate::drawing::{FILL_ORIGINAL, drawn_size, seed};
use crate::grid::Grid;

const CURVES: [&str; 3] = ["Aggressive", "Linear", "Lazy"];
/// Nothing, and the models that have words for a picture.
const INTERROGATORS: [&str; 3] = ["None", "CLIP", "DeepBooru"];

pub(crate) fn run(mut call: ScriptCall) -> Result<ScriptOutput, Fault> {
    let arguments = Arguments(&call.arguments);
    let loops = arguments.number(0, "Loops", (1.0, 32.0))? as u32;
    let last = arguments.number(1, "Final denoising strength", (0.0, 1.0))?;
    let curve = arguments.choice(2, "Denoising strength curve", &CURVES)?;
    let label = "Append interrogated prompt at each iteration";
    let interrogator = match arguments.choice(3, label, &INTERROGATORS)? {
        0 => None,
        place => Some(INTERROGATORS[place]),
    };
    let prompt = call.params.prompt().to_owned();
    let first = call.params.get("denoising_strength").and_then(Value::as_f64).unwrap_or(0.75);
    let batches = call.params.get("n_iter").and_then(Value::as_u64).unwrap_or(1);
    let mut next_seed = seed(&call.params);
    let fill = call.params.get("inpainting_fill").cloned();
    call.params.set("batch_size", 1);
    call.params.set("n_iter", 1);
    let mut drawn = Vec::new();
    // Of several batches only the last picture of each is shown.
    let kept = if batches == 1 { loops as usize } else { 1 };
    let (count, size) = (kept * batches as usize, drawn_size(&call, &call.params));
    let grid = Grid::in_a_row(count, size.0);
    grid.size(count, size)?;
    let original = std::mem::take(&mut call.init_images);
    for _ in 0..batches {
        if let Some(fill) = &fill {
            call.params.set("inpainting_fill", fill.clone());
        }
        let begin = drawn.len();
        for turn in 0..loops {
            call.params.set("seed", next_seed);
            call.params.set("denoising_strength", strength(turn, loops, first, last, curve));
            let job = {
                let latest = drawn[begin..].last().map(|(picture, _)| std::slice::from_ref(picture));
                let sources = latest.unwrap_or(&original);
                if let (Some(model), Some(source)) = (interrogator, sources.first()) {
                    call.params.set_prompt(appended(&prompt, &inference::interrogate(source, model)?));
                }
                inference::generate(&call.params, sources, call.mask.as_ref())?
            };
            let picture = job.finish()?;
            let pair = picture.images.into_iter().zip(picture.infotexts).next();
            drawn.push(pair.ok_or_else(|| Fault::Other("The host drew no picture.".into()))?);
            // What is under the mask stays from the second loop on.
            call.params.set("inpainting_fill", FILL_ORIGINAL);
            next_seed += 1;
        }
        let end = drawn.len();
        drawn.drain(begin..end - kept);
    }
    if drawn.len() < 2 {
        return Ok(ScriptOutput { pictures: drawn, index_of_first_image: 0 });
    }
    let picture = grid.draw(&drawn.iter().map(|(picture, _)| picture).collect::<Vec<_>>())?;
    let infotext = drawn[0].1.clone();
    drawn.insert(0, (picture, infotext));
    Ok(ScriptOutput { pictures: drawn, index_of_first_image: 1 })
}

/// The request's prompt with the words for a picture behind it.
fn appended(prompt: &str, words: &str) -> String {
    let parts: Vec<_> = [prompt, words].into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// The strength of a turn, from 0: a sine that hurries, a straight line, or a cosine that waits.
fn strength(turn: u32, turns: u32, first: f64, last: f64, curve: usize) -> f64 {
    if turns == 1 {
        return first;
    }
    let progress = f64::from(turn) / f64::from(turns - 1);
    let share = match CURVES[curve] {
        "Aggressive" => (progress * FRAC_PI_2).sin(),
        "Lazy" => 1.0 - (progress * FRAC_PI_2).cos(),
        _ => progress,
    };
    first + (last - first) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_move_from_the_first_to_the_last() {
        for curve in 0..3 {
            assert_eq!(strength(0, 4, 0.8, 0.2, curve), 0.8);
            assert!((strength(3, 4, 0.8, 0.2, curve) - 0.2).abs() < 1e-12);
        }
        let middle = |curve| strength(1, 3, 0.0, 1.0, curve);
        assert!(middle(0) > middle(1) && middle(1) == 0.5 && middle(2) < 0.5);
        assert_eq!(strength(0, 1, 0.7, 0.1, 1), 0.7);
    }

    #[test]
    fn words_stand_behind_the_prompt() {
        assert_eq!(appended("sea", "boat, night"), "sea, boat, night");
        assert_eq!((appended("", "boat"), appended("sea", "")), ("boat".to_owned(), "sea".to_owned()));
    }
}
