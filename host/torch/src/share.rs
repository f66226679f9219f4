//! What a drawing may have of the memory that it is drawn in: how many of its pictures fit into one call, what is left to encode
//! and decode one in, and what does not fit at all. By the estimate of `working_memory`; of a share, control networks,
//! references, upscalers and face restorers are not counted. Pure.

use gesso_engine::backend::BackendError;

use crate::compute::Compute;
use crate::working_memory::{Size, TOGETHER_MAX, of_a_step};

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

/// How many pictures of a size fit into one UNet call beside networks of so many bytes, all within `bytes_max`.
///
/// # Errors
/// [`BackendError::Request`] where the networks and one picture take more.
pub(crate) fn room(
    bytes_max: Option<u64>,
    networks: u64,
    size: Size,
    compute: Compute,
) -> Result<usize, BackendError> {
    let Some(bytes_max) = bytes_max else { return Ok(usize::MAX) };
    let taken = networks.saturating_add(of_a_step(size, 1, compute));
    if taken <= bytes_max {
        return Ok(rows_in(bytes_max - networks, size, compute));
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(BackendError::Request(format!(
        "the checkpoint and a picture of {} x {} take {} MiB of memory, and what is drawn with it may take {} MiB; ask for a \
         smaller picture, or have an operator give the checkpoint more",
        size.width,
        size.height,
        mib(taken),
        mib(bytes_max)
    )))
}

/// Pictures in one UNet call that takes so many bytes, at least one: all this is an estimate, and one may fit all the same.
pub(crate) fn rows_in(bytes: u64, size: Size, compute: Compute) -> usize {
    let fits = |pictures: &u64| of_a_step(size, *pictures, compute) <= bytes;
    (1..=TOGETHER_MAX).rev().find(fits).unwrap_or(1) as usize
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    const NETWORKS: u64 = 2 << 30;

    fn of(mib: u64) -> Result<usize, BackendError> {
        let compute = Compute { unet: Kind::Half, vae: Kind::Half, ..Kind::Half.into() };
        room(Some(mib << 20), NETWORKS, Size { width: 512, height: 512, pictures: 1 }, compute)
    }

    #[test]
    fn a_share_bounds_the_rows_of_a_call_and_then_the_picture() {
        // A picture takes 160 MiB in a call.
        for (mib, rows) in [(2048 + 160, 1), (2048 + 640, 4), (2048 + 1024, 6), (8192, 8)] {
            assert_eq!(of(mib), Ok(rows), "{mib} MiB");
        }
        for mib in [0, 2048, 2048 + 159] {
            let Err(BackendError::Request(why)) = of(mib) else { panic!("{mib} MiB is no room") };
            assert!(why.contains("512 x 512 take 2208 MiB"), "{why}");
        }
    }

    #[test]
    fn of_large_pictures_fewer_are_drawn_together_and_one_in_any_case() {
        let compute = Compute::from(Kind::Float);
        let square = |side: u32| Size { width: side, height: side, pictures: 8 };
        for (side, rows) in [(512, 8), (1024, 8), (2048, 2), (8192, 1)] {
            assert_eq!(rows_in(12 << 30, square(side), compute), rows, "{side}");
        }
        assert_eq!(rows_in(0, square(512), compute), 1);
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
        assert_eq!(room, Ok(usize::MAX));
    }
}
