//! Save hooks, which hear of pictures that were saved for people: the trait an author implements, the macro that makes it a
//! component, and the adapter between the two.

use std::marker::PhantomData;

use crate::bindings::request_hook::gesso::plugin::types;
use crate::bindings::save_hook as host;
use crate::{Fault, Params};

/// A picture that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPicture {
    /// The file, below the server's folder of outputs, with `/` between folders; the first is named by who asked.
    pub path: String,
    /// `png`, `jpg` or another ending.
    pub format: String,
    /// The file's length.
    pub bytes: u64,
    /// What stands in it; empty where nothing does, as in a ControlNet's map.
    pub infotext: String,
    /// Whether it is the grid of the others.
    pub is_grid: bool,
}

/// Code that hears of each picture that a request has saved (`save_images`). Each call gets a fresh instance.
pub trait SaveHook {
    /// The file is written already, and stays.
    ///
    /// # Errors
    /// Any fault fails the plugin's call.
    fn on_saved(params: &Params, picture: &SavedPicture) -> Result<(), Fault>;
}

/// Makes a [`SaveHook`] the component's export and embeds the manifest, a path from the package's folder. Once per
/// crate, whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest, without
/// one: `save_hook!(Plugin)`.
#[macro_export]
macro_rules! save_hook {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::save_hook!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::SaveHookAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::save_hook::export_save_hook!(
                Component with_types_in $crate::__private::save_hook
            );
            const _: std::marker::PhantomData<Component> = std::marker::PhantomData;
        };
    };
}

#[doc(hidden)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: SaveHook> host::Guest for Adapter<T> {
    fn on_saved(params: types::Json, picture: host::SavedPicture) -> Result<(), types::Fault> {
        let host::SavedPicture { path, format, bytes, infotext, is_grid } = picture;
        let picture = SavedPicture { path, format, bytes, infotext, is_grid };
        Ok(T::on_saved(&Params::from_json(&params)?, &picture)?)
    }
}
