//! `gesso:plugin/models`: networks by name. Whether a name is granted is decided here; what tensors hold is on the call's
//! account while they are under way.

use super::gesso::plugin::types::Fault;
use super::picture_hook::gesso::plugin0_2_0::models::{Host, Tensor};
use super::{CallState, images};
use crate::networks::{GrantedNetworks, NetworkError};
use gesso_core::numbers::Numbers;

/// Runs of networks in one call: a plugin looks at a picture in some hundred parts.
const RUNS_MAX: u32 = 256;
const INPUTS_MAX: usize = 16;
/// Of one input. What a guest says beyond that is neither copied nor told again.
const DIMENSIONS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 256;

impl From<NetworkError> for Fault {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::Invalid(text) => Self::InvalidInput(text),
            NetworkError::Cancelled => Self::Cancelled,
            NetworkError::Unavailable(text) => Self::Unavailable(text),
            NetworkError::Failed(text) => Self::Other(text),
        }
    }
}

impl CallState {
    fn networks(&self) -> Result<GrantedNetworks, Fault> {
        self.capabilities
            .networks
            .clone()
            .ok_or_else(|| Fault::NotPermitted("no network is granted (the grant `models`)".to_owned()))
    }

    fn network(&self, network: &str) -> Result<GrantedNetworks, Fault> {
        let granted = self.networks()?;
        if network.len() > NAME_BYTES_MAX {
            return Err(Fault::InvalidInput(format!("a network's name has at most {NAME_BYTES_MAX} bytes")));
        }
        if granted.covers(network) {
            return Ok(granted);
        }
        let name = crate::log::tidy(network, 64);
        Err(Fault::NotPermitted(format!("the network `{name}` is not granted (the grant `models`)")))
    }
}

impl Host for CallState {
    async fn list(&mut self) -> wasmtime::Result<Result<Vec<String>, Fault>> {
        let granted = match self.networks() {
            Ok(granted) => granted,
            Err(fault) => return Ok(Err(fault)),
        };
        let listed = granted.source.list().await.map_err(Fault::from);
        Ok(listed.map(|names| names.into_iter().filter(|name| granted.covers(name)).collect()))
    }

    async fn about(&mut self, network: String) -> wasmtime::Result<Result<Option<String>, Fault>> {
        Ok(match self.network(&network) {
            Ok(granted) => granted.source.about(network).await.map_err(Fault::from),
            Err(fault) => Err(fault),
        })
    }

    async fn run(
        &mut self,
        network: String,
        inputs: Vec<Tensor>,
    ) -> wasmtime::Result<Result<Vec<Tensor>, Fault>> {
        let granted = match self.network(&network) {
            Ok(granted) => granted,
            Err(fault) => return Ok(Err(fault)),
        };
        if self.network_runs >= RUNS_MAX {
            return Ok(Err(Fault::LimitExceeded(format!("a call may run networks {RUNS_MAX} times"))));
        }
        self.network_runs += 1;
        let inputs = match numbers(inputs) {
            Ok(inputs) => inputs,
            Err(fault) => return Ok(Err(fault)),
        };
        let bytes = inputs.iter().map(|input| 4 * input.values.len() as u64).sum();
        if let Err(error) = images::reserve(self, bytes) {
            return Ok(Err(error.into()));
        }
        let under_way = self.own_time.begin();
        let outputs = granted.source.run(network, inputs, self.context.cancelled.clone()).await;
        drop(under_way);
        self.pictures.give_back(bytes);
        let tensor = |Numbers { shape, values }| Tensor { shape, values };
        Ok(outputs.map(|outputs| outputs.into_iter().map(tensor).collect()).map_err(Fault::from))
    }
}

fn numbers(inputs: Vec<Tensor>) -> Result<Vec<Numbers>, Fault> {
    if inputs.len() > INPUTS_MAX {
        return Err(Fault::LimitExceeded(format!("{} inputs; {INPUTS_MAX} are the most", inputs.len())));
    }
    let number = |(place, Tensor { shape, values }): (usize, Tensor)| {
        if shape.len() > DIMENSIONS_MAX {
            let dimensions = shape.len();
            return Err(Fault::InvalidInput(format!(
                "input {place} has {dimensions} dimensions; {DIMENSIONS_MAX} are the most"
            )));
        }
        let (dimensions, count) = (shape.clone(), values.len());
        Numbers::new(shape, values).ok_or_else(|| {
            Fault::InvalidInput(format!(
                "input {place} has {count} values, which its shape {dimensions:?} does not hold"
            ))
        })
    };
    inputs.into_iter().enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_told_again_only_where_it_is_short() {
        let says = |shape: Vec<u32>| match numbers(vec![Tensor { shape, values: vec![0.0; 3] }]) {
            Err(Fault::InvalidInput(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(says(vec![2, 2]), "input 0 has 3 values, which its shape [2, 2] does not hold");
        assert_eq!(says(vec![1; 1_000_000]), "input 0 has 1000000 dimensions; 16 are the most");
        assert!(numbers(vec![Tensor { shape: vec![3], values: vec![0.0; 3] }]).is_ok());
    }
}
