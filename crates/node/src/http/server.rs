//! Connections: accepted while there is room, given up where the client dawdles, ended gently when the node stops.
//!
//! Bodies have deadlines of their own, in [`super::extract`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time;

use super::app::App;
use super::middleware::Api;
use super::pulse::{Counted, Pulse};
use super::rarely::Rarely;
use super::routes::stopped;
use crate::environment::{DateHeader, Listener, Stream};
use crate::tasks::connections::Connections;

/// Bytes of a connection's read buffer, which a head has to fit into: the longest URI and as much again for headers, or
/// 431.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// How long to let things settle where no connection can be accepted: mostly, for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What serves the connections of a node.
pub(crate) struct Server {
    pub(crate) api: Api,
    pub(crate) app: App,
    pub(crate) date_header: DateHeader,
    /// How long requests may take to finish once the node stops.
    pub(crate) grace: Duration,
}

/// Serves until the node stops and the last connection has ended, or the grace has.
pub(crate) async fn serve(mut listener: Box<dyn Listener>, server: Server, connections_max: usize) {
    let mut connections = Connections::new(connections_max);
    let mut stopping = server.app.stopping.clone();
    loop {
        // Stopping comes first: a busy listener must not keep the node from it.
        let room = tokio::select! {
            biased;
            () = stopped(&mut stopping) => break,
            room = connections.room() => room,
        };
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stopping) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(stream) => connections.spawn(room, server.connection(stream)),
            Err(error) => pause(&error).await,
        }
    }
    drop(listener);
    let cut_off = connections.finish(server.grace).await;
    if cut_off > 0 {
        tracing::warn!(cut_off, "connections were cut off: their requests outlasted the grace");
    }
}

/// What a client did to its own connection is no reason to pause.
async fn pause(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    tracing::error!(%error, "no connection can be accepted");
    time::sleep(ACCEPT_RETRY).await;
}

/// Why a connection ends that has not ended by itself.
enum End {
    /// The node stops.
    Stopping,
    /// Nothing is heard of the client.
    Lost,
}

impl Server {
    fn connection(&self, stream: Box<dyn Stream>) -> impl Future<Output = ()> + Send + 'static {
        let open = self.app.metrics.connection();
        let api = self.api.clone();
        let mut stopping = self.app.stopping.clone();
        let pulse = Arc::new(Pulse::default());
        let asked = Arc::clone(&pulse);
        let service = service_fn(move |request: Request<Incoming>| {
            asked.asked();
            api.call(request)
        });
        // The library's bound of 100 headers stands: setting one makes it fill a table for each request.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES_MAX)
            .auto_date_header(self.date_header == DateHeader::OfTheSystem)
            .serve_connection(TokioIo::new(Counted::new(stream, Arc::clone(&pulse))), service);
        async move {
            let _open = open;
            let mut connection = std::pin::pin!(connection);
            let end = Rarely::new(async move {
                tokio::select! {
                    biased;
                    () = stopped(&mut stopping) => End::Stopping,
                    () = pulse.lost() => End::Lost,
                }
            });
            // The connection comes first: what it has done is not lost to a deadline of the same moment.
            let served = tokio::select! {
                biased;
                served = connection.as_mut() => served,
                end = end => match end {
                    End::Lost => return,
                    End::Stopping => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                },
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a connection broke");
            }
        }
    }
}
