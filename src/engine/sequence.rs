//! One sequence being sampled: its tokens, its text, its random stream, and the rules that end it.
//!
//! Plain data: this module knows no tensors, slots or threads. The result is a function of the [`SequenceSpec`] and of
//! the logits that the model gives for the sequence's own tokens.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use std::sync::Arc;

use super::error::EngineError;
use super::grammar::{Grammar, Matcher, TokenSet, TooComplex};
use super::model::{Draw, Picked};
use super::tokenizer::Vocabulary;
use thinkloom_domain::{CloseCause, FinishReason};

/// How the mode preset ends a first phase (the thinking) and starts the answer.
///
/// Small models often think without closing their thinking. When the first phase reaches one of `triggers`, the end of
/// the turn, or its token limit, the text is cut at that point, `text` is appended as if the model had written it, and
/// sampling continues for at most `tokens_max` tokens.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ForcedClose {
    /// Strings that end the first phase; the text is cut before the earliest one.
    pub triggers: Vec<String>,
    /// Text that is appended, for example `\n</think>\n\boxed{`.
    pub text: String,
    /// Limit of the second phase, in tokens; `text` does not count.
    pub tokens_max: u32,
}

/// The effect of the vocabulary's end-of-turn tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EndOfTurn {
    /// An end-of-turn token ends the phase in which it is sampled.
    #[default]
    Respect,
    /// End-of-turn tokens are ordinary tokens. For measurements, which need texts of a known length.
    Ignore,
}

/// The complete input of one sequence: the weights and these values determine its text.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceSpec {
    /// Token ids of the prompt; not empty.
    pub prompt: Vec<u32>,
    /// Limit of sampled tokens; of the first phase, if there are two.
    pub tokens_max: u32,
    /// Strings that end the last phase; the text is cut before the earliest one.
    pub stops: Vec<String>,
    /// Tokens that end the last phase, in addition to the vocabulary's end-of-turn tokens.
    pub stop_tokens: Vec<u32>,
    /// The effect of end-of-turn tokens.
    pub end_of_turn: EndOfTurn,
    /// The second phase, if there is one.
    pub close: Option<ForcedClose>,
    /// The grammar that the text must match. A sequence with a grammar has no second phase.
    pub grammar: Option<Arc<Grammar>>,
    /// 0 picks the most likely token; otherwise logits are divided by this value.
    pub temperature: f32,
    /// Number of most likely tokens that are sampled from; 0 means all. Module `sampler` defines the order of the cuts.
    pub top_k: u32,
    /// Nucleus: sampling uses the smallest set of most likely tokens with at least this probability; in (0, 1].
    pub top_p: f32,
    /// Tokens less likely than this share of the most likely token are not sampled; in 0..1.
    pub min_p: f32,
    /// Key of the ChaCha stream that the sampler draws from.
    pub stream_key: [u8; 32],
    /// Completion tokens beyond which the response is useless: sampling is abandoned once the response cannot end with
    /// so few tokens. Has no effect on the text.
    pub useful_tokens_max: Option<u32>,
}

impl Default for SequenceSpec {
    /// Greedy sampling with an empty prompt and a token limit of 0: the caller sets both.
    fn default() -> Self {
        Self {
            prompt: Vec::new(),
            tokens_max: 0,
            stops: Vec::new(),
            stop_tokens: Vec::new(),
            end_of_turn: EndOfTurn::Respect,
            close: None,
            grammar: None,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            stream_key: [0; 32],
            useful_tokens_max: None,
        }
    }
}

/// A finished response.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The text after the prompt; bytes that are not UTF-8 are replaced by U+FFFD.
    pub text: String,
    /// Why the response ended; with two phases, why the last phase ended.
    pub finish_reason: FinishReason,
    /// Why the first phase was closed, if there were two phases.
    pub forced_close: Option<CloseCause>,
    /// Sum of the log-probabilities (see [`Picked`]) of all sampled tokens, in order. The end-of-turn token and the
    /// tokens that a stop string cut off count; the tokens that a forced close appended do not.
    pub log_probability: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the text. The tokens of a forced close count, the end-of-turn token does not.
    pub completion_tokens: u32,
    /// The `completion_tokens` tokens, in order.
    pub tokens: Vec<SampledToken>,
}

