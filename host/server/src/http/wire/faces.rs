//! What a drawing's body says about restoring faces. Knows no file.

use serde_json::{Map, Value};

use super::extras::Restorer;
use super::fields::FieldProblem;
use super::overrides::{Overrides, refuse};
use super::problems::Problems;

/// The field that asks for it.
pub(crate) const FIELD: &str = "restore_faces";
/// CodeFormer's fidelity, web UIs' default.
pub(crate) const FIDELITY: f64 = 0.5;

/// How the faces of a drawing are restored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FacesWanted {
    /// `None` takes what is installed, CodeFormer first.
    pub(crate) restorer: Option<Restorer>,
    /// CodeFormer's, 0..=1.
    pub(crate) fidelity: f64,
}

impl FacesWanted {
    /// `None` where they are left as they are.
    ///
    /// # Errors
    /// The options `face_restoration_model` and `code_former_weight`, where their values are none of theirs.
    pub(crate) fn read(body: &Map<String, Value>) -> Result<Option<Self>, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let overrides = Overrides::new(body, &mut problems);
        let known =
            [("CodeFormer", Some(Restorer::CodeFormer)), ("GFPGAN", Some(Restorer::Gfpgan)), ("None", None)];
        let chosen = overrides.choice("face_restoration_model", &known, &mut problems);
        let fidelity = overrides.number("code_former_weight", &mut problems).unwrap_or(FIDELITY);
        if !(0.0..=1.0).contains(&fidelity) {
            refuse(&mut problems, "code_former_weight", "a number between 0 and 1");
        }
        // The option is for requests that leave the field unsaid.
        let by_option = overrides.flag("face_restoration", &mut problems).unwrap_or(false);
        let are_asked_for = body.get(FIELD).and_then(Value::as_bool).unwrap_or(by_option);
        let are_wanted = are_asked_for && chosen != Some(None);
        problems.into_result(are_wanted.then_some(Self { restorer: chosen.flatten(), fidelity }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Option<FacesWanted>, String> {
        FacesWanted::read(body.as_object().unwrap()).map_err(|problems| problems[0].message.clone())
    }

    #[test]
    fn options_choose_the_restorer_and_its_fidelity() {
        let wanted = |restorer, fidelity| Ok(Some(FacesWanted { restorer, fidelity }));
        for (body, expected) in [
            (json!({}), Ok(None)),
            (
                json!({"restore_faces": false, "override_settings": {"face_restoration_model": "GFPGAN"}}),
                Ok(None),
            ),
            (json!({"restore_faces": true}), wanted(None, 0.5)),
            (json!({"override_settings": {"face_restoration": true}}), wanted(None, 0.5)),
            (
                json!({"restore_faces": null, "override_settings": {"face_restoration": "on"}}),
                wanted(None, 0.5),
            ),
            (json!({"restore_faces": false, "override_settings": {"face_restoration": true}}), Ok(None)),
            (
                json!({"restore_faces": true, "override_settings": {"face_restoration_model": "GFPGAN"}}),
                wanted(Some(Restorer::Gfpgan), 0.5),
            ),
            (
                json!({"restore_faces": true, "override_settings": {"code_former_weight": 0.9}}),
                wanted(None, 0.9),
            ),
            (
                json!({"restore_faces": true, "override_settings": {"face_restoration_model": "None"}}),
                Ok(None),
            ),
        ] {
            assert_eq!(read(body.clone()), expected, "{body}");
        }
    }

    #[test]
    fn values_that_are_none_are_named() {
        for (options, expected) in [
            (json!({"face_restoration_model": "Other"}), "one of CodeFormer, GFPGAN, None"),
            (json!({"code_former_weight": 1.5}), "between 0 and 1"),
            (json!({"code_former_weight": "much"}), "a finite number"),
            (json!({"face_restoration": "perhaps"}), "true or false"),
        ] {
            let why = read(json!({"restore_faces": true, "override_settings": options})).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
