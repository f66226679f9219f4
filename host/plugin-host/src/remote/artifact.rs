//! What a plugin is in a registry: an OCI image manifest in the layout that the CNCF's "Wasm OCI Artifact" guidance and
//! `wkg oci push` have, with a configuration of its own media type and the component as the only layer. Reads one and makes
//! one; sends nothing.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::digest::Digest;
use crate::manifest::Manifest;

pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
const LAYER_TYPE: &str = "application/wasm";
/// Lists of manifests are asked for too: a registry that has one under the tag then says so, instead of that there is nothing.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// The component, as its manifest tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) digest: Digest,
    pub(super) bytes: usize,
}

#[derive(Deserialize)]
struct Document {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    /// Only lists have it.
    manifests: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: usize,
}

/// # Errors
/// A sentence that says why the manifest is not that of a component.
pub(super) fn layer_of(manifest: &[u8]) -> Result<Layer, String> {
    let document: Document =
        serde_json::from_slice(manifest).map_err(|error| format!("its manifest cannot be read: {error}"))?;
    if document.manifests.is_some() {
        return Err("it is a list of manifests; name one of them by its digest, with @sha256:…".into());
    }
    let config = document.config.ok_or("its manifest has no config: it is no OCI image manifest")?;
    if config.media_type != CONFIG_TYPE {
        return Err(format!(
            "its config is {:?} and not {CONFIG_TYPE}: it is no WebAssembly component; `gesso plugin push` and `wkg oci push` make such artifacts",
            config.media_type
        ));
    }
    let [layer] = document.layers.as_slice() else {
        return Err(format!("it has {} layers; a component is one", document.layers.len()));
    };
    if layer.media_type != LAYER_TYPE {
        return Err(format!("its layer is {:?} and not {LAYER_TYPE}", layer.media_type));
    }
    Ok(Layer { digest: Digest::parse(&layer.digest)?, bytes: layer.size })
}

/// The configuration and the manifest of an artifact.
pub(super) struct Made {
    pub(super) config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
}

/// The same bytes for the same component, so that what is pushed twice has one digest.
pub(super) fn make(component: &[u8], about: &Manifest) -> Made {
    let layer = Digest::of(component).to_string();
    let config = json!({
        // Readers want a time; that of the push would be a new digest each time.
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [&layer],
    });
    let config = config.to_string().into_bytes();
    let said = [
        ("org.opencontainers.image.title", about.title.as_ref().or(Some(&about.id))),
        ("org.opencontainers.image.version", Some(&about.version)),
        ("org.opencontainers.image.description", about.description.as_ref()),
        ("org.opencontainers.image.licenses", about.licence.as_ref()),
    ];
    let annotations: serde_json::Map<String, serde_json::Value> = said
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.as_str().into())))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": CONFIG_TYPE, "digest": Digest::of(&config).to_string(), "size": config.len(),
        },
        "layers": [{"mediaType": LAYER_TYPE, "digest": layer, "size": component.len()}],
        "annotations": annotations,
    });
    Made { config, manifest: manifest.to_string().into_bytes() }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn about() -> Manifest {
        let text = br#"{"id":"frame","version":"1.2.0","api":"0.1.0","worlds":["request-hook"]}"#;
        Manifest::parse(text).unwrap()
    }

    #[test]
    fn what_is_made_is_read_again_and_the_same_each_time() {
        let made = make(b"component", &about());
        let layer = layer_of(&made.manifest).unwrap();
        assert_eq!(layer, Layer { digest: Digest::of(b"component"), bytes: 9 });
        assert_eq!(made.manifest, make(b"component", &about()).manifest);
        let shown: Value = serde_json::from_slice(&made.manifest).unwrap();
        assert_eq!(shown["annotations"]["org.opencontainers.image.title"], "frame");
        assert_eq!(shown["config"]["digest"], Digest::of(&made.config).to_string());
    }

    #[test]
    fn other_artifacts_are_named() {
        let good: Value = serde_json::from_slice(&make(b"component", &about()).manifest).unwrap();
        let changed = |change: fn(&mut Value)| {
            let mut manifest = good.clone();
            change(&mut manifest);
            layer_of(manifest.to_string().as_bytes()).unwrap_err()
        };
        assert!(changed(|it| it["config"]["mediaType"] = "x/y".into()).contains("\"x/y\""));
        assert!(changed(|it| it["layers"] = json!([])).contains("0 layers"));
        assert!(changed(|it| it["layers"][0]["mediaType"] = "application/zip".into()).contains("zip"));
        assert!(changed(|it| it["layers"][0]["digest"] = "sha512:ab".into()).contains("no digest"));
        assert!(changed(|it| it["layers"][0]["size"] = json!(-1)).contains("cannot be read"));
        assert!(changed(|it| *it = json!({"manifests": []})).contains("list of manifests"));
        assert!(changed(|it| *it = json!({})).contains("no config"));
        assert!(layer_of(b"<html>").unwrap_err().contains("cannot be read"));
    }
}
