//! One HTTP/1.1 keep-alive connection, one request on it at a time.
//!
//! Why not hyper: the generator shares the machine with the server, and each microsecond it spends a request lowers the
//! measured rate of a fast server and of a slow one alike, so that the ratio of the two drifts towards one. Here a
//! request is a slice of bytes that the workload keeps and patches, and an answer is parsed where it was read to.
//! Measured beside a constant server on two idle cores, cursors on 64 connections, one thread: hyper's connection-level
//! client takes 1.2 times the processor time of this one for a request and hyper-util's pooling client 1.6 times (5.4 and
//! 7.1 µs to 4.4 µs), and the server answers 9 % and 23 % less.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::response::{Malformed, Persistence, Progress, ResponseReader};
use super::target::Target;

/// Something that answers requests one after another.
pub(crate) trait Exchange {
    /// Sends a whole request and returns the whole answer. After a failure the next call starts afresh.
    fn exchange(&mut self, request: &[u8]) -> impl Future<Output = Result<Answer<'_>, Failure>> + Send;
}

/// A whole answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    /// Its HTTP status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: &'a [u8],
    /// Its length in bytes, head and body.
    pub(crate) received: usize,
}

/// Why there is no answer. What became of the request at the server is unknown, except after [`Failure::Connect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection could be made; the request was not sent.
    Connect(io::ErrorKind),
    /// The answer was not whole in time.
    Timeout,
    /// The server closed the connection before the answer was whole.
    Closed,
    /// Reading or writing failed.
    Io(io::ErrorKind),
    /// The answer cannot be read.
    Malformed(Malformed),
}

impl Failure {
    /// What failed, for a report.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Connect(kind) => format!("cannot connect: {kind}"),
            Self::Timeout => "timed out".to_owned(),
            Self::Closed => "connection closed before the answer was whole".to_owned(),
            Self::Io(kind) => format!("connection failed: {kind}"),
            Self::Malformed(malformed) => malformed.describe().to_owned(),
        }
    }
}

/// A connection to a server, made again after each failure.
#[derive(Debug)]
pub(crate) struct Connection {
    target: Arc<Target>,
    stream: Option<TcpStream>,
    reader: ResponseReader,
    deadline: Deadline,
}

impl Connection {
    /// Connects. Each exchange will be given `timeout`, connecting again included.
    pub(crate) async fn open(target: Arc<Target>, timeout: Duration) -> Result<Self, Failure> {
        let mut connection =
            Self { target, stream: None, reader: ResponseReader::default(), deadline: Deadline::new(timeout) };
        connection.stream = Some(connection.connect().await?);
        Ok(connection)
    }

    async fn connect(&mut self) -> Result<TcpStream, Failure> {
        let connecting = TcpStream::connect((self.target.host.as_str(), self.target.port));
        let stream = tokio::time::timeout(self.deadline.timeout, connecting)
            .await
            .map_err(|_| Failure::Connect(io::ErrorKind::TimedOut))?
            .map_err(|error| Failure::Connect(error.kind()))?;
        stream.set_nodelay(true).map_err(|error| Failure::Connect(error.kind()))?;
        Ok(stream)
    }
}

impl Exchange for Connection {
    async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, Failure> {
        self.deadline.arm(Instant::now());
        // The stream is put back only after a whole answer, so a failure drops it and the next exchange connects.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        self.reader.reset();
        let mut unwritten = request;
        let (reader, deadline) = (&mut self.reader, &mut self.deadline);
        poll_fn(|context| poll_exchange(context, &mut stream, &mut unwritten, reader, deadline)).await?;
        if unwritten.is_empty() && self.reader.persistence() == Persistence::KeepAlive {
            self.stream = Some(stream);
        }
        Ok(Answer { status: self.reader.status(), body: self.reader.body(), received: self.reader.received() })
    }
}

