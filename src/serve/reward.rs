//! `POST /v1/reward`: the reward rule for trainers.
//!
//! Either `{"rollouts": [...]}`, rows as `thinkloom reward` reads them, grouped by `query_id`; or `{"groups": [{...,
//! "completions": [...]}, ...]}`, where what stands beside the completions (`gold`, `kind`, `choices`, `tests`, ...)
//! holds for each of them. `settings` changes constants of the rule for this request. What comes back is in the order
//! of the request, and the same as the command's. A row whose gold or tests can decide nothing has an `error` and no
//! reward.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::try_join_all;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::App;
use super::error::{ApiError, json_response};
use super::wire::parse;
use crate::domain::{UnverifiableCause, Verdict};
use crate::pipeline::plan::evaluated_of;
use crate::pipeline::programs::open_pool;
use crate::reward::row::{Graded, Grading, RolloutRow, RowFault, grade};
use crate::reward::{RewardSettings, rewards};
use crate::verify::Evaluated;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RewardRequest<'a> {
    #[serde(borrow)]
    rollouts: Option<Vec<&'a RawValue>>,
    groups: Option<Vec<Map<String, Value>>>,
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

/// A row as JSON text, and the group that it belongs to, if not the one that its `query_id` names.
pub(super) struct Row {
    pub(super) text: String,
    pub(super) group: Option<String>,
}

