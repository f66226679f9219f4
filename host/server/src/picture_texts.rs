//! What a picture's file says in words: the text chunks of a PNG, the user comment of the EXIF in a PNG, JPEG or WebP.
//! Called for uploads, so nothing here fails: what cannot be read is not there. Knows no pixels.

use std::io::Cursor;

use exif::{In, Tag, Value};

/// The name web UIs give the chunk with the infotext.
const INFOTEXT: &str = "parameters";
/// Bytes that packed texts of a file may unpack to, together; infotexts have a few thousand.
const UNPACKED_BYTES_MAX: usize = 2 << 20;

/// The texts of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PictureTexts {
    /// How the picture was drawn.
    pub(crate) infotext: Option<String>,
    /// Every other text by its keyword, as they lie in the file.
    pub(crate) items: Vec<(String, String)>,
}

/// Reads the texts of an encoded picture. Unpacks them: call it where blocking is allowed.
pub(crate) fn read(file: &[u8]) -> PictureTexts {
    let mut items = png_texts(file).unwrap_or_default();
    let chunk = items.iter().position(|(keyword, _)| keyword == INFOTEXT).map(|place| items.remove(place).1);
    PictureTexts { infotext: user_comment(file).or(chunk), items }
}

/// `None` when the file is no PNG.
fn png_texts(file: &[u8]) -> Option<Vec<(String, String)>> {
    let mut reader = png::Decoder::new(Cursor::new(file)).read_info().ok()?;
    // Texts may also follow the picture; without an end there are those before it.
    drop(reader.finish());
    let info = reader.info();
    let plain = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
    let mut texts: Vec<_> = plain.collect();
    // The library unpacks without any bound unless it is told one. What does not fit, or is damaged, uses up what is left:
    // many of them would take as long as one that fits.
    let mut left = UNPACKED_BYTES_MAX;
    for mut chunk in info.compressed_latin1_text.iter().cloned() {
        let text = chunk.decompress_text_with_limit(left).and_then(|()| chunk.get_text());
        left = left.saturating_sub(text.as_ref().map_or(left, String::len));
        texts.extend(text.ok().map(|text| (chunk.keyword, text)));
    }
    for mut chunk in info.utf8_text.iter().cloned() {
        let text = chunk.decompress_text_with_limit(left).and_then(|()| chunk.get_text());
        if chunk.compressed {
            left = left.saturating_sub(text.as_ref().map_or(left, String::len));
        }
        texts.extend(text.ok().map(|text| (chunk.keyword, text)));
    }
    Some(texts)
}

fn user_comment(file: &[u8]) -> Option<String> {
    let exif = exif::Reader::new().read_from_container(&mut Cursor::new(file)).ok()?;
    match &exif.get_field(Tag::UserComment, In::PRIMARY)?.value {
        // Undefined by the standard; Pillow writes bytes when it saves a picture again.
        Value::Undefined(bytes, _) | Value::Byte(bytes) => {
            comment_text(bytes).filter(|text| !text.is_empty())
        }
        _ => None,
    }
}

/// Eight bytes name the encoding, the text follows (EXIF 2.3, 4.6.5).
fn comment_text(bytes: &[u8]) -> Option<String> {
    let (encoding, text) = bytes.split_at_checked(8)?;
    let text = match encoding {
        b"UNICODE\0" => utf16(text),
        b"ASCII\0\0\0" | [0, 0, 0, 0, 0, 0, 0, 0] => String::from_utf8_lossy(text).into_owned(),
        _ => return None,
    };
    Some(text.trim_matches('\0').trim().to_owned())
}

