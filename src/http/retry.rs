//! The only retry table: the meaning of an attempt's end, and the wait before the next attempt.
//!
//! | end of the attempt | class | reduces concurrency |
//! |---|---|---|
//! | connection refused, DNS failure, TLS handshake failure, connect timeout | `Unreachable` | |
//! | 401, 402, 403; any 3xx; a money code (`insufficient_quota` and kin) with any status or in a 200 | `FatalRun` | |
//! | 404, 405; a code or message about an unknown model | `FatalRun` | |
//! | 408, 409, 425, 500, 502, 504, any other 5xx | `Transient` | |
//! | 429, 503, 529 | `Transient` | yes |
//! | 400, 413, 422 (context overflow and content filter among them), any other status | `FatalRequest` | |
//! | reset, early end of file, total timeout, before the reply was complete | `Transient` | |
//! | 2xx: blank body, not JSON, error object, the finish reason of a server that gave up, nothing usable | `Transient` | |
//! | 2xx: an error object about a rate limit or overload | `Transient` | yes |
//! | 2xx: truncated by the token limit (`length`) | `Length` | |
//! | 2xx: stopped by a content filter | `FatalRequest` | |
//! | `x-should-retry: true` beside `FatalRequest`, `false` beside `Transient` | the other of the two | |
//!
//! A reply is complete after a finish reason or a stream's `[DONE]`: a later fault is ignored, and so is an error next
//! to text that ended normally. Text with an unknown finish reason ([`super::finish`]), or without one, is usable. A
//! stream that broke off earlier holds a truncated text, which is not a response. The failure carries that text
//! ([`super::CallFailure::body`]), and the text of a reply that the server cut short, so that the paid part is stored;
//! then the request is sent again.
//!
//! The failures that end the run would meet every request alike: a redirect, a wrong path, an unknown model. The wait
//! is the server's requested wait if it is valid, else exponential back-off with full jitter. The jitter is a hash of
//! the request's key and attempt: it spreads different requests out, and the same run always waits the same time.

use std::time::Duration;

pub use super::backoff::{Backoff, Growth, LONG_WAIT};
pub use super::overflow::says_context_overflow;

/// How to react to the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// No request of this run can succeed (key, balance, quota, redirect, model): stop, resumably.
    FatalRun,
    /// This request can never succeed: give it up at once.
    FatalRequest,
    /// The next attempt may succeed: wait and retry, within the allowed attempts.
    Transient,
    /// The token limit truncated the reply: one more attempt under [`raised_cap`], then give the request up.
    Length,
    /// No connection was made, so nothing was sent and nothing can have been charged.
    Unreachable,
}

/// The evidence of an attempt without a usable reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence<'a> {
    /// The connection was refused, the host is unknown, the TLS handshake failed, or the connect timeout passed.
    NotConnected,
    /// The connection was reset, or ended before the reply was complete.
    Interrupted,
    /// The total timeout passed after the connection was made.
    TimedOut,
    /// A status other than 2xx, with the error in the body.
    Status {
        /// The HTTP status.
        status: u16,
        /// `error.code`, else `error.type`.
        code: Option<&'a str>,
        /// The server's error text; empty if there is none.
        message: &'a str,
    },
    /// 2xx, but the body is blank.
    BlankBody,
    /// 2xx, but the body is not a JSON object.
    NotJson,
    /// 2xx, but the body is an error object.
    ErrorObject {
        /// `error.code`, else `error.type`.
        code: Option<&'a str>,
    },
    /// 2xx, but the server cut generation short (`insufficient_system_resource`, `aborted` and kin).
    CutByServer,
    /// 2xx, but the token limit ended the reply before any usable text.
    Length,
    /// 2xx, but a content filter ended or emptied the reply.
    ContentFilter,
    /// 2xx and well-formed, but without usable content.
    Unusable,
}

/// Error codes for an account without money or quota, whatever the HTTP status.
const MONEY_CODES: &[&str] = &[
    "insufficient_quota",
    "insufficient_balance",
    "credit_balance_exhausted",
    "organization_usage_limit_exceeded",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "billing_hard_limit_reached",
    "billing_not_active",
    "exceeded_current_quota_error",
];

/// Error codes for an overloaded server.
const OVERLOAD_CODES: &[&str] =
    &["rate_limit_exceeded", "rate_limit_error", "slow_down", "server_is_overloaded", "overloaded_error", "busy"];

/// Error codes for an unknown model.
const MODEL_CODES: &[&str] = &["model_not_found", "invalid_model", "model_not_available"];

