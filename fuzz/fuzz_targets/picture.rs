//! Any bytes are decoded as an upload, and as the text of one. Must answer, never panic, within the limits' memory.

#![no_main]

use gesso_picture::decode::{DecodeLimits, decode};
use gesso_picture::text::picture_bytes;
use libfuzzer_sys::fuzz_target;

const LIMITS: DecodeLimits = DecodeLimits { bytes_max: 1 << 20, side_max: 4096, pixels_max: 1 << 20 };

fuzz_target!(|file: &[u8]| {
    if let Ok(picture) = decode(file, &LIMITS) {
        assert!(u64::from(picture.width) * u64::from(picture.height) <= LIMITS.pixels_max);
    }
    if let Ok(text) = std::str::from_utf8(file) {
        let _ = picture_bytes(text, LIMITS.bytes_max);
    }
});
