//! Prompt matrix: a prompt `base | a | b` is drawn with every combination of its parts, in a grid with one half of the parts
//! along and the other half down.

use gesso_plugin::{Arguments, Fault, ScriptCall, ScriptOutput};

use crate::drawing::{draw_all, drawn_size, pictures, seed};
use crate::grid::{Grid, Label};

/// Parts beside the base; each doubles the pictures.
const PARTS_MAX: usize = 9;

pub(crate) fn run(call: &ScriptCall) -> Result<ScriptOutput, Fault> {
    let arguments = Arguments(&call.arguments);
    let at_start = arguments.flag(0, "Put variable parts at start of prompt")?;
    let different_seeds = arguments.flag(1, "Use different seed for each picture")?;
    let field =
        ["prompt", "negative_prompt"][arguments.choice(2, "Select prompt", &["positive", "negative"])?];
    let joint = [", ", " "][arguments.choice(3, "Select joining char", &["comma", "space"])?];
    let margin = arguments.number(4, "Grid margins (px)", (0.0, 500.0))? as u32;
    let prompt = call.params.get(field).and_then(serde_json::Value::as_str).unwrap_or_default();
    let matrix = Matrix::of(prompt)?;
    let first_seed = seed(&call.params);
    let requests = matrix.prompts(at_start, joint).into_iter().enumerate().map(|(index, prompt)| {
        let mut params = call.params.clone();
        params.set(field, prompt);
        params.set("batch_size", 1);
        params.set("n_iter", 1);
        params.set("seed", first_seed + if different_seeds { index as u64 } else { 0 });
        params
    });
    let (along, down) = matrix.labels();
    let grid = Grid { columns: along.len(), along, down, margin, title: None };
    grid.size(1 << matrix.parts.len(), drawn_size(call, &call.params))?;
    let mut drawn: Vec<_> = draw_all(call, requests)?.into_iter().flat_map(pictures).collect();
    let infotext = drawn.first().map(|(_, infotext)| infotext.clone()).unwrap_or_default();
    let picture = grid.draw(&drawn.iter().map(|(picture, _)| picture).collect::<Vec<_>>())?;
    drawn.insert(0, (picture, infotext));
    Ok(ScriptOutput { pictures: drawn, index_of_first_image: 1 })
}

struct Matrix<'a> {
    base: &'a str,
    parts: Vec<&'a str>,
}

impl<'a> Matrix<'a> {
    fn of(prompt: &'a str) -> Result<Self, Fault> {
        let (base, rest) = prompt.split_once('|').map_or((prompt, None), |(base, rest)| (base, Some(rest)));
        let parts: Vec<_> = rest.into_iter().flat_map(|rest| rest.split('|')).collect();
        if parts.len() > PARTS_MAX {
            return Err(Fault::InvalidInput(format!(
                "The prompt has {} parts after its first |; {PARTS_MAX} make {} pictures and are the most.",
                parts.len(),
                1 << PARTS_MAX
            )));
        }
        Ok(Self { base, parts })
    }

    /// Every combination; the bits of its number say which parts are in it.
    fn prompts(&self, at_start: bool, joint: &str) -> Vec<String> {
        let combination = |number: usize| {
            let chosen = self.parts.iter().enumerate().filter(|(index, _)| number >> index & 1 == 1);
            let mut words: Vec<&str> = chosen.map(|(_, part)| part.trim().trim_matches(',')).collect();
            words.insert(if at_start { words.len() } else { 0 }, self.base);
            words.join(joint)
        };
        (0..1 << self.parts.len()).map(combination).collect()
    }

    /// The labels of columns and rows: each names the half of the parts that varies there, those that are out struck through.
    fn labels(&self) -> (Vec<Vec<Label>>, Vec<Vec<Label>>) {
        let (along, down) = self.parts.split_at(self.parts.len().div_ceil(2));
        let of = |parts: &[&str]| {
            let label = |number: usize| {
                let label = |(index, part): (usize, &&str)| Label {
                    text: part.trim().to_owned(),
                    is_active: number >> index & 1 == 1,
                };
                parts.iter().enumerate().map(label).collect()
            };
            (0..1 << parts.len()).map(label).collect()
        };
        (of(along), of(down))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_the_parts_is_drawn() {
        let matrix = Matrix::of("a cat|, red hat |snow").unwrap();
        assert_eq!(
            matrix.prompts(false, ", "),
            ["a cat", "a cat,  red hat", "a cat, snow", "a cat,  red hat, snow"]
        );
        assert_eq!(matrix.prompts(true, " ")[3], " red hat snow a cat");
        assert_eq!(Matrix::of("alone").unwrap().prompts(false, ", "), ["alone"]);
        assert!(Matrix::of(&"x|".repeat(10)).is_err());
    }

    #[test]
    fn the_first_half_of_the_parts_varies_along() {
        let (along, down) = Matrix::of("x|a|b|c").unwrap().labels();
        assert_eq!((along.len(), down.len()), (4, 2));
        let active: Vec<Vec<bool>> =
            along.iter().map(|labels| labels.iter().map(|label| label.is_active).collect()).collect();
        assert_eq!(active, [[false, false], [true, false], [false, true], [true, true]]);
        assert_eq!(down[1][0].text, "c");
    }
}
