//! `thinkloom doctor --ask`: one small request to each model behind HTTP, to find out whether the model replies and
//! which request keys its server rejects.

use std::time::Duration;

use super::failure::with_hint;
use crate::config::Settings;
use crate::domain::{Kind, Query, QueryId};
use crate::http::CallFailure;
use crate::http::wire::Message;
use crate::judge::openai::OpenAiJudge;
use crate::judge::{Attempt, Cap, Judge, JudgeRequest};
use crate::pipeline::{open_api_judge, open_api_policy};
use crate::policy::AttemptError;

/// Requested length of the reply, in tokens; any reply proves that the server accepts the request.
const TOKENS_MAX: u32 = 16;
/// Time-out for a reply.
const PATIENCE: Duration = Duration::from_secs(120);

/// Requests the beginning of a response from the policy.
pub(super) fn policy(settings: &Settings) -> Result<String, String> {
    let mut sampling = settings.sampling.clone();
    (sampling.think_on_tokens_max, sampling.think_off_tokens_max) = (TOKENS_MAX, TOKENS_MAX);
    let policy =
        open_api_policy(&settings.policy, &sampling).map_err(|error| with_hint(&error, error.hint().as_deref()))?;
    let query = Query {
        id: QueryId("doctor".to_owned()),
        question: "What is 1 + 1?".to_owned(),
        gold: "2".to_owned(),
        ..Query::blank(Kind::Numeric)
    };
    let tasks = policy.tasks(&query);
    // Both modes, because the mode switch is also a request key.
    let both = tasks.on.first().into_iter().chain(tasks.off.first());
    let asked = async {
        for task in both {
            match policy.sample(task).await {
                Err(AttemptError::Call(failure)) if is_refused(&failure) => return Err(told(&failure)),
                // Sixteen tokens may be too few for a readable response.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    };
    within_patience(asked)??;
    Ok(describe(&policy.left_out(), &settings.policy.omit))
}

/// Requests the beginning of a reply from the judge.
pub(super) fn judge(settings: &Settings) -> Result<String, String> {
    let small = crate::config::JudgeSettings { max_tokens: TOKENS_MAX, ..settings.judge.clone() };
    let judge: OpenAiJudge = open_api_judge(&small).map_err(|error| with_hint(&error, error.hint().as_deref()))?;
    // With response_format some servers require the word JSON in the prompt.
    let request = JudgeRequest::new(&judge, &[Message::user("Reply with the JSON object {\"ok\": true}.")]);
    let attempt = Attempt { number: 1, cap: Cap::AsAsked };
    let call = async {
        let admission = judge.admit(&request).await;
        judge.call(&request, attempt, admission).await
    };
    match within_patience(call)? {
        Ok(_) => Ok(describe(&judge.left_out(), &settings.judge.omit)),
        Err(failure) => Err(told(&failure)),
    }
}

fn within_patience<T>(call: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let silent = |_| format!("no reply within {} s; hint: check the server's log", PATIENCE.as_secs());
    // The timer must be created inside the runtime.
    runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await.map_err(silent) })
}

/// Returns whether the server rejected the request, as opposed to sending an unusable reply.
fn is_refused(failure: &CallFailure) -> bool {
    failure.status != Some(200)
}

fn told(failure: &CallFailure) -> String {
    with_hint(&failure.detail, Some(&failure.hint()))
}

/// Describes the request keys that a server accepts.
fn describe(left_out: &[String], omit: &[String]) -> String {
    let learnt: Vec<&str> = left_out.iter().filter(|key| !omit.contains(key)).map(String::as_str).collect();
    if learnt.is_empty() {
        return "the server replies".to_owned();
    }
    let renamed = if learnt.contains(&"max_tokens") { " (max_tokens is sent as max_completion_tokens)" } else { "" };
    format!("the server replies, but rejects {}, which a run therefore omits{renamed}", learnt.join(", "))
}
