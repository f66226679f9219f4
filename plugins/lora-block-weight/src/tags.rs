//! The tags of LoRAs in a prompt, `<lora:name:1:lbw=…>`, and what names of block weights stand for. Pure; the numbers of a
//! list are checked by the server.

use std::collections::BTreeMap;

use gesso_plugin::Fault;

const KINDS: [&str; 2] = ["lora", "lyco"];
const WEIGHTS: &str = "lbw=";

/// Named lists.
#[derive(Debug, Default, PartialEq)]
pub struct Presets(BTreeMap<String, String>);

impl Presets {
    /// Lines of a name, a colon and numbers; empty lines and those that begin with `#` say nothing, and of two of one name
    /// the first counts.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] with the line that is none of these.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let mut presets = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let wrong = || {
                Fault::InvalidInput(format!(
                    "LoRA Block Weight: {line:.100?} is no preset; write a name, a colon and numbers, as in MINE:1,0,0.5"
                ))
            };
            let (name, list) = line.split_once(':').ok_or_else(wrong)?;
            let is_list =
                list.split(',').all(|number| number.trim().parse::<f64>().is_ok_and(f64::is_finite));
            if name.trim().is_empty() || !is_list {
                return Err(wrong());
            }
            let list = list.split(',').map(str::trim).collect::<Vec<_>>().join(",");
            presets.entry(name.trim().to_owned()).or_insert(list);
        }
        Ok(Self(presets))
    }

    /// The list of a name; a name that is not there is the server's, or a list already.
    fn list<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name.trim()).map_or(name, String::as_str)
    }
}

/// The prompt with block weights under `lbw=` as lists, or without any where they are not `active`; `None` where nothing
/// changes.
pub fn rewritten(prompt: &str, presets: &Presets, active: bool) -> Option<String> {
    let mut out = String::with_capacity(prompt.len());
    let mut rest = prompt;
    while let Some(start) = rest.find('<') {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = from.find('>') else {
            rest = from;
            break;
        };
        let (tag, after) = from.split_at(end + 1);
        match tag_rewritten(&tag[1..end], presets, active) {
            Some(tag) => out.push_str(&format!("<{tag}>")),
            None => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    (out != prompt).then_some(out)
}

/// What stands between the brackets; `None` for what is no LoRA's.
fn tag_rewritten(tag: &str, presets: &Presets, active: bool) -> Option<String> {
    let mut parts = tag.split(':');
    let (kind, name) = (parts.next()?, parts.next()?);
    if !KINDS.contains(&kind.trim()) {
        return None;
    }
    let mut kept = vec![kind.to_owned(), name.to_owned()];
    for part in parts {
        let is_number = part.trim().parse::<f64>().is_ok();
        let weights = match part.trim().strip_prefix(WEIGHTS) {
            Some(weights) => Some(weights),
            // Behind the strengths stands the name or the list alone, as old prompts have it.
            None if !part.contains('=') && !is_number && kept.len() > 2 => Some(part),
            None => None,
        };
        match weights {
            Some(weights) if active => kept.push(format!("{WEIGHTS}{}", presets.list(weights))),
            Some(_) => {}
            None => kept.push(part.to_owned()),
        }
    }
    Some(kept.join(":"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn presets() -> Presets {
        Presets::read("# mine\nMINE: 1, 0,0.5\n\nTHEIRS:0,1\nMINE:9").unwrap()
    }

    #[test]
    fn names_become_lists_wherever_they_stand() {
        let of = |prompt: &str| rewritten(prompt, &presets(), true).unwrap_or_else(|| "unchanged".into());
        assert_eq!(of("a <lora:x:1:lbw=MINE> b"), "a <lora:x:1:lbw=1,0,0.5> b");
        assert_eq!(
            of("<lora:x:0.8:MINE><lyco:y:1:1:THEIRS>"),
            "<lora:x:0.8:lbw=1,0,0.5><lyco:y:1:1:lbw=0,1>"
        );
        assert_eq!(of("<lora:x:1:IN02>"), "<lora:x:1:lbw=IN02>");
        assert_eq!(of("<lora:x:1:1,0,0>"), "<lora:x:1:lbw=1,0,0>");
        assert_eq!(of("<lora:x:1:lbw=MINE:start=3>"), "<lora:x:1:lbw=1,0,0.5:start=3>");
        for same in [
            "<lora:x:1>",
            "<lora:x:1:0.5>",
            "<lora:x:te=1>",
            "<hypernet:x:MINE>",
            "a < b > c",
            "<lora:x:1:MINE",
            "<>",
        ] {
            assert_eq!(of(same), "unchanged", "{same}");
        }
    }

    #[test]
    fn weights_are_taken_out_where_they_are_not_active() {
        let of = |prompt: &str| rewritten(prompt, &presets(), false).unwrap();
        assert_eq!(of("<lora:x:1:lbw=MINE:stop=9>, <lora:y:1:IN02>"), "<lora:x:1:stop=9>, <lora:y:1>");
    }

    #[test]
    fn a_line_that_is_no_preset_is_shown() {
        for bad in ["MINE", "MINE:", ":1,2", "MINE:1,two", "MINE:1,inf"] {
            let Err(Fault::InvalidInput(text)) = Presets::read(bad) else { panic!("{bad} is taken") };
            assert!(text.contains(bad), "{text}");
        }
    }

    proptest! {
        #[test]
        fn prompts_without_tags_of_loras_stay(prompt in "[a-z<>: =,.0-9]{0,80}", active: bool) {
            if !prompt.contains("lora") && !prompt.contains("lyco") {
                prop_assert_eq!(rewritten(&prompt, &presets(), active), None);
            }
        }
    }
}
