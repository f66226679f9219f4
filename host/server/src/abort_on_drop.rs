//! A task that ends with whoever waits for it.

use tokio::task::JoinHandle;

/// Aborts its task when it is dropped, done or not.
pub(crate) struct AbortOnDrop<T>(pub(crate) JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
