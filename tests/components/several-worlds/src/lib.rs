//! Well-behaved: one plugin for several worlds, each with a macro of its own, of which the first embeds the manifest.

use gesso_plugin::serde_json::Value;
use gesso_plugin::{
    Annotated, Annotation, Annotator, Fault, InputFetcher, Moment, Params, RequestHook, Script, ScriptCall,
    ScriptOutput, StepHook, StepTensors, Verdict,
};

struct Several;

impl RequestHook for Several {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        params.set_prompt(format!("{}, of several worlds", params.prompt()));
        Ok(Verdict::Continue)
    }
}

impl Annotator for Several {
    fn annotate(_: &str, annotation: Annotation) -> Result<Annotated, Fault> {
        Ok(annotation.source.into())
    }
}

impl Script for Several {
    fn run(_: ScriptCall) -> Result<ScriptOutput, Fault> {
        Ok(ScriptOutput::default())
    }
}

impl InputFetcher for Several {
    fn fetch(reference: &str) -> Result<Vec<u8>, Fault> {
        Ok(reference.into())
    }
}

impl StepHook for Several {
    fn on_step(_: &[Value], _: &Moment, _: StepTensors) -> Result<(), Fault> {
        Ok(())
    }
}

gesso_plugin::request_hook!(Several, manifest = "manifest.json");
gesso_plugin::annotator!(Several);
gesso_plugin::script!(Several);
gesso_plugin::input_fetcher!(Several);
gesso_plugin::step_hook!(Several);
