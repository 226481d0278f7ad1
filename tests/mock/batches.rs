//! The batch API: files and batches, whose lines have the same faults as single requests.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::{Value, json};

use super::State;
use super::knobs::Outcome;
use super::log::Entry;
use super::said::say;

/// Everything that was uploaded, and the batches made of it.
#[derive(Default)]
pub struct Store {
    files: Vec<File>,
    batches: Vec<Batch>,
    uploads_hung: u64,
    downloads_torn: u64,
    downloads_late: u64,
    looks_forgotten: u64,
    lines: u64,
    ids: HashMap<String, u32>,
    bodies: HashMap<u64, u32>,
}

struct File {
    name: String,
    content: String,
}

struct Batch {
    input: usize,
    request: Value,
    ready: Duration,
    status: &'static str,
    /// Answered and failed lines, once it ended.
    results: Option<[usize; 2]>,
    /// What it says of them, if it does.
    counts: Value,
}

/// What the server does with a request.
pub enum Reply {
    /// Answers.
    Answer(u16, String),
    /// Answers with half of the body, and closes.
    Torn(String),
    /// Says nothing, ever.
    Nothing,
}

fn answer(value: &Value) -> Reply {
    Reply::Answer(200, value.to_string())
}

fn error(status: u16, message: &str) -> Reply {
    Reply::Answer(status, json!({"error": {"message": message, "code": Value::Null}}).to_string())
}

impl Store {
    /// Returns what tests count.
    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        let twice = |counts: &mut dyn Iterator<Item = u32>| counts.filter(|count| *count > 1).count() as u64;
        vec![
            ("uploads", self.files.iter().filter(|file| file.name.ends_with(".jsonl")).count() as u64),
            ("uploads_hung", self.uploads_hung),
            ("batches", self.batches.len() as u64),
            ("lines_uploaded", self.lines),
            ("ids_uploaded_twice", twice(&mut self.ids.values().copied())),
            ("bodies_uploaded_twice", twice(&mut self.bodies.values().copied())),
            ("lines_max", self.files.iter().map(|file| file.content.lines().count() as u64).max().unwrap_or(0)),
        ]
    }
}

/// Handles a request below `/files` or `/batches`; `path` begins with one of them.
pub fn handle(state: &State, method: &str, path: &str, body: &str) -> Reply {
    let now = state.started.elapsed();
    finish(state, now);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (method, parts.as_slice()) {
        ("POST", ["files"]) => upload(state, body),
        ("GET", ["files"]) => {
            let inner = state.inner();
            let entries = (0..inner.batches.files.len()).map(|index| file_object(&inner.batches, index)).collect();
            list(entries, query)
        }
        ("GET", ["files", id, "content"]) => download(state, id),
        ("POST", ["batches"]) => create(state, now, body),
        ("GET", ["batches"]) => {
            let inner = state.inner();
            let entries = (0..inner.batches.batches.len()).map(|index| batch_object(&inner.batches, index)).collect();
            list(entries, query)
        }
        ("GET", ["batches", id]) => {
            let mut inner = state.inner();
            if inner.batches.looks_forgotten < state.knobs.batch_forget {
                inner.batches.looks_forgotten += 1;
                return error(404, "no such batch");
            }
            match index_of(id, "batch-").filter(|index| *index < inner.batches.batches.len()) {
                Some(index) => answer(&batch_object(&inner.batches, index)),
                None => error(404, "no such batch"),
            }
        }
        _ => error(404, "no such path"),
    }
}

fn index_of(id: &str, prefix: &str) -> Option<usize> {
    id.strip_prefix(prefix)?.parse().ok()
}

/// Newest first, in pages.
fn list(entries: Vec<Value>, query: &str) -> Reply {
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let limit = value("limit").and_then(|text| text.parse().ok()).unwrap_or(20_usize);
    let after = value("after");
    let newest: Vec<Value> = entries.into_iter().rev().collect();
    let start =
        after.map_or(0, |id| newest.iter().position(|entry| entry["id"] == id).map_or(newest.len(), |at| at + 1));
    let page: Vec<Value> = newest.iter().skip(start).take(limit).cloned().collect();
    answer(&json!({"object": "list", "has_more": start + page.len() < newest.len(), "data": page}))
}

