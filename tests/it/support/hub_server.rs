//! A small Hub on the loopback address: one repository, and a second port for the large files, like the Hub's content
//! network. The server fails on request and records the requests that it receives.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What to do with a request instead of answering it well.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A status, header lines and a body.
    Status(u16, Vec<String>, String),
    /// The head of a good answer, so many bytes of its body, and the end of the connection.
    Cut(usize),
    /// The head, so many bytes, and then silence until the client leaves.
    Stall(usize),
    /// The whole file with status 200, whatever range was asked for.
    IgnoreRange,
    /// Other bytes of the same length.
    OtherBytes,
}

/// One request as it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Whether it came to the second port.
    pub is_storage: bool,
}

/// A file of the repository.
#[derive(Debug, Clone)]
struct Stored {
    name: String,
    bytes: Vec<u8>,
    is_large: bool,
}

struct State {
    id: String,
    storage: Mutex<String>,
    /// By commit, in order of age; the last one is what `main` is.
    commits: Mutex<Vec<(String, Vec<Stored>)>>,
    faults: Mutex<Vec<(String, u32, Fault)>>,
    seen: Mutex<Vec<Seen>>,
    page_files: usize,
    token: Mutex<Option<String>>,
    stop: AtomicBool,
}

/// A running server; stopped when dropped.
pub struct HubServer {
    state: Arc<State>,
    addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

impl HubServer {
    /// Starts a Hub with one repository of one commit; names that end in `.safetensors` or `.gguf` are large files.
    pub fn start(id: &str, files: &[(&str, &[u8])]) -> Self {
        let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let state = Arc::new(State {
            id: id.to_owned(),
            storage: Mutex::new(format!("http://{}", addresses[1])),
            commits: Mutex::default(),
            faults: Mutex::default(),
            seen: Mutex::default(),
            page_files: 3,
            token: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let threads = listeners.into_iter().enumerate().map(|(index, listener)| {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if state.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || serve(stream, &state, index == 1));
                }
            })
        });
        let server = Self { state: Arc::clone(&state), addresses, threads: threads.collect() };
        server.push(files);
        server
    }

    /// Adds a commit, which `main` then is, and returns its hash.
    pub fn push(&self, files: &[(&str, &[u8])]) -> String {
        let stored = |(name, bytes): &(&str, &[u8])| Stored {
            name: (*name).to_owned(),
            bytes: bytes.to_vec(),
            is_large: name.ends_with(".safetensors") || name.ends_with(".gguf"),
        };
        let mut commits = self.state.commits.lock().unwrap();
        let commit = sha256(format!("commit {}", commits.len()).as_bytes())[..40].to_owned();
        commits.push((commit.clone(), files.iter().map(stored).collect()));
        commit
    }

    /// Returns what `main` is.
    pub fn main(&self) -> String {
        self.state.commits.lock().unwrap().last().unwrap().0.clone()
    }

    /// Does this to the next `times` requests whose path holds `part`.
    pub fn fail(&self, part: &str, times: u32, fault: Fault) {
        self.state.faults.lock().unwrap().push((part.to_owned(), times, fault));
    }

    /// Answers only requests with this token; the storage wants none.
    pub fn demand(&self, token: &str) {
        *self.state.token.lock().unwrap() = Some(token.to_owned());
    }

    /// Returns the address to set `HF_ENDPOINT` to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addresses[0])
    }

    /// Returns the requests so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Returns the requests for content that came to the storage.
    pub fn stored_requests(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.is_storage).collect()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.state.seen.lock().unwrap().clear();
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        for address in &self.addresses {
            drop(TcpStream::connect(address));
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Returns the SHA-256 of bytes in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Returns the name of a small file's blob; a hash of git's length.
pub fn small_hash(bytes: &[u8]) -> String {
    sha256(bytes)[..40].to_owned()
}

struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Answer {
    fn json(value: &Value) -> Self {
        Self { status: 200, headers: Vec::new(), body: value.to_string().into_bytes() }
    }

    fn error(status: u16, code: &str) -> Self {
        Self { status, headers: vec![format!("X-Error-Code: {code}")], body: b"{\"error\":\"no\"}".to_vec() }
    }
}

fn serve(mut stream: TcpStream, state: &State, is_storage: bool) {
    let Some((path, headers)) = read_head(&mut stream) else { return };
    state.seen.lock().unwrap().push(Seen { path: path.clone(), headers: headers.clone(), is_storage });
    let fault = take_fault(state, &path);
    let range = headers.get("range").filter(|_| !matches!(fault, Some(Fault::IgnoreRange)));
    let from = range.map_or(0, |range| range["bytes=".len()..].trim_end_matches('-').parse().unwrap());
    let mut answer = match (&fault, is_storage) {
        (Some(Fault::Status(status, headers, body)), _) => {
            Answer { status: *status, headers: headers.clone(), body: body.clone().into_bytes() }
        }
        (_, true) => content(state, &path, from),
        (_, false) => route(state, &path, &headers, from),
    };
    if matches!(fault, Some(Fault::OtherBytes)) {
        answer.body.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let sent = match fault {
        Some(Fault::Cut(bytes) | Fault::Stall(bytes)) => bytes.min(answer.body.len()),
        _ => answer.body.len(),
    };
    let extra: String = answer.headers.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "HTTP/1.1 {} Hub\r\nConnection: close\r\nContent-Length: {}\r\n{extra}\r\n",
        answer.status,
        answer.body.len()
    );
    // A client that has left is told nothing.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer.body[..sent]));
    if matches!(fault, Some(Fault::Stall(_))) {
        // Ends when the client closes its side.
        let _ = stream.read(&mut [0; 1]);
    }
}

fn take_fault(state: &State, path: &str) -> Option<Fault> {
    let mut faults = state.faults.lock().unwrap();
    let (_, times, fault) = faults.iter_mut().find(|(part, times, _)| *times > 0 && path.contains(part.as_str()))?;
    *times -= 1;
    Some(fault.clone())
}

/// Answers what comes to the endpoint.
fn route(state: &State, path: &str, headers: &BTreeMap<String, String>, from: usize) -> Answer {
    let wanted = state.token.lock().unwrap().clone();
    if wanted.is_some_and(|token| headers.get("authorization") != Some(&format!("Bearer {token}"))) {
        return Answer::error(403, "GatedRepo");
    }
    let commits = state.commits.lock().unwrap().clone();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let find = |revision: &str| {
        let main = (revision == "main").then(|| commits.last().unwrap());
        main.or_else(|| commits.iter().find(|(commit, _)| commit == revision))
    };
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{}/revision/", state.id)) {
        let Some((commit, files)) = find(revision) else { return Answer::error(404, "RevisionNotFound") };
        let siblings: Vec<Value> = files.iter().map(|file| json!({"rfilename": file.name})).collect();
        return Answer::json(&json!({"id": state.id, "sha": commit, "siblings": siblings, "gated": false}));
    }
    if let Some((_, files)) = path.strip_prefix(&format!("/api/models/{}/tree/", state.id)).and_then(find) {
        return tree_page(state, path, query, files);
    }
    let prefix = format!("/{}/resolve/", state.id);
    let Some((revision, name)) = path.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')) else {
        return Answer::error(404, "RepoNotFound");
    };
    let file = find(revision).and_then(|(_, files)| files.iter().find(|file| file.name == name));
    match file {
        None => Answer::error(404, "EntryNotFound"),
        Some(file) if file.is_large => {
            let storage = state.storage.lock().unwrap();
            let headers = vec![
                format!("Location: {storage}/content/{}?Signature=s", sha256(&file.bytes)),
                format!("X-Linked-Etag: \"{}\"", sha256(&file.bytes)),
            ];
            Answer { status: 302, headers, body: b"moved".to_vec() }
        }
        Some(file) => part_of(&file.bytes, from),
    }
}

