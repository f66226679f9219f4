//! Licences and sources of every dependency against the lists in `deny.toml`, so that the rule is written once and
//! holds where `cargo deny` is not installed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};

pub(super) struct Lists {
    licences: Vec<Licensee>,
    banned: Vec<String>,
}

impl Lists {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().context("deny.toml is not TOML")?;
        let allow = table["licenses"].get("allow").and_then(|list| list.as_array()).into_iter().flatten();
        let licences = allow.filter_map(|name| name.as_str()).map(|name| {
            Licensee::parse(name)
                .with_context(|| format!("deny.toml allows {name}, which is no SPDX licence"))
        });
        let deny = table["bans"].get("deny").and_then(|list| list.as_array()).into_iter().flatten();
        let banned = deny.filter_map(|entry| entry.get("crate")?.as_str()).map(str::to_owned).collect();
        Ok(Self { licences: licences.collect::<Result<_>>()?, banned })
    }

    pub(super) fn problems(&self, metadata: &Value) -> Result<Vec<String>> {
        let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
        Ok(packages.iter().filter_map(|package| self.problem(package)).collect())
    }

    fn problem(&self, package: &Value) -> Option<String> {
        let name = package["name"].as_str().unwrap_or_default();
        let source = package["source"].as_str();
        if self.banned.iter().any(|banned| banned == name) {
            return Some(format!("{name} is banned in deny.toml"));
        }
        // No source is a crate of this checkout; everything else comes from crates.io.
        if source
            .is_some_and(|source| !(source.starts_with("registry+") && source.ends_with("/crates.io-index")))
        {
            return Some(format!("{name} does not come from crates.io"));
        }
        let Some(licence) = package["license"].as_str() else {
            return Some(format!("{name} names no licence"));
        };
        let allowed = Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|needed| self.licences.iter().any(|licensee| licensee.satisfies(needed)))
        });
        (!allowed).then(|| format!("{name} is under {licence}, which deny.toml does not allow"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(licence: Option<&str>, source: Option<&str>) -> Option<String> {
        let lists = Lists::parse(
            "[licenses]\nallow = ['MIT', 'ISC', 'Apache-2.0 WITH LLVM-exception']\n[bans]\ndeny = [{ crate = 'bad' }]",
        );
        lists.unwrap().problem(&json!({"name": "it", "license": licence, "source": source}))
    }

    #[test]
    fn one_allowed_side_of_an_or_is_enough_and_of_an_and_is_not() {
        assert_eq!(told(Some("MIT OR GPL-3.0-only"), None), None);
        assert_eq!(told(Some("MIT/Apache-2.0"), None), None);
        assert!(told(Some("MIT AND GPL-3.0-only"), None).is_some());
        assert!(told(Some("GPL-3.0-only"), None).is_some());
        assert!(told(None, None).unwrap().contains("names no licence"));
    }

    #[test]
    fn an_exception_is_part_of_the_licence() {
        assert_eq!(told(Some("Apache-2.0 WITH LLVM-exception"), None), None);
        assert!(told(Some("Apache-2.0"), None).is_some());
    }

    #[test]
    fn a_crate_from_git_is_refused() {
        assert!(told(Some("MIT"), Some("git+https://example.invalid/x")).unwrap().contains("crates.io"));
    }
}
