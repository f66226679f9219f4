//! Picture hooks, which see each picture that is drawn: the trait an author implements, the macro that makes it a
//! component, and the adapter between the two.

use std::marker::PhantomData;

use crate::{Fault, Image, Params};

/// How far a picture has come. A hook is called at those that its manifest names in `stages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureStage {
    /// As the network left it, its faces restored. Where only the masked part is drawn, it is that part, at the size that it was
    /// drawn at; what is returned is brought to the size of its place, and loses its alpha.
    Decoded,
    /// As the client gets it: colours matched to the source, the kept parts laid back.
    Composited,
}

/// Which picture it is, and how it was drawn.
#[derive(Debug, Clone)]
pub struct DrawnPicture {
    /// Its place in the request, from 0, and how many there are.
    pub place: u32,
    pub count: u32,
    pub stage: PictureStage,
    pub prompt: String,
    pub negative_prompt: String,
    pub seed: u64,
    pub subseed: u64,
    /// What will stand in its file, with what hooks before this one added.
    pub infotext: String,
}

/// A picture as the hook leaves it.
#[derive(Debug)]
pub struct FinishedPicture {
    pub picture: Image,
    /// What its infotext says beside: names and values. Names have letters, digits, blanks, `-` and `/`.
    pub fields: Vec<(String, String)>,
}

impl From<Image> for FinishedPicture {
    fn from(picture: Image) -> Self {
        Self { picture, fields: Vec::new() }
    }
}

/// Code that sees each picture that is drawn, and that may look at it ([`crate::models`]) and paint over it
/// ([`crate::inference`]). Each picture gets a fresh instance.
pub trait PictureHook {
    /// What is returned takes the picture's place. `source` is the one that was drawn over, as it was sent.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] is a sentence for the client and ends its request; any other fault fails the plugin's call.
    fn finish(
        params: &Params,
        about: &DrawnPicture,
        picture: Image,
        source: Option<Image>,
    ) -> Result<FinishedPicture, Fault>;
}

/// Makes a [`PictureHook`] the component's export and embeds the manifest, a path from the package's folder. Once per
/// crate, whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest, without
/// one: `picture_hook!(Finisher)`.
#[macro_export]
macro_rules! picture_hook {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::picture_hook!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::PictureHookAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::picture_hook::export_picture_hook!(
                Component with_types_in $crate::__private::picture_hook
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
    use super::{Adapter, DrawnPicture, PictureHook, PictureStage};
    use crate::bindings::picture_hook as host;
    use crate::bindings::request_hook::gesso::plugin::{images, types};
    use crate::{Image, Params};

    impl<T: PictureHook> host::Guest for Adapter<T> {
        fn finish(
            params: types::Json,
            about: host::DrawnPicture,
            picture: images::Image,
            source: Option<images::Image>,
        ) -> Result<host::FinishedPicture, types::Fault> {
            let params = Params::from_json(&params)?;
            let host::DrawnPicture { place, count, stage, prompt, negative_prompt, seed, subseed, infotext } =
                about;
            let stage = match stage {
                host::Stage::Decoded => PictureStage::Decoded,
                host::Stage::Composited => PictureStage::Composited,
            };
            let about =
                DrawnPicture { place, count, stage, prompt, negative_prompt, seed, subseed, infotext };
            let finished =
                T::finish(&params, &about, Image::from_host(picture), source.map(Image::from_host))?;
            Ok(host::FinishedPicture { picture: finished.picture.into_host(), fields: finished.fields })
        }
    }
}
