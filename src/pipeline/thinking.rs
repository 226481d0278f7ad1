//! Checks early whether the policy thinks in Think-on, before a run is wasted on a mode preset that has no effect.
//!
//! Of the first 50 Think-on responses of a configuration at least a tenth must show thinking. Otherwise the run stops
//! and reports the fields of the replies, unless `sampling.allow_unthinking` is set. The check counts stored responses,
//! as the present reader parses them, so that a start after the stop comes to the same result before it samples. A
//! response without any text counts as thinking: its server may keep the thinking to itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tokio::sync::OnceCell;

use super::error::RunError;
use super::identity::Run;
use super::stores::Stores;
use super::{plan, replies};
use crate::domain::{Mode, Rollout};
use crate::http::message::THINKING_FIELDS;
use crate::ledger::Reader;
use crate::policy::Policy;

/// Number of responses that are checked.
const RESPONSES: u32 = 50;
/// Number of them that must think.
const THINKING_MIN: usize = 5;
/// Number of stored replies whose fields are reported.
const REPLIES_NAMED: usize = 5;

/// The state of the check.
#[derive(Debug, Default)]
pub struct ThinkingWatch {
    /// Whether stored responses were checked when sampling began.
    begun: OnceCell<()>,
    /// Think-on responses of this start.
    recorded: AtomicU32,
    /// Whether enough responses were checked.
    settled: OnceCell<()>,
}

impl ThinkingWatch {
    /// Checks the responses of earlier starts, once, before the first response is sampled.
    pub async fn check(&self, run: &Run, stores: &Arc<Stores>, policy: &Policy) -> Result<(), RunError> {
        self.begun.get_or_try_init(|| self.look(run, stores, policy)).await.map(drop)
    }

    /// Counts a stored response, and checks all of them when there are enough.
    pub async fn recorded(&self, run: &Run, stores: &Arc<Stores>, policy: &Policy, mode: Mode) -> Result<(), RunError> {
        if mode != Mode::ThinkOn {
            return Ok(());
        }
        let recorded = self.recorded.fetch_add(1, Ordering::Relaxed) + 1;
        // Earlier starts may have stored some of them.
        if recorded >= RESPONSES || recorded.is_multiple_of(THINKING_STEP) {
            self.look(run, stores, policy).await
        } else {
            Ok(())
        }
    }

    async fn look(&self, run: &Run, stores: &Arc<Stores>, policy: &Policy) -> Result<(), RunError> {
        if run.settings.sampling.allow_unthinking || self.settled.initialized() {
            return Ok(());
        }
        let fingerprint = run.record.fingerprint.clone();
        let seen = stores.read(move |reader| Seen::of(reader, &fingerprint)).await?;
        if seen.responses < RESPONSES as usize {
            return Ok(());
        }
        if seen.thinking < THINKING_MIN {
            let preset = policy.identity().preset.clone();
            let Seen { responses, thinking, fields } = seen;
            return Err(RunError::Unthinking { responses, thinking, seen: fields, preset });
        }
        // Another task may have set the same result.
        let _ = self.settled.set(());
        Ok(())
    }
}

/// New responses between two checks, before this start has sampled enough of its own.
const THINKING_STEP: u32 = 10;

/// The result of a check.
struct Seen {
    responses: usize,
    thinking: usize,
    fields: String,
}

impl Seen {
    fn of(reader: &Reader, fingerprint: &str) -> Result<Self, RunError> {
        let (mut responses, mut thinking) = (0, 0);
        let mut fields = BTreeSet::new();
        let keys = reader.first_rollouts(fingerprint, Mode::ThinkOn, RESPONSES)?;
        if keys.len() < RESPONSES as usize {
            return Ok(Self { responses: keys.len(), thinking, fields: String::new() });
        }
        for key in keys {
            let Some(rollout) = reader.rollout(&key)? else { continue };
            let rollout = replies::present(reader, rollout)?;
            responses += 1;
            thinking += usize::from(is_thinking(&rollout));
            if responses <= REPLIES_NAMED
                && let Some(reply) = reader.rollout_reply(&key, 0)?
            {
                fields.extend(fields_of(&reply.body));
            }
        }
        let names: Vec<String> = fields.into_iter().collect();
        let fields = match names.is_empty() {
            true => "their texts have none of the known thinking tags".to_owned(),
            false => format!("the fields of their messages are: {}", names.join(", ")),
        };
        Ok(Self { responses, thinking, fields })
    }
}

fn is_thinking(rollout: &Rollout) -> bool {
    // Without any text the response proves nothing, and counts as thinking.
    rollout.text.trim().is_empty() || plan::observe(rollout).mode == Mode::ThinkOn
}

/// Returns the fields of a reply's message, and marks thinking fields that are blank.
fn fields_of(body: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(body.trim()).unwrap_or_default();
    let Some(message) = value.pointer("/choices/0/message").and_then(Value::as_object) else { return Vec::new() };
    let is_blank = |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    let name = |(name, value): (&String, &Value)| {
        let note = if THINKING_FIELDS.contains(&name.as_str()) && is_blank(value) { " (blank)" } else { "" };
        format!("{name}{note}")
    };
    message.iter().filter(|(name, _)| *name != "role").map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_reply_are_named() {
        let body =
            r#"{"choices":[{"message":{"role":"assistant","content":"5","reasoning_content":null,"refusal":""}}]}"#;
        assert_eq!(fields_of(body), ["content", "reasoning_content (blank)", "refusal"]);
        assert_eq!(fields_of("<html>"), Vec::<String>::new());
    }
}
