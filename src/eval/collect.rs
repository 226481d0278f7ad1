//! Samples and verifies the responses of an evaluation, over a ledger: a stored response is not sampled again.
//!
//! Forced responses are requested exactly as in a run, and have the same content addresses. A free response is stored
//! under the mode `think_on`, whose token limit applies to it; its address records that it is free.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::stream::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::{Condition, EvalRow, leaks};
use crate::config::{PolicyBackend, Settings};
use crate::domain::digest::sha256;
use crate::domain::{Kind, Mode, Query, Rollout, RolloutKey, ShownMode, Verdict};
use crate::http::breaker::Breaker;
use crate::judge::Flights;
use crate::ledger::{Fact, Ledger, Reader};
use crate::pipeline::plan::{evaluated_of, response};
use crate::pipeline::programs::Programs;
use crate::pipeline::replies::stored_rollout;
use crate::pipeline::{Caller, Earlier, LOG_INTERVAL, Look, Obtained, RunError, SampleStop, Sampler};
use crate::policy::{Policy, PolicyError, RolloutTask};
use crate::template::{self, ObservedResponse, ResponseBody, StructuredResponse, find_tag, read_structured, render};
use crate::verify::{self, Case, CodeCase};

/// The maximum number of responses in progress, per slot or call.
const UNDER_WAY_PER_SLOT: usize = 4;

/// The inputs of an evaluation.
pub struct Evaluation {
    /// The settings.
    pub settings: Settings,
    /// The policy.
    pub policy: Policy,
    /// The breaker before the policy's servers, if it has servers.
    pub breaker: Option<Arc<Breaker>>,
    /// The ledger with the facts.
    pub ledger: Ledger,
    /// Runs programs of kind `code`.
    pub programs: Programs,
    /// Set to stop the evaluation.
    pub stop: CancellationToken,
    /// The responses in progress: two rows may need the same response.
    pub flights: Flights,
}

/// One requested response.
struct Asked {
    query: Arc<Query>,
    condition: Condition,
    task: RolloutTask,
}

/// The rows, and the queries without all their responses.
#[derive(Debug, Default)]
pub struct Collected {
    /// In the order of queries, conditions and samples.
    pub rows: Vec<EvalRow>,
    /// Queries that were omitted, each with its failure.
    pub failures: Vec<(String, String)>,
}

/// Samples and verifies everything that is missing, and returns all rows.
///
/// # Errors
/// [`RunError`] if the model, the ledger or the sandbox fails, or if the evaluation is stopped; committed facts are
/// kept.
pub async fn collect(
    evaluation: &Evaluation,
    queries: Vec<Query>,
    conditions: &[Condition],
) -> Result<Collected, RunError> {
    let mut asked = Vec::new();
    let mut collected = Collected::default();
    for query in queries {
        if evaluation.stop.is_cancelled() {
            return Err(RunError::Stopped);
        }
        let query = Arc::new(query);
        match tasks(evaluation, &query, conditions)? {
            Ok(tasks) => asked.extend(tasks.into_iter().map(|(condition, task)| Asked {
                query: Arc::clone(&query),
                condition,
                task,
            })),
            Err(detail) => collected.failures.push((query.id.0.clone(), detail)),
        }
    }
    let settings = &evaluation.settings.policy;
    let slots = match settings.backend {
        PolicyBackend::Candle => settings.slots,
        PolicyBackend::Openai => settings.concurrency * settings.base_urls.len().max(1),
    };
    let (total, done) = (asked.len(), AtomicUsize::new(0));
    let done = &done;
    let rows = futures::stream::iter(asked)
        .map(|asked| async move {
            let row = row(evaluation, &asked).await?;
            done.fetch_add(1, Ordering::Relaxed);
            Ok::<_, RunError>((asked.query.id.0.clone(), row))
        })
        .buffered(slots * UNDER_WAY_PER_SLOT)
        .try_collect::<Vec<_>>();
    let mut rows = std::pin::pin!(rows);
    let mut tick = tokio::time::interval(LOG_INTERVAL);
    tick.tick().await;
    let rows = loop {
        tokio::select! {
            rows = &mut rows => break rows?,
            _ = tick.tick() => tracing::info!("{} of {total} responses", done.load(Ordering::Relaxed)),
        }
    };
    for (query_id, row) in rows {
        match row {
            Ok(row) => collected.rows.push(row),
            Err(detail) => collected.failures.push((query_id, detail)),
        }
    }
    // A query with a missing response would compare unequal numbers: the whole query is omitted.
    let failed: std::collections::BTreeSet<String> =
        collected.failures.iter().map(|(query, _)| query.clone()).collect();
    collected.rows.retain(|row| !failed.contains(&row.query_id));
    Ok(collected)
}

