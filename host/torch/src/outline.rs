//! What a source of tensors holds, without the numbers: names, kinds, shapes, metadata. Files are judged by their
//! outline before a tensor is read. Knows neither where the numbers lie nor which network they belong to.

use std::collections::BTreeMap;
use std::ops::Bound;

use tch::Kind;

/// The kind and shape of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form {
    /// `None` for kinds that libtorch does not have.
    pub(crate) kind: Option<Kind>,
    pub(crate) shape: Vec<i64>,
}

impl Form {
    /// Whether a network can compute with it after a conversion.
    pub(crate) fn is_floating(&self) -> bool {
        use Kind::{BFloat16, Double, Float, Float8e4m3fn, Float8e5m2, Half};
        matches!(self.kind, Some(Half | BFloat16 | Float | Double | Float8e4m3fn | Float8e5m2))
    }

    /// The kind's name for messages.
    pub(crate) fn kind_name(&self) -> String {
        self.kind.map_or_else(|| "a kind that libtorch lacks".into(), |kind| format!("{kind:?}"))
    }
}

/// Every tensor of a source by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outline {
    pub(crate) tensors: BTreeMap<String, Form>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Outline {
    /// The shape of a tensor, if the source has it.
    pub(crate) fn shape(&self, key: &str) -> Option<&[i64]> {
        self.tensors.get(key).map(|form| form.shape.as_slice())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// Whether any name begins with `prefix`.
    pub(crate) fn has_under(&self, prefix: &str) -> bool {
        let mut from = self.tensors.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.next().is_some_and(|(key, _)| key.starts_with(prefix))
    }
}
