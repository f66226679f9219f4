//! What each place of a picture is, as colours that networks of control were trained with.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::Value;

/// Which colours classes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Palette {
    /// Those of ADE20K's 150 classes.
    Ade20k,
    /// Those of the parts of drawn faces that Anime-Face-Segmentation tells apart.
    AnimeFace,
    /// Those that the network's file lists: `"palette": [[220, 20, 60], …]`.
    OfFile,
}

impl Palette {
    /// # Errors
    /// The end of a sentence about the network, where its file lists none.
    pub(super) fn colours(self, about: Option<&Value>) -> Result<Vec<[u8; 3]>, String> {
        let known: &[u32] = match self {
            Self::Ade20k => &ADE20K,
            Self::AnimeFace => &ANIME_FACE,
            Self::OfFile => return listed(about),
        };
        Ok(known.iter().map(|colour| [(colour >> 16) as u8, (colour >> 8) as u8, *colour as u8]).collect())
    }
}

/// The colours that a network's file lists.
fn listed(about: Option<&Value>) -> Result<Vec<[u8; 3]>, String> {
    let listed = about.and_then(|about| about["palette"].as_array()).map(Vec::as_slice);
    let colour = |value: &Value| {
        let channel = |index: usize| u8::try_from(value[index].as_u64()?).ok();
        Some([channel(0)?, channel(1)?, channel(2)?])
    };
    let colours: Option<Vec<_>> = listed.unwrap_or_default().iter().map(colour).collect();
    colours.filter(|colours| !colours.is_empty()).ok_or_else(|| {
        "does not say which colours its classes have; export it with a config.txt of \
             {\"palette\": [[red, green, blue], …]}"
            .to_owned()
    })
}

/// The map at `size`, width first, each place in the colour of its class; black where it has none.
///
/// # Errors
/// The end of a sentence about the network, for outputs that are no classes.
pub(super) fn coloured(output: &Tensor, colours: &[[u8; 3]], size: (u32, u32)) -> Result<Pixels, String> {
    let (rows, columns, scores) = match *output.shape.as_slice() {
        [rows, columns] | [1, rows, columns] => (rows, columns, 1),
        [1, scores, rows, columns] => (rows, columns, scores as usize),
        _ => (0, 0, 0),
    };
    let (rows, columns) = (rows as usize, columns as usize);
    let plane = rows * columns;
    if plane == 0 || scores == 0 || output.values.len() != plane * scores {
        return Err(format!("gives {:?}, which says no class of each place", output.shape));
    }
    let class = |place: usize| match scores {
        // The class itself.
        1 => output.values[place].max(-1.0).round() as isize,
        _ => {
            // Of equal scores the first class's.
            let score = |class: &usize| output.values[class * plane + place];
            (0..scores).rev().max_by(|a, b| score(a).total_cmp(&score(b))).map_or(-1, |class| class as isize)
        }
    };
    let of = |class: isize| usize::try_from(class).ok().and_then(|class| colours.get(class)).copied();
    // Classes have nothing between them, so the nearest place it is.
    let known: Vec<[u8; 3]> = (0..plane).map(|place| of(class(place)).unwrap_or_default()).collect();
    let (width, height) = (size.0 as usize, size.1 as usize);
    let mut data = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let row = &known[y * rows / height * columns..][..columns];
        data.extend((0..width).flat_map(|x| row[x * columns / width]));
    }
    Ok(Pixels { width: size.0, height: size.1, format: PixelFormat::Rgb8, data })
}

/// As 0xrrggbb, by class: background, hair, eye, mouth, face, skin, clothes.
const ANIME_FACE: [u32; 7] = [0xffff00, 0x0000ff, 0xff0000, 0xffffff, 0x00ff00, 0x00ffff, 0xff00ff];

/// As 0xrrggbb, by class.
const ADE20K: [u32; 150] = [
    0x787878, 0xb47878, 0x06e6e6, 0x503232, 0x04c803, 0x787850, 0x8c8c8c, 0xcc05ff, 0xe6e6e6, 0x04fa07,
    0xe005ff, 0xebff07, 0x96053d, 0x787846, 0x08ff33, 0xff0652, 0x8fff8c, 0xccff04, 0xff3307, 0xcc4603,
    0x0066c8, 0x3de6fa, 0xff0633, 0x0b66ff, 0xff0747, 0xff09e0, 0x0907e6, 0xdcdcdc, 0xff095c, 0x7009ff,
    0x08ffd6, 0x07ffe0, 0xffb806, 0x0aff47, 0xff290a, 0x07ffff, 0xe0ff08, 0x6608ff, 0xff3d06, 0xffc207,
    0xff7a08, 0x00ff14, 0xff0829, 0xff0599, 0x0633ff, 0xeb0cff, 0xa09614, 0x00a3ff, 0x8c8c8c, 0xfa0a0f,
    0x14ff00, 0x1fff00, 0xff1f00, 0xffe000, 0x99ff00, 0x0000ff, 0xff4700, 0x00ebff, 0x00adff, 0x1f00ff,
    0x0bc8c8, 0xff5200, 0x00fff5, 0x003dff, 0x00ff70, 0x00ff85, 0xff0000, 0xffa300, 0xff6600, 0xc2ff00,
    0x008fff, 0x33ff00, 0x0052ff, 0x00ff29, 0x00ffad, 0x0a00ff, 0xadff00, 0x00ff99, 0xff5c00, 0xff00ff,
    0xff00f5, 0xff0066, 0xffad00, 0xff0014, 0xffb8b8, 0x001fff, 0x00ff3d, 0x0047ff, 0xff00cc, 0x00ffc2,
    0x00ff52, 0x000aff, 0x0070ff, 0x3300ff, 0x00c2ff, 0x007aff, 0x00ffa3, 0xff9900, 0x00ff0a, 0xff7000,
    0x8fff00, 0x5200ff, 0xa3ff00, 0xffeb00, 0x08b8aa, 0x8500ff, 0x00ff5c, 0xb800ff, 0xff001f, 0x00b8ff,
    0x00d6ff, 0xff0070, 0x5cff00, 0x00e0ff, 0x70e0ff, 0x46b8a0, 0xa300ff, 0x9900ff, 0x47ff00, 0xff00a3,
    0xffcc00, 0xff008f, 0x00ffeb, 0x85ff00, 0xff00eb, 0xf500ff, 0xff007a, 0xfff500, 0x0abed4, 0xd6ff00,
    0x00ccff, 0x1400ff, 0xffff00, 0x0099ff, 0x0029ff, 0x00ffcc, 0x2900ff, 0x29ff00, 0xad00ff, 0x00f5ff,
    0x4700ff, 0x7a00ff, 0x00ffb8, 0x005cff, 0xb8ff00, 0x0085ff, 0xffd600, 0x19c2c2, 0x66ff00, 0x5c00ff,
];
