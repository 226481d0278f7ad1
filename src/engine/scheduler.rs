//! Which tokens run in the next step: continuous batching as plain data.
//!
//! Sequences wait in order of arrival; a free slot is refilled before the next step. Decoding sequences get one row
//! each; what is left of the step's budget goes to prompts, in chunks. A sequence whose prompt prefix is just being
//! computed by another waits for it instead of computing it twice. When KV memory runs out, the youngest sequence
//! gives its blocks back and is computed again later; since its random stream and its tokens stay with it, and a
//! row's logits do not depend on the batch, its text comes out the same.

use std::collections::{HashSet, VecDeque};

use super::error::EngineError;
#[cfg(test)]
use super::kv::BlockCounts;
use super::kv::{BlockId, BlockPool, PrefixHash, prefix_hashes};
use super::model::{BLOCK_TOKENS, Row, StepInput};
use super::sequence::{Completion, Progress, Sequence};
use super::tokenizer::Vocabulary;

/// How many waiting sequences are looked at for one whose prefix is ready.
const LOOKAHEAD_MAX: usize = 64;

/// Bounds of the scheduler.
#[derive(Debug, Clone, Copy)]
pub struct SchedulerLimits {
    /// Sequences decoded together.
    pub slots: usize,
    /// Rows of one step, decoding and prompt rows together; at least `slots`.
    pub step_rows_max: usize,
}

/// Identity of a sequence within the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

struct Entry {
    id: SequenceId,
    sequence: Sequence,
    hashes: Vec<PrefixHash>,
    blocks: Vec<BlockId>,
    /// Tokens whose keys and values are in the blocks.
    computed: usize,
    /// Rows in the step under way.
    planned: usize,
}

impl Entry {
    fn remaining(&self) -> usize {
        self.sequence.tokens().len() - self.computed
    }

    /// Prefix blocks that may be taken over: all but the last token, which must run to give logits.
    fn shareable(&self) -> &[PrefixHash] {
        let full = (self.sequence.tokens().len() - 1) / BLOCK_TOKENS;
        &self.hashes[..self.hashes.len().min(full)]
    }
}

/// The scheduler's whole state.
pub struct Scheduler {
    limits: SchedulerLimits,
    pool: BlockPool,
    waiting: VecDeque<Entry>,
    running: Vec<Entry>,
}

impl Scheduler {
    /// Builds an empty scheduler over a pool of blocks.
    #[must_use]
    pub fn new(limits: SchedulerLimits, pool: BlockPool) -> Self {
        Self { limits, pool, waiting: VecDeque::new(), running: Vec::new() }
    }

    /// Returns how many sequences wait for a slot.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Returns how many sequences hold a slot.
    #[must_use]
    pub fn running_count(&self) -> usize {
        self.running.len()
    }

    /// Returns the block counts (I8).
    #[cfg(test)]
    pub fn block_counts(&self) -> BlockCounts {
        self.pool.counts()
    }

    /// Adds a sequence at the end of the queue.
    pub fn submit(&mut self, id: SequenceId, sequence: Sequence) {
        let hashes = prefix_hashes(&sequence.spec().prompt);
        self.waiting.push_back(Entry { id, sequence, hashes, blocks: Vec::new(), computed: 0, planned: 0 });
    }

    /// Drops the sequences that wait and have sampled nothing yet, and returns their ids.
    pub fn drop_waiting(&mut self) -> Vec<SequenceId> {
        let is_fresh = |entry: &Entry| entry.sequence.tokens().len() == entry.sequence.spec().prompt.len();
        let dropped = self.waiting.iter().filter(|entry| is_fresh(entry)).map(|entry| entry.id).collect();
        self.waiting.retain(|entry| !is_fresh(entry));
        dropped
    }

    /// Drops the sequences that `is_abandoned` names.
    pub fn abandon(&mut self, is_abandoned: impl Fn(SequenceId) -> bool) {
        self.waiting.retain(|entry| !is_abandoned(entry.id));
        let (gone, kept): (Vec<Entry>, Vec<Entry>) = self.running.drain(..).partition(|entry| is_abandoned(entry.id));
        self.running = kept;
        for entry in gone {
            self.pool.release(entry.blocks);
        }
    }

