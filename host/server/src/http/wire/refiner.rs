//! The checkpoint that goes on with the pictures of a pass: two fields of the body, and the options about them.

use gesso_core::refiner::{RefinedPasses, Refiner};
use serde_json::{Map, Value};

use super::overrides::Overrides;
use super::problems::{Problems, non_empty, number};

/// `None` where none is named, or where it would have no share of a picture or all of it.
pub(super) fn read(
    body: &Map<String, Value>,
    overrides: &Overrides<'_>,
    problems: &mut Problems,
) -> Option<Refiner> {
    // Read in any case: options are judged when they are saved, without a body around them.
    let by_steps = overrides.flag("refiner_switch_by_sample_steps", problems).unwrap_or(false);
    let known = RefinedPasses::ALL.map(|passes| (passes.label(), passes));
    let passes = overrides.choice("hires_fix_refiner_pass", &known, problems).unwrap_or_default();
    // The first choice of the web UI's menu is the word.
    let model = non_empty(body, "refiner_checkpoint").filter(|name| !name.eq_ignore_ascii_case("None"))?;
    let Some(switch_at) = number(body, "refiner_switch_at") else {
        let message = "refiner_switch_at is needed with refiner_checkpoint; send 0.8, say";
        problems.add("refiner_switch_at", message.into());
        return None;
    };
    let switch_at = problems.range("refiner_switch_at", switch_at, 0.0, 1.0);
    (switch_at > 0.0 && switch_at < 1.0).then(|| Refiner {
        model: model.to_owned(),
        switch_at,
        by_steps,
        passes,
    })
}

#[cfg(test)]
mod tests {
    use gesso_core::limits::Limits;
    use serde_json::json;

    use super::super::generate::{Defaults, Drawing, to_request};
    use super::*;

    fn refiner(body: Value) -> Result<Option<Refiner>, Vec<String>> {
        let body = Drawing::Txt2Img.read(body.as_object().unwrap(), || 1).unwrap();
        to_request(Drawing::Txt2Img, &body, &Defaults::default(), &Limits::default())
            .map(|request| request.refiner)
            .map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn a_refiner_has_a_checkpoint_and_a_share() {
        let read = refiner(json!({"refiner_checkpoint": "other", "refiner_switch_at": "0.8"})).unwrap();
        let passes = RefinedPasses::Second;
        let want = Refiner { model: "other".into(), switch_at: 0.8, by_steps: false, passes };
        assert_eq!(read, Some(want.clone()));
        let read = refiner(json!({
            "refiner_checkpoint": "other", "refiner_switch_at": 0.8,
            "override_settings": {"refiner_switch_by_sample_steps": true, "hires_fix_refiner_pass": "Both passes"},
        }));
        assert_eq!(read.unwrap(), Some(Refiner { by_steps: true, passes: RefinedPasses::Both, ..want }));
    }

    #[test]
    fn without_a_name_or_with_a_share_of_nothing_or_all_there_is_none() {
        for body in [
            json!({}),
            json!({"refiner_switch_at": 0.8}),
            json!({"refiner_checkpoint": "", "refiner_switch_at": 0.8}),
            json!({"refiner_checkpoint": "None"}),
            json!({"refiner_checkpoint": "none", "refiner_switch_at": 7}),
            json!({"refiner_checkpoint": null, "refiner_switch_at": null}),
            json!({"refiner_checkpoint": "other", "refiner_switch_at": 0}),
            json!({"refiner_checkpoint": "other", "refiner_switch_at": 1}),
        ] {
            assert_eq!(refiner(body.clone()).unwrap(), None, "{body}");
        }
    }

    #[test]
    fn a_missing_share_and_one_out_of_range_are_named() {
        for switch_at in [Value::Null, json!(-0.1), json!(1.1)] {
            let body = json!({"refiner_checkpoint": "other", "refiner_switch_at": switch_at});
            assert_eq!(refiner(body).unwrap_err(), ["refiner_switch_at"], "{switch_at}");
        }
        let options = json!({"hires_fix_refiner_pass": "third pass"});
        assert_eq!(refiner(json!({"override_settings": options})).unwrap_err(), ["override_settings"]);
    }
}
