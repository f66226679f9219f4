//! Connections: taken in, in plain or over TLS, until the server drains; those under way end with their requests. Knows no
//! route.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Who connects and then says nothing is let go.
const FIRST_REQUEST: Duration = Duration::from_secs(60);

/// A certificate with its key, and the files that they came from.
#[derive(Clone)]
pub(crate) struct Tls {
    config: RustlsConfig,
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// Reads both, in PEM: the certificate first, then those that vouch for it.
    pub(crate) async fn open(certificate: PathBuf, key: PathBuf) -> io::Result<Self> {
        let config = RustlsConfig::from_pem_file(&certificate, &key).await?;
        Ok(Self { config, certificate, key })
    }

    /// Reads them again at every SIGHUP, as certificates are renewed; new connections have the new one.
    pub(crate) async fn follow(self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        while hangup.recv().await.is_some() {
            match self.config.reload_from_pem_file(&self.certificate, &self.key).await {
                Ok(()) => tracing::info!("SIGHUP: the certificate was read again"),
                Err(error) => {
                    tracing::error!(%error, "SIGHUP: the certificate cannot be read; the old one stays");
                }
            }
        }
    }
}

/// Serves until `draining` turns true and the last request is answered.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    routes: Router,
    mut draining: watch::Receiver<bool>,
) -> io::Result<()> {
    let handle = Handle::new();
    let ending = handle.clone();
    // A tokio worker: it waits for the end.
    tokio::spawn(async move {
        // An error means that the sender is gone, which is a shutdown too.
        drop(draining.wait_for(|draining| *draining).await);
        ending.graceful_shutdown(None);
    });
    let listener = listener.into_std()?;
    let failed = |from: Option<&SocketAddr>, error: &io::Error| {
        tracing::debug!(?from, %error, "a connection was not taken in");
    };
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    match tls {
        None => {
            let server = axum_server::from_tcp(listener)?.handle(handle);
            server.first_request_timeout(FIRST_REQUEST).accept_error_handler(failed).serve(service).await
        }
        Some(tls) => {
            let server = axum_server::from_tcp_rustls(listener, tls.config)?.handle(handle);
            server.first_request_timeout(FIRST_REQUEST).accept_error_handler(failed).serve(service).await
        }
    }
}
