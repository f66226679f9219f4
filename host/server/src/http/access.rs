//! Who asks, read from the request's credentials, and whether they may. The router says which role each route wants;
//! this is where the answer is decided.
//!
//! Credentials are `Authorization: Bearer <key or token>`, `Authorization: Basic <user:password or user:key>` or
//! `Token: <key or token>`. Where nobody has an account and only this machine can reach the server, none are wanted.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::error::problem;
use super::proxies::Asked;
use super::request_id;
use crate::accounts::{ANYONE, Caller, Refusal, Role};
use crate::app::App;
use crate::quotas::Left;
use crate::settings::Access;

/// Of a path in the audit log.
const PATH_CHARS_MAX: usize = 200;

/// What came of reading a request's credentials.
#[derive(Clone)]
struct Identity {
    /// Whom the credentials stand for, or why for nobody.
    caller: Result<Caller, Refusal>,
    /// The name they claim to be of.
    claimed: Option<String>,
    from: IpAddr,
}

/// Marks a request that the server itself makes for the owner of a task. Nothing that comes over the network has one.
#[derive(Clone)]
pub(crate) struct ActingFor(pub(crate) Caller);

/// What a request says about who sent it.
#[derive(Debug, PartialEq, Eq)]
enum Credentials {
    None,
    Secret(String),
    Password {
        name: String,
        password: String,
    },
    /// There is something, and it is none of these.
    Unreadable,
}

/// Middleware around everything: finds out who asks. Decides nothing but that a page of another site, which a browser
/// shows, asks for nobody.
pub(crate) async fn identify(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let asked = request.extensions().get::<Asked>();
    let from = asked.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |asked| asked.from);
    if let Some(ActingFor(caller)) = request.extensions().get::<ActingFor>().cloned() {
        request.extensions_mut().insert(Identity { caller: Ok(caller), claimed: None, from });
        return next.run(request).await;
    }
    let credentials = Credentials::of(request.headers());
    let claimed = credentials.name();
    let is_password = matches!(credentials, Credentials::Password { .. });
    let caller = match credentials {
        Credentials::None | Credentials::Unreadable => Err(Refusal::Wrong),
        Credentials::Secret(secret) => app.accounts.by_secret(&secret),
        Credentials::Password { name, password } => app.accounts.by_password(&name, &password, from).await,
    };
    // Only a key is something that a page of another site cannot have: what a browser sends by itself, and a header that
    // says nothing, prove nobody.
    let is_proven = caller.is_ok() && !is_password;
    if !is_proven && let Err(message) = check_site(&app, request.method(), request.headers(), is_password) {
        return problem(StatusCode::FORBIDDEN, "forbidden", &message);
    }
    // Where nobody has to say who they are, what they say wrong does not matter.
    let is_open = app.is_open() && !comes_from_elsewhere(&app, request.headers());
    let caller = caller.or_else(|refusal| if is_open { Ok(Caller::anyone()) } else { Err(refusal) });
    request.extensions_mut().insert(Identity { caller, claimed, from });
    next.run(request).await
}

/// What proxies add, one or another of them.
const PASSED_ON: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Whether a proxy passed the request on, trusted or not: then who stands before the server is not who asks, and an address
/// of this machine proves nothing.
fn comes_from_elsewhere(app: &App, headers: &HeaderMap) -> bool {
    let passed_on = PASSED_ON.iter().any(|name| headers.contains_key(*name));
    app.settings.access == Access::Auto && passed_on
}

/// Middleware of a group of routes: lets those of this role and above through.
pub(crate) async fn need(
    State((app, role)): State<(Arc<App>, Role)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(identity) = request.extensions().get::<Identity>().cloned() else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request went around its guard");
    };
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let path: String = request.uri().path().chars().take(PATH_CHARS_MAX).collect();
    let what = format!("{} {path}", request.method());
    let (who, response) = match identity.caller {
        Ok(caller) if caller.role >= role => {
            let is_noted = changes && is_noted(role, &caller, &path);
            if !is_noted || request.extensions().get::<ActingFor>().is_some() {
                return next.run(request).await;
            }
            // A tokio worker, on its own: a client that goes away leaves the change, and so its line.
            let noted = async move {
                let response = next.run(request).await;
                let status = response.status().as_u16();
                app.audit.note(request_id::current(), caller.name, identity.from, what, status).await;
                response
            };
            return tokio::spawn(request_id::carried(noted)).await.unwrap_or_else(|_| {
                problem(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "the change panicked; see the server's log",
                )
            });
        }
        // Nobody in particular: they may yet say who they are.
        Ok(caller) if caller.name == ANYONE => return unauthorized(&app, Refusal::Wrong),
        Ok(caller) => {
            let message = format!("{} may not do this: it takes the role {}", caller.name, role.as_str());
            (caller.name, problem(StatusCode::FORBIDDEN, "forbidden", &message))
        }
        Err(refusal) => {
            let response = unauthorized(&app, refusal);
            metrics::counter!("gesso_refused_credentials_total").increment(1);
            match identity.claimed {
                Some(claimed) if refusal == Refusal::Wrong => (claimed, response),
                _ => return response,
            }
        }
    };
    // To look at what one may not see is no attempt at a change.
    if changes || response.status() != StatusCode::FORBIDDEN {
        let status = response.status().as_u16();
        app.audit.note_refusal(request_id::current(), who, identity.from, what, status).await;
    }
    response
}

