//! The channels of a row of RGB pixels laid apart. Guests shuffle sixteen pixels at a time, because compilers make a load of each
//! byte of a loop over them. Knows bytes alone.

/// Pixels that are laid apart at a time.
const BLOCK: usize = 16;
const CHANNELS: usize = 3;

/// Puts the channels of `row` into rows of their own, which are at least as long as it has pixels.
pub(crate) fn lay_apart(row: &[u8], [red, green, blue]: [&mut [u8]; CHANNELS]) {
    let (blocks, rest) = row.as_chunks::<{ CHANNELS * BLOCK }>();
    let done = blocks.len() * BLOCK;
    for (block, place) in blocks.iter().zip((0..done).step_by(BLOCK)) {
        let [reds, greens, blues] = block_apart(block);
        red[place..][..BLOCK].copy_from_slice(&reds);
        green[place..][..BLOCK].copy_from_slice(&greens);
        blue[place..][..BLOCK].copy_from_slice(&blues);
    }
    let (pixels, _) = rest.as_chunks::<CHANNELS>();
    for (pixel, place) in pixels.iter().zip(done..) {
        [red[place], green[place], blue[place]] = *pixel;
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn block_apart(block: &[u8; CHANNELS * BLOCK]) -> [[u8; BLOCK]; CHANNELS] {
    [0, 1, 2].map(|channel| std::array::from_fn(|pixel| block[pixel * CHANNELS + channel]))
}

/// Each channel out of the first two vectors, and then what is missing out of the third.
#[cfg(target_arch = "wasm32")]
fn block_apart(block: &[u8; CHANNELS * BLOCK]) -> [[u8; BLOCK]; CHANNELS] {
    use std::arch::wasm32::u8x16_shuffle as shuffle;

    let (vectors, _) = block.as_chunks::<BLOCK>();
    let [a, b, c] = [vector(&vectors[0]), vector(&vectors[1]), vector(&vectors[2])];
    let red = shuffle::<0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 0, 0, 0, 0, 0>(a, b);
    let green = shuffle::<1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 0, 0, 0, 0, 0>(a, b);
    let blue = shuffle::<2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 0, 0, 0, 0, 0, 0>(a, b);
    let red = shuffle::<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29>(red, c);
    let green = shuffle::<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 21, 24, 27, 30>(green, c);
    let blue = shuffle::<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 19, 22, 25, 28, 31>(blue, c);
    [bytes(red), bytes(green), bytes(blue)]
}

/// In two halves, which compilers load at once.
#[cfg(target_arch = "wasm32")]
fn vector(bytes: &[u8; BLOCK]) -> std::arch::wasm32::v128 {
    let (halves, _) = bytes.as_chunks::<{ BLOCK / 2 }>();
    std::arch::wasm32::u64x2(u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1]))
}

#[cfg(target_arch = "wasm32")]
fn bytes(vector: std::arch::wasm32::v128) -> [u8; BLOCK] {
    use std::arch::wasm32::u64x2_extract_lane as half;

    let mut bytes = [0; BLOCK];
    let (halves, _) = bytes.as_chunks_mut::<{ BLOCK / 2 }>();
    halves[0] = half::<0>(vector).to_le_bytes();
    halves[1] = half::<1>(vector).to_le_bytes();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_lie_apart_whatever_the_length() {
        for pixels in [0, 1, 15, 16, 17, 32, 47] {
            let row: Vec<u8> = (0..pixels * CHANNELS).map(|at| (at * 7) as u8).collect();
            let [mut red, mut green, mut blue] = [(); CHANNELS].map(|()| vec![99_u8; pixels + 1]);
            lay_apart(&row, [&mut red, &mut green, &mut blue]);
            for (channel, plane) in [red, green, blue].iter().enumerate() {
                let alone: Vec<u8> = row.iter().skip(channel).step_by(CHANNELS).copied().collect();
                assert_eq!((&plane[..pixels], plane[pixels]), (&alone[..], 99), "{pixels}, {channel}");
            }
        }
    }
}
