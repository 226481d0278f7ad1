//! The evaluation: accuracy, length, think rate, and the changes against a baseline. Pure, except [`collect`].
//!
//! Responses are sampled under conditions: `free` (the model sees the question alone and chooses its mode in its own
//! judge block), `on` and `off` (the mode is requested as in a run). Over k responses to each query:
//!
//! - accuracy is pass@1: the mean over queries of the share of correct responses;
//! - tokens are the response's tokens, judge block and thinking included: the mean over queries of each query's mean,
//!   and the median over all responses;
//! - the think rate is the share of responses that show Think-on, whatever mode was requested;
//! - a free response may show no mode: it was cut, or ended, before its mode tag or an answer;
//! - a forced response that shows the other mode counts as incorrect, as in the selection (`select.other_mode`);
//! - a response is well-formed if, free, it parses as a structured response, and, forced, it shows the requested mode
//!   and could be rendered as a structured response;
//! - an answer leaks reasoning if the response shows Think-off and the answer has more than [`LEAK_WORDS_MAX`] words;
//!   answers of kind code and text are excluded, because they may be long.
//!
//! Intervals are percentiles of a paired bootstrap over queries ([`bootstrap`]).

pub mod bootstrap;
pub mod collect;
pub mod plot;
pub mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::DifficultySettings;
use crate::difficulty;
use crate::domain::{ByMode, Kind, Mode, PassCounts, ShownMode, stable_names};
use bootstrap::Interval;

/// The maximum number of words in an answer that does not count as reasoning.
pub const LEAK_WORDS_MAX: usize = 50;

/// How a response is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// The model chooses the mode.
    Free,
    /// The request asks for Think-on.
    On,
    /// The request asks for Think-off.
    Off,
}

stable_names!(Condition { Free => "free", On => "on", Off => "off" });

impl Condition {
    /// Returns the condition that asks for a mode.
    #[must_use]
    pub const fn of(mode: Mode) -> Self {
        match mode {
            Mode::ThinkOn => Self::On,
            Mode::ThinkOff => Self::Off,
        }
    }

    /// Returns the mode that the request asks for, if it asks for one.
    #[must_use]
    pub const fn mode(self) -> Option<Mode> {
        match self {
            Self::Free => None,
            Self::On => Some(Mode::ThinkOn),
            Self::Off => Some(Mode::ThinkOff),
        }
    }

    /// Returns whether a response that shows `mode` shows the other mode than was asked for.
    #[must_use]
    pub fn is_other(self, mode: ShownMode) -> bool {
        self.mode().is_some_and(|asked| mode != asked.into())
    }
}

/// One evaluated response, as stored in `rows.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    /// The query.
    pub query_id: String,
    /// How the response was requested.
    pub condition: Condition,
    /// 0-based among the k of its query and condition.
    pub sample_index: u32,
    /// The mode that the response shows.
    pub mode: ShownMode,
    /// Whether the response counts as correct.
    pub correct: bool,
    /// Whether the response is well-formed, see the module's doc.
    pub format_ok: bool,
    /// Whether the answer leaks reasoning, see the module's doc; `None` if the response does not show Think-off.
    pub leak: Option<bool>,
    /// Tokens of the response.
    pub completion_tokens: u32,
    /// The dataset.
    pub source: String,
    /// The kind of query.
    pub kind: String,
    /// The difficulty label, if it is known.
    pub difficulty: Option<String>,
}

/// Returns whether a Think-off answer reasons.
#[must_use]
pub fn leaks(mode: ShownMode, kind: Kind, answer: &str) -> Option<bool> {
    let is_long_by_nature = matches!(kind, Kind::Code | Kind::Text);
    let words = answer.split_whitespace().take(LEAK_WORDS_MAX + 1).count();
    (mode == ShownMode::ThinkOff).then_some(!is_long_by_nature && words > LEAK_WORDS_MAX)
}

