//! Puts the manifest into a component that some other compiler made. For authors; the host only reads.

use wasm_encoder::{CustomSection, Section};

use crate::inspect;
use crate::manifest::{Manifest, ManifestError, SECTION};

/// The component with this manifest (JSON) in it, and what the manifest says.
///
/// # Errors
/// Why it cannot be packed: no component, a wrong manifest, or another one inside already.
pub fn pack_component(component: &[u8], manifest: &[u8]) -> Result<(Vec<u8>, Manifest), String> {
    let parsed = Manifest::parse(manifest).map_err(|error| error.to_string())?;
    match inspect::inspect(component) {
        Ok(inside) if inside.manifest == parsed => return Ok((component.to_vec(), parsed)),
        Ok(inside) => {
            return Err(format!(
                "it has a manifest already, of {} {}",
                inside.manifest.id, inside.manifest.version
            ));
        }
        Err(inspect::InspectError::Manifest(ManifestError::Missing)) => {}
        Err(error) => return Err(error.to_string()),
    }
    let mut packed = component.to_vec();
    CustomSection { name: SECTION.into(), data: manifest.into() }.append_to(&mut packed);
    Ok((packed, parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &[u8] = br#"{"id":"a","version":"1.0.0","api":"0.1.0","worlds":["request-hook"]}"#;

    #[test]
    fn a_packed_component_has_its_manifest_once() {
        let bare = wat::parse_str("(component)").unwrap();
        let (packed, manifest) = pack_component(&bare, MANIFEST).unwrap();
        assert_eq!(inspect::inspect(&packed).unwrap().manifest, manifest);
        assert_eq!(pack_component(&packed, MANIFEST).unwrap().0, packed);
        let other = br#"{"id":"b","version":"1.0.0","api":"0.1.0","worlds":["request-hook"]}"#;
        let error = pack_component(&packed, other).unwrap_err();
        assert!(error.contains("has a manifest already, of a 1.0.0"), "{error}");
    }

    #[test]
    fn says_what_is_no_component_and_what_no_manifest() {
        assert!(pack_component(b"hello", MANIFEST).unwrap_err().contains("not a WebAssembly file"));
        let bare = wat::parse_str("(component)").unwrap();
        assert!(pack_component(&bare, b"{}").unwrap_err().contains("`id` is missing"));
    }
}
