//! A scripted HTTP server on the loopback address, for the tests of this room and of the rooms above it.
//!
//! It serves one connection at a time, answers each request with the next step of its script, and records each request.
//! A request after the end of the script gets status 500.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The reaction to one request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Answer with a status, extra header lines and a body.
    Answer { status: u16, headers: Vec<String>, body: String },
    /// Close the connection without a response.
    Hang,
    /// Announce more bytes than are sent, then close.
    Torn,
}

impl Step {
    /// Answers with a status and a body.
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.to_owned() }
    }

    /// Answers 200 with a well-formed chat reply.
    pub(crate) fn chat(content: &str) -> Self {
        Self::status(200, &chat_body(content))
    }

    /// Adds a header line.
    pub(crate) fn header(mut self, line: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push(line.to_owned());
        }
        self
    }
}

/// Returns the body of a well-formed chat reply.
pub(crate) fn chat_body(content: &str) -> String {
    serde_json::json!({
        "model": "served-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    })
    .to_string()
}

/// One request as the server received it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Request line and headers.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

/// The running server; stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server with a script.
    pub(crate) fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                let mut script = script.into_iter();
                for stream in listener.incoming().map_while(Result::ok) {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    serve(stream, &mut script, &seen);
                }
            }
        });
        Self { address, seen, stop, thread: Some(thread) }
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Returns the address of a port on which nothing listens.
pub(crate) fn dead_base_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn serve(mut stream: TcpStream, script: &mut impl Iterator<Item = Step>, seen: &Mutex<Vec<Seen>>) {
    let Some(request) = read_request(&mut stream) else { return };
    seen.lock().unwrap().push(request);
    let answer = match script.next().unwrap_or_else(|| Step::status(500, "the script is over")) {
        Step::Answer { status, headers, body } => {
            let extra: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
            let length = body.len();
            format!("HTTP/1.1 {status} Scripted\r\nconnection: close\r\ncontent-length: {length}\r\n{extra}\r\n{body}")
        }
        Step::Torn => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 999\r\n\r\n{\"choices\":".to_owned(),
        Step::Hang => return,
    };
    drop(stream.write_all(answer.as_bytes()));
}

fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, value)| value.trim().parse().unwrap());
            if body.len() >= length {
                return Some(Seen { head: head.to_owned(), body: body.to_owned() });
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}
