//! Takes one batch from its requests to its results, from any step that an earlier start reached.
//!
//! Each step is stored before the next one begins: the batch with its attempts, the id of its file, the id of the
//! batch, the ends of its attempts, the end. If the process may have ended between a step and its fact, the provider is
//! queried: a file is found by its name, a batch by its metadata or file. So nothing is uploaded or created twice:
//!
//! | stored | found at the provider | next step |
//! |---|---|---|
//! | attempts | no file | none: the attempts end as never sent, and do not count |
//! | attempts | a file of this name | create the batch |
//! | file id | no batch | create the batch |
//! | file id | a batch of this name or file | wait for it |
//! | batch id | | wait for it |
//!
//! `results` reads the results of an ended batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};

use super::super::progress::Progress;
use super::request::{Item, Items, Wanted};
use crate::config::{BatchSettings, PriceSettings};
use crate::domain::AttemptOutcome;
use crate::http::CallFailure;
use crate::http::batch::{BatchClient, BatchState, BatchStatus};
use crate::http::retry::{Backoff, Class, LONG_WAIT, hint};
use crate::judge::batch::{BatchEnd, custom_id, is_fatal, request_line};
use crate::judge::cost::{Way, cost_usd, usage_max};
use crate::judge::{AskError, Judge, RawReply};
use crate::ledger::{BatchRecord, BatchStep, CallSize, Fact, Ledger, LedgerError};
use crate::sys::clock::unix_ms;

/// Largest number of ends that are committed together.
pub(super) const COMMIT_MAX: usize = 64;
/// Tries per request to the batch API.
pub(super) const TRIES_MAX: u32 = 8;
/// Tries of a request for the state of a batch in progress: about ten minutes.
const LOOKS_MAX: u32 = 40;
/// Looks at a batch that the provider does not know, and the longest time between two of them, in poll intervals.
const UNKNOWN_LOOKS_MAX: u32 = 8;
const LOOKS_APART_MAX: u32 = 4;
/// Attempts after which a request with refused keys is given up.
const HEEDED_ATTEMPTS_MAX: u32 = 8;
/// How long missing results are looked for, from the beginning of their batch: three days, three times the longest
/// duration of a batch.
const RESULTS_KEPT_MS: i64 = 3 * 24 * 3600 * 1000;
/// How long a request of a process that ended may take to appear at the provider.
const LATE_ARRIVAL: Duration = Duration::from_secs(2);

/// Takes batches through their steps.
pub(super) struct Carrier {
    pub(super) api: BatchClient,
    pub(super) judge: Option<Arc<dyn Judge>>,
    pub(super) ledger: Ledger,
    pub(super) settings: BatchSettings,
    pub(super) prices: PriceSettings,
    pub(super) progress: Arc<Progress>,
    /// The longest wait that the provider may request; `None`: any.
    pub(super) patience: Option<Duration>,
}

