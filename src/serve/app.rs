//! The state of a server that hosts a model: the model and the limits of its responses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::common::Common;
use super::limits::{BODY_BYTES_MAX, SCHEMA_BYTES_MAX};
use crate::engine::Grammar;
use crate::policy::CandlePolicy;

/// Bytes that one byte of text takes in JSON, at most: `\u00XX`.
const ESCAPED_BYTES: usize = 6;

/// Bytes of a message in JSON without its text; a generous estimate.
const MESSAGE_FRAME_BYTES: usize = 128;

/// The state of the routes that need the model.
pub struct App {
    pub(super) common: Arc<Common>,
    pub(super) policy: Arc<CandlePolicy>,
    /// One permit per response that may run or wait.
    pub(super) permits: Arc<Semaphore>,
    pub(super) capacity: usize,
    /// Upper bounds for a conversation that fits the model's context: bytes of its text, and bytes of its body.
    pub(super) text_bytes_max: usize,
    pub(super) chat_bytes_max: usize,
    /// Compiled grammars, by the text of their schema.
    pub(super) grammars: Mutex<HashMap<String, Arc<Grammar>>>,
    /// When the server started, in seconds since 1970: the `created` field of a model.
    pub(super) started_s: i64,
}

impl App {
    /// Builds the state for a loaded model.
    #[must_use]
    pub fn new(policy: Arc<CandlePolicy>, common: Arc<Common>) -> Arc<Self> {
        let engine = policy.engine();
        let capacity = engine.description().slots + common.options.queue_max;
        let context = engine.config().context;
        let text_bytes_max = engine.vocabulary().text_bytes_max(context);
        // Each byte of text may be escaped, each message has its frame, and the body may also contain a schema.
        let chat_bytes_max =
            ESCAPED_BYTES.saturating_mul(text_bytes_max).saturating_add(MESSAGE_FRAME_BYTES.saturating_mul(context));
        let chat_bytes_max = chat_bytes_max.saturating_add(2 * SCHEMA_BYTES_MAX).min(BODY_BYTES_MAX);
        Arc::new(Self {
            common,
            policy,
            permits: Arc::new(Semaphore::new(capacity)),
            capacity,
            text_bytes_max,
            chat_bytes_max,
            grammars: Mutex::default(),
            started_s: crate::sys::clock::unix_ms() / 1000,
        })
    }

    pub(super) fn grammars(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Grammar>>> {
        // A panic cannot leave a partial entry, so a poisoned lock is safe to use.
        self.grammars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
