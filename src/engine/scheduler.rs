//! Chooses the tokens of the next step: continuous batching as plain data.
//!
//! A free slot is refilled before the next step. While more sequences wait than there are slots, sequences start in the
//! order of their arrival. Towards the end of a run fewer sequences wait. Then the sequences with the longest expected
//! responses start first, so that the last sequences are short and no slots stay empty beside one long response. No
//! sequence is overtaken more than [`OVERTAKEN_MAX`] times.
//!
//! Each decoding sequence gets one row of a step; the rest of the step's budget goes to prompts, in chunks. If a
//! running sequence is computing the prompt prefix of a waiting one, the waiting sequence waits for that prefix instead
//! of computing it twice.
//!
//! When the KV memory is full, the scheduler preempts the youngest sequence: it releases the sequence's blocks and
//! computes them again later. The text does not change, because the sequence keeps its tokens and its random stream,
//! and a row's logits do not depend on the batch.

use std::collections::VecDeque;

use super::caught::caught;
use super::error::EngineError;
use super::kv::{BlockCounts, BlockPool, PrefixHash, PrefixSet, prefix_hashes};
use super::model::{BLOCK_TOKENS, BlockId, Picked, Row, StepInput};
use super::sequence::{Completion, Progress, Sequence, SequenceSpec};
use super::tokenizer::Vocabulary;

/// Waiting sequences that are searched for one whose prefix is ready; at least as many as there are slots.
const LOOKAHEAD_MAX: usize = 64;

/// Sequences that may start before one that arrived earlier.
const OVERTAKEN_MAX: u32 = 32;

/// Finished sequences in a mean length before older ones begin to count less.
const LENGTHS_MAX: u64 = 64;

/// Limits of the scheduler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SchedulerLimits {
    /// Sequences decoded together.
    pub slots: usize,
    /// Rows of one step, decoding and prompt rows together; at least `slots`.
    pub step_rows_max: usize,
}

/// Identifies a sequence within the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SequenceId(pub u64);

struct Entry {
    id: SequenceId,
    sequence: Sequence,
    hashes: Vec<PrefixHash>,
    blocks: Vec<BlockId>,
    /// Number of the sequence's current stay among the running sequences. During one stay its blocks only grow.
    stay: u64,
    /// Tokens whose keys and values are stored in the blocks.
    computed: usize,
    /// Rows of this sequence in the planned step.
    planned: usize,
    /// Sequences that started before this one although they arrived later.
    overtaken: u32,
}

impl Entry {
    fn remaining(&self) -> usize {
        self.sequence.tokens().len() - self.computed
    }

    /// Returns the prefix blocks that may be shared: all without the last token, which must run to give logits.
    fn shareable(&self) -> &[PrefixHash] {
        let full = (self.sequence.tokens().len() - 1) / BLOCK_TOKENS;
        &self.hashes[..self.hashes.len().min(full)]
    }

    fn is_started(&self) -> bool {
        self.sequence.tokens().len() > self.sequence.spec().prompt.len()
    }
}

/// Mean lengths of finished responses, by the kind of their sequence.
///
/// Two properties of a sequence are known before it runs: its token limit, and whether it thinks first.
#[derive(Debug, Default)]
struct Lengths {
    /// Sum of tokens and number of sequences, indexed by [`Lengths::class`].
    classes: Vec<(u64, u64)>,
}

impl Lengths {
    fn class(spec: &SequenceSpec) -> usize {
        2 * (u32::BITS - spec.tokens_max.leading_zeros()) as usize + usize::from(spec.close.is_some())
    }

    fn record(&mut self, sequence: &Sequence) {
        let class = Self::class(sequence.spec());
        if class >= self.classes.len() {
            self.classes.resize(class + 1, (0, 0));
        }
        let (tokens, count) = &mut self.classes[class];
        if *count >= LENGTHS_MAX {
            (*tokens, *count) = (*tokens / 2, *count / 2);
        }
        *tokens += (sequence.tokens().len() - sequence.spec().prompt.len()) as u64;
        *count += 1;
    }

    /// Returns the expected tokens of a response: the mean of its kind, or its token limit while no response of that
    /// kind has finished.
    fn expected(&self, spec: &SequenceSpec) -> u64 {
        match self.classes.get(Self::class(spec)) {
            Some(&(tokens, count)) if count > 0 => tokens / count,
            _ => u64::from(spec.tokens_max),
        }
    }
}

/// The complete state of the scheduler.
pub(crate) struct Scheduler {
    limits: SchedulerLimits,
    pool: BlockPool,
    waiting: VecDeque<Entry>,
    running: Vec<Entry>,
    lengths: Lengths,
    /// The planned step, kept so that the next plan reuses its memory and the tables that are still valid.
    input: StepInput,
    /// For each table of the step, the stay that it belongs to.
    owners: Vec<u64>,
    stays: u64,
    preemptions: u64,
}

