//! What pictures are drawn on. Lengths are shares of the side, the origin is the upper left corner, and edges are
//! antialiased, so a drawing is the same at every size.

use tiny_skia::{FillRule, Paint, Path, PathBuilder, Pixmap, Rect, Transform};

/// Red, green and blue from 0 to 255; what lies outside is cut off when it is drawn.
pub(crate) type Rgb = [f32; 3];

pub(crate) struct Canvas {
    pixmap: Pixmap,
    scale: Transform,
}

impl Canvas {
    pub(crate) fn new(side: u32) -> Self {
        let pixmap = Pixmap::new(side, side).expect("a side is at least one pixel and fits memory");
        Self { pixmap, scale: Transform::from_scale(side as f32, side as f32) }
    }

    pub(crate) fn fill(&mut self, top: Rgb, bottom: Rgb) {
        let side = self.pixmap.width() as usize;
        let last = (side - 1).max(1) as f32;
        for (y, row) in self.pixmap.data_mut().chunks_exact_mut(side * 4).enumerate() {
            let down = y as f32 / last;
            let [r, g, b] = std::array::from_fn(|i| byte(top[i] + (bottom[i] - top[i]) * down));
            row.chunks_exact_mut(4).for_each(|pixel| pixel.copy_from_slice(&[r, g, b, 255]));
        }
    }

    pub(crate) fn circle(&mut self, (x, y): (f32, f32), radius: f32, colour: Rgb) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.path(&path, Transform::identity(), colour);
        }
    }

    pub(crate) fn rectangle(&mut self, (left, top): (f32, f32), (right, bottom): (f32, f32), colour: Rgb) {
        if let Some(rect) = Rect::from_ltrb(left, top, right, bottom) {
            self.path(&PathBuilder::from_rect(rect), Transform::identity(), colour);
        }
    }

    pub(crate) fn polygon(&mut self, points: impl IntoIterator<Item = (f32, f32)>, colour: Rgb) {
        if let Some(path) = polygon(points) {
            self.path(&path, Transform::identity(), colour);
        }
    }

    /// `placed` brings the path to shares of the side.
    pub(crate) fn path(&mut self, path: &Path, placed: Transform, colour: Rgb) {
        let mut paint = Paint::default();
        let [r, g, b] = colour.map(byte);
        paint.set_color_rgba8(r, g, b, 255);
        self.pixmap.fill_path(path, &paint, FillRule::EvenOdd, self.scale.pre_concat(placed), None);
    }

    /// Rows of red, green and blue. Every pixel is opaque once the ground is filled.
    pub(crate) fn into_rgb(self) -> Vec<u8> {
        self.pixmap.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
    }
}

/// Nothing if the points enclose nothing.
pub(crate) fn polygon(points: impl IntoIterator<Item = (f32, f32)>) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (x, y) in points {
        match path.is_empty() {
            true => path.move_to(x, y),
            false => path.line_to(x, y),
        }
    }
    path.close();
    path.finish()
}

fn byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}
