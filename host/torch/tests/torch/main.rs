//! The torch crate from outside: parity with diffusers, the demo checkpoint's pictures, batching, bad files.
//! One binary, because each costs a link against libtorch.

// Always so; it tells the linter that helpers may unwrap and print as tests do.
#![cfg(test)]

mod bad_files;
mod batching;
mod by_hand;
mod control;
mod demo_pictures;
mod drawn_weights;
mod embeddings;
mod faces;
mod given;
mod half;
mod hypernetworks;
mod layouts;
mod lora;
mod names;
mod networks;
mod overlays;
mod parity;
mod passes;
mod pickles;
mod reference;
mod refiner;
mod restorers;
mod samplers;
mod seamless;
mod shares;
mod spellings;
mod step_hooks;
mod support;
mod token_merging;
mod underlay;
mod upscalers;
mod vae_tiles;
