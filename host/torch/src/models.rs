//! The networks of Stable Diffusion 1.x, built from a [`Layout`](crate::layout::Layout). They map tensors to
//! tensors; nothing here knows files, prompts, samplers or requests.

pub(crate) mod clip;
pub(crate) mod layers;
pub(crate) mod unet;
pub(crate) mod vae;
