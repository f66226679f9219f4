//! One HTTP request through a plugin's `wasi:http/incoming-handler` or `handle`. Called by the host handle with a path whose
//! prefix is already cut. Credentials stop here; the answer is bounded.

use crate::call::{Failure, Runner, Work};
use crate::error::{FailureKind, HookError};
use crate::hooks::failed;
use crate::interfaces::gesso::plugin::types::Fault;
use crate::interfaces::http_handler::{self, HttpHandlerPre};
use crate::interfaces::{CallState, FIELD_BYTES};
use crate::load::Http;
use crate::settings::CallContext;
use crate::table::Entry;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST,
    HeaderName, HeaderValue, PROXY_AUTHORIZATION, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING,
    UPGRADE,
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
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
    // One that is no text would fail the call, which is none of the plugin's doing.
    let host = request.headers().get(HOST).filter(|host| host.to_str().is_ok());
    if request.uri().authority().is_none() && host.is_none() {
        request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    }
    let most = loaded.budgets.hook.http_body_bytes;
    let work: Box<dyn FnOnce(Store<CallState>) -> Work<http::Response<Bytes>> + Send> = match pre.clone() {
        Http::Wasi(pre) => Box::new(move |store| Box::pin(through_wasi(pre, store, request, most))),
        Http::Plain(pre) => Box::new(move |store| Box::pin(through_plain_data(pre, store, request, most))),
    };
    let answer = runner.run(&entry.shared, loaded, ("http", &loaded.budgets.hook), context, work).await;
    answer.map(|mut answer| {
        keep_to_its_own(answer.headers_mut(), entry.granted.own_origin);
        answer
    })
}

async fn through_wasi(
    pre: ProxyPre<CallState>,
    mut store: Store<CallState>,
    request: http::Request<Bytes>,
    most: usize,
) -> Result<http::Response<Bytes>, Failure> {
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
    Ok(response)
}

async fn through_plain_data(
    pre: HttpHandlerPre<CallState>,
    mut store: Store<CallState>,
    request: http::Request<Bytes>,
    most: usize,
) -> Result<http::Response<Bytes>, Failure> {
    let guest = pre.instantiate_async(&mut store).await?;
    let (parts, body) = request.into_parts();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let request = http_handler::Request {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body.into(),
    };
    match guest.call_handle(&mut store, &request).await? {
        Ok(response) => answer(response, most),
        Err(Fault::InvalidInput(reason)) => {
            let body = serde_json::json!({ "error": crate::log::tidy(&reason, 1024) }).to_string();
            let json = [("content-type".to_owned(), "application/json".to_owned())];
            answer(http_handler::Response { status: 400, headers: json.into(), body: body.into() }, most)
        }
        Err(fault) => Err(failed(fault)),
    }
}

/// Fields that say how an answer travels, which is the server's to decide: a length that is not that of the body would have
/// the client wait, or take the next answer's beginning for the rest of this one.
const FRAMING: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE];

