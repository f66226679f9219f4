//! Which finds are painted again, and where exactly: by size and number, moved, grown, merged. Pure.

use crate::arguments::{Detail, FilterBy, Merge};
use crate::detector::{Find, Finds, Mask};

/// Which finds are painted again, in order.
pub fn chosen(finds: &Finds, classes: &[String], detail: &Detail) -> Vec<Find> {
    let (width, height) = finds.picture();
    let whole = width as f32 * height as f32;
    let is_wanted = |find: &&Find| is_wanted(find, area(find) / whole, classes, detail);
    let mut kept: Vec<Find> = finds.all.iter().filter(is_wanted).cloned().collect();
    if detail.ad_mask_k > 0 {
        match detail.ad_mask_filter_method {
            FilterBy::Area => kept.sort_by(|a, b| area(b).total_cmp(&area(a))),
            FilterBy::Confidence => kept.sort_by(|a, b| b.score.total_cmp(&a.score)),
        }
        kept.truncate(detail.ad_mask_k as usize);
    }
    kept
}

/// The masks to paint under, each made when it is asked for: a picture may have hundreds. What vanishes is left out.
pub fn masks<'a>(
    finds: &'a Finds,
    chosen: &'a [Find],
    detail: &'a Detail,
) -> Box<dyn Iterator<Item = Mask> + 'a> {
    let moved = chosen.iter().map(|find| {
        // Down the picture is up in the argument.
        let moved = finds.mask(find).moved(detail.ad_x_offset, -detail.ad_y_offset);
        moved.grown(detail.ad_dilate_erode)
    });
    let masks = moved.filter(|mask| mask.data.iter().any(|pixel| *pixel > 0));
    match detail.ad_mask_merge_invert {
        Merge::None => Box::new(masks),
        Merge::Merge => Box::new(merged(masks).into_iter()),
        Merge::MergeAndInvert => Box::new(merged(masks).into_iter().map(Mask::inverted)),
    }
}

fn is_wanted(find: &Find, share: f32, classes: &[String], detail: &Detail) -> bool {
    let mut names =
        detail.ad_model_classes.split(',').map(str::trim).filter(|name| !name.is_empty()).peekable();
    let own = classes.get(find.class).map_or("", String::as_str);
    let is_of_class = names.peek().is_none() || names.any(|name| name.eq_ignore_ascii_case(own));
    is_of_class && (detail.ad_mask_min_ratio..=detail.ad_mask_max_ratio).contains(&share)
}

fn area(find: &Find) -> f32 {
    (find.area[2] - find.area[0]) * (find.area[3] - find.area[1])
}

fn merged(masks: impl Iterator<Item = Mask>) -> Option<Mask> {
    masks.reduce(|mut all, mask| {
        for (pixel, other) in all.data.iter_mut().zip(mask.data) {
            *pixel = (*pixel).max(other);
        }
        all
    })
}

impl Mask {
    /// What leaves one side comes in on the other.
    fn moved(self, right: i32, down: i32) -> Self {
        if (right, down) == (0, 0) {
            return self;
        }
        let (width, height) = (self.width as usize, self.height as usize);
        let (right, down) =
            (right.rem_euclid(self.width as i32) as usize, down.rem_euclid(self.height as i32) as usize);
        let mut data = Vec::with_capacity(self.data.len());
        for y in 0..height {
            let from = (y + height - down) % height * width;
            let row = &self.data[from..from + width];
            data.extend_from_slice(&row[width - right..]);
            data.extend_from_slice(&row[..width - right]);
        }
        Self { data, ..self }
    }

    /// White where any pixel of a square of that many pixels around is, or where all are for a negative `by`; the middle of an
    /// even square is right of its centre. What lies beyond the edges does not count.
    fn grown(self, by: i32) -> Self {
        let side = by.unsigned_abs() as usize;
        if side < 2 {
            return self;
        }
        let choose = |row: &mut dyn Iterator<Item = u8>, white: &mut Vec<u32>| -> Vec<u8> {
            // How many are white before each place.
            white.clear();
            white.push(0);
            white.extend(row.scan(0, |sum, pixel| {
                *sum += u32::from(pixel > 0);
                Some(*sum)
            }));
            let length = white.len() - 1;
            let around = |at: usize| (at.saturating_sub(side / 2), (at + side - side / 2).min(length));
            let level = |at: usize| {
                let (from, to) = around(at);
                let count = white[to] - white[from];
                let is_white = if by > 0 { count > 0 } else { count as usize == to - from };
                if is_white { 255 } else { 0 }
            };
            (0..length).map(level).collect()
        };
        let (width, height) = (self.width as usize, self.height as usize);
        let mut counts = Vec::new();
        let rows = self.data.chunks_exact(width);
        let mut data: Vec<u8> = rows.flat_map(|row| choose(&mut row.iter().copied(), &mut counts)).collect();
        for x in 0..width {
            let column = choose(&mut (0..height).map(|y| data[y * width + x]), &mut counts);
            for (y, pixel) in column.into_iter().enumerate() {
                data[y * width + x] = pixel;
            }
        }
        Self { data, ..self }
    }

