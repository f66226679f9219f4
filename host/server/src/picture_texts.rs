//! What a picture's file says in words: the text chunks of a PNG, the user comment of the EXIF in a PNG, JPEG or WebP, the
//! comment of a GIF. Called for uploads, so nothing here fails: what cannot be read is not there. Knows no pixels.

use std::io::Cursor;

use exif::{In, Tag, Value};
use gesso_core::infotext::Infotext;
use gesso_core::sampler::Sampler;
use serde_json::Value as Json;

/// The name web UIs give the chunk with the infotext.
const INFOTEXT: &str = "parameters";
/// Bytes that packed texts of a file may unpack to, together, and those of a text that is taken apart; infotexts have a few
/// thousand.
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
    let Png { texts: mut items, size } = Png::read(file).unwrap_or_default();
    let chunk = items.iter().position(|(keyword, _)| keyword == INFOTEXT).map(|place| items.remove(place).1);
    let infotext = user_comment(file).or(chunk);
    let infotext = infotext.or_else(|| novel_ai(&items, size)).or_else(|| gif_comment(file));
    PictureTexts { infotext, items }
}

/// What a PNG says.
#[derive(Default)]
struct Png {
    texts: Vec<(String, String)>,
    /// Width and height.
    size: (u32, u32),
}

impl Png {
    /// `None` when the file is no PNG.
    fn read(file: &[u8]) -> Option<Self> {
        let mut reader = png::Decoder::new(Cursor::new(file)).read_info().ok()?;
        // Texts may also follow the picture; without an end there are those before it.
        drop(reader.finish());
        let info = reader.info();
        let plain =
            info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
        let mut texts: Vec<_> = plain.collect();
        // The library unpacks without any bound unless it is told one. What does not fit, or is damaged, uses up what is
        // left: many of them would take as long as one that fits.
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
        Some(Self { texts, size: (info.width, info.height) })
    }
}

/// The infotext of a picture of NovelAI's, which says in JSON how it was drawn. That clip skip and that shift of the seeds
/// are its own, and named nowhere.
fn novel_ai(items: &[(String, String)], (width, height): (u32, u32)) -> Option<String> {
    let text = |name: &str| items.iter().find(|(keyword, _)| keyword == name).map(|(_, text)| text.as_str());
    if text("Software") != Some("NovelAI") {
        return None;
    }
    let comment = text("Comment").filter(|comment| comment.len() <= UNPACKED_BYTES_MAX)?;
    let said: Json = serde_json::from_str(comment).ok()?;
    let word = |name: &str| said.get(name).and_then(Json::as_str).unwrap_or_default();
    let number = |name: &str| said.get(name).filter(|number| number.is_number());
    // Its names are those of old, with a word where web UIs have a letter.
    let sampler = Sampler::parse(&word("sampler").replace("_ancestral", "_a"));
    let sampler = sampler.map_or(Sampler::EulerA, |(sampler, _)| sampler);
    let infotext = Infotext::new(text("Description")?, word("uc"))
        .field("Steps", number("steps")?)
        .field("Sampler", sampler.label())
        .field("CFG scale", number("scale")?)
        .field("Seed", number("seed")?)
        .field("Size", format!("{width}x{height}"))
        .field("Clip skip", 2)
        .field("ENSD", 31337);
    Some(infotext.to_string())
}

/// The first comment of a GIF. Its parts lie one behind the other, and each says where it ends (GIF89a, 15 and following).
fn gif_comment(file: &[u8]) -> Option<String> {
    let screen = file.strip_prefix(b"GIF89a").or_else(|| file.strip_prefix(b"GIF87a"))?;
    let mut rest = behind_colours(screen.get(7..)?, *screen.get(4)?)?;
    loop {
        let (kind, part) = rest.split_first()?;
        rest = match kind {
            // An extension, of the kind that follows.
            0x21 if part.first() == Some(&0xfe) => {
                let mut comment = Vec::<u8>::new();
                behind_blocks(part.get(1..)?, |block| {
                    let room = UNPACKED_BYTES_MAX.saturating_sub(comment.len());
                    comment.extend(block.iter().take(room));
                });
                let comment = String::from_utf8_lossy(&comment).trim_matches('\0').trim().to_owned();
                return Some(comment).filter(|comment| !comment.is_empty());
            }
            0x21 => behind_blocks(part.get(1..)?, |_| ())?,
            // A picture: its colours, and a number before its blocks.
            0x2c => {
                let picture = behind_colours(part.get(9..)?, *part.get(8)?)?;
                behind_blocks(picture.get(1..)?, |_| ())?
            }
            _ => return None,
        };
    }
}

/// Without the table of colours that these flags tell of.
fn behind_colours(rest: &[u8], flags: u8) -> Option<&[u8]> {
    let colours = if flags & 0x80 == 0 { 0 } else { 2_usize << (flags & 7) };
    rest.get(3 * colours..)
}

