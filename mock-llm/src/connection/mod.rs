//! A connection: which version of HTTP it speaks, and what is sent on it.

mod http1;
mod http2;
mod wire;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::state::State;

/// The first bytes of an HTTP/2 connection (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bodies above this are refused: a mock has no use for them, and its memory is the tests'.
const LONGEST_BODY: usize = 64 << 20;

/// What a connection runs over.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Ends it without a word of TLS: what was sent arrives, and then RST or FIN. It is dropped next.
    ///
    /// To drop it alone is not enough for FIN: with something of the client's unread, the kernel sends RST.
    fn cut(&mut self, reset: bool);
}

impl Transport for TcpStream {
    fn cut(&mut self, reset: bool) {
        // A socket that has ended already needs no end.
        if reset {
            let _ = self.set_zero_linger();
        } else {
            finish(self);
        }
    }
}

/// A Unix socket has no RST.
impl Transport for UnixStream {
    fn cut(&mut self, _: bool) {
        finish(self);
    }
}

impl Transport for TlsStream<TcpStream> {
    fn cut(&mut self, reset: bool) {
        self.get_mut().0.cut(reset);
    }
}

/// Nothing more will be sent. A socket does that at once.
fn finish(socket: &mut (impl AsyncWrite + Unpin)) {
    let _ = Pin::new(socket).poll_shutdown(&mut Context::from_waker(Waker::noop()));
}

/// Answers requests until the connection ends. `number` is the connection's, from 1.
pub(crate) async fn serve<T: Transport>(
    mut transport: T,
    state: Arc<State>,
    number: usize,
) -> io::Result<()> {
    let mut first = BytesMut::with_capacity(4096);
    while PREFACE.starts_with(&first[..first.len().min(PREFACE.len())]) && first.len() < PREFACE.len() {
        if transport.read_buf(&mut first).await? == 0 {
            return Ok(());
        }
    }
    let preface = first.starts_with(PREFACE);
    if preface && state.settings.http2 {
        http2::serve(transport, first, state, number).await
    } else if state.settings.http1 {
        http1::serve(transport, first, state, number).await
    } else {
        Ok(())
    }
}
