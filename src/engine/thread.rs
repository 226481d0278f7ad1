//! The engine thread: the only place that sees both the scheduler and the model.
//!
//! Requests arrive over a bounded mailbox; each carries the channel its completion goes back on. A request whose
//! receiver is gone is dropped at the next step. The thread ends when every [`Engine`] handle is dropped.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::error::EngineError;
use super::kv::BlockPool;
use super::model::{
    BLOCK_TOKENS, DeviceChoice, Draw, Executor, ExecutorChoice, ExecutorOptions, KernelChoice, KvType, ModelConfig,
};
use super::scheduler::{Scheduler, SchedulerLimits, SequenceId};
use super::sequence::{Completion, SampledToken, Sequence, SequenceSpec};
use super::tokenizer::Vocabulary;
use super::weights::Weights;

/// Prompt rows that a step may carry besides the decoding rows: enough to fill the kernels, few enough that decoding
/// sequences do not wait long.
const PROMPT_ROWS_PER_STEP: usize = 192;
/// The same on a GPU, which needs far more rows before its arithmetic takes longer than reading the weights.
const PROMPT_ROWS_PER_STEP_GPU: usize = 2048;

/// Settings of the engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Sequences decoded together; at least 1.
    pub slots: usize,
    /// CPU threads; 0 takes all cores.
    pub threads: usize,
    /// Bound of the KV memory, in bytes.
    pub kv_cache_bytes: usize,
    /// How keys and values are stored.
    pub kv_type: KvType,
    /// Which device runs the model.
    pub device: DeviceChoice,
    /// Which executor runs it.
    pub executor: ExecutorChoice,
    /// Which kernels the fused executor uses.
    pub kernels: KernelChoice,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            slots: 32,
            threads: 0,
            kv_cache_bytes: 2 << 30,
            kv_type: KvType::default(),
            device: DeviceChoice::default(),
            executor: ExecutorChoice::default(),
            kernels: KernelChoice::default(),
        }
    }
}

impl EngineOptions {
    /// Returns the name of the executor that these options lead to.
    fn executor_name(&self) -> &'static str {
        match (self.executor, self.device) {
            (ExecutorChoice::Fused, _) | (ExecutorChoice::Auto, DeviceChoice::Cpu) => "fused",
            (ExecutorChoice::Tensor, _) | (ExecutorChoice::Auto, _) => "tensor",
        }
    }
}

/// Running totals since start; read by the progress display.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Completion tokens sampled.
    pub sampled_tokens: AtomicU64,
    /// Prompt (and recomputed) tokens run.
    pub prompt_tokens: AtomicU64,
    /// Sequences that hold a slot now.
    pub running: AtomicUsize,
    /// Times that a sequence gave its KV memory back to others and was computed again later.
    pub preemptions: AtomicU64,
    /// KV blocks that running sequences hold now.
    pub blocks_held: AtomicUsize,
    /// Set when the program stops: what has not started is refused.
    is_draining: AtomicBool,
}

struct Request {
    spec: SequenceSpec,
    reply: Reply,
}

/// A part of a response, as it grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The text that came to it; whole characters.
    pub text: String,
    /// The tokens that ended in it.
    pub tokens: Vec<SampledToken>,
}

/// What a streamed sequence says.
#[derive(Debug)]
pub enum StreamEvent {
    /// It has grown.
    Piece(Piece),
    /// It is over: what has not been said in pieces, and the whole.
    End(Piece, Box<Completion>),
    /// It cannot go on.
    Failed(EngineError),
}

/// Where a response goes.
enum Reply {
    Whole(oneshot::Sender<Result<Completion, EngineError>>),
    Stream(Stream),
}

/// A response that is told while it grows. The channel has room for an event per token.
struct Stream {
    events: mpsc::Sender<StreamEvent>,
    said_bytes: usize,
    said_tokens: usize,
}

