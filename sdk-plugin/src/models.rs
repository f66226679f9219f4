//! Networks that run where the server draws: TorchScript files of its models folder, as far as they are granted.

use serde_json::Value;

use crate::Fault;
use crate::host::models as host;

/// Numbers in row-major order; a picture goes in as `[1, channels, height, width]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensor {
    /// Elements along each dimension; none for a single number.
    pub shape: Vec<u32>,
    pub values: Vec<f32>,
}

/// The granted networks that are there, sorted: file names without folder and extension.
///
/// # Errors
/// [`Fault::NotPermitted`] where none is granted.
pub fn list() -> Result<Vec<String>, Fault> {
    Ok(host::list()?)
}

/// What the exporter of a network wrote into its file, where it did: its classes, the size of its input.
///
/// # Errors
/// [`Fault::NotPermitted`] for a network that is not granted, [`Fault::InvalidInput`] for one that is not there.
pub fn about(network: &str) -> Result<Option<Value>, Fault> {
    let text = host::about(network)?;
    let read = text.map(|text| serde_json::from_str(&text)).transpose();
    read.map_err(|error| Fault::Other(format!("What {network} says of itself is no JSON: {error}.")))
}

/// Every tensor that the network gives; tuples and lists are laid out in order.
///
/// # Errors
/// As [`about`], and [`Fault::InvalidInput`] where the network does not take these inputs.
pub fn run(network: &str, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Fault> {
    let given: Vec<host::Tensor> =
        inputs.into_iter().map(|Tensor { shape, values }| host::Tensor { shape, values }).collect();
    let outputs = host::run(network, &given)?;
    Ok(outputs.into_iter().map(|host::Tensor { shape, values }| Tensor { shape, values }).collect())
}
