//! `POST /openrlhf/reward`: the shape in which OpenRLHF asks a remote reward model (`--remote_rm_url`).
//!
//! `{"query": [...], "prompts": [...], "labels": [...]}` in: the whole texts, the prompts that they begin with, and the
//! labels: a reference answer, or a JSON object of the fields that a rollout may have (`gold`, `kind`, `choices`,
//! `tests`, ...). `{"rewards": [...], "scores": [...], "extra_logs": {...}}` out. Texts of one prompt are a group; the
//! trainer forms its own advantages over `rewards`, thinkloom's are in `extra_logs`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::App;
use super::error::{ApiError, json_response};
use super::reward::{RewardedRow, Row};
use super::wire::parse;
use crate::domain::Mode;

#[derive(Deserialize)]
struct RemoteRequest {
    query: Vec<String>,
    prompts: Vec<String>,
    labels: Vec<Value>,
}

/// `POST /openrlhf/reward`
pub(super) async fn respond(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, ApiError> {
    let RemoteRequest { query, prompts, labels } = parse(&body)?;
    if prompts.len() != query.len() || labels.len() != query.len() {
        let lengths = format!("{}, {} and {}", query.len(), prompts.len(), labels.len());
        return Err(ApiError::invalid("query", format!("query, prompts and labels have {lengths} items")));
    }
    let texts = query.iter().zip(&prompts).zip(labels);
    let rows: Vec<Row> = texts.map(|((query, prompt), label)| row(query, prompt, label)).collect();
    let settings = app.options.reward;
    let rewarded = app.rewarded(rows, &settings).await?;
    // A trainer would take any number for a reward.
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
    Ok(json_response(StatusCode::OK, &body))
}

fn row(query: &str, prompt: &str, label: Value) -> Row {
    // A label that is the text of an object is one.
    let label = match label {
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(object @ Value::Object(_)) => object,
            _ => Value::String(text),
        },
        other => other,
    };
    let mut row = match label {
        Value::Object(fields) => fields,
        gold => Map::from_iter([("gold".to_owned(), gold)]),
    };
    let completion = query.strip_prefix(prompt).unwrap_or(query);
    row.insert("completion".to_owned(), Value::String(without_end_tokens(completion).to_owned()));
    row.entry("query_id").or_insert_with(|| Value::String(prompt.to_owned()));
    Row { text: Value::Object(row).to_string(), group: Some(prompt.to_owned()) }
}

/// Takes the names of tokens that end a turn, and padding, off the end of a text that was decoded with them.
fn without_end_tokens(text: &str) -> &str {
    let mut rest = text;
    loop {
        let trimmed = rest.trim_end_matches('\n');
        let cut = ["</s>", "<eos>", "<pad>", "<end_of_turn>", "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>"]
            .iter()
            .find_map(|name| trimmed.strip_suffix(name))
            .or_else(|| {
                let start = trimmed.strip_suffix("|>")?.rfind("<|")?;
                let name = trimmed.get(start + 2..trimmed.len() - 2)?;
                let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                trimmed.get(..start).filter(|_| is_name)
            });
        match cut {
            Some(cut) => rest = cut,
            None => return rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_tokens_are_taken_off_and_text_is_not() {
        for (text, expected) in [
            ("4<|im_end|>\n<|endoftext|>", "4"),
            ("4</s><pad><pad>", "4"),
            ("4\n</answer>", "4\n</answer>"),
            ("4\n", "4\n"),
            ("a <| b |>", "a <| b |>"),
        ] {
            assert_eq!(without_end_tokens(text), expected, "{text}");
        }
    }

    #[test]
    fn labels_are_golds_or_whole_rows() {
        let read = |label: Value| -> Value {
            serde_json::from_str(&row("Q: 1+1? 2<|im_end|>", "Q: 1+1? ", label).text).unwrap()
        };
        assert_eq!(read(json!("2")), json!({"completion": "2", "gold": "2", "query_id": "Q: 1+1? "}));
        let whole = read(json!("{\"gold\": \"2\", \"kind\": \"numeric\", \"query_id\": \"a\"}"));
        assert_eq!(whole, json!({"completion": "2", "gold": "2", "kind": "numeric", "query_id": "a"}));
    }
}
