//! Well-behaved: writes its environment behind the prompt, which is what it was given and nothing of the host's own.

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct TellsEnvironment;

impl RequestHook for TellsEnvironment {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let mut all: Vec<_> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
        all.sort();
        params.set_prompt(format!("{}; {}", params.prompt(), all.join(" ")));
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(TellsEnvironment, manifest = "manifest.json");
