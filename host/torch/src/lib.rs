//! Stable Diffusion 1.x on libtorch: checkpoints, networks, and the engine's `Backend`.
//!
//! The only crate that names `tch`. It applies the numbers `gesso-core` makes and never decides them: no
//! schedule, no sampler and no random number is computed here.
//!
//! - [`TorchBackend`]: what the engine drives
//! - [`Networks`]: one checkpoint's text encoder, UNet and VAE, for parity checks
//! - [`Upscaler`], [`Restorer`]: networks that enlarge pictures and mend faces
//! - [`FaceDetector`], [`FaceParser`], [`restore_faces`]: what brings a restorer the faces of a picture
//! - [`lora`], [`embedding`], [`hypernetwork`]: files that change what a checkpoint draws
//! - [`StepTensors`]: what hooks within a sampler's step act on
//! - [`machine_memory`]: how much there is
//! - [`Tensors`], [`Value`]: what a model's file holds, or that of a part of one
//! - [`inspect`], [`inspect_pickle`], [`inspect_model`]: judge files without loading them
//! - [`version_of`]: tells whether a file is still the one that was found

mod allocator;
mod backend;
mod checkpoint;
mod compute;
mod conditioning;
mod control;
mod convert;
mod cuda;
mod device;
mod diffusers_folder;
pub mod diffusers_names;
pub mod embedding;
mod encoder;
mod enlarge;
mod error;
mod facts;
mod failure;
mod file_version;
mod guidance;
mod header;
mod host_model;
pub mod hypernetwork;
mod joins;
mod latent;
mod layout;
pub mod lora;
mod lru;
pub mod machine_memory;
mod memory;
mod model_cache;
mod models;
mod networks;
mod open_pass;
mod outline;
mod padding;
mod pass;
mod pickle;
mod pickle_globals;
mod questions;
mod reference;
mod resident;
mod restore;
mod share;
mod shown;
mod source;
mod step_hooks;
mod step_tensors;
mod stored;
mod tensor_file;
mod tensor_memory;
mod tensors;
mod tokenizer;
mod torch_file;
mod torchscript;
mod underlay;
mod upscale;
mod vae_file;
mod vae_tiles;
mod value;
mod weights;
mod working_memory;

pub use backend::{Pass, Sample, TorchBackend, TorchSettings};
pub use checkpoint::{inspect, inspect_model};
pub use compute::Compute;
pub use conditioning::CHUNKS_MAX;
pub use control::{ControlCall, ControlModel, Hint};
pub use device::{DeviceChoice, DtypeChoice};
pub use error::{LoadError, Problem};
pub use facts::{Family, ModelFacts, Prediction};
pub use file_version::{version_of, weight_files};
pub use layout::Layout;
pub use models::control::{Control, Strength};
pub use models::unet::Extras;
pub use models::unet::context::{Context, ContextMap};
pub use models::unet::reference::Reference;
pub use networks::Networks;
pub use restore::{Face, FaceDetector, FaceParser, FaceRole, Restorer, restore_faces};
pub use step_tensors::StepTensors;
pub use stored::Stored;
pub use tensors::Tensors;
pub use tokenizer::{CLIP, Tokenizer};
pub use torch_file::inspect_pickle;
pub use torchscript::about_network;
pub use upscale::{ChannelOrder, PictureError, Tiling, Upscaler, upscale_by};
pub use vae_tiles::{VAE_TILING, decode_tiled, encode_tiled};
pub use value::Value;