/// Classifies an attempt's end, by the table in the module's doc.
#[must_use]
pub fn classify(evidence: Evidence<'_>) -> Class {
    match evidence {
        Evidence::NotConnected => Class::Unreachable,
        Evidence::Status { code: Some(code), .. } | Evidence::ErrorObject { code: Some(code) }
            if MONEY_CODES.contains(&code) || MODEL_CODES.contains(&code) =>
        {
            Class::FatalRun
        }
        Evidence::Status { status: 300..=399 | 401..=405, .. } => Class::FatalRun,
        Evidence::Status { status: 400 | 422, message, .. } if says_no_such_model(message) => Class::FatalRun,
        Evidence::Status { status: 408 | 409 | 425 | 429 | 500..=599, .. } => Class::Transient,
        Evidence::Status { .. } | Evidence::ContentFilter => Class::FatalRequest,
        Evidence::Length => Class::Length,
        Evidence::Interrupted
        | Evidence::TimedOut
        | Evidence::BlankBody
        | Evidence::NotJson
        | Evidence::ErrorObject { .. }
        | Evidence::CutByServer
        | Evidence::Unusable => Class::Transient,
    }
}

/// Returns whether the server requests a lower load; the last column of the table.
#[must_use]
pub fn is_overload(evidence: Evidence<'_>) -> bool {
    match evidence {
        Evidence::Status { status: 429 | 503 | 529, .. } => classify(evidence) == Class::Transient,
        Evidence::ErrorObject { code: Some(code) } => OVERLOAD_CODES.contains(&code),
        _ => false,
    }
}

/// Applies the server's own instruction on retries (`x-should-retry`); it changes neither `FatalRun` nor `Unreachable`.
#[must_use]
pub fn heed_should_retry(class: Class, header: Option<&str>) -> Class {
    match (class, header.map(str::trim)) {
        (Class::FatalRequest, Some("true")) => Class::Transient,
        (Class::Transient, Some("false")) => Class::FatalRequest,
        _ => class,
    }
}

/// Matches "Model Not Exist", "The model `x` does not exist" and "model 'x' not found".
fn says_no_such_model(message: &str) -> bool {
    let lower = message.to_lowercase();
    lower.contains("model") && ["not exist", "not found", "no such model"].iter().any(|words| lower.contains(words))
}

/// Phrases of servers that refuse to answer the content of a request.
const MODERATED_WORDS: &[&str] = &[
    "moderation",
    "content filter",
    "content_filter",
    "content management policy",
    "content policy",
    "responsible ai",
    "safety system",
    "flagged",
    "data_inspection_failed",
    "inappropriate content",
    "prohibited",
];

/// Returns whether a refusal concerns the request itself: too long, or against the server's rules.
#[must_use]
pub fn says_about_this_request(status: Option<u16>, message: &str) -> bool {
    let lower = message.to_lowercase();
    status == Some(413)
        || says_context_overflow(None, message)
        || MODERATED_WORDS.iter().any(|words| lower.contains(words))
}

/// The maximum number of times that a request is sent while the server refuses it with a text that is not about the
/// request: some servers refuse one request in five for a transient reason.
pub const REFUSED_TRIES: usize = 8;

/// Returns whether a status refuses the request, in contrast to a transient fault.
#[must_use]
pub const fn is_refusal(status: Option<u16>) -> bool {
    matches!(status, Some(300..=499)) && !matches!(status, Some(408 | 409 | 425 | 429))
}

/// The factor of the token limit in the retry of a truncated reply.
const CAP_FACTOR: u32 = 2;

/// Returns the token limit of the one retry after a truncated reply.
#[must_use]
pub const fn raised_cap(tokens_max: u32) -> u32 {
    tokens_max.saturating_mul(CAP_FACTOR)
}

/// Returns advice for a failure with this status; `None` means "no connection".
#[must_use]
pub fn hint(status: Option<u16>) -> &'static str {
    match status {
        None => "check base_url and the network, then run the same command again: everything so far is kept",
        Some(401) => "check the API key in the environment variable that api_key_env names",
        Some(403) => "this key, organisation or region may not use the model; check the account and model",
        Some(404 | 405) => "check base_url and model: the server knows no such path or model",
        Some(300..=399) => "base_url redirects; set it to the final address",
        Some(413 | 422 | 400) => "check the model's context length and the extra body keys",
        Some(200..=299 | 402 | 429) => {
            "the account is out of money or quota; top it up, then run the same command again: everything so far is kept"
        }
        Some(_) => "look at the server's log",
    }
}

/// The maximum wait that a server's `Retry-After` can cause for one request; the breaker handles longer waits.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// The maximum accepted wait, in seconds.
const YEAR_S: f64 = 366.0 * 86_400.0;

/// The texts of the headers that request a wait.
#[derive(Debug, Clone, Copy, Default)]
pub struct WaitHeaders<'a> {
    /// `retry-after-ms`: milliseconds.
    pub retry_after_ms: Option<&'a str>,
    /// `Retry-After`: seconds, possibly with a fraction, or an HTTP date.
    pub retry_after: Option<&'a str>,
    /// `Date`: the server's own clock, the reference for an HTTP date.
    pub date: Option<&'a str>,
}

