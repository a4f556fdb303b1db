//! What is left of a request's body once its answer is ready.
//!
//! The one idea: a client that is still sending when its connection is closed sees a broken pipe, and not the answer. So
//! what a handler did not read is read on for a while, and thrown away, before the answer goes out. It is the one place
//! that does so: a handler that refuses a request just drops the body, which then comes back here.
//!
//! Bodies that came along with their heads, as most do, are left alone, so they cost nothing. So are those of clients
//! that ask first, with `Expect: 100-continue`, and were not told to go on; and what an answer still reads from while it
//! is sent, as that of a batch does.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time;

/// A body of so many bytes comes along with its head. Half the first buffer of the HTTP library, which by itself throws
/// away what is in there.
const ALONG_BYTES_MAX: u64 = 4 * 1024;

/// What is read on at most: as much again as what is refused for its size, several times over.
const DRAIN_BYTES_MAX: usize = 8 << 20;

/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// A body that comes back where it is dropped before its end.
pub(crate) struct Watched<B> {
    /// `None` once it has gone back.
    body: Option<B>,
    is_awaited: bool,
    has_ended: bool,
    back: Option<oneshot::Sender<B>>,
}

/// Where a body comes back to, if it does.
pub(crate) struct Leftover<B>(Option<oneshot::Receiver<B>>);

/// Watches the body of a request.
pub(crate) fn watch<B: Body + Unpin>(request: Request<B>) -> (Request<Watched<B>>, Leftover<B>) {
    let (head, body) = request.into_parts();
    let is_along = body.is_end_stream() || body.size_hint().exact().is_some_and(|bytes| bytes <= ALONG_BYTES_MAX);
    let (back, leftover) = if is_along {
        (None, None)
    } else {
        let (back, leftover) = oneshot::channel();
        (Some(back), Some(leftover))
    };
    let is_awaited = head.headers.contains_key(header::EXPECT);
    let watched = Watched { body: Some(body), is_awaited, has_ended: false, back };
    (Request::from_parts(head, watched), Leftover(leftover))
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        // Once it is read from, whoever sends it is told to go on.
        self.is_awaited = false;
        self.has_ended |= matches!(frame, Poll::Ready(None | Some(Err(_))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        if let (Some(back), Some(body), false) = (self.back.take(), self.body.take(), self.is_awaited || self.has_ended)
        {
            // An answer that was read from while it was sent has nobody who waits for the rest.
            let _ = back.send(body);
        }
    }
}

impl<B: Body + Unpin> Leftover<B> {
    /// Reads on what has come back, within its bounds.
    pub(crate) async fn drain(self) {
        if let Some(Ok(body)) = self.0.map(|mut leftover| leftover.try_recv()) {
            // Past the deadline, the client has had its chance.
            let _ = time::timeout(DRAIN_TIME_MAX, drain(body)).await;
        }
    }
}

async fn drain<B: Body + Unpin>(mut body: B) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, Buf::remaining);
        if drained > DRAIN_BYTES_MAX {
            break;
        }
    }
}
