//! The rows of the three published tables, column by column in file order.
//!
//! A row is plain data: enums are their stable names, counts are signed integers as Parquet readers expect. The doc
//! comment of a field is its column's published description (see [`super::describe`]).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One training row: a query that has a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleRow {
    /// The query's id: the input's own, or a hash of its content.
    pub query_id: String,
    /// 0-based position of the query among all input rows; unique over samples and exclusions.
    pub ordinal: i64,
    /// Where the query comes from: its own source field, else the input file's name.
    pub source: String,
    /// The kind of answer: math, numeric, choice, text or code.
    pub kind: String,
    /// The question as the input gives it.
    pub question: String,
    /// The reference answer.
    pub gold: String,
    /// The chosen mode: think_on or think_off.
    pub mode: String,
    /// Why that mode was chosen: higher_pass_rate, tie or random; not_worse for the first two under a frugal budget.
    pub mode_reason: String,
    /// correct_on / sampled_on, in 0..=1; 0 where nothing was sampled.
    pub pass_rate_on: f64,
    /// correct_off / sampled_off, in 0..=1; 0 where nothing was sampled.
    pub pass_rate_off: f64,
    /// Responses sampled in Think-on.
    pub sampled_on: i32,
    /// Responses sampled in Think-off.
    pub sampled_off: i32,
    /// Think-on responses that count as correct: verdict correct, and they thought (select.other_mode).
    pub correct_on: i32,
    /// Think-off responses that count as correct: verdict correct, and they did not think (select.other_mode).
    pub correct_off: i32,
    /// Think-on responses that answered without thinking.
    // Tables until version 5 have no such column.
    #[serde(default)]
    pub other_mode_on: i32,
    /// Think-off responses that thought.
    // Tables until version 5 have no such column.
    #[serde(default)]
    pub other_mode_off: i32,
    /// The difficulty label, a bin over the pass rates.
    pub difficulty: String,
    /// The difficulty as a number, in 0..=1; higher is harder.
    pub difficulty_score: f64,
    /// Lower end of the interval that holds the score, given how few responses were sampled.
    pub difficulty_low: f64,
    /// Upper end of that interval.
    pub difficulty_high: f64,
    /// The judge's justification of the chosen mode; null where no judge was asked.
    pub justification: Option<String>,
    /// The model that wrote the justification, as its server names it.
    pub judge_model: Option<String>,
    /// `accepted`; `none` without a judge; `rejected:<check>`: no text passed and the row was kept; `outstanding`: not requested yet.
    pub justification_status: String,
    /// The reasoning of the chosen response; null in Think-off.
    pub thinking: Option<String>,
    /// The answer of the chosen response.
    pub answer: String,
    /// The sample as a chat: a list of role and content.
    pub messages: Vec<MessageRow>,
    /// The rendered prompt to train on.
    pub prompt: String,
    /// The rendered structured response: justification, mode tag, thinking and answer.
    pub completion: String,
    /// Tokens of the chosen response as it was sampled.
    pub completion_tokens: i32,
    /// The model that was sampled.
    pub policy_model: String,
    /// The revision of that model: a hash of its weights, or the revision that its server states.
    pub policy_revision: String,
    /// The version of the prompts the responses were sampled with.
    pub prompt_version: String,
    /// The seed of the chosen response's random stream.
    pub seed: i64,
    /// The subject of the query, from the input; null where the input gives none.
    pub subject: Option<String>,
    /// The query's category: the input's own, else math, code, science or general by rule.
    pub category: Option<String>,
    /// The earliest query with a near text and another answer; null where there is none.
    pub variant_of: Option<String>,
    /// The row's columns that `input.keep` names, as a JSON object; null where it has none.
    pub extra: Option<String>,
}

/// One chat message of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageRow {
    /// The author: system, user or assistant.
    pub role: String,
    /// The text of the message.
    pub content: String,
}

/// One response of the policy, with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutRow {
    /// The query's id: the input's own, or a hash of its content.
    pub query_id: String,
    /// 0-based position of the query among all input rows.
    pub ordinal: i64,
    /// The requested mode: think_on or think_off.
    pub mode: String,
    /// 0-based index among the samples of its query and mode.
    pub sample_index: i32,
    /// The seed of its random stream.
    pub seed: i64,
    /// The whole prompt sent to the model.
    pub prompt: String,
    /// The raw text that followed the prompt.
    pub text: String,
    /// The reasoning found in the response; null where there is none.
    pub thinking: Option<String>,
    /// The rest of the response, without the reasoning.
    pub answer: String,
    /// Why sampling ended, after a forced close that of the answer: stop or length.
    pub finish_reason: String,
    /// The verdict: correct, incorrect or unverifiable.
    pub verdict: String,
    /// The answer the verifier read from the response; null where it found none.
    pub extracted: Option<String>,
    /// How the answer was found and compared, or why it could not be verified.
    pub verdict_reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: i32,
    /// Tokens of the text.
    pub completion_tokens: i32,
    /// The model that was sampled.
    pub policy_model: String,
    /// The mode that the response shows; a response that does not show the requested mode gives no sample.
    pub observed_mode: String,
    /// Why the mode preset closed the thinking: trigger, end_of_turn or token_limit; null where it did not.
    pub forced_close: Option<String>,
    /// Sum of the sampled tokens' log-probabilities at temperature 1; null where it was not recorded.
    pub logprob_sum: Option<f64>,
    /// Whether completion_tokens is an estimate from the text's bytes, because the server did not count it.
    pub length_estimated: bool,
}

/// One query that gave no sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExclusionRow {
    /// The query's id; null where the input row was not readable enough to have one.
    pub query_id: Option<String>,
    /// 0-based position among all input rows; unique over samples and exclusions.
    pub ordinal: i64,
    /// Where the query comes from: its own source field, else the input file's name.
    pub source: String,
    /// The 1-based line or row in the input file.
    pub line: i64,
    /// The reason of the exclusion: a stable name such as unsolved, duplicate or invalid_syntax.
    pub reason: String,
    /// One sentence: the finding and the expectation.
    pub detail: String,
    /// The input file.
    pub file: String,
}
