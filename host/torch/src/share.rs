//! What a drawing may have of the memory that it is drawn in: how many of its pictures fit into one call, whether one is
//! encoded and decoded as a whole, and what does not fit at all. By the estimate of `working_memory`; control networks,
//! references, upscalers and face restorers are not counted. Pure.

use gesso_engine::backend::BackendError;

use crate::compute::Compute;
use crate::working_memory::{Size, TOGETHER_MAX, of_a_step, of_decoding};

/// What bounds the memory that a pass computes in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The share of the drawing, for networks and what is computed with them.
    pub(crate) share: Option<u64>,
    /// What the machine has beside all models.
    pub(crate) machine: Option<u64>,
}

impl Limits {
    /// Bytes to compute in beside networks of so many.
    pub(crate) fn beside(self, networks: u64) -> u64 {
        let share = self.share.map_or(u64::MAX, |share| share.saturating_sub(networks));
        share.min(self.machine.unwrap_or(u64::MAX))
    }
}

/// What a pass has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Pictures in one UNet call.
    pub(crate) rows_max: usize,
    /// A picture is decoded as a whole, and not in tiles.
    pub(crate) decodes_whole: bool,
}

/// For pictures of a size beside networks of so many bytes, all within `bytes_max`.
///
/// # Errors
/// [`BackendError::Request`] where the networks and one picture take more.
pub(crate) fn room(
    bytes_max: Option<u64>,
    networks: u64,
    size: Size,
    compute: Compute,
) -> Result<Room, BackendError> {
    let Some(bytes_max) = bytes_max else { return Ok(Room { rows_max: usize::MAX, decodes_whole: true }) };
    let left = bytes_max.saturating_sub(networks);
    let fits = |pictures: &u64| of_a_step(size, *pictures, compute) <= left;
    if let Some(rows) = (1..=TOGETHER_MAX).rev().find(fits) {
        return Ok(Room { rows_max: rows as usize, decodes_whole: of_decoding(size, compute) <= left });
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let taken = networks.saturating_add(of_a_step(size, 1, compute));
    Err(BackendError::Request(format!(
        "the checkpoint and a picture of {} x {} take {} MiB of memory, and what is drawn with it may take {} MiB; ask for a \
         smaller picture, or have an operator give the checkpoint more",
        size.width,
        size.height,
        mib(taken),
        mib(bytes_max)
    )))
}

/// What the machine has room for, where drawings compute in the memory that is left beside the models. It refuses nothing: what
/// is larger is computed picture by picture and in tiles, and may still fit, as all this is an estimate.
pub(crate) fn room_in_machine(left: u64, size: Size, compute: Compute) -> Room {
    let fits = |pictures: &u64| of_a_step(size, *pictures, compute) <= left;
    let rows = (1..=TOGETHER_MAX).rev().find(fits).unwrap_or(1);
    Room { rows_max: rows as usize, decodes_whole: of_decoding(size, compute) <= left }
}

impl Room {
    /// What both have room for.
    pub(crate) fn within(self, other: Self) -> Self {
        Self {
            rows_max: self.rows_max.min(other.rows_max),
            decodes_whole: self.decodes_whole && other.decodes_whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    const NETWORKS: u64 = 2 << 30;

    fn of(mib: u64) -> Result<Room, BackendError> {
        let compute = Compute { unet: Kind::Half, vae: Kind::Half, ..Kind::Half.into() };
        room(Some(mib << 20), NETWORKS, Size { width: 512, height: 512, pictures: 1 }, compute)
    }

    #[test]
    fn a_share_bounds_the_rows_of_a_call_then_the_decoding_then_the_picture() {
        // A picture takes 160 MiB in a call, and 1 GiB to be decoded.
        for (mib, rows_max, decodes_whole) in
            [(2048 + 160, 1, false), (2048 + 640, 4, false), (2048 + 1024, 6, true), (8192, 8, true)]
        {
            assert_eq!(of(mib), Ok(Room { rows_max, decodes_whole }), "{mib} MiB");
        }
        for mib in [0, 2048, 2048 + 159] {
            let Err(BackendError::Request(why)) = of(mib) else { panic!("{mib} MiB is no room") };
            assert!(why.contains("512 x 512 take 2208 MiB"), "{why}");
        }
    }

    #[test]
    fn a_machine_has_large_pictures_drawn_one_by_one_and_decoded_in_tiles_and_refuses_none() {
        let compute = Compute::from(Kind::Float);
        let large = |side: u32| Size { width: side, height: side, pictures: 8 };
        for (side, rows_max, decodes_whole) in
            [(512, 8, true), (1024, 8, true), (2048, 2, false), (8192, 1, false)]
        {
            let room = room_in_machine(12 << 30, large(side), compute);
            assert_eq!(room, Room { rows_max, decodes_whole }, "{side}");
        }
        let [whole, least] = [12 << 30, 0].map(|left| room_in_machine(left, large(512), compute));
        assert_eq!(whole.within(least), Room { rows_max: 1, decodes_whole: false });
    }

    #[test]
    fn what_is_left_to_compute_in_is_the_least_of_the_share_and_the_machine() {
        for (share, machine, left) in [
            (None, None, u64::MAX),
            (None, Some(7), 7),
            (Some(NETWORKS + 5), None, 5),
            (Some(NETWORKS + 5), Some(7), 5),
            (Some(NETWORKS + 9), Some(7), 7),
            (Some(NETWORKS - 1), Some(7), 0),
        ] {
            assert_eq!(Limits { share, machine }.beside(NETWORKS), left, "{share:?} {machine:?}");
        }
    }

    #[test]
    fn what_has_no_bound_is_not_reckoned() {
        let size = Size { width: 2048, height: 2048, pictures: 8 };
        let room = room(None, u64::MAX, size, Kind::Float.into());
        assert_eq!(room, Ok(Room { rows_max: usize::MAX, decodes_whole: true }));
    }
}
