//! A checkpoint's tensors in the machine's own memory, in the kinds its networks compute in. On a processor the networks
//! share them; for another device they wait here, so that a switch to a checkpoint that is here costs its copy and no
//! reading.

use std::rc::Rc;

use tch::{Device, TchError, Tensor};

use crate::compute::Compute;
use crate::error::Problem;
use crate::facts::ModelFacts;
use crate::layout::Layout;
use crate::model_cache::Held;
use crate::networks::{Networks, placed};
use crate::tensors::Tensors;
use crate::weights::Padding;

pub(crate) struct HostModel {
    pub(crate) tensors: Tensors,
    pub(crate) layout: Layout,
    pub(crate) facts: ModelFacts,
    /// They wait in pinned memory, as far as the system gave it.
    pub(crate) is_pinned: bool,
}

impl HostModel {
    /// The networks on their device, over copies of the tensors; without `copies`, over the tensors themselves. What is on
    /// the device already, copied from the same memory for one of `beside`, is shared.
    ///
    /// # Errors
    /// What libtorch says; the tensors are known to fit together.
    pub(crate) fn networks(
        self: &Rc<Self>,
        compute: Compute,
        copies: bool,
        beside: &[Rc<Networks>],
    ) -> Result<Networks, Problem> {
        let beside: Vec<_> =
            beside.iter().filter_map(|networks| Some((networks.origin()?, networks.tensors()))).collect();
        let mut tensors = Tensors { metadata: self.tensors.metadata.clone(), ..Tensors::default() };
        for (name, here) in &self.tensors.named {
            let there = beside.iter().find_map(|(origin, there)| {
                let is_same = origin.tensors.get(name)?.data_ptr() == here.data_ptr();
                there.get(name).filter(|_| is_same).map(Tensor::shallow_clone)
            });
            // The host does not wait for a device: what uses the tensor is queued behind its copy, and pinned memory is not
            // handed out again before that is done.
            let copied = || here.f_to_device_(compute.device, here.kind(), compute.device.is_cuda(), copies);
            let tensor = there.map_or_else(copied, Ok)?;
            tensors.named.insert(name.clone(), tensor);
        }
        let networks = Networks::build(tensors, self.layout.clone(), self.facts, compute, Padding::Zeros)?;
        Ok(networks.with_origin(self))
    }
}

impl Held for HostModel {
    fn pieces(&self) -> impl Iterator<Item = (usize, u64)> {
        let is_pinned = self.is_pinned;
        let taken = move |bytes| if is_pinned { pinned_bytes(bytes) } else { bytes };
        self.tensors.pieces().map(move |(address, bytes)| (address, taken(bytes)))
    }
}

/// What a tensor of so many bytes takes of pinned memory: libtorch pins the next power of two.
pub(crate) fn pinned_bytes(bytes: u64) -> u64 {
    bytes.checked_next_power_of_two().unwrap_or(bytes)
}

/// A tensor as it waits for its device: as its network computes with it, and one that `beside` has already is shared.
/// Comparing ends at the first numbers that differ, so it costs the time of reading what is shared once from memory, and
/// unlike a hash nothing for checkpoints that have nothing in common.
///
/// # Errors
/// What libtorch says.
pub(crate) fn kept(
    name: &str,
    tensor: &Tensor,
    compute: Compute,
    beside: &[&Tensors],
) -> Result<Tensor, TchError> {
    let tensor = placed(name, tensor, Compute { device: Device::Cpu, ..compute })?;
    for known in beside.iter().filter_map(|tensors| tensors.get(name)) {
        let is_comparable = known.device() == Device::Cpu && known.kind() == tensor.kind();
        if is_comparable && known.size() == tensor.size() && known.f_equal(&tensor)? {
            return Ok(known.shallow_clone());
        }
    }
    if !compute.device.is_cuda() {
        return Ok(tensor);
    }
    // Pinned memory is copied to the device several times as fast. A system bounds how much of it there may be.
    Ok(tensor.f_internal_pin_memory(compute.device).unwrap_or(tensor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_takes_the_next_power_of_two() {
        // A token table in f32, a wide convolution in f16, a bias of 320.
        for (bytes, taken) in [(151_781_376, 1 << 28), (29_491_200, 1 << 25), (640, 1024), (4096, 4096)] {
            assert_eq!(pinned_bytes(bytes), taken);
        }
        assert_eq!(pinned_bytes(u64::MAX), u64::MAX);
    }
}
