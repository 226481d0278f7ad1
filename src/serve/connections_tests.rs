//! Tests slow clients over local sockets.

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// More bytes than the system buffers for a client with a small receive buffer.
const LARGE_BYTES: usize = 24 << 20;

/// Serves `hello` at `/`, an endless body at `/endless`, a large body at `/large`, 404 elsewhere. Returns the address.
async fn start(patience: Patience) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let endless = || async {
        Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::convert::Infallible>(vec![b'x'; 1 << 16])))
    };
    let large = || async { vec![b'x'; LARGE_BYTES] };
    let router = Router::new().route("/", get(|| async { "hello" })).route("/endless", get(endless));
    let router = router.route("/large", get(large)).fallback(crate::serve::fallback::not_found);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    (address, stop.clone(), tokio::spawn(serve(listener, router, patience, stop)))
}

async fn answer_to(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut bytes = vec![0; 4096];
    let length = stream.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[tokio::test]
async fn heads_that_do_not_come_to_an_end_are_cut_off_and_so_are_connections_that_stay_idle() {
    let patience = Patience { head: Duration::from_millis(100), ..Patience::default() };
    let (address, _stop, _task) = start(patience).await;
    for begun in ["", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        // The read ends although the client sends nothing more.
        let _ = stream.read_to_end(&mut all).await;
        assert_eq!(String::from_utf8_lossy(&all).contains("hello"), begun.ends_with("\r\n\r\n"), "{begun}");
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_given_up() {
    let patience = Patience { write: Duration::from_millis(100), ..Patience::default() };
    let (address, stop, task) = start(patience).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut begun = [0; 16];
    stream.read_exact(&mut begun).await.unwrap();
    stop.cancel();
    // The server ends although the client keeps its side open.
    task.await.unwrap();
}

#[tokio::test]
async fn a_new_client_gets_the_place_of_one_that_says_nothing_and_a_stop_waits_for_neither() {
    let patience = Patience { connections_max: 2, ..Patience::default() };
    let (address, stop, task) = start(patience).await;
    let mut silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let mut third = TcpStream::connect(address).await.unwrap();
    assert!(answer_to(&mut third, HELLO).await.ends_with("hello"));
    assert!(answer_to(&mut third, HELLO).await.ends_with("hello"), "its connection is kept");
    let mut rest = Vec::new();
    let _ = silent[0].read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_waits_for_its_client_is_sent_to_its_end_although_places_are_short_and_the_server_stops() {
    let patience = Patience { connections_max: 1, ..Patience::default() };
    let (address, stop, task) = start(patience).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1 << 16).unwrap();
    let mut slow = socket.connect(address).await.unwrap();
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut begun = vec![0; 64];
    slow.read_exact(&mut begun).await.unwrap();
    let _other = TcpStream::connect(address).await.unwrap();
    // Longer than an idle connection is kept.
    sleep(limits::IDLE_SPARED + 2 * LEAVE_TIMEOUT).await;
    stop.cancel();
    sleep(2 * LEAVE_TIMEOUT).await;
    slow.read_to_end(&mut begun).await.unwrap();
    let head = begun.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(begun.len() - head, LARGE_BYTES);
    task.await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_refused_and_keeps_its_body_gives_its_place_to_others() {
    let patience = Patience { connections_max: 1, ..Patience::default() };
    let (address, _stop, _task) = start(patience).await;
    let mut refused = TcpStream::connect(address).await.unwrap();
    refused.write_all(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n").await.unwrap();
    let mut other = TcpStream::connect(address).await.unwrap();
    assert!(answer_to(&mut other, HELLO).await.ends_with("hello"));
    let mut rest = Vec::new();
    let _ = refused.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "it was still waited for: {}", String::from_utf8_lossy(&rest));
    // A client that sends its body receives the error.
    let mut told = TcpStream::connect(address).await.unwrap();
    drop(other);
    let answer = answer_to(&mut told, b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
