//! Draws a request with several seeds. All drawings are asked for before the first is waited for, so that they share the
//! device's steps.

use gesso_plugin::serde_json::Value;
use gesso_plugin::{Arguments, Fault, Params, Script, ScriptCall, ScriptOutput, inference};

struct Plugin;

impl Script for Plugin {
    fn run(call: ScriptCall) -> Result<ScriptOutput, Fault> {
        let count = Arguments(&call.arguments).number(0, "Seeds", (1.0, 16.0))? as u64;
        let mut jobs = Vec::new();
        for params in seeded(&call.params, count) {
            jobs.push(inference::generate(&params, &call.init_images, call.mask.as_ref())?);
        }
        let mut output = ScriptOutput::default();
        for job in jobs {
            let drawn = job.finish()?;
            output.pictures.extend(drawn.images.into_iter().zip(drawn.infotexts));
        }
        Ok(output)
    }
}

gesso_plugin::script!(Plugin, manifest = "manifest.json");

/// The request with the seed it has and those behind it.
fn seeded(params: &Params, count: u64) -> Vec<Params> {
    let first = params.get("seed").and_then(Value::as_u64).unwrap_or_default();
    let with = |seed| {
        let mut params = params.clone();
        params.set("seed", seed);
        params
    };
    (first..first + count).map(with).collect()
}

#[cfg(test)]
mod tests {
    use gesso_plugin::fake;
    use gesso_plugin::serde_json::json;

    use super::*;

    fn called(arguments: Vec<Value>) -> Result<ScriptCall, Fault> {
        let params = Params::from_json(r#"{"seed": 7, "prompt": "a", "width": 64, "height": 64}"#)?;
        let title = "Several seeds".to_owned();
        Ok(ScriptCall { title, params, arguments, init_images: Vec::new(), mask: None })
    }

    #[test]
    fn seeds_count_up_from_the_requests() -> Result<(), Fault> {
        let host = fake::Host::new();
        let call = called(vec![json!(3)])?;
        let output = host.run(|| Plugin::run(call))?;
        let drawings = host.drawings();
        let seeds: Vec<_> = drawings.iter().filter_map(|drawing| drawing.params.get("seed")).collect();
        assert_eq!(seeds, [7, 8, 9]);
        let infotexts: Vec<_> = output.pictures.iter().map(|(_, infotext)| infotext.as_str()).collect();
        assert_eq!(infotexts, ["a\nSeed: 7", "a\nSeed: 8", "a\nSeed: 9"]);
        Ok(())
    }

    #[test]
    fn a_number_may_be_text_and_one_out_of_range_draws_nothing() -> Result<(), Fault> {
        let host = fake::Host::new();
        let call = called(vec![json!("2")])?;
        assert_eq!(host.run(|| Plugin::run(call))?.pictures.len(), 2);
        let call = called(vec![json!(17)])?;
        let refused = host.run(|| Plugin::run(call));
        let Err(Fault::InvalidInput(text)) = &refused else { panic!("{refused:?}") };
        assert_eq!(text, "\"Seeds\" is 17; it must be a number between 1 and 16.");
        assert_eq!(host.drawings().len(), 2);
        Ok(())
    }
}
