//! Reads request bodies: JSON, each limited in size and time, and all together limited in memory.
//!
//! A small body needs no reservation. A larger body reserves memory as it grows (`memory`) and waits for it; the
//! reservation also covers the parsed form (`scan`). The end of the request releases the reservation, and the allocator
//! returns the freed memory to the system soon after.

#![warn(clippy::indexing_slicing)] // a body is untrusted input

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures::StreamExt;
use tokio::time::{Duration, Instant, timeout};

use super::connections::{Doing, Line};
use super::error::ApiError;
use super::guard::{drain, take_refused};
use super::limits::{
    BODIES_BYTES_MAX, BODY_BYTES_MAX, BODY_BYTES_PER_S, BODY_PAUSE, BODY_TIMEOUT, BODY_TURNOVER_S, DEPTH_MAX,
    SMALL_BODY_BYTES,
};
use super::memory::{Memory, Share};
use super::scan::Scan;

/// Bytes that a parsed body may take without a reservation.
const UNASKED_BYTES: usize = 1 << 20;

/// The body of a request, with its reserved memory.
pub(super) struct Taken {
    bytes: Vec<u8>,
    /// Reserved until the end of the request.
    share: Share,
}

impl Taken {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns whether the body is so small that processing it is fast.
    pub(super) fn is_small(&self) -> bool {
        self.bytes.len() <= SMALL_BODY_BYTES
    }

    /// Returns the bytes and their reservation; the caller may need to enlarge the reservation.
    pub(super) fn into_parts(self) -> (Vec<u8>, Share) {
        (self.bytes, self.share)
    }
}

impl Memory {
    /// Reads the body of a request: JSON of at most `bytes_max` bytes, and never more than 64 MiB.
    ///
    /// # Errors
    /// [`ApiError`] if the body has another type, is too large, too slow or too deep, or breaks off. `too_large` makes
    /// the error for a body of more than `bytes_max` bytes.
    pub(super) async fn read(
        &self,
        request: Request,
        bytes_max: usize,
        too_large: fn(usize) -> ApiError,
    ) -> Result<Taken, ApiError> {
        let (parts, body) = request.into_parts();
        let line = parts.extensions.get::<Line>().cloned();
        let declared = declared_bytes(&parts.headers);
        let refused = if !is_json(&parts.headers) {
            Some(ApiError::no_json())
        } else if declared.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
            Some(ApiError::too_large(BODY_BYTES_MAX))
        } else if declared.is_some_and(|bytes| bytes > bytes_max) {
            Some(too_large(bytes_max))
        } else {
            None
        };
        if let Some(error) = refused {
            take_refused(&parts, body).await;
            return Err(error);
        }
        if let Some(line) = &line {
            line.set(Doing::Reading);
        }
        let taken = self.read_allowed(body, declared, bytes_max, too_large).await;
        if let Some(line) = &line {
            line.set(Doing::Answering);
        }
        taken
    }

    async fn read_allowed(
        &self,
        body: Body,
        declared: Option<usize>,
        bytes_max: usize,
        too_large: fn(usize) -> ApiError,
    ) -> Result<Taken, ApiError> {
        let (mut share, mut scan, mut bytes) = (self.share(), Scan::default(), Vec::new());
        let (mut stream, mut pace) = (body.into_data_stream(), Pace::new());
        loop {
            let asked = Instant::now();
            let part = match timeout(pace.patience(), stream.next()).await {
                Err(_) => return Err(ApiError::slow()),
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(ApiError::invalid("", format!("the body broke off: {error}"))),
                Ok(Some(Ok(part))) => part,
            };
            let length = bytes.len() + part.len();
            pace.came(part.len(), length, asked.elapsed());
            scan.feed(&part);
            if scan.depth_max > DEPTH_MAX {
                return Err(ApiError::invalid("", format!("the body is nested deeper than {DEPTH_MAX} levels")));
            }
            if length > bytes_max {
                drain(stream, BODY_PAUSE).await;
                return Err(if length > BODY_BYTES_MAX {
                    ApiError::too_large(BODY_BYTES_MAX)
                } else {
                    too_large(bytes_max)
                });
            }
            if length > bytes.capacity() {
                let end = declared.unwrap_or(bytes_max).min(bytes_max);
                let room = SMALL_BODY_BYTES.max(bytes.capacity() * 2).min(end).max(length);
                if room > SMALL_BODY_BYTES {
                    // Half as much again covers the parsed form of most bodies, so a second reservation is rare.
                    self.enlarge(&mut share, (room + room / 2).min(BODIES_BYTES_MAX)).await?;
                }
                bytes.reserve_exact(room - bytes.len());
            }
            bytes.extend_from_slice(&part);
        }
        let parsed = scan.parsed_bytes();
        if parsed > UNASKED_BYTES || share.bytes() > 0 {
            let needed = bytes.capacity() + parsed;
            self.enlarge(&mut share, needed).await?;
            share.shrink(needed);
        }
        Ok(Taken { bytes, share })
    }
}

/// The time for which a client may still send nothing. Received bytes earn time, up to a small maximum, so a client
/// cannot send most of a body at once and then stall. The more bytes the server holds, the faster the rest must arrive.
struct Pace {
    left: Duration,
}

impl Pace {
    fn new() -> Self {
        Self { left: BODY_TIMEOUT }
    }

    fn patience(&self) -> Duration {
        self.left.min(BODY_PAUSE)
    }

    /// Records a part of the body; the body now has `length` bytes.
    fn came(&mut self, part: usize, length: usize, waited: Duration) {
        let bytes_per_s = BODY_BYTES_PER_S.max(length / BODY_TURNOVER_S);
        let earned = Duration::from_secs_f64(part as f64 / bytes_per_s as f64);
        self.left = (self.left.saturating_sub(waited) + earned).min(BODY_TIMEOUT);
    }
}

fn declared_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Returns whether the body declares `application/json`. A page of another origin cannot send this type without CORS.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a body in parts of 16 KiB: `fast` bytes at once, the rest at a fixed rate. Returns how many bytes arrive.
    fn sent(fast: usize, length: usize, bytes_per_s: usize) -> usize {
        let (mut pace, mut came, part) = (Pace::new(), 0, 16 << 10);
        while came < length {
            let waited =
                if came < fast { Duration::ZERO } else { Duration::from_secs_f64(part as f64 / bytes_per_s as f64) };
            if waited > pace.patience() {
                break;
            }
            came += part;
            pace.came(part, came, waited);
        }
        came
    }

    #[test]
    fn slow_links_bring_their_bodies_and_nobody_holds_much_by_sending_little() {
        let (kib, mib) = (1 << 10, 1 << 20);
        assert_eq!(sent(0, 4 * mib, 64 * kib), 4 * mib, "a slow link");
        assert_eq!(sent(0, 64 * mib, 1 << 20), 64 * mib, "a large body at 1 MiB/s");
        assert!(sent(0, mib, 8 * kib) < mib);
        // Most of a large body at once, the rest slowly.
        let held = sent(60 * mib, 64 * mib, 64 * kib);
        assert!((60 * mib..62 * mib).contains(&held), "{held}");
        let mut pace = Pace::new();
        pace.came(60 * mib, 60 * mib, Duration::ZERO);
        assert_eq!(pace.patience(), BODY_PAUSE);
        for _ in 0..2 {
            pace.came(1, 60 * mib, Duration::from_secs(9));
        }
        assert!(pace.patience() < Duration::from_millis(1), "two bytes in 18 s are too few");
    }
}
