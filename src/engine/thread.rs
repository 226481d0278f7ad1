//! The handle to the engine's thread.
//!
//! Requests arrive over a bounded mailbox. Each request carries the channel for its completion. If the receiver of that
//! channel is dropped, the worker drops the request before its next step. The thread ends when every [`Engine`] handle
//! is dropped.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

use super::error::EngineError;
use super::kv::BlockPool;
use super::model::{
    BLOCK_TOKENS, DeviceChoice, Executor, ExecutorChoice, ExecutorOptions, KernelChoice, KvType, ModelConfig,
};
use super::reply::{Reply, Request, Stream, StreamEvent};
use super::scheduler::{Scheduler, SchedulerLimits};
use super::sequence::{Completion, SequenceSpec};
use super::stats::EngineStats;
use super::tokenizer::Vocabulary;
use super::weights::Weights;
use super::worker::Worker;

/// On the CPU, at most one KV block in this many stays cached for later prompts: the operating system commits the
/// memory of a KV block at its first write.
const CACHED_PARTS: usize = 16;
/// At least this many tokens stay cached, even if that is more blocks than [`CACHED_PARTS`] allows, but never more than
/// half of all blocks.
const CACHED_TOKENS_MIN: usize = 2048;
/// Prompt rows that a step may carry in addition to the decoding rows: enough to fill the kernels, few enough that
/// decoding sequences do not wait long.
const PROMPT_ROWS_PER_STEP: usize = 192;
/// The same limit on a GPU, which needs far more rows before its arithmetic takes longer than reading the weights.
const PROMPT_ROWS_PER_STEP_GPU: usize = 2048;

/// Settings of the engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Sequences decoded together; at least 1.
    pub slots: usize,
    /// CPU threads; 0 uses all cores.
    pub threads: usize,
    /// Limit of the KV memory, in bytes.
    pub kv_cache_bytes: usize,
    /// Number format of the stored keys and values.
    pub kv_type: KvType,
    /// Device that runs the model.
    pub device: DeviceChoice,
    /// Executor that runs the model.
    pub executor: ExecutorChoice,
    /// Kernels that the fused executor uses.
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
    /// Returns the name of the executor that these options select.
    fn executor_name(&self) -> &'static str {
        match (self.executor, self.device) {
            (ExecutorChoice::Fused, _) | (ExecutorChoice::Auto, DeviceChoice::Cpu) => "fused",
            (ExecutorChoice::Tensor, _) | (ExecutorChoice::Auto, _) => "tensor",
        }
    }
}

/// A handle to a loaded model that samples on its own thread. Clones share the model and the thread.
#[derive(Clone)]
pub struct Engine {
    mailbox: mpsc::Sender<Request>,
    vocabulary: Arc<Vocabulary>,
    stats: Arc<EngineStats>,
    config: ModelConfig,
    /// Tokens that one sequence may have: the smaller of the model's context and the KV memory.
    capacity: usize,
    heeds_grammars: bool,
    description: EngineDescription,
}

