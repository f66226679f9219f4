//! Maps of pictures, for control networks: the trait an author implements, the macro that makes it a component, and the
//! adapter between the two.

use std::marker::PhantomData;

use serde_json::Value;

use crate::{Fault, Image};

/// What a map is made of.
#[derive(Debug)]
pub struct Annotation {
    /// RGB.
    pub source: Image,
    /// Grey, of the source's size, white where the picture is to be repainted; only for annotators whose manifest asks for
    /// it.
    pub mask: Option<Image>,
    /// Pixels of the short side that the map is made at; only for annotators that have a resolution.
    pub resolution: Option<u32>,
    /// The values of the manifest's sliders, within their ranges.
    pub threshold_a: Option<f64>,
    pub threshold_b: Option<f64>,
}

/// What an annotator made of a picture: an [`Image`] is a map with nothing beside it.
#[derive(Debug)]
pub struct Annotated {
    /// The map, of any size and format; one with alpha hides its transparent places from the network.
    pub picture: Image,
    /// What was found beside, as an object of at most 1 MiB. A host takes of it what it knows: under `pose` the people of the
    /// picture as OpenPose writes them (`people`, `canvas_width`, `canvas_height`, and `animals` where there are any), which
    /// clients that ask for the map alone are told.
    pub data: Option<Value>,
}

impl From<Image> for Annotated {
    fn from(picture: Image) -> Self {
        Self { picture, data: None }
    }
}

/// Code that makes maps of pictures. Each call gets a fresh instance: nothing is kept between calls.
pub trait Annotator {
    /// What `module`, a name of the manifest's `annotators`, makes.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] is a sentence for the client; any other fault fails the plugin's call.
    fn annotate(module: &str, annotation: Annotation) -> Result<Annotated, Fault>;
}

/// Makes an [`Annotator`] the component's export and embeds the manifest, a path from the package's folder. Once per
/// crate, whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest,
/// without one: `annotator!(Plugin)`.
#[macro_export]
macro_rules! annotator {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::annotator!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::AnnotatorAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::annotator::export_annotator!(
                Component with_types_in $crate::__private::annotator
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
    use serde::Deserialize;

    use super::{Adapter, Annotated, Annotation, Annotator};
    use crate::bindings::annotator as host;
    use crate::bindings::request_hook::gesso::plugin::{images, types};
    use crate::{Fault, Image};

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Arguments {
        resolution: Option<u32>,
        threshold_a: Option<f64>,
        threshold_b: Option<f64>,
    }

    impl<T: Annotator> host::Guest for Adapter<T> {
        fn annotate(
            module: String,
            source: images::Image,
            mask: Option<images::Image>,
            arguments: types::Json,
        ) -> Result<host::Annotated, types::Fault> {
            let Arguments { resolution, threshold_a, threshold_b } = serde_json::from_str(&arguments)
                .map_err(|error| Fault::InvalidInput(format!("The arguments are no object: {error}.")))?;
            let (source, mask) = (Image::from_host(source), mask.map(Image::from_host));
            let annotation = Annotation { source, mask, resolution, threshold_a, threshold_b };
            let Annotated { picture, data } = T::annotate(&module, annotation)?;
            Ok(host::Annotated { picture: picture.into_host(), data: data.map(|data| data.to_string()) })
        }
    }
}
