//! One HTTP request through a plugin's `wasi:http/incoming-handler`. Called by the host handle with a path whose
//! prefix is already cut. Credentials stop here; the answer is bounded.

use crate::call::{Failure, Runner, Work};
use crate::error::{FailureKind, HookError};
use crate::interfaces::CallState;
use crate::settings::CallContext;
use crate::table::Entry;
use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// Fields that belong to the server and its client, not to a plugin.
const STRIPPED: [HeaderName; 4] =
    [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, HeaderName::from_static("x-api-key")];

pub(crate) async fn handle(
    entry: &Entry,
    runner: &Runner,
    context: &CallContext,
    mut request: http::Request<Bytes>,
) -> Result<http::Response<Bytes>, HookError> {
    let Some((loaded, pre)) = entry.http() else {
        return Err(HookError::NotFound { plugin: entry.id.clone() });
    };
    for name in STRIPPED {
        request.headers_mut().remove(name);
    }
    if request.uri().authority().is_none() && !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    }
    let (pre, most) = (pre.clone(), runner.budget().http_body_bytes);
    let work = move |mut store: Store<CallState>| -> Work<http::Response<Bytes>> {
        Box::pin(async move {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let mut view = store.data_mut().http();
            let request = view.new_incoming_request(Scheme::Http, request.map(Full::new))?;
            let outparam = view.new_response_outparam(sender)?;
            let guest = pre.instantiate_async(&mut store).await?;
            // Owns the store: once the guest is done, the sender goes with it and the other side learns that no
            // response will come.
            let guest_side = async move {
                guest.wasi_http_incoming_handler().call_handle(&mut store, request, outparam).await?;
                Ok::<(), Failure>(())
            };
            // A trap is the better explanation where both sides fail, hence the order.
            let ((), response) = tokio::try_join!(biased; guest_side, collect(receiver, most))?;
            Ok::<_, Failure>(response)
        })
    };
    runner.run(&entry.shared, loaded, "http", context, work).await
}

type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

async fn collect(
    receiver: tokio::sync::oneshot::Receiver<Answer>,
    most: usize,
) -> Result<http::Response<Bytes>, Failure> {
    let response = match receiver.await {
        Ok(Ok(response)) => response,
        Ok(Err(code)) => {
            return Err(Failure::Named(FailureKind::Fault, format!("it answered with the error {code:?}")));
        }
        Err(_) => {
            return Err(Failure::Named(FailureKind::NoResponse, "it finished without a response".to_owned()));
        }
    };
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(|error| {
        let text = if error.is::<LengthLimitError>() {
            format!("its response body has more than {most} bytes")
        } else {
            format!("its response body broke off: {error}")
        };
        Failure::Named(FailureKind::BadReturn, text)
    })?;
    Ok(http::Response::from_parts(parts, body.to_bytes()))
}
