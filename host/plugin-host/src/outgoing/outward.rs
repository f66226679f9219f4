//! Requests of the server's own to addresses that somebody else names, such as webhooks and registries of plugins: under the
//! same checks as those of plugins.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use url::Url;
use wasmtime_wasi_http::Error;

use super::{HostAccess, HostPattern, Network, named};

/// Where the server may send requests to for others.
#[derive(Clone)]
pub struct Outward(HostAccess);

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutwardError {
    /// The host is none of those allowed, or stands for an address of this machine or of a private network.
    #[error("the address may not be asked: {0}")]
    Denied(String),
    #[error("no answer: {0}")]
    NoAnswer(String),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
}

impl Outward {
    /// `hosts` are patterns as in a plugin's grant; `private_addresses` says whether names among them may stand for
    /// addresses of this machine and of private networks.
    ///
    /// # Errors
    /// A sentence about the first pattern that is none.
    pub fn new(hosts: &[String], private_addresses: bool) -> Result<Self, String> {
        let hosts = hosts.iter().map(|host| HostPattern::parse(host)).collect::<Result<Arc<[_]>, _>>()?;
        Ok(Self(HostAccess { network: Arc::new(Network::new()), hosts, private_addresses }))
    }

    /// Whether the address is one that may be asked, as far as it shows without looking its name up.
    pub fn allows(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| self.0.check(&url).is_ok())
    }

    /// Sends JSON and returns the status of the answer, whose body is not read. A redirect is an answer.
    ///
    /// # Errors
    /// The address may not be asked, nobody answers there, or not within `whole`.
    pub async fn post_json(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        whole: Duration,
    ) -> Result<u16, OutwardError> {
        let url = Url::parse(url).map_err(|error| OutwardError::Denied(error.to_string()))?;
        let mut request = reqwest::Request::new(http::Method::POST, url);
        request.headers_mut().extend(headers);
        request
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.into());
        in_time(whole, async { Ok(self.begin(request).await?.status().as_u16()) }).await
    }

    /// Sends a request and reads the whole answer, which has at most `bytes_max` bytes. A redirect is an answer.
    ///
    /// # Errors
    /// As [`Self::post_json`], or the answer is longer.
    pub(crate) async fn send(
        &self,
        request: reqwest::Request,
        bytes_max: usize,
        whole: Duration,
    ) -> Result<http::Response<Bytes>, OutwardError> {
        in_time(whole, async {
            let mut answer = self.begin(request).await?;
            let mut body = BytesMut::new();
            while let Some(part) = answer.chunk().await.map_err(unanswered)? {
                if body.len() + part.len() > bytes_max {
                    return Err(OutwardError::TooLong(bytes_max));
                }
                body.extend_from_slice(&part);
            }
            let mut response = http::Response::new(body.freeze());
            *response.status_mut() = answer.status();
            *response.headers_mut() = std::mem::take(answer.headers_mut());
            Ok(response)
        })
        .await
    }

    async fn begin(&self, request: reqwest::Request) -> Result<reqwest::Response, OutwardError> {
        self.0.check(request.url()).map_err(|error| OutwardError::Denied(format!("{error:?}")))?;
        let client = self.0.network.client(self.0.private_addresses);
        let client = client.map_err(|error| OutwardError::NoAnswer(format!("{error:?}")))?;
        client.execute(request).await.map_err(unanswered)
    }
}

async fn in_time<T>(
    whole: Duration,
    work: impl Future<Output = Result<T, OutwardError>>,
) -> Result<T, OutwardError> {
    tokio::time::timeout(whole, work).await.map_err(|_| OutwardError::Late(whole))?
}

fn unanswered(error: reqwest::Error) -> OutwardError {
    match named(error) {
        error @ Error::DestinationIpProhibited => OutwardError::Denied(format!("{error:?}")),
        error => OutwardError::NoAnswer(format!("{error:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_private_or_not_listed_is_not_asked() {
        let outward = Outward::new(&["https://*".into(), "http://127.0.0.1:1".into()], false).unwrap();
        assert!(outward.allows("https://hooks.example/a"));
        for url in
            ["http://hooks.example/", "https://127.0.0.1/", "https://[::1]/", "nonsense", "file:///etc"]
        {
            assert!(!outward.allows(url), "{url}");
        }
        let post = async |url: &str| {
            let sent = outward.post_json(url, HeaderMap::new(), Bytes::new(), Duration::from_secs(5)).await;
            sent.unwrap_err().to_string()
        };
        assert!(post("https://localhost/").await.contains("DestinationIpProhibited"));
        assert!(post("http://127.0.0.1:1/").await.contains("ConnectionRefused"));
        assert!(Outward::new(&["ftp://x".into()], false).is_err());
    }
}