/// Labels queries by the pass rates of the two forced conditions, if both were sampled.
pub fn label_difficulty(rows: &mut [EvalRow], bins: &DifficultySettings) {
    let mut counts: BTreeMap<String, ByMode<PassCounts>> = BTreeMap::new();
    for row in rows.iter() {
        let Some(mode) = row.condition.mode() else { continue };
        let of_query = &mut counts.entry(row.query_id.clone()).or_default()[mode];
        of_query.sampled += 1;
        of_query.correct += u32::from(row.correct);
    }
    for row in rows.iter_mut().filter(|row| row.difficulty.is_none()) {
        let counts = counts.get(&row.query_id).filter(|counts| counts.on.sampled > 0 && counts.off.sampled > 0);
        row.difficulty = counts.map(|counts| difficulty::rate(counts, bins).label.to_string());
    }
}

/// The means of one query under one condition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryMeans {
    /// Share of correct responses.
    pub accuracy: f64,
    /// Mean tokens.
    pub tokens: f64,
    /// Share of responses that think.
    pub think: f64,
}

/// The measures of one condition's responses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Queries.
    pub queries: usize,
    /// Responses.
    pub responses: usize,
    /// pass@1, in 0..=1.
    pub accuracy: Interval,
    /// Mean tokens.
    pub tokens_mean: Interval,
    /// Median tokens.
    pub tokens_median: f64,
    /// Share of responses that think.
    pub think_rate: Interval,
    /// Share of well-formed responses.
    pub format_rate: f64,
    /// Share of Think-off responses whose answer reasons; `None` without any.
    pub leak_rate: Option<f64>,
    /// Share of responses that show another mode than was asked for, or, free, no mode.
    #[serde(default)]
    pub other_rate: f64,
}

/// The change of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// New minus old.
    pub difference: Interval,
    /// New over old, minus 1; `None` if the old is 0.
    pub relative: Option<Interval>,
}

/// The changes against the baseline, over the queries of both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline's condition.
    pub baseline: Condition,
    /// The number of queries of both sides.
    pub queries: usize,
    /// The change of pass@1.
    pub accuracy: Change,
    /// The change of the mean tokens.
    pub tokens: Change,
    /// The change of the think rate.
    pub think_rate: Change,
}

/// One line of the report: a condition, over all queries or a slice of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// `all`, `source`, `kind` or `difficulty`.
    pub by: String,
    /// The slice's value; empty for `all`.
    pub value: String,
    /// The condition.
    pub condition: Condition,
    /// The measures.
    pub measures: Measures,
    /// The changes, if there is a baseline with these queries.
    pub change: Option<Comparison>,
}

/// The whole evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The model.
    pub model: String,
    /// The name of the baseline, if there is one.
    pub baseline: Option<String>,
    /// Lines; the line over all queries is the first.
    pub lines: Vec<Line>,
}

/// A baseline: its responses, and the condition of the comparison; by default each condition is compared with itself.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// The name of the baseline.
    pub name: String,
    /// The responses of the baseline.
    pub rows: Vec<EvalRow>,
    /// The one condition that all conditions are compared with.
    pub condition: Option<Condition>,
}

type ByQuery = BTreeMap<String, QueryMeans>;

fn means(rows: &[&EvalRow]) -> ByQuery {
    let mut grouped: BTreeMap<&str, (f64, f64, f64, f64)> = BTreeMap::new();
    for row in rows {
        let (count, correct, tokens, think) = grouped.entry(&row.query_id).or_default();
        *count += 1.0;
        *correct += f64::from(u8::from(row.correct));
        *tokens += f64::from(row.completion_tokens);
        *think += f64::from(u8::from(row.mode == ShownMode::ThinkOn));
    }
    let mean = |(count, correct, tokens, think): (f64, f64, f64, f64)| QueryMeans {
        accuracy: correct / count,
        tokens: tokens / count,
        think: think / count,
    };
    grouped.into_iter().map(|(query, sums)| (query.to_owned(), mean(sums))).collect()
}

