//! Requests to hosts that the admin granted. Bodies are whole; a redirect is an answer like any other, and whoever follows it
//! asks again. A plugin that calls this imports `wasi:http/outgoing-handler`, and does not load until a host is granted.

use http::{Request, Response};

use crate::Fault;
use crate::host::outgoing as host;

#[cfg(target_family = "wasm")]
pub(crate) mod wasi;

/// Sends a request and waits for the whole answer, whatever its status.
///
/// # Errors
/// [`Fault::InvalidInput`] for what is no request, [`Fault::NotPermitted`] for a host or an address that may not be asked,
/// [`Fault::LimitExceeded`] for too many requests or an answer that is too large, else [`Fault::Unavailable`].
pub fn send(request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Fault> {
    host::send(request)
}
