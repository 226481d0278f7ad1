//! Many rollouts: rows are graded on all threads, grouped by query, and rewarded by the rule of [`crate`].
//!
//! A row is the JSON text of an object; [`crate::row`] describes its keys. Memory holds a few bytes for each rollout,
//! and no completion. The rows of one query may come in any order.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::Serialize;

use crate::row::{GradeRules, Graded, Grading, LENGTH_MISSING, RewardRow, RowFault, grade};
use crate::segments::judge_tokens;
use crate::{Response, RewardSettings, Rewarded, rewards};
use thinkloom_domain::{ByMode, ShownMode, UnverifiableCause, Verdict};
use thinkloom_verify::{CodeCase, Pending};

/// Returns the number of bytes of each token of a completion, given the sampled tokens if the row has them.
pub type TokenBytes<'a> = dyn Fn(&str, Option<&[u32]>) -> Result<Vec<usize>, RowFault> + Sync + 'a;

/// How rows are read.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The rules by which rows are graded.
    pub rules: GradeRules,
    /// Counts tokens.
    pub token_bytes: Option<&'a TokenBytes<'a>>,
    /// Whether the rule needs the length of each completion.
    pub needs_lengths: bool,
}

/// What happens beside the rows.
pub struct Aside<'a> {
    /// Queues a program.
    pub submit: &'a mut dyn FnMut(CodeCase) -> Pending,
    /// Hears of a fault: the row's index in the call, and the fault in words.
    pub tell: &'a mut dyn FnMut(usize, &str),
}

/// The parts of a rollout that the reward rule needs.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The group; `None` for a faulty row.
    pub group: Option<u32>,
    /// The inputs of the rule.
    pub response: Response,
    /// Whether the row itself has mode, correct, format_ok, completion_tokens.
    pub given: [bool; 4],
    judge_chars: Option<u32>,
    judge_tokens: Option<u32>,
}

/// Rollouts, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Rollouts {
    entries: Vec<Entry>,
    groups: HashMap<String, u32>,
    /// Verdicts computed here, by row; a map, since few rows have one.
    verdicts: HashMap<usize, Verdict>,
    faults: HashMap<usize, String>,
}

/// The rewards of all rollouts and groups.
#[derive(Debug)]
pub struct AllRewards {
    /// By row; all 0 for a faulty row.
    pub rows: Vec<Rewarded>,
    /// By group.
    pub groups: Vec<GroupMeans>,
}

/// The means of a group.
#[derive(Debug, Clone, Copy)]
pub struct GroupMeans {
    /// The mean of all rewards.
    pub mean: f64,
    /// The adjusted means of the modes.
    pub mode_means: ByMode<Option<f64>>,
    /// Whether Think-off's mean was raised.
    pub is_adjusted: bool,
}

/// A row that was read and graded.
#[derive(Debug)]
pub struct ReadRow {
    query_id: String,
    grading: Grading,
    given: [bool; 4],
    judge_chars: Option<u32>,
    judge_tokens: Option<u32>,
}

/// Reads and grades rows, and verifies their texts, on all threads of the current pool.
#[must_use]
pub fn read_rows(rows: &[&[u8]], reading: Reading<'_>) -> Vec<Result<ReadRow, RowFault>> {
    rows.par_iter().map(|text| read_row(text, reading)).collect()
}

