//! Requests over `wasi:http/outgoing-handler`. Follows no redirect and keeps no connection.

use http::{HeaderName, HeaderValue, Request, Response};

use crate::Fault;
use crate::bindings::outgoing::wasi::http::outgoing_handler;
use crate::bindings::outgoing::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use crate::bindings::outgoing::wasi::io::streams::StreamError;

const READ_BYTES: u64 = 64 << 10;
/// What `blocking-write-and-flush` takes at most, by its definition in `wasi:io`.
const WRITE_BYTES: usize = 4096;

pub(crate) fn send(request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Fault> {
    let wrong = |what: &str| Fault::InvalidInput(format!("The request's {what} cannot be sent."));
    let entries: Vec<_> =
        request.headers().iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let outgoing = OutgoingRequest::new(Fields::from_list(&entries).map_err(|_| wrong("header fields"))?);
    outgoing.set_method(&method(request.method())).map_err(|()| wrong("method"))?;
    let scheme = match request.uri().scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err(wrong("address")),
    };
    outgoing.set_scheme(Some(&scheme)).map_err(|()| wrong("address"))?;
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    outgoing.set_authority(authority).map_err(|()| wrong("address"))?;
    let path = request.uri().path_and_query().map(http::uri::PathAndQuery::as_str);
    outgoing.set_path_with_query(path).map_err(|()| wrong("address"))?;
    let body = outgoing.body().map_err(|()| wrong("body"))?;
    let answer = outgoing_handler::handle(outgoing, None).map_err(|code| fault(&code))?;
    if !request.body().is_empty() {
        let sink = body.write().map_err(|()| wrong("body"))?;
        let parts = request.body().chunks(WRITE_BYTES);
        for part in parts {
            sink.blocking_write_and_flush(part).map_err(|_| wrong("body"))?;
        }
    }
    OutgoingBody::finish(body, None).map_err(|code| fault(&code))?;

    answer.subscribe().block();
    let gone = || Fault::Unavailable("The host gave no answer.".into());
    let incoming = answer.get().and_then(Result::ok).ok_or_else(gone)?.map_err(|code| fault(&code))?;
    let mut response = Response::builder().status(incoming.status());
    for (name, value) in incoming.headers().entries() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response = response.header(name, value);
        }
    }
    let body = read(&incoming.consume().map_err(|()| gone())?)?;
    response.body(body).map_err(|error| Fault::Unavailable(format!("The answer cannot be read: {error}.")))
}

fn read(body: &IncomingBody) -> Result<Vec<u8>, Fault> {
    let broke_off = || Fault::Unavailable("The answer broke off.".into());
    let stream = body.stream().map_err(|()| broke_off())?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(part) => bytes.extend_from_slice(&part),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(_)) => return Err(broke_off()),
        }
    }
}

fn method(method: &http::Method) -> Method {
    match method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_owned()),
    }
}

fn fault(code: &ErrorCode) -> Fault {
    match code {
        ErrorCode::HttpRequestDenied => Fault::NotPermitted("The host is not granted.".into()),
        ErrorCode::DestinationIpProhibited => {
            Fault::NotPermitted("The host's address is in a private network.".into())
        }
        ErrorCode::ConnectionLimitReached => {
            Fault::LimitExceeded("The call has sent as many requests as it may.".into())
        }
        ErrorCode::HttpResponseBodySize(_) | ErrorCode::HttpResponseHeaderSectionSize(_) => {
            Fault::LimitExceeded("The answer is too large.".into())
        }
        ErrorCode::HttpRequestUriInvalid => Fault::InvalidInput("The address is none.".into()),
        code => Fault::Unavailable(format!("The host cannot be asked ({code:?}).")),
    }
}