fn tree_page(state: &State, path: &str, query: &str, files: &[Stored]) -> Answer {
    assert!(query.contains("recursive=true"), "{query}");
    let start: usize = query.split_once("cursor=").map_or(0, |(_, cursor)| cursor.parse().unwrap());
    let end = (start + state.page_files).min(files.len());
    let entry = |file: &Stored| {
        let mut entry = json!({"type": "file", "path": file.name, "size": file.bytes.len(),
            "oid": small_hash(&file.bytes)});
        if file.is_large {
            entry["lfs"] = json!({"oid": sha256(&file.bytes), "size": file.bytes.len(), "pointerSize": 133});
        }
        entry
    };
    let mut entries: Vec<Value> = files[start..end].iter().map(entry).collect();
    entries.push(json!({"type": "directory", "path": "original", "size": 0, "oid": "0".repeat(40)}));
    let mut answer = Answer::json(&Value::Array(entries));
    if end < files.len() {
        answer.headers.push(format!("Link: <{path}?recursive=true&cursor={end}>; rel=\"next\""));
    }
    answer
}

/// Answers what comes to the storage.
fn content(state: &State, path: &str, from: usize) -> Answer {
    let hash = path.strip_prefix("/content/").and_then(|rest| rest.split('?').next()).unwrap_or_default();
    let commits = state.commits.lock().unwrap();
    let mut files = commits.iter().flat_map(|(_, files)| files);
    files.find(|file| sha256(&file.bytes) == hash).map_or_else(
        || Answer { status: 404, headers: Vec::new(), body: Vec::new() },
        |file| part_of(&file.bytes, from),
    )
}

fn part_of(bytes: &[u8], from: usize) -> Answer {
    let len = bytes.len();
    match from {
        0 => Answer { status: 200, headers: Vec::new(), body: bytes.to_vec() },
        from if from < len => {
            let range = format!("Content-Range: bytes {from}-{}/{len}", len - 1);
            Answer { status: 206, headers: vec![range], body: bytes[from..].to_vec() }
        }
        _ => Answer { status: 416, headers: vec![format!("Content-Range: bytes */{len}")], body: Vec::new() },
    }
}

fn read_head(stream: &mut TcpStream) -> Option<(String, BTreeMap<String, String>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Some((path, lines.filter_map(header).collect()))
}
