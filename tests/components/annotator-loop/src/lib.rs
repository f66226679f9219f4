//! Hostile: never comes back with a map.

use gesso_plugin::{Annotated, Annotation, Annotator, Fault};

struct Loop;

impl Annotator for Loop {
    fn annotate(_module: &str, annotation: Annotation) -> Result<Annotated, Fault> {
        let mut turns = 0u64;
        while std::hint::black_box(turns) != u64::MAX {
            turns += 1;
        }
        Ok(annotation.source.into())
    }
}

gesso_plugin::annotator!(Loop, manifest = "manifest.json");
