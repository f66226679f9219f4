//! What can be said of a component without a host: whether one would load it, and what it would need. For authors, on
//! their own machines: it compiles in this very process.

use crate::engine;
use crate::grants::{self, Denied};
use crate::load::{self, Worlds};
use crate::manifest::Manifest;
use crate::settings::Grants;
use crate::{inspect, interfaces, signature};
use wasmtime::component::{Component, Linker};

/// A component that a host would take.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub manifest: Manifest,
    /// Interfaces it asks the host for.
    pub imports: Vec<String>,
    /// What an admin must grant before it runs.
    pub needs: Option<String>,
}

/// Judges bytes as far as a host does before it compiles anything: who signed them, what they import, their manifest.
///
/// # Errors
/// Why a host would refuse them. A fault of the parser is a panic here, where a host makes a refusal of it.
pub fn judge_upload(bytes: &[u8]) -> Result<Manifest, String> {
    signature::check(bytes, &[])?;
    inspect::inspect(bytes).map(|inspection| inspection.manifest).map_err(|error| error.to_string())
}

/// Judges a component as a host would that grants nothing; does not start it.
///
/// # Errors
/// Why a host would refuse it, whatever it granted.
pub fn check_component(bytes: &[u8]) -> Result<Checked, String> {
    let inspection = load::inspect(bytes).map_err(|error| error.to_string())?;
    let needs = match grants::check(&inspection, &Grants::default()) {
        Ok(()) => None,
        Err(denied @ Denied::Missing { grantable: true, .. }) => Some(denied.to_string()),
        Err(denied) => return Err(denied.to_string()),
    };
    let wasm = |error: wasmtime::Error| format!("{error:#}");
    let engine = engine::for_judging().map_err(wasm)?;
    let component =
        Component::new(&engine, bytes).map_err(|error| format!("it does not compile: {error:#}"))?;
    let mut linker = Linker::new(&engine);
    interfaces::link(&mut linker).map_err(wasm)?;
    let instance = linker
        .instantiate_pre(&component)
        .map_err(|error| format!("it does not fit this host: {error:#}"))?;
    Worlds::of(&inspection.manifest, &instance).map_err(|error| error.to_string())?;
    Ok(Checked { manifest: inspection.manifest, imports: inspection.imports, needs })
}
