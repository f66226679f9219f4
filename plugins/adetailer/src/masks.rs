//! Which finds are painted again, and where exactly: by size and number, moved, grown, merged. Pure.

use crate::arguments::{Detail, FilterBy, Merge};
use crate::detector::{Find, Mask};

/// The masks to paint under, in order.
pub fn masks(finds: Vec<Find>, classes: &[String], detail: &Detail) -> Vec<Mask> {
    let mut kept: Vec<Find> = finds.into_iter().filter(|find| is_wanted(find, classes, detail)).collect();
    if detail.ad_mask_k > 0 {
        match detail.ad_mask_filter_method {
            FilterBy::Area => kept.sort_by(|a, b| area(b).total_cmp(&area(a))),
            FilterBy::Confidence => kept.sort_by(|a, b| b.score.total_cmp(&a.score)),
        }
        kept.truncate(detail.ad_mask_k as usize);
    }
    let moved = kept.into_iter().map(|find| {
        // Down the picture is up in the argument.
        let moved = find.mask.moved(detail.ad_x_offset, -detail.ad_y_offset);
        moved.grown(detail.ad_dilate_erode)
    });
    let masks: Vec<Mask> = moved.filter(|mask| mask.data.iter().any(|pixel| *pixel > 0)).collect();
    match detail.ad_mask_merge_invert {
        Merge::None => masks,
        Merge::Merge => merged(masks).into_iter().collect(),
        Merge::MergeAndInvert => merged(masks).into_iter().map(Mask::inverted).collect(),
    }
}

fn is_wanted(find: &Find, classes: &[String], detail: &Detail) -> bool {
    let share = area(find) / (find.mask.width as f32 * find.mask.height as f32);
    let mut names =
        detail.ad_model_classes.split(',').map(str::trim).filter(|name| !name.is_empty()).peekable();
    let own = classes.get(find.class).map_or("", String::as_str);
    let is_of_class = names.peek().is_none() || names.any(|name| name.eq_ignore_ascii_case(own));
    is_of_class && (detail.ad_mask_min_ratio..=detail.ad_mask_max_ratio).contains(&share)
}

fn area(find: &Find) -> f32 {
    (find.area[2] - find.area[0]) * (find.area[3] - find.area[1])
}

fn merged(masks: Vec<Mask>) -> Option<Mask> {
    masks.into_iter().reduce(|mut all, mask| {
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

    /// The greatest, or least where `by` is negative, of a square of that many pixels around each, the middle of an even
    /// square being right of its centre. Beyond the edges is nothing.
    fn grown(self, by: i32) -> Self {
        let side = by.unsigned_abs() as usize;
        if side < 2 {
            return self;
        }
        let choose = |row: &[u8]| -> Vec<u8> {
            (0..row.len())
                .map(|at| {
                    let around = &row[at.saturating_sub(side / 2)..(at + side - side / 2).min(row.len())];
                    let chosen = if by > 0 { around.iter().max() } else { around.iter().min() };
                    chosen.copied().unwrap_or_default()
                })
                .collect()
        };
        let (width, height) = (self.width as usize, self.height as usize);
        let mut data: Vec<u8> = self.data.chunks_exact(width).flat_map(choose).collect();
        for x in 0..width {
            let column: Vec<u8> = (0..height).map(|y| data[y * width + x]).collect();
            for (y, pixel) in choose(&column).into_iter().enumerate() {
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
    use super::*;

    fn find(area: [f32; 4], score: f32, class: usize) -> Find {
        Find { area, score, class, mask: Mask::rectangle((10, 10), &area) }
    }

    fn count(mask: &Mask) -> usize {
        mask.data.iter().filter(|pixel| **pixel == 255).count()
    }

    #[test]
    fn finds_are_chosen_by_class_size_and_number() {
        let finds = || {
            vec![
                find([0.0, 0.0, 1.0, 1.0], 0.9, 0),
                find([2.0, 2.0, 6.0, 6.0], 0.5, 1),
                find([0.0, 5.0, 3.0, 8.0], 0.7, 0),
            ]
        };
        let classes = ["face".to_owned(), "hand".to_owned()];
        let chosen = |change: fn(&mut Detail)| {
            let mut detail = Detail { ad_dilate_erode: 0, ..Detail::default() };
            change(&mut detail);
            masks(finds(), &classes, &detail).iter().map(count).collect::<Vec<_>>()
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
        assert_eq!(masks(vec![find(area, 0.9, 0)], &[], &detail), []);
    }
}
