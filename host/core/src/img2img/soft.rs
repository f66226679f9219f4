//! Soft inpainting: a mask with grey in it, whose half-covered places are partly kept and partly drawn, more of the one
//! or the other as the noise falls; and what of the finished picture is shown in the end, by how far it came from the
//! original. The settings are those that web UIs have. Knows no tensor.
//!
//! The web UI publishes what its settings do and not how they are computed; the formulas here are made to do the same.

/// How half-covered places of a mask are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftInpainting {
    /// When the original is kept: 1 in proportion to the noise, above 1 more of it at the beginning, below 1 at the end.
    pub schedule_bias: f64,
    /// How strongly it is kept; 0 keeps what no mask covers and nothing else.
    pub preservation: f64,
    /// 1 mixes original and drawing as they are, which washes both out; above 1 brings their contrast back.
    pub contrast_boost: f64,
    /// How much the mask has to say in what is shown: 0 nothing, 1 everything where it is black or white.
    pub mask_influence: f64,
    /// Distance of latents at which half of the original is seen; 0 shows every change.
    pub difference_threshold: f64,
    /// How sharp the edge is between original and drawing; 0 has none.
    pub difference_contrast: f64,
}

/// A setting as clients and infotexts name it.
#[derive(Debug, Clone, Copy)]
pub struct SoftSetting {
    /// What people see.
    pub label: &'static str,
    /// The field of infotexts.
    pub field: &'static str,
    pub least: f64,
    pub most: f64,
    /// Of a slider.
    pub step: f64,
}

/// In the order of a request's arguments, behind the one that switches it on.
pub const SOFT_SETTINGS: [SoftSetting; 6] = [
    setting("Schedule bias", "Soft inpainting schedule bias", (0.0, 8.0), 0.1),
    setting("Preservation strength", "Soft inpainting preservation strength", (0.0, 8.0), 0.05),
    setting("Transition contrast boost", "Soft inpainting transition contrast boost", (1.0, 32.0), 0.5),
    setting("Mask influence", "Soft inpainting mask influence", (0.0, 1.0), 0.05),
    setting("Difference threshold", "Soft inpainting difference threshold", (0.0, 8.0), 0.25),
    setting("Difference contrast", "Soft inpainting difference contrast", (0.0, 8.0), 0.25),
];

const fn setting(
    label: &'static str,
    field: &'static str,
    (least, most): (f64, f64),
    step: f64,
) -> SoftSetting {
    SoftSetting { label, field, least, most, step }
}

/// The field of infotexts that says that it is on.
pub const SOFT_ENABLED: &str = "Soft inpainting enabled";

impl Default for SoftInpainting {
    fn default() -> Self {
        Self::from_values([1.0, 0.5, 4.0, 0.0, 0.5, 2.0])
    }
}

impl SoftInpainting {
    /// From numbers in the order of [`SOFT_SETTINGS`].
    pub fn from_values(values: [f64; 6]) -> Self {
        let [
            schedule_bias,
            preservation,
            contrast_boost,
            mask_influence,
            difference_threshold,
            difference_contrast,
        ] = values;
        Self {
            schedule_bias,
            preservation,
            contrast_boost,
            mask_influence,
            difference_threshold,
            difference_contrast,
        }
    }

    /// The numbers in the order of [`SOFT_SETTINGS`].
    pub fn values(&self) -> [f64; 6] {
        [
            self.schedule_bias,
            self.preservation,
            self.contrast_boost,
            self.mask_influence,
            self.difference_threshold,
            self.difference_contrast,
        ]
    }

    /// The power that a mask (1 is repainted) is raised to at a noise level: the share of the drawing in a mix with the
    /// original. Black stays 0 and white 1 whatever it is.
    pub fn exponent(&self, sigma: f64) -> f64 {
        // Finite, so that no preservation is none of it at any level, and a number of f32, in which masks are raised to it.
        let power = sigma.max(0.0).powf(self.schedule_bias).min(f64::MAX) * self.preservation;
        power.min(f64::from(f32::MAX))
    }

