//! What proxies say of a request: whose it is, and by which address the client asked. Believed where the connection comes
//! from one of `trusted_proxies`, and nowhere else: anybody may write these headers. Knows no route.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use ipnet::{IpNet, Ipv4Net};

use crate::app::App;

/// Of a path that a proxy takes away.
const PREFIX_CHARS_MAX: usize = 200;

/// Networks of proxies that are believed; none is, unless the settings name it.
#[derive(Debug, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

/// Where a request came from, and what its proxy said of the way; as an extension of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The client's address, or that of who connected.
    pub(crate) from: IpAddr,
    scheme: Option<&'static str>,
    /// The path that the proxy took away: begins with a slash and does not end in one.
    pub(crate) prefix: Option<String>,
}

/// What URLs to this server begin with, as the client asked for it; nothing where it named no host.
#[derive(Debug)]
pub(crate) struct Base(Option<String>);

/// What a proxy says of who asked it; without an address where that cannot be read.
#[derive(Debug, Clone, Copy)]
struct Hop {
    from: Option<IpAddr>,
    scheme: Option<&'static str>,
}

/// Middleware around everything that asks where a request came from. Where a proxy took a path away, answers that lead to
/// a path of this server lead below that one, and no cache keeps an answer for others unless it says so itself.
pub(crate) async fn layer(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    // What the server asks itself comes from no connection.
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip());
    let asked = app.proxies.asked(peer, request.headers());
    let prefix = asked.prefix.clone();
    request.extensions_mut().insert(asked);
    let mut response = next.run(request).await;
    if let Some(prefix) = prefix {
        lead_below(&prefix, response.headers_mut());
    }
    response
}

fn lead_below(prefix: &str, headers: &mut HeaderMap) {
    // A client may have named the path, where its proxy lets it: no cache that others share keeps that for them.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
    let path = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    // Two slashes lead to another host.
    let Some(path) = path.filter(|path| path.starts_with('/') && !path.starts_with("//")) else { return };
    if let Ok(below) = HeaderValue::from_str(&format!("{prefix}{path}")) {
        headers.insert(header::LOCATION, below);
    }
}

impl TrustedProxies {
    /// Reads addresses, and networks in CIDR.
    ///
    /// # Errors
    /// A sentence about the first that is neither, or that is everybody's.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        let read = |text: &String| {
            let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            match network.map(canonical) {
                None => {
                    Err(format!("{text:?} must be an address or a network, such as 10.0.0.2 or 10.0.0.0/8"))
                }
                // Then there is no hop that is not a proxy's, and clients could name any address as theirs.
                Some(network) if network.prefix_len() == 0 => {
                    Err(format!("{text:?} is every address; name the proxies' own"))
                }
                Some(network) => Ok(network),
            }
        };
        texts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// What is known of a request that `peer` sent.
    fn asked(&self, peer: IpAddr, headers: &HeaderMap) -> Asked {
        // Who connects over IPv4 to a port of IPv6 has an address of both.
        let peer = peer.to_canonical();
        if !self.has(peer) {
            return Asked { from: peer, scheme: None, prefix: None };
        }
        // A proxy writes one of the two, and may pass on what the client wrote into the other: where they are not of one
        // mind, nobody knows which to believe.
        let told: Vec<_> = [x_forwarded_for(headers), forwarded(headers)]
            .iter()
            .filter(|hops| !hops.is_empty())
            .map(|hops| self.client(hops))
            .collect();
        let first = told.first().copied().flatten();
        let agreed = first
            .filter(|(from, _)| told.iter().all(|other| other.is_some_and(|(address, _)| address == *from)));
        Asked {
            from: agreed.map_or(peer, |(from, _)| from),
            scheme: x_forwarded_proto(headers)
                .or_else(|| told.iter().flatten().find_map(|(_, scheme)| *scheme)),
            prefix: x_forwarded_prefix(headers),
        }
    }

    /// The last hop that is no proxy's, which is who asked the outermost of them; the first where all are proxies'. `None`
    /// where a hop on the way there cannot be read. What stands before it is the client's to write.
    fn client(&self, hops: &[Hop]) -> Option<(IpAddr, Option<&'static str>)> {
        for (place, hop) in hops.iter().enumerate().rev() {
            let from = hop.from?;
            if place == 0 || !self.has(from) {
                return Some((from, hop.scheme));
            }
        }
        None
    }
}

