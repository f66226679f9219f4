//! Any text is translated between diffusers' names and ours. What has another spelling must lead back.

#![no_main]

use gesso_torch::diffusers_names::{
    SD_UP_ATTENTION, unet_from_diffusers, unet_to_diffusers, vae_from_diffusers, vae_to_diffusers,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|name: &str| {
    if let Some(ours) = unet_from_diffusers(name, SD_UP_ATTENTION) {
        assert_eq!(unet_to_diffusers(&ours).as_deref(), Some(name));
    }
    if let Some(theirs) = vae_to_diffusers(name) {
        assert_eq!(vae_from_diffusers(&theirs).as_deref(), Some(name));
    }
    let _ = (unet_to_diffusers(name), vae_from_diffusers(name));
});
