//! The route `POST /openrlhf/reward`: the format in which OpenRLHF requests rewards from a remote model
//! (`--remote_rm_url`).
//!
//! Request: `{"query": [...], "prompts": [...], "labels": [...]}`. Each text in `query` is a prompt with its response;
//! `prompts` has the prompts alone. A label is a reference answer, or a JSON object with the fields of a rollout
//! (`gold`, `kind`, `choices`, `tests`, ...). Response: `{"rewards": [...], "scores": [...], "extra_logs": {...}}`.
//! The texts of one prompt form a group. The trainer computes its own advantages from `rewards`; `extra_logs` has
//! thinkloom's.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::common::Common;
use super::error::ApiError;
use super::limits::BODY_BYTES_MAX;
use super::memory::Share;
use super::read_row::Texts;
use super::remote_row::RemoteRow;
use super::reward::{RewardedRow, Rows, Source};
use super::wire::{AtMost, parse};
use crate::domain::Mode;

#[derive(Deserialize)]
struct RemoteRequest<'a> {
    #[serde(borrow)]
    query: Texts<'a>,
    #[serde(borrow)]
    prompts: Texts<'a>,
    #[serde(borrow)]
    labels: Texts<'a>,
}

/// Handles `POST /openrlhf/reward`.
pub(super) async fn respond(State(common): State<Arc<Common>>, request: Request) -> Result<Response, ApiError> {
    let body = common.memory.read(request, BODY_BYTES_MAX, ApiError::too_large).await?;
    common.reward(body, answer).await
}

fn answer(common: &Arc<Common>, body: &[u8], share: &mut Share, left: &CancellationToken) -> Result<String, ApiError> {
    let RemoteRequest { query: AtMost(query), prompts: AtMost(prompts), labels: AtMost(labels) } = parse(body)?;
    if prompts.len() != query.len() || labels.len() != query.len() {
        let lengths = format!("{}, {} and {}", query.len(), prompts.len(), labels.len());
        return Err(ApiError::invalid("query", format!("query, prompts and labels differ in length: {lengths}")));
    }
    let mut rows = Rows { sources: Vec::with_capacity(query.len()), groups: Vec::new(), longest_bytes: 0 };
    for ((query, prompt), label) in query.iter().zip(&prompts).zip(&labels) {
        let row = RemoteRow { query: query.get(), prompt: prompt.get(), label: label.get() };
        rows.longest_bytes = rows.longest_bytes.max(row.query.len() + row.prompt.len() + row.label.len());
        rows.sources.push(Source::Remote(row));
    }
    let rewarded = common.rewarded(&rows, &common.options.reward, share, left)?;
    // Reject the whole request: a trainer would use any number in place of a missing reward.
    if let Some((index, error)) =
        rewarded.iter().enumerate().find_map(|(index, row)| Some((index, row.error.as_ref()?)))
    {
        return Err(ApiError::invalid("labels", format!("labels[{index}]: {error}")));
    }
    let column = |read: &dyn Fn(&RewardedRow) -> f64| -> Vec<f64> { rewarded.iter().map(read).collect() };
    let share = |is_set: Option<bool>| f64::from(u8::from(is_set.unwrap_or(false)));
    let body = json!({
        "rewards": column(&|row| row.reward.unwrap_or(0.0)),
        "scores": column(&|row| share(row.correct)),
        "extra_logs": {
            "format_ok": column(&|row| share(row.format_ok)),
            "think_on": column(&|row| share(row.mode.map(|mode| mode == Mode::ThinkOn.name()))),
            "advantage_judge": column(&|row| row.advantage_judge.unwrap_or(0.0)),
            "advantage_answer": column(&|row| row.advantage_answer.unwrap_or(0.0)),
        },
    });
    Ok(body.to_string())
}