impl Rollouts {
    /// Adds rows in order. Their programs run where [`Aside::submit`] queues them; this waits for their verdicts.
    ///
    /// # Errors
    /// If there are more than 2^32 groups.
    pub fn add(&mut self, read: Vec<Result<ReadRow, RowFault>>, aside: &mut Aside<'_>) -> Result<(), TooManyGroups> {
        let first = self.entries.len();
        let mut waiting = Vec::new();
        for (at, read) in read.into_iter().enumerate() {
            let index = first + at;
            match read {
                Ok(ReadRow { query_id, grading, given, judge_chars, judge_tokens }) => {
                    let (group, graded) = match grading {
                        Grading::Ready(graded) => (Some(self.group_of(query_id)?), graded),
                        // The row joins its group when it has a verdict.
                        Grading::Program(graded, case) => {
                            waiting.push((at, query_id, graded.clone(), (aside.submit)(*case)));
                            (None, graded)
                        }
                    };
                    let Graded { response, verdict, .. } = graded;
                    self.verdicts.extend(verdict.map(|verdict| (index, verdict)));
                    self.entries.push(Entry { group, response, given, judge_chars, judge_tokens });
                }
                Err(fault) => {
                    self.entries.push(Entry::FAULTY);
                    self.add_fault(index, at, fault, aside);
                }
            }
        }
        for (at, query_id, graded, pending) in waiting {
            let verdict = pending.wait().0.unwrap_or_else(|fault| {
                (aside.tell)(at, &fault.to_string());
                Verdict::unverifiable(UnverifiableCause::SandboxFailed, None)
            });
            let index = first + at;
            match graded.with_verdict(verdict) {
                Ok(graded) => {
                    let group = self.group_of(query_id)?;
                    if let Some(entry) = self.entries.get_mut(index) {
                        (entry.group, entry.response) = (Some(group), graded.response);
                    }
                    self.verdicts.extend(graded.verdict.map(|verdict| (index, verdict)));
                }
                Err(fault) => self.add_fault(index, at, fault, aside),
            }
        }
        Ok(())
    }

    /// Returns the number of a group; a new name gets the next number.
    fn group_of(&mut self, query_id: String) -> Result<u32, TooManyGroups> {
        let next = u32::try_from(self.groups.len()).map_err(|_| TooManyGroups)?;
        Ok(*self.groups.entry(query_id).or_insert(next))
    }

    fn add_fault(&mut self, index: usize, at: usize, RowFault(fault): RowFault, aside: &mut Aside<'_>) {
        (aside.tell)(at, &fault);
        self.faults.insert(index, fault);
    }

    /// Returns the rollouts in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the number of faulty rows.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.faults.len()
    }

    /// Applies the reward rule to every group.
    #[must_use]
    pub fn rewarded(&self, rule: &RewardSettings) -> AllRewards {
        // Sort the rows by group, in row order (counting sort).
        let mut starts = vec![0_usize; self.groups.len() + 1];
        let group_of = |entry: &Entry| entry.group.map(|group| group as usize);
        for group in self.entries.iter().filter_map(group_of) {
            starts[group + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0_usize; starts.last().copied().unwrap_or_default()];
        for (row, group) in self.entries.iter().enumerate().filter_map(|(row, entry)| Some((row, group_of(entry)?))) {
            order[next[group]] = row;
            next[group] += 1;
        }
        let groups = Vec::with_capacity(self.groups.len());
        let mut all = AllRewards { rows: vec![Rewarded::default(); self.entries.len()], groups };
        let mut responses = Vec::new();
        for bounds in starts.windows(2) {
            let rows = &order[bounds[0]..bounds[1]];
            responses.clear();
            responses.extend(rows.iter().map(|&row| self.entries[row].response));
            let group = rewards(&responses, rule);
            for (&row, rewarded) in rows.iter().zip(group.responses) {
                all.rows[row] = rewarded;
            }
            let means = GroupMeans { mean: group.mean, mode_means: group.mode_means, is_adjusted: group.is_adjusted };
            all.groups.push(means);
        }
        all
    }

    /// Returns what a row gains: its error, or its rewards and what the rule read from it.
    #[must_use]
    pub fn gained<'a>(&'a self, rewarded: &AllRewards, index: usize) -> Gained<'a> {
        let Some((entry, row)) = self.entries.get(index).zip(rewarded.rows.get(index)) else {
            return Gained::default();
        };
        let Some(group) = entry.group.and_then(|group| rewarded.groups.get(group as usize)) else {
            return Gained { error: self.faults.get(&index).map(String::as_str), ..Gained::default() };
        };
        let Response { mode, is_correct, is_well_formed, completion_tokens } = entry.response;
        let verdict = self.verdicts.get(&index);
        Gained {
            mode: Some(mode.name()),
            correct: Some(is_correct),
            format_ok: Some(is_well_formed),
            verdict: verdict.map(|verdict| verdict.outcome.name()),
            extracted: verdict.and_then(|verdict| verdict.extracted.as_deref()),
            verdict_reason: verdict.map(|verdict| verdict.reason.as_str()),
            reward: Some(row.reward),
            mean_reward: Some(group.mean),
            mean_reward_mode: mode.mode().and_then(|mode| group.mode_means[mode]),
            advantage_judge: Some(row.advantage_judge),
            advantage_answer: Some(row.advantage_answer),
            judge_chars: entry.judge_chars,
            judge_tokens: entry.judge_tokens,
            completion_tokens,
            error: None,
        }
    }
}

