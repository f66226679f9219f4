//! What becomes of an infotext by an admin's rules. Pure, and linear in the text, which comes from anyone's pictures.

use std::collections::{BTreeMap, HashSet};

use gesso_plugin::{Infotext, JsonSchema};
use serde::Deserialize;

const PROMPT: &str = "Prompt";
const NEGATIVE_PROMPT: &str = "Negative prompt";
/// Fields that are prompts, too.
const PROMPTS: [&str; 2] = ["Hires prompt", "Hires negative prompt"];
/// Kinds of networks that a prompt names.
const KINDS: [&str; 3] = ["lora", "lyco", "hypernet"];
/// Every value that no other rule of its field is about.
const ANY: &str = "*";

/// What an admin sets; names are compared in any case.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(crate = "gesso_plugin::schemars")]
pub(crate) struct Rules {
    /// Fields that are passed over, such as Clip skip; Prompt and Negative prompt may be among them.
    skip: Vec<String>,
    /// Fields under another name: the text's, then the one that counts here.
    rename: BTreeMap<String, String>,
    /// By field, what takes a value's place; * stands for every other value, and an empty one takes the field out.
    values: BTreeMap<String, BTreeMap<String, String>>,
    /// By name, what LoRAs and hypernetworks in prompts are called here; an empty name takes the tag out.
    networks: BTreeMap<String, String>,
    /// Fields with their values, where a text has none that counts.
    add: BTreeMap<String, String>,
}

impl Rules {
    /// First names, then what is passed over, then values; what is added comes last, so that a field that is skipped and added
    /// always has that value.
    pub(crate) fn applied(&self, infotext: Infotext) -> Infotext {
        let Infotext { prompt, negative_prompt, fields } = infotext;
        // A field that has its name by itself goes before one that is given it.
        let own: HashSet<String> = fields
            .iter()
            .filter(|(name, _)| rule(&self.rename, name).is_none())
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        let mut known = HashSet::new();
        let mut made = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            let (name, is_own) = match rule(&self.rename, &name) {
                Some(renamed) if renamed.is_empty() || own.contains(&renamed.to_ascii_lowercase()) => {
                    continue;
                }
                Some(renamed) => (renamed.clone(), false),
                None => (name, true),
            };
            let Some(value) = self.value(&name, value) else { continue };
            // What no rule is about stays, whatever else the text has in another case.
            if known.insert(name.to_ascii_lowercase()) || is_own {
                made.push((name, value));
            }
        }
        for (name, value) in &self.add {
            if !name.is_empty() && known.insert(name.to_ascii_lowercase()) {
                made.push((name.clone(), value.clone()));
            }
        }
        Infotext {
            prompt: self.prompt(PROMPT, prompt),
            negative_prompt: self.prompt(NEGATIVE_PROMPT, negative_prompt),
            fields: made,
        }
    }

    fn skips(&self, name: &str) -> bool {
        self.skip.iter().any(|skipped| skipped.eq_ignore_ascii_case(name))
    }

    fn prompt(&self, name: &str, text: String) -> String {
        if self.skips(name) { String::new() } else { self.with_networks(text) }
    }

    /// What stands for a value; `None` where the field is taken out.
    fn value(&self, name: &str, value: String) -> Option<String> {
        if self.skips(name) {
            return None;
        }
        if PROMPTS.contains(&name) {
            return Some(self.with_networks(value));
        }
        let Some(rules) = rule(&self.values, name) else { return Some(value) };
        match rule(rules, &value).or_else(|| rules.get(ANY)) {
            Some(other) if other.is_empty() => None,
            Some(other) => Some(other.clone()),
            None => Some(value),
        }
    }

    /// A prompt in which networks are called as they are here.
    fn with_networks(&self, prompt: String) -> String {
        if self.networks.is_empty() {
            return prompt;
        }
        let mut made = String::with_capacity(prompt.len());
        let mut rest = prompt.as_str();
        while let Some(end) = rest.find('>') {
            let (before, after) = rest.split_at(end + 1);
            // A tag begins at the last bracket before its end: others are text.
            let tag = before.rfind('<').and_then(|start| Some((start, self.tag(&before[start + 1..end])?)));
            match tag {
                Some((start, tag)) => {
                    made.push_str(&before[..start]);
                    made.push_str(&tag);
                }
                None => made.push_str(before),
            }
            rest = after;
        }
        made.push_str(rest);
        made
    }

    /// A tag with the network's name here, empty where it is taken out; `None` for what no rule is about.
    fn tag(&self, inside: &str) -> Option<String> {
        let (kind, network) = inside.split_once(':')?;
        let (name, weights) =
            network.split_once(':').map_or((network, None), |(name, rest)| (name, Some(rest)));
        let other = KINDS.contains(&kind.trim()).then(|| rule(&self.networks, name.trim()))??;
        Some(match weights {
            _ if other.is_empty() => String::new(),
            Some(weights) => format!("<{kind}:{other}:{weights}>"),
            None => format!("<{kind}:{other}>"),
        })
    }
}

/// The rule about a name, in any case; one that writes it as it is goes first.
fn rule<'a, T>(rules: &'a BTreeMap<String, T>, name: &str) -> Option<&'a T> {
    let alike = || rules.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, rule)| rule);
    rules.get(name).or_else(alike)
}

#[cfg(test)]
mod tests {
    use gesso_plugin::serde_json::{self, Value, json};
    use proptest::prelude::*;

    use super::*;

