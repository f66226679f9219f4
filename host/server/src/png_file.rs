//! PNG files with their infotext, as every tool of the field reads them: a text chunk named `parameters`, and
//! `postprocessing` for what was done to a picture afterwards. Reading them back is [`crate::picture_texts`].

use gesso_core::pixels::{PixelFormat, Pixels};

/// Encodes `pixels` with how they were drawn.
pub(crate) fn encode(pixels: &Pixels, infotext: &str) -> Result<Vec<u8>, png::EncodingError> {
    encode_with(pixels, &[("parameters", infotext)])
}

/// Encodes `pixels` with texts by keyword, leaving out empty ones. A text goes into a tEXt chunk, or an iTXt one when
/// it is not Latin-1.
pub(crate) fn encode_with(pixels: &Pixels, texts: &[(&str, &str)]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixels.width, pixels.height);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(match pixels.format {
        PixelFormat::Gray8 => png::ColorType::Grayscale,
        PixelFormat::Rgb8 => png::ColorType::Rgb,
        PixelFormat::Rgba8 => png::ColorType::Rgba,
    });
    for (keyword, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
        if text.chars().all(|letter| u32::from(letter) < 256 && letter != '\0') {
            encoder.add_text_chunk((*keyword).into(), (*text).into())?;
        } else {
            encoder.add_itxt_chunk((*keyword).into(), (*text).into())?;
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels.data)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(bytes: &[u8]) -> String {
        let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let info = reader.info();
        let latin = info.uncompressed_latin1_text.first().map(|chunk| chunk.text.clone());
        latin.unwrap_or_else(|| info.utf8_text[0].get_text().unwrap())
    }

    #[test]
    fn carries_the_infotext_in_latin_1_and_beyond() {
        let pixels = Pixels::new(2, 1, PixelFormat::Rgb8, vec![0, 127, 255, 1, 2, 3]).unwrap();
        for text in ["a café\nSteps: 20, Sampler: Euler", "夕焼けの山 🏔"] {
            assert_eq!(text_of(&encode(&pixels, text).unwrap()), text);
        }
    }
}
