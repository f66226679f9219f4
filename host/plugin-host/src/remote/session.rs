//! A conversation with one registry about one repository, as the OCI distribution specification 1.1 has it: with no
//! credentials until it asks for them, then by a token (from where the registry says, for this repository alone) or by name and
//! password. Knows no artifact's layout.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use http_auth::parser::ChallengeParser;
use serde::Deserialize;
use url::Url;

use super::digest::Digest;
use super::reference::Reference;
use super::way::{Answered, Ask, MESSAGE_BYTES, Way};
use super::{RegistryAccess, RemoteError};

/// What the conversation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Pull,
    Push,
}

pub(super) struct Session<'a> {
    way: Way,
    /// The repository's own part of the registry's API, with a slash at its end.
    base: Url,
    /// What a token is asked for: never more, whatever the registry says.
    scope: String,
    access: &'a RegistryAccess,
}

/// One way that the registry lets itself be convinced.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl<'a> Session<'a> {
    pub(super) fn new(
        way: Way,
        base: Url,
        reference: &Reference,
        purpose: Purpose,
        access: &'a RegistryAccess,
    ) -> Self {
        let actions = match purpose {
            Purpose::Pull => "pull",
            Purpose::Push => "pull,push",
        };
        Self { way, base, scope: format!("repository:{}:{actions}", reference.repository), access }
    }

    /// The manifest of that tag or digest, as it is.
    pub(super) async fn manifest(
        &mut self,
        version: &str,
        accepted: &'static str,
        bytes_max: usize,
    ) -> Result<Bytes, RemoteError> {
        let ask =
            Ask { bytes_max, ..Ask::get(self.at(&format!("manifests/{version}"))?).accepting(accepted) };
        self.ask(ask).await?.body_if(StatusCode::OK)
    }

    /// The blob of that digest, which the caller checks. At most `bytes_max` of it, or of what is said instead, are read.
    pub(super) async fn blob(&mut self, digest: &Digest, bytes_max: usize) -> Result<Bytes, RemoteError> {
        let bytes_max = bytes_max.max(MESSAGE_BYTES);
        let ask = Ask { bytes_max, ..Ask::get(self.at(&format!("blobs/{digest}"))?).accepting("*/*") };
        self.ask(ask).await?.body_if(StatusCode::OK)
    }

    pub(super) async fn push_blob(&mut self, bytes: Bytes) -> Result<(), RemoteError> {
        let digest = Digest::of(&bytes);
        let mut begin = Ask::new(Method::POST, self.at("blobs/uploads/")?, Bytes::new());
        // Some servers take no POST that does not say how long it is.
        begin.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let begun = self.ask(begin).await?;
        let place = begun.location();
        begun.body_if(StatusCode::ACCEPTED)?;
        let mut place = place?;
        place.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut put = Ask::new(Method::PUT, place, bytes);
        put.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.ask(put).await?.body_if(StatusCode::CREATED).map(drop)
    }

    pub(super) async fn push_manifest(
        &mut self,
        version: &str,
        media_type: &'static str,
        bytes: Bytes,
    ) -> Result<(), RemoteError> {
        let mut put = Ask::new(Method::PUT, self.at(&format!("manifests/{version}"))?, bytes);
        put.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.ask(put).await?.body_if(StatusCode::CREATED).map(drop)
    }

    fn at(&self, path: &str) -> Result<Url, RemoteError> {
        self.base.join(path).map_err(|error| RemoteError::Refused(format!("{path}: {error}")))
    }

    /// Asks, and once more with credentials where the registry wants some.
    async fn ask(&mut self, ask: Ask) -> Result<Answered, RemoteError> {
        let answered = self.once(ask.clone()).await?;
        let is_asked = answered.response.status() == StatusCode::UNAUTHORIZED;
        // What a redirect led to gets none, and what was not enough once will not be.
        if !is_asked || self.way.has_credentials() || answered.url.origin() != self.base.origin() {
            return Ok(answered);
        }
        let Some(credentials) = self.credentials(answered.response.headers()).await? else {
            return Ok(answered);
        };
        self.way.give(self.base.origin(), credentials);
        self.once(ask).await
    }

    /// What is read may lie elsewhere, and is followed there; what is written goes where it was sent.
    async fn once(&self, ask: Ask) -> Result<Answered, RemoteError> {
        if ask.method == Method::GET { self.way.follow(ask).await } else { self.way.send(ask).await }
    }

    /// What answers the first challenge that can be answered.
    async fn credentials(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, RemoteError> {
        for challenge in challenges(headers) {
            match challenge {
                Challenge::Basic if self.access.username.is_none() => {}
                Challenge::Basic => return Ok(self.basic()),
                Challenge::Bearer { realm, service } => {
                    return self.token(&realm, service.as_deref()).await.map(Some);
                }
            }
        }
        Ok(None)
    }

    fn basic(&self) -> Option<HeaderValue> {
        let password = self.access.password.as_deref().unwrap_or_default();
        let pair = BASE64_STANDARD.encode(format!("{}:{password}", self.access.username.as_deref()?));
        secret(&format!("Basic {pair}"))
    }

    async fn token(&self, realm: &str, service: Option<&str>) -> Result<HeaderValue, RemoteError> {
        let told = |what: &str| {
            RemoteError::Refused(format!("{}: {what}", self.base.origin().ascii_serialization()))
        };
        let mut url = Url::parse(realm).map_err(|_| told("its place for tokens cannot be read"))?;
        // A name and a password go there.
        if url.scheme() != "https" && url.origin() != self.base.origin() {
            return Err(told("its place for tokens speaks no TLS"));
        }
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", &self.scope);
        let mut ask = Ask::get(url);
        if let Some(basic) = self.basic() {
            ask.headers.insert(AUTHORIZATION, basic);
        }
        let body = self.way.send(ask).await?.body_if(StatusCode::OK)?;
        let token: Token = serde_json::from_slice(&body).map_err(|_| told("its token cannot be read"))?;
        let token = token.token.or(token.access_token).ok_or_else(|| told("its answer has no token"))?;
        secret(&format!("Bearer {token}")).ok_or_else(|| told("its token is no text for a header"))
    }
}

/// As the specification names it, and as OAuth 2 does.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let said = lines.flat_map(|line| ChallengeParser::new(line).map_while(Result::ok));
    said.filter_map(|challenge| {
        let parameter = |name: &str| {
            let found = challenge.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        if challenge.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        let is_bearer = challenge.scheme.eq_ignore_ascii_case("bearer");
        is_bearer
            .then(|| parameter("realm"))?
            .map(|realm| Challenge::Bearer { realm, service: parameter("service") })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_commas_in_their_texts() {
        let mut headers = HeaderMap::new();
        let bearer =
            "Bearer realm=\"https://auth.example/token\",service=\"s\",scope=\"repository:a:pull,push\"";
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(bearer));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"r\""));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer service=\"no realm\""));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Digest nonce=\"x\""));
        let realm = "https://auth.example/token".to_owned();
        let expected = [Challenge::Bearer { realm, service: Some("s".into()) }, Challenge::Basic];
        assert_eq!(challenges(&headers), expected);
    }
}
