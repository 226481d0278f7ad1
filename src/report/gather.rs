//! The numbers of a report, from the published shards.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use crate::domain::{ByMode, Mode, OtherMode, PassCounts, VerdictOutcome};
use crate::shards::{Counts, Manifest, RowFilter, ShardError, Table, read_rows_of};

/// The numbers of a run.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// The manifest, once the run is finished.
    pub manifest: Option<Manifest>,
    /// Numbers of rows so far.
    pub counts: Counts,
    /// Every query that was sampled.
    pub queries: Vec<QueryFacts>,
    /// Response lengths in tokens by mode and verdict.
    pub lengths: BTreeMap<(&'static str, String), Vec<i32>>,
    /// Samples by source and difficulty.
    pub difficulties: BTreeMap<(String, String), u64>,
    /// Samples by difficulty: all, and those in Think-on.
    pub think_by_difficulty: BTreeMap<String, (u64, u64)>,
    /// Rejected justifications by check, whether or not the sample was kept.
    pub rejections: BTreeMap<String, u64>,
    /// Models that wrote justifications.
    pub judge_models: Vec<String>,
    /// Work over time, from the ledger.
    pub timeline: Timeline,
    /// The tie margin, if known.
    pub tie_margin: Option<f64>,
    /// What a response of the other mode than was asked for counts as.
    pub other_mode: OtherMode,
    /// The cost of the judge, in USD; `None` if a price is unknown.
    pub spend_usd: Option<f64>,
    /// Tokens sampled per second.
    pub tokens_per_second: Option<f64>,
}

/// Work over time, in even steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    /// Length of a step in seconds.
    pub step_s: f64,
    /// Tokens sampled in each step.
    pub tokens: Vec<u64>,
    /// Spend up to the end of each step, in USD; empty if unknown.
    pub spend_usd: Vec<f64>,
}

/// One sampled query.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QueryFacts {
    /// Its pass counts.
    pub counts: ByMode<PassCounts>,
    /// Sums of response lengths.
    pub tokens: ByMode<u64>,
    /// The length of the shortest correct response.
    pub shortest: ByMode<Option<i32>>,
    /// The mode of its sample.
    pub mode: Option<Mode>,
}

#[derive(Deserialize)]
struct RolloutNumbers {
    ordinal: i64,
    mode: String,
    observed_mode: String,
    verdict: String,
    completion_tokens: i32,
}

#[derive(Deserialize)]
struct SampleNumbers {
    ordinal: i64,
    mode: String,
    source: String,
    difficulty: String,
    justification_status: String,
    judge_model: Option<String>,
}

#[derive(Deserialize)]
struct ExclusionNumbers {
    reason: String,
    detail: String,
}

/// The exclusion reason whose detail begins with the check that rejected a justification.
const REJECTED: &str = "justification_rejected";

/// Reads the published shards of a directory, given by their indices. Blocks.
pub fn gather(dir: &Path, indices: &[u32], manifest: Option<Manifest>) -> Result<Gathered, ShardError> {
    let rule = manifest.as_ref().and_then(|manifest| manifest.identity.get("select.other_mode"));
    let other_mode = rule.and_then(|rule| serde_json::from_str(rule).ok()).unwrap_or_default();
    let mut all = Gathered { manifest, other_mode, ..Gathered::default() };
    for &index in indices {
        let mut queries: HashMap<i64, QueryFacts> = HashMap::new();
        let path = |table: Table| dir.join(table.file_name(index));
        let columns = ["ordinal", "mode", "observed_mode", "verdict", "completion_tokens"];
        for row in read_rows_of::<RolloutNumbers>(&path(Table::Rollouts), &RowFilter::columns(&columns))? {
            add_rollout(&mut all, queries.entry(row.ordinal).or_default(), &row);
        }
        let columns = ["ordinal", "mode", "source", "difficulty", "justification_status", "judge_model"];
        for row in read_rows_of::<SampleNumbers>(&path(Table::Samples), &RowFilter::columns(&columns))? {
            add_sample(&mut all, queries.entry(row.ordinal).or_default(), row);
        }
        let columns = ["reason", "detail"];
        for row in read_rows_of::<ExclusionNumbers>(&path(Table::Exclusions), &RowFilter::columns(&columns))? {
            if row.reason == REJECTED {
                let check = row.detail.split(':').next().unwrap_or_default().to_owned();
                *all.rejections.entry(check).or_default() += 1;
            }
            all.counts.exclusions += 1;
            *all.counts.exclusions_by_reason.entry(row.reason).or_default() += 1;
        }
        let mut queries: Vec<(i64, QueryFacts)> = queries.into_iter().collect();
        queries.sort_by_key(|(ordinal, _)| *ordinal);
        all.queries.extend(queries.into_iter().map(|(_, facts)| facts));
    }
    all.counts.queries = all.counts.samples + all.counts.exclusions;
    all.judge_models.sort_unstable();
    all.judge_models.dedup();
    let margin = all.manifest.as_ref().and_then(|manifest| manifest.identity.get("select.tie_margin"));
    all.tie_margin = margin.and_then(|margin| margin.parse().ok());
    Ok(all)
}

