//! Uploads made to break the decoder: every one is answered with an error or a picture, within the limits.

use gesso_picture::decode::{DecodeError, DecodeLimits, decode};

use crate::goldens::file;

const KINDS: [&str; 8] = [
    "png_rgb",
    "png_palette",
    "jpeg_420",
    "jpeg_progressive",
    "webp_lossless",
    "webp_lossy",
    "gif",
    "bmp_rgb",
];

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for kind in KINDS {
        let whole = file(kind);
        // The last bytes of PNG, GIF and WebP are trailers and padding, not picture.
        let ends = if kind.starts_with("jpeg") || kind.starts_with("bmp") { 1 } else { 48 };
        for length in (0..whole.len() - ends).step_by(37) {
            let cut = decode(&whole[..length], &DecodeLimits::default());
            assert!(cut.is_err(), "{kind} cut to {length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn a_damaged_file_is_answered_without_a_panic() {
    for kind in KINDS {
        let whole = file(kind);
        for at in (0..whole.len()).step_by(29) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x5A;
            if let Ok(picture) = decode(&damaged, &DecodeLimits::default()) {
                assert!(picture.width <= 16384 && picture.height <= 16384, "{kind} damaged at {at}");
            }
        }
    }
}

/// A small file whose header lies, so that an answer about the size can only have come from the header.
fn claims(kind: &str) -> (Vec<u8>, &'static str) {
    let side = 60000_u32;
    let mut bytes = file(kind);
    match kind {
        "png_rgb" => {
            bytes[16..20].copy_from_slice(&side.to_be_bytes());
            bytes[20..24].copy_from_slice(&side.to_be_bytes());
            let checksum = crc32(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
            (bytes, "PNG")
        }
        "jpeg_444" => {
            let start = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
            bytes[start + 5..start + 7].copy_from_slice(&(side as u16).to_be_bytes());
            bytes[start + 7..start + 9].copy_from_slice(&(side as u16).to_be_bytes());
            (bytes, "JPEG")
        }
        "gif" => {
            bytes[6..8].copy_from_slice(&(side as u16).to_le_bytes());
            bytes[8..10].copy_from_slice(&(side as u16).to_le_bytes());
            (bytes, "GIF")
        }
        "webp_animated" => {
            bytes[24..27].copy_from_slice(&(side - 1).to_le_bytes()[..3]);
            bytes[27..30].copy_from_slice(&(side - 1).to_le_bytes()[..3]);
            (bytes, "WebP")
        }
        _ => {
            bytes[18..22].copy_from_slice(&side.to_le_bytes());
            bytes[22..26].copy_from_slice(&side.to_le_bytes());
            (bytes, "BMP")
        }
    }
}

/// The checksum of PNG chunks, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[test]
fn a_header_that_claims_60000_by_60000_pixels_is_refused_by_its_size() {
    for kind in ["png_rgb", "jpeg_444", "gif", "webp_animated", "bmp_rgb"] {
        let (bytes, name) = claims(kind);
        let answer = decode(&bytes, &DecodeLimits::default());
        let by_size = matches!(answer, Err(DecodeError::TooManyPixels { width: 60000, height: 60000, .. }));
        assert!(by_size, "{name}: {answer:?}");
    }
}

#[test]
fn limits_hold_exactly() {
    let bytes = file("png_rgb");
    let limits = DecodeLimits { bytes_max: bytes.len(), side_max: 40, pixels_max: 40 * 30 };
    assert!(decode(&bytes, &limits).is_ok());
    for tighter in [
        DecodeLimits { bytes_max: bytes.len() - 1, ..limits },
        DecodeLimits { side_max: 39, ..limits },
        DecodeLimits { pixels_max: 40 * 30 - 1, ..limits },
    ] {
        assert!(decode(&bytes, &tighter).is_err(), "{tighter:?}");
    }
}

#[test]
fn zero_sizes_and_other_files_are_refused() {
    let mut png = file("png_rgb");
    png[16..20].fill(0);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    assert!(matches!(decode(&png, &DecodeLimits::default()), Err(DecodeError::Unreadable { .. })));
    let mut gif = file("gif");
    gif[6..8].fill(0);
    assert!(decode(&gif, &DecodeLimits::default()).is_err());
    for other in [&b""[..], b"GIF", b"<svg/>", b"II*\0\x08\0\0\0", b"%PDF-1.7", &[0; 64]] {
        assert_eq!(decode(other, &DecodeLimits::default()), Err(DecodeError::UnknownFormat), "{other:?}");
    }
}