    /// How much of the drawing is seen, 0..=1, at a place whose latent lies `distance` from the original's. `repaint` is
    /// the mask there.
    pub fn shown(&self, distance: f64, repaint: f64) -> f64 {
        // Half-way between the mask's word and none.
        let doubt = 0.5 + self.mask_influence * (0.5 - repaint.clamp(0.0, 1.0));
        let half = self.difference_threshold * doubt;
        let near = distance.max(0.0) * (1.0 - doubt);
        let ratio = match (near > 0.0, half > 0.0) {
            (false, _) => return 0.0,
            (true, false) => return 1.0,
            (true, true) => (near / half).powf(self.difference_contrast),
        };
        // Of an infinite ratio too.
        let share = 1.0 - 1.0 / (1.0 + ratio);
        share * share * (3.0 - 2.0 * share)
    }

    /// [`Self::shown`] of every place as grey levels. Both lists have rows of `columns` places.
    ///
    /// A place that came out as it was amid such that did not is shown with them, and edges get a slope: the distances are
    /// closed (the least of the greatest around) and averaged, both over three by three places.
    pub fn shown_levels(&self, distances: &[f32], repaint: &[f32], columns: usize) -> Vec<u8> {
        let closed = around(&around(distances, columns, f32::max), columns, f32::min);
        let smooth = averaged(&closed, columns);
        smooth
            .iter()
            .zip(repaint)
            .map(|(distance, repaint)| {
                (self.shown(f64::from(*distance), f64::from(*repaint)) * 255.0).round() as u8
            })
            .collect()
    }
}

/// Each place joined with its neighbours by `join`, first along rows and then along columns.
fn around(values: &[f32], columns: usize, join: fn(f32, f32) -> f32) -> Vec<f32> {
    by_three(values, columns, |before, here, after| join(join(before, here), after))
}

/// A bell over three by three places.
fn averaged(values: &[f32], columns: usize) -> Vec<f32> {
    by_three(values, columns, |before, here, after| (before + 2.0 * here + after) / 4.0)
}