/// A token of a response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampledToken {
    /// Token id.
    pub token: u32,
    /// See [`Picked`]; NaN for a token that a forced close appended. Under a grammar, the probability is relative to
    /// the tokens that the grammar allowed.
    pub log_probability: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Thinking,
    Last,
}

/// The effect of a new token on its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The sequence continues.
    Continues {
        /// Tokens, prompt included, that did not change, so that their keys and values stay valid.
        unchanged: usize,
    },
    /// The sequence is complete.
    Finished(FinishReason),
    /// The sequence exceeded its useful length.
    GivenUp,
}

/// A sequence in progress.
pub(crate) struct Sequence {
    spec: SequenceSpec,
    tokens: Vec<u32>,
    /// Text so far; `ends` holds the byte at which each completion token ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// One per completion token.
    log_probabilities: Vec<f32>,
    matcher: Option<Matcher>,
    phase: Phase,
    /// Why the first phase was closed.
    closed: Option<CloseCause>,
    /// Tokens sampled in the current phase.
    sampled: u32,
    log_probability: f64,
    rng: ChaCha8Rng,
}

impl Sequence {
    /// Starts a sequence.
    #[must_use]
    pub(crate) fn new(spec: SequenceSpec) -> Self {
        let rng = ChaCha8Rng::from_seed(spec.stream_key);
        let phase = if spec.close.is_some() { Phase::Thinking } else { Phase::Last };
        Self {
            tokens: spec.prompt.clone(),
            matcher: spec.grammar.clone().map(Matcher::new),
            log_probabilities: Vec::new(),
            spec,
            bytes: Vec::new(),
            ends: Vec::new(),
            phase,
            closed: None,
            sampled: 0,
            log_probability: 0.0,
            rng,
        }
    }

    /// Returns prompt and completion tokens.
    #[must_use]
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Returns the specification that started the sequence.
    #[must_use]
    pub(crate) fn spec(&self) -> &SequenceSpec {
        &self.spec
    }

    /// Returns how the next token is picked. Takes one number from the random stream unless sampling is greedy.
    ///
    /// # Errors
    /// [`EngineError::Response`] if the grammar allows too many continuations.
    pub(crate) fn draw(&mut self, vocabulary: &Vocabulary) -> Result<Draw, EngineError> {
        let allowed = self.allowed(vocabulary).map_err(|error| EngineError::Response(error.to_string()))?;
        let SequenceSpec { temperature, top_k, top_p, min_p, .. } = self.spec;
        // 24 bits: every f32 in [0, 1) with equal spacing.
        let uniform = if temperature > 0.0 { (self.rng.next_u32() >> 8) as f32 / (1_u32 << 24) as f32 } else { 0.0 };
        Ok(Draw { temperature, top_p, top_k, min_p, uniform, allowed })
    }

    /// Returns the tokens that the grammar allows next: the tokens that continue the text, and the end-of-turn tokens
    /// if the text is complete.
    fn allowed(&mut self, vocabulary: &Vocabulary) -> Result<Option<Arc<TokenSet>>, TooComplex> {
        let Some(matcher) = self.matcher.as_mut() else { return Ok(None) };
        let set = matcher.allowed(vocabulary.trie(), self.spec.tokens_max.saturating_sub(self.sampled))?;
        if !matcher.is_complete() && !set.is_empty() {
            return Ok(Some(set));
        }
        let mut set = TokenSet::clone(&set);
        vocabulary.end_tokens().iter().for_each(|&token| set.insert(token));
        Ok(Some(Arc::new(set)))
    }

