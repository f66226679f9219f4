//! Draws a request with several seeds. All drawings are asked for before the first is waited for, so that they share the
//! device's steps.

use gesso_plugin::serde_json::Value;
use gesso_plugin::{Fault, Params, Script, ScriptCall, ScriptOutput, inference};

struct Plugin;

impl Script for Plugin {
    fn run(call: ScriptCall) -> Result<ScriptOutput, Fault> {
        let count = call.arguments.first().and_then(Value::as_u64).filter(|count| (1..=16).contains(count));
        let count = count.ok_or_else(|| Fault::InvalidInput("\"Seeds\" must be between 1 and 16.".into()))?;
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
    use super::*;

    #[test]
    fn seeds_count_up_from_the_requests() -> Result<(), Fault> {
        let all = seeded(&Params::from_json(r#"{"seed": 7, "prompt": "a"}"#)?, 3);
        let seeds: Vec<_> = all.iter().filter_map(|params| params.get("seed")?.as_u64()).collect();
        assert_eq!(seeds, [7, 8, 9]);
        Ok(())
    }
}