impl Reply {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Whole(reply) => reply.is_closed(),
            Self::Stream(stream) => stream.events.is_closed(),
        }
    }

    /// Says the end; nobody may be left to hear it.
    fn finish(self, result: Result<Completion, EngineError>) {
        match (self, result) {
            (Self::Whole(reply), result) => drop(reply.send(result)),
            (Self::Stream(stream), Ok(completion)) => {
                let text = completion.text.get(stream.said_bytes..).unwrap_or_default().to_owned();
                let tokens = completion.tokens.get(stream.said_tokens..).unwrap_or_default().to_vec();
                drop(stream.events.try_send(StreamEvent::End(Piece { text, tokens }, Box::new(completion))));
            }
            (Self::Stream(stream), Err(error)) => drop(stream.events.try_send(StreamEvent::Failed(error))),
        }
    }
}

impl Stream {
    /// Says what has been settled since the last time.
    fn grow(&mut self, sequence: &Sequence) {
        let (settled, tokens) = sequence.settled();
        let fresh = settled.get(self.said_bytes..).unwrap_or_default();
        let valid = match std::str::from_utf8(fresh) {
            Ok(text) => text,
            // A character may still be incomplete; what can never become one is left to the end.
            Err(error) => std::str::from_utf8(fresh.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default(),
        };
        if valid.is_empty() {
            return;
        }
        let fresh_tokens = sequence.sampled_tokens().take(tokens).skip(self.said_tokens).collect();
        let piece = Piece { text: valid.to_owned(), tokens: fresh_tokens };
        (self.said_bytes, self.said_tokens) = (self.said_bytes + valid.len(), tokens.max(self.said_tokens));
        // A receiver that is gone is noticed before the next step.
        let _ = self.events.try_send(StreamEvent::Piece(piece));
    }
}

/// A handle to a loaded model that samples on its own thread. Clones share it.
#[derive(Clone)]
pub struct Engine {
    mailbox: mpsc::Sender<Request>,
    vocabulary: Arc<Vocabulary>,
    stats: Arc<EngineStats>,
    config: ModelConfig,
    /// Tokens that one sequence may have: the smaller of context and KV memory.
    capacity: usize,
    heeds_grammars: bool,
    description: EngineDescription,
}

/// What runs the model, and what memory it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct EngineDescription {
    /// `fused` or `tensor`.
    pub executor: &'static str,
    /// See [`Engine::numerics`].
    pub numerics: &'static str,
    /// Bytes of the weights in memory.
    pub weight_bytes: usize,
    /// Bytes that keys and values may take.
    pub kv_bytes: usize,
    /// Tokens whose keys and values fit.
    pub kv_tokens: usize,
    /// Sequences decoded together.
    pub slots: usize,
}

impl DeviceChoice {
    /// Returns the fastest device that this build can use on this machine: the first CUDA device, else the CPU.
    #[must_use]
    pub fn best() -> Self {
        match candle_core::Device::new_cuda(0) {
            Ok(_) => Self::Cuda(0),
            Err(_) => Self::Cpu,
        }
    }
}

