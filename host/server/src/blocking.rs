//! The one door to the blocking pool: picture codecs, hashing, folder scans.

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