/// Reads while it writes: a server that streams its answer to a long batch stops taking lines in when nobody takes its
/// answers out.
fn poll_exchange(
    context: &mut Context<'_>,
    stream: &mut TcpStream,
    unwritten: &mut &[u8],
    reader: &mut ResponseReader,
    deadline: &mut Deadline,
) -> Poll<Result<(), Failure>> {
    while !unwritten.is_empty() {
        match Pin::new(&mut *stream).poll_write(context, unwritten) {
            Poll::Ready(Ok(count)) => *unwritten = &unwritten[count..],
            // A server may refuse a long body and close; its answer can still be read.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Io(error.kind()))),
            Poll::Pending => break,
        }
    }
    loop {
        let mut room = ReadBuf::new(reader.room());
        match Pin::new(&mut *stream).poll_read(context, &mut room) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Io(error.kind()))),
            Poll::Pending => break,
        }
        let count = room.filled().len();
        if count == 0 {
            return Poll::Ready(Err(Failure::Closed));
        }
        match reader.advance(count) {
            Ok(Progress::Partial) => {}
            Ok(Progress::Whole) => return Poll::Ready(Ok(())),
            Err(malformed) => return Poll::Ready(Err(Failure::Malformed(malformed))),
        }
    }
    deadline.poll_passed(context).map(|()| Err(Failure::Timeout))
}

/// A deadline that is moved with each request.
///
/// The runtime's timer is left where it is when the deadline moves on, and moved only when it fires early: once a
/// `timeout` instead of once a request.
#[derive(Debug)]
struct Deadline {
    timeout: Duration,
    at: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    fn new(timeout: Duration) -> Self {
        let at = Instant::now() + timeout;
        Self { timeout, at, sleep: Box::pin(tokio::time::sleep_until(at)) }
    }

    fn arm(&mut self, now: Instant) {
        self.at = now + self.timeout;
    }

    fn poll_passed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(context).is_ready() {
            if self.sleep.deadline() >= self.at {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// Answers each request on each connection with the next of `answers`; `None` closes, an empty one stays silent.
    async fn server(answers: Vec<Option<&'static [u8]>>) -> Arc<Target> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                while stream.read(&mut request).await.unwrap_or(0) > 0 {
                    match answers.next() {
                        Some(Some(answer)) => stream.write_all(answer).await.unwrap(),
                        _ => break,
                    }
                }
            }
        });
        Arc::new(Target::parse(&url, None).unwrap())
    }

    #[tokio::test]
    async fn a_lost_connection_is_made_again() {
        let target = server(vec![Some(OK), None, Some(OK), Some(b"nonsense\r\n\r\n"), Some(OK)]).await;
        let mut connection = Connection::open(target, Duration::from_secs(5)).await.unwrap();
        assert_eq!(connection.exchange(b"x").await.unwrap().body, b"ok");
        assert_eq!(connection.exchange(b"x").await.unwrap_err(), Failure::Closed);
        assert_eq!(connection.exchange(b"x").await.unwrap().status, 200);
        assert_eq!(connection.exchange(b"x").await.unwrap_err(), Failure::Malformed(Malformed::Head));
        assert_eq!(connection.exchange(b"x").await.unwrap().received, OK.len());
    }

    #[tokio::test]
    async fn silence_ends_in_a_timeout() {
        let target = server(vec![Some(OK), Some(b""), Some(OK)]).await;
        let mut connection = Connection::open(target, Duration::from_millis(50)).await.unwrap();
        assert!(connection.exchange(b"x").await.is_ok());
        assert_eq!(connection.exchange(b"x").await.unwrap_err(), Failure::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_holds_for_the_last_request_armed() {
        let start = Instant::now();
        let mut deadline = Deadline::new(Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        deadline.arm(Instant::now());
        poll_fn(|context| deadline.poll_passed(context)).await;
        assert_eq!(start.elapsed().as_secs(), 19);
    }

    #[tokio::test]
    async fn nobody_listening_is_a_failure_to_connect() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let target = Arc::new(Target::parse(&url, None).unwrap());
        let failure = Connection::open(target, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(failure, Failure::Connect(io::ErrorKind::ConnectionRefused));
    }
}
