//! The lines of a batch: requests as thinkloom uploads them, and results as the provider returns them.
//!
//! A custom id identifies a request: the beginning of the request's content address, and the number of the attempt. The
//! body of a result is kept unparsed, exactly as its line holds it.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::batch::LINE_URL;
use crate::http::refused_keys::refused_key;
use crate::http::retry::{Class, Evidence, classify};
use crate::http::{CallFailure, DETAIL_CHARS_MAX, RefusedKey, one_line, wire};

/// Digits of a request's key in a custom id: enough to exclude collisions, within the 64 characters that servers allow.
const KEY_DIGITS: usize = 40;

/// Bytes of a line around its body, at most.
pub const LINE_FRAME_BYTES_MAX: usize = 256;

/// Returns the custom id of an attempt at the request with this key.
#[must_use]
pub fn custom_id(request_key: &str, attempt: u32) -> String {
    format!("{}-{attempt}", request_key.get(..KEY_DIGITS).unwrap_or(request_key))
}

/// Returns the line that requests an attempt, with its line end. `body` is the body as it is sent.
#[must_use]
pub fn request_line(request_key: &str, attempt: u32, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{{\"custom_id\":\"{}\",\"method\":\"POST\",\"url\":\"{LINE_URL}\",\"body\":",
        custom_id(request_key, attempt)
    );
    // The body is canonical JSON and holds no line breaks.
    [head.as_bytes(), body, b"}\n"].concat()
}

/// One line of a result file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchResult {
    /// The attempt that the result belongs to.
    pub custom_id: String,
    /// How the attempt ended.
    pub end: BatchEnd,
}

/// How an attempt within a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchEnd {
    /// A reply: its raw body.
    Reply(String),
    /// The server failed or refused the request.
    Failed(CallFailure),
    /// The batch ended (expired, cancelled) before the request was answered.
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

/// The keys of a line's body that a server may refuse.
const SENT_KEYS: &[&str] = &["max_tokens", "max_completion_tokens", "temperature", "response_format"];

/// Error codes of requests that the provider never started.
const UNANSWERED_CODES: &[&str] = &["batch_expired", "batch_cancelled", "batch_canceled"];

/// Parses a line of a result file; `None` if the line is not a result.
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
            // An error that ends a run ends the run here too; other bodies are parsed like replies.
            match class {
                Some(Class::FatalRun) => failed(Some(200), error_part(said).as_deref().unwrap_or(said)),
                _ => BatchEnd::Reply(said.to_owned()),
            }
        }
        (Some(Response { status_code: Some(status), body }), None) if !(200..=299).contains(&status) => {
            // The error object is inside the body, as in a reply without a batch.
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

/// Returns the value of the key `error` in a body, if there is one.
fn error_part(body: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    value.get("error").filter(|error| !error.is_null()).map(ToString::to_string)
}

/// Returns the failure if it ends the run: an operation that the account may not do fails for every request.
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
