//! Judge calls through the provider's batch API: collects requests into batches, and finds batches again.
//!
//! One task owns the waiting requests and the batches in progress. Callers send it requests and wait until their
//! results are in the ledger. The conversation is decided from stored attempts, as for single calls. A batch is closed
//! when it is full, when it has waited for `fill_s`, or as soon as no request can arrive before a reply does.
//!
//! Batches that an earlier start left in progress are resumed first, whatever the transport is now: no request in one
//! of them is sent again until that batch has ended. After a stop, batches in progress stay with the provider.

mod carry;
mod request;
mod results;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::config::{BatchSettings, PriceSettings};
use crate::domain::QueryId;
use crate::http::batch::BatchClient;
use crate::judge::batch::LINE_FRAME_BYTES_MAX;
use crate::judge::cost::{Budget, Usage, Way};
use crate::judge::{AskError, AskOptions, Attempt, Conversation, Journal, Judge, JudgeRequest, Judged, Step};
use crate::ledger::{BatchItem, BatchRecord, CallSize, Ledger};
use carry::Carrier;
use request::{Item, Wanted};

/// How long no request may arrive before a batch is closed because no more can arrive.
const QUIET: Duration = Duration::from_millis(500);
/// Time between two checks whether a batch is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Requests that may be on their way to the task.
const MAILBOX_MAX: usize = 256;

/// The inputs of the batch task.
pub struct BatchOptions {
    /// The provider.
    pub api: BatchClient,
    /// The judge behind the provider.
    pub judge: Option<Arc<dyn Judge>>,
    /// Stores the facts.
    pub ledger: Ledger,
    /// When batches are closed and polled.
    pub settings: BatchSettings,
    /// The prices of replies.
    pub prices: PriceSettings,
    /// The counters of the display.
    pub progress: Arc<Progress>,
    /// The budget of calls.
    pub budget: Option<Arc<Budget>>,
    /// The longest wait that the provider may request; `None`: any.
    pub patience: Option<Duration>,
    /// Stops the task; batches in progress stay with the provider.
    pub stop: CancellationToken,
    /// Largest number of queries with the judge at once.
    pub capacity: usize,
    /// Batches of earlier starts at this provider, with their items.
    pub left: Vec<(BatchRecord, Vec<BatchItem>)>,
}

/// A handle to the task.
#[derive(Clone)]
pub struct Batches {
    mailbox: mpsc::Sender<Wanted>,
    left: Arc<Left>,
    hints: Arc<Hints>,
    stop: CancellationToken,
}

/// Shows when no more requests can arrive.
#[derive(Default)]
struct Hints {
    /// Callers between the beginning and the end of a request.
    asking: AtomicUsize,
    /// Whether no further query will arrive.
    is_input_over: AtomicBool,
}

/// The requests in batches that earlier starts left in progress.
#[derive(Default)]
struct Left {
    state: Mutex<LeftState>,
    changed: Notify,
}

#[derive(Default)]
struct LeftState {
    /// Attempts that have not ended, by request key.
    keys: HashMap<String, usize>,
    /// Whether a batch of them cannot be resumed.
    has_failed: bool,
    failure: Option<AskError>,
}

impl Left {
    fn state(&self) -> MutexGuard<'_, LeftState> {
        // The state is counts and a flag, which are valid after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn landed<'a>(&self, keys: impl Iterator<Item = &'a String>) {
        let mut state = self.state();
        for key in keys {
            if let Some(count) = state.keys.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    state.keys.remove(key);
                }
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn failed(&self, error: AskError) {
        let mut state = self.state();
        state.has_failed = true;
        state.failure.get_or_insert(error);
        drop(state);
        self.changed.notify_waiters();
    }
}

