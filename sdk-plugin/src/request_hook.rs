//! Hooks around a generation: the trait an author implements, the macro that makes it a component, and the adapter
//! between the two.

use std::marker::PhantomData;

use crate::{Fault, Image, Params};

/// What [`RequestHook::before`] decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The request goes on, with the parameters as the hook left them.
    Continue,
    /// The request ends here; the client reads this sentence.
    Reject(String),
}

/// Code that sees a generation request before it is drawn, and its pictures before they are stored. Each call gets
/// a fresh instance: nothing is kept between calls.
pub trait RequestHook {
    /// `params` is the request; what is changed in it is checked like a client's request.
    ///
    /// # Errors
    /// A [`Fault`] fails the plugin's call; [`Verdict::Reject`] is the way to refuse a request.
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let _ = params;
        Ok(Verdict::Continue)
    }

    /// `images` are the finished pictures in order; what is returned takes their place.
    ///
    /// # Errors
    /// A [`Fault`] fails the plugin's call.
    fn after(params: &Params, images: Vec<Image>) -> Result<Vec<Image>, Fault> {
        let _ = params;
        Ok(images)
    }
}

/// Makes a [`RequestHook`] the component's export and embeds the manifest, a path from the package's folder. Once per
/// crate, whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest,
/// without one: `request_hook!(Plugin)`.
#[macro_export]
macro_rules! request_hook {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::request_hook!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::RequestHookAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::request_hook::export_request_hook!(
                Component with_types_in $crate::__private::request_hook
            );
            const _: std::marker::PhantomData<Component> = std::marker::PhantomData;
        };
    };
}

#[doc(hidden)]
pub struct Adapter<T>(PhantomData<T>);

/// Between the trait and the contract, for components: a native target has no host that would call one.
#[cfg(target_family = "wasm")]
mod component {
    use super::{Adapter, RequestHook, Verdict};
    use crate::bindings::request_hook::gesso::plugin::{images, types};
    use crate::bindings::request_hook::{Guest, Verdict as HostVerdict};
    use crate::{Image, Params};

    impl<T: RequestHook> Guest for Adapter<T> {
        fn before(params: types::Json) -> Result<HostVerdict, types::Fault> {
            let mut edited = Params::from_json(&params)?;
            let original = edited.clone();
            Ok(match T::before(&mut edited)? {
                Verdict::Reject(reason) => HostVerdict::Rejected(reason),
                Verdict::Continue if edited == original => HostVerdict::Unchanged,
                Verdict::Continue => HostVerdict::Replaced(edited.to_json()),
            })
        }

        fn after(
            params: types::Json,
            outputs: Vec<images::Image>,
        ) -> Result<Vec<images::Image>, types::Fault> {
            let params = Params::from_json(&params)?;
            let outputs = outputs.into_iter().map(Image::from_host).collect();
            Ok(T::after(&params, outputs)?.into_iter().map(Image::into_host).collect())
        }
    }
}
