//! Brings pictures of one colour: a request that says `colour:ff8800` in place of a picture gets an orange square, which nobody
//! sends or keeps.

use gesso_plugin::{Fault, InputFetcher};

/// Pixels along a side; a request brings the picture to the size that it needs.
const SIDE: u32 = 64;

struct Plugin;

impl InputFetcher for Plugin {
    fn fetch(reference: &str) -> Result<Vec<u8>, Fault> {
        match colour(reference) {
            Some(colour) => Ok(bitmap(colour)),
            None => {
                Err(Fault::InvalidInput(format!("{reference:.100} names no colour; colour:ff8800 is orange")))
            }
        }
    }
}

gesso_plugin::input_fetcher!(Plugin, manifest = "manifest.json");

/// Red, green and blue, of six hex digits behind the scheme.
fn colour(reference: &str) -> Option<[u8; 3]> {
    let (_, digits) = reference.split_once(':')?;
    // Numbers may have a sign, colours have none.
    let is_colour = digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok().filter(|_| is_colour)?.to_be_bytes();
    Some([red, green, blue])
}

/// A BMP file, the simplest of those that a server reads.
fn bitmap([red, green, blue]: [u8; 3]) -> Vec<u8> {
    const HEAD: u32 = 54;
    let bytes = SIDE * SIDE * 3;
    let mut file = b"BM".to_vec();
    for number in [HEAD + bytes, 0, HEAD, 40, SIDE, SIDE] {
        file.extend(number.to_le_bytes());
    }
    // One plane of 24 bits, not compressed.
    file.extend([1, 0, 24, 0]);
    for number in [0, bytes, 0, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend([blue, green, red].repeat((SIDE * SIDE) as usize));
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_a_picture_of_it() -> Result<(), Fault> {
        let file = Plugin::fetch("colour:fF8800")?;
        assert_eq!((file.len(), &file[..2]), (54 + 64 * 64 * 3, &b"BM"[..]));
        assert!(file[54..].chunks(3).all(|pixel| pixel == [0, 0x88, 0xff]), "blue comes first");
        Ok(())
    }

    #[test]
    fn what_is_no_colour_is_refused_in_a_sentence() {
        for reference in ["colour:", "colour:f80", "colour:+ff880", "colour:ff88zz", "colour:ff880é"] {
            let refused = Plugin::fetch(reference);
            assert!(matches!(refused, Err(Fault::InvalidInput(text)) if text.contains("names no colour")));
        }
    }
}
