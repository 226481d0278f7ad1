//! The local policy model as its own judge: offline, without cost, and labelled as a local judge.
//!
//! The replies have the shape of an OpenAI chat reply, so that they are stored and parsed like the replies of any other
//! judge. They are deterministic: the request's key and the attempt's number seed the random stream of an attempt.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::prompt::{JudgeCase, local_messages};
use super::{Attempt, CallFailure, Cap, Judge, JudgeKind, JudgeRequest, RawReply};
use crate::domain::{FinishReason, Mode};
use crate::engine::SequenceSpec;
use crate::http::client::Admission;
use crate::http::retry::{Class, raised_cap};
use crate::http::wire::Message;
use crate::policy::{CandlePolicy, PolicyIdentity};

/// Sampling temperature: low, for a sober text, but above 0, so that another attempt returns another text.
const TEMPERATURE: f64 = 0.3;

/// A judge that samples from the policy model itself.
pub struct PolicyJudge {
    /// `None` if the judge only reads stored replies.
    policy: Option<Arc<CandlePolicy>>,
    identity: String,
    model: String,
    max_tokens: u32,
}

impl PolicyJudge {
    /// Builds the judge over a loaded policy; a reply has at most `max_tokens` tokens.
    #[must_use]
    pub fn new(policy: Arc<CandlePolicy>, max_tokens: u32) -> Self {
        Self { policy: Some(Arc::clone(&policy)), ..Self::stored(policy.identity(), max_tokens) }
    }

    /// Builds a judge whose stored replies can be read, and which makes no call.
    #[must_use]
    pub fn stored(policy: &PolicyIdentity, max_tokens: u32) -> Self {
        let (identity, model) = (format!("policy:{}", policy.revision), format!("policy:{}", policy.model));
        Self { policy: None, identity, model, max_tokens }
    }

    async fn reply(&self, request: &JudgeRequest, attempt: Attempt) -> Result<RawReply, CallFailure> {
        let failure = |class, detail: String| CallFailure {
            class,
            status: None,
            retry_after: None,
            detail,
            refused: None,
            body: None,
        };
        let Some(policy) = &self.policy else {
            return Err(failure(Class::FatalRun, "the model is not loaded".to_owned()));
        };
        let messages: Vec<Message> = serde_json::from_value(request.body.get("messages").cloned().unwrap_or_default())
            .map_err(|error| failure(Class::FatalRequest, error.to_string()))?;
        // A final assistant message is the beginning of the reply, which the model continues.
        let (opening, messages) = match messages.split_last() {
            Some((last, before)) if last.role == "assistant" => (last.content.as_str(), before),
            _ => ("", messages.as_slice()),
        };
        let engine = policy.engine();
        let context = engine.config().context;
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        if !engine.vocabulary().may_hold(bytes, context) {
            let error = crate::engine::EngineError::TextTooLong { bytes, context };
            return Err(failure(Class::FatalRequest, error.to_string()));
        }
        let mut prompt = policy
            .prompter()
            .render_chat(messages, Mode::ThinkOff)
            .map_err(|error| failure(Class::FatalRequest, error.to_string()))?;
        prompt.push_str(opening);
        let mut hasher = Sha256::new();
        hasher.update(b"thinkloom judge stream\0");
        hasher.update(request.key.as_bytes());
        hasher.update(attempt.number.to_le_bytes());
        let fatal = |error: crate::engine::EngineError| {
            failure(if error.is_too_long() { Class::FatalRequest } else { Class::FatalRun }, error.to_string())
        };
        let spec = SequenceSpec {
            prompt: engine.vocabulary().encode_within(&prompt, context).map_err(fatal)?,
            tokens_max: if attempt.cap == Cap::Raised { raised_cap(self.max_tokens) } else { self.max_tokens },
            // The prompt asks for one sentence; small models tend to continue with examples of their own.
            stops: vec!["\n".to_owned()],
            temperature: TEMPERATURE as f32,
            top_p: 0.95,
            stream_key: hasher.finalize().into(),
            ..SequenceSpec::default()
        };
        if let Err(error) = engine.check_fit(&spec) {
            return Err(failure(Class::FatalRequest, error.to_string()));
        }
        let completion = engine.sample(spec).await.map_err(fatal)?;
        let finish_reason = match completion.finish_reason {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        };
        let body = json!({
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": format!("{opening}{}", completion.text)},
                "finish_reason": finish_reason,
            }],
            "usage": {
                "prompt_tokens": completion.prompt_tokens,
                "completion_tokens": completion.completion_tokens,
            },
        });
        Ok(RawReply::new(body.to_string()))
    }
}

impl Judge for PolicyJudge {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    fn temperature(&self) -> f64 {
        TEMPERATURE
    }

    fn kind(&self) -> JudgeKind {
        JudgeKind::Local
    }

    fn messages(&self, case: &JudgeCase<'_>) -> Result<Vec<Message>, minijinja::Error> {
        Ok(local_messages(case))
    }

    fn extra(&self) -> Option<&Map<String, Value>> {
        None
    }

    fn call<'a>(
        &'a self,
        request: &'a JudgeRequest,
        attempt: Attempt,
        _: Admission,
    ) -> BoxFuture<'a, Result<RawReply, CallFailure>> {
        self.reply(request, attempt).boxed()
    }
}
