//! One sequence being sampled: its tokens, its text, its random stream, and the rules that end it.
//!
//! Plain data: nothing here knows of tensors, slots or threads. What a sequence becomes is a function of its
//! [`SequenceSpec`] and of the logits that the model gives for its own tokens.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::error::EngineError;
use super::model::{Draw, Picked};
use super::tokenizer::Vocabulary;
use crate::domain::{CloseCause, FinishReason};

/// How a first phase (the thinking) is brought to an answer by the mode preset.
///
/// Small models think without ever closing their thought. When the first phase reaches one of `triggers`, the end of
/// the turn, or its token limit, the text is cut there, `text` is appended as if the model had written it, and
/// sampling goes on for at most `tokens_max` tokens.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ForcedClose {
    /// Strings that end the first phase; the text is cut before the earliest.
    pub triggers: Vec<String>,
    /// What is appended, for example `\n</think>\n\boxed{`.
    pub text: String,
    /// Limit of the second phase, in tokens, `text` not counted.
    pub tokens_max: u32,
}

/// What the vocabulary's end-of-turn tokens do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EndOfTurn {
    /// They end the phase they are sampled in.
    #[default]
    Respect,
    /// They are tokens like others: for measurements, which need texts of a known length.
    Ignore,
}

/// Everything that decides a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceSpec {
    /// Token ids of the prompt; not empty.
    pub prompt: Vec<u32>,
    /// Limit of sampled tokens (of the first phase, if there are two).
    pub tokens_max: u32,
    /// Strings that end the last phase; the text is cut before the earliest.
    pub stops: Vec<String>,
    /// Tokens that end the last phase, besides the vocabulary's end-of-turn tokens.
    pub stop_tokens: Vec<u32>,
    /// What end-of-turn tokens do.
    pub end_of_turn: EndOfTurn,
    /// The second phase, if there is one.
    pub close: Option<ForcedClose>,
    /// 0 takes the likeliest token; otherwise logits are divided by it.
    pub temperature: f32,
    /// How many of the likeliest tokens are sampled from; 0 is all. The order of the cuts is `sampler`'s.
    pub top_k: u32,
    /// Nucleus: the smallest set of likeliest tokens with at least this probability is sampled from; in (0, 1].
    pub top_p: f32,
    /// Tokens less likely than this share of the likeliest one are not sampled, in 0..1.
    pub min_p: f32,
    /// Key of the ChaCha stream that the sampler draws from.
    pub stream_key: [u8; 32],
}

impl Default for SequenceSpec {
    /// Greedy sampling of nothing: prompt and limit are still to be set.
    fn default() -> Self {
        Self {
            prompt: Vec::new(),
            tokens_max: 0,
            stops: Vec::new(),
            stop_tokens: Vec::new(),
            end_of_turn: EndOfTurn::Respect,
            close: None,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            stream_key: [0; 32],
        }
    }
}

/// A finished response.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The text after the prompt; bytes that are no UTF-8 became U+FFFD.
    pub text: String,
    /// Why it ended; of two phases, the last.
    pub finish_reason: FinishReason,
    /// Why the first phase was closed, if there were two.
    pub forced_close: Option<CloseCause>,
    /// Sum of the log-probabilities (see [`Picked`]) of all tokens that were sampled, in order: the token that ended
    /// the turn and what a stop string cut off count, what a forced close appended does not.
    pub log_probability: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the text, those of a forced close included, the end-of-turn token not.
    pub completion_tokens: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Thinking,
    Last,
}

/// What a new token did to its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It goes on; this many of its tokens (prompt included) are as they were before.
    Continues {
        /// Tokens whose keys and values stay valid.
        unchanged: usize,
    },
    /// It is complete.
    Finished(FinishReason),
}

