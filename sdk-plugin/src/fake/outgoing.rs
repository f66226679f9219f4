//! Requests to hosts, which the test answers in a made-up one.

use http::{Request, Response};

use super::ask;
use crate::Fault;

pub(crate) fn send(request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Fault> {
    if !matches!(request.uri().scheme_str(), Some("http" | "https")) {
        return Err(Fault::InvalidInput("The request's address cannot be sent.".into()));
    }
    let web = ask(|state| {
        state.requests.push(request.clone());
        state.web.clone()
    });
    match web {
        Some(answer) => answer(request),
        None => Err(Fault::NotPermitted("The host is not granted.".into())),
    }
}
