//! Pictures that a pass draws after, without a control network: encoded once, noised for each call of a picture, and what
//! the UNet's self-attentions make of them in a call of their own. Which attentions read them is `gesso_core::control`'s to
//! say.

use std::rc::Rc;

use gesso_core::control::{ControlUnit, noised};
use gesso_core::pixels::Pixels;
use tch::{TchError, Tensor};

use crate::compute::send;
use crate::convert;
use crate::encoder::Encoder;
use crate::latent::Latents;
use crate::models::unet::context::{Context, ContextMap};
use crate::models::unet::reference::Reference;
use crate::networks::Networks;
use crate::source;

/// A picture that is drawn after in a pass.
pub(crate) struct Referred {
    pub(crate) unit: ControlUnit,
    /// `[1, 4, rows, columns]`.
    latent: Tensor,
    /// Further channels of the UNet's input.
    channels: Option<Tensor>,
}

/// One as a row of a call reads it.
#[derive(Clone)]
pub(crate) struct Shown<'a> {
    pub(crate) referred: &'a Referred,
    /// `[1, channels, rows, columns]` in f32, as the UNet reads it.
    x: Rc<Tensor>,
}

/// What a picture's references are noised with, of its first noise. The picture's own would make both alike wherever noise
/// prevails; turned round it is as good as another draw, and takes none.
pub(crate) fn noise_of(first: &Tensor) -> Result<Tensor, TchError> {
    first.f_flip([2, 3])
}

impl Referred {
    /// Encodes a picture of the pass's size.
    pub(crate) fn new(
        encoder: &mut Encoder<'_>,
        unit: &ControlUnit,
        picture: &Pixels,
    ) -> Result<Self, TchError> {
        let picture = send(&convert::to_tensor(picture)?, encoder.networks().device())?;
        let latent = encoder.latent(&picture)?;
        let channels = source::channels_of_whole(encoder.networks(), &latent)?;
        Ok(Self { unit: unit.clone(), latent, channels })
    }

    /// The picture at a noise level.
    pub(crate) fn shown(&self, noise: &Tensor, sigma: f64) -> Result<Shown<'_>, TchError> {
        let noised = Latents::new(Some(&self.latent), noise, noised(sigma))?.x;
        let x = match &self.channels {
            Some(channels) => Tensor::f_cat(&[&noised, channels], 1)?,
            None => noised,
        };
        Ok(Shown { referred: self, x: Rc::new(x) })
    }
}

/// What all rows of a call have in common.
#[derive(Clone, Copy)]
pub(crate) struct Recorder<'a> {
    pub(crate) networks: &'a Networks,
    /// `[rows]` in f32.
    pub(crate) timesteps: &'a Tensor,
    pub(crate) context: &'a Context,
    pub(crate) map: Option<&'a dyn ContextMap>,
}

impl Recorder<'_> {
    /// What the self-attentions of a call read besides. `rows` has the references of each row, all of the same pictures;
    /// `negative` are the places of rows under negative prompts.
    pub(crate) fn record(
        &self,
        rows: &[&[Shown<'_>]],
        negative: &[i64],
    ) -> Result<Option<Reference>, TchError> {
        let Some(first) = rows.first().filter(|first| !first.is_empty()) else { return Ok(None) };
        let mut records = Vec::with_capacity(first.len());
        for (place, shown) in first.iter().enumerate() {
            let x: Vec<&Tensor> = rows.iter().map(|row| &*row[place].x).collect();
            let x = Tensor::f_cat(&x, 0)?.f_to_kind(self.networks.unet_kind())?;
            let states = self.networks.hidden_states(&x, self.timesteps, self.context, self.map)?;
            let channels: Vec<i64> = states.iter().filter_map(|state| state.size().last().copied()).collect();
            records.push((states, shown.referred.unit.reading(&channels)));
        }
        let fidelity = first.iter().map(|shown| shown.referred.unit.style_fidelity()).sum::<f64>();
        let own = match negative {
            [] => None,
            rows => {
                let rows = send(&Tensor::f_from_slice(rows)?, self.timesteps.device())?;
                Some((rows, fidelity / first.len() as f64))
            }
        };
        Reference::new(records, own).map(Some)
    }
}