    fn text(fields: &[(&str, &str)]) -> Infotext {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Infotext { prompt: "sea".into(), negative_prompt: "fog".into(), fields }
    }

    fn applied(rules: Value, infotext: Infotext) -> Infotext {
        serde_json::from_value::<Rules>(rules).unwrap().applied(infotext)
    }

    fn fields(rules: Value, of: &[(&str, &str)]) -> Vec<String> {
        let made = applied(rules, text(of));
        made.fields.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn fields_are_passed_over_as_the_web_uis_setting_has_it() {
        let rules = json!({"skip": ["clip skip", "Prompt"]});
        let made = applied(rules, text(&[("Steps", "4"), ("Clip skip", "2"), ("Seed", "7")]));
        assert_eq!((made.prompt.as_str(), made.negative_prompt.as_str()), ("", "fog"));
        assert_eq!(made.fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["Steps", "Seed"]);
    }

    #[test]
    fn values_have_others_in_their_place_and_a_star_is_every_other() {
        let rules = json!({"values": {
            "Sampler": {"UniPC bh2": "UniPC"},
            "Hires upscaler": {"Latent": "Latent", "*": "Lanczos"},
            "VAE": {"kl-f8.pt": ""},
        }});
        let of = |sampler: &str, upscaler: &str, vae: &str| {
            fields(rules.clone(), &[("Sampler", sampler), ("Hires upscaler", upscaler), ("VAE", vae)])
        };
        assert_eq!(
            of("unipc BH2", "4x-UltraSharp", "kl-f8.pt"),
            ["Sampler: UniPC", "Hires upscaler: Lanczos"]
        );
        assert_eq!(
            of("Euler", "latent", "own.pt"),
            ["Sampler: Euler", "Hires upscaler: Latent", "VAE: own.pt"]
        );
    }

    #[test]
    fn a_field_under_another_name_stands_once_and_gives_way_to_one_of_that_name() {
        let rules = json!({"rename": {"Guidance": "CFG scale", "Scale": "CFG scale", "Note": ""}});
        let of = |given: &[(&str, &str)]| fields(rules.clone(), given);
        assert_eq!(of(&[("guidance", "5"), ("Note", "x")]), ["CFG scale: 5"]);
        assert_eq!(of(&[("Guidance", "5"), ("Scale", "6")]), ["CFG scale: 5"]);
        assert_eq!(of(&[("Guidance", "5"), ("CFG scale", "7")]), ["CFG scale: 7"]);
        assert_eq!(of(&[("Guidance", "5"), ("CFG Scale", "7")]), ["CFG Scale: 7"]);
        // Rules of values and of skipping are about the names that count here.
        let rules = json!({"rename": {"Guidance": "CFG scale"}, "values": {"CFG scale": {"5": "6"}}});
        assert_eq!(fields(rules, &[("Guidance", "5")]), ["CFG scale: 6"]);
    }

    #[test]
    fn what_is_added_stands_behind_where_nothing_is_said_or_what_was_said_is_skipped() {
        let rules = json!({"add": {"Clip skip": "2", "": "x"}});
        assert_eq!(fields(rules.clone(), &[("Steps", "4")]), ["Steps: 4", "Clip skip: 2"]);
        assert_eq!(fields(rules.clone(), &[("Clip skip", "1")]), ["Clip skip: 1"]);
        assert_eq!(fields(rules.clone(), &[("CLIP skip", "1")]), ["CLIP skip: 1"]);
        // What a text says twice in two cases is its own affair.
        assert_eq!(fields(json!({}), &[("seed", "1"), ("Seed", "2")]), ["seed: 1", "Seed: 2"]);
        let mut always = rules;
        always["skip"] = json!(["Clip skip"]);
        assert_eq!(fields(always, &[("Clip skip", "1")]), ["Clip skip: 2"]);
    }

    #[test]
    fn networks_in_prompts_are_called_as_they_are_here() {
        let rules = json!({"networks": {"old": "new", "gone": ""}});
        let infotext = Infotext {
            prompt:
                "a < b, <lora:Old:0.8:lbw=INS>, <lora:gone:1> <lyco:old> <hypernet:other:1> <old:1> c > d"
                    .into(),
            negative_prompt: "<lora:old:1".into(),
            fields: vec![("Hires prompt".into(), "<lora:old:1>".into())],
        };
        let made = applied(rules, infotext);
        assert_eq!(
            made.prompt,
            "a < b, <lora:new:0.8:lbw=INS>,  <lyco:new> <hypernet:other:1> <old:1> c > d"
        );
        assert_eq!(
            (made.negative_prompt.as_str(), made.get("Hires prompt")),
            ("<lora:old:1", Some("<lora:new:1>"))
        );
    }

    proptest! {
        #[test]
        fn whatever_a_text_says_each_name_stands_once(
            names in proptest::collection::vec("[a-c]", 0..6),
            prompt in "[a-c<>: ]{0,40}",
        ) {
            let rules = json!({"rename": {"a": "b", "b": "c"}, "add": {"a": "1", "c": "2"}, "networks": {"a": "b"}});
            let mut infotext = Infotext { prompt: prompt.clone(), ..Infotext::default() };
            names.iter().for_each(|name| infotext.set(name, "v"));
            let made = applied(rules, infotext);
            let names: HashSet<_> = made.fields.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(names.len(), made.fields.len());
            prop_assert_eq!(&made.prompt, &prompt);
        }
    }
}