impl Scheduler {
    /// Builds an empty scheduler over a pool of blocks.
    #[must_use]
    pub(crate) fn new(limits: SchedulerLimits, pool: BlockPool) -> Self {
        Self {
            limits,
            pool,
            waiting: VecDeque::new(),
            running: Vec::new(),
            lengths: Lengths::default(),
            input: StepInput::default(),
            owners: Vec::new(),
            stays: 0,
            preemptions: 0,
        }
    }

    /// Returns how many sequences wait for a slot.
    #[must_use]
    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Returns how many sequences hold a slot.
    #[must_use]
    pub(crate) fn running_count(&self) -> usize {
        self.running.len()
    }

    /// Returns how many preemptions there were; each one released the blocks of a sequence.
    #[must_use]
    pub(crate) fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// Returns the block counts (invariant I8).
    #[must_use]
    pub(crate) fn block_counts(&self) -> BlockCounts {
        self.pool.counts()
    }

    /// Adds a sequence at the end of the queue.
    pub(crate) fn submit(&mut self, id: SequenceId, sequence: Sequence) {
        let hashes = prefix_hashes(&sequence.spec().prompt);
        let (blocks, stay, computed, planned, overtaken) = (Vec::new(), 0, 0, 0, 0);
        self.waiting.push_back(Entry { id, sequence, hashes, blocks, stay, computed, planned, overtaken });
    }

    /// Drops the waiting sequences that have sampled no token yet, and returns their ids.
    pub(crate) fn drop_waiting(&mut self) -> Vec<SequenceId> {
        let dropped = self.waiting.iter().filter(|entry| !entry.is_started()).map(|entry| entry.id).collect();
        self.waiting.retain(Entry::is_started);
        dropped
    }

    /// Drops the sequences for which `is_abandoned` holds, and frees their blocks and slots at once.
    pub(crate) fn abandon(&mut self, is_abandoned: impl Fn(SequenceId) -> bool) {
        self.waiting.retain(|entry| !is_abandoned(entry.id));
        let pool = &mut self.pool;
        self.running.retain_mut(|entry| {
            let is_abandoned = is_abandoned(entry.id);
            if is_abandoned {
                pool.release(entry.blocks.drain(..));
            }
            !is_abandoned
        });
    }

    /// Plans the next step, which [`Self::input`] then returns.
    pub(crate) fn plan(&mut self) {
        self.admit();
        self.share_out_rows();
        self.provide_blocks();
        self.lay_out();
    }

    /// Returns the planned step. It has no rows if no sequence has work.
    #[must_use]
    pub(crate) fn input(&self) -> &StepInput {
        &self.input
    }

    /// Returns the sequences whose logits the planned step computes, in row order.
    pub(crate) fn sampling(&mut self) -> impl Iterator<Item = &mut Sequence> {
        self.running
            .iter_mut()
            .filter(|entry| entry.planned > 0 && entry.planned == entry.remaining())
            .map(|entry| &mut entry.sequence)
    }

    /// Returns the sequences that hold a slot.
    pub(crate) fn running(&self) -> impl Iterator<Item = (SequenceId, &Sequence)> {
        self.running.iter().map(|entry| (entry.id, &entry.sequence))
    }

    /// Adds the sampled tokens to their sequences and returns the sequences that ended. `picked` holds one token or
    /// error per sequence of [`Self::sampling`], in the same order. A sequence that fails, by an error or a panic, ends
    /// alone.
    pub(crate) fn apply(
        &mut self,
        picked: Vec<Result<Picked, EngineError>>,
        vocabulary: &Vocabulary,
    ) -> Vec<(SequenceId, Result<Completion, EngineError>)> {
        let mut picked = picked.into_iter();
        let mut ended = Vec::new();
        let Self { running, pool, lengths, .. } = self;
        running.retain_mut(|entry| {
            let is_sampled = entry.planned > 0 && entry.planned == entry.remaining();
            let before = entry.computed / BLOCK_TOKENS;
            entry.computed += entry.planned;
            entry.planned = 0;
            let after = (entry.computed / BLOCK_TOKENS).min(entry.hashes.len());
            for index in before..after {
                pool.register(entry.blocks[index], entry.hashes[index]);
            }
            if !is_sampled {
                return true;
            }
            let picked = picked.next().expect("one token is sampled per sequence that asked for logits");
            let sequence = &mut entry.sequence;
            let result = match caught(|| picked.and_then(|picked| sequence.push(picked, vocabulary))) {
                Ok(Ok(Progress::Continues { unchanged })) => {
                    entry.computed = entry.computed.min(unchanged);
                    return true;
                }
                Ok(Ok(Progress::Finished(reason))) => {
                    lengths.record(&entry.sequence);
                    Ok(entry.sequence.completion(reason))
                }
                Ok(Ok(Progress::GivenUp)) => Err(EngineError::GivenUp),
                Ok(Err(error)) => Err(error),
                Err(panic) => Err(EngineError::Response(panic)),
            };
            ended.push((entry.id, result));
            pool.release(entry.blocks.drain(..));
            false
        });
        ended
    }

