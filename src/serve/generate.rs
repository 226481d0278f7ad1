//! Turns a checked request into sequences of the engine: permits, limits, grammar, random streams.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::app::App;
use super::error::ApiError;
use super::limits::GRAMMARS_MAX;
use super::turns::Kind;
use super::wire::Checked;
use crate::engine::{Grammar, SequenceSpec};
use crate::policy::RenderedPrompt;
use crate::sys::entropy::random_u64;

/// The permits of a request. Dropping them before [`Hold::finish`] counts the responses as cancelled by the client.
pub(super) struct Hold {
    app: Arc<App>,
    is_finished: bool,
    responses: u64,
    _permits: OwnedSemaphorePermit,
}

impl Hold {
    /// Marks the request as finished, so that dropping the permits counts no cancelled response.
    pub(super) fn finish(&mut self) {
        self.is_finished = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.is_finished {
            self.app.common.metrics.cancelled.fetch_add(self.responses, Ordering::Relaxed);
        }
    }
}

impl App {
    /// Takes one permit per response, or rejects the request.
    pub(super) fn hold(self: &Arc<Self>, responses: usize) -> Result<Hold, ApiError> {
        if self.common.stop.is_cancelled() {
            return Err(ApiError::stopping());
        }
        self.check_count(responses)?;
        let permits = Arc::clone(&self.permits).try_acquire_many_owned(u32::try_from(responses).unwrap_or(u32::MAX));
        let permits = permits.map_err(|_| ApiError::busy(self.capacity))?;
        Ok(Hold { app: Arc::clone(self), is_finished: false, responses: responses as u64, _permits: permits })
    }

    /// Rejects a request for more responses than the server can ever run and queue.
    pub(super) fn check_count(&self, responses: usize) -> Result<(), ApiError> {
        if responses > self.capacity {
            let message = format!("the request asks for {responses} responses; the maximum is {}", self.capacity);
            return Err(ApiError::invalid("n", message));
        }
        Ok(())
    }

    /// Rejects a request while no permit is free, before parsing its body.
    pub(super) fn check_room(&self) -> Result<(), ApiError> {
        if self.common.stop.is_cancelled() {
            return Err(ApiError::stopping());
        }
        if self.permits.available_permits() == 0 { Err(ApiError::busy(self.capacity)) } else { Ok(()) }
    }

    /// Rejects a request for another model than the served one.
    pub(super) fn check_model(&self, asked: Option<&str>) -> Result<(), ApiError> {
        let served = &self.policy.identity().model;
        match asked {
            Some(asked) if asked != served && !asked.is_empty() => {
                Err(ApiError::invalid("model", format!("the server does not serve the model {asked}, only {served}")))
            }
            _ => Ok(()),
        }
    }

    /// Builds the sequences of one prompt: one per choice. `prompt` has its tokens, `rendered` the rules that the preset
    /// adds.
    pub(super) fn specs(
        &self,
        prompt: Vec<u32>,
        rendered: Option<&RenderedPrompt>,
        checked: &Checked,
        grammar: Option<&Arc<Grammar>>,
    ) -> Result<Vec<SequenceSpec>, ApiError> {
        let engine = self.policy.engine();
        let room = engine.capacity().saturating_sub(prompt.len());
        let tokens_max = checked.tokens_max.unwrap_or(u32::try_from(room.max(1)).unwrap_or(u32::MAX));
        if let Some(grammar) = grammar
            && grammar.tokens_min() > tokens_max
        {
            let message = format!(
                "max_tokens is {tokens_max}, but the shortest instance of the schema may need {} tokens",
                grammar.tokens_min()
            );
            return Err(ApiError::invalid("max_tokens", message));
        }
        let (first_tokens_max, close) = rendered.map_or((tokens_max, None), |rendered| rendered.phases(tokens_max));
        let seed = checked.seed.map_or_else(random_u64, |seed| seed as u64);
        let first = SequenceSpec {
            prompt,
            tokens_max: first_tokens_max,
            close,
            stops: if grammar.is_some() { Vec::new() } else { checked.stops.clone() },
            grammar: grammar.cloned(),
            temperature: checked.temperature,
            top_k: checked.top_k,
            top_p: checked.top_p,
            min_p: checked.min_p,
            stream_key: stream_key(seed, 0),
            ..SequenceSpec::default()
        };
        // Check one sequence before cloning it for the other choices.
        engine.check_fit(&first).map_err(|error| ApiError::engine(&error))?;
        let others =
            (1..checked.choices).map(|choice| SequenceSpec { stream_key: stream_key(seed, choice), ..first.clone() });
        let mut specs: Vec<SequenceSpec> = others.collect();
        specs.insert(0, first);
        Ok(specs)
    }

    /// Returns the grammar of a schema: from the cache, or newly compiled.
    pub(super) async fn grammar(
        self: &Arc<Self>,
        schema: Option<serde_json::Value>,
    ) -> Result<Option<Arc<Grammar>>, ApiError> {
        let Some(schema) = schema else { return Ok(None) };
        if !self.policy.engine().heeds_grammars() {
            let message = "this device does not support response_format; start the server with policy.device = \"cpu\"";
            return Err(ApiError::invalid("response_format", message));
        }
        let text = schema.to_string();
        if let Some(grammar) = self.grammars().get(&text) {
            return Ok(Some(Arc::clone(grammar)));
        }
        let compile = move |_: &Arc<Self>| {
            let grammar = Grammar::compile(&schema);
            grammar.map(Arc::new).map_err(|error| ApiError::invalid("response_format", error.to_string()))
        };
        let grammar = self.off_workers(Kind::Schema, compile).await?;
        let mut kept = self.grammars();
        if kept.len() >= GRAMMARS_MAX {
            kept.clear();
        }
        kept.insert(text, Arc::clone(&grammar));
        Ok(Some(grammar))
    }
}

/// Returns the key of a choice's random stream: the same seed and choice give the same text.
fn stream_key(seed: u64, choice: usize) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"thinkloom serve stream\0");
    hasher.update(seed.to_le_bytes());
    hasher.update((choice as u64).to_le_bytes());
    hasher.finalize().into()
}
