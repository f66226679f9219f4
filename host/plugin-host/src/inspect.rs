//! Reads a component's bytes without compiling or running them: size, counts, nesting, imports, manifest. First
//! gate for anything from outside, in the server and again in the compile worker. Knows no grants.

use crate::assets::{self, Assets};
use crate::manifest::{Manifest, ManifestError, SECTION};
use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload};

/// Largest component that is looked at, bytes. A Python component is about 18 MB.
pub(crate) const MAX_COMPONENT_BYTES: usize = 64 << 20;
/// Sections over all nested modules. Compile cost grows with them.
const MAX_SECTIONS: usize = 20_000;
/// Functions over all nested modules; an empty one costs about 10 µs to compile (wasmtime issue 10576).
const MAX_FUNCTIONS: u64 = 200_000;
/// One body may not be larger: compile time grows faster than linearly in it.
const MAX_BODY_BYTES: usize = 4 << 20;
const MAX_DEPTH: usize = 16;
const MAX_IMPORTS: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InspectError {
    #[error("it is {0} bytes long; at most {MAX_COMPONENT_BYTES} are accepted")]
    TooLong(usize),
    #[error("it is not a WebAssembly file")]
    NotWasm,
    #[error("it is a core module, not a component: build it for the target wasm32-wasip2")]
    CoreModule,
    #[error("it does not parse: {0}")]
    Malformed(String),
    #[error("it has more than {1} {0}")]
    TooMany(&'static str, u64),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("its files in the custom section gesso:assets cannot be used: {0}")]
    Assets(String),
}

/// What can be said of a component before it is compiled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inspection {
    pub(crate) manifest: Manifest,
    /// Names of the imports at the top level, as written: `wasi:io/poll@0.2.6`.
    pub(crate) imports: Vec<String>,
    /// The files it carries.
    pub(crate) assets: Assets,
}

/// Walks the whole file once.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    let Found { imports, manifests, assets } = walk(bytes)?;
    let manifest = match manifests.as_slice() {
        [] => return Err(ManifestError::Missing.into()),
        [one] => Manifest::parse(one)?,
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Manifest::parse(first)?,
        several => return Err(ManifestError::Several(several.len()).into()),
    };
    let assets = match assets.as_slice() {
        [] => Assets::default(),
        [one] => Assets::read(one).map_err(InspectError::Assets)?,
        several => {
            return Err(InspectError::Assets(format!(
                "there are {} such sections; one is right",
                several.len()
            )));
        }
    };
    Ok(Inspection { manifest, imports, assets })
}

#[derive(Default)]
struct Found<'a> {
    imports: Vec<String>,
    manifests: Vec<&'a [u8]>,
    assets: Vec<&'a [u8]>,
}

