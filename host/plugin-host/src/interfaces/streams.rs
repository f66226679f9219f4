//! A guest's standard output and standard error, as lines of the plugin's log. A full budget drops text instead of
//! failing the write: a chatty guest loses words, not its call.

use super::CallLog;
use crate::log::LogLevel;
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes a guest may write at once; also the longest unfinished line that is held.
const PERMIT: usize = 4096;

#[derive(Clone)]
pub(super) struct LogStream {
    log: Arc<CallLog>,
    is_error: bool,
    unfinished: Arc<Mutex<Vec<u8>>>,
}

impl LogStream {
    pub(super) fn output(log: Arc<CallLog>) -> Self {
        Self { log, is_error: false, unfinished: Arc::default() }
    }

    pub(super) fn error(log: Arc<CallLog>) -> Self {
        Self { log, is_error: true, unfinished: Arc::default() }
    }

    fn line(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        if self.is_error {
            self.log.error_line(&text);
        } else {
            self.log.guest_line(LogLevel::Info, &text);
        }
    }

    fn accept(&self, bytes: &[u8]) {
        let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        for &byte in bytes {
            if byte == b'\n' || unfinished.len() == PERMIT {
                self.line(&unfinished);
                unfinished.clear();
            }
            if byte != b'\n' {
                unfinished.push(byte);
            }
        }
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        // The last handle writes what no newline ended.
        if Arc::strong_count(&self.unfinished) == 1 && !unfinished.is_empty() {
            self.line(&unfinished);
            unfinished.clear();
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.accept(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.accept(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
