//! Canny's edges (Canny 1986) as OpenCV finds them in a colour picture: Sobel of three by three, each pixel's strongest
//! channel, the sum of absolute differences as magnitude. Knows RGB alone.
//!
//! Rows are looked at one after the other, and of what lies between the picture and its edges only the rows that touch
//! are kept. Each loop over a row is over plain slices of numbers of 16 bits, has no branch and loads before it chooses,
//! so that compilers make vectors of eight of it.

use gesso_core::pixels::{PixelFormat, Pixels};
use memchr::memchr_iter;

use crate::planes::lay_apart;

const CHANNELS: usize = 3;

/// What a place is, where it is not nothing: steep enough if it touches an edge, or an edge.
const WEAK: u8 = 1;
const EDGE: u8 = 2;

/// White edges on black, grey. Places above `high` are edges, and those above `low` that touch one.
pub(crate) fn edges(picture: &Pixels, low: f64, high: f64) -> Pixels {
    // What does not fit is beyond every magnitude.
    let limits = [low.min(high), low.max(high)].map(|limit| limit.floor() as i16);
    let (width, height) = (picture.width as usize, picture.height as usize);
    // With a border of one place around the picture, so that every place has its neighbours.
    let stride = width + 2;
    let mut states = vec![0; stride * (height + 2)];
    let mut strong = Vec::new();
    let mut sobel = Sobel::new(picture);
    let mut thinned = vec![0; width];
    // Outside of the picture nothing changes.
    let [mut above, mut here, mut below] = [(); 3].map(|()| Slopes::level(width));
    sobel.next(&mut here);
    for y in 0..height {
        if y + 1 < height {
            sobel.next(&mut below);
        } else {
            below.steep.fill(0);
        }
        thin([&above.steep, &here.steep, &below.steep], &here.across, &here.down, limits, &mut thinned);
        let first = (y + 1) * stride + 1;
        let row = &mut states[first..first + width];
        row.iter_mut().zip(&thinned).for_each(|(state, thinned)| *state = *thinned as u8);
        strong.extend(memchr_iter(EDGE, row).map(|x| first + x));
        std::mem::swap(&mut above, &mut here);
        std::mem::swap(&mut here, &mut below);
    }
    follow(&mut states, stride, strong);
    let mut data = Vec::with_capacity(width * height);
    for row in states[stride + 1..].chunks(stride).take(height) {
        data.extend(row[..width].iter().map(|state| if *state == EDGE { 255 } else { 0 }));
    }
    Pixels { width: picture.width, height: picture.height, format: PixelFormat::Gray8, data }
}

/// Makes edges of the weak places that are joined to the `strong` ones.
fn follow(states: &mut [u8], stride: usize, mut strong: Vec<usize>) {
    while let Some(place) = strong.pop() {
        for row in [place - stride, place, place + stride] {
            for (state, neighbour) in states[row - 1..=row + 1].iter_mut().zip(row - 1..) {
                if *state == WEAK {
                    *state = EDGE;
                    strong.push(neighbour);
                }
            }
        }
    }
}

/// A row of gradients, of each place's strongest channel.
struct Slopes {
    across: Vec<i16>,
    down: Vec<i16>,
    /// The magnitudes, with a place outside of the picture at both ends.
    steep: Vec<i16>,
}

impl Slopes {
    fn level(width: usize) -> Self {
        Self { across: vec![0; width], down: vec![0; width], steep: vec![0; width + 2] }
    }
}

/// Sobel's operator over a picture's rows, from the first.
struct Sobel<'a> {
    picture: &'a Pixels,
    /// How many rows are done.
    done: usize,
    /// The row that was done last and those around it, channels apart.
    rows: [Vec<u8>; 3],
    smooth: Vec<i16>,
    change: Vec<i16>,
}

impl<'a> Sobel<'a> {
    fn new(picture: &'a Pixels) -> Self {
        let length = CHANNELS * (picture.width as usize + 2);
        let (rows, numbers) = ([(); 3].map(|()| vec![0; length]), vec![0; length]);
        let mut sobel = Self { picture, done: 0, rows, smooth: numbers.clone(), change: numbers };
        // The first row stands for the one above it too; the next step makes place for the one below.
        sobel.take(1, 0);
        sobel.take(2, 0);
        sobel
    }

    /// The next row's gradients.
    fn next(&mut self, slopes: &mut Slopes) {
        self.rows.rotate_left(1);
        self.done += 1;
        self.take(2, self.done.min(self.picture.height as usize - 1));
        down_columns(&self.rows, &mut self.smooth, &mut self.change);
        slopes.steep.fill(0);
        let width = slopes.across.len();
        let steep = &mut slopes.steep[1..=width];
        let channels = self.smooth.chunks_exact(width + 2).zip(self.change.chunks_exact(width + 2));
        for (smooth, change) in channels {
            keep_steeper(smooth, change, &mut slopes.across, &mut slopes.down, steep);
        }
    }