impl Base {
    pub(crate) fn of(app: &App, parts: &Parts) -> Self {
        let asked = parts.extensions.get::<Asked>();
        let scheme = asked.and_then(|asked| asked.scheme).unwrap_or_else(|| app.scheme());
        let prefix = asked.and_then(|asked| asked.prefix.as_deref()).unwrap_or_default();
        Self(host(&parts.headers).map(|host| format!("{scheme}://{host}{prefix}")))
    }

    pub(crate) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl FromRequestParts<Arc<App>> for Base {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self::of(app, parts))
    }
}

/// An IPv4 network that is written as the IPv6 one it is mapped to, as itself: addresses are compared so.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    match (mapped.addr().to_ipv4_mapped(), mapped.prefix_len().checked_sub(96)) {
        (Some(address), Some(length)) => Ipv4Net::new(address, length).map_or(network, IpNet::V4),
        _ => network,
    }
}

/// The host and port the client asked, when they look like ones.
fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    (host.parse::<Authority>().is_ok() && !host.contains('@')).then_some(host)
}

/// A header's fields in their order; one that is no text is one that cannot be read.
fn values<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("\u{fffd}"))
}

fn x_forwarded_for(headers: &HeaderMap) -> Vec<Hop> {
    let hops = values(headers, "x-forwarded-for").flat_map(|value| value.split(','));
    hops.map(|hop| Hop { from: address(hop.trim()), scheme: None }).collect()
}

/// RFC 7239.
fn forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let hops = values(headers, "forwarded").flat_map(|value| match split(value, ',') {
        Some(elements) => elements.into_iter().map(Hop::read).collect::<Vec<_>>(),
        None => vec![Hop::UNREADABLE],
    });
    hops.collect()
}

impl Hop {
    const UNREADABLE: Self = Self { from: None, scheme: None };

    /// Reads `for=192.0.2.60;proto=http`. Each parameter stands there once.
    fn read(element: &str) -> Self {
        let pairs: Option<Vec<_>> =
            split(element, ';').and_then(|pairs| pairs.into_iter().map(pair).collect());
        let Some(pairs) = pairs else { return Self::UNREADABLE };
        let value_of = |wanted: &str| {
            let mut found = pairs.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            match (found.next(), found.next()) {
                (Some((_, value)), None) => Some(*value),
                _ => None,
            }
        };
        Self { from: value_of("for").and_then(address), scheme: value_of("proto").and_then(scheme) }
    }
}

/// What is between the separators that stand outside of quotes. `None` where a quote does not end: a client could begin one
/// that swallows what the proxy writes behind it.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (place, letter) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if is_quoted && letter == '\\' {
            is_escaped = true;
        } else if letter == '"' {
            is_quoted = !is_quoted;
        } else if letter == separator && !is_quoted {
            parts.push(&text[start..place]);
            start = place + letter.len_utf8();
        }
    }
    parts.push(&text[start..]);
    (!is_quoted).then_some(parts)
}

/// A parameter's name and its value, which is quoted as a whole or not at all: anything else may be a client's quote that
/// ends in what the proxy writes behind it. No address and no host needs what stands behind a backslash.
fn pair(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.trim().split_once('=')?;
    let bare = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'))?;
    (!bare.contains(['"', '\\'])).then_some((name, bare))
}

/// `192.0.2.1` or `2001:db8::1`, the latter in brackets too; either with a port, before which IPv6 has brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse::<IpAddr>().ok().or_else(with_port).map(|address| address.to_canonical())
}

