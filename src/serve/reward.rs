//! The route `POST /v1/reward`: the reward rule for trainers.
//!
//! A request is either `{"rollouts": [...]}`, with rows in the format of `thinkloom reward`, grouped by `query_id`; or
//! `{"groups": [{..., "completions": [...]}, ...]}`, where the other fields of a group (`gold`, `kind`, `choices`,
//! `tests`, ...) apply to each of its completions. `settings` changes constants of the rule for this request. The
//! response has the order of the request and the same values as the command. A row whose gold or tests cannot decide
//! anything gets an `error` and no reward.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::body::Taken;
use super::common::Common;
use super::error::{ApiError, json_body, shortened};
use super::limits::{
    BODY_BYTES_MAX, GROUP_WORK_BYTES_MAX, NAME_BYTES_MAX, REWARD_REQUESTS_MAX, REWARDS_UNASKED_BYTES, ROLLOUT_BYTES,
    ROLLOUTS_MAX, ROLLOUTS_READ_BYTES, ROLLOUTS_READ_TOGETHER,
};
use super::memory::{Share, Sliced};
use super::read_row::{GroupName, ReadRow, Texts, no_rollout};
use super::remote_row::RemoteRow;
use super::wire::{AtMost, parse};
use crate::domain::{UnverifiableCause, Verdict};
use crate::pipeline::plan::evaluated_of;
use crate::pipeline::programs::open_pool;
use crate::reward::row::{GradeRules, Graded, Grading, LENGTH_MISSING, Name, RewardRow, RowFault};
use crate::reward::{RewardSettings, rewards};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RewardRequest<'a> {
    #[serde(borrow)]
    rollouts: Option<Texts<'a>>,
    #[serde(borrow)]
    groups: Option<Texts<'a>>,
    settings: Option<Map<String, Value>>,
}

/// One rewarded rollout.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct RewardedRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    query_id: Option<String>,
    pub(super) mode: Option<&'static str>,
    pub(super) correct: Option<bool>,
    pub(super) format_ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extracted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict_reason: Option<String>,
    pub(super) reward: Option<f64>,
    mean_reward: Option<f64>,
    mean_reward_mode: Option<f64>,
    pub(super) advantage_judge: Option<f64>,
    pub(super) advantage_answer: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) judge_chars: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// The source of a row.
pub(super) enum Source<'a> {
    /// The row as JSON text; its `query_id` names its group.
    Whole(&'a str),
    /// A completion of a group: the number of the group, and the completion as JSON text.
    InGroup(usize, &'a str),
    /// A row in OpenRLHF's format.
    Remote(RemoteRow<'a>),
}

/// The rows of a request.
pub(super) struct Rows<'a> {
    pub(super) sources: Vec<Source<'a>>,
    /// The shared fields of each group, which apply to each of its completions.
    pub(super) groups: Vec<Result<RewardRow<'a>, RowFault>>,
    /// The longest text of a row, in bytes.
    pub(super) longest_bytes: usize,
}

#[derive(Serialize)]
struct Rollouts<'a> {
    rollouts: &'a [RewardedRow],
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer<'a> {
    Rollouts { rollouts: &'a [RewardedRow], settings: &'a RewardSettings },
    Groups { groups: Vec<Rollouts<'a>>, settings: &'a RewardSettings },
}

/// Handles `POST /v1/reward`.
pub(super) async fn respond(State(common): State<Arc<Common>>, request: Request) -> Result<Response, ApiError> {
    let body = common.memory.read(request, BODY_BYTES_MAX, ApiError::too_large).await?;
    common.reward(body, answer).await
}

