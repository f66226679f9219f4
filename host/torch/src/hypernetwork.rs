//! Hypernetworks as web UIs have them: small networks that change what the keys and values of attention are made
//! from, one pair for each width of context. Reads the file and applies the pairs; knows no attention and no UNet.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use tch::{Device, Kind, TchError, Tensor};

use crate::compute::send;
use crate::error::{LoadError, Problem};
use crate::stored::Stored;
use crate::tensors::bytes_of;
use crate::value::Value;

/// A hypernetwork in memory, in f32.
pub struct Hypernetwork {
    name: String,
    step: Option<u64>,
    pairs: BTreeMap<i64, Pair>,
}

/// The networks of one width.
struct Pair {
    keys: Network,
    values: Network,
}

/// What a file says its networks are built like.
#[derive(Debug, Clone, PartialEq)]
struct Structure {
    /// Widths of the layers as multiples of the context's, first and last 1.
    widths: Vec<f64>,
    activation: Activation,
    layer_norm: bool,
    /// Whether the last layer is followed by the activation too.
    activate_output: bool,
}

impl Structure {
    /// What a file says; where it says nothing, what files of the first days are like.
    fn read(file: &Value) -> Result<Self, HypernetworkError> {
        let flag = |key: &str, default: bool| match file.get(key) {
            Some(Value::Bool(value)) => *value,
            _ => default,
        };
        let number = |value: &Value| match value {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        };
        let widths =
            file.get("layer_structure").map(|widths| widths.members().iter().filter_map(number).collect());
        let activation = file.get("activation_func").and_then(Value::as_text);
        Ok(Self {
            widths: widths.unwrap_or_else(|| vec![1.0, 2.0, 1.0]),
            activation: activation.map_or(Ok(Activation::Linear), Activation::parse)?,
            layer_norm: flag("is_layer_norm", false),
            activate_output: flag("activate_output", true),
        })
    }
}

/// One network's tensors by name.
fn state(value: &Value, device: Device) -> Result<BTreeMap<String, Tensor>, HypernetworkError> {
    let read = |(name, stored): (String, Stored)| Ok((name, send(&stored.read()?, device)?));
    value.state_dict()?.into_iter().map(read).collect()
}

/// Why a file is no hypernetwork that can be applied.
#[derive(Debug, thiserror::Error)]
pub enum HypernetworkError {
    #[error(transparent)]
    Unreadable(#[from] LoadError),
    #[error("the hypernetwork cannot be read: {0}")]
    Broken(#[from] Problem),
    #[error("the hypernetwork's activation {0:?} is not known; use one trained with another")]
    Activation(String),
    #[error("the hypernetwork lacks {0}; the file is incomplete")]
    Missing(String),
    #[error(
        "the hypernetwork's {name} has the shape {found:?} where {expected} is needed; the file is damaged"
    )]
    Shape { name: String, found: Vec<i64>, expected: String },
    #[error("libtorch could not take the hypernetwork ({0}); free memory")]
    Torch(#[from] TchError),
}

impl Hypernetwork {
    /// Reads a file that a web UI saved, to act on `device`; it is named by the path's stem.
    ///
    /// # Errors
    /// [`HypernetworkError`] with what is wrong with the file.
    pub fn load(path: &Path, device: Device) -> Result<Self, HypernetworkError> {
        let file = Value::read(path)?;
        let mut networks = BTreeMap::new();
        for (width, pair) in file.entries() {
            let Some(width) = width.as_int() else { continue };
            let [keys, values] = pair.members() else {
                return Err(HypernetworkError::Missing(format!("the two networks {width} wide")));
            };
            networks.insert(width, [state(keys, device)?, state(values, device)?]);
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let step = file.get("step").and_then(Value::as_int).and_then(|step| u64::try_from(step).ok());
        Self::new(&name, step, &Structure::read(&file)?, networks)
    }

    /// From the tensors of each width's two networks, named `linear.N.weight` and `linear.N.bias` or, of the first
    /// days, `linear1.weight` and so on.
    ///
    /// # Errors
    /// [`HypernetworkError`] for networks that are not built as `structure` says.
    fn new(
        name: &str,
        step: Option<u64>,
        structure: &Structure,
        networks: BTreeMap<i64, [BTreeMap<String, Tensor>; 2]>,
    ) -> Result<Self, HypernetworkError> {
        let mut pairs = BTreeMap::new();
        for (width, [keys, values]) in networks {
            let keys = Network::new(width, structure, &keys)?;
            pairs.insert(width, Pair { keys, values: Network::new(width, structure, &values)? });
        }
        if pairs.is_empty() {
            return Err(HypernetworkError::Missing("networks of any width".into()));
        }
        Ok(Self { name: name.to_owned(), step, pairs })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Training steps it had.
    pub fn step(&self) -> Option<u64> {
        self.step
    }

    /// What its weights take.
    pub(crate) fn bytes(&self) -> u64 {
        let networks = self.pairs.values().flat_map(|pair| [&pair.keys, &pair.values]);
        networks.flat_map(|network| &network.layers).map(Layer::bytes).sum()
    }

    /// The widths of context it changes; 768 is cross-attention, the others self-attention.
    pub fn widths(&self) -> impl Iterator<Item = i64> {
        self.pairs.keys().copied()
    }

    /// What keys and values are made from, `context + strength · network(context)`.
    ///
    /// Both are `[batch, tokens, width]` and come back in their kind and shape; unchanged when the file has no
    /// networks of their width. Several hypernetworks act in order, each on what the one before made, which is why
    /// there are two inputs.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn apply(&self, keys: &Tensor, values: &Tensor, strength: f64) -> Result<(Tensor, Tensor), TchError> {
        let width = keys.size().last().copied().unwrap_or(0);
        let Some(pair) = self.pairs.get(&width) else {
            return Ok((keys.shallow_clone(), values.shallow_clone()));
        };
        let changed = |network: &Network, x: &Tensor| {
            let change = network.forward(&x.f_to_kind(Kind::Float)?)?.f_mul_scalar(strength)?;
            x.f_add(&change.f_to_kind(x.kind())?)
        };
        Ok((changed(&pair.keys, keys)?, changed(&pair.values, values)?))
    }
}

impl fmt::Debug for Hypernetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<i64> = self.widths().collect();
        f.debug_struct("Hypernetwork")
            .field("name", &self.name)
            .field("widths", &widths)
            .finish_non_exhaustive()
    }
}

