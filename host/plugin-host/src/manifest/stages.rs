//! The field `stages` of a manifest: how far a picture has come where a plugin of the world `picture-hook` is called.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ManifestError, names, wrong};

const FIELD: &str = "stages";

/// How far a picture has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PictureStage {
    /// As it was drawn: where only the masked part is, it is that part.
    Decoded,
    /// As the client gets it: colours matched to the source, the kept parts laid back.
    Composited,
}

impl PictureStage {
    /// In the order that a picture goes through them.
    pub const ALL: [Self; 2] = [Self::Decoded, Self::Composited];

    /// As a manifest spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decoded => "decoded",
            Self::Composited => "composited",
        }
    }
}

/// Those that a plugin is called at; none where it has not the world.
pub(super) fn read(fields: &Map<String, Value>, has_world: bool) -> Result<Vec<PictureStage>, ManifestError> {
    let known = PictureStage::ALL.map(PictureStage::as_str);
    match names(fields, FIELD, Some(&known))? {
        None if has_world => Ok(vec![PictureStage::Composited]),
        None => Ok(Vec::new()),
        Some(_) if !has_world => wrong(FIELD, "goes with the world picture-hook".into()),
        Some(named) if named.is_empty() => {
            wrong(FIELD, format!("is empty; name {}, or leave it out for composited", known.join(" or ")))
        }
        Some(named) => {
            let is_named = |stage: &PictureStage| named.iter().any(|name| name == stage.as_str());
            Ok(PictureStage::ALL.into_iter().filter(is_named).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(stages: &Value, has_world: bool) -> Result<Vec<PictureStage>, String> {
        let fields = json!({"stages": stages});
        read(fields.as_object().unwrap(), has_world).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_that_names_no_stage_means_the_finished_picture() {
        use PictureStage::{Composited, Decoded};
        assert_eq!(parse(&Value::Null, true), Ok(vec![Composited]));
        assert_eq!(parse(&json!(["composited", "decoded", "decoded"]), true), Ok(vec![Decoded, Composited]));
        assert_eq!(parse(&json!(["decoded"]), true), Ok(vec![Decoded]));
        assert_eq!(parse(&Value::Null, false), Ok(vec![]));
    }

    #[test]
    fn a_wrong_stage_says_what_is_wrong() {
        for (stages, has_world, says) in [
            (json!([]), true, "`stages` is empty; name decoded or composited"),
            (json!(["saved"]), true, "`stages` holds \"saved\"; this host knows decoded, composited"),
            (json!(["decoded"]), false, "`stages` goes with the world picture-hook"),
            (json!("decoded"), true, "`stages` is not a list"),
        ] {
            let error = parse(&stages, has_world).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