/// `join` over three places along rows, then along columns; the outermost repeat beyond the edge.
fn by_three(values: &[f32], columns: usize, join: impl Fn(f32, f32, f32) -> f32) -> Vec<f32> {
    let columns = columns.max(1);
    let rows = values.len() / columns;
    let of = |list: &[f32], row: usize, column: usize| list[row * columns + column];
    let places = move || (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)));
    let next = |at: usize, count: usize| (at + 1).min(count - 1);
    let along: Vec<f32> = places()
        .map(|(row, column)| {
            let at = |column| of(values, row, column);
            join(at(column.saturating_sub(1)), at(column), at(next(column, columns)))
        })
        .collect();
    places()
        .map(|(row, column)| {
            let at = |row| of(&along, row, column);
            join(at(row.saturating_sub(1)), at(row), at(next(row, rows)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_settings_have_one_order_and_the_defaults_are_in_range() {
        let soft = SoftInpainting::default();
        assert_eq!((soft.schedule_bias, soft.preservation, soft.contrast_boost), (1.0, 0.5, 4.0));
        assert_eq!(
            (soft.mask_influence, soft.difference_threshold, soft.difference_contrast),
            (0.0, 0.5, 2.0)
        );
        assert_eq!(SoftInpainting::from_values(soft.values()), soft);
        for (setting, value) in SOFT_SETTINGS.iter().zip(soft.values()) {
            assert!((setting.least..=setting.most).contains(&value), "{}", setting.label);
            assert!(setting.field.to_lowercase().ends_with(&setting.label.to_lowercase()));
        }
    }

    #[test]
    fn half_covered_places_are_kept_at_the_beginning_and_drawn_at_the_end() {
        let of = |schedule_bias, preservation, sigma: f64| {
            SoftInpainting { schedule_bias, preservation, ..SoftInpainting::default() }.exponent(sigma)
        };
        assert_eq!([14.0, 2.0, 0.0].map(|sigma| of(1.0, 0.5, sigma)), [7.0, 1.0, 0.0]);
        assert_eq!([4.0, 0.25].map(|sigma| of(2.0, 1.0, sigma)), [16.0, 0.0625]);
        assert_eq!([4.0, 0.25].map(|sigma| of(0.5, 1.0, sigma)), [2.0, 0.5]);
        assert_eq!((of(1.0, 0.0, 9.0), of(8.0, 0.0, f64::INFINITY)), (0.0, 0.0));
        assert_eq!([1e30, f64::INFINITY].map(|sigma| of(8.0, 8.0, sigma)), [f64::from(f32::MAX); 2]);
    }

    #[test]
    fn what_changed_is_shown_and_what_did_not_is_the_original() {
        let soft = SoftInpainting::default();
        assert_eq!([0.0, 0.5, 1e30].map(|distance| soft.shown(distance, 1.0)), [0.0, 0.5, 1.0]);
        // (0.25 / 0.5)^2 = 1/4, a fifth, and 3/25 - 2/125.
        assert!((soft.shown(0.25, 1.0) - 0.104).abs() < 1e-9);
        let sharp = SoftInpainting { difference_contrast: 8.0, ..soft };
        assert!(sharp.shown(0.25, 1.0) < 1e-4 && sharp.shown(1.0, 1.0) > 0.999);
        let none = SoftInpainting { difference_contrast: 0.0, ..soft };
        assert_eq!((none.shown(0.01, 1.0), none.shown(9.0, 1.0)), (0.5, 0.5));
        let all = SoftInpainting { difference_threshold: 0.0, ..soft };
        assert_eq!((all.shown(1e-9, 0.0), all.shown(0.0, 1.0)), (1.0, 0.0));
    }

    #[test]
    fn the_mask_has_as_much_to_say_as_its_influence() {
        let of = |mask_influence, repaint| {
            SoftInpainting { mask_influence, ..SoftInpainting::default() }.shown(0.5, repaint)
        };
        assert_eq!([0.0, 0.5, 1.0].map(|repaint| of(0.0, repaint)), [0.5; 3]);
        assert_eq!([0.0, 0.5, 1.0].map(|repaint| of(1.0, repaint)), [0.0, 0.5, 1.0]);
        assert!(of(0.5, 0.25) < 0.5 && of(0.5, 0.75) > 0.5);
    }

    #[test]
    fn holes_in_what_changed_are_shown_with_it_and_edges_slope() {
        let soft = SoftInpainting::default();
        let far = |row: usize, column: usize| {
            let is_in = (1..6).contains(&row) && (1..6).contains(&column);
            if is_in && (row, column) != (3, 3) { 100.0 } else { 0.0 }
        };
        let distances: Vec<f32> = (0..64).map(|place| far(place / 8, place % 8)).collect();
        let levels = soft.shown_levels(&distances, &[1.0; 64], 8);
        let at = |row: usize, column: usize| levels[row * 8 + column];
        assert_eq!((levels.len(), at(3, 3), at(7, 7), at(3, 7)), (64, 255, 0, 0));
        let sloping = SoftInpainting { difference_threshold: 8.0, ..soft }.shown_levels(
            &distances.iter().map(|distance| distance / 10.0).collect::<Vec<_>>(),
            &[1.0; 64],
            8,
        );
        let across: Vec<u8> = (4..8).map(|column| sloping[3 * 8 + column]).collect();
        assert!(across.is_sorted_by(|a, b| a >= b) && across[1] > across[2] && across[2] > 0, "{across:?}");
    }

    #[test]
    fn no_places_and_one_place_have_levels_too() {
        let soft = SoftInpainting::default();
        assert_eq!(soft.shown_levels(&[], &[], 0), Vec::<u8>::new());
        assert_eq!(soft.shown_levels(&[0.5], &[1.0], 1), [128]);
        assert_eq!(soft.shown_levels(&[f32::NAN, f32::INFINITY], &[1.0, 1.0], 1).len(), 2);
        assert_eq!(soft.shown_levels(&[f32::NAN], &[1.0], 1), [0]);
    }
}
