//! Puts the manifest, and the files that a plugin carries, into a component that some other compiler made. For authors; the
//! host only reads.

use wasm_encoder::{CustomSection, Section};

use crate::assets::{self, Assets};
use crate::inspect;
use crate::manifest::{Manifest, ManifestError, SECTION};

/// The component with this manifest (JSON) and these files in it, and what the manifest says.
///
/// # Errors
/// Why it cannot be packed: no component, a wrong manifest, or another one inside already, or other files.
pub fn pack_component(
    component: &[u8],
    manifest: &[u8],
    assets: &Assets,
) -> Result<(Vec<u8>, Manifest), String> {
    let parsed = Manifest::parse(manifest).map_err(|error| error.to_string())?;
    let mut packed = component.to_vec();
    match inspect::inspect(component) {
        Ok(inside) if inside.manifest == parsed => {}
        Ok(inside) => {
            return Err(format!(
                "it has a manifest already, of {} {}",
                inside.manifest.id, inside.manifest.version
            ));
        }
        Err(inspect::InspectError::Manifest(ManifestError::Missing)) => {
            CustomSection { name: SECTION.into(), data: manifest.into() }.append_to(&mut packed);
        }
        Err(error) => return Err(error.to_string()),
    }
    let inside = inspect::inspect(&packed).map_err(|error| error.to_string())?.assets;
    if inside == *assets {
        return Ok((packed, parsed));
    }
    if !inside.is_empty() {
        return Err("it carries other files already; pack what the compiler made".to_owned());
    }
    let section = assets.write()?;
    CustomSection { name: assets::SECTION.into(), data: section.as_slice().into() }.append_to(&mut packed);
    Ok((packed, parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &[u8] = br#"{"id":"a","version":"1.0.0","api":"0.1.0","worlds":["request-hook"]}"#;

    #[test]
    fn a_packed_component_has_its_manifest_once() {
        let bare = wat::parse_str("(component)").unwrap();
        let (packed, manifest) = pack_component(&bare, MANIFEST, &Assets::default()).unwrap();
        assert_eq!(inspect::inspect(&packed).unwrap().manifest, manifest);
        assert_eq!(pack_component(&packed, MANIFEST, &Assets::default()).unwrap().0, packed);
        let other = br#"{"id":"b","version":"1.0.0","api":"0.1.0","worlds":["request-hook"]}"#;
        let error = pack_component(&packed, other, &Assets::default()).unwrap_err();
        assert!(error.contains("has a manifest already, of a 1.0.0"), "{error}");
    }

    #[test]
    fn a_packed_component_carries_its_files_once() {
        let bare = wat::parse_str("(component)").unwrap();
        let files = |text: &str| Assets::new([("a.txt".to_owned(), text.as_bytes().to_vec())]).unwrap();
        let (packed, _) = pack_component(&bare, MANIFEST, &files("one")).unwrap();
        assert_eq!(inspect::inspect(&packed).unwrap().assets, files("one"));
        assert_eq!(pack_component(&packed, MANIFEST, &files("one")).unwrap().0, packed);
        let error = pack_component(&packed, MANIFEST, &files("two")).unwrap_err();
        assert!(error.contains("carries other files already"), "{error}");
    }

    #[test]
    fn says_what_is_no_component_and_what_no_manifest() {
        assert!(
            pack_component(b"hello", MANIFEST, &Assets::default())
                .unwrap_err()
                .contains("not a WebAssembly file")
        );
        let bare = wat::parse_str("(component)").unwrap();
        assert!(pack_component(&bare, b"{}", &Assets::default()).unwrap_err().contains("`id` is missing"));
    }
}
