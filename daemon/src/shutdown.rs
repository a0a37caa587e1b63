//! SIGTERM and SIGINT: the first one drains, the second one ends at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Installs the handlers. Returns what completes at the first signal, and what completes at the second.
///
/// # Errors
/// When a handler cannot be installed.
pub fn signals() -> io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (announce, announced) = oneshot::channel();

    let second = async move {
        next(&mut terminate, &mut interrupt).await;
        // The receiver is gone only if nobody waits for the first signal any more.
        let _ = announce.send(());
        next(&mut terminate, &mut interrupt).await;
    };
    let first = async move {
        // An error means that the other future was dropped, and with it the daemon.
        let _ = announced.await;
    };
    Ok((first, second))
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