impl Batches {
    /// Starts the task on the current runtime.
    #[must_use]
    pub fn start(options: BatchOptions) -> Self {
        let (mailbox, wanted) = mpsc::channel(MAILBOX_MAX);
        let (left, hints) = (Arc::new(Left::default()), Arc::new(Hints::default()));
        let stop = options.stop.clone();
        for (_, items) in &options.left {
            let mut state = left.state();
            for item in items.iter().filter(|item| !item.is_ended) {
                *state.keys.entry(item.request_key.clone()).or_default() += 1;
            }
        }
        tokio::spawn(work(options, wanted, Arc::clone(&left), Arc::clone(&hints)));
        Self { mailbox, left, hints, stop }
    }

    /// Marks the end of the input: waiting requests no longer wait for more queries.
    pub fn input_is_over(&self) {
        self.hints.is_input_over.store(true, Ordering::Relaxed);
    }

    /// Waits until no batch of an earlier start contains a request. Cancel-safe.
    ///
    /// # Errors
    /// [`AskError::Cancelled`] if the run must stop; the error that keeps such a batch from being resumed.
    pub async fn landed(&self, key: &str) -> Result<(), AskError> {
        loop {
            let mut changed = std::pin::pin!(self.left.changed.notified());
            // Before the check, so that no change between check and wait is missed.
            changed.as_mut().enable();
            {
                let mut state = self.left.state();
                if !state.keys.contains_key(key) {
                    return Ok(());
                }
                if state.has_failed {
                    return Err(state.failure.take().unwrap_or(AskError::Cancelled));
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(AskError::Cancelled),
                () = changed => {}
            }
        }
    }

    /// Sends requests through batches until a conversation is settled. Cancel-safe: the next start finds requests in
    /// progress again.
    ///
    /// # Errors
    /// [`AskError`]; all concern the whole run.
    pub async fn ask(
        &self,
        judge: &dyn Judge,
        journal: &dyn Journal,
        query_id: &QueryId,
        conversation: &mut Conversation,
        options: &AskOptions,
    ) -> Result<Judged, AskError> {
        loop {
            let request = conversation.request().clone();
            let _flight = options.flights.begin(&request.key).await;
            loop {
                let mut history = journal.history(&request.key).await.map_err(AskError::Journal)?;
                history.sort_by_key(|past| past.attempt);
                match conversation.advance(judge, &history) {
                    Step::Settled(judged) => return Ok(judged),
                    Step::Next => break,
                    Step::Call(attempt) => self.call(&request, attempt, query_id, options).await?,
                }
            }
        }
    }

    /// Requests one attempt. Returns once its end is in the ledger.
    async fn call(
        &self,
        request: &JudgeRequest,
        attempt: Attempt,
        query_id: &QueryId,
        options: &AskOptions,
    ) -> Result<(), AskError> {
        let _asking = Asking::begin(&self.hints);
        let call = async {
            let reservation = match &options.budget {
                None => None,
                Some(budget) => Some(budget.reserve(request, attempt.cap).await?),
            };
            let (done, landed) = oneshot::channel();
            let (request, query_id) = (request.clone(), query_id.clone());
            let wanted = Wanted { request, attempt, query_id, reservation, done };
            self.mailbox.send(wanted).await.map_err(|_| AskError::Cancelled)?;
            landed.await.map_err(|_| AskError::Cancelled)?
        };
        tokio::select! {
            // Ends are polled first: one may be the reason for the stop.
            biased;
            end = call => end,
            () = options.cancel.cancelled() => Err(AskError::Cancelled),
        }
    }
}

/// Counts a caller until dropped.
struct Asking<'a>(&'a Hints);

