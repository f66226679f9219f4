//! The SHA-256 of a file as registries write it.

use std::fmt;

use crate::compile_worker::sha256_hex;

const ALGORITHM: &str = "sha256:";
const HEX_DIGITS: usize = 64;

/// `sha256:` and 64 hex digits in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest(String);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(format!("{ALGORITHM}{}", sha256_hex(bytes)))
    }

    /// # Errors
    /// A sentence that says what a digest looks like.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_hex = |text: &str| {
            text.len() == HEX_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if text.strip_prefix(ALGORITHM).is_some_and(is_hex) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} is no digest; write {ALGORITHM} and {HEX_DIGITS} hex digits in lower case, other algorithms are not taken"
        ))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_its_bytes_and_in_one_spelling() {
        // FIPS 180-4's example.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::parse(abc), Ok(Digest::of(b"abc")));
        assert_eq!(Digest::of(b"abc").to_string(), abc);
        let upper = abc.replace("ba", "BA");
        for text in ["", "sha256:", &abc[7..], &abc[..abc.len() - 1], &upper, "sha512:ab", "sha256:../../x"] {
            assert!(Digest::parse(text).unwrap_err().contains("64 hex digits"), "{text}");
        }
    }
}
