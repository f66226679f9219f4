//! Writes a line into its log for each checkpoint that comes into memory.

use gesso_plugin::call::{self, Level};
use gesso_plugin::{Fault, LoadedModel, ModelHook, ModelKind};

struct Plugin;

impl ModelHook for Plugin {
    fn on_loaded(model: &LoadedModel) -> Result<(), Fault> {
        call::log(Level::Info, &line(model));
        Ok(())
    }
}

gesso_plugin::model_hook!(Plugin, manifest = "manifest.json");

fn line(model: &LoadedModel) -> String {
    let kind = match model.kind {
        ModelKind::Drawing => "drawing",
        ModelKind::Inpainting => "inpainting",
        ModelKind::Editing => "editing",
    };
    // As web UIs show it.
    let hash = model.sha256.get(..10).unwrap_or(&model.sha256);
    format!("loaded {} [{hash}], for {kind}", model.name)
}

#[cfg(test)]
mod tests {
    use gesso_plugin::fake;

    use super::*;

    #[test]
    fn a_line_of_the_log_says_which_checkpoint_it_is() -> Result<(), Fault> {
        let model =
            LoadedModel { name: "a".into(), sha256: "0123456789abcd".into(), kind: ModelKind::Editing };
        let host = fake::Host::new();
        host.run(|| Plugin::on_loaded(&model))?;
        assert_eq!(host.log(), [(Level::Info, "loaded a [0123456789], for editing".to_owned())]);
        Ok(())
    }
}
