//! A control file becomes a network that steers a UNet. Tells the network from the file's names, brings every spelling
//! to one, and joins what a unit's strength does to it. The numbers of that strength come from `gesso_core::control`.

mod family;
mod layout;
mod names;

use std::collections::BTreeMap;
use std::path::Path;

use gesso_core::control::ControlKind;
use tch::{Device, Kind, TchError, Tensor};

use self::family::Family;
use self::names::DIFFERENCE;
use crate::compute::{Compute, send_as};
use crate::error::{LoadError, Problem};
use crate::layout::UNET;
use crate::models::control::{Control, Strength};
use crate::models::controlnet::{ControlNet, ControlNetLayout};
use crate::models::t2i_adapter::{AdapterLayout, T2iAdapter};
use crate::models::unet::context::{Context, ContextMap};
use crate::outline::Outline;
use crate::tensor_file;
use crate::tensors::Tensors;
use crate::weights::Weights;

/// In the name of files whose network acts through global averages.
const POOLS: &str = "shuffle";
/// The convolution that reads what is drawn.
const FIRST: &str = "input_blocks.0.0.weight";

/// A network that steers a UNet along a picture.
pub struct ControlModel {
    network: Network,
    device: Device,
    number_kind: Kind,
    pools: bool,
    is_tied: bool,
    bytes: u64,
}

enum Network {
    ControlNet(Box<ControlNet>),
    Adapter(T2iAdapter),
}

/// What a network made of a picture; it holds for every step.
pub struct Hint(Seen);

enum Seen {
    ByControlNet(Tensor),
    ByAdapter(Control),
}

/// One call's inputs, rows of a batch: what the UNet reads, for the rows that are steered.
#[derive(Clone, Copy)]
pub struct ControlCall<'a> {
    /// `[batch, 4, rows, columns]` in the model's kind; an inpainting UNet's further channels are not part of it.
    pub x: &'a Tensor,
    /// `[batch]` in f32.
    pub timesteps: &'a Tensor,
    /// This model's own, with as many rows as `x`.
    pub context: &'a Context,
    /// One row, or as many as `x`.
    pub hint: &'a Hint,
    pub map: Option<&'a dyn ContextMap>,
}

impl ControlModel {
    /// Loads a ControlNet or T2I-Adapter for Stable Diffusion 1.x, to compute where and as the UNet does.
    ///
    /// `base` is the checkpoint that is to be steered, under its names in a single file; only files of differences
    /// read it, and their network is [tied](Self::is_tied) to it.
    ///
    /// # Errors
    /// What else the file is, or the first thing about it that does not fit.
    pub fn load(path: &Path, compute: impl Into<Compute>, base: &Tensors) -> Result<Self, LoadError> {
        Self::read(path, compute.into(), base).map_err(|problem| problem.of(path))
    }

    fn read(
        path: &Path,
        Compute { device, unet: kind, .. }: Compute,
        base: &Tensors,
    ) -> Result<Self, Problem> {
        let mut catalogue = tensor_file::open(path)?;
        names::rename(&mut catalogue.tensors)?;
        let is_tied = catalogue.tensors.remove(DIFFERENCE).is_some();
        let plan = Plan::of(&catalogue.outline())?;
        let mut tensors = catalogue.read(|_| None)?;
        if is_tied {
            add_base(&mut tensors.named, &base.named)?;
        }
        let weights = Weights::of(&tensors).on(device);
        let network = plan.build(&weights, kind)?;
        let bytes = weights.bytes();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        let pools = matches!(network, Network::ControlNet(_)) && stem.contains(POOLS);
        Ok(Self { network, device, number_kind: kind, pools, is_tied, bytes })
    }