fn answer(common: &Arc<Common>, body: &[u8], share: &mut Share, left: &CancellationToken) -> Result<String, ApiError> {
    let request: RewardRequest<'_> = parse(body)?;
    let settings = settings(&common.options.reward, request.settings)?;
    let mut rows = Rows { sources: Vec::new(), groups: Vec::new(), longest_bytes: 0 };
    let answer = match (request.rollouts, request.groups) {
        (Some(AtMost(rollouts)), None) => {
            rows.longest_bytes = rollouts.iter().map(|raw| raw.get().len()).max().unwrap_or(0);
            rows.sources = rollouts.iter().map(|raw| Source::Whole(raw.get())).collect();
            let rewarded = common.rewarded(&rows, &settings, share, left)?;
            serde_json::to_string(&Answer::Rollouts { rollouts: &rewarded, settings: &settings })
        }
        (None, Some(AtMost(groups))) => {
            let mut sizes = Vec::new();
            for (index, group) in groups.iter().enumerate() {
                sizes.push(rows.add_group(index, group.get())?);
            }
            let rewarded = common.rewarded(&rows, &settings, share, left)?;
            let mut rest = rewarded.as_slice();
            let groups = sizes.into_iter().map(|size| {
                let (rollouts, others) = rest.split_at_checked(size).unwrap_or((rest, &[]));
                rest = others;
                Rollouts { rollouts }
            });
            serde_json::to_string(&Answer::Groups { groups: groups.collect(), settings: &settings })
        }
        _ => return Err(ApiError::invalid("rollouts", "the request needs either rollouts or groups, not both")),
    };
    answer.map_err(|_| ApiError::failed())
}

fn settings(base: &RewardSettings, changes: Option<Map<String, Value>>) -> Result<RewardSettings, ApiError> {
    let fault = |error: String| ApiError::invalid("settings", error);
    let mut all = serde_json::to_value(base).map_err(|error| fault(error.to_string()))?;
    if let (Some(all), Some(changes)) = (all.as_object_mut(), changes) {
        all.extend(changes);
    }
    let settings: RewardSettings = serde_json::from_value(all).map_err(|error| fault(error.to_string()))?;
    settings.check().map_err(|error| fault(error.to_string()))?;
    Ok(settings)
}

#[derive(Deserialize)]
struct Group<'a> {
    #[serde(borrow)]
    completions: Option<&'a RawValue>,
}

impl<'a> Rows<'a> {
    /// Adds the rows of a group and returns their number.
    fn add_group(&mut self, index: usize, text: &'a str) -> Result<usize, ApiError> {
        let name = |field: &str| format!("groups[{index}].{field}");
        let group: Group<'_> = parse(text.as_bytes())
            .map_err(|_| ApiError::invalid(&format!("groups[{index}]"), format!("groups[{index}] is not an object")))?;
        let completions = group.completions.map(|raw| serde_json::from_str::<Texts<'_>>(raw.get()));
        let completions = match completions {
            Some(Ok(AtMost(completions))) => completions,
            Some(Err(error)) => return Err(ApiError::invalid(&name("completions"), error.to_string())),
            None => {
                return Err(ApiError::invalid(&name("completions"), format!("{} is not a list", name("completions"))));
            }
        };
        let count = completions.len();
        if self.sources.len() + count > ROLLOUTS_MAX {
            return Err(ApiError::invalid("groups", format!("the groups have more than {ROLLOUTS_MAX} completions")));
        }
        let shared = text.len() - group.completions.map_or(0, |raw| raw.get().len());
        if shared.saturating_mul(count) > GROUP_WORK_BYTES_MAX {
            let message = format!(
                "{count} completions with {shared} bytes of shared fields exceed the limit of a group; send less"
            );
            return Err(ApiError::invalid(&name("completions"), message));
        }
        let longest = completions.iter().map(|raw| raw.get().len()).max().unwrap_or(0);
        self.longest_bytes = self.longest_bytes.max(shared + longest);
        self.groups.push(serde_json::from_str(text).map_err(|error| no_rollout(&error)));
        self.sources.extend(completions.iter().map(|raw| Source::InGroup(index, raw.get())));
        Ok(count)
    }

    /// Returns the bytes that grading the rows and their part of the response will take; computed before grading.
    fn work_bytes(&self) -> usize {
        let of_group = |group: &Result<RewardRow<'_>, RowFault>| match group {
            Ok(row) => match &row.query_id {
                Some(Name::Text(name)) if name.len() <= NAME_BYTES_MAX => repeated_bytes(name),
                _ => 0,
            },
            Err(fault) => repeated_bytes(&fault.0),
        };
        let of_groups: Vec<usize> = self.groups.iter().map(of_group).collect();
        let of_row = |source: &Source<'_>| match source {
            Source::InGroup(index, _) => of_groups.get(*index).copied().unwrap_or(0),
            // The texts that these rows repeat are already in the body.
            Source::Whole(_) | Source::Remote(_) => 0,
        };
        self.sources.iter().map(|source| ROLLOUT_BYTES + of_row(source)).sum()
    }

    fn read(&self, source: &Source<'_>, rules: GradeRules) -> ReadRow {
        let (group, row) = match source {
            Source::Whole(text) => {
                let row = serde_json::from_str(text).map_err(|error| no_rollout(&error));
                return ReadRow::of(None, row, rules);
            }
            Source::InGroup(index, completion) => {
                let row = match self.groups.get(*index) {
                    Some(Ok(shared)) => serde_json::from_str::<Option<String>>(completion)
                        .map(|completion| shared.with_completion(completion, *index))
                        .map_err(|error| no_rollout(&error)),
                    Some(Err(fault)) => Err(fault.clone()),
                    None => Err(RowFault("the row has no group".to_owned())),
                };
                (GroupName::Number(*index), row)
            }
            Source::Remote(remote) => return remote.read(rules),
        };
        ReadRow::of(Some(group), row, rules)
    }
}