/// What is written down when it is done: what operators and admins change, keys and secrets, and others' tasks.
fn is_noted(role: Role, caller: &Caller, path: &str) -> bool {
    let is_key = path == "/keys" || path.starts_with("/keys/") || path == "/webhooks/secret";
    let is_task = path.starts_with("/tasks/") || path.starts_with("/agent-scheduler/v1/task/");
    let may_be_others = caller.role >= Role::Operator && caller.name != ANYONE && is_task;
    role >= Role::Operator || is_key || may_be_others
}

/// Middleware of the routes that draw: each counts against its caller's rate, and the reply tells what is left.
pub(crate) async fn count(
    State(app): State<Arc<App>>,
    caller: Caller,
    mut request: Request,
    next: Next,
) -> Response {
    // What a worker asks for was counted when its owner asked.
    if request.extensions().get::<ActingFor>().is_some() {
        return next.run(request).await;
    }
    request.extensions_mut().insert(Counted);
    match app.quotas.take_request(&caller) {
        Ok(None) => next.run(request).await,
        Ok(Some(left)) => {
            let mut response = next.run(request).await;
            tell(&mut response, left);
            response
        }
        Err(left) => too_many(left),
    }
}

/// The answer to one request too many.
pub(crate) fn too_many(left: Left) -> Response {
    let Left { limit, reset_seconds, .. } = left;
    let message = format!("{limit} requests in a minute are yours; try again in {reset_seconds} s");
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "overloaded", &message);
    tell(&mut response, left);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(reset_seconds));
    response
}

/// Marks a request that was counted.
#[derive(Clone, Copy)]
pub(crate) struct Counted;

/// The headers of draft-ietf-httpapi-ratelimit-headers-06, which is what clients read.
fn tell(response: &mut Response, left: Left) {
    let headers = response.headers_mut();
    headers.insert("ratelimit-limit", HeaderValue::from(left.limit));
    headers.insert("ratelimit-remaining", HeaderValue::from(left.remaining));
    headers.insert("ratelimit-reset", HeaderValue::from(left.reset_seconds));
}

/// Whoever asks, as an argument of a route behind [`need`].
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let caller = parts.extensions.get::<Identity>().and_then(|identity| identity.caller.clone().ok());
        caller.ok_or_else(|| {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request went around its guard")
        })
    }
}

/// The key or token that a request has, as an argument.
#[derive(Debug)]
pub(crate) struct Secret(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Secret {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(match Credentials::of(&parts.headers) {
            Credentials::Secret(secret) => Some(secret),
            _ => None,
        }))
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From(pub(crate) IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let from = parts.extensions.get::<Identity>().map(|identity| identity.from);
        Ok(Self(from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

impl Credentials {
    /// What a request says; the first of several.
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap_or("\u{fffd}").trim())
                .filter(|text| !text.is_empty())
        };
        if let Some(token) = text("token") {
            return Self::Secret(token.to_owned());
        }
        // Some clients send the header without anything in it.
        let Some(authorization) = text("authorization") else { return Self::None };
        let Some((scheme, rest)) = authorization.split_once(' ') else { return Self::Unreadable };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return if rest.is_empty() { Self::None } else { Self::Secret(rest.to_owned()) };
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Self::Unreadable;
        }
        let decoded = BASE64_STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((name, password)) => Self::Password { name: name.to_owned(), password: password.to_owned() },
            None => Self::Unreadable,
        }
    }

    /// Who they say they are, for the audit log.
    fn name(&self) -> Option<String> {
        match self {
            Self::Password { name, .. } => {
                Some(name.chars().filter(|letter| !letter.is_control()).take(64).collect())
            }
            Self::None | Self::Secret(_) | Self::Unreadable => None,
        }
    }
}