/// Web UIs write big-endian whatever the file's own order is, other programs the file's: infotext is mostly Latin, so
/// the order is where the zeros say it is.
fn utf16(bytes: &[u8]) -> String {
    let pairs = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    let zeros = |place: usize| pairs().filter(|pair| pair[place] == 0).count();
    let unit = if zeros(1) > zeros(0) { u16::from_le_bytes } else { u16::from_be_bytes };
    char::decode_utf16(pairs().map(unit))
        .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use gesso_core::pixels::{PixelFormat, Pixels};

    use super::*;
    use crate::png_file;

    fn pixels() -> Pixels {
        Pixels::new(1, 1, PixelFormat::Rgb8, vec![0, 127, 255]).unwrap()
    }

    #[test]
    fn the_infotext_is_kept_apart_from_the_other_texts() {
        let file =
            png_file::encode_with(&pixels(), &[("parameters", "a\nSteps: 3"), ("postprocessing", "夕")])
                .unwrap();
        let texts = read(&file);
        assert_eq!(texts.infotext.as_deref(), Some("a\nSteps: 3"));
        assert_eq!(texts.items, [("postprocessing".to_owned(), "夕".to_owned())]);
    }

    #[test]
    fn a_file_without_texts_and_a_file_that_is_none_say_nothing() {
        let mut file = png_file::encode(&pixels(), "").unwrap();
        assert_eq!(read(&file), PictureTexts::default());
        file.truncate(file.len() - 20);
        assert_eq!(read(&file), PictureTexts::default());
        assert_eq!(read(b"no picture"), PictureTexts::default());
    }

    /// A PNG with texts of so many letters, packed as zTXt, or as iTXt where the keyword is in upper case.
    fn packed(texts: &[(&str, usize)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(png::ColorType::Rgb);
        for (keyword, letters) in texts.iter().filter(|(keyword, _)| *keyword == keyword.to_lowercase()) {
            encoder.add_ztxt_chunk((*keyword).into(), "a".repeat(*letters)).unwrap();
        }
        let mut writer = encoder.write_header().unwrap();
        for (keyword, letters) in texts.iter().filter(|(keyword, _)| *keyword != keyword.to_lowercase()) {
            let mut chunk = png::text_metadata::ITXtChunk::new(*keyword, "a".repeat(*letters));
            chunk.compressed = true;
            writer.write_text_chunk(&chunk).unwrap();
        }
        writer.write_image_data(&[0; 3]).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn texts_that_unpack_to_more_than_any_picture_says_are_left_out() {
        let keywords = |texts: &[(&str, usize)]| {
            let file = packed(texts);
            assert!(file.len() < 256 << 10, "{} bytes are no bomb", file.len());
            read(&file).items.into_iter().map(|(keyword, _)| keyword).collect::<Vec<_>>()
        };
        assert_eq!(keywords(&[("a", 1_000_000), ("b", 900_000), ("C", 100_000)]), ["a", "b", "C"]);
        assert_eq!(keywords(&[("a", 1_000_000), ("b", 1_200_000), ("c", 1), ("D", 1)]), ["a"]);
        assert_eq!(keywords(&[("a", 8 << 20), ("B", 8 << 20)]), Vec::<String>::new());
        assert_eq!(keywords(&[("A", 1_000_000), ("B", 1_200_000)]), ["A"]);
    }

    /// Types of EXIF values.
    const BYTE: u8 = 1;
    const UNDEFINED: u8 = 7;

    /// A JPEG of nothing but its EXIF: a directory whose one entry points to another with the comment.
    fn jpeg(comment: &[u8], kind: u8) -> Vec<u8> {
        let mut tiff = b"MM\0*\0\0\0\x08".to_vec();
        // One long at 0x8769 (EXIF directory): it lies behind this one, at 26.
        tiff.extend([0, 1, 0x87, 0x69, 0, 4, 0, 0, 0, 1, 0, 0, 0, 26, 0, 0, 0, 0]);
        // The text of 0x9286 (UserComment) lies behind this directory, at 44.
        tiff.extend([0, 1, 0x92, 0x86, 0, kind]);
        tiff.extend((comment.len() as u32).to_be_bytes());
        tiff.extend([0, 0, 0, 44, 0, 0, 0, 0]);
        tiff.extend(comment);
        let mut file = vec![0xff, 0xd8, 0xff, 0xe1];
        file.extend((tiff.len() as u16 + 8).to_be_bytes());
        file.extend(b"Exif\0\0");
        file.extend(tiff);
        file.extend([0xff, 0xd9]);
        file
    }

    #[test]
    fn reads_user_comments_in_every_encoding_programs_write() {
        let text = "a café\nSteps: 20, Sampler: Euler";
        let big = b"UNICODE\0".iter().copied().chain(text.encode_utf16().flat_map(u16::to_be_bytes));
        let little = b"UNICODE\0".iter().copied().chain(text.encode_utf16().flat_map(u16::to_le_bytes));
        let plain = b"ASCII\0\0\0".iter().copied().chain(text.bytes());
        for comment in [big.collect::<Vec<u8>>(), little.collect(), plain.collect()] {
            for kind in [UNDEFINED, BYTE] {
                assert_eq!(read(&jpeg(&comment, kind)).infotext.as_deref(), Some(text));
            }
        }
        assert_eq!(read(&jpeg(b"JIS\0\0\0\0\0abc", UNDEFINED)).infotext, None);
        assert_eq!(read(&jpeg(b"short", UNDEFINED)).infotext, None);
    }
}
