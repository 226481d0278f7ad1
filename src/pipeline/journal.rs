//! The judge's journal, kept in the ledger.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::progress::Progress;
use crate::config::PriceSettings;
use crate::domain::{AttemptOutcome, QueryId};
use crate::judge::cost::cost_usd;
use crate::judge::{AttemptEnd, Journal, PastAttempt, reply};
use crate::ledger::{AttemptRecord, Fact, Ledger, LedgerError, Reader};

/// Whether calls can be charged, and so must be counted even if their end is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charging {
    /// An API: an interrupted call counts as an attempt (I5).
    Charged,
    /// The local model: an interrupted call is made again under the same number, so that an interrupted run says the
    /// same as an uninterrupted one (I6).
    Free,
}

/// Returns the attempts of a request as the judge room knows them.
///
/// # Errors
/// [`LedgerError`] if the ledger cannot be read.
pub fn history(reader: &Reader, request_key: &str, charging: Charging) -> Result<Vec<PastAttempt>, LedgerError> {
    Ok(past_attempts(reader.attempts(request_key)?, charging))
}

fn past_attempts(records: Vec<AttemptRecord>, charging: Charging) -> Vec<PastAttempt> {
    let past = |record: AttemptRecord| PastAttempt {
        attempt: record.attempt,
        end: match (record.reply, record.failure) {
            (Some(body), _) => Some(AttemptEnd::Reply(body)),
            (None, Some((outcome, status))) => Some(AttemptEnd::Failed { outcome, status }),
            (None, None) => None,
        },
    };
    let all = records.into_iter().map(past);
    all.filter(|past| charging == Charging::Charged || past.end.is_some()).collect()
}

/// The journal of one run.
pub struct LedgerJournal {
    /// Where attempts are kept.
    pub ledger: Ledger,
    /// Whether calls can be charged.
    pub charging: Charging,
    /// What the display shows.
    pub progress: Arc<Progress>,
    /// What replies cost.
    pub prices: PriceSettings,
}

impl LedgerJournal {
    fn commit(&self, fact: Fact) -> BoxFuture<'_, anyhow::Result<()>> {
        async move { Ok(self.ledger.commit(vec![fact]).await?) }.boxed()
    }

    /// Commits the end of a call, which is in flight until that is durable.
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
        async move { Ok(past_attempts(self.ledger.attempts(key).await?, self.charging)) }.boxed()
    }

    fn begin<'a>(&'a self, key: &'a str, query_id: &'a QueryId, attempt: u32) -> BoxFuture<'a, anyhow::Result<()>> {
        self.progress.judge_called();
        self.commit(Fact::JudgeAttempt { request_key: key.to_owned(), attempt, query_id: query_id.clone() })
    }

    fn reply<'a>(&'a self, key: &'a str, attempt: u32, body: &'a str) -> BoxFuture<'a, anyhow::Result<()>> {
        if self.charging == Charging::Charged {
            let cost = reply::usage(body).and_then(|usage| cost_usd(&usage, &self.prices));
            self.progress.judge_charged(cost);
        }
        self.commit_end(Fact::JudgeReply { request_key: key.to_owned(), attempt, body: body.to_owned() })
    }

    fn failed<'a>(
        &'a self,
        key: &'a str,
        attempt: u32,
        outcome: AttemptOutcome,
        status: Option<u16>,
        detail: &'a str,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        // A local call that failed was stopped together with the program; it is made again.
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
