//! The memory budget of larger requests: each request reserves a share before using the memory.
//!
//! A share grows as the body arrives, so a client cannot reserve memory without sending bytes. One request at a time
//! may exceed the budget. Otherwise several requests that each hold a share and need more would wait for each other
//! until the server rejects all of them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::limits::{BODIES_BYTES_MAX, BODY_WAIT, SLICE_BYTES, TRIM_INTERVAL};

/// Bytes per permit of the semaphore.
const UNIT_BYTES: usize = 1 << 10;

/// The memory budget of larger requests.
pub(super) struct Memory {
    units: Arc<Semaphore>,
    /// The permit to exceed the budget.
    beyond: Arc<Semaphore>,
    /// Whether a share was released since the allocator last returned memory to the system.
    is_dirty: Arc<AtomicBool>,
}

/// A part of the budget; dropping the share releases it.
pub(super) struct Share {
    units: Option<OwnedSemaphorePermit>,
    beyond: Option<OwnedSemaphorePermit>,
    bytes: usize,
    is_dirty: Arc<AtomicBool>,
}

impl Share {
    /// Returns the reserved bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Releases all but `bytes` bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
        let kept = self.bytes.div_ceil(UNIT_BYTES);
        if let Some(units) = &mut self.units {
            let held = units.num_permits();
            if kept <= held {
                self.beyond = None;
            }
            if kept < held {
                drop(units.split(held - kept));
                self.is_dirty.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.units.take().is_some() {
            self.is_dirty.store(true, Ordering::Relaxed);
        }
    }
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            units: Arc::new(Semaphore::new(BODIES_BYTES_MAX / UNIT_BYTES)),
            beyond: Arc::new(Semaphore::new(1)),
            is_dirty: Arc::default(),
        }
    }

    /// Returns freed memory to the system after large requests, until `stop`.
    pub(super) fn trim_until(&self, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
        let is_dirty = Arc::clone(&self.is_dirty);
        let trim = async move {
            loop {
                tokio::time::sleep(TRIM_INTERVAL).await;
                if is_dirty.swap(false, Ordering::Relaxed) {
                    // The result does not matter: trimming is an optimization.
                    let _ = tokio::task::spawn_blocking(crate::sys::memory::return_freed).await;
                }
            }
        };
        async move {
            tokio::select! {
                () = trim => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Returns an empty share.
    pub(super) fn share(&self) -> Share {
        Share { units: None, beyond: None, bytes: 0, is_dirty: Arc::clone(&self.is_dirty) }
    }

    /// Enlarges a share to `bytes` bytes; waits until they are free.
    ///
    /// # Errors
    /// [`ApiError`] if the bytes exceed the budget, or are not free in time.
    pub(super) async fn enlarge(&self, share: &mut Share, bytes: usize) -> Result<(), ApiError> {
        if bytes > BODIES_BYTES_MAX {
            return Err(ApiError::too_many_values());
        }
        let wanted = bytes.saturating_sub(share.bytes).div_ceil(UNIT_BYTES);
        if wanted == 0 {
            return Ok(());
        }
        if share.beyond.is_none() {
            let units = Arc::clone(&self.units).acquire_many_owned(u32::try_from(wanted).unwrap_or(u32::MAX));
            // A request with an empty share blocks no other request, so it need not exceed the budget.
            let holds = share.bytes > 0;
            let granted = async {
                tokio::select! {
                    biased;
                    units = units => units.map(|units| (Some(units), None)),
                    beyond = Arc::clone(&self.beyond).acquire_owned(), if holds => beyond.map(|turn| (None, Some(turn))),
                }
            };
            let Ok(Ok((units, beyond))) = timeout(BODY_WAIT, granted).await else {
                return Err(ApiError::overloaded("large requests"));
            };
            match (&mut share.units, units) {
                (Some(held), Some(units)) => held.merge(units),
                (held @ None, units) => *held = units,
                (Some(_), None) => {}
            }
            share.beyond = beyond;
        }
        share.bytes = bytes;
        Ok(())
    }
}

/// A response that is sent slice by slice and releases its share accordingly. The connection requests the next slice
/// only after it has sent the slices before, so the unread part of a response is in memory once, and reserved.
pub(super) struct Sliced {
    slices: VecDeque<Bytes>,
    left: usize,
    share: Share,
}

impl Sliced {
    /// Copies a text into slices that are freed one by one.
    pub(super) fn new(text: String, mut share: Share) -> Self {
        let slices = text.as_bytes().chunks(SLICE_BYTES).map(Bytes::copy_from_slice).collect();
        let left = text.len();
        drop(text);
        share.shrink(left);
        Self { slices, left, share }
    }

    pub(super) fn into_body(self) -> Body {
        Body::new(self)
    }
}

impl HttpBody for Sliced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(slice) = self.slices.pop_front() else { return Poll::Ready(None) };
        self.left = self.left.saturating_sub(slice.len());
        let left = self.left;
        self.share.shrink(left);
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.slices.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn requests_that_hold_all_memory_and_want_more_go_on_one_by_one() {
        let memory = Memory::new();
        let mut shares: Vec<Share> = (0..3).map(|_| memory.share()).collect();
        for share in &mut shares {
            assert_eq!(memory.enlarge(share, 64 * MIB).now_or_never(), Some(Ok(())));
        }
        let mut late = memory.share();
        assert_eq!(memory.enlarge(&mut late, MIB).now_or_never(), None, "who holds nothing waits");
        let [first, second, _] = shares.as_mut_slice() else { unreachable!() };
        assert_eq!(memory.enlarge(first, 80 * MIB).now_or_never(), Some(Ok(())));
        assert_eq!(memory.enlarge(first, 90 * MIB).now_or_never(), Some(Ok(())));
        assert_eq!(memory.enlarge(second, 80 * MIB).now_or_never(), None, "one at a time");
        assert!(memory.enlarge(first, BODIES_BYTES_MAX + 1).now_or_never().is_some_and(|refused| refused.is_err()));
        shares.remove(0);
        let [second, third] = shares.as_mut_slice() else { unreachable!() };
        assert_eq!(memory.enlarge(second, 128 * MIB).now_or_never(), Some(Ok(())));
        assert_eq!(memory.enlarge(third, 65 * MIB).now_or_never(), Some(Ok(())), "the turn has come back");
        drop(shares);
        assert_eq!(memory.units.available_permits(), BODIES_BYTES_MAX / UNIT_BYTES);
        assert_eq!(memory.beyond.available_permits(), 1);
    }

    #[tokio::test]
    async fn an_answer_gives_its_memory_back_slice_by_slice_and_says_how_long_it_is() {
        let memory = Memory::new();
        let mut share = memory.share();
        memory.enlarge(&mut share, 10 * MIB).await.unwrap();
        let text = "a long answer ".repeat(100_000);
        let mut body = Sliced::new(text.clone(), share);
        let held = |memory: &Memory| BODIES_BYTES_MAX - memory.units.available_permits() * UNIT_BYTES;
        assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
        assert_eq!(held(&memory), text.len().div_ceil(UNIT_BYTES) * UNIT_BYTES, "no more than the answer");
        let mut found = Vec::new();
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let slice = frame.into_data().unwrap();
            assert!(slice.len() <= SLICE_BYTES);
            found.extend_from_slice(&slice);
            assert_eq!(held(&memory), (text.len() - found.len()).div_ceil(UNIT_BYTES) * UNIT_BYTES);
            assert_eq!(body.is_end_stream(), found.len() == text.len());
        }
        assert_eq!(found, text.as_bytes());
    }
}
