//! Brings the pictures of a pass to latents: as a whole where there is room for it, and otherwise in tiles. Called when
//! a pass is opened and between two passes; what is encoded, and what becomes of it, is the callers' to know.

use tch::{TchError, Tensor};

use crate::failure::is_out_of_memory;
use crate::memory;
use crate::networks::Networks;
use crate::resident::Resident;
use crate::source::LATENT_SCALE;
use crate::vae_tiles::{VAE_TILING, encode_tiled};
use crate::working_memory::{Size, of_encoding};

/// A VAE, and what it may compute in.
pub(crate) struct Encoder<'a> {
    resident: &'a mut Resident,
    networks: &'a Networks,
    computing_bytes: u64,
}

impl<'a> Encoder<'a> {
    /// Pictures are encoded as a whole where that takes no more than `computing_bytes`.
    pub(crate) fn new(resident: &'a mut Resident, networks: &'a Networks, computing_bytes: u64) -> Self {
        Self { resident, networks, computing_bytes }
    }

    pub(crate) fn networks(&self) -> &'a Networks {
        self.networks
    }

    /// The mean of the posterior of a picture `[1, 3, height, width]`, scaled. Web UIs draw from the posterior instead;
    /// its deviation is far below what a picture shows, and a mean is the same every time.
    pub(crate) fn latent(&mut self, picture: &Tensor) -> Result<Tensor, TchError> {
        self.mean(picture)?.f_mul_scalar(LATENT_SCALE)
    }

    /// [`Encoder::latent`] as edit checkpoints read it, which is not scaled.
    pub(crate) fn mean(&mut self, picture: &Tensor) -> Result<Tensor, TchError> {
        let (_, _, height, width) = picture.size4()?;
        let size = Size { width: width as u32, height: height as u32, pictures: 1 };
        let has_room = of_encoding(size, self.resident.compute()) <= self.computing_bytes;
        let (resident, networks) = (&mut *self.resident, self.networks);
        let encode = |part: &Tensor| networks.encode_picture(part);
        encoded(picture, has_room, networks.is_seamless(), || resident.make_do(), encode)
    }
}

/// What `encode` makes of a picture or, without room or memory for the whole, of its tiles.
fn encoded(
    picture: &Tensor,
    has_room: bool,
    is_seamless: bool,
    free: impl FnOnce() -> bool,
    encode: impl Fn(&Tensor) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    let tiles = || encode_tiled(picture, VAE_TILING, is_seamless, &encode);
    if !has_room {
        return tiles();
    }
    memory::whole_or_tiles(is_out_of_memory, free, || encode(picture), tiles)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tch::{Device, Kind};

    use super::*;

    /// What is encoded of a picture of 1024 x 768 where pictures over `most` pixels take more memory than there is: the
    /// result, the sizes that were asked for, and how often memory was freed.
    fn run(has_room: bool, most: i64) -> (Result<Tensor, TchError>, Vec<(i64, i64)>, u32) {
        let (asked, freed) = (RefCell::new(Vec::new()), Cell::new(0));
        let encode = |part: &Tensor| {
            let (_, _, height, width) = part.size4().unwrap();
            asked.borrow_mut().push((width, height));
            if width * height > most {
                return Err(TchError::Torch(
                    "CUDA out of memory. Tried to allocate\nof a stack trace".into(),
                ));
            }
            Ok(part.slice(2, None, None, 8).slice(3, None, None, 8))
        };
        let free = || {
            freed.set(freed.get() + 1);
            true
        };
        let encoded = encoded(&picture(), has_room, false, free, encode);
        (encoded, asked.into_inner(), freed.get())
    }

    fn picture() -> Tensor {
        Tensor::arange(3 * 768 * 1024, (Kind::Float, Device::Cpu)).reshape([1, 3, 768, 1024])
    }

    /// 3 columns and 2 rows.
    const TILES: [(i64, i64); 6] = [(512, 512); 6];

    #[test]
    fn a_picture_that_fits_is_encoded_as_a_whole() {
        let (whole, asked, freed) = run(true, 1024 * 768);
        assert_eq!(whole.unwrap().size(), [1, 3, 96, 128]);
        assert_eq!((asked, freed), (vec![(1024, 768)], 0));
    }

    #[test]
    fn one_that_takes_more_memory_than_there_is_is_encoded_in_tiles_and_so_is_one_without_room() {
        let (whole, ..) = run(true, 1024 * 768);
        let whole = whole.unwrap();
        let (tiled, asked, freed) = run(true, 512 * 512);
        assert_eq!(tiled.unwrap(), whole);
        assert_eq!((asked[0], &asked[1..], freed), ((1024, 768), &TILES[..], 1));
        // It is not asked for first: where the memory is the machine's, that would end the process.
        let (tiled, asked, freed) = run(false, 512 * 512);
        assert_eq!(tiled.unwrap(), whole);
        assert_eq!((asked.as_slice(), freed), (&TILES[..], 0));
    }

    #[test]
    fn one_whose_tiles_do_not_fit_fails_for_memory() {
        for has_room in [true, false] {
            let (none, ..) = run(has_room, 64 * 64);
            assert!(is_out_of_memory(&none.unwrap_err()), "{has_room}");
        }
    }

    #[test]
    fn other_failures_are_not_tried_again() {
        let calls = Cell::new(0);
        let lost = |_: &Tensor| {
            calls.set(calls.get() + 1);
            Err(TchError::Torch("CUDA error: unspecified launch failure".into()))
        };
        let free = || panic!("memory does not lack");
        assert!(encoded(&picture(), true, false, free, lost).is_err());
        assert_eq!(calls.get(), 1);
    }
}
