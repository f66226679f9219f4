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
        for x in 0..width {
            let here = y * width + x;
            let magnitude = gradients.magnitude[here];
            if magnitude > low && gradients.is_ridge(x, y) {
                state[here] = State::Weak;
                if magnitude > high {
                    state[here] = State::Edge;
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
    let white = |state: &State| if *state == State::Edge { [255; 3] } else { [0; 3] };
    let data = state.iter().flat_map(white).collect();
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

struct Gradients {
    width: usize,
    height: usize,
    across: Vec<i32>,
    down: Vec<i32>,
    magnitude: Vec<i32>,
}

impl Gradients {
    fn of(picture: &Pixels) -> Self {
        let (width, height) = (picture.width as usize, picture.height as usize);
        let channels = picture.format.channels();
        let mut gradients = Self {
            width,
            height,
            across: Vec::with_capacity(width * height),
            down: Vec::with_capacity(width * height),
            magnitude: Vec::with_capacity(width * height),
        };
        for y in 0..height {
            let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)];
            for x in 0..width {
                let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
                let mut best = (0, 0, -1);
                for channel in 0..channels {
                    let at = |column: usize, row: usize| {
                        i32::from(picture.data[(rows[row] * width + columns[column]) * channels + channel])
                    };
                    let across = (at(2, 0) - at(0, 0)) + 2 * (at(2, 1) - at(0, 1)) + (at(2, 2) - at(0, 2));
                    let down = (at(0, 2) - at(0, 0)) + 2 * (at(1, 2) - at(1, 0)) + (at(2, 2) - at(2, 0));
                    let magnitude = across.abs() + down.abs();
                    // The first of equal channels.
                    if magnitude > best.2 {
                        best = (across, down, magnitude);
                    }
                }
                gradients.across.push(best.0);
                gradients.down.push(best.1);
                gradients.magnitude.push(best.2);
            }
        }
        gradients
    }

    /// Outside of the picture nothing changes.
    fn at(&self, x: isize, y: isize) -> i32 {
        let inside = (0..self.width as isize).contains(&x) && (0..self.height as isize).contains(&y);
        if inside { self.magnitude[y as usize * self.width + x as usize] } else { 0 }
    }

    /// Whether the place is steeper than its neighbours along the gradient, in four directions.
    fn is_ridge(&self, x: usize, y: usize) -> bool {
        let here = y * self.width + x;
        let (across, down, magnitude) = (self.across[here], self.down[here], self.magnitude[here]);
        let (x, y) = (x as isize, y as isize);
        let steep = down.abs() << SHIFT;
        let flat_until = across.abs() * TAN_22;
        if steep < flat_until {
            return magnitude > self.at(x - 1, y) && magnitude >= self.at(x + 1, y);
        }
        // tan(67.5°) is tan(22.5°) + 2.
        if steep > flat_until + (across.abs() << (SHIFT + 1)) {
            return magnitude > self.at(x, y - 1) && magnitude >= self.at(x, y + 1);
        }
        let side = if (across ^ down) < 0 { -1 } else { 1 };
        magnitude > self.at(x - side, y - 1) && magnitude > self.at(x + side, y + 1)
    }
}
