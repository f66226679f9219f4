//! Hands tensors of a model to the networks' constructors by name and expected shape, and keeps the tally of what
//! was taken. Over an outline it only checks, which is how a file is judged before a byte of it is read.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

use crate::compute::send_as;
use crate::error::Problem;
use crate::outline::{Form, Outline};
use crate::tensors::{Tensors, bytes_of};

/// What convolutions read behind the edges of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Padding {
    #[default]
    Zeros,
    /// The opposite edge, as if the picture were repeated in all directions.
    Circular,
}

/// A model being taken apart.
pub(crate) struct Weights<'a> {
    source: Source<'a>,
    /// Where tensors go as they are taken; `None` leaves them where they are.
    device: Option<Device>,
    taken: RefCell<BTreeSet<String>>,
    /// Of what was taken, as it was handed out.
    bytes: Cell<u64>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    /// Names, shapes and kinds are checked; the tensors that come back are undefined.
    Outline(&'a Outline),
    Tensors(&'a Tensors),
}

impl<'a> Weights<'a> {
    /// Weights that are only looked at: what is taken has no numbers.
    pub(crate) fn judged(outline: &'a Outline) -> Self {
        Self::over(Source::Outline(outline))
    }

    /// Weights whose tensors share the numbers of `tensors`.
    pub(crate) fn of(tensors: &'a Tensors) -> Self {
        Self::over(Source::Tensors(tensors))
    }

    fn over(source: Source<'a>) -> Self {
        Self { source, device: None, taken: RefCell::default(), bytes: Cell::default() }
    }

    /// The same, for a network that computes on `device`.
    pub(crate) fn on(self, device: Device) -> Self {
        Self { device: Some(device), ..self }
    }

    /// The tensors whose names begin with `prefix`, converted to `kind` as they are taken.
    pub(crate) fn scope(&'a self, prefix: &str, kind: Kind) -> Scope<'a> {
        Scope { weights: self, prefix: prefix.to_owned(), kind, padding: Padding::Zeros }
    }

    /// Bytes of the tensors that were taken: what the network that took them holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// The names that were taken.
    pub(crate) fn into_taken(self) -> BTreeSet<String> {
        self.taken.into_inner()
    }

    fn form(&self, key: &str) -> Option<Form> {
        match self.source {
            Source::Outline(outline) => outline.tensors.get(key).cloned(),
            Source::Tensors(tensors) => {
                let form = |tensor: &Tensor| Form { kind: Some(tensor.kind()), shape: tensor.size() };
                tensors.get(key).map(form)
            }
        }
    }

    fn take(&self, key: String, shape: &[i64], kind: Kind) -> Result<Tensor, Problem> {
        let form = self.form(&key).ok_or_else(|| Problem::Missing(key.clone()))?;
        if form.shape != shape {
            return Err(Problem::Shape { key, found: form.shape, expected: format!("{shape:?}") });
        }
        if !form.is_floating() {
            return Err(Problem::Dtype { key, dtype: form.kind_name() });
        }
        let tensor = match self.source {
            Source::Outline(_) => Tensor::new(),
            Source::Tensors(tensors) => {
                let tensor = tensors.get(&key).ok_or_else(|| Problem::Missing(key.clone()))?;
                // Shares the numbers where place and kind are right already.
                let tensor = send_as(tensor, self.device.unwrap_or(tensor.device()), kind)?;
                self.bytes.set(self.bytes.get() + bytes_of(&tensor));
                tensor
            }
        };
        self.taken.borrow_mut().insert(key);
        Ok(tensor)
    }
}

/// A place in the model's tree of names.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    weights: &'a Weights<'a>,
    prefix: String,
    kind: Kind,
    padding: Padding,
}

impl Scope<'_> {
    /// The same place, for a network that pads in this way.
    pub(crate) fn padded(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    pub(crate) fn padding(&self) -> Padding {
        self.padding
    }

    pub(crate) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), ..self.clone() }
    }

    /// Takes `name` here; `shape` must be what the model has.
    pub(crate) fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor, Problem> {
        self.weights.take(format!("{}{name}", self.prefix), shape, self.kind)
    }

    /// Takes a matrix that some tools store as a 1x1 convolution; comes back as `[rows, columns]`.
    pub(crate) fn matrix(&self, name: &str, rows: i64, columns: i64) -> Result<Tensor, Problem> {
        let key = format!("{}{name}", self.prefix);
        if self.weights.form(&key).is_some_and(|form| form.shape.len() == 4) {
            let tensor = self.weights.take(key, &[rows, columns, 1, 1], self.kind)?;
            // An undefined tensor (a check without numbers) has no view.
            return if tensor.defined() { Ok(tensor.f_reshape([rows, columns])?) } else { Ok(tensor) };
        }
        self.weights.take(key, &[rows, columns], self.kind)
    }
}
