//! A part of a prompt given a weight, as the attention grabber of web UIs does. Knows attention alone.

use gesso_plugin::Random;

/// Parts that hold another grammar are left alone.
const TAKEN: [char; 8] = ['(', ')', '[', ']', '<', '>', '{', ':'];

/// The prompt with one of its parts between commas weighted by chance, to two decimals; unchanged where no part is free.
pub fn grabbed(prompt: &str, (least, most): (f64, f64), random: &mut Random) -> String {
    let mut parts: Vec<String> = prompt.split(',').map(str::to_owned).collect();
    let is_free = |part: &String| !part.trim().is_empty() && !part.contains(TAKEN);
    let free: Vec<usize> = (0..parts.len()).filter(|place| is_free(&parts[*place])).collect();
    let Some(&place) = free.get(random.below(free.len())) else { return prompt.to_owned() };
    let weight = ((least + (most - least) * random.unit()) * 100.0).round() / 100.0;
    let part = &parts[place];
    let blank = &part[..part.len() - part.trim_start().len()];
    parts[place] = format!("{blank}({}:{weight})", part.trim());
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_free_part_is_weighted_within_the_range() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let text = grabbed("a boat, (red:1.2), calm sea", (1.1, 1.5), &mut Random::new(seed, 0));
            let weighted =
                text.split(", ").find(|part| part.starts_with('(') && *part != "(red:1.2)").unwrap();
            let (part, weight) = weighted.trim_matches(['(', ')']).split_once(':').unwrap();
            assert!((1.1..=1.5).contains(&weight.parse::<f64>().unwrap()), "{text}");
            seen.insert(part.to_owned());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a boat", "calm sea"]);
        assert_eq!(grabbed("<lora:x:1>, (a)", (1.0, 1.0), &mut Random::new(1, 0)), "<lora:x:1>, (a)");
    }
}
