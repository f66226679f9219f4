//! Who vouches for a component: an Ed25519 signature (RFC 8032) over its bytes, as a custom section at their end. Knows keys,
//! not what a plugin may do; without keys that the admin trusts, signatures are not looked at.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use gesso_core::hex::hex;
use wasm_encoder::{CustomSection, Section};

const SECTION: &str = "gesso:signature";
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
/// Section id, two lengths of one byte, the name, key and signature.
const SECTION_BYTES: usize = 3 + SECTION.len() + KEY_BYTES + SIGNATURE_BYTES;

/// A public key that an admin trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedKey(VerifyingKey);

impl TrustedKey {
    /// Reads 64 hex digits.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = key_bytes(text)?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| "these digits are no public key".to_owned())
    }
}

/// The private key of an author. Debugging shows nothing of it.
pub struct AuthorKey(SigningKey);

impl AuthorKey {
    /// A new one, from the system's random numbers.
    ///
    /// # Errors
    /// Where the system has none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = [0; KEY_BYTES];
        getrandom::fill(&mut seed)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads what [`Self::to_hex`] wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(SigningKey::from_bytes(&key_bytes(text)?)))
    }

    /// 64 hex digits, to be kept secret.
    pub fn to_hex(&self) -> String {
        hex(self.0.as_bytes())
    }

    /// 64 hex digits, for the admins who trust the author.
    pub fn public_hex(&self) -> String {
        hex(self.0.verifying_key().as_bytes())
    }

    /// The component with this key's signature in place of any that it had.
    pub fn sign(&self, component: &[u8]) -> Vec<u8> {
        let mut signed = split(component).map_or(component, |(component, ..)| component).to_vec();
        let signature = self.0.sign(&signed).to_bytes();
        let data = [self.0.verifying_key().as_bytes().as_slice(), &signature].concat();
        CustomSection { name: SECTION.into(), data: data.into() }.append_to(&mut signed);
        signed
    }
}

/// The public key, in hex, whose valid signature the component ends with; `None` where it has no signature.
///
/// # Errors
/// Where the signature is not of these bytes.
pub fn signer(component: &[u8]) -> Result<Option<String>, String> {
    let Some((signed, key, signature)) = split(component) else { return Ok(None) };
    let valid = VerifyingKey::from_bytes(key)
        .and_then(|key| key.verify_strict(signed, &Signature::from_bytes(signature)));
    match valid {
        Ok(()) => Ok(Some(hex(key))),
        Err(_) => Err("its signature is not of these bytes: it was changed after it was signed".to_owned()),
    }
}

/// The signer. Where there are trusted keys, refuses what none of them vouches for; a false signature is refused anyhow.
pub(crate) fn check(component: &[u8], trusted: &[TrustedKey]) -> Result<Option<String>, String> {
    match signer(component)? {
        signer if trusted.is_empty() => Ok(signer),
        None => Err("it is not signed, and this server takes plugins of trusted keys alone".to_owned()),
        Some(key) if trusted.iter().any(|trusted| hex(trusted.0.as_bytes()) == key) => Ok(Some(key)),
        Some(key) => Err(format!("it is signed with {key}, which this server does not trust")),
    }
}

type Parts<'a> = (&'a [u8], &'a [u8; KEY_BYTES], &'a [u8; SIGNATURE_BYTES]);

/// What was signed, by whom, and the signature, where the last section is one.
fn split(component: &[u8]) -> Option<Parts<'_>> {
    let (signed, section) = component.split_at_checked(component.len().checked_sub(SECTION_BYTES)?)?;
    let (head, data) = section.split_at(SECTION_BYTES - KEY_BYTES - SIGNATURE_BYTES);
    let (lengths, name) = head.split_at(3);
    let is_signature =
        lengths == [0, (SECTION_BYTES - 2) as u8, SECTION.len() as u8] && name == SECTION.as_bytes();
    let (key, signature) = data.split_first_chunk()?;
    is_signature.then_some((signed, key, signature.first_chunk()?))
}

fn key_bytes(text: &str) -> Result<[u8; KEY_BYTES], String> {
    let text = text.trim();
    let digits: Option<Vec<u8>> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    digits
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("a key is {} hex digits; this has {} characters", 2 * KEY_BYTES, text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> AuthorKey {
        AuthorKey::parse(&hex(&[byte; KEY_BYTES])).unwrap()
    }

    #[test]
    fn a_signature_names_its_key_and_only_its_bytes() {
        let component = wat::parse_str("(component)").unwrap();
        assert_eq!(signer(&component), Ok(None));
        let signed = key(7).sign(&component);
        assert_eq!(signer(&signed), Ok(Some(key(7).public_hex())));
        assert_eq!(wasmparser::Parser::new(0).parse_all(&signed).filter(Result::is_err).count(), 0);
        let mut changed = signed.clone();
        changed[4] ^= 1;
        assert!(signer(&changed).unwrap_err().contains("changed after"));
        // Signed again, the first signature is gone.
        assert_eq!(key(8).sign(&signed), key(8).sign(&component));
        assert_eq!(signer(b""), Ok(None));
    }

    #[test]
    fn trusted_keys_let_only_their_own_pass() {
        let component = wat::parse_str("(component)").unwrap();
        let trusted = [TrustedKey::parse(&key(7).public_hex()).unwrap()];
        assert_eq!(check(&component, &[]), Ok(None));
        assert_eq!(check(&key(7).sign(&component), &trusted), Ok(Some(key(7).public_hex())));
        assert!(check(&component, &trusted).unwrap_err().contains("is not signed"));
        assert!(check(&key(8).sign(&component), &trusted).unwrap_err().contains("does not trust"));
    }

    #[test]
    fn a_key_is_64_hex_digits() {
        assert!(AuthorKey::parse("12").err().unwrap().contains("64 hex digits"));
        assert!(TrustedKey::parse(&"zz".repeat(32)).unwrap_err().contains("64 hex digits"));
        let fresh = AuthorKey::generate().unwrap();
        assert_eq!(AuthorKey::parse(&fresh.to_hex()).unwrap().public_hex(), fresh.public_hex());
    }
}
