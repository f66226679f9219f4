//! Where a checkpoint's networks compute, and in which kinds of number. Decided once when the backend opens; whoever
//! loads a network is told. Knows no network.

use tch::{Device, Kind, TchError, Tensor};

use crate::layout::{UNET, VAE};

/// A device, and a kind of number for each network. Text encoders compute in f32 everywhere: they run once for a
/// prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    pub device: Device,
    pub unet: Kind,
    pub vae: Kind,
}

impl Compute {
    /// The kind that the network of a tensor computes in, by the tensor's name in a single-file checkpoint.
    pub(crate) fn kind_of(&self, name: &str) -> Kind {
        match name {
            unet if unet.starts_with(UNET) => self.unet,
            vae if vae.starts_with(VAE) => self.vae,
            _ => Kind::Float,
        }
    }
}

/// On the processor, with the UNet in this kind and the VAE in f32.
impl From<Kind> for Compute {
    fn from(unet: Kind) -> Self {
        Self { device: Device::Cpu, unet, vae: Kind::Float }
    }
}

/// What is pinned on its way to a device: noise, masks, pictures. Pinned memory stays pinned, so models do not pass
/// through it.
const PINNED_BYTES_MAX: usize = 32 << 20;

/// The tensor on a device, in its own kind; shares the numbers where it is there already.
pub(crate) fn send(tensor: &Tensor, device: Device) -> Result<Tensor, TchError> {
    send_as(tensor, device, tensor.kind())
}

/// [`send`], in another kind. On its way to a CUDA device the host does not wait for it: it is copied from pinned memory,
/// and what the device does next is queued behind the copy.
pub(crate) fn send_as(tensor: &Tensor, device: Device, kind: Kind) -> Result<Tensor, TchError> {
    let is_upload = device.is_cuda() && tensor.device() == Device::Cpu;
    // The operator itself: `pin_memory` with a device warns that the argument is deprecated, on every call.
    if is_upload && tensor.numel() * tensor.kind().elt_size_in_bytes() <= PINNED_BYTES_MAX {
        return tensor.f_internal_pin_memory(device)?.f_to_device_(device, kind, true, false);
    }
    // On its way to the host the caller reads the numbers next, so it must wait.
    tensor.f_to_device_(device, kind, false, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_its_kind() {
        let compute = Compute { device: Device::Cpu, unet: Kind::BFloat16, vae: Kind::Half };
        for (name, kind) in [
            ("model.diffusion_model.out.0.weight", Kind::BFloat16),
            ("first_stage_model.post_quant_conv.bias", Kind::Half),
            ("cond_stage_model.transformer.text_model.final_layer_norm.bias", Kind::Float),
        ] {
            assert_eq!(compute.kind_of(name), kind, "{name}");
        }
    }

    #[test]
    fn what_is_there_already_is_shared() {
        let tensor = Tensor::from_slice(&[1.0f32, 2.0]);
        assert_eq!(send(&tensor, Device::Cpu).unwrap().data_ptr(), tensor.data_ptr());
    }
}
