//! Grid hooks, which lay out the grid of a request's pictures: the trait an author implements, the macro that makes it a
//! component, and the adapter between the two.

use std::marker::PhantomData;

use crate::{Fault, Image, Params};

/// Pictures row by row. Every cell is as wide and as high as the widest and the highest of them; a smaller one is centred.
#[derive(Debug)]
pub struct Grid {
    /// At least one, at most 256 or as many as were given where those are more, and no more than there are cells.
    pub pictures: Vec<Image>,
    pub columns: u32,
    pub rows: u32,
}

/// Code that lays out the grid of a request's pictures, where the server makes one. Each call gets a fresh instance.
pub trait GridHook {
    /// What is returned takes the place of `grid`, which is as the request's options and the hooks before this one have it. The
    /// pictures themselves are returned and saved as they are.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] is a sentence for the client and ends its request; any other fault fails the plugin's call.
    fn on_grid(params: &Params, grid: Grid) -> Result<Grid, Fault>;
}

/// Makes a [`GridHook`] the component's export and embeds the manifest, a path from the package's folder. Once per
/// crate, whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest, without
/// one: `grid_hook!(Plugin)`.
#[macro_export]
macro_rules! grid_hook {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::grid_hook!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::GridHookAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::grid_hook::export_grid_hook!(
                Component with_types_in $crate::__private::grid_hook
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
    use super::{Adapter, Grid, GridHook};
    use crate::bindings::grid_hook as host;
    use crate::bindings::request_hook::gesso::plugin::{images, types};
    use crate::{Image, Params};

    impl<T: GridHook> host::Guest for Adapter<T> {
        fn on_grid(
            params: types::Json,
            pictures: Vec<images::Image>,
            columns: u32,
            rows: u32,
        ) -> Result<host::Grid, types::Fault> {
            let pictures = pictures.into_iter().map(Image::from_host).collect();
            let grid = Grid { pictures, columns, rows };
            let Grid { pictures, columns, rows } = T::on_grid(&Params::from_json(&params)?, grid)?;
            let pictures = pictures.into_iter().map(Image::into_host).collect();
            Ok(host::Grid { pictures, columns, rows })
        }
    }
}
