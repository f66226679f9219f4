//! The one door to the blocking pool: picture codecs, base64, hashing, folder scans.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::error::AppError;

/// Runs `work` on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AppError> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|error| AppError::Internal(format!("a background computation failed: {error}")))
}

/// A file in base64. Pictures are large, and whom else the thread serves would wait.
pub(crate) async fn base64_of(file: impl AsRef<[u8]> + Send + 'static) -> Result<String, AppError> {
    blocking(move || BASE64_STANDARD.encode(file)).await
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// Whether `work` waits for a thread of the pool; it is carried out to its end.
    pub(crate) fn needs_the_pool(work: impl Future<Output = ()>) -> bool {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (go, held) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || held.recv().ok());
            let mut work = std::pin::pin!(work);
            let waits = tokio::time::timeout(Duration::from_millis(100), &mut work).await.is_err();
            drop(go);
            if waits {
                work.await;
            }
            busy.await.unwrap();
            waits
        })
    }

    #[test]
    fn base64_is_made_in_the_pool() {
        assert!(needs_the_pool(async { assert_eq!(base64_of(vec![0_u8; 3]).await.unwrap(), "AAAA") }));
        assert!(!needs_the_pool(async {}));
    }
}
