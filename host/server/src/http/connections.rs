//! Connections: taken in, in plain or over TLS, until the server drains; those under way end with their requests. Knows no
//! route.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{AddrListener, Address, Handle, Server};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, watch};

/// Who connects and then says nothing is let go.
const FIRST_REQUEST: Duration = Duration::from_secs(60);
/// How long a connection that was taken in last has for its request, when the server drains.
const LAST_REQUEST: Duration = Duration::from_millis(200);

/// Connections that the system may have queued; those behind them are cut off.
const QUEUE_MAX: usize = 4096;

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
    draining: watch::Receiver<bool>,
) -> io::Result<()> {
    let handle = Handle::new();
    let (ending, mut over) = (handle.clone(), draining.clone());
    // A tokio worker: it waits for the end.
    tokio::spawn(async move {
        // An error means that the sender is gone, which is a shutdown too.
        drop(over.wait_for(|draining| *draining).await);
        tokio::time::sleep(LAST_REQUEST).await;
        ending.graceful_shutdown(None);
    });
    let server = Server::from_listener(Door::new(listener, draining)?).handle(handle);
    let server = server.first_request_timeout(FIRST_REQUEST).accept_error_handler(
        |from: Option<&Peer>, error: &io::Error| {
            match from {
                // Often a scanner, or a client that does not trust the certificate.
                Some(Peer(address)) => tracing::debug!(%address, %error, "a connection was not taken in"),
                None => tracing::warn!(%error, "no connection can be taken in; trying again"),
            }
        },
    );
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    match tls {
        None => server.serve(service).await,
        Some(tls) => server.acceptor(RustlsAcceptor::new(tls.config)).serve(service).await,
    }
}

/// The listening port. When the server drains it takes in who has connected by then, and closes: from then on nobody connects,
/// and who did has a moment for their request.
struct Door {
    address: SocketAddr,
    state: Mutex<State>,
    draining: watch::Receiver<bool>,
}

enum State {
    Open(TcpListener),
    Closed { taken_last: VecDeque<(TcpStream, SocketAddr)> },
}

impl Door {
    fn new(listener: TcpListener, draining: watch::Receiver<bool>) -> io::Result<Self> {
        Ok(Self { address: listener.local_addr()?, state: Mutex::new(State::Open(listener)), draining })
    }
}

impl AddrListener<TcpStream, Peer> for Door {
    async fn bind_to(Peer(address): Peer) -> io::Result<Self> {
        // Never drains.
        let (_, draining) = watch::channel(false);
        Self::new(TcpListener::bind(address).await?, draining)
    }

    async fn accept_stream(&self) -> io::Result<(TcpStream, Peer)> {
        let mut state = self.state.lock().await;
        if let State::Open(listener) = &*state {
            let mut draining = self.draining.clone();
            tokio::select! {
                accepted = listener.accept() => {
                    return accepted.map(|(stream, address)| (stream, Peer(address)));
                }
                Ok(_) = draining.wait_for(|draining| *draining) => {}
            }
            let open = std::mem::replace(&mut *state, State::Closed { taken_last: VecDeque::new() });
            if let (State::Open(listener), State::Closed { taken_last }) = (open, &mut *state) {
                let listener = listener.into_std()?;
                // The system's own queue, to its end.
                for _ in 0..QUEUE_MAX {
                    match listener.accept() {
                        Ok((stream, address)) => {
                            let stream =
                                stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                            taken_last.extend(stream.ok().map(|stream| (stream, address)));
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        // One that has gone already; the next may still be there.
                        Err(_) => {}
                    }
                }
            }
        }
        if let State::Closed { taken_last } = &mut *state
            && let Some((stream, address)) = taken_last.pop_front()
        {
            return Ok((stream, Peer(address)));
        }
        std::future::pending().await
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        Ok(Peer(self.address))
    }
}

/// Where a connection came from.
#[derive(Debug, Clone)]
struct Peer(SocketAddr);

impl Address for Peer {
    type Stream = TcpStream;
    type Listener = Door;
}

impl Connected<Peer> for SocketAddr {
    fn connect_info(Peer(address): Peer) -> Self {
        address
    }
}