/// A stack of linear layers with an activation after each but perhaps the last, and norms.
struct Network {
    layers: Vec<Layer>,
    activation: Activation,
}

struct Layer {
    weight: Tensor,
    bias: Tensor,
    is_activated: bool,
    norm: Option<(Tensor, Tensor)>,
}

impl Layer {
    fn bytes(&self) -> u64 {
        let norm = self.norm.iter().flat_map(|(weight, bias)| [weight, bias]);
        [&self.weight, &self.bias].into_iter().chain(norm).map(bytes_of).sum()
    }
}

impl Network {
    fn new(
        width: i64,
        structure: &Structure,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<Self, HypernetworkError> {
        let sizes: Vec<i64> = structure.widths.iter().map(|factor| (width as f64 * factor) as i64).collect();
        let is_plain = sizes.len() >= 2 && sizes.first() == Some(&width) && sizes.last() == Some(&width);
        if !is_plain || sizes.iter().any(|size| !(1..=WIDTH_MAX).contains(size)) {
            return Err(HypernetworkError::Shape {
                name: "layer_structure".into(),
                found: sizes,
                expected: format!("layers from {width} wide to {width} wide"),
            });
        }
        let mut places = places(tensors).into_iter();
        let mut next = |shapes: &[&[i64]; 2]| -> Result<[Tensor; 2], HypernetworkError> {
            let place =
                places.next().ok_or_else(|| HypernetworkError::Missing(format!("layers {width} wide")))?;
            let [weight, bias] = ["weight", "bias"].map(|end| format!("{place}.{end}"));
            Ok([take(tensors, &weight, shapes[0])?, take(tensors, &bias, shapes[1])?])
        };
        let count = sizes.len() - 1;
        let mut layers = Vec::with_capacity(count);
        for (index, pair) in sizes.windows(2).enumerate() {
            let [inputs, outputs] = [pair[0], pair[1]];
            let [weight, bias] = next(&[&[outputs, inputs], &[outputs]])?;
            let norm = if structure.layer_norm {
                let [weight, bias] = next(&[&[outputs], &[outputs]])?;
                Some((weight, bias))
            } else {
                None
            };
            let is_activated = index + 1 < count || structure.activate_output;
            layers.push(Layer { weight, bias, is_activated, norm });
        }
        if let Some(place) = places.next() {
            let (name, found) = (place, vec![]);
            return Err(HypernetworkError::Shape { name, found, expected: format!("{count} layers") });
        }
        Ok(Self { layers, activation: structure.activation })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let mut x = x.shallow_clone();
        for layer in &self.layers {
            x = x.f_linear(&layer.weight, Some(&layer.bias))?;
            if layer.is_activated {
                x = self.activation.forward(&x)?;
            }
            if let Some((weight, bias)) = &layer.norm {
                x = x.f_layer_norm(bias.size(), Some(weight), Some(bias), 1e-5, false)?;
            }
        }
        Ok(x)
    }
}

/// Widest layer believed; factors of 4 on the widest context give 5120.
const WIDTH_MAX: i64 = 1 << 16;

/// The names before `.weight` in the order of their numbers; activations and dropout leave gaps.
fn places(tensors: &BTreeMap<String, Tensor>) -> Vec<String> {
    let number = |place: &str| place.trim_start_matches("linear").trim_start_matches('.').parse::<u32>();
    let places = tensors.keys().filter_map(|name| name.strip_suffix(".weight"));
    let mut numbered: Vec<_> =
        places.filter_map(|place| Some((number(place).ok()?, place.to_owned()))).collect();
    numbered.sort();
    numbered.into_iter().map(|(_, place)| place).collect()
}

fn take(tensors: &BTreeMap<String, Tensor>, name: &str, shape: &[i64]) -> Result<Tensor, HypernetworkError> {
    let tensor = tensors.get(name).ok_or_else(|| HypernetworkError::Missing(name.to_owned()))?;
    if tensor.size() != shape {
        let (name, found) = (name.to_owned(), tensor.size());
        return Err(HypernetworkError::Shape { name, found, expected: format!("{shape:?}") });
    }
    Ok(tensor.f_detach()?.f_to_kind(Kind::Float)?)
}

/// What stands between layers, by the names that web UIs offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    Linear,
    Relu,
    LeakyRelu,
    Elu,
    HardSwish,
    Tanh,
    Sigmoid,
    Silu,
    Gelu,
    Mish,
    Softplus,
    Softsign,
    Selu,
    Celu,
    Relu6,
    HardSigmoid,
    HardTanh,
    TanhShrink,
    LogSigmoid,
}