    /// Returns the bytes of the text that no later token can remove, and how many completion tokens end within these
    /// bytes. Later bytes may be the beginning of a stop string, and thinking may still be cut.
    #[must_use]
    pub(crate) fn settled(&self) -> (&[u8], usize) {
        if self.phase == Phase::Thinking {
            return (&[], 0);
        }
        let may_begin = |stop: &String| {
            let longest = stop.len().saturating_sub(1).min(self.bytes.len());
            (1..=longest).rev().find(|&length| self.bytes.ends_with(&stop.as_bytes()[..length])).unwrap_or(0)
        };
        let held = self.spec.stops.iter().map(may_begin).max().unwrap_or(0);
        let end = self.bytes.len() - held;
        (self.bytes.get(..end).unwrap_or_default(), self.ends.partition_point(|&token_end| token_end <= end))
    }

    /// Returns the completion's tokens so far.
    pub(crate) fn sampled_tokens(&self) -> impl Iterator<Item = SampledToken> {
        let tokens = self.tokens.iter().skip(self.spec.prompt.len());
        let pairs = tokens.zip(&self.log_probabilities);
        pairs.map(|(&token, &log_probability)| SampledToken { token, log_probability })
    }

    /// Appends a sampled token.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] if the text of a forced close cannot be encoded.
    pub(crate) fn push(&mut self, picked: Picked, vocabulary: &Vocabulary) -> Result<Progress, EngineError> {
        let progress = self.take(picked, vocabulary)?;
        let is_useless = self.spec.useful_tokens_max.is_some_and(|useful| self.tokens_at_least() > useful as usize);
        let goes_on = matches!(progress, Progress::Continues { .. });
        Ok(if goes_on && is_useless { Progress::GivenUp } else { progress })
    }

    /// Returns the minimum number of tokens of the response, whatever follows. A stop or trigger string that has begun
    /// may still remove the tokens that it began in, and white space before them.
    fn tokens_at_least(&self) -> usize {
        let needles = match (self.phase, &self.spec.close) {
            (Phase::Thinking, Some(close)) => &close.triggers,
            _ => &self.spec.stops,
        };
        let longest = needles.iter().map(String::len).max().unwrap_or(0);
        let safe = self.bytes.len().saturating_sub(longest.saturating_sub(1));
        if self.phase == Phase::Last {
            return self.ends.partition_point(|&end| end < safe);
        }
        // A close removes white space, and then tokens that end inside a character.
        let last = self.bytes[..safe].iter().rposition(|byte| byte.is_ascii() && !byte.is_ascii_whitespace());
        let kept = self.ends.partition_point(|&end| end <= last.map_or(0, |last| last + 1));
        self.whole_characters(kept)
    }

    /// Returns the largest number of tokens, up to `kept`, whose last token does not end inside a character.
    fn whole_characters(&self, mut kept: usize) -> usize {
        let is_inside = |end: usize| self.bytes.get(end).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
        while kept > 0 && is_inside(self.ends[kept - 1]) {
            kept -= 1;
        }
        kept
    }

    fn take(&mut self, picked: Picked, vocabulary: &Vocabulary) -> Result<Progress, EngineError> {
        let token = picked.token;
        self.log_probability += f64::from(picked.log_probability);
        if self.spec.end_of_turn == EndOfTurn::Respect && vocabulary.ends_turn(token) {
            return match self.phase {
                Phase::Thinking => self.close(self.bytes.len(), CloseCause::EndOfTurn, vocabulary),
                Phase::Last => Ok(Progress::Finished(FinishReason::Stop)),
            };
        }
        if self.phase == Phase::Last && self.spec.stop_tokens.contains(&token) {
            return Ok(Progress::Finished(FinishReason::Stop));
        }
        let searched = self.bytes.len();
        self.append(token, picked.log_probability, vocabulary);
        self.sampled += 1;
        if let Some(matcher) = &mut self.matcher {
            matcher.advance(vocabulary.token_bytes(token));
            // At the token limit, a complete instance of the grammar counts as finished.
            if matcher.is_finished() || (self.sampled >= self.spec.tokens_max && matcher.is_complete()) {
                return Ok(Progress::Finished(FinishReason::Stop));
            }
        }
        match self.phase {
            Phase::Thinking => {
                let close = self.spec.close.as_ref().map_or(&[][..], |close| &close.triggers);
                if let Some(start) = earliest(&self.bytes, close, searched) {
                    return self.close(start, CloseCause::Trigger, vocabulary);
                }
                if self.sampled >= self.spec.tokens_max {
                    return self.close(self.bytes.len(), CloseCause::TokenLimit, vocabulary);
                }
            }
            Phase::Last => {
                if let Some(start) = earliest(&self.bytes, &self.spec.stops, searched) {
                    self.cut(start);
                    return Ok(Progress::Finished(FinishReason::Stop));
                }
                let limit = match &self.spec.close {
                    Some(close) => close.tokens_max,
                    None => self.spec.tokens_max,
                };
                if self.sampled >= limit {
                    return Ok(Progress::Finished(FinishReason::Length));
                }
            }
        }
        Ok(Progress::Continues { unchanged: self.tokens.len() - 1 })
    }