/// Browsers send what a page of any site asks for, with the password they remember. A page of another site changes
/// nothing here; and where no credentials are wanted, a name that was made to stand for this machine asks nothing.
fn check_site(app: &App, method: &Method, headers: &HeaderMap, is_password: bool) -> Result<(), String> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).and_then(|host| host.parse::<Authority>().ok());
    if app.settings.access == Access::Auto && app.is_open() {
        let is_known = host.as_ref().is_none_or(|host| {
            is_this_machine(host.host())
                || app.settings.public_url.as_ref().is_some_and(|url| host_of(url) == Some(host.clone()))
        });
        if !is_known {
            return Err("this server answers only to this machine's own names while nobody has an account; \
                        name the address it is reached by with public_url, or add a user"
                .into());
        }
    }
    // A WebSocket is opened with GET, and browsers let pages of every site read it.
    let is_websocket = headers.contains_key(header::UPGRADE);
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && !is_websocket {
        return Ok(());
    }
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let own = host_of(origin).is_some_and(|origin| Some(&origin) == host.as_ref());
    let public = app.settings.public_url.as_ref().is_some_and(|url| host_of(url) == host_of(origin));
    // Any page may ask, but none may use the password that the browser remembers.
    let any = |known: &str| known == "*" && !is_password;
    let allowed = app.settings.cors_origins.iter().any(|known| any(known) || known == origin);
    if own || public || allowed {
        return Ok(());
    }
    // No list of origins can name these pages: all of them send the same.
    if origin == "null" {
        return Err("sandboxed pages and pages out of files may not ask this server to do things; an admin may grant \
                    the plugin of a page own_origin"
            .into());
    }
    Err(format!("pages of {origin:.200} may not ask this server to do things; add it to cors_origins"))
}

fn host_of(url: &str) -> Option<Authority> {
    url.parse::<axum::http::Uri>().ok()?.authority().cloned()
}

/// Whether a host, as it stands in an address, can be no other machine.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn unauthorized(app: &App, refusal: Refusal) -> Response {
    if let Refusal::TooMany { seconds } = refusal {
        let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "overloaded", &refusal.to_string());
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        return response;
    }
    let message = "this needs credentials: Authorization: Bearer <key>, or Basic with a user's password; \
                   the admin's key is in the file admin-key in the data folder";
    // What the serverless product answers, for clients that look for it.
    let status = if app.settings.compat.login_410 { StatusCode::GONE } else { StatusCode::UNAUTHORIZED };
    let mut response = problem(status, "unauthorized", message);
    let headers = response.headers_mut();
    headers.append(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"gesso\", charset=\"UTF-8\""),
    );
    headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gesso\""));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(headers: &[(&'static str, &str)]) -> Credentials {
        let pairs = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        Credentials::of(&pairs.collect())
    }

    #[test]
    fn credentials_are_read_as_clients_send_them() {
        let secret = |text: &str| Credentials::Secret(text.into());
        assert_eq!(credentials(&[]), Credentials::None);
        // Open WebUI without a password.
        assert_eq!(credentials(&[("authorization", "")]), Credentials::None);
        assert_eq!(credentials(&[("authorization", "Bearer abc")]), secret("abc"));
        assert_eq!(credentials(&[("authorization", "bearer  abc ")]), secret("abc"));
        assert_eq!(credentials(&[("token", "abc"), ("authorization", "Basic x")]), secret("abc"));
        let ann = |password: &str| Credentials::Password { name: "ann".into(), password: password.into() };
        // RFC 7617: everything behind the first colon is the password.
        assert_eq!(credentials(&[("authorization", "Basic YW5uOmE6Yg==")]), ann("a:b"));
        for unreadable in ["Basic", "Basic !!", "Basic YW5u", "Digest x", "nonsense"] {
            assert_eq!(
                credentials(&[("authorization", unreadable)]),
                Credentials::Unreadable,
                "{unreadable}"
            );
        }
    }

    #[test]
    fn names_of_this_machine_are_told_from_names_that_only_lead_here() {
        for name in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]", "gesso.localhost"] {
            assert!(is_this_machine(name), "{name}");
        }
        for name in ["rebound.example", "127.0.0.1.nip.io", "localhost.example", "10.0.0.1", ""] {
            assert!(!is_this_machine(name), "{name}");
        }
    }
}
