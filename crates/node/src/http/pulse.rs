//! Signs of life of a connection.
//!
//! The one idea: whatever a live connection is for, a request's head comes in or the node writes now and then. An answer
//! is written, a stream of events has a heartbeat, a wait ends within a minute, a batch is answered while it comes in. So
//! one count of both tells idle connections, heads that never end, and clients that do not read, all three, at the cost
//! of an addition; the HTTP library's own timeout sets a timer for each request, and knows only heads.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time;

use crate::environment::Stream;

/// How long a new connection may take to send the head of its first request.
const FIRST_HEAD_MAX: Duration = Duration::from_secs(10);

/// How often the signs are looked at.
const LOOK: Duration = Duration::from_secs(15);

/// Looks without a sign after which a connection is given up, 105 to 120 seconds after the last one. More than any
/// answer is silent (the longest is that of a batch whose line comes after 30 seconds and waits 60 more for its tenant's
/// rate), and more than the 60 seconds after which common load balancers close what is idle: closing first, the node
/// would now and then meet a request on its way.
const SILENT_LOOKS_MAX: u32 = 8;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    asked: AtomicBool,
    /// Heads that came and writes that were made.
    signs: AtomicU64,
}

impl Pulse {
    /// The head of a request has come.
    pub(crate) fn asked(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.sign();
    }

    fn sign(&self) {
        self.signs.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends when the connection is to be given up.
    pub(crate) async fn lost(&self) {
        time::sleep(FIRST_HEAD_MAX).await;
        if !self.asked.load(Ordering::Relaxed) {
            return;
        }
        let mut seen = 0;
        let mut silent = 0;
        while silent < SILENT_LOOKS_MAX {
            time::sleep(LOOK).await;
            let signs = self.signs.load(Ordering::Relaxed);
            silent = if signs == seen { silent + 1 } else { 0 };
            seen = signs;
        }
    }
}

/// A stream whose writes are counted.
pub(crate) struct Counted {
    stream: Box<dyn Stream>,
    pulse: Arc<Pulse>,
}

impl Counted {
    pub(crate) fn new(stream: Box<dyn Stream>, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse }
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.pulse.sign();
        }
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