/// Without the blocks at the beginning, of which an empty one is the last.
fn behind_blocks(mut rest: &[u8], mut each: impl FnMut(&[u8])) -> Option<&[u8]> {
    loop {
        let (length, behind) = rest.split_first()?;
        let (block, behind) = behind.split_at_checked(usize::from(*length))?;
        if block.is_empty() {
            return Some(behind);
        }
        each(block);
        rest = behind;
    }
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

    /// A PNG of 1 x 1 pixels of NovelAI's.
    fn novel_ai_file(comment: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let texts = [("Software", "NovelAI"), ("Description", "a sea, at night"), ("Comment", comment)];
        png_file::encode_with(&pixels(), &[&texts[..], more].concat()).unwrap()
    }

    #[test]
    fn what_novel_ai_says_of_its_pictures_is_an_infotext() {
        let comment = r#"{"steps": 28, "sampler": "k_euler_ancestral", "seed": 4294967295, "strength": 0.69,
            "scale": 11.0, "uc": "lowres, text"}"#;
        let texts = read(&novel_ai_file(comment, &[]));
        let said = "a sea, at night\nNegative prompt: lowres, text\nSteps: 28, Sampler: Euler a, CFG scale: 11.0, \
                    Seed: 4294967295, Size: 1x1, Clip skip: 2, ENSD: 31337";
        assert_eq!(texts.infotext.as_deref(), Some(said));
        let keywords: Vec<_> = texts.items.iter().map(|(keyword, _)| keyword.as_str()).collect();
        assert_eq!(keywords, ["Software", "Description", "Comment"]);
        for (name, label) in
            [("k_dpmpp_2s_ancestral", "DPM++ 2S a"), ("ddim", "DDIM"), ("nai_smea", "Euler a")]
        {
            let comment = comment.replace("k_euler_ancestral", name);
            let text = read(&novel_ai_file(&comment, &[])).infotext.unwrap();
            assert!(text.contains(&format!("Sampler: {label}, ")), "{name}: {text}");
        }
        // An infotext of its own goes before; what is no such JSON says nothing.
        let own = read(&novel_ai_file(comment, &[("parameters", "a\nSteps: 3")]));
        assert_eq!(own.infotext.as_deref(), Some("a\nSteps: 3"));
        for comment in ["{", "[]", r#"{"steps": "many", "scale": 11, "seed": 1}"#] {
            assert_eq!(read(&novel_ai_file(comment, &[])).infotext, None, "{comment}");
        }
    }

    /// A GIF of one pixel, with the parts of it that are told before and behind the picture.
    fn gif(before: &[u8], behind: &[u8]) -> Vec<u8> {
        // One pixel, with a table of two colours.
        let screen = [b"GIF89a\x01\0\x01\0\x80\0\0".as_slice(), &[0, 0, 0, 255, 255, 255]].concat();
        // The same size at the left and the top with a table of its own, and one code of two bits.
        let place = [0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0x80, 9, 9, 9, 8, 8, 8];
        [&screen[..], before, &place, &[2, 2, 0x44, 1, 0], behind, &[0x3b]].concat()
    }

    fn gif_extension(label: u8, blocks: &[&[u8]]) -> Vec<u8> {
        let block = |block: &&[u8]| [&[block.len() as u8][..], *block].concat();
        let blocks = blocks.iter().map(block).collect::<Vec<_>>();
        [&[0x21, label][..], &blocks.concat(), &[0]].concat()
    }

    #[test]
    fn the_comment_of_a_gif_is_its_infotext_wherever_it_lies() {
        let long = format!("{}\nSteps: 3", "a café, ".repeat(100));
        let comment = gif_extension(0xfe, &long.as_bytes().chunks(255).collect::<Vec<_>>());
        // What stands in another part is no comment, whatever it looks like.
        let other = gif_extension(0xff, &[b"ANYPROGRAM1", &[0x21, 0xfe, 1, b'x', 0]]);
        let both = [&other[..], &comment].concat();
        for file in [gif(&comment, &[]), gif(&other, &comment), gif(&both, &other)] {
            let picture = gesso_picture::decode::decode(&file, &Default::default());
            assert_eq!(picture.map(|picture| picture.width), Ok(1), "the test's own file");
            assert_eq!(read(&file), PictureTexts { infotext: Some(long.clone()), items: Vec::new() });
        }
        assert_eq!(read(&gif(&other, &other)), PictureTexts::default());
        assert_eq!(read(&gif(&gif_extension(0xfe, &[]), &[])), PictureTexts::default());
        let whole = gif(&other, &comment);
        for length in 0..whole.len() {
            read(&whole[..length]);
        }
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
