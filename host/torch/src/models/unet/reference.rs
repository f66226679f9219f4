//! Hidden states of another picture, which a UNet's self-attentions read beside those of their own: recorded in one call
//! and read in the next. Knows no weight and no noise level.

use tch::{TchError, Tensor};

use crate::models::layers::Forward;

/// What the self-attentions of one call read besides.
pub struct Reference {
    /// For each self-attention, in the order of a call: `[batch, tokens, channels]` with the call's batch, or nothing.
    states: Vec<Option<Tensor>>,
    /// Rows that keep to their own picture, as an index on the network's device, and in which share, 0..=1.
    own: Option<(Tensor, f64)>,
}

impl Reference {
    /// From recorded states, each with whether its self-attention reads it; several records are read side by side. `own`
    /// are rows that keep to their own picture, int64 on the network's device, and in which share they do.
    ///
    /// # Errors
    /// Records of different networks do not go together.
    pub fn new(records: Vec<(Vec<Tensor>, Vec<bool>)>, own: Option<(Tensor, f64)>) -> Result<Self, TchError> {
        let count = records.first().map_or(0, |(states, _)| states.len());
        let mut layers: Vec<Vec<Tensor>> = (0..count).map(|_| Vec::new()).collect();
        for (states, reading) in records {
            if states.len() != count || reading.len() != count {
                return Err(TchError::Shape(
                    "references of different networks cannot be read together".into(),
                ));
            }
            for ((layer, states), is_read) in layers.iter_mut().zip(states).zip(reading) {
                if is_read {
                    layer.push(states);
                }
            }
        }
        let joined = |layer: Vec<Tensor>| match layer.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.shallow_clone())),
            states => Tensor::f_cat(states, 1).map(Some),
        };
        let states = layers.into_iter().map(joined).collect::<Result<_, TchError>>()?;
        Ok(Self { states, own })
    }

    /// What self-attention `place` of a call reads besides.
    pub(crate) fn states(&self, place: usize) -> Result<Option<&Tensor>, TchError> {
        let missing = || TchError::Shape("the reference was recorded by another network".into());
        self.states.get(place).map(Option::as_ref).ok_or_else(missing)
    }

    /// `read`, of which the rows that keep to their own picture are mixed with what `alone` makes of these rows of `tokens`.
    pub(crate) fn mixed(&self, read: Tensor, tokens: &Tensor, alone: impl Fn(&Tensor) -> Forward) -> Forward {
        let Some((rows, share)) = self.own.as_ref().filter(|(_, share)| *share > 0.0) else {
            return Ok(read);
        };
        let without = alone(&tokens.f_index_select(0, rows)?)?;
        let with = read.f_index_select(0, rows)?;
        let mixed = without.f_mul_scalar(*share)?.f_add(&with.f_mul_scalar(1.0 - share)?)?;
        read.f_index_copy(0, rows, &mixed)
    }
}

/// What the self-attentions of a call do besides.
pub(crate) enum Beside<'a> {
    Nothing,
    /// Keep what they are given.
    Record(Vec<Tensor>),
    /// Read; counts those that a call has come to.
    Read(&'a Reference, usize),
}

impl<'a> Beside<'a> {
    /// Told of the tokens of the next self-attention; the states that it reads besides.
    pub(crate) fn next(&mut self, tokens: &Tensor) -> Result<Option<(&'a Reference, &'a Tensor)>, TchError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Record(states) => {
                states.push(tokens.shallow_clone());
                Ok(None)
            }
            Self::Read(reference, place) => {
                let reference: &'a Reference = reference;
                *place += 1;
                Ok(reference.states(*place - 1)?.map(|states| (reference, states)))
            }
        }
    }
}