/// The executor of a loaded model, and the memory that the model may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct EngineDescription {
    /// `fused` or `tensor`.
    pub executor: &'static str,
    /// See [`Engine::numerics`].
    pub numerics: &'static str,
    /// Bytes of the weights in memory.
    pub weight_bytes: usize,
    /// Bytes available for keys and values.
    pub kv_bytes: usize,
    /// Tokens whose keys and values fit into `kv_bytes`.
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
    /// Loads a model (a GGUF file or a model directory) and starts its thread. Blocks while loading.
    ///
    /// # Errors
    /// [`EngineError`] if the model cannot be read, is malformed or unsupported, if the device is missing, or if the
    /// operating system refuses to start a thread.
    pub fn load(path: &Path, options: EngineOptions) -> Result<Self, EngineError> {
        let weights = Weights::open(path)?;
        let vocabulary = Arc::new(Vocabulary::from_weights(&weights)?);
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
        let mut executor = Executor::load(&weights, &executor_options)?;
        executor.never_pick(&vocabulary.rows_without_token(config.vocabulary))?;
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
        let pool = match options.device {
            DeviceChoice::Cpu => {
                let cached_max = (blocks / CACHED_PARTS).max(CACHED_TOKENS_MIN / BLOCK_TOKENS).min(blocks.div_ceil(2));
                BlockPool::new(blocks).with_cached_max(cached_max)
            }
            // A GPU allocates its KV memory once, at the start.
            DeviceChoice::Cuda(_) | DeviceChoice::Metal => BlockPool::new(blocks),
        };
        let scheduler = Scheduler::new(limits, pool);
        let worker = Worker::new(executor, vocabulary, scheduler, options.slots, stats, path.to_owned());
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run_to_the_end(requests))
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

    /// Returns the name of the kernel family. Kernels of one family give the same texts bit for bit on every machine
    /// that runs that family; texts of two families may differ.
    #[must_use]
    pub fn numerics(&self) -> &'static str {
        self.description.numerics
    }

    /// Returns the executor of the model, and the memory that the model may use.
    #[must_use]
    pub fn description(&self) -> EngineDescription {
        self.description
    }

    /// Returns how many tokens the prompt and the response of one sequence may have together.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the running totals.
    #[must_use]
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Rejects every sequence that has not started, now and later; running sequences continue.
    pub fn drain(&self) {
        self.stats.is_draining.store(true, Ordering::Relaxed);
    }

    /// Returns whether the engine has stopped sampling: its thread has ended, because a step failed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// Samples one sequence. The engine lowers the token limit of the specification so that the sequence fits the
    /// model's context.
    ///
    /// Cancel-safe: dropping the future drops the sequence.
    ///
    /// # Errors
    /// As [`Self::check_fit`]; [`EngineError::Draining`] after [`Self::drain`]; [`EngineError::GivenUp`] for a response
    /// that exceeded its useful length; [`EngineError::Response`] if this response alone failed; any other error means
    /// that the engine has stopped.
    pub async fn sample(&self, mut spec: SequenceSpec) -> Result<Completion, EngineError> {
        spec.tokens_max = self.check_fit(&spec)?;
        let (reply, receiver) = oneshot::channel();
        let stopped = || self.stats.stopped();
        self.mailbox.send(Request { spec, reply: Reply::Whole(reply) }).await.map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())?
    }

    /// Samples one sequence and sends its pieces while it grows. The last event is an end or a failure; if the channel
    /// closes without one, the engine has failed. Dropping the receiver drops the sequence.
    ///
    /// # Errors
    /// Only the errors of [`Self::sample`] that appear before sampling starts.
    pub async fn stream(&self, mut spec: SequenceSpec) -> Result<mpsc::Receiver<StreamEvent>, EngineError> {
        spec.tokens_max = self.check_fit(&spec)?;
        let closing = spec.close.as_ref().map_or(0, |close| close.tokens_max);
        let (events, receiver) = mpsc::channel(spec.tokens_max as usize + closing as usize + 2);
        let reply = Reply::Stream(Stream::new(events));
        self.mailbox.send(Request { spec, reply }).await.map_err(|_| self.stats.stopped())?;
        Ok(receiver)
    }

    /// Returns whether sequences may follow a grammar. They may not where the device picks the tokens.
    #[must_use]
    pub fn heeds_grammars(&self) -> bool {
        self.heeds_grammars
    }

    /// Returns the first phase's token limit, lowered to the room that the context leaves.
    ///
    /// # Errors
    /// [`EngineError::PromptTooLong`] if the context leaves no room for an answer; [`EngineError::KvTooSmall`] if the
    /// sequence may outgrow the KV memory. The engine does not lower the limit to the KV memory, because the text would
    /// then depend on a setting that must not change any text.
    pub fn check_fit(&self, spec: &SequenceSpec) -> Result<u32, EngineError> {
        let closing = match &spec.close {
            // The close may encode a cut token again, together with the closing text.
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
