//! Reads a PNG's size from its first bytes, which is all the demonstration needs to know of a picture.

use anyhow::{Result, ensure};

/// Width and height. PNG, third edition, sections 5.2 and 11.2.1: signature, then the IHDR chunk.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32)> {
    const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    ensure!(bytes.starts_with(SIGNATURE), "what was served is no PNG");
    ensure!(bytes.get(12..16) == Some(b"IHDR"), "the PNG does not begin with IHDR");
    let number =
        |at: usize| bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes);
    match (number(16), number(20)) {
        (Some(width), Some(height)) => Ok((width, height)),
        _ => anyhow::bail!("the PNG breaks off in its header"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x80\0\0\x01\0\x08\x02\0\0\0";

    #[test]
    fn reads_width_and_height() {
        assert_eq!(size(HEAD).unwrap(), (128, 256));
    }

    #[test]
    fn refuses_other_files_and_cut_ones() {
        assert!(size(b"GIF89a").is_err());
        assert!(size(&HEAD[..12]).is_err());
        assert!(size(&HEAD[..19]).is_err());
    }
}