fn measure(rows: &[&EvalRow]) -> Measures {
    let by_query: Vec<QueryMeans> = means(rows).into_values().collect();
    let share = |count: usize, whole: usize| if whole == 0 { 0.0 } else { count as f64 / whole as f64 };
    let mut tokens: Vec<u32> = rows.iter().map(|row| row.completion_tokens).collect();
    tokens.sort_unstable();
    let middle = |index: usize| tokens.get(index).copied().map_or(0.0, f64::from);
    let half = tokens.len() / 2;
    let median =
        if tokens.len() % 2 == 1 { middle(half) } else { (middle(half.saturating_sub(1)) + middle(half)) / 2.0 };
    let leaks: Vec<bool> = rows.iter().filter_map(|row| row.leak).collect();
    let is_other = |row: &&&EvalRow| match row.condition {
        Condition::Free => row.mode == ShownMode::None,
        Condition::On | Condition::Off => row.condition.is_other(row.mode),
    };
    let resampled = bootstrap::Resampled::new(by_query.len());
    let interval = |read: &dyn Fn(&QueryMeans) -> f64| {
        let values: Vec<f64> = by_query.iter().map(read).collect();
        resampled.interval(&|draw| draw.mean(&values).unwrap_or(0.0))
    };
    Measures {
        queries: by_query.len(),
        responses: rows.len(),
        accuracy: interval(&|means| means.accuracy),
        tokens_mean: interval(&|means| means.tokens),
        tokens_median: median,
        think_rate: interval(&|means| means.think),
        format_rate: share(rows.iter().filter(|row| row.format_ok).count(), rows.len()),
        leak_rate: (!leaks.is_empty()).then(|| share(leaks.iter().filter(|leak| **leak).count(), leaks.len())),
        other_rate: share(rows.iter().filter(is_other).count(), rows.len()),
    }
}

/// Compares the two sides over their common queries: each resample draws the same queries on both sides.
fn compare(new: &ByQuery, old: &ByQuery, baseline: Condition) -> Option<Comparison> {
    let pairs: Vec<(QueryMeans, QueryMeans)> =
        new.iter().filter_map(|(query, means)| Some((*means, *old.get(query)?))).collect();
    if pairs.is_empty() {
        return None;
    }
    let resampled = bootstrap::Resampled::new(pairs.len());
    let change = |read: &dyn Fn(&QueryMeans) -> f64| {
        let (news, olds): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(new, old)| (read(new), read(old))).unzip();
        let both = |draw: bootstrap::Draw<'_>| (draw.mean(&news).unwrap_or(0.0), draw.mean(&olds).unwrap_or(0.0));
        let difference = resampled.interval(&|draw| {
            let (new, old) = both(draw);
            new - old
        });
        let relative = resampled.interval(&|draw| {
            let (new, old) = both(draw);
            if old == 0.0 { f64::NAN } else { new / old - 1.0 }
        });
        Change { difference, relative: relative.is_finite().then_some(relative) }
    };
    Some(Comparison {
        baseline,
        queries: pairs.len(),
        accuracy: change(&|means| means.accuracy),
        tokens: change(&|means| means.tokens),
        think_rate: change(&|means| means.think),
    })
}

/// Returns the value of a row for a slice name.
fn slice_of<'a>(row: &'a EvalRow, by: &str) -> Option<&'a str> {
    match by {
        "all" => Some(""),
        "source" => Some(&row.source),
        "kind" => Some(&row.kind),
        _ => row.difficulty.as_deref(),
    }
}

/// Measures all queries, and each slice with more than one value.
#[must_use]
pub fn evaluate(model: &str, rows: &[EvalRow], baseline: Option<&Baseline>) -> Report {
    let mut lines = Vec::new();
    for by in ["all", "source", "kind", "difficulty"] {
        let values: BTreeSet<&str> = rows.iter().filter_map(|row| slice_of(row, by)).collect();
        if by != "all" && values.len() < 2 {
            continue;
        }
        for value in values {
            for &condition in Condition::ALL {
                let is_here = |row: &&EvalRow| row.condition == condition && slice_of(row, by) == Some(value);
                let here: Vec<&EvalRow> = rows.iter().filter(is_here).collect();
                if here.is_empty() {
                    continue;
                }
                let change = baseline.and_then(|baseline| {
                    let wanted = baseline.condition.unwrap_or(condition);
                    let old: Vec<&EvalRow> = baseline.rows.iter().filter(|row| row.condition == wanted).collect();
                    compare(&means(&here), &means(&old), wanted)
                });
                let (by, value) = (by.to_owned(), value.to_owned());
                lines.push(Line { by, value, condition, measures: measure(&here), change });
            }
        }
    }
    Report { model: model.to_owned(), baseline: baseline.map(|baseline| baseline.name.clone()), lines }
}