    /// Decides the next step. Empty rows mean that there is nothing to do.
    pub fn plan(&mut self) -> StepInput {
        self.admit();
        self.share_out_rows();
        self.provide_blocks();
        let mut input = StepInput::default();
        for entry in self.running.iter().filter(|entry| entry.planned > 0) {
            let table = input.tables.len();
            input.tables.push(entry.blocks.clone());
            let tokens = entry.sequence.tokens();
            let end = entry.computed + entry.planned;
            for (position, &token) in tokens.iter().enumerate().take(end).skip(entry.computed) {
                input.rows.push(Row { token, position, table, wants_logits: position + 1 == tokens.len() });
            }
        }
        input
    }

    /// Returns the sequences whose logits the planned step gives, in row order.
    pub fn sampling(&mut self) -> impl Iterator<Item = &mut Sequence> {
        self.running
            .iter_mut()
            .filter(|entry| entry.planned > 0 && entry.planned == entry.remaining())
            .map(|entry| &mut entry.sequence)
    }

    /// Takes the sampled tokens (one per sequence of [`Self::sampling`], in its order) and returns what finished.
    ///
    /// # Errors
    /// As [`Sequence::push`].
    pub fn apply(
        &mut self,
        tokens: &[u32],
        vocabulary: &Vocabulary,
    ) -> Result<Vec<(SequenceId, Completion)>, EngineError> {
        let mut tokens = tokens.iter();
        let mut finished = Vec::new();
        let mut kept = Vec::with_capacity(self.running.len());
        for mut entry in self.running.drain(..) {
            let is_sampled = entry.planned > 0 && entry.planned == entry.remaining();
            let before = entry.computed / BLOCK_TOKENS;
            entry.computed += entry.planned;
            entry.planned = 0;
            let after = (entry.computed / BLOCK_TOKENS).min(entry.hashes.len());
            for index in before..after {
                self.pool.register(entry.blocks[index], entry.hashes[index]);
            }
            if is_sampled {
                let token = *tokens.next().expect("one token is sampled per sequence that asked for logits");
                match entry.sequence.push(token, vocabulary)? {
                    Progress::Continues { unchanged } => entry.computed = entry.computed.min(unchanged),
                    Progress::Finished(reason) => {
                        finished.push((entry.id, entry.sequence.completion(reason)));
                        self.pool.release(entry.blocks);
                        continue;
                    }
                }
            }
            kept.push(entry);
        }
        self.running = kept;
        Ok(finished)
    }

