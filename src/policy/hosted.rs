//! The policy of a run, wherever it is hosted.

use super::sample_error::SampleError;
use super::{
    Addresses, AttemptError, CandlePolicy, OpenAiPolicy, PolicyError, PolicyIdentity, RolloutTask, ScriptedPolicy,
    TemplateError,
};
use crate::domain::{ByMode, Query, Rollout};
use crate::engine::{EngineError, EngineStats};
use crate::http::breaker::Probe;
use crate::http::left_out::Recorder;
use crate::http::wire::Message;

/// Bytes of English prose per token, where there is no tokenizer.
const BYTES_PER_TOKEN: usize = 4;

/// The policy of a run.
pub enum Policy {
    /// In this process.
    Candle(std::sync::Arc<CandlePolicy>),
    /// Behind HTTP.
    OpenAi(Box<OpenAiPolicy>),
    /// A script, in tests and simulations; no config names it.
    Scripted(Box<ScriptedPolicy>),
    /// Not there: its stored responses can be found, and none can be sampled.
    Stored(Box<StoredPolicy>),
}

/// A policy that is not there.
pub struct StoredPolicy {
    addresses: Addresses,
    stats: EngineStats,
}

impl Policy {
    /// Stands for a policy that is not there.
    #[must_use]
    pub fn stored(addresses: Addresses) -> Self {
        Self::Stored(Box::new(StoredPolicy { addresses, stats: EngineStats::default() }))
    }

    /// Returns who the policy is.
    #[must_use]
    pub fn identity(&self) -> &PolicyIdentity {
        match self {
            Self::Candle(policy) => policy.identity(),
            Self::OpenAi(policy) => policy.identity(),
            Self::Scripted(policy) => policy.identity(),
            Self::Stored(policy) => policy.addresses.identity(),
        }
    }