/// `POST /v1/reward`
pub(super) async fn respond(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, ApiError> {
    let request: RewardRequest<'_> = parse(&body)?;
    let settings = settings(&app.options.reward, request.settings)?;
    match (request.rollouts, request.groups) {
        (Some(rollouts), None) => {
            let rows = rollouts.iter().map(|raw| Row { text: raw.get().to_owned(), group: None }).collect();
            let rollouts = app.rewarded(rows, &settings).await?;
            Ok(json_response(StatusCode::OK, &json!({"rollouts": rollouts, "settings": settings})))
        }
        (None, Some(groups)) => {
            let mut rows = Vec::new();
            let mut sizes = Vec::new();
            for (index, group) in groups.into_iter().enumerate() {
                let of_group = group_rows(index, group)?;
                sizes.push(of_group.len());
                rows.extend(of_group);
            }
            let mut rewarded = app.rewarded(rows, &settings).await?.into_iter();
            let groups: Vec<Value> = sizes
                .into_iter()
                .map(|size| json!({"rollouts": rewarded.by_ref().take(size).collect::<Vec<_>>()}))
                .collect();
            Ok(json_response(StatusCode::OK, &json!({"groups": groups, "settings": settings})))
        }
        _ => Err(ApiError::invalid("rollouts", "send either rollouts or groups")),
    }
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

/// Returns a group's rows: what it says of itself, with each of its completions.
fn group_rows(index: usize, mut group: Map<String, Value>) -> Result<Vec<Row>, ApiError> {
    let name = |field: &str| format!("groups[{index}].{field}");
    let Some(Value::Array(completions)) = group.remove("completions") else {
        return Err(ApiError::invalid(&name("completions"), format!("{} is no list", name("completions"))));
    };
    group.entry("query_id").or_insert_with(|| Value::String(index.to_string()));
    let row = |completion: Value| {
        let mut row = group.clone();
        row.insert("completion".to_owned(), completion);
        // Two groups may carry the same name and are two all the same.
        Row { text: Value::Object(row).to_string(), group: Some(index.to_string()) }
    };
    Ok(completions.into_iter().map(row).collect())
}

struct ReadRow {
    query_id: Option<String>,
    completion: Option<String>,
    grading: Result<Grading, RowFault>,
}

/// A row whose program, if it has one, was run.
struct GradedRow {
    group: Option<String>,
    query_id: Option<String>,
    completion: Option<String>,
    graded: Result<Graded, RowFault>,
}

fn read(text: &str, evaluated: Evaluated) -> ReadRow {
    let row: RolloutRow<'_> = match serde_json::from_str(text) {
        Ok(row) => row,
        Err(error) => {
            let fault = RowFault(format!("the row is no rollout: {error}"));
            return ReadRow { query_id: None, completion: None, grading: Err(fault) };
        }
    };
    let query_id = row.query_id.clone().map(|name| name.into_text());
    let completion = row.completion.as_deref().map(str::to_owned);
    ReadRow { query_id, completion, grading: grade(row, evaluated) }
}

impl App {
    /// Grades rows and applies the rule to each group.
    ///
    /// # Errors
    /// [`ApiError`] if too many requests are under way, or the server is stopping.
    pub(super) async fn rewarded(
        self: &Arc<Self>,
        rows: Vec<Row>,
        settings: &RewardSettings,
    ) -> Result<Vec<RewardedRow>, ApiError> {
        let _turn = self.reward_turns.try_acquire().map_err(|_| ApiError::busy(super::REWARD_REQUESTS_MAX))?;
        if self.stop.is_cancelled() {
            return Err(ApiError::stopping());
        }
        let count = rows.len() as u64;
        let evaluated = evaluated_of(self.options.verify.evaluated);
        let work = move || -> Vec<(Option<String>, ReadRow)> {
            rows.into_par_iter().map(|row| (row.group, read(&row.text, evaluated))).collect()
        };
        let failed = |error: tokio::task::JoinError| ApiError::invalid("", error.to_string());
        let read = tokio::task::spawn_blocking(work).await.map_err(failed)?;
        // Together, so that a request uses all workers; the pool's queue bounds what is under way.
        let read = try_join_all(read.into_iter().map(|(group, row)| self.verified(group, row))).await?;
        let mut outcomes: Vec<(RewardedRow, Option<(usize, Graded)>)> = Vec::with_capacity(read.len());
        let mut groups: HashMap<String, usize> = HashMap::new();
        for GradedRow { group, query_id, completion, graded } in read {
            let mut row = RewardedRow { query_id, ..RewardedRow::default() };
            let graded = match graded {
                Ok(graded) => Some(graded),
                Err(fault) => {
                    row.error = Some(fault.to_string());
                    None
                }
            };
            let Some(group) = group.or_else(|| row.query_id.clone()) else {
                row.error.get_or_insert_with(|| "the row has no query_id".to_owned());
                outcomes.push((row, None));
                continue;
            };
            let placed = graded.map(|graded| {
                let head = completion.as_deref().zip(graded.judge_end).and_then(|(text, end)| text.get(..end));
                row.judge_chars = head.map(|head| head.chars().count());
                let next = groups.len();
                (*groups.entry(group).or_insert(next), graded)
            });
            outcomes.push((row, placed));
        }
        self.metrics.rewarded.fetch_add(count, Ordering::Relaxed);
        Ok(apply(outcomes, groups.len(), settings))
    }

    async fn verified(self: &Arc<Self>, group: Option<String>, row: ReadRow) -> Result<GradedRow, ApiError> {
        let ReadRow { query_id, completion, grading } = row;
        let graded = match grading {
            Ok(Grading::Ready(graded)) => Ok(graded),
            Ok(Grading::Program(graded, case)) => graded.with_verdict(self.run(*case).await?),
            Err(fault) => Err(fault),
        };
        Ok(GradedRow { group, query_id, completion, graded })
    }

    /// Runs a program; the sandbox is opened for the first.
    async fn run(self: &Arc<Self>, case: crate::verify::CodeCase) -> Result<Verdict, ApiError> {
        let app = Arc::clone(self);
        let open = || async move {
            let verify = app.options.verify.clone();
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
            row.mean_reward_mode = found.mode_means[graded.response.mode];
            row.advantage_judge = Some(rewarded.advantage_judge);
            row.advantage_answer = Some(rewarded.advantage_answer);
        }
    }
    rows
}
