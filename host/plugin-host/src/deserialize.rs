//! The one place where bytes become machine code. Called by `compile` with artifacts whose MAC it has verified.
//! Refuses to read files itself.

use wasmtime::Engine;
use wasmtime::component::Component;

/// An artifact this service wrote, proven by its MAC. Outside of tests only `compile` makes one.
pub(crate) struct TrustedArtifact(Vec<u8>);

impl TrustedArtifact {
    /// The caller vouches that `bytes` were written by this service's compile worker and not changed since.
    pub(crate) fn vouch(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// Loads compiled code.
///
/// # Errors
/// Where the artifact comes from another wasmtime version or configuration.
#[expect(
    unsafe_code,
    reason = "wasmtime's deserialize trusts its input; the module's comment says why that holds"
)]
pub(crate) fn component(engine: &Engine, artifact: &TrustedArtifact) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` asks that the bytes come from `Engine::precompile_component` unmodified. The worker that
    // wrote them runs our own program; the file lay in a folder of mode 0700 and its HMAC under a key of mode 0600
    // was checked over exactly the bytes held here, in memory, so nothing can change between check and use. wasmtime
    // itself compares version, configuration and processor features and refuses others safely.
    unsafe { Component::deserialize(engine, &artifact.0) }
}
