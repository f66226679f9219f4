//! Named tensors in memory: what every model file becomes, and what networks are built from. Copies share their
//! numbers, so a patched set of tensors costs only what was replaced. Knows no file and no network.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::outline::{Form, Outline};

/// Tensors by name, and what their file says about itself.
#[derive(Debug, Default)]
pub struct Tensors {
    pub named: BTreeMap<String, Tensor>,
    pub metadata: BTreeMap<String, String>,
}

impl Tensors {
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.named.get(name)
    }

    /// A second set over the same numbers; writing into one in place would change both, so nobody does.
    #[must_use]
    pub fn share(&self) -> Self {
        let named = self.named.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        Self { named, metadata: self.metadata.clone() }
    }

    /// This set with the tensors of `overlay` in place of those of the same name; the metadata stays.
    #[must_use]
    pub fn overlaid(&self, overlay: &Self) -> Self {
        let mut whole = self.share();
        whole.named.extend(overlay.share().named);
        whole
    }

    /// Address and bytes of each tensor.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (usize, u64)> {
        self.named.values().map(|tensor| (tensor.data_ptr() as usize, bytes_of(tensor)))
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.named.values().map(bytes_of).sum()
    }

    pub(crate) fn outline(&self) -> Outline {
        let form = |tensor: &Tensor| Form { kind: Some(tensor.kind()), shape: tensor.size() };
        let tensors = self.named.iter().map(|(name, tensor)| (name.clone(), form(tensor))).collect();
        Outline { tensors, metadata: self.metadata.clone() }
    }
}

/// Bytes of a tensor's numbers.
pub(crate) fn bytes_of(tensor: &Tensor) -> u64 {
    (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64
}
