//! The lines of a streamed answer, one at a time, in bounded memory.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::{Cause, TransportError};

/// Reads a body by lines. An empty line is skipped.
pub(crate) struct Lines {
    body: Incoming,
    /// What is read and not given out yet.
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line's end.
    scanned: usize,
    line_bytes_max: usize,
}

impl Lines {
    pub(crate) fn new(body: Incoming, line_bytes_max: usize) -> Self {
        Self { body, buffer: BytesMut::new(), scanned: 0, line_bytes_max }
    }

    /// The next line without its end; `None` after the last. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        loop {
            if let Some(line) = self.take_line() {
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.buffer.len() > self.line_bytes_max {
                return Err(Cause::AnswerTooLarge { limit_bytes: self.line_bytes_max });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(Cause::Dropped(TransportError::body(error))),
                None if self.buffer.is_empty() => return Ok(None),
                // A line without its end was cut off.
                None => return Err(Cause::Dropped(TransportError::ended())),
            }
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        match self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
            Some(offset) => {
                let mut line = self.buffer.split_to(self.scanned + offset + 1);
                self.scanned = 0;
                line.truncate(line.len() - 1);
                if line.last() == Some(&b'\r') {
                    line.truncate(line.len() - 1);
                }
                Some(line.freeze())
            }
            None => {
                self.scanned = self.buffer.len();
                None
            }
        }
    }
}

/// Waits for something as long as there is progress elsewhere: gives `None` after `silence` without any.
pub(crate) async fn unless_silent<F: Future>(
    silence: Duration,
    progress: impl Fn() -> u64,
    waited_for: F,
) -> Option<F::Output> {
    let mut waited_for = std::pin::pin!(waited_for);
    let mut seen = progress();
    loop {
        if let Ok(output) = tokio::time::timeout(silence, &mut waited_for).await {
            return Some(output);
        }
        let now = progress();
        if now == seen {
            return None;
        }
        seen = now;
    }
}