impl Carrier {
    /// Sends requests as a new batch, and wakes the callers when their results are stored.
    pub(super) async fn begin(&self, wanted: Vec<Wanted>) {
        let mut lines = Vec::new();
        let (mut facts, mut items, mut waiters) = (Vec::new(), Items::new(), Vec::new());
        let mut held = Vec::with_capacity(wanted.len());
        for Wanted { request, attempt, query_id, reservation, done } in wanted {
            let body = match &self.judge {
                Some(judge) => judge.wire_text(&request, attempt.cap),
                None => request.text(attempt.cap),
            };
            lines.extend_from_slice(&request_line(&request.key, attempt.number, &body));
            let usage = usage_max(&request, attempt.cap);
            let size =
                CallSize { prompt_tokens_max: usage.prompt_tokens, completion_tokens_max: usage.completion_tokens };
            let (request_key, number) = (request.key.clone(), attempt.number);
            facts.push(Fact::JudgeAttempt { request_key: request_key.clone(), attempt: number, query_id, size });
            held.push((request_key.clone(), number));
            waiters.push(done);
            let item = Item { request_key: request.key.clone(), attempt: number, reservation };
            items.insert(custom_id(&request.key, number), item);
            self.progress.judge_called();
        }
        let record = BatchRecord {
            batch_key: batch_key(items.keys()),
            base_url: self.api.base_url().to_owned(),
            requests: held.len() as u64,
            begun_unix_ms: unix_ms(),
            file_id: None,
            provider_id: None,
        };
        let (batch_key, base_url) = (record.batch_key.clone(), record.base_url.clone());
        facts.push(Fact::JudgeBatch { batch_key, base_url, items: held });
        let end = async {
            self.commit(facts).await?;
            let name = file_name(&record.batch_key);
            let lines = bytes::Bytes::from(lines);
            tracing::info!("uploading {name}: {} requests, {} KiB", record.requests, lines.len() >> 10);
            let is_again = AtomicBool::new(false);
            let upload = || {
                async {
                    // The reply to an earlier try may have been lost.
                    let is_again = is_again.swap(true, Ordering::Relaxed);
                    let found = if is_again { self.api.find_file(&name, record.begun_unix_ms).await? } else { None };
                    match found {
                        Some(file_id) => Ok(file_id),
                        None => self.api.upload(&name, lines.clone()).await,
                    }
                }
                .boxed()
            };
            let file_id = self.insist(TRIES_MAX, &name, upload).await?;
            self.step(&record.batch_key, BatchStep::Uploaded, &file_id).await?;
            let state = self.create(&record, &file_id, false).await?;
            self.collect(&record, state, &mut items).await
        };
        let mut error = end.await.err();
        for done in waiters {
            // A dropped caller needs no answer. The first live one gets the error, which ends the run.
            let result = match error.take() {
                Some(error) => Err(error),
                None if items.is_empty() => Ok(()),
                None => Err(AskError::Cancelled),
            };
            let _ = done.send(result);
        }
    }

    /// Continues a batch that an earlier start left in progress.
    ///
    /// # Errors
    /// [`AskError`] if the batch cannot be resumed now.
    pub(super) async fn resume(&self, record: BatchRecord, items: Vec<Item>) -> Result<(), AskError> {
        let mut items: Items =
            items.into_iter().map(|item| (custom_id(&item.request_key, item.attempt), item)).collect();
        tracing::info!("resuming batch {} ({} requests)", record.batch_key, record.requests);
        if let Some(id) = &record.provider_id {
            return match self.look_again(&record, id).await? {
                Some(state) => self.collect(&record, state, &mut items).await,
                None => self.lose(&record, &mut items).await,
            };
        }
        let file_id = match &record.file_id {
            Some(file_id) => file_id.clone(),
            None => {
                let name = file_name(&record.batch_key);
                let find = || self.api.find_file(&name, record.begun_unix_ms).boxed();
                let mut found = self.insist(TRIES_MAX, &name, find).await?;
                if found.is_none() {
                    tokio::time::sleep(LATE_ARRIVAL).await;
                    found = self.insist(TRIES_MAX, &name, find).await?;
                }
                let Some(file_id) = found else {
                    let detail = "the process ended before the batch was uploaded";
                    return self.end(&record, &mut items, AttemptOutcome::Unreachable, detail, "never_sent").await;
                };
                self.step(&record.batch_key, BatchStep::Uploaded, &file_id).await?;
                file_id
            }
        };
        let state = self.create(&record, &file_id, true).await?;
        self.collect(&record, state, &mut items).await
    }