    /// Returns the finished response.
    #[must_use]
    pub(crate) fn completion(&self, finish_reason: FinishReason) -> Completion {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Completion {
            text: String::from_utf8_lossy(&self.bytes).into_owned(),
            finish_reason,
            forced_close: self.closed,
            log_probability: self.log_probability,
            prompt_tokens: count(self.spec.prompt.len()),
            completion_tokens: count(self.ends.len()),
            tokens: self.sampled_tokens().collect(),
        }
    }

    fn append(&mut self, token: u32, log_probability: f32, vocabulary: &Vocabulary) {
        self.tokens.push(token);
        self.log_probabilities.push(log_probability);
        self.bytes.extend_from_slice(vocabulary.token_bytes(token));
        self.ends.push(self.bytes.len());
    }

    /// Cuts the text at a byte. A token across the cut still counts, because it contributed the bytes before the cut.
    fn cut(&mut self, end: usize) {
        self.bytes.truncate(end);
        let kept = self.ends.partition_point(|&token_end| token_end < end) + usize::from(end > 0);
        self.ends.truncate(kept);
        self.log_probabilities.truncate(kept);
        self.tokens.truncate(self.spec.prompt.len() + self.ends.len());
    }

    /// Ends the first phase at a byte and appends the preset's closing text.
    fn close(&mut self, end: usize, cause: CloseCause, vocabulary: &Vocabulary) -> Result<Progress, EngineError> {
        let Some(close) = self.spec.close.clone() else { return Ok(Progress::Finished(FinishReason::Stop)) };
        // Trailing white space is removed, because the closing text begins with its own line breaks.
        let end = self.bytes[..end].iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
        // Whole tokens stay. The remaining bytes of the next token are encoded again, together with the closing text.
        // If the last kept token ends inside a character, tokens are removed up to the character's first byte.
        let kept = self.whole_characters(self.ends.partition_point(|&token_end| token_end <= end));
        let start = if kept == 0 { 0 } else { self.ends[kept - 1] };
        let mut forced = String::from_utf8_lossy(&self.bytes[start..end]).into_owned();
        forced.push_str(&close.text);
        self.ends.truncate(kept);
        self.bytes.truncate(start);
        self.log_probabilities.truncate(kept);
        self.tokens.truncate(self.spec.prompt.len() + kept);
        let unchanged = self.tokens.len();
        for token in vocabulary.encode(&forced)? {
            self.append(token, f32::NAN, vocabulary);
        }
        self.phase = Phase::Last;
        self.closed = Some(cause);
        self.sampled = 0;
        Ok(Progress::Continues { unchanged })
    }
}

/// Returns the start of the earliest of `needles` in `haystack` among those that end after byte `searched`.
fn earliest(haystack: &[u8], needles: &[String], searched: usize) -> Option<usize> {
    needles
        .iter()
        .filter(|needle| !needle.is_empty())
        .filter_map(|needle| {
            let from = (searched + 1).saturating_sub(needle.len());
            let windows = haystack[from..].windows(needle.len());
            windows.into_iter().position(|window| window == needle.as_bytes()).map(|at| from + at)
        })
        .min()
}

#[cfg(test)]
#[path = "sequence_tests.rs"]
mod tests;