impl Entry {
    const FAULTY: Self = Self {
        group: None,
        response: Response { mode: ShownMode::None, is_correct: false, is_well_formed: false, completion_tokens: None },
        given: [true; 4],
        judge_chars: None,
        judge_tokens: None,
    };
}

/// More groups than 32 bits can count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than 2^32 groups")]
pub struct TooManyGroups;

fn read_row(text: &[u8], reading: Reading<'_>) -> Result<ReadRow, RowFault> {
    let row: RewardRow<'_> =
        serde_json::from_slice(text).map_err(|error| RowFault(format!("the row is not a rollout: {error}")))?;
    let query_id = row.query_id.clone().ok_or_else(|| RowFault("the row has no query_id".to_owned()))?.into_text();
    let given = row.gives();
    let completion = row.completion.clone();
    let token_ids = row.token_ids.clone();
    let mut grading = grade(row, reading.rules)?;
    let (Grading::Ready(graded) | Grading::Program(graded, _)) = &mut grading;
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let head = completion.as_deref().zip(graded.judge_end).and_then(|(text, end)| text.get(..end));
    let judge_chars = head.map(|head| narrow(head.chars().count()));
    let counted = match (reading.token_bytes, &completion, graded.judge_end) {
        (Some(token_bytes), Some(completion), Some(judge_end)) => {
            let bytes = token_bytes(completion, token_ids.as_deref())?;
            // Some tokenizers prepend a space.
            let lead =
                if token_ids.is_some() { 0 } else { bytes.iter().sum::<usize>().saturating_sub(completion.len()) };
            let judge_end = if judge_end == 0 { 0 } else { judge_end + lead };
            Some((narrow(judge_tokens(bytes.iter().copied(), judge_end)), narrow(bytes.len())))
        }
        _ => None,
    };
    let (judge_tokens, counted) = counted.unzip();
    let lengths = &mut graded.response.completion_tokens;
    *lengths = lengths.or(counted);
    if reading.needs_lengths && lengths.is_none() {
        return Err(RowFault(LENGTH_MISSING.to_owned()));
    }
    Ok(ReadRow { query_id, grading, given, judge_chars, judge_tokens })
}

/// What a row gains.
#[derive(Debug, Default, Serialize)]
pub struct Gained<'a> {
    /// The mode of the response: think_on, think_off or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// Whether the response counts as correct.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correct: Option<bool>,
    /// Whether the response is well-formed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format_ok: Option<bool>,
    /// The outcome of a verification, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
    /// The answer that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extracted: Option<&'a str>,
    /// How the answer was found and compared, or why there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict_reason: Option<&'a str>,
    /// The base reward.
    pub reward: Option<f64>,
    /// The mean reward of the group.
    pub mean_reward: Option<f64>,
    /// The adjusted mean reward of the response's mode.
    pub mean_reward_mode: Option<f64>,
    /// The advantage of the judge block's tokens.
    pub advantage_judge: Option<f64>,
    /// The advantage of all later tokens.
    pub advantage_answer: Option<f64>,
    /// Code points of the completion in the judge block and the mode tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge_chars: Option<u32>,
    /// Tokens of the completion in the judge block and the mode tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge_tokens: Option<u32>,
    /// Tokens of the completion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u32>,
    /// Why the row has no reward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
}

impl Gained<'_> {
    /// Removes what the row itself has.
    #[must_use]
    pub fn beside(self, [has_mode, has_correct, has_format, has_length]: [bool; 4]) -> Self {
        Self {
            mode: self.mode.filter(|_| !has_mode),
            correct: self.correct.filter(|_| !has_correct),
            format_ok: self.format_ok.filter(|_| !has_format),
            completion_tokens: self.completion_tokens.filter(|_| !has_length),
            ..self
        }
    }
}
