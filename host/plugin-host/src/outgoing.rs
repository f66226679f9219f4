//! Requests that a plugin sends out: to hosts an admin granted, at addresses that may be asked, within bounds. A name is
//! resolved here and the connection goes to an address that passed, so that a name cannot point elsewhere in between.
//! Redirects are answers like any other: a plugin that follows one asks again, and is checked again.

mod addresses;
mod outward;
mod patterns;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use url::{Host, Url};
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttpHooks};

pub use self::outward::{Outward, OutwardError};
pub(crate) use self::patterns::HostPattern;

/// Requests of one call.
const REQUESTS: u32 = 16;
/// Of one request and of one answer, bytes.
const BODY_BYTES: usize = 32 << 20;
/// Of all requests and answers of a call, which the guest may hold at one time.
const CALL_BYTES: usize = 64 << 20;
const FIELD_BYTES: usize = 32 << 10;
/// Of one write into a body, of which two wait at the most. A guest may hold thousands of bodies that nobody reads, granted or
/// not, and `blocking-write-and-flush` takes no more at once.
const BODY_CHUNK_BYTES: usize = 4096;
/// From the first look-up to the last byte.
const WHOLE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);

/// Where the plugins of a host may send requests to.
pub(crate) struct Network {
    clients: [OnceLock<reqwest::Client>; 2],
}

/// What one plugin was granted.
#[derive(Clone)]
pub(crate) struct HostAccess {
    pub(crate) network: Arc<Network>,
    pub(crate) hosts: Arc<[HostPattern]>,
    /// Whether addresses of the machine and of private networks may be asked too.
    pub(crate) private_addresses: bool,
}

/// The requests of one call.
pub(crate) struct Outgoing {
    access: Option<HostAccess>,
    left: u32,
    allowance: Allowance,
}

impl Outgoing {
    pub(crate) fn new(access: Option<HostAccess>) -> Self {
        Self { access, left: REQUESTS, allowance: Allowance(Arc::new(AtomicUsize::new(CALL_BYTES))) }
    }
}

/// Bytes that the bodies of a call may still take.
#[derive(Clone)]
struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

type WasiBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Error>;
type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Done,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Done), Error>> + Send> {
        let Some(access) = self.access.clone() else {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        let Some(left) = self.left.checked_sub(1) else {
            return Box::new(async { Err(Error::ConnectionLimitReached) });
        };
        self.left = left;
        let allowance = self.allowance.clone();
        Box::new(async move {
            let asked = options.and_then(|options| options.first_byte_timeout).unwrap_or(WHOLE);
            let answer = tokio::time::timeout(asked.min(WHOLE), access.send(request, &allowance)).await;
            let answer = answer.map_err(|_| Error::HttpResponseTimeout)??;
            let body = |bytes| {
                Full::new(bytes).map_err(|never: std::convert::Infallible| match never {}).boxed_unsync()
            };
            let done: Done = Box::new(async { Ok(()) });
            Ok((answer.map(body), done))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}

impl HostAccess {
    /// The whole answer; a redirect is one.
    async fn send(
        &self,
        request: http::Request<WasiBody>,
        allowance: &Allowance,
    ) -> Result<http::Response<Bytes>, Error> {
        let (mut parts, mut body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| Error::HttpRequestUriInvalid)?;
        self.check(&url)?;
        if parts.method == http::Method::CONNECT || parts.method == http::Method::TRACE {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let mut sent = BytesMut::new();
        while let Some(frame) = body.frame().await.transpose()? {
            let Ok(part) = frame.into_data() else { continue };
            if sent.len() + part.len() > BODY_BYTES || !allowance.take(part.len()) {
                return Err(Error::HttpRequestBodySize(Some(BODY_BYTES as u64)));
            }
            sent.extend_from_slice(&part);
        }
        let mut outgoing = reqwest::Request::new(parts.method, url);
        // The connection's own fields are the client's to write.
        let own = [
            http::header::HOST,
            http::header::CONTENT_LENGTH,
            http::header::TRANSFER_ENCODING,
            http::header::CONNECTION,
        ];
        own.iter().for_each(|name| drop(parts.headers.remove(name)));
        outgoing.headers_mut().extend(parts.headers);
        if !sent.is_empty() {
            *outgoing.body_mut() = Some(sent.freeze().into());
        }
        let client = self.network.client(self.private_addresses)?;
        let mut answer = client.execute(outgoing).await.map_err(named)?;
        let fields: usize =
            answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if fields > FIELD_BYTES {
            return Err(Error::HttpResponseHeaderSectionSize(u32::try_from(fields).ok()));
        }
        let mut whole = BytesMut::new();
        while let Some(part) = answer.chunk().await.map_err(named)? {
            if whole.len() + part.len() > BODY_BYTES || !allowance.take(part.len()) {
                return Err(Error::HttpResponseBodySize(Some(BODY_BYTES as u64)));
            }
            whole.extend_from_slice(&part);
        }
        let mut response = http::Response::new(whole.freeze());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        response.headers_mut().remove(http::header::TRANSFER_ENCODING);
        response.headers_mut().remove(http::header::CONNECTION);
        Ok(response)
    }

    /// The host by its name; addresses that names stand for are checked when they are looked up.
    fn check(&self, url: &Url) -> Result<(), Error> {
        let is_plain = url.username().is_empty() && url.password().is_none();
        if !is_plain || !self.hosts.iter().any(|pattern| pattern.matches(url)) {
            return Err(Error::HttpRequestDenied);
        }
        let address: Option<IpAddr> = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            _ => None,
        };
        // An address that the admin wrote out is meant.
        let is_meant = self.hosts.iter().any(|pattern| pattern.is_address_of(url));
        match address {
            Some(address) if !is_meant && !self.private_addresses && !addresses::is_public(address) => {
                Err(Error::DestinationIpProhibited)
            }
            _ => Ok(()),
        }
    }
}

impl Network {
    pub(crate) fn new() -> Self {
        Self { clients: [OnceLock::new(), OnceLock::new()] }
    }

    /// Made when the first plugin asks: it reads the system's certificates.
    fn client(&self, private_addresses: bool) -> Result<&reqwest::Client, Error> {
        let place = &self.clients[usize::from(private_addresses)];
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT)
            .user_agent(concat!("gesso/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Names { private_addresses }))
            .build()
            .map_err(|_| Error::ConfigurationError)?;
        Ok(place.get_or_init(|| client))
    }
}

/// The system's names, without the addresses that may not be asked.
struct Names {
    private_addresses: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("every address of the name is in a private network")]
struct Prohibited;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let private_addresses = self.private_addresses;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(permitted(found, private_addresses)?)
        })
    }
}

