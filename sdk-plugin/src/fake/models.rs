//! `gesso:plugin/models` of a made-up host, whose networks are functions of the test.

pub(crate) use crate::bindings::picture_hook::gesso::plugin0_2_0::models::Tensor;

use super::{Network, ask};
use crate::bindings::request_hook::gesso::plugin::types::Fault;
use crate::models;

pub(crate) fn list() -> Result<Vec<String>, Fault> {
    let names: Vec<String> = ask(|state| state.networks.keys().cloned().collect());
    if names.is_empty() {
        return Err(Fault::NotPermitted("no network is granted (the grant `models`)".to_owned()));
    }
    Ok(names)
}

pub(crate) fn about(network: &str) -> Result<Option<String>, Fault> {
    Ok(granted(network)?.about.map(|about| about.to_string()))
}

pub(crate) fn run(network: &str, inputs: &[Tensor]) -> Result<Vec<Tensor>, Fault> {
    let network = granted(network)?;
    let mut own = Vec::new();
    for (place, Tensor { shape, values }) in inputs.iter().enumerate() {
        if shape.iter().map(|side| *side as usize).product::<usize>() != values.len() {
            let count = values.len();
            return Err(Fault::InvalidInput(format!(
                "input {place} has {count} values, which its shape {shape:?} does not hold"
            )));
        }
        own.push(models::Tensor { shape: shape.clone(), values: values.clone() });
    }
    let outputs = (network.run)(&own)?;
    Ok(outputs.into_iter().map(|models::Tensor { shape, values }| Tensor { shape, values }).collect())
}

fn granted(network: &str) -> Result<Network, Fault> {
    let missing =
        || Fault::NotPermitted(format!("the network `{network}` is not granted (the grant `models`)"));
    ask(|state| state.networks.get(network).cloned()).ok_or_else(missing)
}
