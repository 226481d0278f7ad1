//! The state that the routes of every server share, whether it hosts a model or not: options, limits, counters, programs.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::limits::REWARD_REQUESTS_MAX;
use super::memory::Memory;
use super::totals::Metrics;
use super::turns::Turns;
use crate::config::VerifySettings;
use crate::domain::OtherMode;
use crate::reward::RewardSettings;
use crate::sys::hosts::Hosts;
use crate::verify::CodePool;

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
    /// What a response of the other mode than was asked for counts as.
    pub other_mode: OtherMode,
}

/// The state that all routes share.
pub struct Common {
    pub(super) options: ServeOptions,
    pub(super) reward_turns: Arc<Semaphore>,
    pub(super) turns: Turns,
    pub(super) memory: Memory,
    pub(super) metrics: Metrics,
    /// The pool that runs programs; opened when the first program arrives.
    pub(super) programs: tokio::sync::OnceCell<CodePool>,
    pub(super) stop: CancellationToken,
}

impl Common {
    /// Builds the state.
    #[must_use]
    pub fn new(options: ServeOptions, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            options,
            reward_turns: Arc::new(Semaphore::new(REWARD_REQUESTS_MAX)),
            turns: Turns::new(),
            memory: Memory::new(),
            metrics: Metrics::default(),
            programs: tokio::sync::OnceCell::new(),
            stop,
        })
    }
}
