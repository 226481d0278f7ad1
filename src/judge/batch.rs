//! The lines of a batch: requests as they are uploaded, results as they come back.
//!
//! A request is known by its custom id: the beginning of its content address, and the number of the attempt. The body of
//! a result is kept as it stands in its line, unread.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::batch::LINE_URL;
use crate::http::refused_keys::refused_key;
use crate::http::retry::{Class, Evidence, classify};
use crate::http::{CallFailure, DETAIL_CHARS_MAX, RefusedKey, one_line, wire};

/// Digits of a request's key in a custom id: enough never to meet twice, within the 64 characters that servers allow.
const KEY_DIGITS: usize = 40;

/// What stands around a body in its line, in bytes.
pub const LINE_FRAME_BYTES_MAX: usize = 256;

/// Returns the custom id of an attempt at the request with this key.
#[must_use]
pub fn custom_id(request_key: &str, attempt: u32) -> String {
    format!("{}-{attempt}", request_key.get(..KEY_DIGITS).unwrap_or(request_key))
}

/// Returns the line that asks for an attempt with a body as it is sent, with its end of line.
#[must_use]
pub fn request_line(request_key: &str, attempt: u32, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{{\"custom_id\":\"{}\",\"method\":\"POST\",\"url\":\"{LINE_URL}\",\"body\":",
        custom_id(request_key, attempt)
    );
    // The body is canonical JSON without line breaks.
    [head.as_bytes(), body, b"}\n"].concat()
}

/// What a line of a result file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchResult {
    /// Which attempt it is about.
    pub custom_id: String,
    /// How that ended.
    pub end: BatchEnd,
}

/// How an attempt within a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchEnd {
    /// A reply came: its raw body.
    Reply(String),
    /// The server failed or refused it.
    Failed(CallFailure),
    /// The batch ended before it was its turn (expired, cancelled).
    Unanswered(String),
}

#[derive(Deserialize)]
struct Line<'a> {
    custom_id: String,
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(default)]
    status_code: Option<u16>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// Keys of a line's body that a server may refuse.
const SENT_KEYS: &[&str] = &["max_tokens", "max_completion_tokens", "temperature", "response_format"];

/// Codes of requests that were never worked on.
const UNANSWERED_CODES: &[&str] = &["batch_expired", "batch_cancelled", "batch_canceled"];

/// Reads a line of a result file; `None` if it is none.
#[must_use]
pub fn read_line(line: &str) -> Option<BatchResult> {
    let Line { custom_id, response, error } = serde_json::from_str(line).ok()?;
    let failed = |status: Option<u16>, said: &str| {
        let info = wire::parse_error(&format!("{{\"error\":{said}}}")).or_else(|| wire::parse_error(said));
        let code = info.as_ref().and_then(|info| info.code.as_deref());
        let message = info.as_ref().map_or(said, |info| info.message.as_str());
        if code.is_some_and(|code| UNANSWERED_CODES.contains(&code)) {
            return BatchEnd::Unanswered(one_line(message, DETAIL_CHARS_MAX));
        }
        let class = match status {
            Some(status) => classify(Evidence::Status { status, code, message }),
            None => classify(Evidence::ErrorObject { code }),
        };
        let status_text = status.map(|status| format!("HTTP {status}: ")).unwrap_or_default();
        let detail = one_line(&format!("{status_text}{message}"), DETAIL_CHARS_MAX);
        let sent: Vec<String> = SENT_KEYS.iter().map(|&key| key.to_owned()).collect();
        let refused = status.filter(|_| class != Class::FatalRun).and_then(|status| refused_key(status, said, &sent));
        let refused = refused.map(|key| Box::new(RefusedKey { key, hint: String::new() }));
        BatchEnd::Failed(CallFailure { class, status, retry_after: None, detail, refused, body: None })
    };
    let end = match (response, error.filter(|error| error.get() != "null")) {
        (Some(Response { status_code: None | Some(200..=299), body: Some(body) }), None) => {
            let said = body.get();
            let error = wire::ChatReply::parse(said).ok().and_then(|reply| reply.error);
            let class = error.map(|error| classify(Evidence::ErrorObject { code: error.code.as_deref() }));
            // What ends a run ends it here too; other bodies are read as replies are.
            match class {
                Some(Class::FatalRun) => failed(Some(200), error_part(said).as_deref().unwrap_or(said)),
                _ => BatchEnd::Reply(said.to_owned()),
            }
        }
        (Some(Response { status_code: Some(status), body }), None) if !(200..=299).contains(&status) => {
            // The error object stands in the body, as it would without a batch.
            let said = body.map_or("", RawValue::get);
            match wire::parse_error(said) {
                Some(_) => failed(Some(status), error_part(said).as_deref().unwrap_or(said)),
                None => failed(Some(status), said),
            }
        }
        (_, Some(error)) => failed(None, error.get()),
        (_, None) => failed(None, "\"the line holds neither a reply nor an error\""),
    };
    Some(BatchResult { custom_id, end })
}

