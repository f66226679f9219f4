//! First-party plugins show what they do: the README of each has a picture, which is there. Knows neither what is on the picture nor
//! plugins of others.

use std::fs;
use std::path::Path;

use anyhow::Result;

pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("plugins"))? {
        let folder = entry?.path();
        if !folder.join("manifest.json").is_file() {
            continue;
        }
        let readme = folder.join("README.md");
        let name = readme.strip_prefix(root)?.display();
        let text = fs::read_to_string(&readme).unwrap_or_default();
        if pictures(&text).next().is_none() {
            found.push(format!(
                "{name} shows no picture of what the plugin does: add one, `![what it shows](file)`"
            ));
        }
        let missing = pictures(&text).filter(|picture| !folder.join(picture).is_file());
        found.extend(missing.map(|picture| format!("{name} shows {picture}, which is not there")));
    }
    found.sort();
    Ok(found)
}

/// The files of lines that are a picture.
fn pictures(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("![")?.split_once("](")?.1.strip_suffix(')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_without_a_picture_and_a_picture_that_is_not_there_are_found() {
        let root = tempfile::tempdir().unwrap();
        let plugin = |name: &str, readme: &str| {
            let folder = root.path().join("plugins").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("manifest.json"), "{}").unwrap();
            fs::write(folder.join("README.md"), readme).unwrap();
        };
        plugin("shown", "# shown\n\n![A boat](../../boat.svg)\n");
        fs::write(root.path().join("boat.svg"), "").unwrap();
        fs::create_dir(root.path().join("plugins/no-plugin")).unwrap();
        assert_eq!(problems(root.path()).unwrap(), Vec::<String>::new());
        plugin("gone", "![A boat](gone.png)\n");
        plugin("told", "It draws a boat, [as this one](boat.svg).\n");
        let found = problems(root.path()).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("gone/README.md shows gone.png"), "{found:?}");
        assert!(found[1].contains("told/README.md shows no picture"), "{found:?}");
    }
}