impl<'a> Asking<'a> {
    fn begin(hints: &'a Hints) -> Self {
        hints.asking.fetch_add(1, Ordering::Relaxed);
        Self(hints)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The requests that wait to be sent.
struct Waiting {
    wanted: Vec<Wanted>,
    bytes: usize,
    requests_max: usize,
    bytes_max: usize,
    fill: Duration,
    oldest: Instant,
    latest: Instant,
}

impl Waiting {
    fn new(settings: &BatchSettings) -> Self {
        let now = Instant::now();
        Self {
            wanted: Vec::new(),
            bytes: 0,
            requests_max: settings.requests_max,
            bytes_max: settings.file_mib_max << 20,
            fill: Duration::try_from_secs_f64(settings.fill_s).unwrap_or(Duration::MAX),
            oldest: now,
            latest: now,
        }
    }

    fn push(&mut self, wanted: Wanted) {
        self.latest = Instant::now();
        if self.wanted.is_empty() {
            self.oldest = self.latest;
        }
        self.bytes += line_bytes(&wanted);
        self.wanted.push(wanted);
    }

    /// Returns whether a batch must be closed now. `is_all`: no request arrives before a reply does.
    fn is_due(&self, is_all: bool) -> bool {
        let is_full = self.wanted.len() >= self.requests_max || self.bytes >= self.bytes_max;
        let waited = |since: Instant, wait: Duration| since.elapsed() >= wait;
        !self.wanted.is_empty() && (is_full || waited(self.oldest, self.fill) || (is_all && waited(self.latest, QUIET)))
    }

    /// Takes a batch within its bounds. One request is always within them.
    fn cut(&mut self) -> Vec<Wanted> {
        let mut bytes = 0;
        let bytes_max = self.bytes_max;
        let mut within = |wanted: &Wanted| {
            bytes += line_bytes(wanted);
            bytes <= bytes_max
        };
        let count = self.wanted.iter().take(self.requests_max).take_while(|wanted| within(wanted)).count().max(1);
        let cut: Vec<Wanted> = self.wanted.drain(..count.min(self.wanted.len())).collect();
        self.bytes -= cut.iter().map(line_bytes).sum::<usize>();
        cut
    }
}

/// Returns an upper bound on the bytes of a request in the file.
fn line_bytes(wanted: &Wanted) -> usize {
    wanted.request.text(wanted.attempt.cap).len() + LINE_FRAME_BYTES_MAX
}

/// The task: owns the waiting requests and the batches in progress until the run stops or all handles are dropped.
async fn work(options: BatchOptions, mut mailbox: mpsc::Receiver<Wanted>, left: Arc<Left>, hints: Arc<Hints>) {
    let BatchOptions {
        api,
        judge,
        ledger,
        settings,
        prices,
        progress,
        budget,
        patience,
        stop,
        capacity,
        left: records,
    } = options;
    let mut waiting = Waiting::new(&settings);
    let under_way_max = settings.under_way_max;
    let carrier = Arc::new(Carrier { api, judge, ledger, settings, prices, progress, patience });
    let mut under_way: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    for (record, items) in records {
        let items: Vec<Item> = items
            .into_iter()
            .filter(|item| !item.is_ended)
            .map(|item| Item {
                reservation: budget.as_ref().map(|budget| budget.adopt(&usage_of(item.size), Way::Batch)),
                request_key: item.request_key,
                attempt: item.attempt,
            })
            .collect();
        let (carrier, left) = (Arc::clone(&carrier), Arc::clone(&left));
        let resume = async move {
            let keys: Vec<String> = items.iter().map(|item| item.request_key.clone()).collect();
            match carrier.resume(record, items).await {
                Ok(()) => left.landed(keys.iter()),
                Err(error) => left.failed(error),
            }
        };
        under_way.push(resume.boxed());
    }
    loop {
        let is_all = hints.is_input_over.load(Ordering::Relaxed) || hints.asking.load(Ordering::Relaxed) >= capacity;
        while under_way.len() < under_way_max && waiting.is_due(is_all) {
            let (carrier, wanted) = (Arc::clone(&carrier), waiting.cut());
            under_way.push(async move { carrier.begin(wanted).await }.boxed());
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            wanted = mailbox.recv() => match wanted {
                Some(wanted) => waiting.push(wanted),
                None => return,
            },
            () = tokio::time::sleep(LOOK_EVERY), if !waiting.wanted.is_empty() => {}
        }
    }
}

/// Returns the largest usage of a stored call.
pub(in crate::pipeline) const fn usage_of(size: CallSize) -> Usage {
    let CallSize { prompt_tokens_max, completion_tokens_max } = size;
    Usage { prompt_tokens: prompt_tokens_max, cache_hit_tokens: None, completion_tokens: completion_tokens_max }
}
