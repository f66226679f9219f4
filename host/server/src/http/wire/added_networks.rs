//! The options `sd_lora` and `sd_hypernetwork`: a LoRA and a hypernetwork for every prompt that does not name them itself,
//! written into the prompts when a request is taken in, so that a stored task and its infotext say them.

use serde_json::{Map, Value};

use super::fields::FieldProblem;
use super::overrides::{Overrides, refuse};
use super::problems::{Problems, flag, non_empty};
use super::styles;

/// As the options of a body say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AddedNetworks {
    /// Kind and name, as prompts have them.
    networks: Vec<(&'static str, String)>,
    /// `extra_networks_default_multiplier`
    strength: f64,
    /// `enable_prompt_comments`
    has_comments: bool,
}

impl AddedNetworks {
    /// # Errors
    /// Options of another type, and names that no prompt can hold.
    pub(crate) fn of(body: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let overrides = Overrides::new(body, &mut problems);
        let strength = overrides.number("extra_networks_default_multiplier", &mut problems).unwrap_or(1.0);
        let has_comments = overrides.flag("enable_prompt_comments", &mut problems).unwrap_or(true);
        let mut networks = Vec::new();
        for (option, kind) in [("sd_lora", "lora"), ("sd_hypernetwork", "hypernet")] {
            let Some(name) = overrides.text(option, &mut problems).filter(|name| *name != "None") else {
                continue;
            };
            if name.contains(['<', '>', ':', '\n']) {
                refuse(&mut problems, option, "the name of a network, without <, > and :");
            } else {
                networks.push((kind, name.to_owned()));
            }
        }
        problems.into_result(Self { networks, strength, has_comments })
    }

    /// Writes them into the prompts of both passes. A second pass without a prompt of its own has the first's.
    pub(crate) fn write_into(&self, body: &mut Map<String, Value>) {
        if self.networks.is_empty() || flag(body, "disable_extra_networks") {
            return;
        }
        let has_second = flag(body, "enable_hr") && non_empty(body, "hr_prompt").is_some();
        for field in ["prompt", "hr_prompt"].into_iter().take(if has_second { 2 } else { 1 }) {
            let Some(prompt) = body.get(field).and_then(Value::as_str) else { continue };
            let asked = prompt;
            let mut prompt = asked.to_owned();
            for (kind, name) in &self.networks {
                let names_it = [":", ">"].iter().any(|end| prompt.contains(&format!("<{kind}:{name}{end}")));
                if !names_it {
                    // It would be part of the comment.
                    if self.has_comments && prompt.rsplit('\n').next().is_some_and(|line| line.contains('#'))
                    {
                        prompt.push('\n');
                    }
                    prompt.push_str(&format!("<{kind}:{name}:{}>", self.strength));
                }
            }
            if prompt != asked {
                styles::write(body, field, prompt);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::generate::Drawing;
    use super::super::styles::Styling;
    use super::*;

    fn written(body: Value) -> Result<Map<String, Value>, Vec<FieldProblem>> {
        let mut body = Drawing::Txt2Img.read(body.as_object().unwrap(), || 1).unwrap();
        AddedNetworks::of(&body)?.write_into(&mut body);
        Ok(body)
    }

    #[test]
    fn networks_are_written_behind_prompts_that_do_not_name_them() {
        let options =
            json!({"sd_lora": "ink", "sd_hypernetwork": "old", "extra_networks_default_multiplier": 0.5});
        for (prompt, expected) in [
            ("a cat", "a cat<lora:ink:0.5><hypernet:old:0.5>"),
            ("a <lora:ink:0.8> cat", "a <lora:ink:0.8> cat<hypernet:old:0.5>"),
            ("a cat # nice", "a cat # nice\n<lora:ink:0.5><hypernet:old:0.5>"),
            ("<lora:inky:1><hypernet:old>", "<lora:inky:1><hypernet:old><lora:ink:0.5>"),
        ] {
            let body = written(json!({"prompt": prompt, "override_settings": options})).unwrap();
            assert_eq!(body["prompt"], expected);
            assert_eq!(body["hr_prompt"], "");
        }
        let body = json!({"prompt": "a", "enable_hr": true, "hr_prompt": "b", "override_settings": {"sd_lora": "ink"}});
        assert_eq!(written(body).unwrap()["hr_prompt"], "b<lora:ink:1>");
        let text = json!({"sd_lora": "ink", "enable_prompt_comments": false});
        let body = written(json!({"prompt": "a # b", "override_settings": text})).unwrap();
        assert_eq!(body["prompt"], "a # b<lora:ink:1>");
        for off in
            [json!({"disable_extra_networks": true}), json!({"override_settings": {"sd_lora": "None"}})]
        {
            let mut body = json!({"prompt": "a", "override_settings": {"sd_lora": "ink"}});
            body.as_object_mut().unwrap().extend(off.as_object().unwrap().clone());
            assert_eq!(written(body).unwrap()["prompt"], "a", "{off}");
        }
    }

    #[test]
    fn the_echo_shows_what_the_client_sent() {
        let mut body = written(json!({"prompt": "a", "override_settings": {"sd_lora": "ink"}})).unwrap();
        Styling::take(&mut body).undo(&mut body);
        assert_eq!(body["prompt"], "a");
    }

    #[test]
    fn names_that_no_prompt_can_hold_are_refused() {
        for options in [json!({"sd_lora": "a:b"}), json!({"sd_hypernetwork": "<x>"}), json!({"sd_lora": 1})] {
            let problems = written(json!({"override_settings": options})).unwrap_err();
            assert!(problems[0].message.contains("override_settings.sd_"), "{problems:?}");
        }
    }
}
