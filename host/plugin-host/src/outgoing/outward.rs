//! Requests of the server's own to addresses that its clients name, such as webhooks: under the same checks as those of
//! plugins.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use url::Url;

use super::{HostAccess, HostPattern, Network, named};

/// Where the server may send requests to for its clients.
#[derive(Clone)]
pub struct Outward(HostAccess);

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
    /// A sentence: the address may not be asked, nobody answers there, or not within `whole`.
    pub async fn post_json(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        whole: Duration,
    ) -> Result<u16, String> {
        let url = Url::parse(url).map_err(|error| format!("the address cannot be read: {error}"))?;
        self.0.check(&url).map_err(|error| format!("the address may not be asked: {error:?}"))?;
        let mut request = reqwest::Request::new(http::Method::POST, url);
        request.headers_mut().extend(headers);
        request
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.into());
        let client = self.0.network.client(self.0.private_addresses).map_err(|error| format!("{error:?}"))?;
        match tokio::time::timeout(whole, client.execute(request)).await {
            Ok(Ok(answer)) => Ok(answer.status().as_u16()),
            Ok(Err(error)) => Err(format!("no answer: {:?}", named(error))),
            Err(_) => Err(format!("no answer within {whole:?}")),
        }
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
            outward.post_json(url, HeaderMap::new(), Bytes::new(), Duration::from_secs(5)).await.unwrap_err()
        };
        assert!(post("https://localhost/").await.contains("DestinationIpProhibited"));
        assert!(post("http://127.0.0.1:1/").await.contains("ConnectionRefused"));
        assert!(Outward::new(&["ftp://x".into()], false).is_err());
    }
}
