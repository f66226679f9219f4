//! What a PyTorch file holds besides a flat list of tensors: a tree of dicts, lists and plain values. Textual
//! inversions and hypernetworks are read from it. Knows neither pickles nor files.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Problem;
use crate::stored::Stored;

/// Names under which tools wrap a state dict, tried in this order. Upscalers have `params_ema` beside `params`.
const WRAPPERS: [&str; 4] = ["state_dict", "params_ema", "params", "model"];
/// Most wrappers one inside another.
const WRAPPERS_MAX: usize = 4;

/// One value of the tree. Tensors are not read yet.
#[derive(Debug, Clone)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    /// A list, tuple or set.
    List(Vec<Value>),
    /// In the file's order; a later entry of the same key stands for an earlier one.
    Dict(Vec<(Value, Value)>),
    Tensor(Stored),
    /// Something harmless that has no meaning here.
    Other,
}

impl Value {
    /// The entry of a dict under a text.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let entry = self.entries().iter().rev().find(|(name, _)| name.as_text() == Some(key));
        entry.map(|(_, value)| value)
    }

    /// The entries of a dict; none for anything else.
    pub fn entries(&self) -> &[(Self, Self)] {
        match self {
            Self::Dict(entries) => entries,
            _ => &[],
        }
    }

    /// The members of a list; none for anything else.
    pub fn members(&self) -> &[Self] {
        match self {
            Self::List(members) => members,
            _ => &[],
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_tensor(&self) -> Option<&Stored> {
        match self {
            Self::Tensor(stored) => Some(stored),
            _ => None,
        }
    }

    /// The texts that stand beside the state dict by name: what a file says of itself.
    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        let text =
            |(key, value): &(Self, Self)| Some((key.as_text()?.to_owned(), value.as_text()?.to_owned()));
        self.entries().iter().filter_map(text).collect()
    }

    /// The tensors of a state dict by name, taken out of the wrappers that tools put around it. What is no tensor
    /// is left out.
    ///
    /// # Errors
    /// [`Problem::Duplicate`] for a name given twice, [`Problem::Malformed`] where there is no dict.
    pub(crate) fn state_dict(&self) -> Result<BTreeMap<String, Stored>, Problem> {
        let mut dict = self;
        for _ in 0..WRAPPERS_MAX {
            let inner = WRAPPERS.iter().filter_map(|name| dict.get(name));
            match inner.into_iter().find(|inner| matches!(inner, Self::Dict(_))) {
                Some(inner) => dict = inner,
                None => break,
            }
        }
        if !matches!(dict, Self::Dict(_)) {
            return Err(Problem::Malformed("it holds no dict of tensors".into()));
        }
        let mut tensors = BTreeMap::new();
        for (name, value) in dict.entries() {
            let (Some(name), Some(tensor)) = (name.as_text(), value.as_tensor()) else { continue };
            if tensors.insert(name.to_owned(), tensor.clone()).is_some() {
                return Err(Problem::Duplicate(name.to_owned()));
            }
        }
        Ok(tensors)
    }
}
