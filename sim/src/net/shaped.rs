//! A connection on which bytes come when the weather lets them, and in order.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use turmoil::net::TcpStream;

use super::Weather;

/// No more than this waits to be read: then the sender waits.
const WAITING_MAX: usize = 256;

/// What is read at a time.
const CHUNK: usize = 16 << 10;

/// See the module.
#[derive(Debug)]
pub struct Shaped {
    stream: TcpStream,
    weather: Weather,
    here: IpAddr,
    there: IpAddr,
    /// What has arrived, and when it may be read, in order.
    waiting: VecDeque<(Instant, Bytes)>,
    sleep: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
}

impl Shaped {
    pub(crate) fn new(stream: TcpStream, weather: &Weather) -> io::Result<Self> {
        let (here, there) = (stream.local_addr()?.ip(), stream.peer_addr()?.ip());
        Ok(Self {
            stream,
            weather: weather.clone(),
            here,
            there,
            waiting: VecDeque::new(),
            sleep: None,
            has_ended: false,
        })
    }

    /// Takes in what has arrived. Pending once nothing more has.
    fn take_in(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Of no connection: a hundred nodes have tens of thousands of them.
        let mut space = [MaybeUninit::uninit(); CHUNK];
        while !self.has_ended && self.waiting.len() < WAITING_MAX {
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            let (read, now) = (Bytes::copy_from_slice(buffer.filled()), Instant::now());
            if read.is_empty() {
                self.has_ended = true;
            } else {
                let at = now
                    + self.weather.delay(self.there, self.here, read.len(), turmoil::sim_elapsed().unwrap_or_default());
                let at = self.waiting.back().map_or(at, |(before, _)| at.max(*before));
                self.waiting.push_back((at, read));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Shaped {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(Err(error)) = this.take_in(context) {
            return Poll::Ready(Err(error));
        }
        let Some((at, _)) = this.waiting.front() else {
            return if this.has_ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        if *at > Instant::now() {
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(*at)));
            if sleep.deadline() != *at {
                sleep.as_mut().reset(*at);
            }
            ready!(sleep.as_mut().poll(context));
        }
        if let Some((_, bytes)) = this.waiting.front_mut() {
            let part = bytes.len().min(into.remaining());
            into.put_slice(&bytes[..part]);
            bytes.advance(part);
            if bytes.is_empty() {
                this.waiting.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Shaped {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
