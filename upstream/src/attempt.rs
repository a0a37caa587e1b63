//! A connection in the making.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::SendError;
use crate::dial::Fresh;
use crate::http1::{Fresh1, Http1};
use crate::http2::{Driver, Fresh2};
use crate::ledger::{Entry, Lease};
use crate::link::Link;
use crate::pool::{Pool, interrupted};

/// A connection that is being made, for whoever waits when it is there.
pub(crate) struct Attempt {
    pool: Arc<Pool>,
    is_over: bool,
}

impl Attempt {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, is_over: false }
    }

    pub(crate) async fn run(mut self) {
        match self.pool.dialler.dial().await {
            Ok(fresh) => self.succeeded(fresh),
            Err(error) => {
                tracing::debug!(error = %error, "no connection");
                self.failed(&error);
            }
        }
    }

    /// Takes the connection in. Its task begins when the ledger is free again, see [`Pool::dial`].
    fn succeeded(&mut self, fresh: Fresh) {
        self.is_over = true;
        let pool = &self.pool;
        let mut ledger = pool.lock();
        ledger.dialling -= 1;
        if ledger.is_closed {
            return;
        }
        let id = ledger.number();
        let link =
            |traffic| Arc::new(Link { id, pool: Arc::clone(pool), traffic, silent: AtomicBool::new(false) });
        pool.open.fetch_add(1, Ordering::Relaxed);
        match fresh {
            Fresh::Http2(fresh) => {
                let Fresh2 { sender, connection, traffic, limit } = *fresh;
                let link = link(traffic);
                let idle_since = Instant::now();
                ledger.capacity = limit.min(pool.settings().streams_per_connection.max(1));
                ledger.connections.push(Entry {
                    id,
                    link: Arc::clone(&link),
                    sender,
                    limit,
                    active: 0,
                    idle_since,
                });
                pool.serve_or_dial(ledger);
                tokio::spawn(Driver::new(connection, limit, link));
            }
            Fresh::Http1(fresh) => {
                let Fresh1 { sender, connection, traffic } = *fresh;
                ledger.capacity = 1;
                ledger.http1_open += 1;
                let waiter = ledger.waiters.pop_first();
                let dials = pool.dials_needed(&mut ledger);
                drop(ledger);
                pool.dial(dials);
                let open = Open1(Arc::clone(pool));
                let driver = tokio::spawn(async move {
                    let _open = open;
                    // Its exchange has the error.
                    let _ = connection.await;
                });
                let connection = Http1::new(sender, driver.abort_handle(), link(traffic));
                let unwanted = match waiter {
                    Some((_, waiter)) => waiter.answer.send(Ok(Lease::Http1(connection))).err(),
                    None => Some(Ok(Lease::Http1(connection))),
                };
                if let Some(Ok(Lease::Http1(connection))) = unwanted {
                    pool.put_back(connection);
                }
            }
        }
    }

    /// Tells those that the connection was for: all whom no other dial can serve, the longest waiting first.
    fn failed(&mut self, error: &SendError) {
        self.is_over = true;
        self.pool.dial_failures.fetch_add(1, Ordering::Relaxed);
        let mut failed = Vec::new();
        {
            let mut ledger = self.pool.lock();
            ledger.dialling -= 1;
            while ledger.waiters.len() > ledger.dialling * ledger.capacity {
                let Some((_, waiter)) = ledger.waiters.pop_first() else { break };
                failed.push(waiter.answer);
            }
        }
        for answer in failed {
            let _ = answer.send(Err(error.clone()));
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_over {
            self.failed(&interrupted(&Arc::clone(&self.pool)));
        }
    }
}

/// Counts an HTTP/1.1 connection while its task lives.
struct Open1(Arc<Pool>);

impl Drop for Open1 {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.lock().http1_open -= 1;
    }
}
