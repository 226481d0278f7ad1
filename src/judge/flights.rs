//! Identical requests share one call: the second request waits for the first, and then finds the first one's reply in
//! the journal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The requests in flight. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Flights {
    under_way: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

/// The exclusive right to send one request, until dropped.
#[derive(Debug)]
#[must_use = "dropping the flight at once lets others send the same request"]
pub struct Flight {
    key: String,
    flights: Flights,
    permit: Option<OwnedSemaphorePermit>,
}

impl Flights {
    /// Waits until nobody else sends the request with this key. Cancel-safe.
    pub async fn begin(&self, key: &str) -> Flight {
        let turn = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let found = under_way.get(key).and_then(Weak::upgrade);
            found.unwrap_or_else(|| {
                let turn = Arc::new(Semaphore::new(1));
                under_way.insert(key.to_owned(), Arc::downgrade(&turn));
                turn
            })
        };
        // The semaphore is never closed, so that the error arm is never taken.
        let permit = turn.acquire_owned().await.ok();
        Flight { key: key.to_owned(), flights: self.clone(), permit }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut under_way = self.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&self.key).is_some_and(|turn| turn.strong_count() == 0) {
            under_way.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_key_is_asked_for_by_one_at_a_time_and_nothing_is_remembered_afterwards() {
        let flights = Flights::default();
        let first = flights.begin("a").await;
        let mut second = Box::pin(flights.begin("a"));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(flights.begin("b").now_or_never().is_some());
        drop(first);
        drop(second.await);
        assert!(flights.under_way.lock().unwrap().is_empty());
        let abandoned = flights.begin("a").await;
        assert!(flights.begin("a").now_or_never().is_none());
        drop(abandoned);
        assert!(flights.begin("a").now_or_never().is_some());
    }
}