type Tasks = Result<Vec<(Condition, RolloutTask)>, String>;

/// Returns the requests of a query, or why the query cannot be asked.
fn tasks(evaluation: &Evaluation, query: &Query, conditions: &[Condition]) -> Result<Tasks, RunError> {
    let policy = &evaluation.policy;
    let forced = policy.tasks(query).map_err(PolicyError::from)?;
    let free = policy.free_tasks(query).map_err(PolicyError::from)?;
    let mut tasks = Vec::new();
    for &condition in conditions {
        let of_condition = match condition {
            Condition::Free => &free,
            Condition::On => &forced.on,
            Condition::Off => &forced.off,
        };
        if let Some(Err(error)) = of_condition.first().map(|task| policy.check_fit(task)) {
            return if error.is_too_long() { Ok(Err(error.to_string())) } else { Err(PolicyError::from(error).into()) };
        }
        tasks.extend(of_condition.iter().map(|task| (condition, task.clone())));
    }
    Ok(Ok(tasks))
}

/// Returns one response with its verdict, from the ledger or newly computed.
async fn row(evaluation: &Evaluation, asked: &Asked) -> Result<Result<EvalRow, String>, RunError> {
    let Asked { query, condition, task } = asked;
    let rollout = match rollout(evaluation, query, *condition, task).await? {
        Ok(rollout) => rollout,
        Err(detail) => return Ok(Err(detail)),
    };
    let (observed, shown) = parsed(*condition, &rollout);
    let verdict = verdict(evaluation, query, &rollout, &observed).await?;
    let rule = evaluation.settings.select.other_mode;
    Ok(Ok(EvalRow {
        query_id: query.id.0.clone(),
        condition: *condition,
        sample_index: rollout.sample_index,
        mode: shown,
        correct: rule.counts(verdict.is_correct(), condition.is_other(shown)),
        format_ok: is_well_formed(*condition, &rollout, &observed),
        leak: leaks(shown, query.kind, &observed.answer),
        completion_tokens: rollout.completion_tokens,
        source: query.source.clone(),
        kind: query.kind.to_string(),
        difficulty: None,
    }))
}

/// Parses a response, and returns the mode that it shows, too: a free response is parsed as a structured response, as far
/// as possible, and its mode tag is the model's own decision.
fn parsed(condition: Condition, rollout: &Rollout) -> (ObservedResponse, ShownMode) {
    match condition {
        Condition::Free => {
            let text = response(rollout);
            let read = read_structured(&text);
            (read.observe(rollout.finish_reason), read.shown_mode(rollout.finish_reason))
        }
        Condition::On | Condition::Off => {
            let observed = crate::pipeline::plan::observe(rollout);
            let shown = observed.mode.into();
            (observed, shown)
        }
    }
}

fn is_well_formed(condition: Condition, rollout: &Rollout, observed: &ObservedResponse) -> bool {
    if condition == Condition::Free {
        return template::parse(&response(rollout)).is_ok();
    }
    let ObservedResponse { thinking, answer, mode } = observed.clone();
    let is_tag_free = thinking.as_deref().is_none_or(|thinking| find_tag(thinking).is_none());
    let body = match mode {
        Mode::ThinkOn => ResponseBody::ThinkOn { thinking: thinking.unwrap_or_default(), answer },
        Mode::ThinkOff => ResponseBody::ThinkOff { answer },
    };
    let response = StructuredResponse { justification: String::new(), body };
    mode == rollout.mode && is_tag_free && render(&response).is_ok()
}

