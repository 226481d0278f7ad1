//! The two stages of a run, sampling and judging. Each query in a stage is a task.
//!
//! A task is polled whatever the other tasks do. A task therefore returns its resources in time (a read of the ledger,
//! its turn, a slot), and a slow stage only fills the queue before it: rows arrive through a bounded channel, queries
//! that wait for the judge are in a bounded queue, and [`limits`] bounds the tasks. The loop over the stages waits only
//! for the ends of tasks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::Stream;
use futures::stream::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::error::RunError;
use super::judging::PendingJudgement;
use super::limits::{self, DECIDED_QUERIES_MAX, INTAKE_PAGE_ROWS, SHARDS_CLOSING_MAX, WATCHDOG_INTERVAL};
use super::publish;
use super::steps::{Stage, decide, judge_again, justify, settle_alone};
use super::watchdog::Watchdog;
use crate::domain::Query;
use crate::ledger::IntakeRow;
use crate::policy::Policy;

/// Settles all rows of the open shards and publishes each shard when its last row is settled.
///
/// # Errors
/// The first [`RunError`] of any query. Work in progress is finished and committed within the deadline.
pub(super) async fn work_through(context: &Arc<Context>, open: Vec<u64>) -> Result<(), RunError> {
    let mut stages = Stages::new(context, open);
    let deadline = async {
        context.stop.cancelled().await;
        context.actors.policy.drain();
        tokio::time::sleep(limits::drain_deadline(&context.run.settings)).await;
    };
    let mut deadline = std::pin::pin!(deadline);
    let refused = stages.refused.clone();
    let mut landed = std::pin::pin!(calls_landed(context, &refused));
    let mut watch = tokio::time::interval(WATCHDOG_INTERVAL);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watchdog = Watchdog::default();
    loop {
        stages.start();
        // In this order, so that a run is a deterministic function of its inputs.
        tokio::select! {
            biased;
            () = &mut deadline => break,
            () = &mut landed => break,
            Some(closed) = stages.closing.join_next() => stages.closed(closed),
            Some(judged) = stages.judging.join_next() => stages.advanced(judged),
            Some(sampled) = stages.sampling.join_next() => stages.advanced(sampled),
            row = stages.rows.recv(), if stages.has_room() => stages.take(row),
            () = std::future::ready(()), if stages.is_idle() => break,
            _ = watch.tick() => {
                if let Some(quiet) = watchdog.look(context.progress.whereabouts().arrivals(), WATCHDOG_INTERVAL) {
                    stages.tell(quiet);
                }
            }
        }
    }
    stages.end().await
}

