//! How much of a device's memory passes compute in, beside the models: what the models must leave free. An estimate from
//! the shapes of Stable Diffusion 1.x; where it is too low, running out of memory is handled on its own.

use crate::compute::Compute;
use crate::pass::PIXELS_PER_LATENT;

/// Channels at the UNet's and at the VAE's full size.
const UNET_CHANNELS: u64 = 320;
const VAE_CHANNELS: u64 = 128;
/// What lives at once, in tensors of those channels at full size. The UNet: skips of all levels (5), and a feed-forward
/// with both halves of its gate beside its block's input, norm and result (27). The VAE: the block behind the last
/// doubling, which reads twice the channels, with its norm, its activation and a convolution's workspace (8); where it
/// encodes, the input of a block before the first halving, what its first convolution gives, the norm and activation of
/// that, what its second gives and that one's workspace (6).
const UNET_TENSORS: u64 = 32;
const DECODER_TENSORS: u64 = 8;
const ENCODER_TENSORS: u64 = 6;
/// Rows of one picture in a UNet call: with and without the prompt.
pub(crate) const ROWS: u64 = 2;
/// Pictures in one UNet call, as the engine bounds them.
pub(crate) const TOGETHER_MAX: u64 = 8;

/// Pictures of one size, in pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pictures: u32,
}

impl Size {
    fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// Bytes for all that is in flight. Calls follow one another, so it is what the largest takes; pictures that may share a
/// call are drawn together, and all are decoded one by one.
pub(crate) fn bytes(in_flight: impl Iterator<Item = Size> + Clone, compute: Compute) -> u64 {
    let together = in_flight.clone().map(|size| u64::from(size.pictures)).sum::<u64>().min(TOGETHER_MAX);
    in_flight.map(|size| bytes_of(size, together, compute)).max().unwrap_or(0)
}

fn bytes_of(size: Size, pictures: u64, compute: Compute) -> u64 {
    of_a_step(size, pictures, compute).max(of_decoding(size, compute))
}

/// Of a UNet call for so many pictures.
pub(crate) fn of_a_step(size: Size, pictures: u64, compute: Compute) -> u64 {
    let places = size.pixels() / u64::from(PIXELS_PER_LATENT * PIXELS_PER_LATENT);
    let unet = compute.unet.elt_size_in_bytes() as u64;
    places * UNET_CHANNELS * UNET_TENSORS * ROWS * pictures * unet
}

/// Of a picture that is decoded as a whole.
pub(crate) fn of_decoding(size: Size, compute: Compute) -> u64 {
    of_the_vae(size, DECODER_TENSORS, compute)
}

/// Of a picture that is encoded as a whole.
pub(crate) fn of_encoding(size: Size, compute: Compute) -> u64 {
    of_the_vae(size, ENCODER_TENSORS, compute)
}

fn of_the_vae(size: Size, tensors: u64, compute: Compute) -> u64 {
    // A VAE that overflows half precision runs in f32.
    let vae = compute.vae.elt_size_in_bytes() as u64;
    size.pixels() * VAE_CHANNELS * tensors * vae.max(4)
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn one_picture_is_bound_by_its_decoding_and_many_by_their_steps() {
        let compute = Compute { unet: Kind::Half, vae: Kind::Half, ..Kind::Half.into() };
        let bytes = |all: &[(u32, u32, u32)]| {
            let size = |&(width, height, pictures)| Size { width, height, pictures };
            super::bytes(all.iter().map(size), compute)
        };
        assert_eq!(bytes(&[(512, 512, 1)]), 1 << 30);
        assert_eq!(bytes(&[(512, 512, 8)]), 5 << 28);
        assert_eq!(bytes(&[(1024, 512, 1)]), 2 << 30);
        // The rest of a large batch waits for its own call, and so does another size.
        assert_eq!(bytes(&[(512, 512, 32)]), 5 << 28);
        assert_eq!(bytes(&[(512, 512, 4), (512, 512, 4)]), 5 << 28);
        assert_eq!(bytes(&[(512, 512, 1), (1024, 512, 1)]), 2 << 30);
    }

    #[test]
    fn a_picture_takes_less_to_be_encoded_than_to_be_decoded() {
        let size = Size { width: 512, height: 512, pictures: 1 };
        for kind in [Kind::Half, Kind::Float] {
            let compute = Compute { vae: kind, ..kind.into() };
            assert_eq!((of_encoding(size, compute), of_decoding(size, compute)), (3 << 28, 1 << 30));
        }
    }
}
