//! Tells the figure from the background, both of one colour each, where edges may be soft and colours uneven.

use super::lab::{difference, lab};

/// A picture in the size it is looked at.
pub(super) struct Image {
    pixels: Vec<[u8; 3]>,
    pub(super) width: usize,
    pub(super) height: usize,
}

pub(super) struct Figure {
    pub(super) colour: [u8; 3],
    /// How much of each pixel the figure covers, from 0 to 1; holes are not covered.
    pub(super) cover: Vec<f32>,
    /// Left, top, right and bottom; the latter two are one beyond.
    pub(super) bounds: [usize; 4],
}

/// Pixels that look less different from the background are taken for its unevenness. No two colours with names are
/// so close, whatever their shade.
const UNEVEN: f32 = 14.0;

/// Of the picture; anything less is a speck.
const SMALLEST: f32 = 0.003;

/// Side that is enough to tell everything. Larger pictures are shrunk by whole numbers, which also takes noise away.
const ENOUGH: usize = 128;

impl Image {
    /// From rows of red, green and blue. Nothing if there are no pixels, or not as many as the size says.
    pub(super) fn new(rgb: &[u8], width: usize, height: usize) -> Option<Self> {
        let (pixels, rest) = rgb.as_chunks();
        if !rest.is_empty() || pixels.len() != width * height || pixels.is_empty() {
            return None;
        }
        let block = (width.min(height) / ENOUGH).max(1);
        let (columns, rows) = (width / block, height / block);
        let corners = (0..rows).flat_map(|y| (0..columns).map(move |x| (y * width + x) * block));
        let pixels = corners.map(|corner| mean_of_block(&pixels[corner..], width, block)).collect();
        Some(Self { pixels, width: columns, height: rows })
    }

    /// What is along most of the border.
    pub(super) fn background(&self) -> [u8; 3] {
        let thickness = (self.width.min(self.height) / 32).max(1);
        let near = |at: usize, side: usize| at < thickness || at + thickness >= side;
        let border = self.places().filter(|&(x, y)| near(x, self.width) || near(y, self.height));
        median(border.map(|(x, y)| self.pixels[y * self.width + x]).collect())
    }

    /// The largest thing on the background.
    pub(super) fn figure(&self, background: [u8; 3]) -> Option<Figure> {
        let ground = lab(background);
        let far = |&pixel: &[u8; 3]| difference(lab(pixel), ground);
        let differs: Vec<_> = self.pixels.iter().map(|pixel| far(pixel) > UNEVEN).collect();
        let mut mask = self.largest_part(differs);
        let mut colour = self.inner_colour(&mask)?;
        let mut cover = Vec::new();
        // The first mask holds soft edges entirely, even a blurred ring's hole. Knowing the figure's colour, the
        // edge is where the colours mix half and half; and that mask gives a better colour.
        for _ in 0..2 {
            cover = self.pixels.iter().map(|&pixel| mixture(pixel, background, colour)).collect();
            mask = self.largest_part(cover.iter().map(|&share| share > 0.5).collect());
            colour = self.inner_colour(&mask)?;
        }
        if (covered(&mask) as f32) < SMALLEST * self.pixels.len() as f32 {
            return None;
        }
        // Only the figure's own soft edge belongs to it, not other things that look like it.
        let near = self.grown(&mask);
        cover.iter_mut().zip(near).filter(|(_, near)| !near).for_each(|(share, _)| *share = 0.0);
        Some(Figure { colour, cover, bounds: self.bounds(&mask) })
    }

    /// The largest set of pixels that hang together, corners included.
    fn largest_part(&self, mut candidates: Vec<bool>) -> Vec<bool> {
        let mut largest = Vec::new();
        for start in 0..candidates.len() {
            if !std::mem::take(&mut candidates[start]) {
                continue;
            }
            let mut part = vec![start];
            let mut done = 0;
            while let Some(&at) = part.get(done) {
                done += 1;
                for next in self.around(at) {
                    if std::mem::take(&mut candidates[next]) {
                        part.push(next);
                    }
                }
            }
            if part.len() > largest.len() {
                largest = part;
            }
        }
        let mut mask = vec![false; candidates.len()];
        largest.into_iter().for_each(|at| mask[at] = true);
        mask
    }

    /// The colour where the figure is thickest, away from edges that mix with the background.
    fn inner_colour(&self, mask: &[bool]) -> Option<[u8; 3]> {
        let area = covered(mask);
        let mut inside = mask.to_vec();
        loop {
            let eroded: Vec<_> =
                (0..inside.len()).map(|at| inside[at] && self.around(at).all(|next| inside[next])).collect();
            // What covers the whole picture has no edge to lose.
            if covered(&eroded) * 4 < area || covered(&eroded) == covered(&inside) {
                break;
            }
            inside = eroded;
        }
        let colours: Vec<_> = self.pixels.iter().zip(inside).filter(|(_, inside)| *inside).collect();
        (!colours.is_empty()).then(|| median(colours.into_iter().map(|(&pixel, _)| pixel).collect()))
    }

    fn grown(&self, mask: &[bool]) -> Vec<bool> {
        (0..mask.len()).map(|at| mask[at] || self.around(at).any(|next| mask[next])).collect()
    }

    fn bounds(&self, mask: &[bool]) -> [usize; 4] {
        let inside = self.places().filter(|&(x, y)| mask[y * self.width + x]);
        inside.fold([self.width, self.height, 0, 0], |[left, top, right, bottom], (x, y)| {
            [left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)]
        })
    }

    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y)))
    }

    /// Up to eight neighbours.
    fn around(&self, at: usize) -> impl Iterator<Item = usize> {
        let (x, y) = (at % self.width, at / self.width);
        let rows = y.saturating_sub(1)..(y + 2).min(self.height);
        let columns = x.saturating_sub(1)..(x + 2).min(self.width);
        rows.flat_map(move |row| columns.clone().map(move |column| row * self.width + column))
            .filter(move |&next| next != at)
    }
}

/// Of the first `block` pixels of the first `block` rows.
fn mean_of_block(pixels: &[[u8; 3]], width: usize, block: usize) -> [u8; 3] {
    let inside = || pixels.chunks(width).take(block).flat_map(|row| &row[..block]);
    std::array::from_fn(|channel| {
        let sum: usize = inside().map(|pixel| usize::from(pixel[channel])).sum();
        (sum / (block * block)) as u8
    })
}

fn covered(mask: &[bool]) -> usize {
    mask.iter().filter(|&&inside| inside).count()
}

/// How far a colour is from `none` to `whole`, from 0 to 1. In the picture's own numbers, not in CIELAB, because
/// that is where edges are mixed.
fn mixture(colour: [u8; 3], none: [u8; 3], whole: [u8; 3]) -> f32 {
    let [mut along, mut length] = [0.0, 0.0];
    for i in 0..3 {
        let way = f32::from(whole[i]) - f32::from(none[i]);
        along += way * (f32::from(colour[i]) - f32::from(none[i]));
        length += way * way;
    }
    (along / length.max(1.0)).clamp(0.0, 1.0)
}

/// Of each channel by itself.
fn median(mut colours: Vec<[u8; 3]>) -> [u8; 3] {
    std::array::from_fn(|channel| {
        let middle = colours.len() / 2;
        let (_, &mut colour, _) = colours.select_nth_unstable_by_key(middle, |colour| colour[channel]);
        colour[channel]
    })
}