fn walk(bytes: &[u8]) -> Result<Found<'_>, InspectError> {
    if bytes.len() > MAX_COMPONENT_BYTES {
        return Err(InspectError::TooLong(bytes.len()));
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm);
    }
    let malformed = |error: wasmparser::BinaryReaderError| InspectError::Malformed(error.to_string());
    let mut found = Found::default();
    let (mut sections, mut functions, mut depth) = (0usize, 0u64, 0usize);
    for payload in Parser::new(0).parse_all(bytes) {
        sections += 1;
        if sections > MAX_SECTIONS + usize::try_from(functions).unwrap_or(usize::MAX) {
            return Err(InspectError::TooMany("sections", MAX_SECTIONS as u64));
        }
        match payload.map_err(malformed)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(InspectError::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(InspectError::TooMany("levels of nesting", MAX_DEPTH as u64));
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::FunctionSection(reader) => {
                functions += u64::from(reader.count());
                if functions > MAX_FUNCTIONS {
                    return Err(InspectError::TooMany("functions", MAX_FUNCTIONS));
                }
            }
            Payload::CodeSectionEntry(body) if body.range().len() > MAX_BODY_BYTES => {
                return Err(InspectError::TooMany("bytes in one function", MAX_BODY_BYTES as u64));
            }
            Payload::ComponentImportSection(reader) if depth == 0 => {
                for import in reader {
                    let import = import.map_err(malformed)?;
                    // A world that uses a type imports its name as well; that grants nothing by itself.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        found.imports.push(import.name.name.to_owned());
                    }
                    if found.imports.len() > MAX_IMPORTS {
                        return Err(InspectError::TooMany("imports", MAX_IMPORTS as u64));
                    }
                }
            }
            Payload::CustomSection(section) if section.name() == SECTION => {
                found.manifests.push(section.data());
            }
            // Those of a component inside are that one's own affair.
            Payload::CustomSection(section) if depth == 0 && section.name() == assets::SECTION => {
                found.assets.push(section.data());
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MANIFEST: &str = r#"{"id":"a","version":"1.0.0","api":"0.1.0","worlds":["request-hook"]}"#;

    fn component(body: &str) -> Vec<u8> {
        wat::parse_str(format!("(component {body})")).unwrap()
    }

    fn section(json: &str) -> String {
        format!("(@custom \"gesso:manifest\" \"{}\")", json.replace('"', "\\22"))
    }

    #[test]
    fn finds_the_manifest_in_a_nested_core_module_and_lists_imports() {
        let bytes = component(&format!(
            "(import \"wasi:io/poll@0.2.6\" (instance)) (core module {})",
            section(MANIFEST)
        ));
        let inspection = inspect(&bytes).unwrap();
        assert_eq!(inspection.manifest.id, "a");
        assert_eq!(inspection.imports, ["wasi:io/poll@0.2.6"]);
    }

    #[test]
    fn refuses_what_is_not_a_component_with_one_manifest() {
        assert_eq!(inspect(b"hello"), Err(InspectError::NotWasm));
        assert_eq!(inspect(&wat::parse_str("(module)").unwrap()), Err(InspectError::CoreModule));
        assert_eq!(inspect(&component("")), Err(ManifestError::Missing.into()));
        let other = section(&MANIFEST.replace("1.0.0", "2.0.0"));
        let twice = component(&format!("(core module {}) (core module {other})", section(MANIFEST)));
        assert_eq!(inspect(&twice), Err(ManifestError::Several(2).into()));
    }

    #[test]
    fn refuses_files_that_do_not_unpack() {
        let bytes = component(&format!(
            "(core module {}) (@custom \"gesso:assets\" \"no archive\")",
            section(MANIFEST)
        ));
        let error = inspect(&bytes).unwrap_err().to_string();
        assert!(error.contains("gesso:assets cannot be used: the archive does not read"), "{error}");
    }

    #[test]
    fn refuses_a_truncated_file_and_deep_nesting() {
        let bytes = component(&format!("(core module {} (func))", section(MANIFEST)));
        assert!(matches!(inspect(&bytes[..bytes.len() - 3]), Err(InspectError::Malformed(_))));
        let deep = component(&format!("{}{}", "(component ".repeat(20), ")".repeat(20)));
        assert_eq!(inspect(&deep), Err(InspectError::TooMany("levels of nesting", MAX_DEPTH as u64)));
    }

    proptest! {
        #[test]
        fn damaged_components_are_refused_or_read_and_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            length in any::<prop::sample::Index>(),
            cut: bool,
        ) {
            let imports = "(import \"wasi:io/poll@0.2.6\" (instance)) (core module (func) (memory 1))";
            let mut bytes = component(&format!("{imports} (core module {} (func))", section(MANIFEST)));
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            if cut {
                bytes.truncate(length.index(bytes.len()));
            }
            let _ = inspect(&bytes);
        }

        #[test]
        fn any_manifest_is_judged(text in "[ -~\\n]{0,200}", value in json()) {
            let _ = Manifest::parse(text.as_bytes());
            let _ = Manifest::parse(value.to_string().as_bytes());
        }
    }

    /// A manifest with something else in some of its fields.
    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[a-z0-9./:*-]{0,12}".prop_map(Into::into),
        ];
        let value = leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map("[a-z_]{1,10}", inner, 0..6)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        });
        let fields = [
            "id",
            "version",
            "api",
            "worlds",
            "hooks",
            "wants",
            "annotators",
            "scripts",
            "fetches",
            "title",
            "settings_schema",
            "arguments_schema",
        ];
        prop::collection::vec((prop::sample::select(fields.to_vec()), value), 0..4).prop_map(|changes| {
            let mut manifest: serde_json::Value = serde_json::from_str(MANIFEST).unwrap();
            for (field, value) in changes {
                manifest[field] = value;
            }
            manifest
        })
    }
}
