//! Whether a JPEG file has its end. The decoder pads what is missing with grey; Pillow refuses, and so does `decode`.

const END_OF_IMAGE: u8 = 0xD9;

/// Walks the markers from the start: true if the walk meets the end-of-image marker. A thumbnail in the metadata has
/// an end of its own, which is why looking for the bytes anywhere would not do.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some((marker, after)) = next_marker(bytes, at) {
        match marker {
            END_OF_IMAGE => return true,
            // Start of image, restarts and TEM stand alone.
            0x01 | 0xD0..=0xD8 => at = after,
            _ => {
                let Some(length) = bytes.get(after..after + 2) else { return false };
                at = after + usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            }
        }
    }
    false
}

/// The next marker at or behind `from` and the place after it, over entropy-coded data and fill bytes.
fn next_marker(bytes: &[u8], from: usize) -> Option<(u8, usize)> {
    let tail = bytes.get(from..)?;
    let found = tail.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF))?;
    Some((tail[found + 1], from + found + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_picture() {
        // SOI, APP1 of 6 bytes holding an end marker, SOS of 2 bytes, data with a stuffed byte and a restart.
        let mut file = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 1, 2];
        file.extend([0xFF, 0xDA, 0, 2, 7, 0xFF, 0x00, 9, 0xFF, 0xD0, 3]);
        assert!(!is_complete(&file));
        file.extend([0xFF, 0xFF, 0xD9]);
        assert!(is_complete(&file));
        for length in 0..file.len() {
            assert!(!is_complete(&file[..length]), "{length}");
        }
    }
}