    /// Creates the batch of an uploaded file, or finds it; `may_exist`: an earlier start may have created it.
    async fn create(&self, record: &BatchRecord, file_id: &str, may_exist: bool) -> Result<BatchState, AskError> {
        let key = &record.batch_key;
        if may_exist {
            let find = || self.api.find(key, file_id, record.begun_unix_ms).boxed();
            let mut found = self.insist(TRIES_MAX, key, find).await?;
            if found.is_none() {
                tokio::time::sleep(LATE_ARRIVAL).await;
                found = self.insist(TRIES_MAX, key, find).await?;
            }
            if let Some(state) = found {
                self.step(key, BatchStep::Created, &state.id).await?;
                return Ok(state);
            }
        }
        let is_again = AtomicBool::new(false);
        let create = || {
            async {
                let is_again = is_again.swap(true, Ordering::Relaxed);
                let found = if is_again { self.api.find(key, file_id, record.begun_unix_ms).await? } else { None };
                match found {
                    Some(state) => Ok(state),
                    None => self.api.create(file_id, key).await,
                }
            }
            .boxed()
        };
        let state = self.insist(TRIES_MAX, key, create).await?;
        self.step(key, BatchStep::Created, &state.id).await?;
        tracing::info!("batch {key} is in progress as {}", state.id);
        Ok(state)
    }

    /// Queries a batch that was in progress; `None` if the provider has lost it. One negative answer proves little:
    /// only a batch that is not found for days counts as lost, and its requests are sent again.
    async fn look_again(&self, record: &BatchRecord, id: &str) -> Result<Option<BatchState>, AskError> {
        let every = self.poll();
        for looks in 1..=UNKNOWN_LOOKS_MAX {
            if let Some(state) = self.look(id).await? {
                return Ok(Some(state));
            }
            if is_gone(record) {
                return Ok(None);
            }
            if looks == 1 {
                tracing::warn!("the provider does not know batch {id}; thinkloom looks for it again");
            }
            tokio::time::sleep(every * looks.min(LOOKS_APART_MAX)).await;
        }
        let problem = "the provider does not know the batch at present".to_owned();
        Err(AskError::ResultsMissing { batch: id.to_owned(), problem })
    }

    /// Returns the poll interval of a batch.
    pub(super) fn poll(&self) -> Duration {
        Duration::try_from_secs_f64(self.settings.poll_s).unwrap_or(Duration::from_secs(60))
    }

    /// Queries a batch; `None` if the provider does not know it.
    pub(super) async fn look(&self, id: &str) -> Result<Option<BatchState>, AskError> {
        let look = || {
            async {
                match self.api.state(id).await {
                    Ok(state) => Ok(Some(state)),
                    Err(failure) if failure.status == Some(404) => Ok(None),
                    Err(failure) => Err(failure),
                }
            }
            .boxed()
        };
        self.insist(LOOKS_MAX, id, look).await
    }

    async fn lose(&self, record: &BatchRecord, items: &mut Items) -> Result<(), AskError> {
        let detail = "the provider does not know the batch any more";
        self.end(record, items, AttemptOutcome::Unanswered, detail, "lost").await
    }

    /// Waits for the end of a batch and stores its results.
    async fn collect(&self, record: &BatchRecord, mut state: BatchState, items: &mut Items) -> Result<(), AskError> {
        let every = self.poll();
        while state.status == BatchStatus::UnderWay {
            tokio::time::sleep(every).await;
            state = match self.look_again(record, &state.id).await? {
                Some(state) => state,
                None => return self.lose(record, items).await,
            };
        }
        if state.status == BatchStatus::Failed {
            let detail = format!("the batch was refused: {}", state.problem);
            self.end(record, items, AttemptOutcome::Refused, &detail, &state.status_name).await?;
            let hint = "check the provider's limits on batches: model, waiting requests (judge.batch.requests_max) and \
                        tokens; or set judge.transport = \"chat\"";
            return Err(AskError::FatalRun { status: None, message: detail, hint: hint.to_owned() });
        }
        let mut fatal = None;
        self.fetch(record, state.clone(), items, &mut fatal).await?;
        let detail = format!("the batch ended ({}) before it was answered", state.status_name);
        self.end(record, items, AttemptOutcome::Unanswered, &detail, &state.status_name).await?;
        tracing::info!("batch {} ended: {}", record.batch_key, state.status_name);
        match fatal {
            None => Ok(()),
            Some(failure) => {
                let failure_hint = failure.refused.is_some().then(|| failure.hint());
                let CallFailure { status, detail, .. } = failure;
                let known = failure_hint.unwrap_or_else(|| hint(status.or(Some(200))).to_owned());
                Err(AskError::FatalRun { status, message: detail, hint: known })
            }
        }
    }

