//! What a network's cross-attentions read of a text: keys and values, projected once and kept for all the calls
//! of a picture. Made by the networks' `context`; knows neither prompts nor tokens.

use tch::{TchError, Tensor};

use super::merging::Merging;
use super::reference::{Beside, Reference};
use crate::tensors::bytes_of;

/// Keys and values of one attention, `[batch, tokens, channels]` each.
pub(crate) struct KeysValues {
    pub(crate) keys: Tensor,
    pub(crate) values: Tensor,
}

/// A text as one network reads it. Only the network that made it can use it. One row of 77 tokens takes about
/// 8 MB in f32 for Stable Diffusion 1.x, so it is kept for a picture and not for a prompt.
pub struct Context {
    /// One for each cross-attention, in the order in which a call comes to them.
    pub(crate) layers: Vec<KeysValues>,
}

impl Context {
    /// Tokens of the text; 0 for a network without cross-attention.
    pub(crate) fn tokens(&self) -> i64 {
        self.layers.first().and_then(|layer| layer.keys.size().get(1).copied()).unwrap_or(0)
    }

    /// Bytes of its numbers.
    pub(crate) fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| bytes_of(&layer.keys) + bytes_of(&layer.values)).sum()
    }

    /// The same with its last token repeated up to `tokens`; as it is when it is that long.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(crate) fn lengthened(&self, tokens: i64) -> Result<Self, TchError> {
        let missing = tokens - self.tokens();
        let long = |part: &Tensor| {
            if missing <= 0 {
                return Ok(part.shallow_clone());
            }
            let last = part.f_narrow(1, part.size3()?.1 - 1, 1)?.f_expand([-1, missing, -1], false)?;
            Tensor::f_cat(&[part, &last], 1)
        };
        let layers = self
            .layers
            .iter()
            .map(|layer| Ok(KeysValues { keys: long(&layer.keys)?, values: long(&layer.values)? }));
        Ok(Self { layers: layers.collect::<Result<_, TchError>>()? })
    }

    /// Joins contexts of one network along the batch.
    ///
    /// # Errors
    /// Contexts of different networks or of different numbers of tokens do not fit together.
    pub fn join(contexts: &[&Self]) -> Result<Self, TchError> {
        let count = contexts.first().map_or(0, |first| first.layers.len());
        if contexts.iter().any(|context| context.layers.len() != count) {
            return Err(TchError::Shape("contexts of different networks cannot be joined".into()));
        }
        let join = |index: usize, part: fn(&KeysValues) -> &Tensor| {
            let parts: Vec<_> = contexts.iter().map(|context| part(&context.layers[index])).collect();
            Tensor::f_cat(&parts, 0)
        };
        let layer = |index| {
            Ok(KeysValues {
                keys: join(index, |layer| &layer.keys)?,
                values: join(index, |layer| &layer.values)?,
            })
        };
        Ok(Self { layers: (0..count).map(layer).collect::<Result<_, TchError>>()? })
    }
}

/// Changes what attentions read before it is projected, as hypernetworks do.
pub trait ContextMap {
    /// `context` is `[batch, tokens, width]`: the text for cross-attentions, the picture's own tokens for
    /// self-attentions. Returns what the keys and what the values are made of, in the same shape; a width that
    /// the map does not know comes back as it is.
    ///
    /// # Errors
    /// What libtorch reports.
    fn map(&self, context: &Tensor) -> Result<(Tensor, Tensor), TchError>;
}

/// `context` after `map`, if there is one: what keys and what values are made of.
pub(crate) fn mapped(context: &Tensor, map: Option<&dyn ContextMap>) -> Result<(Tensor, Tensor), TchError> {
    match map {
        Some(map) => map.map(context),
        None => Ok((context.shallow_clone(), context.shallow_clone())),
    }
}

/// Hands a context's layers out in the order of the call, and goes with it through its self-attentions.
pub(crate) struct Reader<'a> {
    layers: std::slice::Iter<'a, KeysValues>,
    pub(crate) map: Option<&'a dyn ContextMap>,
    pub(crate) beside: Beside<'a>,
    /// How tokens of self-attentions go together.
    pub(crate) merging: Option<Merging>,
}

impl<'a> Reader<'a> {
    /// `map` is for the self-attentions; the context has it applied already.
    pub(crate) fn new(context: &'a Context, map: Option<&'a dyn ContextMap>) -> Self {
        Self { layers: context.layers.iter(), map, beside: Beside::Nothing, merging: None }
    }

    /// The same with self-attentions that read another picture too.
    pub(crate) fn beside(self, reference: &'a Reference) -> Self {
        Self { beside: Beside::Read(reference, 0), ..self }
    }

    /// The same with self-attentions of fewer tokens.
    pub(crate) fn merging(self, merging: Option<Merging>) -> Self {
        Self { merging, ..self }
    }

    /// The same with self-attentions that keep what they are given.
    pub(crate) fn recording(self) -> Self {
        Self { beside: Beside::Record(Vec::new()), ..self }
    }

    /// What was kept, in the order of the call.
    pub(crate) fn into_recorded(self) -> Vec<Tensor> {
        match self.beside {
            Beside::Record(states) => states,
            Beside::Nothing | Beside::Read(..) => Vec::new(),
        }
    }

    pub(crate) fn next(&mut self) -> Result<&'a KeysValues, TchError> {
        let missing = || TchError::Shape("the context was made by another network".into());
        self.layers.next().ok_or_else(missing)
    }
}