/// A sequence in progress.
pub struct Sequence {
    spec: SequenceSpec,
    tokens: Vec<u32>,
    /// Text so far, and where each completion token ends in it.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    phase: Phase,
    /// Why the first phase was closed.
    closed: Option<CloseCause>,
    /// Tokens sampled in the present phase.
    sampled: u32,
    log_probability: f64,
    rng: ChaCha8Rng,
}

impl Sequence {
    /// Starts a sequence.
    #[must_use]
    pub fn new(spec: SequenceSpec) -> Self {
        let rng = ChaCha8Rng::from_seed(spec.stream_key);
        let phase = if spec.close.is_some() { Phase::Thinking } else { Phase::Last };
        Self {
            tokens: spec.prompt.clone(),
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
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Returns the specification it was started with.
    #[must_use]
    pub fn spec(&self) -> &SequenceSpec {
        &self.spec
    }

    /// Returns how the next token is to be picked; takes one number from the random stream unless sampling is greedy.
    pub fn draw(&mut self) -> Draw {
        let SequenceSpec { temperature, top_k, top_p, min_p, .. } = self.spec;
        // 24 bits: every f32 in [0, 1) with equal spacing.
        let uniform = if temperature > 0.0 { (self.rng.next_u32() >> 8) as f32 / (1_u32 << 24) as f32 } else { 0.0 };
        Draw { temperature, top_p, top_k, min_p, uniform }
    }

    /// Takes a sampled token.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] if the text of a forced close cannot be encoded.
    pub fn push(&mut self, picked: Picked, vocabulary: &Vocabulary) -> Result<Progress, EngineError> {
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
        self.append(token, vocabulary);
        self.sampled += 1;
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
    pub fn completion(&self, finish_reason: FinishReason) -> Completion {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Completion {
            text: String::from_utf8_lossy(&self.bytes).into_owned(),
            finish_reason,
            forced_close: self.closed,
            log_probability: self.log_probability,
            prompt_tokens: count(self.spec.prompt.len()),
            completion_tokens: count(self.ends.len()),
        }
    }

    fn append(&mut self, token: u32, vocabulary: &Vocabulary) {
        self.tokens.push(token);
        self.bytes.extend_from_slice(vocabulary.token_bytes(token));
        self.ends.push(self.bytes.len());
    }

    /// Cuts the text at a byte; a token that straddles it stays counted, because it was needed to say so much.
    fn cut(&mut self, end: usize) {
        self.bytes.truncate(end);
        let kept = self.ends.partition_point(|&token_end| token_end < end) + usize::from(end > 0);
        self.ends.truncate(kept);
        self.tokens.truncate(self.spec.prompt.len() + self.ends.len());
    }

    /// Ends the first phase at a byte and appends the preset's closing text.
    fn close(&mut self, end: usize, cause: CloseCause, vocabulary: &Vocabulary) -> Result<Progress, EngineError> {
        let Some(close) = self.spec.close.clone() else { return Ok(Progress::Finished(FinishReason::Stop)) };
        // The closing text brings its own line breaks.
        let end = self.bytes[..end].iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
        // Keep whole tokens; what the cut leaves of the next one is encoded again together with the closing text.
        // A token may end inside a character: then step back until the remainder is text.
        let mut kept = self.ends.partition_point(|&token_end| token_end <= end);
        let start_of = |kept: usize, ends: &[usize]| if kept == 0 { 0 } else { ends[kept - 1] };
        while kept > 0 && std::str::from_utf8(&self.bytes[start_of(kept, &self.ends)..end]).is_err() {
            kept -= 1;
        }
        let start = start_of(kept, &self.ends);
        let mut forced = String::from_utf8_lossy(&self.bytes[start..end]).into_owned();
        forced.push_str(&close.text);
        self.ends.truncate(kept);
        self.bytes.truncate(start);
        self.tokens.truncate(self.spec.prompt.len() + kept);
        let unchanged = self.tokens.len();
        for token in vocabulary.encode(&forced)? {
            self.append(token, vocabulary);
        }
        self.phase = Phase::Last;
        self.closed = Some(cause);
        self.sampled = 0;
        Ok(Progress::Continues { unchanged })
    }
}

/// Returns where the earliest of `needles` starts in `haystack`, if one ends after byte `searched`.
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
mod tests {
    use super::super::testing::tiny_vocabulary;
    use super::*;

    fn spec(tokens_max: u32, stops: &[&str], close: Option<ForcedClose>) -> SequenceSpec {
        SequenceSpec {
            prompt: vec![5, 6],
            tokens_max,
            stops: stops.iter().map(|&stop| stop.to_owned()).collect(),
            close,
            ..SequenceSpec::default()
        }
    }

    fn picked(token: u32) -> Picked {
        Picked { token, log_probability: -0.25 }
    }

    /// Feeds a text byte by byte (the tiny vocabulary has one token per byte) until the sequence ends or closes.
    fn feed(sequence: &mut Sequence, text: &str) -> Progress {
        let vocabulary = tiny_vocabulary();
        let mut last = Progress::Continues { unchanged: 0 };
        for token in vocabulary.encode(text).unwrap() {
            last = sequence.push(picked(token), &vocabulary).unwrap();
            if matches!(last, Progress::Finished(_)) {
                break;
            }
        }
        last
    }

    #[test]
    fn a_stop_string_ends_the_text_before_it() {
        let mut sequence = Sequence::new(spec(100, &["END", "\n\n"], None));
        assert_eq!(feed(&mut sequence, "four\n\nfive"), Progress::Finished(FinishReason::Stop));
        let completion = sequence.completion(FinishReason::Stop);
        assert_eq!((completion.text.as_str(), completion.completion_tokens), ("four", 4));
    }

    #[test]
    fn the_token_limit_ends_at_the_limit_and_not_before() {
        let mut sequence = Sequence::new(spec(4, &[], None));
        assert_eq!(feed(&mut sequence, "abc"), Progress::Continues { unchanged: 4 });
        assert_eq!(feed(&mut sequence, "d"), Progress::Finished(FinishReason::Length));
        assert_eq!(sequence.completion(FinishReason::Length).text, "abcd");
    }

    fn close() -> ForcedClose {
        ForcedClose { triggers: vec!["</think>".to_owned()], text: "\n</think>\n".to_owned(), tokens_max: 3 }
    }

    #[test]
    fn a_trigger_closes_the_thought_and_the_answer_follows() {
        let mut sequence = Sequence::new(spec(100, &["\n"], Some(close())));
        assert_eq!(feed(&mut sequence, "2+2 \n</think>"), Progress::Continues { unchanged: 2 + 3 });
        assert_eq!(feed(&mut sequence, "4\n"), Progress::Finished(FinishReason::Stop));
        assert_eq!(sequence.completion(FinishReason::Stop).text, "2+2\n</think>\n4");
    }

    #[test]
    fn the_limit_and_the_end_of_turn_close_the_thought_too() {
        let vocabulary = tiny_vocabulary();
        let mut sequence = Sequence::new(spec(3, &[], Some(close())));
        feed(&mut sequence, "abc");
        assert_eq!(feed(&mut sequence, "xyz"), Progress::Finished(FinishReason::Length));
        assert_eq!(sequence.completion(FinishReason::Length).text, "abc\n</think>\nxyz");

        let end = vocabulary.encode("<|im_end|>").unwrap()[0];
        let mut sequence = Sequence::new(spec(30, &[], Some(close())));
        feed(&mut sequence, "ab");
        assert_eq!(sequence.push(picked(end), &vocabulary).unwrap(), Progress::Continues { unchanged: 4 });
        assert_eq!(sequence.push(picked(end), &vocabulary).unwrap(), Progress::Finished(FinishReason::Stop));
        assert_eq!(sequence.completion(FinishReason::Stop).text, "ab\n</think>\n");
    }

    #[test]
    fn the_cause_of_a_close_is_recorded_and_only_sampled_tokens_count_for_the_log_probability() {
        let vocabulary = tiny_vocabulary();
        let end = vocabulary.encode("<|im_end|>").unwrap()[0];
        let finish = |first: &[u32]| {
            let mut sequence = Sequence::new(spec(3, &[], Some(close())));
            for &token in first {
                sequence.push(picked(token), &vocabulary).unwrap();
            }
            assert_eq!(sequence.push(picked(end), &vocabulary).unwrap(), Progress::Finished(FinishReason::Stop));
            sequence.completion(FinishReason::Stop)
        };
        let letters = vocabulary.encode("abc").unwrap();
        let by_limit = finish(&letters);
        assert_eq!(by_limit.forced_close, Some(CloseCause::TokenLimit));
        assert_eq!(by_limit.log_probability, -0.25 * 4.0, "three letters and the end of the turn");
        assert!(by_limit.completion_tokens > 4, "the closing text counts as tokens");
        assert_eq!(finish(&[letters[0], end]).forced_close, Some(CloseCause::EndOfTurn));
        let mut sequence = Sequence::new(spec(100, &["\n"], Some(close())));
        feed(&mut sequence, "a</think>4\n");
        let by_trigger = sequence.completion(FinishReason::Stop);
        assert_eq!(by_trigger.forced_close, Some(CloseCause::Trigger));
        assert_eq!(by_trigger.log_probability, -0.25 * 11.0, "what was cut off was sampled");
        let plain = Sequence::new(spec(1, &[], None)).completion(FinishReason::Length);
        assert_eq!((plain.forced_close, plain.log_probability), (None, 0.0));
    }

    #[test]
    fn stop_tokens_end_the_last_phase_only_and_end_of_turn_can_be_ignored() {
        let vocabulary = tiny_vocabulary();
        let [end, stop] = ["<|im_end|>", "x"].map(|text| vocabulary.encode(text).unwrap()[0]);
        let with_stop = |close| SequenceSpec { stop_tokens: vec![stop], ..spec(100, &[], close) };
        let mut sequence = Sequence::new(with_stop(None));
        assert_eq!(feed(&mut sequence, "abx"), Progress::Finished(FinishReason::Stop));
        assert_eq!(sequence.completion(FinishReason::Stop).text, "ab");
        let mut sequence = Sequence::new(with_stop(Some(close())));
        feed(&mut sequence, "ax</think>");
        assert_eq!(feed(&mut sequence, "4x"), Progress::Finished(FinishReason::Stop));
        assert_eq!(sequence.completion(FinishReason::Stop).text, "ax\n</think>\n4");
        let mut sequence = Sequence::new(SequenceSpec { end_of_turn: EndOfTurn::Ignore, ..spec(3, &[], None) });
        for _ in 0..2 {
            assert!(matches!(sequence.push(picked(end), &vocabulary).unwrap(), Progress::Continues { .. }));
        }
        assert_eq!(sequence.push(picked(end), &vocabulary).unwrap(), Progress::Finished(FinishReason::Length));
    }

    #[test]
    fn special_tokens_stay_in_the_text_under_their_names() {
        let vocabulary = tiny_vocabulary();
        let special = vocabulary.encode("<|im_start|>").unwrap();
        assert_eq!((special.len(), vocabulary.token_bytes(special[0])), (1, &b"<|im_start|>"[..]));
        let mut sequence = Sequence::new(spec(3, &[], None));
        feed(&mut sequence, "a<|im_start|>b");
        assert_eq!(sequence.completion(FinishReason::Length).text, "a<|im_start|>b");
    }

    #[test]
    fn a_stop_string_that_spans_two_tokens_is_found() {
        assert_eq!(earliest(b"ab</th", &["</think>".to_owned()], 2), None);
        assert_eq!(earliest(b"ab</think>", &["</think>".to_owned()], 9), Some(2));
        assert_eq!(earliest(b"xx", &["x".to_owned()], 1), Some(1));
    }
}