/// Returns what stands under `error` in a body, if something does.
fn error_part(body: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    value.get("error").filter(|error| !error.is_null()).map(ToString::to_string)
}

/// Returns whether a failure ends the run: what the account may not do, no further request may.
#[must_use]
pub fn is_fatal(end: &BatchEnd) -> Option<&CallFailure> {
    match end {
        BatchEnd::Failed(failure) if failure.class == Class::FatalRun => Some(failure),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(line: &str) -> BatchEnd {
        let result = read_line(line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(result.custom_id, "abc-1");
        result.end
    }

    fn class(line: &str) -> Class {
        match end(line) {
            BatchEnd::Failed(failure) => failure.class,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reply_is_kept_as_it_stands_in_its_line() {
        let line = r#"{"id":"x","custom_id":"abc-1","response":{"status_code":200,"request_id":"r","body":{"choices": [ 1 ],  "b":"\u00e9"}},"error":null}"#;
        assert_eq!(end(line), BatchEnd::Reply(r#"{"choices": [ 1 ],  "b":"\u00e9"}"#.to_owned()));
        let bare = r#"{"custom_id":"abc-1","response":{"body":{}}}"#;
        assert_eq!(end(bare), BatchEnd::Reply("{}".to_owned()));
    }

    #[test]
    fn failures_mean_what_the_retry_table_says() {
        let with = |status: u16, body: &str| {
            format!(r#"{{"custom_id":"abc-1","response":{{"status_code":{status},"body":{body}}},"error":null}}"#)
        };
        assert_eq!(class(&with(500, r#"{"error":{"message":"oops"}}"#)), Class::Transient);
        assert_eq!(class(&with(429, "null")), Class::Transient);
        assert_eq!(class(&with(400, r#"{"error":{"message":"too long"}}"#)), Class::FatalRequest);
        assert_eq!(class(&with(402, r#"{"error":{"message":"no funds"}}"#)), Class::FatalRun);
        assert_eq!(class(&with(429, r#"{"error":{"code":"insufficient_quota","message":"m"}}"#)), Class::FatalRun);
        assert_eq!(class(r#"{"custom_id":"abc-1","error":{"code":"server_error","message":"m"}}"#), Class::Transient);
        assert_eq!(class(r#"{"custom_id":"abc-1"}"#), Class::Transient);
        let flat = with(400, r#"{"object":"error","message":"maximum context length","type":"t","code":400}"#);
        let BatchEnd::Failed(failure) = end(&flat) else { panic!("{flat}") };
        assert_eq!((failure.class, failure.detail.as_str()), (Class::FatalRequest, "HTTP 400: maximum context length"));
        assert!(is_fatal(&end(&with(401, "{}"))).is_some() && is_fatal(&end(&flat)).is_none());
    }

    #[test]
    fn what_was_never_worked_on_is_told_from_what_failed() {
        let line = r#"{"custom_id":"abc-1","response":null,"error":{"code":"batch_expired","message":"too late"}}"#;
        assert_eq!(end(line), BatchEnd::Unanswered("too late".to_owned()));
    }

    #[test]
    fn other_lines_are_none() {
        for line in ["", "{", "[]", "null", r#"{"id":"x"}"#, r#"{"custom_id":7}"#] {
            assert_eq!(read_line(line), None, "{line}");
        }
    }

    #[test]
    fn custom_ids_are_short_and_differ_by_attempt() {
        let key = "0123456789abcdef".repeat(4);
        assert_eq!(custom_id(&key, 12), format!("{}-12", &key[..40]));
        assert!(custom_id(&key, u32::MAX).len() <= 64);
        assert_eq!(custom_id("ab", 1), "ab-1");
    }
}
