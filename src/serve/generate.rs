//! From a checked request to sequences of the engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::wire::Checked;
use super::{App, GRAMMARS_MAX};
use crate::domain::FinishReason;
use crate::engine::{Grammar, SampledToken, SequenceSpec, Vocabulary};
use crate::sys::entropy::random_u64;

/// The permits of a request; counts a client that leaves before the end.
pub(super) struct Hold {
    app: Arc<App>,
    is_finished: bool,
    responses: u64,
    _permits: OwnedSemaphorePermit,
}

impl Hold {
    /// Says that nothing is left to be sent.
    pub(super) fn finish(&mut self) {
        self.is_finished = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.is_finished {
            self.app.metrics.cancelled.fetch_add(self.responses, Ordering::Relaxed);
        }
    }
}

impl App {
    /// Takes a permit for each response, or refuses the request.
    pub(super) fn hold(self: &Arc<Self>, responses: usize) -> Result<Hold, ApiError> {
        if self.stop.is_cancelled() {
            return Err(ApiError::stopping());
        }
        if responses > self.capacity {
            let message = format!("the request asks for {responses} responses, the server takes {}", self.capacity);
            return Err(ApiError::invalid("n", message));
        }
        let permits = Arc::clone(&self.permits).try_acquire_many_owned(u32::try_from(responses).unwrap_or(u32::MAX));
        let permits = permits.map_err(|_| ApiError::busy(self.capacity))?;
        Ok(Hold { app: Arc::clone(self), is_finished: false, responses: responses as u64, _permits: permits })
    }

    /// Refuses a model that is not the one that is served.
    pub(super) fn check_model(&self, asked: Option<&str>) -> Result<(), ApiError> {
        let served = &self.policy.identity().model;
        match asked {
            Some(asked) if asked != served && !asked.is_empty() => {
                Err(ApiError::invalid("model", format!("the model {asked} is not served here; {served} is")))
            }
            _ => Ok(()),
        }
    }

    /// Builds the sequences of one prompt, one per choice.
    pub(super) fn specs(&self, prompt: Vec<u32>, checked: &Checked) -> Result<Vec<SequenceSpec>, ApiError> {
        let engine = self.policy.engine();
        let room = engine.capacity().saturating_sub(prompt.len());
        let tokens_max = checked.tokens_max.unwrap_or(u32::try_from(room.max(1)).unwrap_or(u32::MAX));
        let grammar = match &checked.schema {
            Some(schema) => Some(self.grammar(schema)?),
            None => None,
        };
        if let Some(grammar) = &grammar
            && grammar.tokens_min() > tokens_max
        {
            let message =
                format!("no text of the schema fits {tokens_max} tokens; it may take {}", grammar.tokens_min());
            return Err(ApiError::invalid("max_tokens", message));
        }
        let seed = checked.seed.map_or_else(random_u64, |seed| seed as u64);
        let spec = |choice: usize| SequenceSpec {
            prompt: prompt.clone(),
            tokens_max,
            stops: if grammar.is_some() { Vec::new() } else { checked.stops.clone() },
            grammar: grammar.clone(),
            temperature: checked.temperature,
            top_k: checked.top_k,
            top_p: checked.top_p,
            min_p: checked.min_p,
            stream_key: stream_key(seed, choice),
            ..SequenceSpec::default()
        };
        let specs: Vec<SequenceSpec> = (0..checked.choices).map(spec).collect();
        if let Some(first) = specs.first() {
            engine.check_fit(first).map_err(|error| ApiError::engine(&error))?;
        }
        Ok(specs)
    }

    fn grammar(&self, schema: &serde_json::Value) -> Result<Arc<Grammar>, ApiError> {
        if !self.policy.engine().heeds_grammars() {
            let message = "this device does not support response_format; run with policy.device = \"cpu\"";
            return Err(ApiError::invalid("response_format", message));
        }
        let text = schema.to_string();
        if let Some(grammar) = self.grammars().get(&text) {
            return Ok(Arc::clone(grammar));
        }
        let compiled = Grammar::compile(schema);
        let grammar = Arc::new(compiled.map_err(|error| ApiError::invalid("response_format", error.to_string()))?);
        let mut kept = self.grammars();
        if kept.len() >= GRAMMARS_MAX {
            kept.clear();
        }
        kept.insert(text, Arc::clone(&grammar));
        Ok(grammar)
    }
}

/// Returns the key of a choice's random stream: with a seed, the same text comes again.
fn stream_key(seed: u64, choice: usize) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"thinkloom serve stream\0");
    hasher.update(seed.to_le_bytes());
    hasher.update((choice as u64).to_le_bytes());
    hasher.finalize().into()
}

/// Returns the name of a finish reason on the wire.
pub(super) fn finish_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

/// Returns a chat's entry for each token.
pub(super) fn chat_logprobs(tokens: &[SampledToken], vocabulary: &Vocabulary) -> serde_json::Value {
    let entry = |token: &SampledToken| {
        let bytes = vocabulary.token_bytes(token.token);
        serde_json::json!({
            "token": String::from_utf8_lossy(bytes),
            "bytes": bytes,
            "logprob": token.log_probability,
            "top_logprobs": [],
        })
    };
    serde_json::json!({"content": tokens.iter().map(entry).collect::<Vec<_>>(), "refusal": null})
}

/// Returns the fields that all responses of the server begin with.
pub(super) fn head(app: &App, object: &str) -> serde_json::Map<String, serde_json::Value> {
    let id = format!("{}-{:016x}", if object.starts_with("chat") { "chatcmpl" } else { "cmpl" }, random_u64());
    let fields = serde_json::json!({
        "id": id,
        "object": object,
        "created": crate::sys::clock::unix_ms() / 1000,
        "model": app.policy.identity().model,
        "system_fingerprint": format!("{}-{}", app.policy.engine().numerics(), app.policy.identity().revision.get(..12).unwrap_or_default()),
    });
    match fields {
        serde_json::Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    }
}
