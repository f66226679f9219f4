//! The networks of Stable Diffusion 1.x and its control networks, built from a [`Layout`](crate::layout::Layout) or
//! from their own keys. They map tensors to tensors; nothing here knows files, prompts, samplers or requests.

pub(crate) mod clip;
pub(crate) mod control;
pub(crate) mod controlnet;
pub(crate) mod layers;
pub(crate) mod t2i_adapter;
pub(crate) mod unet;
pub(crate) mod vae;