    /// Commits ends before computing the costs of their replies.
    pub(super) async fn store(
        &self,
        ends: Vec<(String, BatchEnd)>,
        items: &mut Items,
        fatal: &mut Option<CallFailure>,
    ) -> Result<(), AskError> {
        let mut facts = Vec::with_capacity(ends.len());
        let mut ended = Vec::with_capacity(ends.len());
        for (id, end) in ends {
            // A server may repeat a result.
            let Some(item) = items.remove(&id) else { continue };
            let end = self.heeded(&item, end).await;
            if let Some(failure) = is_fatal(&end) {
                fatal.get_or_insert_with(|| failure.clone());
            }
            facts.push(end_fact(&item, &end));
            ended.push((item, end));
        }
        self.commit(facts).await?;
        for (item, end) in ended {
            let reply = match end {
                BatchEnd::Reply(body) => Some(RawReply::new(body)),
                BatchEnd::Failed(_) | BatchEnd::Unanswered(_) => None,
            };
            let usage = reply.as_ref().and_then(RawReply::usage);
            if let Some((judge, model)) = self.judge.as_ref().zip(reply.as_ref().and_then(RawReply::model)) {
                judge.note_served(model);
            }
            if reply.is_some() {
                let cost = usage.and_then(|usage| cost_usd(&usage, &self.prices, unix_ms(), Way::Batch));
                self.progress.judge_charged(cost);
            }
            match item.reservation {
                Some(reservation) if reply.is_some() => reservation.charge(usage),
                Some(reservation) => reservation.release(),
                None => {}
            }
            self.progress.judge_call_ended();
        }
        Ok(())
    }

    /// Handles a refusal of a request key: the request then counts as not sent, and is repeated without the key.
    async fn heeded(&self, item: &Item, end: BatchEnd) -> BatchEnd {
        let (BatchEnd::Failed(failure), Some(judge)) = (&end, &self.judge) else { return end };
        if failure.refused.is_none() || item.attempt > HEEDED_ATTEMPTS_MAX {
            return end;
        }
        match judge.heed(failure.clone()).await {
            // As for attempts, no connection was made: the attempt does not count.
            Ok(()) => BatchEnd::Failed(CallFailure { class: Class::Unreachable, ..failure.clone() }),
            Err(failure) => BatchEnd::Failed(failure),
        }
    }

    /// Ends the remaining requests of a batch, and the batch, in one transaction.
    async fn end(
        &self,
        record: &BatchRecord,
        items: &mut Items,
        outcome: AttemptOutcome,
        detail: &str,
        status: &str,
    ) -> Result<(), AskError> {
        let mut facts: Vec<Fact> = items.values().map(|item| failure_fact(item, outcome, None, detail)).collect();
        let (batch_key, value) = (record.batch_key.clone(), status.to_owned());
        facts.push(Fact::JudgeBatchStep { batch_key, step: BatchStep::Ended, value });
        self.commit(facts).await?;
        for item in std::mem::take(items).into_values() {
            if let Some(reservation) = item.reservation {
                reservation.release();
            }
            self.progress.judge_call_ended();
        }
        Ok(())
    }

    async fn step(&self, batch_key: &str, step: BatchStep, value: &str) -> Result<(), AskError> {
        let (batch_key, value) = (batch_key.to_owned(), value.to_owned());
        self.commit(vec![Fact::JudgeBatchStep { batch_key, step, value }]).await
    }

    async fn commit(&self, facts: Vec<Fact>) -> Result<(), AskError> {
        self.ledger.commit(facts).await.map_err(|error: LedgerError| AskError::Journal(error.into()))
    }