    /// What its weights take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.device
    }

    pub fn kind(&self) -> ControlKind {
        match self.network {
            Network::ControlNet(_) => ControlKind::ControlNet,
            Network::Adapter(_) => ControlKind::T2iAdapter,
        }
    }

    /// How many tensors it gives, and so how many factors a [`Strength`] has.
    pub fn layers(&self) -> usize {
        match &self.network {
            Network::ControlNet(network) => network.layers(),
            Network::Adapter(adapter) => adapter.layers(),
        }
    }

    /// Whether it acts through global averages; such networks steer the prompt's rows only.
    pub fn pools(&self) -> bool {
        self.pools
    }

    /// Whether it was made of a file of differences, and so steers no other base as it was trained to.
    pub fn is_tied(&self) -> bool {
        self.is_tied
    }

    /// Projects a text `[batch, tokens, width]` for this network; one that reads no text has an empty context.
    pub fn context(&self, text: &Tensor, map: Option<&dyn ContextMap>) -> Result<Context, TchError> {
        match &self.network {
            Network::ControlNet(network) => network.context(&text.f_to_kind(self.number_kind)?, map),
            Network::Adapter(_) => Ok(Context { layers: Vec::new() }),
        }
    }

    /// What the network sees of a picture `[batch, 3, height, width]` in 0..1, at the size that is drawn; masked
    /// pixels of inpainting networks are -1.
    pub fn hint(&self, picture: &Tensor) -> Result<Hint, TchError> {
        let picture = send_as(picture, self.device, self.number_kind)?;
        Ok(Hint(match &self.network {
            Network::ControlNet(network) => Seen::ByControlNet(network.hint(&picture)?),
            Network::Adapter(adapter) => Seen::ByAdapter(adapter.forward(&picture)?),
        }))
    }

    /// What this model adds to the UNet's call for the same rows: each tensor times its factor, then times the
    /// region, then averaged if the network [pools](Self::pools).
    ///
    /// # Errors
    /// The hint must be this model's, and there must be a factor for each of its [layers](Self::layers).
    pub fn residuals(&self, call: &ControlCall<'_>, strength: &Strength<'_>) -> Result<Control, TchError> {
        let control = match (&self.network, &call.hint.0) {
            (Network::ControlNet(network), Seen::ByControlNet(hint)) => network
                .forward(call.x, call.timesteps, call.context, hint, call.map)?
                .with_strength(strength)?,
            (Network::Adapter(_), Seen::ByAdapter(features)) => features.with_strength(strength)?,
            _ => return Err(TchError::Shape("the hint was made by another control model".into())),
        };
        if self.pools { control.pooled() } else { Ok(control) }
    }
}

/// What a file's outline says can be built from it.
enum Plan {
    ControlNet(ControlNetLayout),
    Adapter(AdapterLayout),
}

impl Plan {
    fn of(outline: &Outline) -> Result<Self, Problem> {
        let plan = match family::of(outline)? {
            Family::ControlNet => Self::ControlNet(layout::controlnet(outline)?),
            family => Self::Adapter(layout::adapter(outline, family)?),
        };
        let weights = Weights::judged(outline);
        plan.build(&weights, Kind::Float)?;
        let taken = weights.into_taken();
        match outline.tensors.keys().find(|name| !taken.contains(*name)) {
            Some(name) => Err(Problem::Unknown(name.clone())),
            None => Ok(plan),
        }
    }

    fn build(&self, weights: &Weights<'_>, kind: Kind) -> Result<Network, Problem> {
        let scope = weights.scope("", kind);
        Ok(match self {
            Self::ControlNet(layout) => Network::ControlNet(Box::new(ControlNet::load(&scope, layout)?)),
            Self::Adapter(layout) => Network::Adapter(T2iAdapter::load(&scope, layout)?),
        })
    }
}

/// Adds the base UNet's tensors, in f32, to the differences of the same name; what only a ControlNet has is whole. A control
/// network reads the latent alone, whatever the base reads behind it.
fn add_base(
    differences: &mut BTreeMap<String, Tensor>,
    base: &BTreeMap<String, Tensor>,
) -> Result<(), Problem> {
    for (name, difference) in differences {
        if let Some(base) = base.get(&format!("{UNET}{name}")) {
            let base = &match (&base.size()[..], &difference.size()[..]) {
                ([_, reads, ..], [_, inputs, ..]) if name == FIRST && inputs < reads => {
                    base.f_narrow(1, 0, *inputs)?
                }
                _ => base.shallow_clone(),
            };
            if base.size().iter().product::<i64>() != difference.size().iter().product::<i64>() {
                let (found, expected) = (difference.size(), format!("{:?}", base.size()));
                return Err(Problem::Shape { key: name.clone(), found, expected });
            }
            // Projections may be a matrix in one file and a 1x1 convolution in the other.
            let base = base.f_to_kind(Kind::Float)?.f_reshape(difference.size())?;
            *difference = send_as(difference, base.device(), Kind::Float)?.f_add(&base)?;
        }
    }
    Ok(())
}