fn file_object(store: &Store, index: usize) -> Value {
    let File { name, content } = &store.files[index];
    json!({"id": format!("file-{index}"), "object": "file", "bytes": content.len(), "filename": name, "purpose": "batch"})
}

fn upload(state: &State, body: &str) -> Reply {
    let mut inner = state.inner();
    let store = &mut inner.batches;
    if store.uploads_hung < state.knobs.batch_hang {
        store.uploads_hung += 1;
        return Reply::Nothing;
    }
    let boundary = body.lines().next().unwrap_or_default();
    let parts: Vec<&str> = body.split(boundary).collect();
    let part = |name: &str| {
        let part = parts.iter().find(|part| part.contains(&format!("name=\"{name}\"")))?;
        let (head, content) = part.split_once("\r\n\r\n")?;
        Some((head, content.strip_suffix("\r\n").unwrap_or(content)))
    };
    let (Some((_, "batch")), Some((head, content))) = (part("purpose"), part("file")) else {
        return error(400, "the form lacks purpose or file");
    };
    let name = head.split("filename=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    for line in content.lines() {
        let Some((id, body)) = line_of(line) else { return error(400, "a line is no request") };
        store.lines += 1;
        *store.ids.entry(id).or_default() += 1;
        *store.bodies.entry(hash_of(body)).or_default() += 1;
    }
    store.files.push(File { name: name.to_owned(), content: content.to_owned() });
    answer(&file_object(store, store.files.len() - 1))
}

/// Returns custom id and body of an input line.
fn line_of(line: &str) -> Option<(String, &str)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let is_right = value["method"] == "POST" && value["url"] == "/v1/chat/completions" && value["body"].is_object();
    let body = line.split_once("\"body\":")?.1.strip_suffix('}')?;
    is_right.then_some((value["custom_id"].as_str()?.to_owned(), body))
}

