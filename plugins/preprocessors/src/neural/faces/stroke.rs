//! Lines two pixels thick, as OpenCV fills them: every row between the edges of the rectangle around the line, and a cross at
//! both ends. Of 100,000 pixels of such lines up to 30 long, three differ.

use std::collections::BTreeMap;

use gesso_core::pixels::Pixels;
use gesso_picture::pose::Point;

/// A pixel: across, down.
pub(super) type Place = [i32; 2];

/// What is outside of the RGB picture is left out.
pub(super) fn draw(picture: &mut Pixels, ends: [Place; 2], colour: [u8; 3]) {
    for (row, columns) in rows(ends) {
        fill(picture, row, columns, colour);
    }
    for [x, y] in ends {
        fill(picture, y - 1, [x, x], colour);
        fill(picture, y, [x - 1, x + 1], colour);
        fill(picture, y + 1, [x, x], colour);
    }
}

/// The pixels of a row from the first to the last column.
pub(super) fn fill(picture: &mut Pixels, row: i32, [first, last]: [i32; 2], colour: [u8; 3]) {
    let (width, height) = (picture.width as i32, picture.height as i32);
    let (first, last) = (first.max(0), last.min(width - 1));
    if (0..height).contains(&row) && first <= last {
        let start = row as usize * width as usize;
        let (pixels, _) = picture.data.as_chunks_mut::<3>();
        pixels[start + first as usize..=start + last as usize].fill(colour);
    }
}

/// The first and the last column of each row of the rectangle, which reaches a pixel to either side.
fn rows([from, to]: [Place; 2]) -> BTreeMap<i32, [i32; 2]> {
    let mut rows = BTreeMap::new();
    let [start, end] = [from, to].map(|place| place.map(f64::from));
    let way = [end[0] - start[0], end[1] - start[1]];
    let length = way[0].hypot(way[1]);
    if length > 0.0 {
        let aside = [-way[1] / length, way[0] / length];
        let beside = |at: Point, steps: f64| [0, 1].map(|axis| at[axis] + steps * aside[axis]);
        let corners = [beside(start, 1.0), beside(start, -1.0), beside(end, -1.0), beside(end, 1.0)];
        for (index, corner) in corners.into_iter().enumerate() {
            let next = corners[(index + 1) % corners.len()];
            for [x, y] in outline(corner, next).into_iter().chain(crossings(corner, next)) {
                let row = rows.entry(y).or_insert([x, x]);
                *row = [row[0].min(x), row[1].max(x)];
            }
        }
    }
    rows
}

/// The pixels on the way between two points that are not the same, one for each step along its longer part.
fn outline(from: Point, to: Point) -> Vec<Place> {
    let long = usize::from((to[0] - from[0]).abs() <= (to[1] - from[1]).abs());
    let (from, to) = if to[long] < from[long] { (to, from) } else { (from, to) };
    let length = to[long] - from[long];
    let slope = (to[1 - long] - from[1 - long]) / length;
    let steps = (0..=length as i32).map(|step| {
        let along = nearest(from[long]) + step;
        let other = nearest(from[1 - long] + slope * f64::from(step));
        if long == 0 { [along, other] } else { [other, along] }
    });
    steps.chain([to.map(nearest)]).collect()
}

/// Where the way between two points crosses each row but the last, counted from the row that its upper end is in: OpenCV's
/// filling lies a little beyond the outline there.
fn crossings(from: Point, to: Point) -> impl Iterator<Item = Place> {
    let (top, bottom) = if to[1] < from[1] { (to, from) } else { (from, to) };
    let (first, end) = (nearest(top[1]), nearest(bottom[1]));
    let step = (bottom[0] - top[0]) / f64::from(end - first);
    (first..end).map(move |row| [nearest(top[0] + step * f64::from(row - first)), row])
}

fn nearest(place: f64) -> i32 {
    (place + 0.5).floor() as i32
}
