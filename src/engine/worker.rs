//! The loop of the engine's thread: it accepts requests, runs one step after another, and sends the replies.
//!
//! Work on one sequence is isolated from all others: an error or a panic in that work ends that sequence alone. A
//! failed step ends the engine, and every pending or later request receives the cause.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::caught::caught;
use super::diagnosis::name_suspect;
use super::error::EngineError;
use super::model::{Draw, Executor, PickFault, PickResult, Picked};
use super::reply::{Reply, Request};
use super::scheduler::{Scheduler, SequenceId};
use super::sequence::{Completion, Sequence};
use super::stats::EngineStats;
use super::tokenizer::Vocabulary;

/// The state of the engine's thread.
pub(crate) struct Worker {
    executor: Executor,
    vocabulary: Arc<Vocabulary>,
    scheduler: Scheduler,
    replies: HashMap<SequenceId, Reply>,
    next_id: u64,
    waiting_max: usize,
    draws: Vec<Draw>,
    stats: Arc<EngineStats>,
    /// Path that the model was loaded from.
    model: PathBuf,
    /// Probable cause of logits that are not finite, set when the first such logits appear.
    suspect: Option<String>,
}

impl Worker {
    /// Builds the worker over a loaded model.
    pub(crate) fn new(
        executor: Executor,
        vocabulary: Arc<Vocabulary>,
        scheduler: Scheduler,
        slots: usize,
        stats: Arc<EngineStats>,
        model: PathBuf,
    ) -> Self {
        Self {
            executor,
            vocabulary,
            scheduler,
            replies: HashMap::new(),
            next_id: 0,
            waiting_max: slots * 2,
            draws: Vec::with_capacity(slots),
            stats,
            model,
            suspect: None,
        }
    }

    /// Runs until all handles are dropped or a step fails. After a failed step, every pending or later request receives
    /// the cause.
    pub(crate) fn run_to_the_end(mut self, mut requests: mpsc::Receiver<Request>) {
        let cause = match caught(|| self.run(&mut requests)) {
            Ok(Ok(())) => return,
            Ok(Err(EngineError::Stopped(cause))) => cause,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("the engine panicked: {panic}"),
        };
        tracing::error!("the engine has stopped: {cause}");
        // Set before the channels close, because the receivers read the cause when they close.
        let _ = self.stats.failure.set(cause);
        requests.close();
        let waiting = std::iter::from_fn(|| requests.try_recv().ok()).map(|request| request.reply);
        #[expect(clippy::disallowed_methods, reason = "each is told the same")]
        for reply in self.replies.drain().map(|(_, reply)| reply).chain(waiting) {
            reply.finish(Err(self.stats.stopped()));
        }
    }

    fn run(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<(), EngineError> {
        loop {
            if self.replies.is_empty() {
                match requests.blocking_recv() {
                    Some(request) => self.accept(request),
                    None => return Ok(()),
                }
            }
            while self.scheduler.waiting_count() < self.waiting_max {
                match requests.try_recv() {
                    Ok(request) => self.accept(request),
                    Err(_) => break,
                }
            }
            if self.stats.is_draining.load(Ordering::Relaxed) {
                for id in self.scheduler.drop_waiting() {
                    self.reply(id, Err(EngineError::Draining));
                }
            }
            self.drop_abandoned();
            let result = self.step();
            self.count();
            // After a failed step, no sequence in progress can be trusted.
            result?;
        }
    }

    fn accept(&mut self, request: Request) {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        match caught(|| Sequence::new(request.spec)) {
            Ok(sequence) => {
                self.scheduler.submit(id, sequence);
                self.replies.insert(id, request.reply);
            }
            Err(panic) => request.reply.finish(Err(EngineError::Response(panic))),
        }
    }

    fn reply(&mut self, id: SequenceId, result: Result<Completion, EngineError>) {
        if let Some(reply) = self.replies.remove(&id) {
            reply.finish(result);
        }
    }

    /// Drops the sequences whose receivers are gone.
    #[expect(clippy::disallowed_methods, reason = "any of them")]
    fn drop_abandoned(&mut self) {
        if self.replies.values().any(Reply::is_abandoned) {
            self.replies.retain(|_, reply| !reply.is_abandoned());
            let replies = &self.replies;
            self.scheduler.abandon(|id| !replies.contains_key(&id));
        }
    }

    fn step(&mut self) -> Result<(), EngineError> {
        self.scheduler.plan();
        let rows = self.scheduler.input().rows.len();
        if rows == 0 {
            return Ok(());
        }
        let faults = self.draw();
        let step = || self.executor.step(self.scheduler.input(), &self.draws);
        let picked = caught(step).map_err(|panic| EngineError::Stopped(format!("a step panicked: {panic}")))??;
        self.stats.sampled_tokens.fetch_add(picked.len() as u64, Ordering::Relaxed);
        self.stats.prompt_tokens.fetch_add((rows - picked.len()) as u64, Ordering::Relaxed);
        let results = picked.into_iter().zip(faults);
        let results = results.map(|(picked, fault)| fault.map_or_else(|| self.checked(picked), Err)).collect();
        for (id, result) in self.scheduler.apply(results, &self.vocabulary) {
            self.reply(id, result);
        }
        self.grow_streams();
        Ok(())
    }

    /// Draws for each sequence that this step samples; returns, for each, the error that ends it, if any. A failed
    /// sequence is sampled greedily instead: a row's logits do not depend on other rows, so its token may be picked in
    /// any way.
    fn draw(&mut self) -> Vec<Option<EngineError>> {
        self.draws.clear();
        let mut faults = Vec::new();
        for sequence in self.scheduler.sampling() {
            let drawn = caught(|| sequence.draw(&self.vocabulary));
            let (draw, fault) = match drawn.unwrap_or_else(|panic| Err(EngineError::Response(panic))) {
                Ok(draw) => (draw, None),
                Err(error) => (Draw::greedy(), Some(error)),
            };
            self.draws.push(draw);
            faults.push(fault);
        }
        faults
    }

    fn checked(&mut self, picked: PickResult) -> Result<Picked, EngineError> {
        picked.map_err(|fault| match fault {
            PickFault::NotFinite => {
                let model = &self.model;
                EngineError::NotFinite(self.suspect.get_or_insert_with(|| name_suspect(model)).clone())
            }
            PickFault::NoToken => EngineError::Response("no token of the vocabulary is allowed next".to_owned()),
            PickFault::Panicked(panic) => EngineError::Response(panic),
        })
    }

    fn grow_streams(&mut self) {
        let mut failed = Vec::new();
        for (id, sequence) in self.scheduler.running() {
            if let Some(Reply::Stream(stream)) = self.replies.get_mut(&id)
                && let Err(panic) = caught(|| stream.grow(sequence))
            {
                failed.push((id, panic));
            }
        }
        if failed.is_empty() {
            return;
        }
        self.scheduler.abandon(|id| failed.iter().any(|(other, _)| *other == id));
        for (id, panic) in failed {
            self.reply(id, Err(EngineError::Response(panic)));
        }
    }

    fn count(&self) {
        let EngineStats { running, preemptions, blocks_held, .. } = &*self.stats;
        running.store(self.scheduler.running_count(), Ordering::Relaxed);
        preemptions.store(self.scheduler.preemptions(), Ordering::Relaxed);
        blocks_held.store(self.scheduler.block_counts().held, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