    /// Retries until the request succeeds, cannot succeed, or has failed too often.
    async fn insist<'a, T>(
        &self,
        tries_max: u32,
        salt: &str,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, CallFailure>>,
    ) -> Result<T, AskError> {
        let mut tries = 0;
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(failure) => {
                    tries += 1;
                    self.patience(&failure, tries, tries_max, salt).await?;
                }
            }
        }
    }

    /// Waits after a failed try, or returns an error if another try is useless.
    pub(super) async fn patience(
        &self,
        failure: &CallFailure,
        tries: u32,
        tries_max: u32,
        salt: &str,
    ) -> Result<(), AskError> {
        let CallFailure { class, status, retry_after, detail, .. } = failure;
        match class {
            Class::FatalRun | Class::FatalRequest | Class::Length => Err(AskError::FatalRun {
                status: *status,
                message: detail.clone(),
                hint: match status {
                    _ if failure.refused.is_some() => failure.hint(),
                    Some(404 | 405) => "this server may have no batch API: set judge.transport = \"chat\"".to_owned(),
                    status => hint(*status).to_owned(),
                },
            }),
            Class::Transient | Class::Unreachable if tries >= tries_max => Err(AskError::Unreachable {
                url: self.api.base_url().to_owned(),
                hint: format!("{} ({detail})", hint(None)),
            }),
            Class::Transient | Class::Unreachable => {
                tracing::debug!(tries, %detail, "a request to the batch API failed");
                let wait = retry_after.unwrap_or_else(|| Backoff::default().delay(tries, salt));
                if self.patience.is_some_and(|patience| wait > patience) {
                    let message = format!("the batch API requests a wait of {} s: {detail}", wait.as_secs());
                    return Err(AskError::Outage { message });
                }
                if wait >= LONG_WAIT {
                    tracing::info!("the batch API requests a wait of {} s: {detail}", wait.as_secs());
                }
                tokio::time::sleep(wait).await;
                Ok(())
            }
        }
    }
}

/// Returns whether a batch is so old that its missing parts count as lost.
pub(super) fn is_gone(record: &BatchRecord) -> bool {
    unix_ms().saturating_sub(record.begun_unix_ms) > RESULTS_KEPT_MS
}

fn end_fact(item: &Item, end: &BatchEnd) -> Fact {
    let failure = match end {
        BatchEnd::Reply(body) => {
            let (request_key, attempt) = (item.request_key.clone(), item.attempt);
            return Fact::JudgeReply { request_key, attempt, body: body.clone() };
        }
        BatchEnd::Unanswered(detail) => return failure_fact(item, AttemptOutcome::Unanswered, None, detail),
        BatchEnd::Failed(failure) => failure,
    };
    let outcome = match failure.class {
        Class::FatalRun => AttemptOutcome::Refused,
        Class::FatalRequest => AttemptOutcome::Rejected,
        // Only a request with a newly refused key reaches this arm without a connection.
        Class::Unreachable => AttemptOutcome::Refused,
        Class::Transient | Class::Length => AttemptOutcome::HttpError,
    };
    failure_fact(item, outcome, failure.status, &failure.detail)
}

fn failure_fact(item: &Item, outcome: AttemptOutcome, status: Option<u16>, detail: &str) -> Fact {
    let (request_key, attempt) = (item.request_key.clone(), item.attempt);
    Fact::JudgeFailure { request_key, attempt, outcome, status, detail: detail.to_owned() }
}

/// Returns the name of a batch: a hash over its custom ids. An attempt is in one batch only, so that all names differ.
fn batch_key<'a>(custom_ids: impl Iterator<Item = &'a String>) -> String {
    let mut sorted: Vec<&String> = custom_ids.collect();
    sorted.sort_unstable();
    let mut hasher = Sha256::new();
    for id in sorted {
        hasher.update(id.as_bytes());
        hasher.update(b"\n");
    }
    hex::encode(&hasher.finalize()[..16])
}

fn file_name(batch_key: &str) -> String {
    format!("thinkloom-{batch_key}.jsonl")
}
