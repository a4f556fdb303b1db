//! Requests that are answered before their bodies are read.

use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A node in memory behind a real socket, which is what tells a client that is still sending that nobody reads.
async fn run_on_socket() -> (std::net::SocketAddr, Running) {
    let held = Arc::new(Notify::new());
    let (api, app, stop) = test_api(CorsOrigins::None, Arc::clone(&held));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connect, _) = mpsc::channel(1);
    let server = Server { api, app, date_header: DateHeader::Absent, grace: Duration::from_secs(30) };
    let task = tokio::spawn(serve(Box::new(listener), server, 8));
    (address, Running { connect, held, stop, task })
}

const LARGE: usize = 900 * 1024;

fn head(path: &str, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n")
}

/// What a client reads that first sends everything, piece by piece.
async fn send_then_read(address: std::net::SocketAddr, head: &str, body: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    for piece in body.chunks(16 * 1024) {
        connection.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn whoever_sends_much_gets_to_read_the_refusal() {
    let (address, _running) = run_on_socket().await;
    let body = vec![b'x'; LARGE];
    let json = "content-type: application/json\r\nconnection: close";
    for (path, headers, status) in [
        ("/projections/transitions", format!("authorization: Bearer wrong\r\n{json}"), 401),
        ("/projections/transitions?x=1", format!("authorization: Bearer secret\r\n{json}"), 400),
        ("/projections/transitions", "authorization: Bearer secret\r\nconnection: close".to_owned(), 415),
        ("/projections/transitions/batch", format!("authorization: Bearer secret\r\n{json}"), 415),
        ("/nowhere", "connection: close".to_owned(), 404),
        ("/healthz", "connection: close".to_owned(), 405),
        ("/panic", "connection: close".to_owned(), 405),
    ] {
        let head = head(path, &format!("{headers}\r\ncontent-length: {LARGE}"));
        let answer = send_then_read(address, &head, &body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
    let mut chunked = format!("{LARGE:x}\r\n").into_bytes();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let head = head("/projections/transitions", &format!("{json}\r\ntransfer-encoding: chunked"));
    assert!(send_then_read(address, &head, &chunked).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_first_is_refused_at_once() {
    let running = run(8);
    let began = time::Instant::now();
    let mut connection = running.connection().await;
    let headers = format!("expect: 100-continue\r\nconnection: close\r\ncontent-length: {LARGE}");
    send(&mut connection, &head("/projections/transitions", &headers)).await;
    assert!(rest(connection).await.starts_with("HTTP/1.1 401 "));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_awaited_for_long() {
    let running = run(8);
    let began = time::Instant::now();
    let mut connection = running.connection().await;
    send(&mut connection, &head("/projections/transitions", &format!("content-length: {LARGE}"))).await;
    assert!(rest(connection).await.starts_with("HTTP/1.1 401 "));
    assert_eq!(began.elapsed(), Duration::from_secs(2));
}