/// Returns the bytes of a text that a row and its response repeat: as a text, and as JSON.
fn repeated_bytes(text: &str) -> usize {
    text.len() + serde_json::to_string(text).map_or(0, |json| json.len())
}

/// A graded row, after running its program if it has one.
struct GradedRow {
    group: Option<GroupName>,
    query_id: Option<String>,
    judge_chars: Option<usize>,
    graded: Result<Graded, RowFault>,
}

/// The work on a request: computes the response from the body, enlarges the memory share, stops if the client
/// disconnects.
type Work = fn(&Arc<Common>, &[u8], &mut Share, &CancellationToken) -> Result<String, ApiError>;

impl Common {
    /// Runs the work of a reward request on a separate thread, where it may wait for programs. The work stops when the
    /// client disconnects.
    ///
    /// # Errors
    /// [`ApiError`] if too many reward requests are in progress, or the server is stopping; otherwise the work's error.
    pub(super) async fn reward(self: &Arc<Self>, body: Taken, work: Work) -> Result<Response, ApiError> {
        let turn = Arc::clone(&self.reward_turns).try_acquire_owned();
        let turn = turn.map_err(|_| ApiError::busy(REWARD_REQUESTS_MAX))?;
        if self.stop.is_cancelled() {
            return Err(ApiError::stopping());
        }
        let left = CancellationToken::new();
        let _leaves = left.clone().drop_guard();
        let common = Arc::clone(self);
        let work = move || {
            let _turn = turn;
            let (bytes, mut share) = body.into_parts();
            let text = work(&common, &bytes, &mut share, &left)?;
            drop(bytes);
            Ok(Sliced::new(text, share))
        };
        let answer = tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(ApiError::failed()))?;
        Ok(json_body(StatusCode::OK, answer.into_body()))
    }

    /// Grades rows and applies the rule to each group. Blocks, so it must not run on an async thread.
    ///
    /// # Errors
    /// [`ApiError`] if the rows need too much memory, or the sandbox cannot be opened.
    pub(super) fn rewarded(
        self: &Arc<Self>,
        rows: &Rows<'_>,
        settings: &RewardSettings,
        share: &mut Share,
        left: &CancellationToken,
    ) -> Result<Vec<RewardedRow>, ApiError> {
        let bytes = rows.work_bytes();
        if bytes > REWARDS_UNASKED_BYTES {
            let bytes = share.bytes().saturating_add(bytes);
            let enlarged = left.run_until_cancelled(self.memory.enlarge(share, bytes));
            // The client has disconnected, so the error is never read.
            Handle::current().block_on(enlarged).unwrap_or_else(|| Err(ApiError::failed()))?;
        }
        let rules =
            GradeRules { evaluated: evaluated_of(self.options.verify.evaluated), other_mode: self.options.other_mode };
        // The longer the rows and the shared fields of their groups, the fewer rows are in memory at once.
        let together = (ROLLOUTS_READ_BYTES / rows.longest_bytes.max(1)).clamp(1, ROLLOUTS_READ_TOGETHER);
        let chunks = stream::iter(rows.sources.chunks(together)).take_until(left.cancelled());
        let read = chunks.then(|chunk| async move {
            let _turn = self.turns.grading().acquire().await;
            let read: Vec<ReadRow> = chunk.par_iter().map(|source| rows.read(source, rules)).collect();
            stream::iter(read)
        });
        // Concurrent, so that one request uses all workers; the pool's queue limits the number of running programs.
        let graded = read.flatten().map(|row| self.verified(row)).buffered(together).try_collect::<Vec<GradedRow>>();
        let graded = Handle::current().block_on(graded)?;
        let count = graded.len() as u64;
        let mut outcomes: Vec<(RewardedRow, Option<(usize, Graded)>)> = Vec::with_capacity(graded.len());
        let mut groups: HashMap<GroupName, usize> = HashMap::new();
        for GradedRow { group, query_id, judge_chars, graded } in graded {
            let mut row = RewardedRow { query_id, ..RewardedRow::default() };
            let needs_length = settings.length_weight > 0.0;
            let graded = match graded {
                Ok(graded) if needs_length && graded.response.completion_tokens.is_none() => {
                    row.error = Some(LENGTH_MISSING.to_owned());
                    None
                }
                Ok(graded) => Some(graded),
                Err(fault) => {
                    row.error = Some(shortened(fault.to_string()));
                    None
                }
            };
            let Some(group) = group else {
                row.error.get_or_insert_with(|| "the row has no query_id".to_owned());
                outcomes.push((row, None));
                continue;
            };
            let placed = graded.map(|graded| {
                row.judge_chars = judge_chars;
                let next = groups.len();
                (*groups.entry(group).or_insert(next), graded)
            });
            outcomes.push((row, placed));
        }
        self.metrics.rewarded.fetch_add(count, Ordering::Relaxed);
        Ok(apply(outcomes, groups.len(), settings))
    }

    async fn verified(self: &Arc<Self>, row: ReadRow) -> Result<GradedRow, ApiError> {
        let ReadRow { group, query_id, judge_chars, grading } = row;
        let graded = match grading {
            Ok(Grading::Ready(graded)) => Ok(graded),
            Ok(Grading::Program(graded, case)) => graded.with_verdict(self.run(*case).await?),
            Err(fault) => Err(fault),
        };
        Ok(GradedRow { group, query_id, judge_chars, graded })
    }

    /// Runs a program; the first program opens the sandbox.
    async fn run(self: &Arc<Self>, case: crate::verify::CodeCase) -> Result<Verdict, ApiError> {
        let common = Arc::clone(self);
        let open = || async move {
            let verify = common.options.verify.clone();
            tokio::task::spawn_blocking(move || open_pool(&verify)).await
        };
        let pool =
            self.programs.get_or_try_init(open).await.map_err(|error| ApiError::invalid("", error.to_string()))?;
        Ok(pool.verify(case).await.0.unwrap_or_else(|fault| {
            tracing::error!("{fault}");
            Verdict::unverifiable(UnverifiableCause::SandboxFailed, None)
        }))
    }
}