    /// Puts a row of the picture into one of the three.
    fn take(&mut self, into: usize, y: usize) {
        let row_bytes = self.picture.width as usize * CHANNELS;
        channels_apart(&self.picture.data[y * row_bytes..][..row_bytes], &mut self.rows[into]);
    }
}

/// The channels of a row one behind the other, each with its first and last level once more.
fn channels_apart(row: &[u8], planes: &mut [u8]) {
    let wide = row.len() / CHANNELS + 2;
    let (red, others) = planes.split_at_mut(wide);
    let (green, blue) = others.split_at_mut(wide);
    lay_apart(row, [&mut red[1..], &mut green[1..], &mut blue[1..]]);
    for plane in planes.chunks_exact_mut(wide) {
        plane[0] = plane[1];
        plane[wide - 1] = plane[wide - 2];
    }
}

/// Sobel's operator down the columns of three rows: their smoothed levels, and how much they change.
fn down_columns(rows: &[Vec<u8>; 3], smooth: &mut [i16], change: &mut [i16]) {
    let length = smooth.len();
    let change = &mut change[..length];
    let [above, here, below] = rows.each_ref().map(|row| &row[..length]);
    for at in 0..length {
        let (above, here, below) = (i16::from(above[at]), i16::from(here[at]), i16::from(below[at]));
        smooth[at] = above + 2 * here + below;
        change[at] = below - above;
    }
}

/// The same along a channel's row. Its gradient takes the place of one that is less steep, so that the first of equal
/// channels stays.
fn keep_steeper(smooth: &[i16], change: &[i16], across: &mut [i16], down: &mut [i16], steep: &mut [i16]) {
    let width = steep.len();
    let (across, down) = (&mut across[..width], &mut down[..width]);
    let [left, right] = [0, 2].map(|step| &smooth[step..][..width]);
    let [before, here, behind] = [0, 1, 2].map(|step| &change[step..][..width]);
    for x in 0..width {
        let (along, below) = (right[x] - left[x], before[x] + 2 * here[x] + behind[x]);
        let (kept_along, kept_below, steepest) = (across[x], down[x], steep[x]);
        let magnitude = along.abs() + below.abs();
        let is_steeper = magnitude > steepest;
        (across[x], down[x], steep[x]) =
            if is_steeper { (along, below, magnitude) } else { (kept_along, kept_below, steepest) };
    }
}

/// What is left of a row where only those places stay that are steeper than their neighbours along the gradient, in four
/// directions: the state of each. `steep` are the magnitudes of the rows above, here and below, with their ends.
fn thin(steep: [&[i16]; 3], across: &[i16], down: &[i16], [low, high]: [i16; 2], states: &mut [i16]) {
    let width = states.len();
    let (across, down) = (&across[..width], &down[..width]);
    let [above, here, below] = steep.map(|row| [0, 1, 2].map(|step| &row[step..][..width]));
    for x in 0..width {
        let (above_left, upper, above_right) = (above[0][x], above[1][x], above[2][x]);
        let (left, magnitude, right) = (here[0][x], here[1][x], here[2][x]);
        let (below_left, lower, below_right) = (below[0][x], below[1][x], below[2][x]);
        let (run, rise) = (across[x].abs(), down[x].abs());
        let flat_until = tan_22(run);
        let is_flat = rise <= flat_until;
        // tan(67.5°) is tan(22.5°) + 2.
        let is_upright = rise > flat_until + 2 * run;
        let is_opposed = (across[x] ^ down[x]) < 0;
        let (before, behind) = if is_opposed { (above_right, below_left) } else { (above_left, below_right) };
        // On a diagonal, the place behind must be less steep, elsewhere it may be as steep.
        let behind = behind + 1;
        let (before, behind) = if is_upright { (upper, lower) } else { (before, behind) };
        let (before, behind) = if is_flat { (left, right) } else { (before, behind) };
        let is_ridge = (magnitude > before) & (magnitude >= behind);
        let state = if magnitude > low { i16::from(WEAK) } else { 0 };
        let state = if magnitude > high { i16::from(EDGE) } else { state };
        states[x] = if is_ridge { state } else { 0 };
    }
}

/// tan(22.5°) times a length of at most 1020, which is as far as a channel's gradient goes, rounded down. OpenCV's tangent
/// is 13573 in 1/2^15; that is 53 · 256 + 5, and taken so the product stays within 16 bits.
fn tan_22(length: i16) -> i16 {
    let length = length.unsigned_abs();
    ((length * 53 + ((length * 5) >> 8)) >> 7) as i16
}

#[cfg(test)]
mod tests {
    use gesso_plugin::Random;

    use super::*;

    const TAN_22: i32 = 13573;

