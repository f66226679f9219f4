//! The SDK for Gesso plugins: what an author implements, and what the host offers in return. Used by components
//! built for `wasm32-wasip2`; it knows the contract in `wit/` and nothing of the server.
//!
//! A plugin is one component with its manifest inside. This one ends every prompt with a style:
//!
//! ```no_run
//! use gesso_plugin::{Fault, Params, RequestHook, Verdict};
//!
//! struct Style;
//!
//! impl RequestHook for Style {
//!     fn before(params: &mut Params) -> Result<Verdict, Fault> {
//!         params.set_prompt(format!("{}, oil on canvas", params.prompt()));
//!         Ok(Verdict::Continue)
//!     }
//! }
//! # #[cfg(any())] // The SDK has no manifest of its own to embed.
//! gesso_plugin::request_hook!(Style, manifest = "manifest.json");
//! ```
//!
//! Beside its `Cargo.toml` lies `manifest.json`, which says who the plugin is and what it wants:
//!
//! ```json
//! { "id": "style", "version": "0.1.0", "api": "0.1.0", "worlds": ["request-hook"] }
//! ```
//!
//! Whatever asks the host something ([`assets`], [`blobs`], [`call`], [`folders`], [`inference`], [`kv`], [`models`],
//! [`outgoing`], [`Random::for_request`]) asks a made-up one on a native target: [`fake`] has it, for unit tests of whole hooks
//! with plain `cargo test`. Without one it panics there. [`Image`] and [`Tensor`] lie in the test's own memory.

mod annotator;
#[cfg(test)]
mod argument_cases;
mod argument_list;
pub mod assets;
mod bindings;
pub mod blobs;
pub mod call;
#[cfg(not(target_family = "wasm"))]
pub mod fake;
mod fault;
pub mod folders;
pub mod font;
mod grid_hook;
mod host;
pub mod http;
mod image;
pub mod inference;
mod infotext_hook;
mod input_fetcher;
pub mod kv;
pub mod lax;
mod manifest;
mod model_hook;
pub mod models;
pub mod outgoing;
mod params;
mod picture_hook;
mod random;
mod request_hook;
mod save_hook;
pub mod schema;
mod script;
mod step_hook;
pub mod tensor;

pub use annotator::{Annotated, Annotation, Annotator};
pub use argument_list::Arguments;
pub use fault::Fault;
pub use grid_hook::{Grid, GridHook};
pub use http::HttpExtension;
pub use image::{Image, ImageDesc, PixelFormat};
pub use infotext_hook::{Infotext, InfotextHook};
pub use input_fetcher::InputFetcher;
pub use model_hook::{LoadedModel, ModelHook, ModelKind};
pub use params::{Params, arguments};
pub use picture_hook::{DrawnPicture, FinishedPicture, PictureHook, PictureStage};
pub use random::Random;
pub use request_hook::{RequestHook, Verdict};
pub use save_hook::{SaveHook, SavedPicture};
pub use script::{Script, ScriptCall, ScriptOutput};
pub use step_hook::{Moment, Point, StepHook, StepTensors};
pub use tensor::Tensor;

pub use schemars;
pub use schemars::JsonSchema;
pub use serde;
pub use serde_json;

/// What the register macros expand to; no part of the SDK's promise.
#[doc(hidden)]
pub mod __private {
    pub use crate::annotator::Adapter as AnnotatorAdapter;
    pub use crate::bindings::{
        annotator, grid_hook, http_extension, infotext_hook, input_fetcher, model_hook, picture_hook,
        request_hook, save_hook, script, step_hook,
    };
    pub use crate::grid_hook::Adapter as GridHookAdapter;
    pub use crate::http::Adapter as HttpExtensionAdapter;
    pub use crate::infotext_hook::Adapter as InfotextHookAdapter;
    pub use crate::input_fetcher::Adapter as InputFetcherAdapter;
    pub use crate::manifest::is_json_object;
    pub use crate::model_hook::Adapter as ModelHookAdapter;
    pub use crate::picture_hook::Adapter as PictureHookAdapter;
    pub use crate::request_hook::Adapter as RequestHookAdapter;
    pub use crate::save_hook::Adapter as SaveHookAdapter;
    pub use crate::script::Adapter as ScriptAdapter;
    pub use crate::step_hook::Adapter as StepHookAdapter;
}
