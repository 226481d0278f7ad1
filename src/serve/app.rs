//! The state that all requests share: the model, the limits, the counters.

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

/// Bytes that one byte of text takes in JSON, at most: `\u00XX`.
const ESCAPED_BYTES: usize = 6;

/// Bytes of a message in JSON without its text; a generous estimate.
const MESSAGE_FRAME_BYTES: usize = 128;

/// The options of the server.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The maximum number of responses that wait for a slot.
    pub queue_max: usize,
    /// The names that the `Host` header of a request may have.
    pub hosts: Hosts,
    /// The key that clients must send, if one is set.
    pub api_key: Option<SecretString>,
    /// The constants of the reward rule.
    pub reward: RewardSettings,
    /// The settings with which the reward endpoint runs programs.
    pub verify: VerifySettings,
}

/// The state that all requests share.
pub struct App {
    pub(super) policy: Arc<CandlePolicy>,
    pub(super) options: ServeOptions,
    /// One permit per response that may run or wait.
    pub(super) permits: Arc<Semaphore>,
    pub(super) capacity: usize,
    pub(super) reward_turns: Arc<Semaphore>,
    pub(super) turns: Turns,
    pub(super) memory: Memory,
    /// Upper bounds for a conversation that fits the model's context: bytes of its text, and bytes of its body.
    pub(super) text_bytes_max: usize,
    pub(super) chat_bytes_max: usize,
    pub(super) metrics: Metrics,
    /// Compiled grammars, by the text of their schema.
    pub(super) grammars: Mutex<HashMap<String, Arc<Grammar>>>,
    /// The pool that runs programs; opened when the first program arrives.
    pub(super) programs: tokio::sync::OnceCell<CodePool>,
    /// When the server started, in seconds since 1970: the `created` field of a model.
    pub(super) started_s: i64,
    pub(super) stop: CancellationToken,
}

impl App {
    /// Builds the shared state for a loaded model.
    #[must_use]
    pub fn new(policy: Arc<CandlePolicy>, options: ServeOptions, stop: CancellationToken) -> Arc<Self> {
        let engine = policy.engine();
        let capacity = engine.description().slots + options.queue_max;
        let context = engine.config().context;
        let text_bytes_max = engine.vocabulary().text_bytes_max(context);
        // Each byte of text may be escaped, each message has its frame, and the body may also contain a schema.
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
        // A panic cannot leave a partial entry, so a poisoned lock is safe to use.
        self.grammars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
