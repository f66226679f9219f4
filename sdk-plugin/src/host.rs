//! Whom the wrappers ask: a host, through the bindings of the contract, or on a native target the one that a test made up
//! (`fake`). The functions are the same, so that no wrapper knows which it is.

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::{
    picture_hook::gesso::plugin0_2_0::{assets, blobs, inference, kv, models},
    request_hook::gesso::plugin::{call, folders, images},
    step_hook::gesso::plugin0_2_0::tensors,
};
#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::fake::{
    assets, blobs, call, folders, images, inference, kv, models, outgoing, tensors,
};
#[cfg(target_family = "wasm")]
pub(crate) use crate::outgoing::wasi as outgoing;
