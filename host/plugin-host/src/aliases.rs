//! Paths beside `/ext/<id>/` at which plugins that are HTTP APIs answer, where an admin lets them: what such a path may be, and
//! whose it is. Asked when grants are given and when a plugin loads. Serves nothing.

use std::collections::BTreeSet;

/// Whether `path` may be an alias at all: `/adetailer/v1`.
pub(crate) fn is_path(path: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.bytes().all(|byte| byte == b'.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    path.strip_prefix('/').is_some_and(|parts| parts.split('/').all(is_part))
}

/// Whether a request for `path` is one for what lies at or under the alias.
pub(crate) fn leads_to(alias: &str, path: &str) -> bool {
    path.strip_prefix(alias).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether these may be granted to `id`. `own` are the first parts of the server's own paths, and `others` has what is granted to
/// which plugin.
///
/// # Errors
/// A sentence about the first that may not.
pub(crate) fn check<'a>(
    id: &str,
    aliases: &[String],
    own: &BTreeSet<String>,
    others: impl Iterator<Item = (&'a str, &'a [String])> + Clone,
) -> Result<(), String> {
    for alias in aliases {
        if !is_path(alias) {
            return Err(format!(
                "the alias {alias:?} is no path such as /adetailer/v1: parts of a-z, A-Z, 0-9, -, _ and . behind slashes"
            ));
        }
        let first = alias.split('/').nth(1).unwrap_or_default();
        if own.contains(first) {
            return Err(format!("the alias {alias} begins with /{first}, which is the server's own"));
        }
        let crosses = |theirs: &&String| leads_to(alias, theirs) || leads_to(theirs, alias);
        let taken = others
            .clone()
            .filter(|(other, _)| *other != id)
            .find_map(|(other, theirs)| Some((other, theirs.iter().find(crosses)?)));
        if let Some((other, theirs)) = taken {
            return Err(format!(
                "the alias {alias} crosses {theirs}, which is granted to the plugin {other}; take it away there first"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_a_plain_path() {
        for path in ["/rembg", "/adetailer/v1", "/a_b/C-1.2"] {
            assert!(is_path(path), "{path}");
        }
        for path in
            ["", "/", "rembg", "/rembg/", "//rembg", "/a/../b", "/a/./b", "/a b", "/a%2fb", "/{id}", "/a?b"]
        {
            assert!(!is_path(path), "{path}");
        }
        assert!(
            leads_to("/rembg", "/rembg") && leads_to("/rembg", "/rembg/x") && leads_to("/rembg", "/rembg/")
        );
        assert!(!leads_to("/rembg", "/rembg2") && !leads_to("/rembg", "/"));
    }

    #[test]
    fn an_alias_hides_neither_the_servers_paths_nor_another_plugins() {
        let own = BTreeSet::from(["sdapi".to_owned()]);
        let theirs = ["/rembg".to_owned(), "/tagger/v1".to_owned()];
        let others = [("other", theirs.as_slice())];
        let check = |id: &str, alias: &str| check(id, &[alias.to_owned()], &own, others.into_iter());
        assert_eq!(check("mine", "/adetailer/v1"), Ok(()));
        assert_eq!(check("mine", "/tagger/v2"), Ok(()));
        assert_eq!(check("other", "/rembg"), Ok(()), "what is granted to it already");
        for (alias, says) in [
            ("/sdapi/v1/more", "begins with /sdapi, which is the server's own"),
            ("/rembg", "which is granted to the plugin other"),
            ("/rembg/more", "crosses /rembg"),
            ("/tagger", "crosses /tagger/v1"),
            ("/a b", "is no path"),
        ] {
            let problem = check("mine", alias).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
    }
}
