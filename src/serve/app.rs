//! What all requests share: the model, the bounds, the totals.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::limits::{BODY_BYTES_MAX, REWARD_REQUESTS_MAX, SCHEMA_BYTES_MAX};
use super::memory::Memory;
use super::totals::Metrics;
use super::turns::Turns;
use crate::config::VerifySettings;
use crate::engine::Grammar;
use crate::policy::CandlePolicy;
use crate::reward::RewardSettings;
use crate::sys::hosts::Hosts;
use crate::verify::CodePool;

/// Bytes of a byte of text in JSON, at most.
const ESCAPED_BYTES: usize = 6;

/// Bytes of a message in JSON besides its text, generously.
const MESSAGE_FRAME_BYTES: usize = 128;

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Responses that may wait for a slot.
    pub queue_max: usize,
    /// The names that the server answers to.
    pub hosts: Hosts,
    /// What clients must show, if anything.
    pub api_key: Option<SecretString>,
    /// The constants of the reward rule.
    pub reward: RewardSettings,
    /// How programs are run by the reward endpoint.
    pub verify: VerifySettings,
}

/// What all requests share.
pub struct App {
    pub(super) policy: Arc<CandlePolicy>,
    pub(super) options: ServeOptions,
    /// One for each response that may be under way or wait.
    pub(super) permits: Arc<Semaphore>,
    pub(super) capacity: usize,
    pub(super) reward_turns: Arc<Semaphore>,
    pub(super) turns: Turns,
    pub(super) memory: Memory,
    /// Bytes of text beyond which no conversation fits the model's context, and of a body that carries one.
    pub(super) text_bytes_max: usize,
    pub(super) chat_bytes_max: usize,
    pub(super) metrics: Metrics,
    /// By the schema's text.
    pub(super) grammars: Mutex<HashMap<String, Arc<Grammar>>>,
    /// Opened for the first program.
    pub(super) programs: tokio::sync::OnceCell<CodePool>,
    /// When the server started, in seconds since 1970; the models' `created`.
    pub(super) started_s: i64,
    pub(super) stop: CancellationToken,
}

impl App {
    /// Builds what requests share, over a loaded model.
    #[must_use]
    pub fn new(policy: Arc<CandlePolicy>, options: ServeOptions, stop: CancellationToken) -> Arc<Self> {
        let engine = policy.engine();
        let capacity = engine.description().slots + options.queue_max;
        let context = engine.config().context;
        let text_bytes_max = engine.vocabulary().text_bytes_max(context);
        // Each byte of text may be escaped, each message has its frame, and a schema may stand beside them.
        let chat_bytes_max =
            ESCAPED_BYTES.saturating_mul(text_bytes_max).saturating_add(MESSAGE_FRAME_BYTES.saturating_mul(context));
        let chat_bytes_max = chat_bytes_max.saturating_add(2 * SCHEMA_BYTES_MAX).min(BODY_BYTES_MAX);
        Arc::new(Self {
            policy,
            permits: Arc::new(Semaphore::new(capacity)),
            capacity,
            options,
            reward_turns: Arc::new(Semaphore::new(REWARD_REQUESTS_MAX)),
            turns: Turns::new(),
            memory: Memory::new(),
            text_bytes_max,
            chat_bytes_max,
            metrics: Metrics::default(),
            grammars: Mutex::default(),
            programs: tokio::sync::OnceCell::new(),
            started_s: crate::sys::clock::unix_ms() / 1000,
            stop,
        })
    }

    pub(super) fn grammars(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Grammar>>> {
        // Entries are put in whole or not at all.
        self.grammars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
