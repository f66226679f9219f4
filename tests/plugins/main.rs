//! Plugins in a running server: the real guests, the real sandbox, real requests beside them.

#[path = "../support.rs"]
mod support;

mod admin;
mod first_party;
mod hostile;
