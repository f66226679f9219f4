//! What a request says under `alwayson_scripts.dynamic-prompts.args`: the web UI extension's arguments in its order, by name or
//! by place.

use gesso_plugin::Fault;
use gesso_plugin::serde::Deserialize;

/// Prompts that one request may be drawn for.
pub const GENERATIONS_MAX: usize = 256;
/// Weights of the attention grabber.
const ATTENTION: std::ops::RangeInclusive<f64> = -1.0..=2.0;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(crate = "gesso_plugin::serde", default)]
pub struct Arguments {
    pub enabled: bool,
    /// Every combination once, in place of one by chance for each picture.
    pub combinatorial: bool,
    /// How often all combinations are drawn, each time from other seeds.
    pub combinatorial_batches: usize,
    pub magic_prompt: bool,
    pub feeling_lucky: bool,
    /// Gives a part of each prompt a weight by chance.
    pub attention_grabber: bool,
    pub min_attention: f64,
    pub max_attention: f64,
    pub magic_prompt_length: u32,
    pub magic_temp: f64,
    /// All pictures have the request's seed, so that prompts alone differ.
    pub fixed_seed: bool,
    /// Prompts differ from request to request though the seed is the same.
    pub unlink_seed: bool,
    pub disable_negative_prompt: bool,
    pub jinja: bool,
    pub no_image_generation: bool,
    /// The most combinations; 0 is as many as there may be.
    pub max_generations: usize,
    pub magic_model: Option<String>,
    pub magic_blocklist: Option<String>,
    /// Drawn with in place of the request's seed.
    pub seed: Option<u64>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            enabled: true,
            combinatorial: false,
            combinatorial_batches: 1,
            magic_prompt: false,
            feeling_lucky: false,
            attention_grabber: false,
            min_attention: 1.1,
            max_attention: 1.5,
            magic_prompt_length: 100,
            magic_temp: 0.7,
            fixed_seed: false,
            unlink_seed: false,
            disable_negative_prompt: true,
            jinja: false,
            no_image_generation: false,
            max_generations: 0,
            magic_model: None,
            magic_blocklist: None,
            seed: None,
        }
    }
}

impl Arguments {
    /// # Errors
    /// What is not there, and numbers out of range, by name.
    pub fn check(&self) -> Result<(), Fault> {
        let refused = |text: String| Err(Fault::InvalidInput(format!("dynamic-prompts: {text}.")));
        for (asked, name, instead) in [
            (self.magic_prompt, "magic_prompt", "write what it would add"),
            (self.feeling_lucky, "feeling_lucky", "write a prompt"),
            (self.jinja, "jinja", "use {a|b} and __wildcards__"),
            (self.no_image_generation, "no_image_generation", "draw with few steps to see the prompts"),
        ] {
            if asked {
                return refused(format!("{name} is not there; {instead}, and leave it out or false"));
            }
        }
        if !(1..=GENERATIONS_MAX).contains(&self.combinatorial_batches) {
            let text = format!(
                "combinatorial_batches is {}; it takes 1 to {GENERATIONS_MAX}",
                self.combinatorial_batches
            );
            return refused(text);
        }
        let are_weights = ATTENTION.contains(&self.min_attention) && ATTENTION.contains(&self.max_attention);
        if self.attention_grabber && !(are_weights && self.min_attention <= self.max_attention) {
            let (least, most) = (self.min_attention, self.max_attention);
            return refused(format!(
                "min_attention is {least} and max_attention {most}; they take -1 to 2, the lesser first"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gesso_plugin::Params;
    use gesso_plugin::serde_json::{Value, json};

    use super::*;

    fn read(args: Value) -> Arguments {
        let params = json!({"alwayson_scripts": {"Dynamic Prompts v2.17.1": {"args": args}}});
        let params = Params::from_json(&params.to_string()).unwrap();
        params.arguments("Dynamic Prompts v2.17.1").unwrap().unwrap()
    }

    #[test]
    fn the_extensions_own_example_is_read_by_place() {
        let arguments = read(json!([
            true,
            true,
            2,
            false,
            false,
            true,
            1.1,
            1.5,
            100,
            0.7,
            true,
            false,
            true,
            false,
            false,
            7,
            "Gustavosta/MagicPrompt-Stable-Diffusion",
            ""
        ]));
        assert_eq!((arguments.combinatorial, arguments.combinatorial_batches), (true, 2));
        assert_eq!(
            (arguments.attention_grabber, arguments.fixed_seed, arguments.max_generations),
            (true, true, 7)
        );
        assert!(arguments.check().is_ok());
    }

    #[test]
    fn what_is_not_there_is_named_with_what_to_do() {
        for (args, says) in [
            (json!({"magic_prompt": true}), "magic_prompt is not there"),
            (json!({"jinja": true}), "use {a|b}"),
            (json!({"combinatorial_batches": 0}), "it takes 1 to 256"),
            (
                json!({"attention_grabber": true, "min_attention": 1.4, "max_attention": 1.2}),
                "the lesser first",
            ),
        ] {
            let Err(Fault::InvalidInput(text)) = read(args).check() else { panic!("taken") };
            assert!(text.contains(says), "{text} should say {says}");
        }
        // Numbers of what is off are nobody's business.
        assert!(read(json!({"min_attention": 9})).check().is_ok());
    }
}