    /// Levels below `bound`: few of them make many equals, many of them steep edges.
    fn noise(width: u32, height: u32, bound: usize, random: &mut Random) -> Pixels {
        let count = CHANNELS * width as usize * height as usize;
        let data = (0..count).map(|_| random.below(bound) as u8).collect();
        Pixels { width, height, format: PixelFormat::Rgb8, data }
    }

    /// The gradient of a place's strongest channel; nothing outside of the picture.
    fn gradient(picture: &Pixels, x: i32, y: i32) -> (i32, i32) {
        let (width, height) = (picture.width as i32, picture.height as i32);
        if !(0..width).contains(&x) || !(0..height).contains(&y) {
            return (0, 0);
        }
        let mut strongest = (0_i32, 0_i32);
        for channel in 0..3 {
            let level = |right: i32, below: i32| {
                let (x, y) = ((x + right).clamp(0, width - 1), (y + below).clamp(0, height - 1));
                i32::from(picture.data[(3 * (y * width + x) + channel) as usize])
            };
            let along = |y: i32| level(1, y) - level(-1, y);
            let below = |x: i32| level(x, 1) - level(x, -1);
            let found = (along(-1) + 2 * along(0) + along(1), below(-1) + 2 * below(0) + below(1));
            if found.0.abs() + found.1.abs() > strongest.0.abs() + strongest.1.abs() {
                strongest = found;
            }
        }
        strongest
    }

    fn is_ridge(picture: &Pixels, x: i32, y: i32) -> bool {
        let magnitude = |right: i32, below: i32| {
            let (across, down) = gradient(picture, x + right, y + below);
            across.abs() + down.abs()
        };
        let (across, down) = gradient(picture, x, y);
        let (here, rise, flat) = (magnitude(0, 0), down.abs() << 15, across.abs() * TAN_22);
        if rise < flat {
            here > magnitude(-1, 0) && here >= magnitude(1, 0)
        } else if rise > flat + (across.abs() << 16) {
            here > magnitude(0, -1) && here >= magnitude(0, 1)
        } else {
            let side = if (across ^ down) < 0 { -1 } else { 1 };
            here > magnitude(-side, -1) && here > magnitude(side, 1)
        }
    }

    /// Place by place, and over the picture again until nothing changes.
    fn edges_by_hand(picture: &Pixels, low: i32, high: i32) -> Vec<bool> {
        let (width, height) = (picture.width as i32, picture.height as i32);
        let places: Vec<(i32, i32)> = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).collect();
        let is_above = |&(x, y): &(i32, i32), limit: i32| {
            let (across, down) = gradient(picture, x, y);
            across.abs() + down.abs() > limit && is_ridge(picture, x, y)
        };
        let weak: Vec<bool> = places.iter().map(|place| is_above(place, low)).collect();
        let mut edges: Vec<bool> = places.iter().map(|place| is_above(place, high)).collect();
        loop {
            let touches = |&(x, y): &(i32, i32)| {
                let is_near = |&&(a, b): &&(i32, i32)| (a - x).abs() <= 1 && (b - y).abs() <= 1;
                places.iter().filter(is_near).any(|&(a, b)| edges[(b * width + a) as usize])
            };
            let is_edge = |(place, weak): (&(i32, i32), &bool)| *weak && touches(place);
            let grown: Vec<bool> = places.iter().zip(&weak).map(is_edge).collect();
            if grown == edges {
                return edges;
            }
            edges = grown;
        }
    }

    #[test]
    fn edges_are_those_of_a_search_place_by_place() {
        let mut random = Random::new(7, 0);
        for (width, height) in [(1, 1), (1, 9), (9, 1), (2, 2), (7, 5), (8, 8), (33, 21)] {
            for (bound, low, high) in [(256, 300, 900), (256, 40, 60), (4, 4, 9), (2, 0, 3), (30, 60, 20)] {
                let picture = noise(width, height, bound, &mut random);
                let found = edges(&picture, f64::from(low), f64::from(high));
                let by_hand = edges_by_hand(&picture, low.min(high), low.max(high));
                let by_hand: Vec<u8> = by_hand.iter().map(|edge| u8::from(*edge) * 255).collect();
                assert_eq!(found.data, by_hand, "{width}x{height}, levels below {bound}, {low} to {high}");
            }
        }
    }

    #[test]
    fn directions_within_sixteen_bits_are_those_of_the_whole_product() {
        for run in 0..=1020_i16 {
            let product = i32::from(run) * TAN_22;
            assert_eq!(i32::from(tan_22(run)), product >> 15, "{run}");
            for rise in 0..=1020_i16 {
                let whole = i32::from(rise) << 15;
                // Where both are nothing, so is the magnitude, and no place is a ridge.
                assert!(run == 0 || (rise <= tan_22(run)) == (whole < product), "{run}, {rise}");
                let is_upright = rise > tan_22(run) + 2 * run;
                assert_eq!(is_upright, whole > product + (i32::from(run) << 16), "{run}, {rise}");
            }
        }
    }
}