/// Returns a response, from the ledger or newly sampled; over HTTP in up to `policy.attempts_max` attempts that count.
async fn rollout(
    evaluation: &Evaluation,
    query: &Query,
    condition: Condition,
    task: &RolloutTask,
) -> Result<Result<Rollout, String>, RunError> {
    let caller = Caller {
        policy: &evaluation.policy,
        breaker: evaluation.breaker.as_deref(),
        attempts_max: evaluation.settings.policy.attempts_max,
        stop: &evaluation.stop,
    };
    let sampler = Sampler { caller, flights: &evaluation.flights, ledger: &evaluation.ledger, progress: None };
    let look = async |task: RolloutTask| {
        let stored = read(evaluation, move |reader| Ok(stored_rollout(reader, &task)?)).await?;
        Ok(stored.map_or(Look::Missing(Earlier::default()), Look::Stored))
    };
    // The failures of an evaluation are not stored.
    let record = |_: &RolloutKey, _, _| async { Ok(()) }.boxed();
    // The ledger has no name for a response without a mode: it gets the mode of its body.
    let mode = |rollout: &Rollout| {
        let (observed, shown) = parsed(condition, rollout);
        shown.mode().unwrap_or(observed.mode)
    };
    match sampler.get(&query.id, task.clone(), look, &record, mode).await {
        Ok(Obtained::Stored(rollout)) => Ok(Ok(rollout)),
        Ok(Obtained::Response(rollout)) => Ok(Ok(*rollout)),
        Ok(Obtained::GivenUp(detail)) => Ok(Err(detail)),
        Ok(Obtained::TooLong) => Err(RunError::Internal("a response without a bound was given up".to_owned())),
        Err(SampleStop::Suspect) => Ok(Err("servers fell again and again while it was asked".to_owned())),
        Err(SampleStop::Run(error)) => Err(error),
    }
}

/// Returns the verdict on an answer, from the ledger or newly computed.
async fn verdict(
    evaluation: &Evaluation,
    query: &Arc<Query>,
    rollout: &Rollout,
    observed: &ObservedResponse,
) -> Result<Verdict, RunError> {
    // The parser of a free response is part of its verdict's key.
    let run_key = crate::pipeline::plan::verdict_key(query, rollout, evaluation.programs.conditions());
    let key = sha256(format!("evaluation\n{run_key}\n{}", observed.answer));
    let asked = key.clone();
    if let Some(verdict) = read(evaluation, move |reader| Ok(reader.verdict(&asked)?)).await? {
        return Ok(verdict);
    }
    let answer = observed.answer.clone();
    let verdict = if query.kind == Kind::Code {
        let case = CodeCase {
            tests: query.tests.clone(),
            test_imports: query.test_imports.clone(),
            entry_point: query.entry_point.clone(),
            question: query.question.clone(),
            response: answer,
        };
        evaluation.programs.verify(case).await?
    } else {
        let query = Arc::clone(query);
        let evaluated = evaluated_of(evaluation.settings.verify.evaluated);
        let work = move || {
            let Query { kind, gold, choices, question, .. } = query.as_ref();
            verify::verify(&Case { kind: *kind, gold, choices, response: &answer, question, evaluated })
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| RunError::Internal(error.to_string()))?
    };
    let fact = Fact::Verdict { key, rollout_key: rollout.key.clone(), verdict: verdict.clone() };
    evaluation.ledger.commit(vec![fact]).await?;
    Ok(verdict)
}

async fn read<T: Send + 'static>(
    evaluation: &Evaluation,
    work: impl FnOnce(&Reader) -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    let ledger = evaluation.ledger.clone();
    let run = move || work(&ledger.reader()?);
    tokio::task::spawn_blocking(run).await.map_err(|error| RunError::Internal(error.to_string()))?
}
