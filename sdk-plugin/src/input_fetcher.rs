//! Pictures that a request names instead of carrying: the trait an author implements, the macro that makes it a component,
//! and the adapter between the two.

use std::marker::PhantomData;

use crate::Fault;
use crate::bindings::input_fetcher::Guest;
use crate::bindings::request_hook::gesso::plugin::types;

/// Code that brings the files which requests name. Each call gets a fresh instance: nothing is kept between calls.
pub trait InputFetcher {
    /// The file that `reference` names, encoded as it came. Its scheme is one of the manifest's `fetches`.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] is a sentence for the client; any other fault fails the plugin's call.
    fn fetch(reference: &str) -> Result<Vec<u8>, Fault>;
}

/// Makes an [`InputFetcher`] the component's export and embeds the manifest, a path from the package's folder. Once per
/// crate, whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest,
/// without one: `input_fetcher!(Plugin)`.
#[macro_export]
macro_rules! input_fetcher {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::input_fetcher!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::InputFetcherAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::input_fetcher::export_input_fetcher!(
                Component with_types_in $crate::__private::input_fetcher
            );
            const _: std::marker::PhantomData<Component> = std::marker::PhantomData;
        };
    };
}

#[doc(hidden)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: InputFetcher> Guest for Adapter<T> {
    fn fetch(reference: String) -> Result<Vec<u8>, types::Fault> {
        Ok(T::fetch(&reference)?)
    }
}
