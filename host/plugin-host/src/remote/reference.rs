//! The names of artifacts in registries: `oci://registry.example:5000/plugins/frame:1.2@sha256:…`, as the OCI distribution
//! specification 1.1 has them. What is read here may stand in a URL's path as it is.

use super::digest::Digest;

pub(super) const SCHEME: &str = "oci://";
/// What is meant where a reference says neither tag nor digest.
const USUAL_TAG: &str = "latest";
const REPOSITORY_CHARS_MAX: usize = 255;
const TAG_CHARS_MAX: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Host and port as they were written, in lower case.
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<Digest>,
}

impl Reference {
    /// # Errors
    /// A sentence that says which part is wrong and what a reference looks like.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "{text:?} has {what}; write oci://registry.example/plugins/frame:1.2, or @sha256:… in place of the tag"
            )
        };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("another scheme than oci"))?;
        let (registry, rest) = rest.split_once('/').ok_or_else(|| wrong("no repository"))?;
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::parse(digest)?)),
            None => (rest, None),
        };
        let (repository, tag) = match name.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (name, None),
        };
        if !is_repository(repository) {
            return Err(wrong("no repository: parts of a-z, 0-9, '.', '_' and '-', with '/' between them"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("no tag: up to 128 letters, digits, '.', '_' and '-'"));
        }
        Ok(Self {
            registry: registry_name(registry)?,
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// What its manifest is asked for by: the digest, which no tag that moves can stand for, before the tag.
    pub(super) fn version(&self) -> String {
        self.digest.as_ref().map_or_else(|| self.tag().to_owned(), ToString::to_string)
    }

    pub(super) fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(USUAL_TAG)
    }
}

/// A host and perhaps a port, in lower case.
///
/// # Errors
/// A sentence that says what a registry looks like.
pub(super) fn registry_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) || url::Url::parse(&format!("https://{text}/")).is_err() {
        return Err(format!(
            "{text:?} is no registry; write a host, such as registry.example or 127.0.0.1:5000"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

fn is_repository(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(|byte| plain(*byte))
            && bytes.last().is_some_and(|byte| plain(*byte))
            && bytes.iter().all(|byte| plain(*byte) || b"._-".contains(byte))
    };
    text.len() <= REPOSITORY_CHARS_MAX && text.split('/').all(is_part)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_CHARS_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_in_its_parts() {
        let digest = Digest::of(b"abc");
        let read = Reference::parse(&format!("oci://Registry.example:5000/a/b-c:1.2@{digest}")).unwrap();
        assert_eq!((read.registry.as_str(), read.repository.as_str()), ("registry.example:5000", "a/b-c"));
        assert_eq!((read.tag(), read.version()), ("1.2", digest.to_string()));
        let read = Reference::parse("oci://[::1]:5000/frame").unwrap();
        assert_eq!((read.registry.as_str(), read.version().as_str()), ("[::1]:5000", "latest"));
        assert_eq!(Reference::parse("oci://a.example/frame:V_1").unwrap().version(), "V_1");
    }

    #[test]
    fn what_is_none_is_named() {
        for text in [
            "oci://",
            "oci://registry.example",
            "oci://registry.example/",
            "oci:///frame",
            "oci://user:secret@registry.example/frame",
            "oci://a b/frame",
            "oci://a.example/../frame",
            "oci://a.example/Frame",
            "oci://a.example/a//b",
            "oci://a.example/frame/",
            "oci://a.example/frame:",
            "oci://a.example/frame:-1",
            "oci://a.example/frame:a/b",
            "oci://a.example/frame?x=1",
            "oci://a.example/frame@sha256:12",
            "oci://a.example:port/frame",
            "frame:1.2",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