impl Engine {
    /// Loads a GGUF model and starts its thread. Blocks while loading.
    ///
    /// # Errors
    /// [`EngineError`] if the file cannot be read, is malformed or of a kind that is not supported, if the device is
    /// not there, or if the system gives no threads.
    pub fn load(path: &Path, options: EngineOptions) -> Result<Self, EngineError> {
        let weights = Weights::open(path)?;
        let vocabulary = Arc::new(weights.vocabulary()?);
        let config = weights.config()?;
        if vocabulary.size() > config.vocabulary {
            let (tokens, rows) = (vocabulary.size(), config.vocabulary);
            return Err(weights.malformed(format!("{tokens} tokens are named, but the embedding has {rows} rows")));
        }
        let prompt_rows = match options.device {
            DeviceChoice::Cpu => PROMPT_ROWS_PER_STEP,
            DeviceChoice::Cuda(_) | DeviceChoice::Metal => PROMPT_ROWS_PER_STEP_GPU,
        };
        let limits = SchedulerLimits { slots: options.slots, step_rows_max: options.slots + prompt_rows };
        let blocks = (options.kv_cache_bytes / config.block_bytes(options.kv_type.size())).max(1);
        let executor_options = ExecutorOptions {
            device: options.device,
            executor: options.executor,
            kernels: options.kernels,
            threads: options.threads,
            kv_type: options.kv_type,
            kv_blocks: blocks,
            rows_max: limits.step_rows_max,
        };
        let executor = Executor::load(&weights, &executor_options)?;
        let description = EngineDescription {
            executor: options.executor_name(),
            numerics: executor.numerics(),
            weight_bytes: executor.weight_bytes(),
            kv_bytes: blocks * config.block_bytes(options.kv_type.size()),
            kv_tokens: blocks * BLOCK_TOKENS,
            slots: options.slots,
        };
        let (mailbox, requests) = mpsc::channel(options.slots * 2);
        let stats = Arc::new(EngineStats::default());
        let engine = Self {
            mailbox,
            vocabulary: Arc::clone(&vocabulary),
            stats: Arc::clone(&stats),
            capacity: config.context.min(blocks * BLOCK_TOKENS),
            heeds_grammars: executor.heeds_allowed_tokens(),
            config,
            description,
        };
        let state = EngineState {
            executor,
            vocabulary,
            scheduler: Scheduler::new(limits, BlockPool::new(blocks)),
            replies: HashMap::new(),
            next_id: 0,
            waiting_max: options.slots * 2,
            draws: Vec::with_capacity(options.slots),
            stats,
        };
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || state.run(requests))
            .map_err(|error| EngineError::Stopped(error.to_string()))?;
        Ok(engine)
    }

    /// Returns the model's vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Returns the model's shape.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the bytes of the weights in memory.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.description.weight_bytes
    }

    /// Returns the name of the kernels' family: texts of one family are the same bit for bit on any machine that runs
    /// it, those of two families may differ.
    #[must_use]
    pub fn numerics(&self) -> &'static str {
        self.description.numerics
    }

    /// Returns what runs the model, and what memory it may take.
    #[must_use]
    pub fn description(&self) -> EngineDescription {
        self.description
    }

    /// Returns how many tokens prompt and response of one sequence may have together.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the running totals.
    #[must_use]
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Refuses all sequences that have not started, now and from now on; the running ones go on.
    pub fn drain(&self) {
        self.stats.is_draining.store(true, Ordering::Relaxed);
    }

    /// Returns whether the engine samples no more: its thread has ended, because a step failed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// Samples one sequence. The limits of the specification are lowered so that it fits the model's context.
    ///
    /// Cancel-safe: dropping the future drops the sequence.
    ///
    /// # Errors
    /// As [`Self::check_fit`]; [`EngineError::Draining`] after [`Self::drain`]; [`EngineError::GivenUp`] for a response
    /// that outgrew its use; otherwise the engine has failed.
    pub async fn sample(&self, mut spec: SequenceSpec) -> Result<Completion, EngineError> {
        spec.tokens_max = self.check_fit(&spec)?;
        let (reply, receiver) = oneshot::channel();
        let stopped = || EngineError::Stopped("its thread has ended".to_owned());
        self.mailbox.send(Request { spec, reply: Reply::Whole(reply) }).await.map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())?
    }

    /// Samples one sequence and tells it while it grows. The last event is an end or a failure; a channel that closes
    /// without one means that the engine has failed. Dropping the receiver drops the sequence.
    ///
    /// # Errors
    /// As [`Self::sample`], as far as they show before the start.
    pub async fn stream(&self, mut spec: SequenceSpec) -> Result<mpsc::Receiver<StreamEvent>, EngineError> {
        spec.tokens_max = self.check_fit(&spec)?;
        let closing = spec.close.as_ref().map_or(0, |close| close.tokens_max);
        let (events, receiver) = mpsc::channel(spec.tokens_max as usize + closing as usize + 2);
        let reply = Reply::Stream(Stream { events, said_bytes: 0, said_tokens: 0 });
        let stopped = |_| EngineError::Stopped("its thread has ended".to_owned());
        self.mailbox.send(Request { spec, reply }).await.map_err(stopped)?;
        Ok(receiver)
    }

    /// Returns whether sequences may follow a grammar: not where tokens are picked on the device.
    #[must_use]
    pub fn heeds_grammars(&self) -> bool {
        self.heeds_grammars
    }

    /// Returns the first phase's token limit, lowered to what the context leaves.
    ///
    /// # Errors
    /// [`EngineError::PromptTooLong`] if the context leaves no room for an answer; [`EngineError::KvTooSmall`] if the
    /// sequence may outgrow the KV memory. Lowering the limit to the KV memory would make texts depend on a setting
    /// that must not matter.
    pub fn check_fit(&self, spec: &SequenceSpec) -> Result<u32, EngineError> {
        let closing = match &spec.close {
            // A token that the close cuts may be encoded again, together with the closing text.
            Some(close) => self.vocabulary.encode(&close.text)?.len() + 8 + close.tokens_max as usize,
            None => 0,
        };
        let context_left = self.config.context.saturating_sub(spec.prompt.len() + closing);
        if spec.prompt.is_empty() || context_left == 0 {
            return Err(EngineError::PromptTooLong { prompt_tokens: spec.prompt.len(), context: self.config.context });
        }
        let tokens_max = spec.tokens_max.min(u32::try_from(context_left).unwrap_or(u32::MAX));
        let needed = spec.prompt.len() + closing + tokens_max as usize;
        if needed > self.capacity {
            return Err(EngineError::KvTooSmall { needed, capacity: self.capacity });
        }
        Ok(tokens_max)
    }
}

