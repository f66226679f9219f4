//! What a large picture is drawn in, and in which order: its tiles, and then what covers the seams between them. Places, rounds
//! and masks; knows nothing of drawing.

use crate::tiles::{CHANNELS, Pixels, Tiles};

/// The least that a request may ask for along one side.
const SHOWN_MIN: u32 = 64;

/// A part that is drawn. It may hang over the picture's right and lower edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stroke {
    corner: (u32, u32),
    size: (u32, u32),
    /// Whether it fades out, across and down, from its middle to its ends.
    fades: (bool, bool),
}

/// Strokes that are drawn at one time, from the same picture.
pub(crate) type Round = Vec<Stroke>;

/// In which order tiles are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Order {
    /// One after the other, row by row; each sees those before it.
    Linear,
    /// As the fields of a chessboard: those of one colour, then those of the other.
    Chess,
}

/// What covers seams.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Seams {
    /// A band of that many pixels along each.
    Bands(u32),
    /// Tiles half a tile aside.
    HalfTiles,
    /// These, and tiles over the corners at which four tiles meet.
    HalfTilesAndCorners,
}

/// A picture divided into tiles; those of the last column and row may hang over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Board {
    whole: (u32, u32),
    tile: (u32, u32),
}

impl Board {
    /// A tile has at least one pixel.
    pub(crate) fn new(whole: (u32, u32), tile: (u32, u32)) -> Self {
        Self { whole, tile: (tile.0.clamp(1, whole.0), tile.1.clamp(1, whole.1)) }
    }

    fn columns(&self) -> u32 {
        self.whole.0.div_ceil(self.tile.0)
    }

    fn rows(&self) -> u32 {
        self.whole.1.div_ceil(self.tile.1)
    }

    pub(crate) fn tiles(&self, order: Order) -> Vec<Round> {
        let stroke = |(column, row): (u32, u32)| Stroke {
            corner: (column * self.tile.0, row * self.tile.1),
            size: self.tile,
            fades: (false, false),
        };
        let places = places(0..self.columns(), 0..self.rows());
        match order {
            Order::Linear => places.map(|place| vec![stroke(place)]).collect(),
            Order::Chess => by_colour(places, stroke),
        }
    }

    /// What is drawn over upright seams, then over level ones, then over corners; of each kind no neighbours at one time.
    pub(crate) fn seams(&self, seams: Seams) -> Vec<Round> {
        let (columns, rows) = (self.columns(), self.rows());
        let (width, height) = self.tile;
        let (across, down, fading) = match seams {
            Seams::Bands(band) => (band, band, false),
            Seams::HalfTiles | Seams::HalfTilesAndCorners => (width, height, true),
        };
        let upright = by_colour(places(1..columns, 0..rows), |(column, row)| Stroke {
            corner: ((column * width).saturating_sub(across / 2), row * height),
            size: (across, height),
            fades: (fading, false),
        });
        let level = by_colour(places(0..columns, 1..rows), |(column, row)| Stroke {
            corner: (column * width, (row * height).saturating_sub(down / 2)),
            size: (width, down),
            fades: (false, fading),
        });
        let corners = by_colour(places(1..columns, 1..rows), |(column, row)| Stroke {
            corner: (column * width - width / 2, row * height - height / 2),
            size: self.tile,
            fades: (true, true),
        });
        let corners = if seams == Seams::HalfTilesAndCorners { corners } else { Vec::new() };
        [upright, level, corners].concat()
    }
}

/// Row by row.
fn places(
    columns: std::ops::Range<u32>,
    rows: std::ops::Range<u32>,
) -> impl Iterator<Item = (u32, u32)> + Clone {
    rows.flat_map(move |row| columns.clone().map(move |column| (column, row)))
}

/// The fields of one colour of a chessboard, then those of the other.
fn by_colour(
    places: impl Iterator<Item = (u32, u32)> + Clone,
    stroke: impl Fn((u32, u32)) -> Stroke,
) -> Vec<Round> {
    let of = |colour: u32| -> Round {
        places.clone().filter(|(column, row)| (column + row) % 2 == colour).map(&stroke).collect()
    };
    [of(0), of(1)].into_iter().filter(|round| !round.is_empty()).collect()
}

impl Stroke {
    /// The corner and the size of what is shown to draw it: it and its surroundings, moved inwards where they would leave the
    /// whole, whose sides are those of a tile.
    pub(crate) fn shown(&self, padding: u32, whole: (u32, u32)) -> ((u32, u32), (u32, u32)) {
        let along = |corner: u32, size: u32, whole: u32| {
            let shown = Tiles::side_around((size + 2 * padding).max(SHOWN_MIN)).min(whole);
            (corner.saturating_sub(padding).min(whole - shown), shown)
        };
        let (x, width) = along(self.corner.0, self.size.0, whole.0);
        let (y, height) = along(self.corner.1, self.size.1, whole.1);
        ((x, y), (width, height))
    }

    /// White where it is drawn, within what is shown.
    pub(crate) fn mask(&self, (corner, size): ((u32, u32), (u32, u32))) -> Pixels {
        let along = |start: u32, shown: u32, own: u32, own_size: u32, fades: bool| -> Vec<f32> {
            (start..start + shown).map(|place| share(place, own, own_size, fades)).collect()
        };
        let columns = along(corner.0, size.0, self.corner.0, self.size.0, self.fades.0);
        let rows = along(corner.1, size.1, self.corner.1, self.size.1, self.fades.1);
        let mut data = Vec::with_capacity(columns.len() * rows.len() * CHANNELS);
        for row in &rows {
            for column in &columns {
                data.extend([(row * column * 255.0).round() as u8; CHANNELS]);
            }
        }
        Pixels { width: size.0, height: size.1, data }
    }
}