fn permitted(found: Vec<SocketAddr>, private_addresses: bool) -> Result<Addrs, Prohibited> {
    let may_be_asked = |address: &SocketAddr| private_addresses || addresses::is_public(address.ip());
    let kept: Vec<_> = found.into_iter().filter(may_be_asked).collect();
    if kept.is_empty() {
        return Err(Prohibited);
    }
    Ok(Box::new(kept.into_iter()))
}

/// The contract's word for what went wrong.
fn named(error: reqwest::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if inner.is::<Prohibited>() {
            return Error::DestinationIpProhibited;
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        return Error::ConnectionTimeout;
    }
    if error.is_connect() { Error::ConnectionRefused } else { Error::HttpProtocolError }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};

    fn access(hosts: &[&str], private_addresses: bool) -> HostAccess {
        let hosts = hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
        HostAccess { network: Arc::new(Network::new()), hosts, private_addresses }
    }

    async fn asked(access: &HostAccess, url: &str) -> Result<u16, String> {
        let body =
            Full::new(Bytes::new()).map_err(|never: std::convert::Infallible| match never {}).boxed_unsync();
        let request = http::Request::builder().uri(url).body(body).unwrap();
        let answer = access.send(request, &Outgoing::new(None).allowance).await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| format!("{error:?}"))
    }

    #[tokio::test]
    async fn addresses_in_any_spelling_are_looked_at() {
        let any = access(&["http://*"], false);
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://017700000001/",
            "http://0/",
            "http://10.0.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fd00:ec2::254]/",
            "http://localhost/",
        ] {
            assert_eq!(asked(&any, url).await, Err("DestinationIpProhibited".into()), "{url}");
        }
    }

    #[tokio::test]
    async fn what_was_not_granted_is_denied_before_anything_is_sent() {
        let one = access(&["https://pictures.example"], false);
        for url in [
            "http://pictures.example/",
            "https://pictures.example:8443/",
            "https://pictures.example.evil.example/",
            "https://user:secret@pictures.example/",
            "https://other.example/",
        ] {
            assert_eq!(asked(&one, url).await, Err("HttpRequestDenied".into()), "{url}");
        }
    }

    #[tokio::test]
    async fn an_address_that_was_written_out_is_asked_and_a_redirect_is_an_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let answer = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let local = access(&[&format!("http://127.0.0.1:{port}")], false);
        assert_eq!(asked(&local, &format!("http://127.0.0.1:{port}/a?b=c")).await, Ok(302));
        assert!(server.await.unwrap().starts_with("GET /a?b=c HTTP/1.1"));
        assert_eq!(asked(&local, "http://127.0.0.1:1/").await, Err("HttpRequestDenied".into()));
    }

    #[tokio::test]
    async fn no_tunnel_is_asked_for() {
        let one = access(&["https://pictures.example"], false);
        for method in [http::Method::CONNECT, http::Method::TRACE] {
            let body = Full::new(Bytes::new())
                .map_err(|never: std::convert::Infallible| match never {})
                .boxed_unsync();
            let request = http::Request::builder().method(method).uri("https://pictures.example/").body(body);
            let answer = one.send(request.unwrap(), &Outgoing::new(None).allowance).await;
            assert!(matches!(answer, Err(Error::HttpRequestMethodInvalid)), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_drips_is_cut_off_with_its_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = stream.read(&mut [0; 1024]).await.unwrap();
            assert!(asked > 0);
            let mut part = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".as_slice();
            while stream.write_all(part).await.is_ok() {
                part = b"a";
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut outgoing = Outgoing::new(Some(access(&[&address], false)));
        let body =
            Full::new(Bytes::new()).map_err(|never: std::convert::Infallible| match never {}).boxed_unsync();
        let request = http::Request::builder().uri(&address).body(body).unwrap();
        let first_byte_timeout = Some(Duration::from_millis(300));
        let options = RequestOptions { first_byte_timeout, ..RequestOptions::default() };
        let answer = outgoing.send_request(request, Some(options), Box::new(async { Ok(()) }));
        let limit = Duration::from_secs(5);
        let error = tokio::time::timeout(limit, Box::into_pin(answer)).await.unwrap().err();
        assert!(matches!(error, Some(Error::HttpResponseTimeout)), "{error:?}");
        tokio::time::timeout(limit, server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_guest_that_waits_for_no_time_at_all_is_told_that_it_is_over() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut outgoing = Outgoing::new(Some(access(&[&address], false)));
        let none = Some(Duration::ZERO);
        let options =
            RequestOptions { connect_timeout: none, first_byte_timeout: none, between_bytes_timeout: none };
        let body =
            Full::new(Bytes::new()).map_err(|never: std::convert::Infallible| match never {}).boxed_unsync();
        let request = http::Request::builder().uri(&address).body(body).unwrap();
        let answer = outgoing.send_request(request, Some(options), Box::new(async { Ok(()) }));
        let error = Box::into_pin(answer).await.err();
        assert!(matches!(error, Some(Error::HttpResponseTimeout)), "{error:?}");
    }

    #[test]
    fn a_body_that_nobody_reads_takes_little() {
        let mut outgoing = Outgoing::new(None);
        let (chunks, bytes) =
            (outgoing.p2_outgoing_body_buffer_chunks(), outgoing.p2_outgoing_body_chunk_size());
        let (mut body, _unread) = HostOutgoingBody::new(StreamContext::Request, None, chunks, bytes);
        let mut stream = body.take_output_stream().unwrap();
        let mut taken = 0;
        loop {
            let room = stream.check_write().unwrap();
            if room == 0 {
                break;
            }
            stream.write(vec![0_u8; room].into()).unwrap();
            taken += room;
        }
        let handles = crate::settings::Budget::default().handles;
        assert!(taken > 0 && taken * handles <= 32 << 20, "{taken} bytes");
    }

    #[tokio::test]
    async fn a_long_body_goes_through_in_small_parts() {
        const LONG: usize = 1 << 20;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut got, mut part) = (0, vec![0; 64 << 10]);
            // Its head counts too, so that the end of the body may come after the answer.
            while got < LONG {
                let more = stream.read(&mut part).await.unwrap();
                assert!(more > 0, "only {got} bytes came");
                got += more;
            }
            stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            while stream.read(&mut part).await.is_ok_and(|more| more > 0) {}
        });
        let mut outgoing = Outgoing::new(None);
        let (chunks, bytes) =
            (outgoing.p2_outgoing_body_buffer_chunks(), outgoing.p2_outgoing_body_chunk_size());
        let (mut body, read) = HostOutgoingBody::new(StreamContext::Request, None, chunks, bytes);
        let url = format!("http://127.0.0.1:{port}");
        let request = http::Request::post(format!("{url}/")).body(read).unwrap();
        let local = access(&[&url], false);
        let sent = local.send(request, &outgoing.allowance);
        let written = async {
            let mut stream = body.take_output_stream().unwrap();
            let mut left = LONG;
            while left > 0 {
                let part = stream.write_ready().await.unwrap().min(left);
                stream.write(vec![0_u8; part].into()).unwrap();
                left -= part;
            }
            drop(stream);
            body.finish(None).unwrap();
        };
        let (answer, ()) = tokio::join!(sent, written);
        assert_eq!(answer.unwrap().status(), 201);
        server.await.unwrap();
    }

    #[test]
    fn a_name_keeps_only_addresses_that_may_be_asked() {
        let found = ["127.0.0.1:0", "93.184.216.34:0", "[fe80::1]:0"].map(|text| text.parse().unwrap());
        let kept: Vec<_> = permitted(found.to_vec(), false).unwrap().collect();
        assert_eq!(kept, ["93.184.216.34:0".parse().unwrap()]);
        assert_eq!(permitted(found.to_vec(), true).unwrap().count(), 3);
        assert!(permitted(vec![found[0]], false).is_err());
    }
}