struct EngineState {
    executor: Executor,
    vocabulary: Arc<Vocabulary>,
    scheduler: Scheduler,
    replies: HashMap<SequenceId, Reply>,
    next_id: u64,
    waiting_max: usize,
    draws: Vec<Draw>,
    stats: Arc<EngineStats>,
}

impl EngineState {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            if self.replies.is_empty() {
                match requests.blocking_recv() {
                    Some(request) => self.accept(request),
                    None => return,
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
            if let Err(error) = result {
                // Nothing that is under way can be trusted now; the handles see a closed channel.
                tracing::error!("{error}");
                return;
            }
        }
    }

    fn accept(&mut self, request: Request) {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.scheduler.submit(id, Sequence::new(request.spec));
        self.replies.insert(id, request.reply);
    }

    fn reply(&mut self, id: SequenceId, result: Result<Completion, EngineError>) {
        if let Some(reply) = self.replies.remove(&id) {
            reply.finish(result);
        }
    }

    /// Drops the sequences that nobody waits for any more.
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
        self.draws.clear();
        let vocabulary = &self.vocabulary;
        self.draws.extend(self.scheduler.sampling().map(|sequence| sequence.draw(vocabulary)));
        let picked = self.executor.step(self.scheduler.input(), &self.draws)?;
        self.stats.sampled_tokens.fetch_add(picked.len() as u64, Ordering::Relaxed);
        self.stats.prompt_tokens.fetch_add((rows - picked.len()) as u64, Ordering::Relaxed);
        for (id, completion) in self.scheduler.apply(&picked, &self.vocabulary)? {
            self.reply(id, completion.ok_or(EngineError::GivenUp));
        }
        for (id, sequence) in self.scheduler.running() {
            if let Some(Reply::Stream(stream)) = self.replies.get_mut(&id) {
                stream.grow(sequence);
            }
        }
        Ok(())
    }

    fn count(&self) {
        let EngineStats { running, preemptions, blocks_held, .. } = &*self.stats;
        running.store(self.scheduler.running_count(), Ordering::Relaxed);
        preemptions.store(self.scheduler.preemptions(), Ordering::Relaxed);
        blocks_held.store(self.scheduler.block_counts().held, Ordering::Relaxed);
    }
}
