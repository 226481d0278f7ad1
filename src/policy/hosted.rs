//! The policy of a run, with any backend.

#[cfg(feature = "testing")]
use super::ScriptedPolicy;
use super::sample_error::SampleError;
use super::{
    Addresses, AttemptError, CandlePolicy, OpenAiPolicy, PolicyError, PolicyIdentity, RolloutTask, TemplateError,
};
use crate::domain::{ByMode, Query, Rollout};
use crate::engine::{EngineError, EngineStats};
use crate::http::breaker::Probe;
use crate::http::left_out::Recorder;
use crate::http::wire::Message;

/// Bytes of English prose per token, for the estimate without a tokenizer.
const BYTES_PER_TOKEN: usize = 4;

/// The policy of a run.
pub enum Policy {
    /// The engine in this process.
    Candle(std::sync::Arc<CandlePolicy>),
    /// A server behind HTTP.
    OpenAi(Box<OpenAiPolicy>),
    /// A script, in simulations; no config names it.
    #[cfg(feature = "testing")]
    Scripted(Box<ScriptedPolicy>),
    /// Only stored responses can be found; no response can be sampled.
    Stored(Box<StoredPolicy>),
}

/// A policy whose model is absent.
pub struct StoredPolicy {
    addresses: Addresses,
    stats: EngineStats,
}

impl Policy {
    /// Builds a policy whose model is absent.
    #[must_use]
    pub fn stored(addresses: Addresses) -> Self {
        Self::Stored(Box::new(StoredPolicy { addresses, stats: EngineStats::default() }))
    }

    /// Returns the policy's identity.
    #[must_use]
    pub fn identity(&self) -> &PolicyIdentity {
        match self {
            Self::Candle(policy) => policy.identity(),
            Self::OpenAi(policy) => policy.identity(),
            #[cfg(feature = "testing")]
            Self::Scripted(policy) => policy.identity(),
            Self::Stored(policy) => policy.addresses.identity(),
        }
    }

    /// Returns a SHA-256 in hex over everything that decides the responses, except the sampling settings.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Candle(policy) => policy.addresses().fingerprint(),
            Self::OpenAi(policy) => policy.fingerprint(),
            #[cfg(feature = "testing")]
            Self::Scripted(policy) => policy.fingerprint(),
            Self::Stored(policy) => policy.addresses.fingerprint(),
        }
    }

    /// Returns the family of the kernels that compute the responses; texts may differ between families.
    #[must_use]
    pub fn numerics(&self) -> &'static str {
        match self {
            Self::Candle(policy) => policy.engine().numerics(),
            Self::OpenAi(_) => "server",
            #[cfg(feature = "testing")]
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
            #[cfg(feature = "testing")]
            Self::Scripted(policy) => policy.stats(),
            Self::Stored(policy) => &policy.stats,
        }
    }

    /// Rejects every response that is not yet in progress.
    pub fn drain(&self) {
        match self {
            Self::Candle(policy) => policy.engine().drain(),
            Self::OpenAi(policy) => policy.drain(),
            #[cfg(feature = "testing")]
            Self::Scripted(policy) => policy.drain(),
            Self::Stored(_) => {}
        }
    }

    /// Returns a probe, which requests one token to see whether the servers reply; `None` if the policy has no servers.
    #[must_use]
    pub fn probe(&self) -> Option<Probe> {
        match self {
            Self::OpenAi(policy) => Some(policy.probe()),
            Self::Candle(_) | Self::Stored(_) => None,
            #[cfg(feature = "testing")]
            Self::Scripted(_) => None,
        }
    }

    /// Returns the rollouts of a query, N per mode, in order of sample index.
    ///
    /// # Errors
    /// [`TemplateError`] if the chat template rejects the query.
    pub fn tasks(&self, query: &Query) -> Result<ByMode<Vec<RolloutTask>>, TemplateError> {
        match self {
            Self::Candle(policy) => policy.tasks(query),
            Self::OpenAi(policy) => Ok(policy.tasks(query)),
            #[cfg(feature = "testing")]
            Self::Scripted(policy) => Ok(policy.tasks(query)),
            Self::Stored(policy) => policy.addresses.tasks(query),
        }
    }

    /// Returns free responses, which request no mode: the prompt is the user's text alone, and the model chooses the
    /// mode.
    pub fn free_tasks(&self, query: &Query) -> Result<Vec<RolloutTask>, TemplateError> {
        match self {
            Self::Candle(policy) => policy.free_tasks(query),
            Self::OpenAi(policy) => Ok(policy.free_tasks(query)),
            Self::Stored(policy) => policy.addresses.free_tasks(query),
            // A script always needs a mode.
            #[cfg(feature = "testing")]
            Self::Scripted(_) => Ok(Vec::new()),
        }
    }

    /// Returns whether a response fits into the model's context at all; a server reports this only in reply to a
    /// request.
    pub fn check_fit(&self, task: &RolloutTask) -> Result<(), EngineError> {
        match self {
            Self::Candle(policy) => policy.check_fit(task),
            Self::OpenAi(_) | Self::Stored(_) => Ok(()),
            #[cfg(feature = "testing")]
            Self::Scripted(_) => Ok(()),
        }
    }

    /// Returns the stored parts of a hosted model's prompts.
    #[must_use]
    pub fn prompter(&self) -> Option<super::StoredPrompter> {
        match self {
            Self::Candle(policy) => Some(policy.prompter().stored()),
            Self::Stored(policy) => Some(policy.addresses.prompter().stored()),
            Self::OpenAi(_) => None,
            #[cfg(feature = "testing")]
            Self::Scripted(_) => None,
        }
    }

    /// Sets the request keys that the policy's servers refused in earlier starts, and the recorder of further refusals.
    pub fn remember(&self, refused: Vec<String>, recorder: Option<Recorder>) {
        if let Self::OpenAi(policy) = self {
            policy.remember(refused, recorder);
        }
    }

    /// Returns the keys that are omitted from the policy's requests, sorted.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        match self {
            Self::OpenAi(policy) => policy.left_out(),
            Self::Candle(_) | Self::Stored(_) => Vec::new(),
            #[cfg(feature = "testing")]
            Self::Scripted(_) => Vec::new(),
        }
    }

    /// Returns a task with its current address, see [`OpenAiPolicy::current`].
    #[must_use]
    pub fn current(&self, task: RolloutTask) -> RolloutTask {
        match self {
            Self::OpenAi(policy) => policy.current(&task),
            Self::Candle(_) | Self::Stored(_) => task,
            #[cfg(feature = "testing")]
            Self::Scripted(_) => task,
        }
    }

    /// Samples one response; over HTTP it makes one attempt. The engine abandons a response that exceeds the task's
    /// useful length; a server always completes it. Cancel-safe.
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
            #[cfg(feature = "testing")]
            Self::Scripted(policy) => policy.sample(task).await,
            Self::Stored(_) => Err(SampleError::Draining),
        }
    }

    /// Returns the number of tokens in a conversation's texts: counted, or estimated without a tokenizer.
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
            Self::OpenAi(_) | Self::Stored(_) => Ok(estimate),
            #[cfg(feature = "testing")]
            Self::Scripted(_) => Ok(estimate),
        }
    }
}
