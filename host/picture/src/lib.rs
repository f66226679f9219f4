//! Pixels in, pixels out: what web UIs do to pictures around the networks, equal to Pillow, OpenCV and scikit-image.
//!
//! The server calls it at the edges of a request: an upload becomes [`Pixels`](gesso_core::pixels::Pixels), a mask
//! and an init image become what the engine draws with, a result is composited, corrected and put on a grid. Every
//! function is pure and blocking: run it on a thread where blocking is allowed. It refuses to know tensors, files,
//! HTTP, requests and infotext; colour profiles are ignored, as Pillow ignores them.

pub mod blur;
pub mod colour_correction;
pub mod composite;
pub mod control_fit;
pub mod convert;
pub mod decode;
pub mod error;
pub mod fill;
pub mod fit;
pub mod inpaint;
pub mod lab;
pub mod mask;
pub mod mix;
pub mod opencv_resize;
pub mod pose;
pub mod recombine;
pub mod resize;
pub mod text;

mod jpeg_end;

mod thin;