    fn admit(&mut self) {
        let mut computing: HashSet<PrefixHash> = self
            .running
            .iter()
            .flat_map(|entry| entry.hashes[entry.hashes.len().min(entry.computed / BLOCK_TOKENS)..].iter().copied())
            .collect();
        let mut index = 0;
        while self.running.len() < self.limits.slots && index < self.waiting.len().min(LOOKAHEAD_MAX) {
            let entry = &self.waiting[index];
            let unknown = entry.shareable().iter().find(|hash| !self.pool.knows(**hash));
            if unknown.is_some_and(|hash| computing.contains(hash)) {
                index += 1;
                continue;
            }
            // One block of headroom per running sequence keeps what was just preempted from coming back at once.
            let needed = entry.sequence.tokens().len() / BLOCK_TOKENS + 1 + self.running.len();
            let counts = self.pool.counts();
            if counts.free + counts.cached < needed && !self.running.is_empty() {
                break;
            }
            let Some(mut entry) = self.waiting.remove(index) else { break };
            entry.blocks = self.pool.hold_prefix(entry.shareable());
            entry.computed = entry.blocks.len() * BLOCK_TOKENS;
            computing.extend(entry.hashes[entry.blocks.len().min(entry.hashes.len())..].iter().copied());
            self.running.push(entry);
        }
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
                self.waiting.push_front(youngest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sequence::SequenceSpec;
    use super::super::testing::tiny_vocabulary;
    use super::*;
    use crate::domain::FinishReason;

    fn sequence(prompt_tokens: usize, tokens_max: u32, salt: u32) -> Sequence {
        let prompt = (0..prompt_tokens as u32).map(|i| if i < 20 { 40 + i } else { 40 + (i + salt) % 60 }).collect();
        Sequence::new(SequenceSpec {
            prompt,
            tokens_max,
            stops: Vec::new(),
            close: None,
            temperature: 0.0,
            top_p: 1.0,
            stream_key: [0; 32],
        })
    }

    /// A model of the model: the next token is a hash of all tokens so far.
    fn next_token(tokens: &[u32]) -> u32 {
        tokens.iter().fold(17_u32, |hash, token| hash.wrapping_mul(31).wrapping_add(*token)) % 90 + 33
    }

    /// Runs to the end; checks after every step that rows are what they must be, and I8.
    fn run(mut scheduler: Scheduler) -> Vec<(SequenceId, Completion)> {
        let vocabulary = tiny_vocabulary();
        let mut finished = Vec::new();
        for _ in 0..10_000 {
            let input = scheduler.plan();
            let counts = scheduler.block_counts();
            assert_eq!(counts.free + counts.cached + counts.held, scheduler.pool.total(), "I8");
            assert!(input.rows.len() <= scheduler.limits.step_rows_max);
            assert!(scheduler.running_count() <= scheduler.limits.slots);
            for row in &input.rows {
                assert!(row.position / BLOCK_TOKENS < input.tables[row.table].len());
            }
            if input.rows.is_empty() {
                assert_eq!(scheduler.waiting_count() + scheduler.running_count(), 0, "a scheduler never stalls");
                return finished;
            }
            let tokens: Vec<u32> = scheduler.sampling().map(|sequence| next_token(sequence.tokens())).collect();
            assert_eq!(tokens.len(), input.rows.iter().filter(|row| row.wants_logits).count());
            finished.extend(scheduler.apply(&tokens, &vocabulary).unwrap());
        }
        panic!("the scheduler did not come to an end");
    }

    proptest::proptest! {
        #[test]
        fn every_sequence_finishes_with_the_same_text_whatever_the_bounds(
            lengths in proptest::collection::vec((1_usize..70, 1_u32..40, 0_u32..3), 1..12),
            slots in 1_usize..6,
            step_rows_max in 6_usize..50,
            spare_blocks in 0_usize..10,
        ) {
            let alone = lengths.iter().enumerate().map(|(index, &(prompt, tokens_max, salt))| {
                let limits = SchedulerLimits { slots: 1, step_rows_max: 1000 };
                let mut scheduler = Scheduler::new(limits, BlockPool::new(64));
                scheduler.submit(SequenceId(index as u64), sequence(prompt, tokens_max, salt));
                run(scheduler).remove(0)
            }).collect::<Vec<_>>();
            // The largest sequence needs 110 tokens: 7 blocks.
            let mut scheduler =
                Scheduler::new(SchedulerLimits { slots, step_rows_max }, BlockPool::new(7 + spare_blocks));
            for (index, &(prompt, tokens_max, salt)) in lengths.iter().enumerate() {
                scheduler.submit(SequenceId(index as u64), sequence(prompt, tokens_max, salt));
            }
            let mut together = run(scheduler);
            together.sort_by_key(|(id, _)| *id);
            assert_eq!(together, alone);
        }
    }

    #[test]
    fn samples_of_one_prompt_compute_it_once() {
        let limits = SchedulerLimits { slots: 4, step_rows_max: 1000 };
        let mut scheduler = Scheduler::new(limits, BlockPool::new(64));
        for id in 0..4 {
            scheduler.submit(SequenceId(id), sequence(40, 2, 0));
        }
        assert_eq!(scheduler.plan().rows.len(), 40, "the first computes the prompt, the others wait for it");
        scheduler.apply(&[50], &tiny_vocabulary()).unwrap();
        // One decoding row, and the unshared last 8 prompt tokens of each of the three others.
        assert_eq!(scheduler.plan().rows.len(), 1 + 3 * 8);
    }

    #[test]
    fn abandoned_sequences_give_their_blocks_back() {
        let limits = SchedulerLimits { slots: 2, step_rows_max: 1000 };
        let mut scheduler = Scheduler::new(limits, BlockPool::new(8));
        scheduler.submit(SequenceId(1), sequence(30, 5, 0));
        scheduler.submit(SequenceId(2), sequence(31, 5, 1));
        scheduler.plan();
        scheduler.abandon(|id| id == SequenceId(1));
        assert_eq!(scheduler.block_counts().held, 0);
        let finished = run(scheduler);
        assert_eq!(finished.len(), 1);
        assert_eq!(finished[0].1.finish_reason, FinishReason::Length);
    }
}
