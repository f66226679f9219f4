//! Canny's edges (Canny 1986) as OpenCV finds them in a colour picture: Sobel of three by three, each pixel's strongest
//! channel, the sum of absolute differences as magnitude.

use gesso_core::pixels::{PixelFormat, Pixels};

/// tan(22.5°) in 1/2^15.
const TAN_22: i32 = 13573;
const SHIFT: i32 = 15;

/// White edges on black, as RGB. Places above `high` are edges, and those above `low` that touch one.
pub(crate) fn edges(picture: &Pixels, low: f64, high: f64) -> Pixels {
    let (low, high) = (low.min(high).floor() as i32, low.max(high).floor() as i32);
    let (width, height) = (picture.width as usize, picture.height as usize);
    let gradients = Gradients::of(picture);
    let mut state = vec![State::None; width * height];
    let mut strong = Vec::new();
    for y in 0..height {
        for (x, state) in state[y * width..][..width].iter_mut().enumerate() {
            let magnitude = gradients.magnitude(x, y);
            if magnitude > low && gradients.is_ridge(x, y) {
                *state = State::Weak;
                if magnitude > high {
                    *state = State::Edge;
                    strong.push((x, y));
                }
            }
        }
    }
    while let Some((x, y)) = strong.pop() {
        for (x, y) in around(x, y, width, height) {
            if state[y * width + x] == State::Weak {
                state[y * width + x] = State::Edge;
                strong.push((x, y));
            }
        }
    }
    let mut data = vec![0; 3 * width * height];
    for (pixel, state) in data.chunks_exact_mut(3).zip(&state) {
        if *state == State::Edge {
            pixel.fill(255);
        }
    }
    Pixels { width: picture.width, height: picture.height, format: PixelFormat::Rgb8, data }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    None,
    Weak,
    Edge,
}

fn around(x: usize, y: usize, width: usize, height: usize) -> impl Iterator<Item = (usize, usize)> {
    let rows = y.saturating_sub(1)..=(y + 1).min(height - 1);
    rows.flat_map(move |y| (x.saturating_sub(1)..=(x + 1).min(width - 1)).map(move |x| (x, y)))
}

/// Sobel's, of each place's strongest channel.
struct Gradients {
    width: usize,
    across: Vec<i16>,
    down: Vec<i16>,
    /// With a border of one place around the picture: outside of it nothing changes.
    magnitude: Vec<i16>,
}

impl Gradients {
    fn of(picture: &Pixels) -> Self {
        let (width, height) = (picture.width as usize, picture.height as usize);
        let channels = picture.format.channels();
        let mut gradients = Self {
            width,
            across: vec![0; width * height],
            down: vec![0; width * height],
            magnitude: vec![0; (width + 2) * (height + 2)],
        };
        let row = |y: usize| &picture.data[y * width * channels..(y + 1) * width * channels];
        let (mut above, mut here, mut below) = (wide(row(0), channels), wide(row(0), channels), Vec::new());
        let (mut across, mut down) = (vec![0; width * channels], vec![0; width * channels]);
        for y in 0..height {
            below.clone_from(&wide(row((y + 1).min(height - 1)), channels));
            sobel([&above, &here, &below], channels, &mut across, &mut down);
            let magnitudes = &mut gradients.magnitude[(y + 1) * (width + 2) + 1..][..width];
            let pixels = across.chunks_exact(channels).zip(down.chunks_exact(channels));
            let strongest = gradients.across[y * width..].iter_mut().zip(&mut gradients.down[y * width..]);
            for (((across, down), magnitude), strongest) in pixels.zip(magnitudes).zip(strongest) {
                let mut best = (across[0], down[0], across[0].abs() + down[0].abs());
                for (across, down) in across.iter().zip(down).skip(1) {
                    // The first of equal channels.
                    let steep = across.abs() + down.abs();
                    if steep > best.2 {
                        best = (*across, *down, steep);
                    }
                }
                (*strongest.0, *strongest.1) = (best.0, best.1);
                *magnitude = best.2;
            }
            std::mem::swap(&mut above, &mut here);
            std::mem::swap(&mut here, &mut below);
        }
        gradients
    }

    fn magnitude(&self, x: usize, y: usize) -> i32 {
        i32::from(self.magnitude[(y + 1) * (self.width + 2) + x + 1])
    }

    /// Whether the place is steeper than its neighbours along the gradient, in four directions.
    fn is_ridge(&self, x: usize, y: usize) -> bool {
        let here = y * self.width + x;
        let (across, down) = (i32::from(self.across[here]), i32::from(self.down[here]));
        let (magnitude, row) = (self.magnitude(x, y), self.width + 2);
        // Where this place is in the array with the border.
        let place = (y + 1) * row + x + 1;
        let at = |place: usize| i32::from(self.magnitude[place]);
        let steep = down.abs() << SHIFT;
        let flat_until = across.abs() * TAN_22;
        if steep < flat_until {
            return magnitude > at(place - 1) && magnitude >= at(place + 1);
        }
        // tan(67.5°) is tan(22.5°) + 2.
        if steep > flat_until + (across.abs() << (SHIFT + 1)) {
            return magnitude > at(place - row) && magnitude >= at(place + row);
        }
        let diagonal = if (across ^ down) < 0 { row - 1 } else { row + 1 };
        magnitude > at(place - diagonal) && magnitude > at(place + diagonal)
    }
}

/// A row of levels with its first and last pixel once more.
fn wide(row: &[u8], channels: usize) -> Vec<i16> {
    let (first, last) = (&row[..channels], &row[row.len() - channels..]);
    first.iter().chain(row).chain(last).map(|level| i16::from(*level)).collect()
}

/// Of every value of the middle row; one loop over plain slices, which compilers make vectors of.
fn sobel(rows: [&[i16]; 3], channels: usize, across: &mut [i16], down: &mut [i16]) {
    let length = across.len();
    let [above, here, below] = rows.map(|row| [0, 1, 2].map(|step| &row[step * channels..][..length]));
    for at in 0..length {
        across[at] =
            (above[2][at] - above[0][at]) + 2 * (here[2][at] - here[0][at]) + (below[2][at] - below[0][at]);
        down[at] =
            (below[0][at] - above[0][at]) + 2 * (below[1][at] - above[1][at]) + (below[2][at] - above[2][at]);
    }
}
