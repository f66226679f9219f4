//! Scripts, which draw in place of the pipeline: the trait an author implements, the macro that makes it a component, and
//! the adapter between the two.

use std::marker::PhantomData;

use serde_json::Value;

use crate::{Fault, Image, Params};

/// What a script is run with.
#[derive(Debug)]
pub struct ScriptCall {
    /// One of the manifest's `scripts`.
    pub title: String,
    /// The request, its seeds settled, without its pictures.
    pub params: Params,
    /// A value for each argument of the manifest.
    pub arguments: Vec<Value>,
    /// The pictures that are drawn over; none for text to image.
    pub init_images: Vec<Image>,
    /// White where they are repainted.
    pub mask: Option<Image>,
}

/// What a script made.
#[derive(Debug, Default)]
pub struct ScriptOutput {
    /// Each with its infotext, which is empty where it has none.
    pub pictures: Vec<(Image, String)>,
    /// How many grids and the like stand before the first picture that was drawn.
    pub index_of_first_image: u32,
}

/// Code that draws in place of the pipeline. Each run gets a fresh instance: nothing is kept between runs.
pub trait Script {
    /// Draws through [`crate::inference`].
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] is a sentence for the client; any other fault fails the plugin's call.
    fn run(call: ScriptCall) -> Result<ScriptOutput, Fault>;
}

/// Makes a [`Script`] the component's export and embeds the manifest, a path from the package's folder. Once per crate,
/// whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest, without one:
/// `script!(Plugin)`.
#[macro_export]
macro_rules! script {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::script!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::ScriptAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::script::export_script!(
                Component with_types_in $crate::__private::script
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
    use super::{Adapter, Script, ScriptCall};
    use crate::bindings::request_hook::gesso::plugin::{images, types};
    use crate::bindings::script::{Guest, Output};
    use crate::{Fault, Image, Params};

    impl<T: Script> Guest for Adapter<T> {
        fn run(
            title: String,
            params: types::Json,
            arguments: types::Json,
            init_images: Vec<images::Image>,
            mask: Option<images::Image>,
        ) -> Result<Output, types::Fault> {
            let params = Params::from_json(&params)?;
            let arguments = serde_json::from_str(&arguments)
                .map_err(|error| Fault::InvalidInput(format!("The arguments are no list: {error}.")))?;
            let init_images = init_images.into_iter().map(Image::from_host).collect();
            let mask = mask.map(Image::from_host);
            let made = T::run(ScriptCall { title, params, arguments, init_images, mask })?;
            let (images, infotexts) =
                made.pictures.into_iter().map(|(image, infotext)| (image.into_host(), infotext)).unzip();
            Ok(Output { images, infotexts, index_of_first_image: made.index_of_first_image })
        }
    }
}
