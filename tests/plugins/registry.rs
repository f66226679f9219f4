//! A registry for tests, in this process: a stand-in for a foreign server that knows the parts of the OCI distribution
//! specification which a pull and a push need, misbehaves where a test wants it to, and tells what it was asked.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum_server::tls_rustls::RustlsConfig;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::hex::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const TOKEN: &str = "a-token-of-the-test";

pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// One request that it had.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Method and path.
    pub(super) what: String,
    pub(super) authorization: Option<String>,
}

#[derive(Default)]
pub(super) struct Held {
    host: String,
    blobs: HashMap<String, Vec<u8>>,
    /// By tag and by digest.
    manifests: HashMap<String, (String, Vec<u8>)>,
    /// Files at addresses of their own.
    files: HashMap<String, Vec<u8>>,
    pub(super) asked: Vec<Asked>,
    /// Tags that, once they were asked for, stand for the manifest of that digest.
    pub(super) moves: HashMap<String, String>,
    /// Who alone gets tokens: a name and a password.
    pub(super) account: Option<(String, String)>,
    /// Another server that has the blobs.
    pub(super) blobs_at: Option<String>,
}

/// Serves until the test's process ends.
pub(super) struct Registry {
    /// Host and port.
    pub(super) host: String,
    held: Arc<Mutex<Held>>,
}

impl Registry {
    pub(super) fn start() -> Self {
        let listener = bound();
        let host = listener.local_addr().unwrap().to_string();
        Self::serve(host, move |router, runtime| {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        })
    }

    /// With TLS, as `localhost`; the certificate, which vouches for itself, is left in the folder.
    pub(super) fn start_tls(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        std::fs::write(folder.join("certificate.pem"), &certificate).unwrap();
        let listener = bound();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        Self::serve(host, move |router, runtime| {
            runtime.block_on(async {
                let config = RustlsConfig::from_pem(certificate.into(), key.into()).await.unwrap();
                let server = axum_server::from_tcp_rustls(listener, config).unwrap();
                server.serve(router.into_make_service()).await.unwrap();
            });
        })
    }

    /// The listener takes connections from the moment that it is bound, whenever the thread comes to serve them.
    fn serve(host: String, run: impl FnOnce(Router, &tokio::runtime::Runtime) + Send + 'static) -> Self {
        let held = Arc::new(Mutex::new(Held { host: host.clone(), ..Held::default() }));
        let router =
            Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(held.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            run(router, &runtime);
        });
        Self { host, held }
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap()
    }

    /// A name in its one repository: `:1`, or `@sha256:…`.
    pub(super) fn name(&self, version: &str) -> String {
        format!("oci://{}/plugins/good{version}", self.host)
    }

    /// For a settings file.
    pub(super) fn listed(&self, more: &str) -> String {
        format!("[registries.{:?}]\nplain_http = true\n{more}", self.host)
    }

    /// How often it was asked that.
    pub(super) fn count(&self, what: &str) -> usize {
        self.held().asked.iter().filter(|asked| asked.what == what).count()
    }

    pub(super) fn put_blob(&self, digest: &str, bytes: &[u8]) {
        self.held().blobs.insert(digest.to_owned(), bytes.to_vec());
    }

    pub(super) fn put_file(&self, path: &str, bytes: &[u8]) {
        self.held().files.insert(path.to_owned(), bytes.to_vec());
    }

    /// Returns its digest.
    pub(super) fn put_manifest(&self, tag: &str, manifest: &Value) -> String {
        self.held().put_manifest(tag, MANIFEST, manifest.to_string().as_bytes())
    }

    /// An artifact of the component, with the manifest that `wkg oci push` makes; returns its manifest's digest.
    pub(super) fn put_component(&self, tag: &str, component: &[u8]) -> String {
        self.put_blob(&digest(component), component);
        self.put_manifest(tag, &manifest_of(component))
    }
}

fn bound() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

pub(super) fn manifest_of(component: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": digest(b"{}"), "size": 2},
        "layers": [{"mediaType": "application/wasm", "digest": digest(component), "size": component.len()}],
    })
}

impl Held {
    fn put_manifest(&mut self, version: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        for name in [version, &digest] {
            self.manifests.insert(name.to_owned(), (media_type.to_owned(), bytes.to_vec()));
        }
        digest
    }

    fn token(&self, authorization: Option<&str>) -> Response {
        let (name, password) = self.account.clone().unwrap_or_default();
        let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")));
        if authorization != Some(expected.as_str()) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        axum::Json(json!({"token": TOKEN, "expires_in": 60})).into_response()
    }

    fn manifest(&mut self, version: &str) -> Response {
        let Some((media_type, bytes)) = self.manifests.get(version).cloned() else { return nothing() };
        if let Some(next) = self.moves.remove(version) {
            let next = self.manifests[&next].clone();
            self.manifests.insert(version.to_owned(), next);
        }
        ([(header::CONTENT_TYPE, media_type)], bytes).into_response()
    }

    fn blob(&self, path: &str, digest: &str) -> Response {
        if let Some(elsewhere) = &self.blobs_at {
            let place = format!("http://{elsewhere}{path}");
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, place)]).into_response();
        }
        self.blobs.get(digest).map_or_else(nothing, |bytes| bytes.clone().into_response())
    }

    fn take_blob(&mut self, query: &str, bytes: &[u8]) -> Response {
        let named = query.strip_prefix("digest=").unwrap_or_default().replace("%3A", ":");
        if named != digest(bytes) {
            return StatusCode::BAD_REQUEST.into_response();
        }
        self.blobs.insert(named, bytes.to_vec());
        StatusCode::CREATED.into_response()
    }
}

fn nothing() -> Response {
    let told = json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "there is nothing of that name"}]});
    (StatusCode::NOT_FOUND, axum::Json(told)).into_response()
}

async fn answer(
    State(held): State<Arc<Mutex<Held>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut held = held.lock().unwrap();
    let path = uri.path().to_owned();
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    held.asked.push(Asked { what: format!("{method} {path}"), authorization: authorization.clone() });
    if path == "/token" {
        return held.token(authorization.as_deref());
    }
    if held.account.is_some() && authorization != Some(format!("Bearer {TOKEN}")) {
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"a test\"", held.host);
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, realm)]).into_response();
    }
    let within = path.strip_prefix("/v2/plugins/good/").unwrap_or_default();
    let query = uri.query().unwrap_or_default();
    match (method.as_str(), within.split_once('/')) {
        ("POST", Some(("blobs", "uploads/"))) => {
            (StatusCode::ACCEPTED, [(header::LOCATION, format!("{path}1"))]).into_response()
        }
        ("PUT", Some(("blobs", "uploads/1"))) => held.take_blob(query, &body),
        ("PUT", Some(("manifests", version))) => {
            let media_type = headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
            held.put_manifest(version, &media_type, &body);
            StatusCode::CREATED.into_response()
        }
        ("GET", Some(("manifests", version))) => held.manifest(version),
        ("GET", Some(("blobs", digest))) => held.blob(&path, digest),
        ("GET", None) => held.files.get(&path).map_or_else(nothing, |bytes| bytes.clone().into_response()),
        _ => nothing(),
    }
}
