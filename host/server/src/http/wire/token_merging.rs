//! Options of token merging. Web UIs have no fields for it.

use gesso_core::request::TokenMerging;

use super::generate::Drawing;
use super::overrides::{Overrides, refuse};
use super::problems::Problems;

/// Greatest share, as web UIs' sliders have it.
const MAX_SHARE: f64 = 0.9;

/// As for web UIs 0 means that another of them is asked: image to image has its own beside the one of all drawings, which
/// wins where both are there, and a second pass has what it has not of the first.
pub(super) fn read(drawing: Drawing, overrides: &Overrides<'_>, problems: &mut Problems) -> TokenMerging {
    // All are read in any case: each is judged when it is saved.
    let [all, img2img, second] =
        ["token_merging_ratio", "token_merging_ratio_img2img", "token_merging_ratio_hr"].map(|name| {
            let share = overrides.number(name, problems).unwrap_or(0.0);
            if !(0.0..=MAX_SHARE).contains(&share) {
                refuse(problems, name, &format!("a number between 0 and {MAX_SHARE}, not {share}"));
                return 0.0;
            }
            share
        });
    let or = |share: f64, other: f64| if share == 0.0 { other } else { share };
    match drawing {
        Drawing::Txt2Img => TokenMerging { first: all, second: or(second, all) },
        Drawing::Img2Img => TokenMerging { first: or(all, img2img), second: 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use gesso_core::limits::Limits;
    use serde_json::{Value, json};

    use super::super::generate::{Defaults, to_request};
    use super::*;

    fn shares(drawing: Drawing, options: Value) -> Result<(f64, f64), Vec<String>> {
        let body = json!({"init_images": ["x"], "override_settings": options});
        let body = drawing.read(body.as_object().unwrap(), || 1).unwrap();
        to_request(drawing, &body, &Defaults::default(), &Limits::default())
            .map(|request| (request.token_merging.first, request.token_merging.second))
            .map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn each_kind_of_pass_has_its_own_share_or_that_of_all() {
        for (options, txt2img, img2img) in [
            (json!({}), (0.0, 0.0), 0.0),
            (json!({"token_merging_ratio": 0.5}), (0.5, 0.5), 0.5),
            (json!({"token_merging_ratio": "0.5", "token_merging_ratio_hr": 0.25}), (0.5, 0.25), 0.5),
            (json!({"token_merging_ratio_hr": 0.25}), (0.0, 0.25), 0.0),
            (json!({"token_merging_ratio_img2img": 0.25}), (0.0, 0.0), 0.25),
            (json!({"token_merging_ratio": 0.5, "token_merging_ratio_img2img": 0.25}), (0.5, 0.5), 0.5),
        ] {
            assert_eq!(shares(Drawing::Txt2Img, options.clone()), Ok(txt2img), "{options}");
            assert_eq!(shares(Drawing::Img2Img, options.clone()), Ok((img2img, 0.0)), "{options}");
        }
    }

    #[test]
    fn shares_out_of_range_are_named() {
        for (options, says) in [
            (
                json!({"token_merging_ratio": 1}),
                "token_merging_ratio must be a number between 0 and 0.9, not 1",
            ),
            (json!({"token_merging_ratio_hr": -0.5}), "token_merging_ratio_hr must be"),
            (
                json!({"token_merging_ratio_img2img": "half"}),
                "token_merging_ratio_img2img must be a finite number",
            ),
        ] {
            for drawing in [Drawing::Txt2Img, Drawing::Img2Img] {
                let problems = shares(drawing, options.clone()).unwrap_err();
                assert!(problems.len() == 1 && problems[0].contains(says), "{problems:?}");
            }
        }
    }
}