/// How much is drawn at a place along one side of a stroke.
fn share(place: u32, corner: u32, size: u32, fades: bool) -> f32 {
    if !(corner..corner + size).contains(&place) {
        return 0.0;
    }
    if !fades {
        return 1.0;
    }
    let middle = size as f32 / 2.0;
    1.0 - ((place - corner) as f32 + 0.5 - middle).abs() / middle
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOARD: Board = Board { whole: (200, 104), tile: (64, 48) };

    /// How many strokes white at a place there are, for each place of the whole.
    fn covered(rounds: &[Round], whole: (u32, u32)) -> Vec<u32> {
        let mut covered = vec![0; (whole.0 * whole.1) as usize];
        for stroke in rounds.iter().flatten() {
            let mask = stroke.mask(((0, 0), whole));
            for (count, pixel) in covered.iter_mut().zip(mask.data.chunks_exact(CHANNELS)) {
                *count += u32::from(pixel[0] == 255);
            }
        }
        covered
    }

    fn overlap(a: &Stroke, b: &Stroke) -> bool {
        let meet = |a: u32, a_size: u32, b: u32, b_size: u32| a < b + b_size && b < a + a_size;
        meet(a.corner.0, a.size.0, b.corner.0, b.size.0) && meet(a.corner.1, a.size.1, b.corner.1, b.size.1)
    }

    #[test]
    fn tiles_cover_everything_once_in_either_order() {
        for order in [Order::Linear, Order::Chess] {
            assert!(covered(&BOARD.tiles(order), BOARD.whole).iter().all(|count| *count == 1), "{order:?}");
        }
        assert_eq!(BOARD.tiles(Order::Linear).len(), 4 * 3);
        let sizes: Vec<_> = BOARD.tiles(Order::Chess).iter().map(Vec::len).collect();
        assert_eq!(sizes, [6, 6]);
        assert_eq!(Board::new((64, 64), (512, 512)).tiles(Order::Chess).len(), 1);
    }

    #[test]
    fn tiles_of_one_colour_share_no_edge() {
        for round in BOARD.tiles(Order::Chess) {
            for (index, stroke) in round.iter().enumerate() {
                for other in &round[index + 1..] {
                    let apart = (
                        stroke.corner.0.abs_diff(other.corner.0) / 64,
                        stroke.corner.1.abs_diff(other.corner.1) / 48,
                    );
                    assert!(apart.0 + apart.1 > 1, "{stroke:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn bands_lie_along_every_seam_and_nowhere_else() {
        let covered = covered(&BOARD.seams(Seams::Bands(16)), BOARD.whole);
        for y in 0..104 {
            for x in 0..200 {
                let near = |place: u32, seams: &[u32]| seams.iter().any(|s| (s - 8..s + 8).contains(&place));
                let wanted = near(x, &[64, 128, 192]) || near(y, &[48, 96]);
                assert_eq!(covered[(y * 200 + x) as usize] > 0, wanted, "{x} {y}");
            }
        }
    }

    #[test]
    fn half_tiles_are_strongest_at_the_seam_and_gone_at_their_ends() {
        let halves = BOARD.seams(Seams::HalfTiles);
        let all = BOARD.seams(Seams::HalfTilesAndCorners);
        assert_eq!(halves.iter().flatten().count(), 3 * 3 + 4 * 2);
        assert_eq!(all.iter().flatten().count(), 3 * 3 + 4 * 2 + 3 * 2);
        assert_eq!(all[..halves.len()], halves[..]);
        let first = halves[0].iter().find(|stroke| stroke.fades.0).unwrap();
        let mask = first.mask((first.corner, first.size));
        let row: Vec<u8> = mask.data[..64 * CHANNELS].iter().step_by(CHANNELS).copied().collect();
        assert!(row[31] > 245 && row[32] > 245 && row[0] < 8 && row[63] < 8, "{row:?}");
        assert!(row.iter().eq(row.iter().rev()));
        for round in &all {
            for (index, stroke) in round.iter().enumerate() {
                assert!(!round[index + 1..].iter().any(|other| overlap(stroke, other)), "{stroke:?}");
            }
        }
    }

    #[test]
    fn what_is_shown_lies_within_the_whole_and_holds_the_stroke() {
        let strokes = [BOARD.tiles(Order::Linear), BOARD.seams(Seams::HalfTilesAndCorners)].concat();
        for stroke in strokes.iter().flatten() {
            let ((x, y), (width, height)) = stroke.shown(16, BOARD.whole);
            assert_eq!((width, height), (96, 80));
            assert!(x + width <= 200 && y + height <= 104, "{stroke:?}");
            let end = |corner: u32, size: u32, whole: u32| (corner + size).min(whole);
            assert!(x <= stroke.corner.0 && end(stroke.corner.0, stroke.size.0, 200) <= x + width);
            assert!(y <= stroke.corner.1 && end(stroke.corner.1, stroke.size.1, 104) <= y + height);
        }
        let small = Board::new((200, 104), (8, 8)).tiles(Order::Linear)[0][0];
        assert_eq!(small.shown(0, (200, 104)), ((0, 0), (64, 64)));
    }
}