fn add_rollout(all: &mut Gathered, facts: &mut QueryFacts, row: &RolloutNumbers) {
    let Ok(mode) = row.mode.parse::<Mode>() else { return };
    let shows_other_mode = row.observed_mode != row.mode;
    let is_correct = all.other_mode.counts(row.verdict == VerdictOutcome::Correct.name(), shows_other_mode);
    facts.counts[mode].other_mode += u32::from(shows_other_mode);
    facts.counts[mode].sampled += 1;
    facts.counts[mode].correct += u32::from(is_correct);
    facts.tokens[mode] += u64::try_from(row.completion_tokens).unwrap_or(0);
    if is_correct {
        let shortest = &mut facts.shortest[mode];
        *shortest = Some(shortest.map_or(row.completion_tokens, |tokens| tokens.min(row.completion_tokens)));
    }
    all.counts.rollouts += 1;
    all.lengths.entry((mode.name(), row.verdict.clone())).or_default().push(row.completion_tokens);
}

fn add_sample(all: &mut Gathered, facts: &mut QueryFacts, row: SampleNumbers) {
    let mode = row.mode.parse::<Mode>().ok();
    facts.mode = mode;
    all.counts.samples += 1;
    let (samples, think_on) = all.think_by_difficulty.entry(row.difficulty.clone()).or_default();
    *samples += 1;
    *think_on += u64::from(mode == Some(Mode::ThinkOn));
    *all.difficulties.entry((row.source, row.difficulty)).or_default() += 1;
    if let Some(check) = row.justification_status.strip_prefix("rejected:") {
        *all.rejections.entry(check.to_owned()).or_default() += 1;
    }
    // Few models judge, so that the list stays short.
    if let Some(model) = row.judge_model
        && !all.judge_models.contains(&model)
    {
        all.judge_models.push(model);
    }
}

impl QueryFacts {
    /// Returns both pass rates, if both modes were sampled: a frugal budget may leave Think-on out.
    #[must_use]
    pub fn pass_rates(&self) -> Option<ByMode<f64>> {
        let is_paired = self.counts.on.sampled > 0 && self.counts.off.sampled > 0;
        is_paired.then(|| ByMode::from_fn(|mode| self.counts[mode].pass_rate()))
    }

    /// Returns the mean length of a mode's responses, if there are any.
    #[must_use]
    pub fn mean_tokens(&self, mode: Mode) -> Option<f64> {
        let sampled = self.counts[mode].sampled;
        (sampled > 0).then(|| self.tokens[mode] as f64 / f64::from(sampled))
    }
}

impl Gathered {
    /// Returns how many responses show the other mode than was asked for.
    #[must_use]
    pub fn other_mode_count(&self) -> u64 {
        let of = |facts: &QueryFacts| u64::from(facts.counts.on.other_mode) + u64::from(facts.counts.off.other_mode);
        self.queries.iter().map(of).sum()
    }

    /// Returns the pass rate of a mode over all responses.
    #[must_use]
    pub fn pass_rate(&self, mode: Mode) -> Option<f64> {
        let (mut sampled, mut correct) = (0_u64, 0_u64);
        for facts in &self.queries {
            sampled += u64::from(facts.counts[mode].sampled);
            correct += u64::from(facts.counts[mode].correct);
        }
        (sampled > 0).then(|| correct as f64 / sampled as f64)
    }

    /// Returns the share of samples in Think-on.
    #[must_use]
    pub fn think_rate(&self) -> Option<f64> {
        let think_on: u64 = self.think_by_difficulty.values().map(|(_, think_on)| think_on).sum();
        (self.counts.samples > 0).then(|| think_on as f64 / self.counts.samples as f64)
    }

    /// Returns the share of tokens that the chosen modes save against always thinking: over all samples, the mean
    /// length of the chosen mode's responses relative to the Think-on responses to the same query.
    #[must_use]
    pub fn tokens_saved(&self) -> Option<f64> {
        let (mut always, mut chosen) = (0.0, 0.0);
        for facts in &self.queries {
            let Some(mode) = facts.mode else { continue };
            let (Some(on), Some(mean)) = (facts.mean_tokens(Mode::ThinkOn), facts.mean_tokens(mode)) else { continue };
            always += on;
            chosen += mean;
        }
        (always > 0.0).then(|| 1.0 - chosen / always)
    }
}

impl Timeline {
    /// Largest number of steps.
    const STEPS: usize = 60;

    /// Distributes work over even steps from the first time to the last. Times are in milliseconds; `costs` are in USD,
    /// `None` if any is unknown.
    #[must_use]
    pub fn new(tokens: &[(i64, u64)], costs: Option<&[(i64, f64)]>) -> Self {
        let times = tokens.iter().map(|(time, _)| *time).chain(costs.into_iter().flatten().map(|(time, _)| *time));
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return Self::default() };
        let span = (last - first).max(1) as f64;
        let step = |time: i64| (((time - first) as f64 / span * Self::STEPS as f64) as usize).min(Self::STEPS - 1);
        let mut timeline =
            Self { step_s: span / 1000.0 / Self::STEPS as f64, tokens: vec![0; Self::STEPS], spend_usd: Vec::new() };
        for (time, count) in tokens {
            if let Some(sum) = timeline.tokens.get_mut(step(*time)) {
                *sum += count;
            }
        }
        if let Some(costs) = costs {
            timeline.spend_usd = vec![0.0; Self::STEPS];
            for (time, usd) in costs {
                timeline.spend_usd.iter_mut().skip(step(*time)).for_each(|sum| *sum += usd);
            }
        }
        timeline
    }
}