impl Activation {
    /// # Errors
    /// [`HypernetworkError::Activation`] for a name that is not known.
    fn parse(name: &str) -> Result<Self, HypernetworkError> {
        Ok(match name {
            "linear" => Self::Linear,
            "relu" => Self::Relu,
            "leakyrelu" => Self::LeakyRelu,
            "elu" => Self::Elu,
            // So called there since the first version; it is not SiLU.
            "swish" | "hardswish" => Self::HardSwish,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            "silu" => Self::Silu,
            "gelu" => Self::Gelu,
            "mish" => Self::Mish,
            "softplus" => Self::Softplus,
            "softsign" => Self::Softsign,
            "selu" => Self::Selu,
            "celu" => Self::Celu,
            "relu6" => Self::Relu6,
            "hardsigmoid" => Self::HardSigmoid,
            "hardtanh" => Self::HardTanh,
            "tanhshrink" => Self::TanhShrink,
            "logsigmoid" => Self::LogSigmoid,
            other => return Err(HypernetworkError::Activation(other.to_owned())),
        })
    }

    fn forward(self, x: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Linear => Ok(x.shallow_clone()),
            Self::Relu => x.f_relu(),
            Self::LeakyRelu => x.f_leaky_relu(),
            Self::Elu => x.f_elu(),
            Self::HardSwish => x.f_hardswish(),
            Self::Tanh => x.f_tanh(),
            Self::Sigmoid => x.f_sigmoid(),
            Self::Silu => x.f_silu(),
            Self::Gelu => x.f_gelu("none"),
            Self::Mish => x.f_mish(),
            Self::Softplus => x.f_softplus(),
            Self::Softsign => x.f_div(&x.f_abs()?.f_add_scalar(1.0)?),
            Self::Selu => x.f_selu(),
            Self::Celu => x.f_celu(),
            Self::Relu6 => x.f_relu6(),
            Self::HardSigmoid => x.f_hardsigmoid(),
            Self::HardTanh => x.f_hardtanh(),
            Self::TanhShrink => x.f_sub(&x.f_tanh()?),
            Self::LogSigmoid => x.f_log_sigmoid(),
        }
    }
}
