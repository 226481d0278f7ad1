//! A judge or policy server that fails on purpose, for tests, benches and people: HTTP/1.1 over plain sockets.
//!
//! The server uses no HTTP library, for two reasons. A library prevents half of the faults (resets, bodies cut in the
//! middle, one byte at a time, blank lines before the JSON). And on a machine with two cores, the server must use
//! little CPU time so that the client can be measured. The fault of the n-th request with a body depends on (seed,
//! body, n) alone, and the text of a good reply on the body alone, so runs are comparable in any order of their
//! requests.

mod batches;
mod connection;
mod knobs;
mod limits;
mod log;
mod said;

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use knobs::{Knobs, Outcome, USAGE};
pub use log::{Entry, most_in_window, share_in_use, stats};

/// What all connections share.
struct State {
    knobs: Knobs,
    started: Instant,
    /// Ends every connection, and the listening, at once.
    death: CancellationToken,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    seen: HashMap<u64, u32>,
    in_flight: usize,
    requests: u64,
    is_paid: bool,
    windows: limits::Windows,
    batches: batches::Store,
    entries: Vec<Entry>,
    file: Option<std::fs::File>,
}

impl State {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns a number in 0..1 that is a function of its arguments.
    fn fraction(&self, body: u64, number: u32, salt: u64) -> f64 {
        let mut mixed = self.knobs.seed ^ body.rotate_left(17) ^ (u64::from(number) << 32) ^ salt;
        for _ in 0..2 {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
        }
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn draw(&self, body: u64, number: u32) -> Outcome {
        let mut draw = self.fraction(body, number, 1);
        for (outcome, rate) in &self.knobs.rates {
            if draw < *rate {
                return *outcome;
            }
            draw -= rate;
        }
        // Of the body alone: asked again, it says the same.
        if self.fraction(body, 0, 4) < self.knobs.copies { Outcome::Copy } else { Outcome::Ok }
    }

    fn latency(&self, body: u64, number: u32) -> Duration {
        let Knobs { latency, latency_sigma, .. } = self.knobs;
        if latency_sigma == 0.0 {
            return latency;
        }
        // Box and Muller; the first fraction is kept off zero.
        let radius = (-2.0 * self.fraction(body, number, 2).max(1e-12).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.fraction(body, number, 3)).cos();
        latency.mul_f64((latency_sigma * normal).exp())
    }

    fn stats(&self) -> Value {
        let inner = self.inner();
        let mut counts = stats(&inner.entries);
        for (name, count) in inner.batches.stats() {
            counts[name] = count.into();
        }
        counts
    }

    fn record(&self, entry: Entry) {
        let mut inner = self.inner();
        inner.in_flight -= 1;
        inner.entries.push(entry);
        if let Some(file) = &mut inner.file {
            writeln!(file, "{}", entry.to_json()).expect("the log can be written");
        }
    }
}

/// A running server; stopped when dropped.
pub struct Mock {
    state: Arc<State>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Mock {
    /// Starts a server with these options (see [`USAGE`]); it listens when this returns.
    pub fn start(options: &[&str]) -> Self {
        Self::with(Knobs::parse(options).unwrap_or_else(|problem| panic!("{problem}")))
    }

    /// Starts a server on one thread of its own.
    pub fn with(knobs: Knobs) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", knobs.port)).expect("the port is free");
        listener.set_nonblocking(true).expect("sockets can be non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let file = (!knobs.log.is_empty()).then(|| std::fs::File::create(&knobs.log).expect("the log can be written"));
        let inner = Mutex::new(Inner { file, ..Inner::default() });
        let state = Arc::new(State { knobs, started: Instant::now(), death: CancellationToken::new(), inner });
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be built").block_on(listen(listener, shared));
        });
        Self { state, address, thread: Some(thread) }
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns counts by outcome, and more.
    pub fn stats(&self) -> Value {
        self.state.stats()
    }

    /// Returns one of the counts.
    pub fn stat(&self, name: &str) -> i64 {
        self.stats()[name].as_i64().unwrap_or_else(|| panic!("no count {name}"))
    }

    /// Ends the lack of money that `--money-after` brought.
    pub fn pay(&self) {
        self.state.inner().is_paid = true;
    }

    /// Returns the log so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.state.inner().entries.clone()
    }

    /// Returns the settings that ask this server for justifications, with more attempts than its faults are likely to
    /// eat up.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("judge.backend", "\"openai\"".to_owned()),
            ("judge.base_url", format!("{:?}", self.base_url())),
            ("judge.model", "\"judge-under-test\"".to_owned()),
            ("judge.attempts_max", "60".to_owned()),
        ]
    }

    /// Waits for the server's end, which only a signal brings.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.state.death.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; the test that waits for its answer fails by itself.
            let _ = thread.join();
        }
    }
}

async fn listen(listener: std::net::TcpListener, state: Arc<State>) {
    let listener = TcpListener::from_std(listener).expect("the socket is non-blocking");
    let death = state.death.clone();
    let accept = async {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let death = state.death.clone();
                    // Dropped in the middle of whatever it does, with what was not read yet: the client sees a reset.
                    death.run_until_cancelled(connection::serve(stream, state)).await;
                });
            }
        }
    };
    death.run_until_cancelled(accept).await;
    drop(listener);
    // The connections end by themselves.
    tokio::task::yield_now().await;
}
