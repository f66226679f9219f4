//! Files a person can hold in the head: no source over 600 lines, and each begins by saying what it is.

use std::fs;
use std::path::Path;

use anyhow::Result;

const MOST_LINES: usize = 600;

/// Folders with sources of ours.
const FOLDERS: [&str; 6] = ["host", "plugins", "sdk-plugin", "tests", "examples", "xtask"];

/// Folders that tools fill.
const GENERATED: [&str; 4] = ["target", "node_modules", "__pycache__", ".gesso"];

pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in FOLDERS.map(|folder| root.join(folder)) {
        if folder.is_dir() {
            visit(root, &folder, &mut found)?;
        }
    }
    found.sort();
    Ok(found)
}

fn visit(root: &Path, folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !GENERATED.contains(&name.as_ref()) {
                visit(root, &path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(root)?.display().to_string();
            found.extend(problem(&shown, &fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

fn problem(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    if lines > MOST_LINES {
        return Some(format!("{name} has {lines} lines, more than {MOST_LINES}: split it by noun"));
    }
    (!text.starts_with("//!"))
        .then(|| format!("{name} does not begin with a `//!` header that says what it is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_long_file_and_one_without_a_header() {
        assert_eq!(problem("a.rs", "//! A.\n"), None);
        assert!(problem("a.rs", "use std::fs;\n").is_some());
        assert!(problem("a.rs", &"//! A.\n".repeat(601)).unwrap().contains("601 lines"));
    }

    #[test]
    fn leaves_generated_folders_out() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["host/a/src", "host/a/target"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("x.rs"), "no header").unwrap();
        }
        let found = problems(root.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("host/a/src/x.rs"), "{found:?}");
    }
}
