//! A server whose replies a test scripts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::Workspace;

/// What is sent back.
pub enum Said {
    /// 200 with a JSON body.
    Body(Value),
    /// 200 with the text of a stream, which breaks off or does not.
    Stream(String),
    /// Another status with a body.
    Status(u16, String),
    /// Nothing: the connection ends.
    Nothing,
}

/// A server on a thread of its own, for as long as the test runs.
pub struct ScriptedServer {
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl ScriptedServer {
    /// Starts a server that answers with what `say` gives for a request's body and number.
    pub fn start(say: impl Fn(&Value, usize) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, requests) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let (say, counter) = (Arc::new(say), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (say, counter) = (Arc::clone(&say), Arc::clone(&counter));
                std::thread::spawn(move || {
                    let Some(body) = request(&stream) else { return };
                    answer(&stream, say(&body, counter.fetch_add(1, Ordering::SeqCst)));
                });
            }
        });
        Self { port, requests }
    }

    /// Returns how many requests came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Returns its address.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// A workspace whose queries are these questions, all with the answer 5, and whose policy is this server.
    pub fn workspace(&self, questions: &[String], more: &[(&str, &str)]) -> Workspace {
        let line = |(index, question): (usize, &String)| {
            let id = format!("q{index:03}");
            format!("{}\n", json!({"id": id, "question": question, "answer": "5", "kind": "numeric", "source": "s"}))
        };
        let input: String = questions.iter().enumerate().map(line).collect();
        let base_urls = json!([self.base_url()]).to_string();
        let mut settings = vec![
            ("policy.backend", "\"openai\""),
            ("policy.base_urls", base_urls.as_str()),
            ("policy.model", "\"served\""),
            ("policy.mode_preset", "\"qwen3\""),
            ("dedup.near_duplicate_threshold", "1.0"),
        ];
        settings.extend(more);
        Workspace::with_input(input.as_bytes(), &settings)
    }
}

fn answer(mut stream: &TcpStream, said: Said) {
    let (status, kind, bytes) = match said {
        Said::Body(body) => (200, "application/json", body.to_string()),
        Said::Stream(text) => (200, "text/event-stream", text),
        Said::Status(status, text) => (status, "text/plain", text),
        Said::Nothing => {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    };
    let head = format!("HTTP/1.1 {status} said\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
    // A client that is gone has no use for it.
    let _ = stream.write_all(format!("{head}{bytes}").as_bytes());
}

/// Reads a request and returns its body.
fn request(mut stream: &TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 16 << 10];
        let count = stream.read(&mut more).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&more[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return serde_json::from_str(body).ok();
        }
    }
}