    /// Returns a SHA-256 in hex over all that decides the responses besides the sampling settings.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Candle(policy) => policy.addresses().fingerprint(),
            Self::OpenAi(policy) => policy.fingerprint(),
            Self::Scripted(policy) => policy.fingerprint(),
            Self::Stored(policy) => policy.addresses.fingerprint(),
        }
    }

    /// Returns the family of kernels that responses come from; texts may differ between families.
    #[must_use]
    pub fn numerics(&self) -> &'static str {
        match self {
            Self::Candle(policy) => policy.engine().numerics(),
            Self::OpenAi(_) => "server",
            Self::Scripted(_) => "script",
            Self::Stored(_) => "stored",
        }
    }

    /// Returns the running totals.
    #[must_use]
    pub fn stats(&self) -> &EngineStats {
        match self {
            Self::Candle(policy) => policy.stats(),
            Self::OpenAi(policy) => policy.stats(),
            Self::Scripted(policy) => policy.stats(),
            Self::Stored(policy) => &policy.stats,
        }
    }

    /// Refuses what is not under way yet.
    pub fn drain(&self) {
        match self {
            Self::Candle(policy) => policy.engine().drain(),
            Self::OpenAi(policy) => policy.drain(),
            Self::Scripted(policy) => policy.drain(),
            Self::Stored(_) => {}
        }
    }

    /// Returns what asks its servers for one token, to see whether they answer, if it has servers.
    #[must_use]
    pub fn probe(&self) -> Option<Probe> {
        match self {
            Self::OpenAi(policy) => Some(policy.probe()),
            Self::Candle(_) | Self::Scripted(_) | Self::Stored(_) => None,
        }
    }

    /// Returns the rollouts that a query asks for, N per mode in order of sample index.
    ///
    /// # Errors
    /// [`TemplateError`] if the chat template refuses the query.
    pub fn tasks(&self, query: &Query) -> Result<ByMode<Vec<RolloutTask>>, TemplateError> {
        match self {
            Self::Candle(policy) => policy.tasks(query),
            Self::OpenAi(policy) => Ok(policy.tasks(query)),
            Self::Scripted(policy) => Ok(policy.tasks(query)),
            Self::Stored(policy) => policy.addresses.tasks(query),
        }
    }

    /// Returns responses for which no mode is asked: the model sees the user's text alone, and picks.
    ///
    /// # Errors
    /// As [`Self::tasks`].
    pub fn free_tasks(&self, query: &Query) -> Result<Vec<RolloutTask>, TemplateError> {
        match self {
            Self::Candle(policy) => policy.free_tasks(query),
            Self::OpenAi(policy) => Ok(policy.free_tasks(query)),
            Self::Stored(policy) => policy.addresses.free_tasks(query),
            // A script is always asked in a mode.
            Self::Scripted(_) => Ok(Vec::new()),
        }
    }

    /// Returns whether a response fits into the model's context at all; a server says so only when it is asked.
    ///
    /// # Errors
    /// As [`CandlePolicy::check_fit`].
    pub fn check_fit(&self, task: &RolloutTask) -> Result<(), EngineError> {
        match self {
            Self::Candle(policy) => policy.check_fit(task),
            Self::OpenAi(_) | Self::Stored(_) | Self::Scripted(_) => Ok(()),
        }
    }

    /// Returns what the prompts of a hosted model are made of.
    #[must_use]
    pub fn prompter(&self) -> Option<super::StoredPrompter> {
        match self {
            Self::Candle(policy) => Some(policy.prompter().stored()),
            Self::Stored(policy) => Some(policy.addresses.prompter().stored()),
            Self::OpenAi(_) | Self::Scripted(_) => None,
        }
    }

    /// Takes which keys of requests earlier starts found to be refused by the policy's servers, and who records more.
    pub fn remember(&self, refused: Vec<String>, recorder: Option<Recorder>) {
        if let Self::OpenAi(policy) = self {
            policy.remember(refused, recorder);
        }
    }

    /// Returns the keys that are left out of its requests, sorted.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        match self {
            Self::OpenAi(policy) => policy.left_out(),
            Self::Candle(_) | Self::Scripted(_) | Self::Stored(_) => Vec::new(),
        }
    }

    /// Returns a task as it is asked for now, see [`OpenAiPolicy::current`].
    #[must_use]
    pub fn current(&self, task: RolloutTask) -> RolloutTask {
        match self {
            Self::OpenAi(policy) => policy.current(&task),
            Self::Candle(_) | Self::Scripted(_) | Self::Stored(_) => task,
        }
    }

    /// Samples one response, over HTTP in one attempt. A response of this process is given up where its task bounds its
    /// use; a server is not asked to. Cancel-safe.
    ///
    /// # Errors
    /// [`SampleError`].
    pub async fn sample(&self, task: &RolloutTask) -> Result<Rollout, SampleError> {
        match self {
            Self::Candle(policy) => policy.sample(task).await.map_err(|error| match error {
                EngineError::Draining => SampleError::Draining,
                EngineError::GivenUp => SampleError::TooLong,
                error => SampleError::Policy(error.into()),
            }),
            Self::OpenAi(policy) => policy.sample(task).await.map_err(|error| match error {
                AttemptError::Draining => SampleError::Draining,
                AttemptError::Call(failure) => SampleError::Call(failure),
            }),
            Self::Scripted(policy) => policy.sample(task).await,
            Self::Stored(_) => Err(SampleError::Draining),
        }
    }

    /// Returns the tokens of a conversation's texts: counted, or estimated where there is no tokenizer.
    ///
    /// # Errors
    /// [`PolicyError`] if the tokenizer fails.
    pub fn count_tokens(&self, messages: &[Message]) -> Result<u64, PolicyError> {
        let text: String = messages.iter().map(|message| message.content.as_str()).collect();
        let estimate = text.len().div_ceil(BYTES_PER_TOKEN) as u64;
        match self {
            Self::Candle(policy) => {
                match policy.engine().vocabulary().encode_within(&text, policy.engine().config().context) {
                    Ok(tokens) => Ok(tokens.len() as u64),
                    Err(error) if error.is_too_long() => Ok(estimate),
                    Err(error) => Err(error.into()),
                }
            }
            Self::OpenAi(_) | Self::Stored(_) | Self::Scripted(_) => Ok(estimate),
        }
    }
}
