//! The way back to the build before, with settings that fit it: those that stand, else those that it was last loaded with. Called
//! by the host handle. What the swap is, is the parent's.

use super::granting::told;
use crate::error::InstallError;
use crate::host::Inner;
use crate::load::LoadError;
use crate::manifest::Manifest;
use crate::schema;
use crate::settings_versions;
use crate::trail::{Asker, TrailEvent, now_ms};
use serde_json::Value;

impl Inner {
    pub(crate) async fn rollback(&self, id: &str, asker: &Asker) -> Result<(), InstallError> {
        let mut changes = self.open_changes(asker).await?;
        if self.table.load().get(id).is_none() {
            return Err(InstallError::NotFound { id: id.to_owned() });
        }
        let none = || InstallError::NoPrevious { id: id.to_owned() };
        let record = changes.registry.plugins.get(id).ok_or_else(none)?;
        let previous = record.previous.clone().ok_or_else(none)?;
        let kept = record.previous_settings.clone();
        let bytes = self.kept_version(id, &previous).ok_or_else(none)?;
        let refused = |reason: String| InstallError::Refused { id: Some(id.to_owned()), reason };
        let load_refused = |error: LoadError| refused(error.to_string());
        let inspection = self.inspected(&bytes).map_err(load_refused)?;
        let mut grants = self.grants_of(&changes, id);
        let manifest = &inspection.1.manifest;
        let put_back = to_put_back(manifest, &grants.settings, kept.as_deref()).map_err(refused)?;
        let standing = put_back.map(|settings| std::mem::replace(&mut grants.settings, settings));
        let loaded = self.load_with(&changes, id, &bytes, inspection, &grants).await.map_err(load_refused)?;
        let detail = standing
            .is_some()
            .then(|| format!("settings put back with version {}; {}", previous.version, told(&grants)));
        self.with_file(&mut changes, id, Some(&bytes), |changes| {
            if let Some(standing) = standing {
                let record = changes.registry.record_mut(id);
                let given = (asker.by.as_deref(), now_ms());
                settings_versions::note(&mut record.settings_versions, &standing, &grants.settings, given);
                record.grants = Some(grants);
            }
            self.activate(changes, id, &bytes, loaded)
        })?;
        if detail.is_some() {
            self.trail.note(id, TrailEvent::Granted, None, detail, asker);
        }
        Ok(())
    }
}

/// The settings to put back with a build: none where those that stand fit it. `kept`, as JSON, are those that it was last loaded
/// with.
///
/// # Errors
/// What is wrong with those that stand and what to do, where those that are kept do not fit either.
fn to_put_back(manifest: &Manifest, standing: &Value, kept: Option<&str>) -> Result<Option<Value>, String> {
    let Some(schema) = &manifest.settings_schema else { return Ok(None) };
    let Err(problem) = schema::check(schema, standing) else { return Ok(None) };
    let kept: Option<Value> = kept.and_then(|kept| serde_json::from_str(kept).ok());
    let fitting = kept.filter(|kept| schema::check(schema, kept).is_ok());
    let Manifest { id, version, .. } = manifest;
    fitting.map(Some).ok_or_else(|| {
        format!(
            "{problem}, and none are kept that fit version {version}: upload that build again, and give it settings of its own \
             with PUT /plugins/{id}/grants while it waits for them"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(schema: &Value) -> Manifest {
        let manifest = json!({"id": "a", "version": "1.0.0", "api": "0.1.0", "worlds": ["request-hook"],
            "settings_schema": schema});
        Manifest::parse(manifest.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn settings_are_put_back_only_where_those_that_stand_do_not_fit() {
        let wants_style = manifest(&json!({"type": "object", "required": ["style"]}));
        let standing = json!({"palette": "sk-51f0"});
        let kept = r#"{"style":"ink"}"#;
        assert_eq!(to_put_back(&wants_style, &json!({"style": "chalk"}), Some(kept)), Ok(None));
        assert_eq!(to_put_back(&wants_style, &standing, Some(kept)), Ok(Some(json!({"style": "ink"}))));
        for unfit in [None, Some("{}"), Some("no JSON")] {
            let error = to_put_back(&wants_style, &standing, unfit).unwrap_err();
            for part in ["style", "version 1.0.0", "upload that build again", "PUT /plugins/a/grants"] {
                assert!(error.contains(part), "{error}");
            }
            assert!(!error.contains("sk-51f0"), "{error}");
        }
    }
}