/// Fields that speak to browsers for every page of the server, or to a proxy before it, for which no plugin speaks. Which pages of
/// other sites may read answers (`access-control-…`) is the server's setting.
const FOR_THE_SERVER: [HeaderName; 10] = [
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("alt-svc"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("set-cookie2"),
    HeaderName::from_static("x-accel-redirect"),
    HeaderName::from_static("x-sendfile"),
];

/// A page of a plugin may run its scripts, but to the browser it is from nowhere: it reads nothing of the server's, and changes
/// nothing in the name of who looks at it. Policies add up, so that the plugin's own can only be stricter.
const SANDBOX: &str = "sandbox allow-scripts allow-forms allow-downloads allow-popups";

/// Takes out of an answer what is not the plugin's to say.
fn keep_to_its_own(headers: &mut HeaderMap, has_origin: bool) {
    for name in FOR_THE_SERVER {
        headers.remove(name);
    }
    let others: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
    for name in others {
        headers.remove(name);
    }
    if !has_origin {
        headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    }
}

fn answer(response: http_handler::Response, most: usize) -> Result<http::Response<Bytes>, Failure> {
    let wrong = |text: String| Failure::Named(FailureKind::BadReturn, text);
    if response.body.len() > most {
        return Err(wrong(format!("its response body has more than {most} bytes")));
    }
    let status = http::StatusCode::from_u16(response.status).map_err(|_| no_answer(response.status))?;
    check_status(status)?;
    let mut answer = http::Response::new(Bytes::from(response.body));
    *answer.status_mut() = status;
    let mut bytes = 0;
    for (name, value) in response.headers {
        bytes += name.len() + value.len();
        if bytes > FIELD_BYTES {
            return Err(wrong(format!("its response has more than {FIELD_BYTES} bytes of header fields")));
        }
        let field = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
        let (name, value) = field
            .ok_or_else(|| wrong(format!("it answered with the header field {name:?}, which is none")))?;
        if !FRAMING.contains(&name) {
            answer.headers_mut().append(name, value);
        }
    }
    answer.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    Ok(answer)
}

/// An answer comes after what 1xx announce, and 101 would make the connection the plugin's.
fn check_status(status: http::StatusCode) -> Result<(), Failure> {
    if status.is_informational() { Err(no_answer(status.as_u16())) } else { Ok(()) }
}

fn no_answer(status: u16) -> Failure {
    let text = format!("it answered with {status}, which is no status of an answer");
    Failure::Named(FailureKind::BadReturn, text)
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
    let (mut parts, body) = response.into_parts();
    check_status(parts.status)?;
    for name in FRAMING {
        parts.headers.remove(name);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, headers: &[(&str, &str)]) -> Result<http::Response<Bytes>, String> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let response = http_handler::Response { status, headers, body: vec![1, 2, 3] };
        answer(response, 3).map_err(|failure| match failure {
            Failure::Named(_, text) => text,
            _ => "another failure".to_owned(),
        })
    }

    #[test]
    fn fields_pass_but_not_those_that_say_how_an_answer_travels() {
        let fields =
            [("x-mark", "a"), ("X-Mark", "b"), ("Content-Length", "9"), ("transfer-encoding", "chunked")];
        let answer = answered(201, &fields).unwrap();
        let marks: Vec<_> = answer.headers().get_all("x-mark").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!((answer.status().as_u16(), marks), (201, vec![b"a".as_slice(), b"b"]));
        assert_eq!(answer.headers().len(), 3, "{:?}", answer.headers());
    }

    #[test]
    fn a_plugin_speaks_for_itself_alone() {
        let said = |has_origin: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("x-mark", "a"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("service-worker-allowed", "/"),
                ("clear-site-data", "\"*\""),
                ("strict-transport-security", "max-age=1"),
                ("access-control-allow-origin", "*"),
                ("access-control-allow-credentials", "true"),
                ("content-security-policy", "default-src 'self'"),
            ] {
                headers.append(name, HeaderValue::from_static(value));
            }
            keep_to_its_own(&mut headers, has_origin);
            let said = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            let mut said: Vec<_> = said.collect();
            said.sort();
            said
        };
        let (own, mark) = ("content-security-policy: default-src 'self'", "x-mark: a");
        assert_eq!(said(true), [own, mark]);
        let sandbox = format!("content-security-policy: {SANDBOX}");
        assert_eq!(said(false), [own, &sandbox, mark]);
    }

    #[test]
    fn what_is_no_answer_is_the_plugins_failure() {
        assert!(answered(99, &[]).unwrap_err().contains("99"));
        assert!(answered(101, &[]).unwrap_err().contains("no status of an answer"));
        assert!(answered(200, &[("a b", "x")]).unwrap_err().contains("\"a b\""));
        assert!(answered(200, &[("a", "x\r\nset-cookie: y")]).unwrap_err().contains("\"a\""));
        assert!(answered(200, &[("a", &"x".repeat(FIELD_BYTES))]).unwrap_err().contains("header fields"));
        let long = http_handler::Response { status: 200, headers: Vec::new(), body: vec![0; 4] };
        assert!(answer(long, 3).is_err());
    }
}