fn hash_of(body: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

fn download(state: &State, id: &str) -> Reply {
    let mut inner = state.inner();
    let store = &mut inner.batches;
    let Some(file) = index_of(id, "file-").and_then(|index| store.files.get(index)) else {
        return error(404, "no such file");
    };
    let content = file.content.clone();
    if store.downloads_torn < state.knobs.batch_tear {
        store.downloads_torn += 1;
        return Reply::Torn(content);
    }
    if store.downloads_late < state.knobs.batch_late {
        store.downloads_late += 1;
        let half = content.lines().count() / 2;
        return match store.downloads_late % 3 {
            1 => error(404, "no such file yet"),
            2 => Reply::Answer(200, String::new()),
            _ => Reply::Answer(200, content.split_inclusive('\n').take(half).collect()),
        };
    }
    Reply::Answer(200, content)
}

fn create(state: &State, now: Duration, body: &str) -> Reply {
    let mut inner = state.inner();
    let store = &mut inner.batches;
    let request: Value = serde_json::from_str(body).unwrap_or_default();
    let input = request["input_file_id"].as_str().and_then(|id| index_of(id, "file-"));
    let is_right = request["endpoint"] == "/v1/chat/completions" && request["completion_window"] == "24h";
    let Some(input) = input.filter(|index| is_right && *index < store.files.len()) else {
        return error(400, "no such file, endpoint or window");
    };
    let ready = now + state.knobs.batch_delay;
    store.batches.push(Batch { input, request, ready, status: "in_progress", results: None, counts: Value::Null });
    answer(&batch_object(store, store.batches.len() - 1))
}

fn batch_object(store: &Store, index: usize) -> Value {
    let Batch { input, request, status, results, counts, .. } = &store.batches[index];
    let file = |which: usize| {
        let index = results.map(|files| files[which]).filter(|index| !store.files[*index].content.is_empty());
        index.map_or(Value::Null, |index| json!(format!("file-{index}")))
    };
    let errors =
        json!({"object": "list", "data": [{"code": "invalid_model", "message": "the model takes no batches"}]});
    json!({
        "id": format!("batch-{index}"), "object": "batch", "status": status, "metadata": request["metadata"],
        "input_file_id": format!("file-{input}"), "output_file_id": file(0), "error_file_id": file(1),
        "errors": if *status == "failed" { errors } else { Value::Null }, "request_counts": counts,
    })
}

/// Ends the batches whose time has come.
fn finish(state: &State, now: Duration) {
    loop {
        let (index, lines) = {
            let inner = state.inner();
            let due = |batch: &Batch| batch.status == "in_progress" && batch.ready <= now;
            let Some(index) = inner.batches.batches.iter().position(due) else { return };
            (index, inner.batches.files[inner.batches.batches[index].input].content.clone())
        };
        let knobs = &state.knobs;
        let ends = [("failed", knobs.batch_refuse), ("expired", knobs.batch_expire), ("cancelled", knobs.batch_cancel)];
        let mut number = index as u64;
        let end = ends.into_iter().find(|(_, count)| {
            let is_it = number < *count;
            number = number.saturating_sub(*count);
            is_it
        });
        let status = end.map_or("completed", |(status, _)| status);
        let total = lines.lines().count();
        let answered = match status {
            "completed" => total,
            "failed" => 0,
            _ => total / 2,
        };
        let (mut good, mut bad) = (String::new(), String::new());
        for (place, line) in lines.lines().enumerate() {
            let Some((id, body)) = line_of(line) else { continue };
            if place < answered {
                match answer_line(state, &id, body, now) {
                    (line, true) => good.push_str(&line),
                    (line, false) => bad.push_str(&line),
                }
            } else if status == "expired" {
                let error = json!({"code": "batch_expired", "message": "not done in time"});
                bad.push_str(&format!("{}\n", json!({"custom_id": id, "response": null, "error": error})));
            }
        }
        let mut inner = state.inner();
        let store = &mut inner.batches;
        let first = store.files.len();
        if knobs.batch_counts {
            let (completed, failed) = (good.lines().count(), bad.lines().count());
            store.batches[index].counts = json!({"total": total, "completed": completed, "failed": failed});
        }
        for content in [good, bad] {
            store.files.push(File { name: "results".to_owned(), content });
        }
        store.batches[index].status = status;
        store.batches[index].results = (status != "failed").then_some([first, first + 1]);
    }
}

/// Returns the line that answers a request, and whether it is a good one.
fn answer_line(state: &State, id: &str, body: &str, now: Duration) -> (String, bool) {
    let hash = hash_of(body);
    let mut inner = state.inner();
    inner.requests += 1;
    let number = inner.seen.entry(hash).or_default();
    *number += 1;
    let number = *number;
    let is_poor = inner.requests > state.knobs.money_after && !inner.is_paid;
    let refused = state.knobs.refused_key(body).cloned();
    let outcome = match &refused {
        _ if is_poor => Outcome::NoMoney,
        Some(_) => Outcome::KeyRefused,
        None => state.draw(hash, number),
    };
    let said = say(&state.knobs, body, hash, outcome);
    let tokens = said.prompt_tokens + said.completion_tokens;
    inner.entries.push(Entry { at: now, took: Duration::ZERO, body: hash, number, in_flight: 0, tokens, outcome });
    drop(inner);
    let status = match outcome {
        Outcome::NoMoney => 402,
        Outcome::KeyRefused => 400,
        Outcome::TooMany => 429,
        Outcome::ServerError => 500,
        Outcome::Overloaded => 503,
        Outcome::OverflowFlat | Outcome::OverflowNested => 400,
        Outcome::Reset | Outcome::EarlyEof | Outcome::SlowLoris => 0,
        _ => 200,
    };
    let line = match status {
        200 => format!(
            "{{\"id\":\"r\",\"custom_id\":\"{id}\",\"response\":{{\"status_code\":200,\"request_id\":\"q\",\"body\":{}}},\
             \"error\":null}}\n",
            said.to_body(hash)
        ),
        0 => format!(
            "{}\n",
            json!({"custom_id": id, "response": null, "error": {"code": "server_error", "message": "lost"}})
        ),
        status => {
            let refusal = refused.and_then(|key| serde_json::from_str(&super::connection::refusal(&key).1).ok());
            let body = refusal.unwrap_or_else(|| json!({"error": {"message": outcome.name(), "code": null}}));
            format!("{}\n", json!({"custom_id": id, "response": {"status_code": status, "body": body}, "error": null}))
        }
    };
    (line, status == 200)
}
