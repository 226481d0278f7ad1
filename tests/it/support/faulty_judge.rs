//! The faulty judge server of `tests/tools`, started on a free port of the loopback address.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::root;

/// A running server; stopped by its own process id when dropped.
pub struct FaultyJudge {
    child: Child,
    base_url: String,
}

impl FaultyJudge {
    /// Starts the server with these options (see its `--help`) and waits until it listens.
    pub fn start(options: &[&str]) -> Self {
        let mut command = Command::new("python3");
        command.arg(root().join("tests/tools/faulty_judge.py")).args(options);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python3 runs the faulty judge");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let base_url = line.trim().strip_prefix("listening on ").expect("the first line is the address").to_owned();
        Self { child, base_url }
    }

    /// Returns the settings that ask this server, with one more attempt than its faults are likely to eat up.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("judge.backend", "\"openai\"".to_owned()),
            ("judge.base_url", format!("{:?}", self.base_url)),
            ("judge.model", "\"judge-under-test\"".to_owned()),
            ("judge.attempts_max", "60".to_owned()),
        ]
    }

    /// Returns the server's counts.
    pub fn stats(&self) -> Value {
        let address = self.base_url.strip_prefix("http://").expect("it speaks HTTP");
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /stats HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (_, body) = reply.split_once("\r\n\r\n").expect("a reply has a head and a body");
        serde_json::from_str(body).unwrap()
    }

    /// Returns one of the server's counts.
    pub fn stat(&self, name: &str) -> i64 {
        self.stats()[name].as_i64().unwrap_or_else(|| panic!("no count {name}"))
    }
}

impl Drop for FaultyJudge {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
