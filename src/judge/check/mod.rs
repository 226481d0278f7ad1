//! The checks of a justification: pure functions of one text and its own question.
//!
//! [`check()`] sees only the text, the question, the reference answer and the chosen mode. Whether a text nearly
//! repeats the text of another query ([`Neighbours`]) is decided when a shard is closed, in the order of its queries,
//! so that no row depends on the order of arrival.
//!
//! The checks prefer acceptance: an unknown phrase passes. A change of any decision raises [`CHECKS_VERSION`], and the
//! stored replies are then parsed again.

mod leak;
mod neighbours;
mod phrases;
mod rejection;
mod script;
mod words;

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

pub use neighbours::{NEAR_COPY_MIN, NEAR_COPY_MIN_LOCAL, Neighbours};
pub use rejection::Rejection;

use super::kind::JudgeKind;
use super::prompt;
use crate::domain::Mode;
use crate::template::TAGS;

/// The version of the checks; part of a run's identity.
pub const CHECKS_VERSION: u32 = 3;

/// The minimum length of a justification, in letters and digits; an ideograph counts as three.
pub const LENGTH_MIN: usize = 30;
/// The maximum length of a justification, in characters.
pub const CHARS_MAX: usize = 1500;
/// At this share of common word triples, a text that does not mention its question is a copy of a known text.
const COPY_MIN: f64 = 0.4;
/// The same limit for a small local model, whose prompt holds those texts as examples to continue.
const COPY_MIN_LOCAL: f64 = 0.9;
/// At this share, an API judge's text is a copy, even if it mentions the question.
const COPY_VERBATIM_MIN: f64 = 0.8;

/// Texts that would fit any question.
const STOCK: &[&str] = &[
    "This question requires careful reasoning, so reasoning first is the best approach to get the correct answer.",
    "This question is simple and straightforward, so it can be answered directly without any reasoning.",
    "Reasoning first suits this question because it requires several steps that must be worked out carefully.",
    "Answering directly suits this question because it is simple and needs no reasoning.",
    "The question is complex and requires step by step reasoning to avoid mistakes.",
];

/// The word triples of a text.
pub type Triples = HashSet<String>;

/// The data that a text is checked against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Subject<'a> {
    /// The question as a user would type it.
    pub question: &'a str,
    /// The value that the verifier parses from the reference answer; for a choice, its letter.
    pub gold: &'a str,
    /// The texts of the choices.
    pub choices: &'a [String],
    /// The chosen mode.
    pub mode: Mode,
}

/// Checks a justification; `known` are the texts that it must not repeat (see [`known_texts`]).
///
/// # Errors
/// The first [`Rejection`], in the order of how easily a judge can correct it.
pub fn check(text: &str, subject: &Subject<'_>, known: &[Triples], kind: JudgeKind) -> Result<(), Rejection> {
    let Subject { question, gold, choices, mode } = *subject;
    let said = words::words(text);
    let found = [
        (Rejection::TemplateTag, holds_tag(text)),
        (Rejection::TooShort, length(text) < LENGTH_MIN),
        (Rejection::TooLong, text.chars().count() > CHARS_MAX),
        (Rejection::WrongLanguage, kind == JudgeKind::Api && !script::fits(text, question)),
        (Rejection::LeaksAnswer, leak::gives_away(text, &said, question, gold, choices)),
        (Rejection::ContradictsMode, phrases::argues_against(text, &said, mode)),
        (Rejection::MentionsSampling, phrases::tells_of_sampling(text, &said, question)),
        (Rejection::Boilerplate, is_boilerplate(text, question, known, kind)),
    ];
    found.into_iter().find(|(_, is_found)| *is_found).map_or(Ok(()), |(rejection, _)| Err(rejection))
}

/// Returns whether `text` holds a tag of the response template, in any letter case.
fn holds_tag(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    TAGS.iter().any(|tag| lower.contains(tag))
}

fn length(text: &str) -> usize {
    let weight = |c: char| if words::is_ideographic(c) || script::is_hangul(c) { 3 } else { 1 };
    text.chars().filter(|c| c.is_alphanumeric()).map(weight).sum()
}

fn is_boilerplate(text: &str, question: &str, known: &[Triples], kind: JudgeKind) -> bool {
    let own = triples(text);
    let likeness = known.iter().map(|known| resemblance(&own, known)).fold(0.0, f64::max);
    let (bound, verbatim) = match kind {
        JudgeKind::Api => (COPY_MIN, COPY_VERBATIM_MIN),
        JudgeKind::Local => (COPY_MIN_LOCAL, f64::INFINITY),
    };
    likeness >= verbatim || (likeness >= bound && !speaks_of(text, question))
}

/// Returns the word triples of the texts that a judge must not repeat: the examples of its prompt, and stock phrases.
#[must_use]
pub fn known_texts(kind: JudgeKind) -> &'static [Triples] {
    static API: LazyLock<Vec<Triples>> = LazyLock::new(|| known_triples(&prompt::examples(JudgeKind::Api)));
    static LOCAL: LazyLock<Vec<Triples>> = LazyLock::new(|| known_triples(&prompt::examples(JudgeKind::Local)));
    match kind {
        JudgeKind::Api => &API,
        JudgeKind::Local => &LOCAL,
    }
}

fn known_triples(examples: &[String]) -> Vec<Triples> {
    examples.iter().map(String::as_str).chain(STOCK.iter().copied()).map(triples).collect()
}

/// Returns whether a text shares a content word (by its beginning) or a number with its question.
fn speaks_of(text: &str, question: &str) -> bool {
    let stem = |word: String| word.chars().take(5).collect::<String>();
    let asked: BTreeSet<String> = leak::content_of(question).into_iter().map(stem).collect();
    leak::content_of(text).into_iter().map(stem).any(|word| asked.contains(&word))
}

/// Returns the Jaccard similarity of two texts, given as their word triples, in 0..=1.
fn resemblance(a: &Triples, b: &Triples) -> f64 {
    #[expect(clippy::disallowed_methods, reason = "they are counted")]
    let common = a.intersection(b).count();
    let all = a.len() + b.len() - common;
    // Word counts are far below 2^52.
    if all == 0 { 0.0 } else { common as f64 / all as f64 }
}

/// Returns the word triples of a text.
#[must_use]
pub fn triples(text: &str) -> Triples {
    let all: Vec<String> = words::words(text).into_iter().filter(|word| word != words::BREAK).collect();
    all.windows(3).map(|window| window.join(" ")).collect()
}

#[cfg(test)]
mod tests;
