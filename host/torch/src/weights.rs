//! Hands tensors of a checkpoint to the networks' constructors by name and expected shape, and keeps the tally
//! of what was taken. Without data it only checks, which is how a file is judged before a byte is copied.

use std::cell::RefCell;
use std::collections::BTreeSet;

use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::error::Problem;
use crate::header::{Entry, Header};

/// A checkpoint being taken apart.
pub(crate) struct Weights<'a> {
    header: &'a Header,
    /// The whole file, or `None` to check names, shapes and kinds only.
    file: Option<&'a [u8]>,
    taken: RefCell<BTreeSet<String>>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(header: &'a Header, file: Option<&'a [u8]>) -> Self {
        Self { header, file, taken: RefCell::default() }
    }

    /// The tensors whose names begin with `prefix`, converted to `kind` as they are taken.
    pub(crate) fn scope(&'a self, prefix: &str, kind: Kind) -> Scope<'a> {
        Scope { weights: self, prefix: prefix.to_owned(), kind }
    }

    /// The names under `prefixes` that no network asked for.
    pub(crate) fn left_over(&self, prefixes: &[&str]) -> impl Iterator<Item = &'a str> {
        let taken = self.taken.borrow();
        let ours = |key: &&String| prefixes.iter().any(|prefix| key.starts_with(prefix));
        let keys = self.header.tensors.keys();
        keys.filter(ours)
            .filter(|key| !taken.contains(*key))
            .map(String::as_str)
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn take(&self, key: String, shape: &[i64], kind: Kind) -> Result<Tensor, Problem> {
        let entry = self.header.tensors.get(&key).ok_or_else(|| Problem::Missing(key.clone()))?;
        if entry.shape != shape {
            return Err(Problem::Shape { key, found: entry.shape.clone(), expected: format!("{shape:?}") });
        }
        let stored = stored_kind(entry)
            .ok_or_else(|| Problem::Dtype { key: key.clone(), dtype: format!("{:?}", entry.dtype) })?;
        let tensor = match self.file {
            None => Tensor::new(),
            Some(file) => {
                let bytes = file.get(entry.bytes.clone()).unwrap_or_default();
                // libtorch copies as many bytes as the shape says, whatever the slice holds.
                let needed = shape.iter().product::<i64>() as usize * stored.elt_size_in_bytes();
                if bytes.len() != needed {
                    return Err(Problem::Malformed(format!("{key} does not fill its shape")));
                }
                Tensor::f_from_data_size(bytes, shape, stored)?.f_to_kind(kind)?
            }
        };
        self.taken.borrow_mut().insert(key);
        Ok(tensor)
    }
}

fn stored_kind(entry: &Entry) -> Option<Kind> {
    match entry.dtype {
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        Dtype::F32 => Some(Kind::Float),
        Dtype::F64 => Some(Kind::Double),
        _ => None,
    }
}

/// A place in the checkpoint's tree of names.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    weights: &'a Weights<'a>,
    prefix: String,
    kind: Kind,
}

impl Scope<'_> {
    pub(crate) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), ..self.clone() }
    }

    /// Takes `name` here; `shape` must be what the file has.
    pub(crate) fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor, Problem> {
        self.weights.take(format!("{}{name}", self.prefix), shape, self.kind)
    }

    /// Takes a matrix that some tools store as a 1x1 convolution; comes back as `[rows, columns]`.
    pub(crate) fn matrix(&self, name: &str, rows: i64, columns: i64) -> Result<Tensor, Problem> {
        let key = format!("{}{name}", self.prefix);
        if self.weights.header.shape(&key).is_some_and(|shape| shape.len() == 4) {
            let tensor = self.weights.take(key, &[rows, columns, 1, 1], self.kind)?;
            // An undefined tensor (a check without data) has no view.
            return if tensor.defined() { Ok(tensor.f_reshape([rows, columns])?) } else { Ok(tensor) };
        }
        self.weights.take(key, &[rows, columns], self.kind)
    }
}
