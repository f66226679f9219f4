//! The contract says of every item since which version it is there, and of every interface and world what it is. That the files
//! are WIT at all is shown by everything that is generated from them: the host's bindings, the SDK's and the kits'.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("wit")).context("there is no folder wit/")? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((_, version)) = name.rsplit_once('-') else { continue };
        // What lies deeper is others': WASI.
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "wit") {
                let shown = path.strip_prefix(root)?.display().to_string();
                found.extend(problems_of(&shown, &fs::read_to_string(&path)?, version));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Goes by lines and indents, as the files are laid out: two blanks for what is in an interface, four for what is in a resource.
fn problems_of(name: &str, text: &str, version: &str) -> Vec<String> {
    let gate = format!("@since(version = {version})");
    let mut found = Vec::new();
    let (mut is_interface, mut is_resource, mut is_told) = (false, false, false);
    let mut before = "";
    for (line, number) in text.lines().zip(1..) {
        let item = line.trim();
        let is_item = !item.is_empty() && !["//", "@", "use ", "}"].iter().any(|mark| item.starts_with(mark));
        let needs_gate = match line.len() - line.trim_start().len() {
            0 if item.starts_with("interface ") || item.starts_with("world ") => {
                is_interface = item.starts_with("interface ");
                if !is_told {
                    found.push(format!("{name}:{number} has no `///` above it that says what it is"));
                }
                true
            }
            2 if is_interface && is_item => {
                is_resource = item.starts_with("resource ");
                true
            }
            4 if is_interface && is_resource => is_item,
            _ => false,
        };
        if needs_gate && before != gate {
            found.push(format!("{name}:{number} is not gated: put `{gate}` above it"));
        }
        is_told = item.starts_with("///") || is_told && item.starts_with('@');
        before = item;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "package a:b@0.2.0;\n\n/// What it is.\n@since(version = 0.2.0)\ninterface i {\n  use c.{d};\n\n  \
                         @since(version = 0.2.0)\n  record r {\n    field: u32,\n  }\n\n  /// What it is.\n  @since(version = \
                         0.2.0)\n  resource s {\n    @since(version = 0.2.0)\n    f: func();\n  }\n}\n\n/// What it \
                         is.\n@since(version = 0.2.0)\nworld w {\n  export f: func();\n}\n";

    #[test]
    fn every_interface_world_item_and_method_is_gated() {
        assert_eq!(problems_of("a.wit", RIGHT, "0.2.0"), Vec::<String>::new());
        let gates: Vec<_> = RIGHT.match_indices("@since(version = 0.2.0)").map(|(place, _)| place).collect();
        assert_eq!(gates.len(), 5);
        for place in gates {
            let without = format!("{}//{}", &RIGHT[..place], &RIGHT[place..]);
            let told = problems_of("a.wit", &without, "0.2.0");
            assert!(told.iter().any(|problem| problem.contains("is not gated")), "{without}: {told:?}");
        }
        assert_eq!(problems_of("a.wit", RIGHT, "0.3.0").len(), 5, "each is of another version");
    }

    #[test]
    fn an_interface_and_a_world_say_what_they_are() {
        let told = problems_of("a.wit", &RIGHT.replace("/// What it is.\n@", "\n@"), "0.2.0");
        assert_eq!(
            told,
            [5, 23].map(|line| format!("a.wit:{line} has no `///` above it that says what it is"))
        );
    }
}