    fn admit(&mut self) {
        if self.running.len() >= self.limits.slots || self.waiting.is_empty() {
            return;
        }
        let mut computing: PrefixSet = self
            .running
            .iter()
            .flat_map(|entry| entry.hashes[entry.hashes.len().min(entry.computed / BLOCK_TOKENS)..].iter().copied())
            .collect();
        while self.running.len() < self.limits.slots {
            let Some(index) = self.choose(&computing) else { break };
            // One free block per running sequence keeps a sequence that was just preempted from being admitted again at
            // once.
            let needed = self.waiting[index].sequence.tokens().len() / BLOCK_TOKENS + 1 + self.running.len();
            let counts = self.pool.counts();
            if counts.free + counts.cached < needed && !self.running.is_empty() {
                break;
            }
            for earlier in self.waiting.iter_mut().take(index) {
                earlier.overtaken += 1;
            }
            let Some(mut entry) = self.waiting.remove(index) else { break };
            entry.blocks = self.pool.hold_prefix(entry.shareable());
            entry.computed = entry.blocks.len() * BLOCK_TOKENS;
            self.stays += 1;
            entry.stay = self.stays;
            computing.extend(entry.hashes[entry.blocks.len().min(entry.hashes.len())..].iter().copied());
            self.running.push(entry);
        }
    }

    /// Returns the index of the waiting sequence that starts next, if one may start.
    fn choose(&self, computing: &PrefixSet) -> Option<usize> {
        let is_ready = |entry: &Entry| {
            let unknown = entry.shareable().iter().find(|hash| !self.pool.knows(**hash));
            !unknown.is_some_and(|hash| computing.contains(hash))
        };
        let lookahead = self.limits.slots.max(LOOKAHEAD_MAX);
        let mut ready = self.waiting.iter().enumerate().take(lookahead).filter(|(_, entry)| is_ready(entry));
        let (first, entry) = ready.next()?;
        let is_busy = self.waiting.len() > self.limits.slots;
        if is_busy || entry.is_started() || entry.overtaken >= OVERTAKEN_MAX {
            return Some(first);
        }
        let expected = |entry: &Entry| self.lengths.expected(entry.sequence.spec());
        let longest = ready.fold((first, expected(entry)), |longest, (index, entry)| {
            let expected = expected(entry);
            if expected > longest.1 { (index, expected) } else { longest }
        });
        Some(longest.0)
    }

    fn share_out_rows(&mut self) {
        let mut budget = self.limits.step_rows_max;
        for is_decoding in [true, false] {
            for entry in self.running.iter_mut().filter(|entry| (entry.remaining() == 1) == is_decoding) {
                entry.planned = entry.remaining().min(budget);
                budget -= entry.planned;
            }
        }
    }

    fn provide_blocks(&mut self) {
        let mut index = 0;
        while index < self.running.len() {
            let entry = &mut self.running[index];
            let needed = (entry.computed + entry.planned).div_ceil(BLOCK_TOKENS);
            if entry.blocks.len() >= needed {
                index += 1;
            } else if let Some(block) = self.pool.take() {
                entry.blocks.push(block);
            } else if let Some(mut youngest) = self.running.pop() {
                self.pool.release(youngest.blocks.drain(..));
                youngest.computed = 0;
                youngest.planned = 0;
                self.preemptions += 1;
                self.waiting.push_front(youngest);
            }
        }
    }

    fn lay_out(&mut self) {
        let StepInput { rows, tables } = &mut self.input;
        rows.clear();
        let mut count = 0;
        for entry in self.running.iter().filter(|entry| entry.planned > 0) {
            let table = count;
            count += 1;
            if count > tables.len() {
                tables.push(Vec::new());
                self.owners.push(0);
            }
            let (blocks, owner) = (&mut tables[table], &mut self.owners[table]);
            if *owner != entry.stay {
                *owner = entry.stay;
                blocks.clear();
            }
            blocks.extend_from_slice(&entry.blocks[blocks.len()..]);
            let tokens = entry.sequence.tokens();
            let end = entry.computed + entry.planned;
            for (position, &token) in tokens.iter().enumerate().take(end).skip(entry.computed) {
                rows.push(Row { token, position, table, wants_logits: position + 1 == tokens.len() });
            }
        }
        tables.truncate(count);
        self.owners.truncate(count);
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
