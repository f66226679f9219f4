//! Model hooks, which hear of checkpoints that come into memory: the trait an author implements, the macro that makes it a
//! component, and the adapter between the two.

use std::marker::PhantomData;

use crate::Fault;
use crate::bindings::model_hook as host;
use crate::bindings::request_hook::gesso::plugin::types;

/// What a checkpoint is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    Drawing,
    /// Its network reads a mask and the masked picture.
    Inpainting,
    /// Its network reads the picture that an instruction is about.
    Editing,
}

/// A checkpoint that came into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedModel {
    /// The file's name without folder and extension.
    pub name: String,
    /// Of the whole file, in hex digits.
    pub sha256: String,
    pub kind: ModelKind,
}

/// Code that hears of each checkpoint that comes into memory. Nothing waits for it. Each call gets a fresh instance.
pub trait ModelHook {
    /// # Errors
    /// Any fault is counted as a failure of the plugin's, and costs nothing else.
    fn on_loaded(model: &LoadedModel) -> Result<(), Fault>;
}

/// Makes a [`ModelHook`] the component's export and embeds the manifest, a path from the package's folder. Once per
/// crate, whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest, without
/// one: `model_hook!(Plugin)`.
#[macro_export]
macro_rules! model_hook {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::model_hook!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::ModelHookAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::model_hook::export_model_hook!(
                Component with_types_in $crate::__private::model_hook
            );
            const _: std::marker::PhantomData<Component> = std::marker::PhantomData;
        };
    };
}

#[doc(hidden)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: ModelHook> host::Guest for Adapter<T> {
    fn on_loaded(model: host::LoadedModel) -> Result<(), types::Fault> {
        let kind = match model.kind {
            host::ModelKind::Drawing => ModelKind::Drawing,
            host::ModelKind::Inpainting => ModelKind::Inpainting,
            host::ModelKind::Editing => ModelKind::Editing,
        };
        Ok(T::on_loaded(&LoadedModel { name: model.name, sha256: model.sha256, kind })?)
    }
}
