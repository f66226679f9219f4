//! What an admin writes to say which hosts a plugin may ask: `https://pictures.example`, `https://*.example:8443`,
//! `http://127.0.0.1:9000`, `https://*`. The scheme is https where none is written, the port the scheme's own.

use url::{Host, Url};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPattern {
    scheme: &'static str,
    host: Matched,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Matched {
    Any,
    /// Names that end so, at least one label before it.
    Below(String),
    Name(String),
    Address(Host<String>),
}

impl HostPattern {
    /// # Errors
    /// A sentence that says what a pattern looks like.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "the host {text:?} {why}; write https://pictures.example, *.example or http://127.0.0.1:9000"
            )
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let scheme = match scheme {
            "https" => "https",
            "http" => "http",
            _ => return Err(wrong("is neither http nor https")),
        };
        let (any, below) = (rest == "*" || rest.starts_with("*:"), rest.strip_prefix("*."));
        // The rest is read as a URL's host and port, so that it is spelt as URLs will be.
        let plain = if any { rest.replacen('*', "any.example", 1) } else { below.unwrap_or(rest).to_owned() };
        let url = Url::parse(&format!("{scheme}://{plain}"))
            .map_err(|error| wrong(&format!("is no host ({error})")))?;
        let is_bare =
            url.path() == "/" && url.query().is_none() && url.username().is_empty() && !rest.ends_with('/');
        if !is_bare || plain.contains('*') {
            return Err(wrong("is more than a host and a port"));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let host = match (any, below, url.host().map(|host| host.to_owned())) {
            (true, ..) => Matched::Any,
            (_, Some(_), Some(Host::Domain(name))) => Matched::Below(format!(".{name}")),
            (_, None, Some(Host::Domain(name))) => Matched::Name(name),
            (_, None, Some(address)) => Matched::Address(address),
            _ => return Err(wrong("is no host")),
        };
        Ok(Self { scheme, host, port })
    }

    pub(crate) fn matches(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        url.scheme() == self.scheme
            && url.port_or_known_default() == Some(self.port)
            && match (&self.host, host) {
                (Matched::Any, _) => true,
                (Matched::Below(end), Host::Domain(name)) => {
                    name.len() > end.len() && name.ends_with(end.as_str())
                }
                (Matched::Name(known), Host::Domain(name)) => known == name,
                (Matched::Address(known), host) => *known == host.to_owned(),
                _ => false,
            }
    }

    /// Whether the admin wrote this very address.
    pub(crate) fn is_address_of(&self, url: &Url) -> bool {
        matches!(self.host, Matched::Address(_)) && self.matches(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, url: &str) -> bool {
        HostPattern::parse(pattern).unwrap().matches(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_pattern_matches_scheme_host_and_port() {
        assert!(matches("pictures.example", "https://pictures.example/a.png"));
        assert!(matches("https://Pictures.Example", "https://PICTURES.example/"));
        assert!(matches("https://*.example", "https://a.b.example/"));
        assert!(!matches("https://*.example", "https://example/"));
        assert!(!matches("https://*.example", "https://evilexample/"));
        assert!(matches("http://127.0.0.1:9000", "http://127.0.0.1:9000/x"));
        assert!(matches("http://127.0.0.1:9000", "http://2130706433:9000/x"));
        assert!(!matches("http://127.0.0.1:9000", "http://127.0.0.1/x"));
        assert!(
            matches("https://*", "https://anything.example/")
                && !matches("https://*", "https://a.example:444/")
        );
        assert!(matches("https://bücher.example", "https://xn--bcher-kva.example/"));
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        for text in [
            "",
            "ftp://a.example",
            "https://a.example/path",
            "a.example/",
            "*.127.0.0.1",
            "a*.example",
            "*.*.example",
            "u@a.example",
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
