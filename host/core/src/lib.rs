//! The words and the arithmetic of Gesso: requests, prompts, seeds, noise, schedules, sampler plans, infotext.
//!
//! Everything here is pure. This crate does not know about async, files, clocks, tensors, JSON or HTTP: the
//! numbers it makes are applied by a backend, and each edge (HTTP bodies, stored records, WIT records) converts
//! its own types to and from these.

pub mod control;
pub mod hex;
pub mod hires;
pub mod ids;
pub mod img2img;
pub mod infotext;
pub mod limits;
pub mod noise;
pub mod numbers;
pub mod pixels;
pub mod prompt;
pub mod refiner;
pub mod request;
pub mod sampler;
pub mod schedule;
pub mod step_hook;

#[cfg(test)]
mod fixture;
