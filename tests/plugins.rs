//! Plugins in a running server: the real guests, the real sandbox, real requests beside them.

mod admin;
mod events;
mod examples;
mod first_party;
mod hostile;
mod hostile_requests;
mod kits;
mod real_registry;
mod registry;
mod remote;
mod signed;
mod steps;
mod stores;