    fn inverted(mut self) -> Self {
        for pixel in &mut self.data {
            *pixel = 255 - *pixel;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use gesso_plugin::models::Tensor;

    use super::*;
    use crate::detector::{self, Placement};

    /// Areas, scores and classes as a network gives them that suppresses by itself, of a picture of 10 by 10.
    fn finds(found: &[([f32; 4], f32, usize)]) -> Finds {
        let values = found.iter().flat_map(|(area, score, class)| {
            area.iter().copied().chain([*score, *class as f32]).collect::<Vec<_>>()
        });
        let output = Tensor { shape: vec![1, found.len() as u32, 6], values: values.collect() };
        detector::finds(&[output], Placement::of((10, 10), (10, 10)), 0.1).unwrap()
    }

    fn made(finds: &Finds, classes: &[String], detail: &Detail) -> Vec<Mask> {
        masks(finds, &chosen(finds, classes, detail), detail).collect()
    }

    fn count(mask: &Mask) -> usize {
        mask.data.iter().filter(|pixel| **pixel == 255).count()
    }

    #[test]
    fn finds_are_chosen_by_class_size_and_number() {
        let finds = finds(&[
            ([0.0, 0.0, 1.0, 1.0], 0.9, 0),
            ([2.0, 2.0, 6.0, 6.0], 0.5, 1),
            ([0.0, 5.0, 3.0, 8.0], 0.7, 0),
        ]);
        let classes = ["face".to_owned(), "hand".to_owned()];
        let chosen = |change: fn(&mut Detail)| {
            let mut detail = Detail { ad_dilate_erode: 0, ..Detail::default() };
            change(&mut detail);
            made(&finds, &classes, &detail).iter().map(count).collect::<Vec<_>>()
        };
        assert_eq!(chosen(|_| {}), [4, 25, 16]);
        assert_eq!(chosen(|d| d.ad_model_classes = "Face, foot".into()), [4, 16]);
        assert_eq!(chosen(|d| d.ad_mask_min_ratio = 0.1), [25]);
        assert_eq!(chosen(|d| d.ad_mask_max_ratio = 0.05), [4]);
        assert_eq!(chosen(|d| d.ad_mask_k = 2), [25, 16]);
        let by_score = |d: &mut Detail| {
            d.ad_mask_k = 2;
            d.ad_mask_filter_method = FilterBy::Confidence;
        };
        assert_eq!(chosen(by_score), [4, 16]);
        assert_eq!(chosen(|d| d.ad_mask_merge_invert = Merge::Merge), [4 + 25 + 16 - 4]);
        assert_eq!(chosen(|d| d.ad_mask_merge_invert = Merge::MergeAndInvert), [100 - (4 + 25 + 16 - 4)]);
    }

    #[test]
    fn masks_move_to_the_right_and_up() {
        let mask = Mask::rectangle((10, 10), &[4.0, 4.0, 4.0, 4.0]);
        let at = |mask: &Mask| mask.data.iter().position(|pixel| *pixel == 255).unwrap();
        assert_eq!(at(&mask.clone().moved(2, -3)), 16);
        assert_eq!(at(&mask.moved(7, 0)), 41);
    }

    #[test]
    fn masks_grow_and_shrink_and_what_vanishes_is_left_out() {
        let area = [3.0, 3.0, 5.0, 5.0];
        let mask = Mask::rectangle((10, 10), &area);
        assert_eq!(count(&mask.clone().grown(4)), 36);
        // A square of four reaches two to the left and one to the right.
        assert_eq!(mask.clone().grown(4).data.iter().position(|pixel| *pixel == 255), Some(22));
        assert_eq!(count(&mask.clone().grown(3)), 25);
        assert_eq!(count(&mask.grown(-3)), 1);
        let detail = Detail { ad_dilate_erode: -8, ..Detail::default() };
        assert_eq!(made(&finds(&[(area, 0.9, 0)]), &[], &detail), []);
    }
}
