//! Serves one connection: reads requests and applies the faults.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::batches::{Reply, handle};
use super::knobs::{Outcome, RetryStyle};
use super::log::Entry;
use super::said::{Said, say};
use super::{Knobs, State};

/// A request as it came.
struct Request {
    path: String,
    head: String,
    body: String,
}

/// Whether a connection goes on after a reply.
#[derive(PartialEq, Eq)]
enum Then {
    Next,
    Close,
    Reset,
}

/// Serves requests until the connection ends.
pub async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(8 << 10);
    while let Ok(Some(request)) = read(&mut stream, &mut buffer).await {
        let then = if request.path.ends_with("/chat/completions") {
            answer(&mut stream, &state, &request).await
        } else if let Some(start) = request.path.find("/files").or_else(|| request.path.find("/batches")) {
            serve_batch(&mut stream, &state, &request, start).await.unwrap_or(Then::Close)
        } else {
            serve_page(&mut stream, &state, &request.path).await.unwrap_or(Then::Close)
        };
        match then {
            Then::Next => {}
            Then::Close => return,
            Then::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                let body = String::from_utf8_lossy(&buffer[end + 4..whole]).into_owned();
                buffer.drain(..whole);
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                return Ok(Some(Request { path, head, body }));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn find(text: &[u8], sought: &[u8]) -> Option<usize> {
    text.windows(sought.len()).position(|window| window == sought)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// What is known of a chat request when it comes.
struct Arrival {
    body: u64,
    number: u32,
    outcome: Outcome,
    wait: Duration,
    said: Said,
}

async fn answer(stream: &mut TcpStream, state: &State, request: &Request) -> Then {
    let at = state.started.elapsed();
    let mut hasher = DefaultHasher::new();
    // The same request is the same whether or not it is streamed.
    request.body.replace(",\"stream\":true,\"stream_options\":{\"include_usage\":true}", "").hash(&mut hasher);
    let body = hasher.finish();
    if request.body.contains(PROBE) {
        return probed(stream, state, request, body).await;
    }
    let (arrival, in_flight) = arrive(state, request, body, at);
    if state.inner().requests > state.knobs.die_after {
        state.death.cancel();
    }
    let latency = state.latency(body, arrival.number);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let written = write(stream, state, request, &arrival).await;
    let outcome = if written.is_ok() { arrival.outcome } else { Outcome::Gone };
    let took = state.started.elapsed().saturating_sub(at);
    let tokens = arrival.said.prompt_tokens + arrival.said.completion_tokens;
    let tokens = if outcome == Outcome::OverLimit { 0 } else { tokens };
    state.record(Entry { at, took, body, number: arrival.number, in_flight, tokens, outcome });
    written.unwrap_or(Then::Close)
}

/// What a client asks to see whether a server answers; such requests are in no statistics.
const PROBE: &str = "Reply with OK.";

/// Answers a probe: well, unless nothing is served at all.
async fn probed(stream: &mut TcpStream, state: &State, request: &Request, body: u64) -> Then {
    let has_key =
        header(&request.head, "authorization").is_some_and(|value| value == format!("Bearer {}", state.knobs.key));
    let outcome = match state.draw(body, 0) {
        _ if !state.knobs.key.is_empty() && !has_key => Outcome::BadKey,
        drawn if state.knobs.rates.iter().any(|(outcome, rate)| *outcome == drawn && *rate >= 1.0) => drawn,
        _ => Outcome::Ok,
    };
    let (said, wait) = (say(&state.knobs, &request.body, body, outcome), state.knobs.retry_after);
    let arrival = Arrival { body, number: 0, outcome, wait, said };
    write(stream, state, request, &arrival).await.unwrap_or(Then::Close)
}

fn arrive(state: &State, request: &Request, body: u64, at: Duration) -> (Arrival, usize) {
    let knobs = &state.knobs;
    let inner = &mut *state.inner();
    inner.requests += 1;
    inner.in_flight += 1;
    let number = inner.seen.entry(body).or_default();
    *number += 1;
    let number = *number;
    let drawn = state.draw(body, number);
    let said = say(knobs, &request.body, body, drawn);
    let has_key = header(&request.head, "authorization").is_some_and(|value| value == format!("Bearer {}", knobs.key));
    let mut wait = knobs.retry_after;
    let outcome = if (!knobs.key.is_empty() && !has_key) || inner.requests > knobs.key_after {
        Outcome::BadKey
    } else if inner.requests > knobs.money_after && !inner.is_paid {
        Outcome::NoMoney
    } else if !request.body.contains("\"messages\":") {
        Outcome::BadRequest
    } else if knobs.refused_key(&request.body).is_some() {
        Outcome::KeyRefused
    } else {
        let tokens = said.prompt_tokens + said.completion_tokens;
        match inner.windows.take(at, tokens, knobs.requests_per_minute, knobs.tokens_per_minute) {
            Ok(()) => drawn,
            Err(until) => {
                wait = until;
                Outcome::OverLimit
            }
        }
    };
    (Arrival { body, number, outcome, wait, said }, inner.in_flight)
}

async fn write(stream: &mut TcpStream, state: &State, request: &Request, arrival: &Arrival) -> io::Result<Then> {
    let Arrival { body, outcome, wait, said, .. } = arrival;
    let is_stream = request.body.contains("\"stream\":true");
    let error = |message: &str, code: &str| {
        let message =
            if state.knobs.echo_headers { format!("{message}; you sent {}", request.head) } else { message.to_owned() };
        serde_json::json!({"error": {"message": message, "code": code, "type": code}}).to_string()
    };
    let status = |status: u16, more: String, body: String| respond(status, &more, &body);
    let reply = match outcome {
        Outcome::Reset => return Ok(Then::Reset),
        Outcome::SlowLoris => return dribble(stream, state, &said.to_body(*body)).await,
        Outcome::EarlyEof => {
            let whole = said.to_body(*body);
            let reply = respond(200, "", &whole);
            stream.write_all(&reply.as_bytes()[..reply.len() - whole.len() / 2]).await?;
            return Ok(Then::Close);
        }
        Outcome::TooMany | Outcome::OverLimit => status(
            429,
            wait_headers(state.knobs.retry_style, *wait),
            error("rate limit reached", "rate_limit_exceeded"),
        ),
        Outcome::ServerError => status(500, String::new(), error("internal error", "server_error")),
        Outcome::Overloaded => status(503, String::new(), error("overloaded", "server_is_overloaded")),
        Outcome::OverflowFlat => {
            let flat = r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","code":400}"#;
            status(400, String::new(), flat.to_owned())
        }
        Outcome::OverflowNested => {
            status(400, String::new(), error("maximum context length is 4096 tokens", "context_length_exceeded"))
        }
        Outcome::NoMoney => {
            let code = if state.knobs.money_style == 402 { "insufficient_balance" } else { "insufficient_quota" };
            status(state.knobs.money_style, String::new(), error("no funds", code))
        }
        Outcome::BadKey => status(401, String::new(), error("Authentication Fails", "invalid_api_key")),
        Outcome::KeyRefused => {
            let (code, body) = refusal(state.knobs.refused_key(&request.body).map_or("", String::as_str));
            status(code, String::new(), body)
        }
        Outcome::BadRequest => status(400, String::new(), error("invalid body", "invalid_request_error")),
        Outcome::ErrorIn200 => status(200, String::new(), error("busy", "busy")),
        Outcome::BlankBody => status(200, String::new(), "\n\n\n".to_owned()),
        Outcome::WrongShape => status(200, String::new(), "{\"answer\":42}".to_owned()),
        Outcome::TruncatedJson => {
            let whole = said.to_body(*body);
            status(200, String::new(), whole[..whole.len() / 2].to_owned())
        }
        _ if is_stream => return write_stream(stream, state, said).await,
        _ if state.knobs.keep_alives > 0 => return write_kept_alive(stream, state, &said.to_body(*body)).await,
        _ => status(200, limit_headers(state), said.to_body(*body)),
    };
    stream.write_all(reply.as_bytes()).await?;
    Ok(Then::Next)
}

/// Returns status and body with which a key is refused: in the words of one of two kinds of servers.
pub fn refusal(key: &str) -> (u16, String) {
    if key.contains("max_") || key == "response_format" {
        let message = format!("Unsupported parameter: '{key}' is not supported with this model.");
        let error = serde_json::json!({"message": message, "param": key, "code": "unsupported_parameter"});
        return (400, serde_json::json!({"error": error}).to_string());
    }
    let detail =
        serde_json::json!([{"type": "extra_forbidden", "loc": ["body", key], "msg": "Extra inputs are not permitted"}]);
    (422, serde_json::json!({"object": "error", "message": {"detail": detail}}).to_string())
}

fn respond(status: u16, more: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} Mock\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n{body}")
}

fn wait_headers(style: RetryStyle, wait: Duration) -> String {
    match style {
        _ if wait.is_zero() => String::new(),
        RetryStyle::None => String::new(),
        RetryStyle::Seconds => format!("Retry-After: {}\r\n", wait.as_secs_f64()),
        RetryStyle::Milliseconds => format!("retry-after-ms: {}\r\n", wait.as_millis()),
        // Against the server's own clock, which stands still.
        RetryStyle::Date => {
            let second = wait.as_secs().clamp(1, 22) + 37;
            format!("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:{second} GMT\r\n")
        }
    }
}

fn limit_headers(state: &State) -> String {
    let Knobs { requests_per_minute, tokens_per_minute, limit_headers, .. } = state.knobs;
    if !limit_headers {
        return String::new();
    }
    let (requests, tokens) = state.inner().windows.used();
    let one = |what: &str, limit: u64, used: u64| {
        let reset = 60.0 * used as f64 / limit.max(1) as f64;
        format!(
            "x-ratelimit-limit-{what}: {limit}\r\nx-ratelimit-remaining-{what}: {}\r\nx-ratelimit-reset-{what}: \
             {reset:.3}s\r\n",
            limit.saturating_sub(used)
        )
    };
    one("requests", requests_per_minute, requests) + &one("tokens", tokens_per_minute, tokens)
}

/// The head, and then one byte now and then, until the client gives up.
async fn dribble(stream: &mut TcpStream, state: &State, body: &str) -> io::Result<Then> {
    let head = format!("HTTP/1.1 200 Mock\r\ncontent-length: {}\r\n\r\n", body.len() + 1_000_000);
    stream.write_all(head.as_bytes()).await?;
    for byte in body.bytes().chain(std::iter::repeat(b' ')) {
        let mut gone = [0];
        tokio::select! {
            read = stream.read(&mut gone) => {
                // The client left, or speaks out of turn.
                let _ = read?;
                return Ok(Then::Close);
            }
            () = tokio::time::sleep(state.knobs.loris_every) => stream.write_all(&[byte]).await?,
        }
    }
    Ok(Then::Close)
}

/// Blank lines until the JSON, as chunks.
async fn write_kept_alive(stream: &mut TcpStream, state: &State, body: &str) -> io::Result<Then> {
    let head = "HTTP/1.1 200 Mock\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for _ in 0..state.knobs.keep_alives {
        stream.write_all(b"1\r\n\n\r\n").await?;
        tokio::time::sleep(state.knobs.keep_alive_every).await;
    }
    stream.write_all(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes()).await?;
    Ok(Then::Next)
}

/// Server-sent events, cut in the middle of lines and characters.
async fn write_stream(stream: &mut TcpStream, state: &State, said: &Said) -> io::Result<Then> {
    let head =
        "HTTP/1.1 200 Mock\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for _ in 0..state.knobs.keep_alives {
        write_chunk(stream, b": keep-alive\n\n").await?;
        tokio::time::sleep(state.knobs.keep_alive_every).await;
    }
    let mut text = said.to_events().concat();
    text.push_str("data: [DONE]\n\n");
    for piece in text.as_bytes().chunks(97) {
        write_chunk(stream, piece).await?;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    Ok(Then::Next)
}

async fn write_chunk(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    stream.write_all(&chunk).await
}

/// The batch API; what is posted is done at once and answered later, if so asked.
async fn serve_batch(stream: &mut TcpStream, state: &State, request: &Request, start: usize) -> io::Result<Then> {
    let method = request.head.split(' ').next().unwrap_or_default();
    let knobs = &state.knobs;
    let has_key = header(&request.head, "authorization").is_some_and(|value| value == format!("Bearer {}", knobs.key));
    let reply = if knobs.key.is_empty() || has_key {
        handle(state, method, &request.path[start..], &request.body)
    } else {
        Reply::Answer(401, "{\"error\":{\"message\":\"Authentication Fails\"}}".to_owned())
    };
    if method == "POST" {
        tokio::time::sleep(knobs.batch_answer).await;
    }
    match reply {
        Reply::Answer(status, body) => {
            stream.write_all(respond(status, "", &body).as_bytes()).await?;
            Ok(Then::Next)
        }
        Reply::Torn(body) => {
            let whole = respond(200, "", &body);
            stream.write_all(&whole.as_bytes()[..whole.len() - body.len() / 2]).await?;
            Ok(Then::Close)
        }
        Reply::Nothing => std::future::pending().await,
    }
}

async fn serve_page(stream: &mut TcpStream, state: &State, path: &str) -> io::Result<Then> {
    let body = match path {
        "/stats" => state.stats().to_string(),
        "/log" => state.inner().entries.iter().map(|entry| entry.to_json() + "\n").collect(),
        "/pay" => {
            state.inner().is_paid = true;
            "{}".to_owned()
        }
        _ => {
            stream.write_all(respond(404, "", "{\"error\":{\"message\":\"no such path\"}}").as_bytes()).await?;
            return Ok(Then::Next);
        }
    };
    stream.write_all(respond(200, "", &body).as_bytes()).await?;
    Ok(Then::Next)
}