/// Waits, after the judge refused the account, until no judge call is in flight, so that paid replies are stored. Does
/// not wait for the local model's responses, which cost nothing to sample again.
async fn calls_landed(context: &Context, refused: &CancellationToken) {
    refused.cancelled().await;
    if !matches!(context.actors.policy, Policy::Candle(_)) {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(limits::REFUSED_GRACE).await;
    while context.progress.judge_calls_in_flight() > 0 {
        tokio::time::sleep(limits::REFUSED_GRACE / 10).await;
    }
}

/// The work in progress.
struct Stages {
    context: Arc<Context>,
    /// The task that reads rows; dropped with the stages.
    _feeder: JoinSet<()>,
    rows: mpsc::Receiver<Result<IntakeRow, RunError>>,
    are_rows_over: bool,
    sampling: JoinSet<Result<Stage, RunError>>,
    /// Decided queries that wait for the judge. Their conversations begin with their turn.
    decided: VecDeque<Query>,
    judging: JoinSet<Result<Stage, RunError>>,
    is_judge_told: bool,
    /// Queries that are processed alone at the end.
    suspects: VecDeque<Query>,
    /// Number of unsettled rows by shard.
    unsettled: BTreeMap<u64, u64>,
    complete: VecDeque<u64>,
    closing: JoinSet<Result<(), RunError>>,
    failure: Option<RunError>,
    refused: CancellationToken,
}

impl Stages {
    fn new(context: &Arc<Context>, open: Vec<u64>) -> Self {
        let rows_of = |&index: &u64| (index, context.run.shard_range(index).count() as u64);
        let unsettled = open.iter().map(rows_of).collect();
        let page = usize::try_from(INTAKE_PAGE_ROWS).unwrap_or(usize::MAX);
        let (sender, rows) = mpsc::channel(page);
        let mut feeder = JoinSet::new();
        let intake = intake_rows(Arc::clone(context), open);
        feeder.spawn(async move {
            let mut intake = std::pin::pin!(intake);
            while let Some(row) = intake.next().await {
                if sender.send(row).await.is_err() {
                    break;
                }
            }
        });
        Self {
            context: Arc::clone(context),
            _feeder: feeder,
            rows,
            are_rows_over: false,
            sampling: JoinSet::new(),
            decided: VecDeque::new(),
            judging: JoinSet::new(),
            is_judge_told: false,
            suspects: VecDeque::new(),
            unsettled,
            complete: VecDeque::new(),
            closing: JoinSet::new(),
            failure: None,
            refused: CancellationToken::new(),
        }
    }

    /// Returns whether another row may be taken.
    fn has_room(&self) -> bool {
        let sampling_max = limits::sampling_queries_max(&self.context.run.settings);
        !self.are_rows_over && self.sampling.len() < sampling_max && self.decided.len() < DECIDED_QUERIES_MAX
    }

    fn can_judge(&self) -> bool {
        self.judging.len() < limits::judging_queries_max(&self.context.run.settings)
    }

    fn is_sampled(&self) -> bool {
        self.are_rows_over && self.sampling.is_empty()
    }

    fn is_idle(&self) -> bool {
        self.is_sampled() && self.judging.is_empty() && self.closing.is_empty()
    }

    /// Starts as many tasks as the bounds allow.
    fn start(&mut self) {
        let context = &self.context;
        if context.stop.is_cancelled() {
            self.decided.clear();
            self.suspects.clear();
        }
        while self.closing.len() < SHARDS_CLOSING_MAX
            && let Some(index) = self.complete.pop_front()
        {
            self.closing.spawn(publish::publish(Arc::clone(context), index));
        }
        while self.can_judge()
            && let Some(query) = self.decided.pop_front()
        {
            self.judging.spawn(judge_again(Arc::clone(context), query));
        }
        if self.is_sampled() && self.decided.is_empty() && !self.is_judge_told {
            self.is_judge_told = true;
            if let Some(batches) = &context.actors.batches {
                batches.input_is_over();
            }
        }
        if self.is_idle()
            && let Some(query) = self.suspects.pop_front()
        {
            tracing::info!("processing query {} alone: servers failed three times during its requests", query.id);
            self.judging.spawn(settle_alone(Arc::clone(context), query));
        }
    }

    fn take(&mut self, row: Option<Result<IntakeRow, RunError>>) {
        match row {
            None => self.are_rows_over = true,
            Some(Ok(row)) => drop(self.sampling.spawn(decide(Arc::clone(&self.context), row))),
            Some(Err(error)) => self.note(error),
        }
    }

    /// Takes a query to its next stage.
    fn advanced(&mut self, ended: Result<Result<Stage, RunError>, JoinError>) {
        match ended.unwrap_or_else(|error| Err(panicked(&error))) {
            Ok(Stage::Settled(ordinal)) => self.settled(ordinal),
            Ok(Stage::Judge(pending)) => self.judge(*pending),
            Ok(Stage::Suspect(query)) => self.suspects.push_back(*query),
            Err(error) => self.note(error),
        }
    }

    fn judge(&mut self, pending: PendingJudgement) {
        if self.decided.is_empty() && self.can_judge() {
            self.judging.spawn(justify(Arc::clone(&self.context), pending));
        } else {
            self.decided.push_back(pending.posed.query.clone());
        }
    }

    fn settled(&mut self, ordinal: u64) {
        let index = ordinal / self.context.run.record.queries_per_shard;
        let left = self.unsettled.entry(index).or_default();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.unsettled.remove(&index);
            self.complete.push_back(index);
        }
    }

    fn closed(&mut self, ended: Result<Result<(), RunError>, JoinError>) {
        if let Err(error) = ended.unwrap_or_else(|error| Err(panicked(&error))) {
            self.note(error);
        }
    }

    /// Records an error. The first one stops the run; work in progress is finished and committed within the deadline.
    fn note(&mut self, error: RunError) {
        self.context.stop.cancel();
        if error.is_refused_account() {
            self.refused.cancel();
        }
        if self.failure.is_none() || matches!(self.failure, Some(RunError::Stopped)) {
            self.failure = Some(error);
        }
    }

    /// Logs the waits of all tasks.
    fn tell(&self, quiet: std::time::Duration) {
        let Self { context, sampling, decided, judging, closing, .. } = self;
        if sampling.is_empty() && judging.is_empty() && closing.is_empty() {
            return;
        }
        let notices = context.actors.notice().map(|text| format!("; {text}")).unwrap_or_default();
        tracing::warn!(
            "no progress for {} min: {} queries are being sampled, {} are decided and wait for the judge, {} are \
             being judged, {} shards are being closed; waiting: {}{notices}",
            quiet.as_secs() / 60,
            sampling.len(),
            decided.len(),
            judging.len(),
            closing.len(),
            context.progress.whereabouts().describe(),
        );
    }

    /// Ends the work in progress and returns the result of the run.
    async fn end(mut self) -> Result<(), RunError> {
        let is_closed = self.closing.is_empty() && self.complete.is_empty();
        for set in [&mut self.sampling, &mut self.judging] {
            set.shutdown().await;
        }
        self.closing.shutdown().await;
        match self.failure {
            Some(error) => Err(error),
            None if self.unsettled.is_empty() && is_closed => Ok(()),
            None => Err(RunError::Stopped),
        }
    }
}

fn panicked(error: &JoinError) -> RunError {
    RunError::Internal(format!("the task of a query ended early: {error}"))
}

/// Streams the input rows of the open shards in order, page by page, until the run must stop.
pub(super) fn intake_rows(context: Arc<Context>, open: Vec<u64>) -> impl Stream<Item = Result<IntakeRow, RunError>> {
    let stop = context.stop.clone();
    let ranges = open.into_iter().map(|index| context.run.shard_range(index)).collect::<Vec<_>>();
    let pages = ranges.into_iter().flat_map(|range| {
        let page = usize::try_from(INTAKE_PAGE_ROWS).unwrap_or(usize::MAX);
        let end = range.end;
        range.step_by(page).map(move |start| (start, (start + INTAKE_PAGE_ROWS).min(end)))
    });
    futures::stream::iter(pages)
        .then(move |(start, end)| {
            let context = Arc::clone(&context);
            async move {
                context
                    .read(move |context, reader| Ok(reader.intake(&context.run.record.input_digest, start, end)?))
                    .await
            }
        })
        .map_ok(|rows| futures::stream::iter(rows.into_iter().map(Ok)))
        .try_flatten()
        .take_until(stop.cancelled_owned())
}