fn apply(
    outcomes: Vec<(RewardedRow, Option<(usize, Graded)>)>,
    groups: usize,
    settings: &RewardSettings,
) -> Vec<RewardedRow> {
    let mut members = vec![Vec::new(); groups];
    for (index, (_, placed)) in outcomes.iter().enumerate() {
        if let Some((group, _)) = placed {
            members[*group].push(index);
        }
    }
    let (mut rows, graded): (Vec<RewardedRow>, Vec<Option<(usize, Graded)>>) = outcomes.into_iter().unzip();
    for members in members {
        let of_group: Vec<&Graded> =
            members.iter().filter_map(|&index| graded[index].as_ref().map(|(_, one)| one)).collect();
        let responses: Vec<_> = of_group.iter().map(|graded| graded.response).collect();
        let found = rewards(&responses, settings);
        for ((index, graded), rewarded) in members.iter().zip(of_group).zip(found.responses) {
            let row = &mut rows[*index];
            row.mode = Some(graded.response.mode.name());
            row.correct = Some(graded.response.is_correct);
            row.format_ok = Some(graded.response.is_well_formed);
            if let Some(verdict) = &graded.verdict {
                row.verdict = Some(verdict.outcome.name());
                row.extracted = verdict.extracted.clone();
                row.verdict_reason = Some(verdict.reason.clone());
            }
            row.reward = Some(rewarded.reward);
            row.mean_reward = Some(found.mean);
            row.mean_reward_mode = graded.response.mode.mode().and_then(|mode| found.mode_means[mode]);
            row.advantage_judge = Some(rewarded.advantage_judge);
            row.advantage_answer = Some(rewarded.advantage_answer);
        }
    }
    rows
}
