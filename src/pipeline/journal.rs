//! The judge's journal, stored in the ledger.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::batches::Batches;
use super::progress::Progress;
use crate::config::PriceSettings;
use crate::domain::{AttemptOutcome, QueryId};
use crate::judge::cost::{Way, cost_usd, usage_max};
use crate::judge::{AskError, Attempt, AttemptEnd, Journal, JudgeRequest, PastAttempt, RawReply};
use crate::ledger::{AttemptRecord, CallSize, Fact, Ledger, LedgerError, Reader};
use crate::sys::clock::unix_ms;

/// Whether calls can be charged, so that an interrupted call counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charging {
    /// An API: an interrupted call counts as an attempt (I5).
    Charged,
    /// The local model: an interrupted call is repeated under the same number, so that an interrupted run gets the same
    /// text as an uninterrupted one (I6).
    Free,
}

/// Returns the attempts of a request in the form that the judge room uses.
pub(super) fn history(reader: &Reader, request_key: &str, charging: Charging) -> Result<Vec<PastAttempt>, LedgerError> {
    Ok(past_attempts(reader.attempts(request_key)?, charging))
}

fn past_attempts(records: Vec<AttemptRecord>, charging: Charging) -> Vec<PastAttempt> {
    let past = |record: AttemptRecord| PastAttempt {
        attempt: record.attempt,
        end: match (record.reply, record.failure) {
            _ if record.is_forgiven => Some(AttemptEnd::Forgiven),
            (Some(body), _) => Some(AttemptEnd::Reply(RawReply::new(body))),
            (None, Some((outcome, status, detail))) => Some(AttemptEnd::Failed { outcome, status, detail }),
            (None, None) => None,
        },
    };
    let all = records.into_iter().map(past);
    all.filter(|past| charging == Charging::Charged || past.end.is_some()).collect()
}

/// Returns the [`AskError`] inside a journal error, else the error itself.
pub(super) fn unwrapped(error: AskError) -> AskError {
    match error {
        AskError::Journal(inner) => inner.downcast::<AskError>().unwrap_or_else(AskError::Journal),
        other => other,
    }
}

/// The journal of one run.
pub struct LedgerJournal {
    /// Stores the attempts.
    pub ledger: Ledger,
    /// Whether calls can be charged.
    pub charging: Charging,
    /// The counters of the display.
    pub progress: Arc<Progress>,
    /// The prices of replies.
    pub prices: PriceSettings,
    /// The batches of this run and of earlier starts, if any.
    pub batches: Option<Batches>,
}

impl LedgerJournal {
    fn commit(&self, fact: Fact) -> BoxFuture<'_, anyhow::Result<()>> {
        async move { Ok(self.ledger.commit(vec![fact]).await?) }.boxed()
    }

    /// Commits the end of a call. The call counts as in flight until the end is durable.
    fn commit_end(&self, fact: Fact) -> BoxFuture<'_, anyhow::Result<()>> {
        async move {
            let committed = self.ledger.commit(vec![fact]).await;
            self.progress.judge_call_ended();
            Ok(committed?)
        }
        .boxed()
    }
}

impl Journal for LedgerJournal {
    fn history<'a>(&'a self, key: &'a str) -> BoxFuture<'a, anyhow::Result<Vec<PastAttempt>>> {
        async move {
            if let Some(batches) = &self.batches {
                // A request in a batch of an earlier start is not interrupted but in progress.
                batches.landed(key).await?;
            }
            Ok(past_attempts(self.ledger.attempts(key).await?, self.charging))
        }
        .boxed()
    }

    fn begin<'a>(
        &'a self,
        request: &'a JudgeRequest,
        query_id: &'a QueryId,
        attempt: Attempt,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        self.progress.judge_called();
        let size = match self.charging {
            Charging::Free => CallSize::default(),
            Charging::Charged => {
                let usage = usage_max(request, attempt.cap);
                CallSize { prompt_tokens_max: usage.prompt_tokens, completion_tokens_max: usage.completion_tokens }
            }
        };
        let (request_key, query_id) = (request.key.clone(), query_id.clone());
        self.commit(Fact::JudgeAttempt { request_key, attempt: attempt.number, query_id, size })
    }

    fn reply<'a>(&'a self, key: &'a str, attempt: u32, reply: &'a RawReply) -> BoxFuture<'a, anyhow::Result<()>> {
        if self.charging == Charging::Charged {
            let cost = reply.usage().and_then(|usage| cost_usd(&usage, &self.prices, unix_ms(), Way::Call));
            self.progress.judge_charged(cost);
        }
        self.commit_end(Fact::JudgeReply { request_key: key.to_owned(), attempt, body: reply.body().to_owned() })
    }

    fn failed<'a>(
        &'a self,
        key: &'a str,
        attempt: u32,
        outcome: AttemptOutcome,
        status: Option<u16>,
        detail: &'a str,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        // A failed local call was stopped together with the program, and is repeated.
        if self.charging == Charging::Free && outcome == AttemptOutcome::Refused {
            self.progress.judge_call_ended();
            return async { Ok(()) }.boxed();
        }
        tracing::debug!(attempt, %outcome, detail, "a judge call failed");
        self.commit_end(Fact::JudgeFailure {
            request_key: key.to_owned(),
            attempt,
            outcome,
            status,
            detail: detail.to_owned(),
        })
    }
}
