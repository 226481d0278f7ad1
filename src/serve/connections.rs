//! Accepts connections and limits their number and the time that they wait for their client.
//!
//! A client may be slow on purpose: it sends a head byte by byte, sends no head, or never reads its response. Each case
//! has a time-out. At the maximum number of connections, the server closes the connections that wait longest for their
//! client. If no connection waits for its client, new connections wait in the system's queue. The server never closes a
//! connection while it computes a response for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits;

/// How often a connection without a place checks for a free place.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// At most one connection in this many is asked to close at a time.
const LEAVING_SHARE: usize = 16;
/// How long a closing connection may take to send its remaining bytes.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(250);
/// The pause after a failed accept, for example when the process has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// TCP keep-alive: idle time before the first probe, time between probes, and probes that may be lost.
#[cfg(target_os = "linux")]
const PROBES: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// The time limits for clients; the values that the server uses are in `limits`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) connections_max: usize,
    pub(super) head: Duration,
    pub(super) write: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connections_max: limits::CONNECTIONS_MAX, head: limits::HEAD_TIMEOUT, write: limits::WRITE_TIMEOUT }
    }
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// The connection waits for a request.
    Idle,
    /// The connection waits for the rest of a request.
    Reading,
    /// The connection waits for the rest of a rejected request.
    Refusing,
    /// The server computes or sends a response.
    Answering,
}

struct Place {
    doing: Doing,
    /// Whether part of a response waits for the client to read it. The response body may have ended by then: the
    /// connection buffers its last part.
    is_sending: bool,
    since: Instant,
    leave: CancellationToken,
}

/// The places of a server's connections.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<BTreeMap<u64, Place>>>);

impl Places {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Place>> {
        // A panic cannot leave a partial entry, so a poisoned lock is safe to use.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a free place. If all places are taken, asks connections that wait for their client to close.
    fn take(&self, number: u64, places_max: usize, leave: &CancellationToken) -> Option<Seat> {
        let mut places = self.lock();
        if places.len() >= places_max {
            let now = Instant::now();
            let spared = |place: &Place| match place.doing {
                _ if place.is_sending => None,
                Doing::Idle | Doing::Refusing => Some(limits::IDLE_SPARED),
                Doing::Reading => Some(limits::READING_SPARED),
                Doing::Answering => None,
            };
            let may_go = |place: &&Place| spared(place).is_some_and(|spared| now.duration_since(place.since) >= spared);
            let mut waiting: Vec<&Place> = places.values().filter(may_go).collect();
            waiting.sort_by_key(|place| place.since);
            for place in waiting.into_iter().take((places_max / LEAVING_SHARE).max(1)) {
                place.leave.cancel();
            }
            return None;
        }
        let place = Place { doing: Doing::Idle, is_sending: false, since: Instant::now(), leave: leave.clone() };
        places.insert(number, place);
        Some(Seat { places: self.clone(), number })
    }
}

/// The place of a connection; dropping the seat frees the place.
struct Seat {
    places: Places,
    number: u64,
}

impl Seat {
    fn set(&self, doing: Doing) {
        if let Some(place) = self.places.lock().get_mut(&self.number) {
            (place.doing, place.since) = (doing, Instant::now());
        }
    }

    fn set_sending(&self, is_sending: bool) {
        if let Some(place) = self.places.lock().get_mut(&self.number) {
            (place.is_sending, place.since) = (is_sending, Instant::now());
        }
    }

    fn is_answered(&self) -> bool {
        self.places.lock().get(&self.number).is_some_and(|place| place.is_sending || place.doing == Doing::Answering)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.lock().remove(&self.number);
    }
}

/// The connection that a request arrived on.
#[derive(Clone)]
pub(super) struct Line {
    seat: Arc<Seat>,
    /// The local address of the connection.
    pub(super) local: Option<IpAddr>,
}

impl Line {
    /// Sets the state of the connection.
    pub(super) fn set(&self, doing: Doing) {
        self.seat.set(doing);
    }
}

/// Serves connections until `stop`, then finishes the responses in progress.
pub(super) async fn serve(listener: TcpListener, router: Router, patience: Patience, stop: CancellationToken) {
    let (places, tasks) = (Places::default(), TaskTracker::new());
    let mut number = 0_u64;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::error!("cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        number += 1;
        let leave = stop.child_token();
        let seat = loop {
            match places.take(number, patience.connections_max, &leave) {
                Some(seat) => break Some(seat),
                None => tokio::select! {
                    () = sleep(LOOK_INTERVAL) => {}
                    () = stop.cancelled() => break None,
                },
            }
        };
        let Some(seat) = seat else { break };
        tasks.spawn(attend(stream, router.clone(), patience, Arc::new(seat), leave));
    }
    tasks.close();
    tasks.wait().await;
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn attend(stream: TcpStream, router: Router, patience: Patience, seat: Arc<Seat>, leave: CancellationToken) {
    prepare(&stream);
    let line = Line { local: stream.local_addr().ok().map(|address| address.ip()), seat: Arc::clone(&seat) };
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        line.set(Doing::Answering);
        request.extensions_mut().insert(line.clone());
        let (answer, line) = (router.call(request), line.clone());
        async move { answer.await.map(|response| watched(response, line)) }
    });
    let io = TokioIo::new(Patient::new(stream, patience.write, Arc::clone(&seat)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(limits::HEAD_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(io, service));
    tokio::select! {
        // An error here is the client's fault: it disconnected, sent no HTTP, or was too slow.
        _ = connection.as_mut() => return,
        () = leave.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep(LEAVE_TIMEOUT) => {
                if !seat.is_answered() {
                    return;
                }
            }
        }
    }
}

/// Sets the socket options: no delay before sending, and keep-alive probes to detect a client that vanished.
fn prepare(stream: &TcpStream) {
    // The server also works without these options, so ignore errors.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt;
        let (idle, interval, count) = PROBES;
        let _ = sockopt::set_tcp_keepidle(stream, idle)
            .and_then(|()| sockopt::set_tcp_keepintvl(stream, interval))
            .and_then(|()| sockopt::set_tcp_keepcnt(stream, count))
            .and_then(|()| sockopt::set_socket_keepalive(stream, true));
    }
}

/// Marks the connection as idle when the response body ends or is dropped.
fn watched(response: Response<Body>, line: Line) -> Response<Watched> {
    response.map(|body| Watched { body, line })
}

struct Watched {
    body: Body,
    line: Line,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.line.set(Doing::Idle);
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose writes fail after too much time without progress, summed over all pauses. Each written byte subtracts
/// a fixed time from the sum, so a write also fails if the client reads only a little now and then.
struct Patient {
    stream: TcpStream,
    limit: Duration,
    seat: Arc<Seat>,
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
    /// The sum of all pauses, minus the time earned by written bytes.
    spent: Duration,
}

impl Patient {
    fn new(stream: TcpStream, limit: Duration, seat: Arc<Seat>) -> Self {
        Self { stream, limit, seat, stalled: None, spent: Duration::ZERO }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = &written {
            if let Some((began, _)) = self.stalled.take() {
                self.spent += began.elapsed();
                self.seat.set_sending(false);
            }
            let bytes = result.as_ref().map_or(0, |bytes| *bytes);
            let earned = Duration::from_secs_f64(bytes as f64 / limits::WRITE_BYTES_PER_S as f64);
            self.spent = self.spent.saturating_sub(earned);
            return written;
        }
        if self.stalled.is_none() {
            self.seat.set_sending(true);
        }
        let left = self.limit.saturating_sub(self.spent);
        let (_, stalled) = self.stalled.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
