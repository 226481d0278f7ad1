//! Preference pairs from the candidate responses of a sample.

use super::Flavour;
use super::rows::{Body, Pair, TrainingRow};
use crate::domain::{FinishReason, Mode, ModeReason, VerdictOutcome};
use crate::shards::{RolloutRow, SampleRow};

/// Returns a sample's pairs, at most one of each kind. The wanted response of each pair is the sample's own.
///
/// A response can be the rejected one if it ended by itself, shows the requested mode, has an answer and contains no
/// tag of the response template. The lowest sample index breaks ties. If the user chooses the mode, there is no pair of
/// two modes.
#[must_use]
pub(super) fn pairs(sample: &SampleRow, rollouts: &[RolloutRow], flavour: Flavour) -> Vec<Pair> {
    let Some(chosen) = TrainingRow::new(sample, flavour) else { return Vec::new() };
    let is_whole = |rollout: &&RolloutRow| {
        rollout.finish_reason == FinishReason::Stop.name()
            && rollout.observed_mode == rollout.mode
            && !rollout.answer.trim().is_empty()
    };
    let of = |mode: Mode, is_correct: bool| -> Vec<&RolloutRow> {
        let outcome = if is_correct { VerdictOutcome::Correct } else { VerdictOutcome::Incorrect };
        let fits = |rollout: &&RolloutRow| rollout.mode == mode.name() && rollout.verdict == outcome.name();
        rollouts.iter().filter(is_whole).filter(fits).collect()
    };
    let by_length = |rollout: &&RolloutRow| (rollout.completion_tokens, rollout.sample_index);
    let other = chosen.mode.other();
    let longest = of(chosen.mode, true).into_iter().rev().max_by_key(|rollout| rollout.completion_tokens);
    let candidates = [
        ("shorter", longest.filter(|rollout| rollout.completion_tokens > sample.completion_tokens)),
        ("correct", of(chosen.mode, false).into_iter().min_by_key(|rollout| rollout.sample_index)),
        (
            "mode",
            of(other, true)
                .into_iter()
                .min_by_key(by_length)
                .or_else(|| of(other, false).into_iter().min_by_key(|rollout| rollout.sample_index))
                .filter(|_| flavour == Flavour::Auto && sample.mode_reason != ModeReason::Random.name()),
        ),
    ];
    let pair = |(kind, rollout): (&'static str, Option<&RolloutRow>)| {
        let rollout = rollout?;
        let mode = rollout.mode.parse().ok()?;
        let thinking = rollout.thinking.as_deref().unwrap_or_default();
        let body = Body { mode, thinking, answer: &rollout.answer };
        let rejected = TrainingRow::with_body(sample, flavour, body)?;
        let tokens = (sample.completion_tokens, rollout.completion_tokens);
        (rejected.response != chosen.response).then(|| Pair { kind, chosen: chosen.clone(), rejected, tokens })
    };
    candidates.into_iter().filter_map(pair).collect()
}
