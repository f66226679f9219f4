//! How registries and Web servers are asked: registries that the admin lists wherever they are, all others by HTTPS and at
//! public addresses alone. Follows redirects, and each step is checked like the first. Knows no registry's protocol.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use http::{Method, Response, StatusCode};
use url::{Origin, Url};

use super::RemoteError;
use crate::log::tidy;
use crate::outgoing::{Outward, OutwardError};

/// From the first look-up to the last byte of one answer.
const WHOLE: Duration = Duration::from_secs(120);
/// Steps from the address that was named to the file.
const REDIRECTS: usize = 5;
/// Of an answer that is no file: a token, a refusal, a redirect.
pub(super) const MESSAGE_BYTES: usize = 256 << 10;
/// Of a refusal's text that is told on.
const TOLD_BYTES: usize = 300;

pub(super) struct Way {
    /// Registries that the admin lists. What another one redirects to may be one of these, but gets no credentials.
    listed: Outward,
    public: Outward,
    /// Sent to this origin and to no other, so that no redirect takes it along.
    credentials: Option<(Origin, HeaderValue)>,
}

#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Of the answer.
    pub(super) bytes_max: usize,
}

impl Ask {
    pub(super) fn get(url: Url) -> Self {
        Self::new(Method::GET, url, Bytes::new())
    }

    pub(super) fn new(method: Method, url: Url, body: Bytes) -> Self {
        Self { method, url, headers: HeaderMap::new(), body, bytes_max: MESSAGE_BYTES }
    }

    pub(super) fn accepting(mut self, types: &'static str) -> Self {
        self.headers.insert(ACCEPT, HeaderValue::from_static(types));
        self
    }
}

/// An answer, and the address that it came from in the end.
pub(super) struct Answered {
    pub(super) url: Url,
    pub(super) response: Response<Bytes>,
}

impl Way {
    /// To the listed registries, and to hosts that speak HTTPS on its own port or on `port`.
    ///
    /// # Errors
    /// A sentence about the port.
    pub(super) fn new(listed: Outward, port: u16) -> Result<Self, String> {
        let public = Outward::new(&["https://*".into(), format!("https://*:{port}")], false)?;
        Ok(Self { listed, public, credentials: None })
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    pub(super) fn give(&mut self, origin: Origin, credentials: HeaderValue) {
        self.credentials = Some((origin, credentials));
    }

    /// Sends one request; a redirect is an answer.
    ///
    /// # Errors
    /// The address may not be asked, or does not answer.
    pub(super) async fn send(&self, ask: Ask) -> Result<Answered, RemoteError> {
        let Ask { method, url, headers, body, bytes_max } = ask;
        let outward = if self.listed.allows(url.as_str()) { &self.listed } else { &self.public };
        let mut request = reqwest::Request::new(method, url.clone());
        *request.headers_mut() = headers;
        if let Some((origin, credentials)) = &self.credentials
            && *origin == url.origin()
        {
            request.headers_mut().insert(AUTHORIZATION, credentials.clone());
        }
        if !body.is_empty() {
            *request.body_mut() = Some(body.into());
        }
        match outward.send(request, bytes_max, WHOLE).await {
            Ok(response) => Ok(Answered { url, response }),
            Err(error) => Err(unsent(&url, &error)),
        }
    }

    /// [`Self::send`], and on from there as far as redirects lead.
    ///
    /// # Errors
    /// As [`Self::send`]; there are too many redirects, or one leads nowhere.
    pub(super) async fn follow(&self, mut ask: Ask) -> Result<Answered, RemoteError> {
        for _ in 0..=REDIRECTS {
            let answered = self.send(ask.clone()).await?;
            if !answered.response.status().is_redirection() {
                return Ok(answered);
            }
            ask.url = answered.location()?;
        }
        Err(RemoteError::Refused(format!("{}: more than {REDIRECTS} redirects", place(&ask.url))))
    }
}

impl Answered {
    /// Where it says to go on.
    ///
    /// # Errors
    /// It says nothing that can be read.
    pub(super) fn location(&self) -> Result<Url, RemoteError> {
        let location = self.response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let url = location.and_then(|location| self.url.join(location).ok());
        url.ok_or_else(|| {
            let status = self.response.status();
            RemoteError::Refused(format!("{}: answered {status} without a Location", place(&self.url)))
        })
    }

    /// The body, where the status is the one expected.
    ///
    /// # Errors
    /// What the answer says instead.
    pub(super) fn body_if(self, status: StatusCode) -> Result<Bytes, RemoteError> {
        let found = self.response.status();
        if found == status {
            return Ok(self.response.into_body());
        }
        let (place, path) = (place(&self.url), self.url.path());
        let told = tidy(&String::from_utf8_lossy(self.response.body()), TOLD_BYTES);
        let told = if told.trim().is_empty() { String::new() } else { format!(": {}", told.trim()) };
        Err(match found {
            StatusCode::NOT_FOUND => RemoteError::Refused(format!("{place} has nothing at {path}{told}")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RemoteError::Refused(format!(
                "{place} answered {found} for {path}; the setting registries may name a user and a password{told}"
            )),
            StatusCode::TOO_MANY_REQUESTS => {
                RemoteError::Unreachable(format!("{place} answered {found}; try again later{told}"))
            }
            _ if found.is_server_error() => {
                RemoteError::Unreachable(format!("{place} answered {found} for {path}{told}"))
            }
            _ => RemoteError::Refused(format!("{place} answered {found} for {path}{told}")),
        })
    }
}

/// Scheme, host and port: what stands behind them may be signed, and is not for people.
fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn unsent(url: &Url, error: &OutwardError) -> RemoteError {
    let place = place(url);
    match error {
        OutwardError::Denied(_) => RemoteError::Refused(format!(
            "{place}: {error}; a registry that is on a private address or speaks no TLS has to be listed in the setting registries"
        )),
        OutwardError::TooLong(_) => RemoteError::Refused(format!("{place}: {error}")),
        OutwardError::NoAnswer(_) | OutwardError::Late(_) => {
            RemoteError::Unreachable(format!("{place}: {error}"))
        }
    }
}