/// What the proxy next to this server says: the last of several.
fn x_forwarded_proto(headers: &HeaderMap) -> Option<&'static str> {
    values(headers, "x-forwarded-proto").last()?.rsplit(',').next().and_then(|last| scheme(last.trim()))
}

/// Some name the scheme of WebSockets where one is opened.
fn scheme(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some("http"),
        "https" | "wss" => Some("https"),
        _ => None,
    }
}

/// A path and nothing else: what it is put before has to stay on the same host.
fn x_forwarded_prefix(headers: &HeaderMap) -> Option<String> {
    let mut said = values(headers, "x-forwarded-prefix");
    let (Some(path), None) = (said.next(), said.next()) else { return None };
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || b"-._~".contains(&letter);
    let is_part = |part: &str| !["", ".", ".."].contains(&part) && part.bytes().all(is_plain);
    let is_path = path.strip_prefix('/').is_some_and(|parts| parts.split('/').all(is_part));
    (is_path && path.len() <= PREFIX_CHARS_MAX).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn trusting(networks: &[&str]) -> TrustedProxies {
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        TrustedProxies::parse(&networks).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    /// What is known of a request that the proxy of 10.0.0.0/8 sent.
    fn asked(pairs: &[(&'static str, &str)]) -> Asked {
        trusting(&["10.0.0.0/8", "2001:db8::/32"]).asked(PROXY.parse().unwrap(), &headers(pairs))
    }

    fn from(pairs: &[(&'static str, &str)]) -> String {
        asked(pairs).from.to_string()
    }

    #[test]
    fn a_peer_that_is_not_trusted_changes_nothing() {
        let said = headers(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9;proto=https"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/gesso"),
        ]);
        for (networks, peer) in [
            (&[][..], PROXY),
            (&["10.0.0.2"][..], PROXY),
            (&["10.0.1.0/24"][..], PROXY),
            (&["10.0.0.0/8"][..], "192.0.2.1"),
            (&["10.0.0.0/8"][..], "::1"),
        ] {
            let peer: IpAddr = peer.parse().unwrap();
            let alone = Asked { from: peer, scheme: None, prefix: None };
            assert_eq!(trusting(networks).asked(peer, &said), alone, "{networks:?}");
        }
        let believed = trusting(&["10.0.0.0/8"]).asked(PROXY.parse().unwrap(), &said);
        let wanted = Asked {
            from: "203.0.113.9".parse().unwrap(),
            scheme: Some("https"),
            prefix: Some("/gesso".into()),
        };
        assert_eq!(believed, wanted);
        // The same proxy, over a port that takes both kinds of addresses.
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(trusting(&["10.0.0.0/8"]).asked(mapped, &said), wanted);
    }

    #[test]
    fn a_mapped_ipv4_network_is_that_network_and_everybodys_is_refused() {
        for (networks, is_trusted) in [
            ("::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", true),
            ("::ffff:10.0.0.2", false),
            ("::ffff:192.0.2.0/120", false),
        ] {
            assert_eq!(trusting(&[networks]).has(PROXY.parse().unwrap()), is_trusted, "{networks}");
        }
        for everybodys in ["0.0.0.0/0", "::/0", "::ffff:0:0/96"] {
            assert!(TrustedProxies::parse(&[everybodys.to_owned()]).is_err(), "{everybodys}");
        }
    }

    #[test]
    fn of_several_hops_the_last_that_is_no_proxys_asks() {
        for (said, wanted) in [
            ("203.0.113.9", "203.0.113.9"),
            // What the client wrote itself, before what its proxy wrote.
            ("192.168.7.7, 203.0.113.9", "203.0.113.9"),
            ("nonsense, 203.0.113.9", "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9, 10.0.0.7, 10.0.0.8", "203.0.113.9"),
            ("203.0.113.9, 2001:db8::7", "203.0.113.9"),
            // Who asks from among the proxies.
            ("10.0.0.5, 10.0.0.7", "10.0.0.5"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2a00::9", "2a00::9"),
            ("[2a00::9]:4711", "2a00::9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(from(&[("x-forwarded-for", said)]), wanted, "{said}");
        }
        let two = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.9, 10.0.0.7")];
        assert_eq!(from(&two), "203.0.113.9", "fields of one name are one list");
        for (said, wanted) in [
            ("for=203.0.113.9;proto=http;by=10.0.0.1", "203.0.113.9"),
            ("For=\"[2a00::9]:4711\"", "2a00::9"),
            ("for=198.51.100.1, for=203.0.113.9;host=\"a,b;c\", for=10.0.0.7", "203.0.113.9"),
        ] {
            assert_eq!(from(&[("forwarded", said)]), wanted, "{said}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_the_peers() {
        for said in
            ["", "unknown", "203.0.113.9, ", "203.0.113.9, nonsense", "203.0.113.9, nonsense, 10.0.0.7"]
        {
            assert_eq!(from(&[("x-forwarded-for", said)]), PROXY, "{said:?}");
        }
        for said in [
            "for=unknown",
            "for=_hidden",
            "203.0.113.9",
            "proto=https",
            "for=203.0.113.9;for=198.51.100.1",
            // The client's quote goes around what the proxy wrote.
            "for=198.51.100.1;by=\", for=203.0.113.9",
            "for=198.51.100.1;by=\", for=203.0.113.9;host=\"x\\\"y\"",
            "for=198.51.100.1;by=\"\\\", for=203.0.113.9;host=\"x",
        ] {
            assert_eq!(from(&[("forwarded", said)]), PROXY, "{said:?}");
        }
        let both = |other: &str| from(&[("x-forwarded-for", "203.0.113.9"), ("forwarded", other)]);
        assert_eq!(both("for=203.0.113.9"), "203.0.113.9");
        assert_eq!(both("for=198.51.100.1"), PROXY, "which of the two is the proxy's?");
        assert_eq!(both("for=unknown"), PROXY);
    }

    #[test]
    fn the_scheme_is_what_the_nearest_proxy_says() {
        let proto = |said: &str| asked(&[("x-forwarded-proto", said)]).scheme;
        assert_eq!(proto("https"), Some("https"));
        assert_eq!(proto("http, HTTPS"), Some("https"));
        assert_eq!(proto("wss"), Some("https"));
        assert_eq!(proto("gopher"), None);
        assert_eq!(asked(&[("forwarded", "for=203.0.113.9;proto=https")]).scheme, Some("https"));
    }

    #[test]
    fn a_path_that_was_taken_away_leads_to_no_other_host() {
        let prefix = |said: &str| asked(&[("x-forwarded-prefix", said)]).prefix;
        assert_eq!(prefix("/gesso").as_deref(), Some("/gesso"));
        assert_eq!(prefix("/a/gesso-1/").as_deref(), Some("/a/gesso-1"));
        for said in
            ["", "/", "//evil.example", "gesso", "/a//b", "/a/../b", "/\\evil", "/a?b", "/a b", "https://a"]
        {
            assert_eq!(prefix(said), None, "{said:?}");
        }
        assert_eq!(asked(&[("x-forwarded-prefix", "/a"), ("x-forwarded-prefix", "/b")]).prefix, None);
        for (location, wanted) in [
            ("/tasks/sea-1", "/gesso/tasks/sea-1"),
            ("//evil.example", "//evil.example"),
            ("https://bucket.example/a", "https://bucket.example/a"),
            ("docs/", "docs/"),
        ] {
            let mut answer = headers(&[("location", location)]);
            lead_below("/gesso", &mut answer);
            assert_eq!(answer["location"], wanted);
            assert_eq!(answer["cache-control"], "private", "a path that anybody may have named");
        }
        let mut kept = headers(&[("cache-control", "no-store")]);
        lead_below("/gesso", &mut kept);
        assert_eq!(kept["cache-control"], "no-store");
    }
}
