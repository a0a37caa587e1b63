//! Waiting for a condition, as tests do.

use std::future::Future;
use std::time::Duration;

use tokio::sync::Notify;

/// How long a test waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until a condition holds, which is looked at after each change.
pub(crate) async fn holds(changed: &Notify, condition: impl Fn() -> bool) {
    loop {
        // Registered before the look, so that no change falls between look and wait.
        let change = changed.notified();
        tokio::pin!(change);
        change.as_mut().enable();
        if condition() {
            return;
        }
        change.await;
    }
}

/// Whether it came to pass in time.
pub(crate) async fn in_time(waiting: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(PATIENCE, waiting).await.is_ok()
}