/// Returns the wait that the server requested: `retry-after-ms`, else `Retry-After` in seconds, else `Retry-After` as
/// an HTTP date.
///
/// Only finite waits above zero and up to a year count. An HTTP date counts only together with a `Date` header, so that
/// no local clock is involved.
#[must_use]
pub fn retry_after(headers: WaitHeaders<'_>) -> Option<Duration> {
    let seconds_of = |text: Option<&str>, scale: f64| text?.trim().parse::<f64>().ok().map(|value| value * scale);
    let by_date = || {
        let wish = http_date_seconds(headers.retry_after?)?;
        let now = http_date_seconds(headers.date?)?;
        // Dates of this era differ by far less than 2^52 seconds.
        Some((wish - now) as f64)
    };
    [seconds_of(headers.retry_after_ms, 1e-3), seconds_of(headers.retry_after, 1.0), by_date()]
        .into_iter()
        .flatten()
        .find(|seconds| *seconds > 0.0 && seconds.is_finite())
        .map(|seconds| Duration::from_secs_f64(seconds.min(YEAR_S)))
}

/// Parses an IMF-fixdate (`Sun, 06 Nov 1994 08:49:37 GMT`) as seconds since 1970; other date forms are obsolete.
fn http_date_seconds(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.trim().split_once(", ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = fields.as_slice() else { return None };
    let month = i64::try_from(MONTHS.iter().position(|name| name == month)?).ok()? + 1;
    let (day, year) = (day.parse::<i64>().ok()?, year.parse::<i64>().ok()?);
    let clock: Vec<i64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = clock.as_slice() else { return None };
    let is_time = (0..24).contains(hour) && (0..60).contains(minute) && (0..=60).contains(second);
    if !(1..=31).contains(&day) || !(1970..=9999).contains(&year) || !is_time {
        return None;
    }
    // Days since 1970 of the proleptic Gregorian calendar, with years that begin in March (H. Hinnant,
    // days_from_civil).
    let shifted_year = year - i64::from(month <= 2);
    let era = shifted_year / 400;
    let year_of_era = shifted_year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_row_by_row() {
        use Class::{FatalRequest, FatalRun, Length, Transient, Unreachable};
        let status = |status, code| Evidence::Status { status, code, message: "" };
        let said = |status, message| Evidence::Status { status, code: None, message };
        let rows: &[(Evidence<'_>, Class)] = &[
            (Evidence::NotConnected, Unreachable),
            (Evidence::Interrupted, Transient),
            (Evidence::TimedOut, Transient),
            (status(301, None), FatalRun),
            (status(308, None), FatalRun),
            (status(400, None), FatalRequest),
            (status(400, Some("context_length_exceeded")), FatalRequest),
            (status(400, Some("insufficient_balance")), FatalRun),
            (status(401, None), FatalRun),
            (status(402, None), FatalRun),
            (status(403, None), FatalRun),
            (said(400, "Model Not Exist"), FatalRun),
            (said(422, "The model `x` does not exist."), FatalRun),
            (said(400, "This model's maximum context length is 4096 tokens"), FatalRequest),
            (status(400, Some("content_filter")), FatalRequest),
            (status(404, None), FatalRun),
            (status(404, Some("model_not_found")), FatalRun),
            (status(405, None), FatalRun),
            (status(408, None), Transient),
            (status(409, None), Transient),
            (status(413, None), FatalRequest),
            (status(418, None), FatalRequest),
            (status(422, None), FatalRequest),
            (status(425, None), Transient),
            (status(429, None), Transient),
            (status(429, Some("rate_limit_exceeded")), Transient),
            (status(429, Some("slow_down")), Transient),
            (status(500, None), Transient),
            (status(502, None), Transient),
            (status(503, Some("server_is_overloaded")), Transient),
            (status(504, None), Transient),
            (status(529, None), Transient),
            (Evidence::BlankBody, Transient),
            (Evidence::NotJson, Transient),
            (Evidence::ErrorObject { code: None }, Transient),
            (Evidence::ErrorObject { code: Some("busy") }, Transient),
            (Evidence::ErrorObject { code: Some("insufficient_quota") }, FatalRun),
            (Evidence::ErrorObject { code: Some("model_not_found") }, FatalRun),
            (Evidence::CutByServer, Transient),
            (Evidence::Length, Length),
            (Evidence::ContentFilter, FatalRequest),
            (Evidence::Unusable, Transient),
        ];
        for (evidence, expected) in rows {
            assert_eq!(classify(*evidence), *expected, "{evidence:?}");
        }
        for code in MONEY_CODES {
            assert_eq!(classify(status(429, Some(code))), FatalRun, "{code}");
        }
    }

    #[test]
    fn only_rate_limits_and_overload_shrink_concurrency() {
        let status = |status, code| Evidence::Status { status, code, message: "" };
        for (evidence, expected) in [
            (status(429, None), true),
            (status(503, Some("server_is_overloaded")), true),
            (status(529, None), true),
            (status(429, Some("insufficient_quota")), false),
            (status(500, None), false),
            (Evidence::ErrorObject { code: Some("busy") }, true),
            (Evidence::ErrorObject { code: Some("insufficient_quota") }, false),
            (Evidence::ErrorObject { code: None }, false),
            (Evidence::Interrupted, false),
            (Evidence::NotConnected, false),
        ] {
            assert_eq!(is_overload(evidence), expected, "{evidence:?}");
        }
    }

    #[test]
    fn the_servers_word_on_retrying_moves_between_two_classes_only() {
        use Class::{FatalRequest, FatalRun, Length, Transient, Unreachable};
        for class in [FatalRequest, FatalRun, Length, Transient, Unreachable] {
            let expected = |word| match (class, word) {
                (FatalRequest, "true") => Transient,
                (Transient, "false") => FatalRequest,
                (class, _) => class,
            };
            for word in ["true", "false", "perhaps"] {
                assert_eq!(heed_should_retry(class, Some(word)), expected(word), "{class:?} {word}");
            }
            assert_eq!(heed_should_retry(class, None), class);
        }
    }

    #[test]
    fn a_cap_is_raised_within_its_type() {
        assert_eq!(raised_cap(400), 800);
        assert_eq!(raised_cap(u32::MAX), u32::MAX);
    }

    #[test]
    fn retry_after_prefers_milliseconds_then_seconds_then_the_date() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let in_5_s = Some("Sun, 06 Nov 1994 08:49:42 GMT");
        let tomorrow = Some("Mon, 07 Nov 1994 08:49:37 GMT");
        let rows = [
            (Some("20"), Some("3"), None, Some(20)),
            (Some("soon"), Some("3"), None, Some(3000)),
            (Some("0"), Some("3"), None, Some(3000)),
            (None, Some("1"), None, Some(1000)),
            (None, Some(" 0.25 "), None, Some(250)),
            (None, Some("0"), None, None),
            (None, Some("-1"), None, None),
            (None, Some("NaN"), None, None),
            (None, Some("inf"), None, None),
            (None, Some("120"), None, Some(120_000)),
            (None, Some("7200"), None, Some(7_200_000)),
            (None, in_5_s, date, Some(5000)),
            (None, tomorrow, date, Some(86_400_000)),
            (None, date, date, None),
            (None, date, in_5_s, None),
            (None, in_5_s, None, None),
            (None, Some("Sunday, 06-Nov-94 08:49:37 GMT"), date, None),
            (None, Some(""), None, None),
            (None, None, date, None),
            (None, Some("1e9"), None, Some(YEAR_S as u64 * 1000)),
            (Some("1e300"), Some("5"), None, Some(YEAR_S as u64 * 1000)),
            (Some("NaN"), Some("-1e9"), None, None),
            (None, Some("inf"), None, None),
            (None, Some("1e999"), None, None),
            (None, Some("-0.0"), None, None),
            (None, Some("Sun, 06 Nov 9999 08:49:37 GMT"), date, Some(YEAR_S as u64 * 1000)),
            (None, Some("Sun, 06 Nov 1994 9223372036854775807:49:37 GMT"), date, None),
            (None, Some("Sun, 99999999999999999999 Nov 1994 08:49:37 GMT"), date, None),
        ];
        for (retry_after_ms, after, date, expected) in rows {
            let headers = WaitHeaders { retry_after_ms, retry_after: after, date };
            assert_eq!(retry_after(headers), expected.map(Duration::from_millis), "{headers:?}");
        }
    }

    #[test]
    fn http_dates_are_counted_over_leap_days_and_centuries() {
        assert_eq!(http_date_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date_seconds("Tue, 29 Feb 2000 00:00:00 GMT"), Some(951_782_400));
        assert_eq!(http_date_seconds("Mon, 01 Mar 2100 00:00:00 GMT"), Some(4_107_542_400));
        assert_eq!(http_date_seconds("Sun, 06 Nov 1994 08:49 GMT"), None);
        assert_eq!(http_date_seconds("Sun, 06 Nov 1994 08:49:37 UTC"), None);
    }

    #[test]
    fn every_fatal_status_has_a_hint_of_its_own() {
        assert!(hint(Some(401)).contains("api_key_env"));
        assert!(hint(Some(402)).contains("top it up"));
        assert!(hint(Some(429)).contains("quota"));
        assert!(hint(Some(404)).contains("base_url and model"));
        assert!(hint(Some(302)).contains("redirects"));
        assert!(hint(None).contains("base_url"));
    }
}
