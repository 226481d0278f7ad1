//! A row in OpenRLHF's format: a prompt with its response, the prompt alone, and the label.

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::read_row::{GroupName, ReadRow, no_rollout};
use crate::reward::row::{GradeRules, RewardRow, RowFault};

/// A row as raw JSON: `query` is the prompt with its response, `prompt` the prompt alone, `label` the label.
pub(super) struct RemoteRow<'a> {
    pub(super) query: &'a str,
    pub(super) prompt: &'a str,
    pub(super) label: &'a str,
}

impl RemoteRow<'_> {
    /// Parses and grades the row.
    pub(super) fn read(&self, rules: GradeRules) -> ReadRow {
        let text = |json: &str| serde_json::from_str::<String>(json).map_err(|error| no_rollout(&error));
        let (query, prompt) = match (text(self.query), text(self.prompt)) {
            (Ok(query), Ok(prompt)) => (query, prompt),
            (Err(fault), _) | (_, Err(fault)) => return ReadRow::of(None, Err(fault), rules),
        };
        let group = GroupName::Hash(Sha256::digest(prompt.as_bytes()).into());
        let fields = fields(self.label);
        let completion = without_end_tokens(query.strip_prefix(prompt.as_str()).unwrap_or(&query));
        ReadRow::of(Some(group), row(&fields, completion), rules)
    }
}

/// Returns the fields of a label as a JSON object: the label itself, or an object with the label as `gold`.
fn fields(label: &str) -> Cow<'_, str> {
    if label.starts_with('{') {
        return Cow::Borrowed(label);
    }
    // A label may also be a text that contains a JSON object.
    let text: Option<String> = serde_json::from_str(label).ok();
    match text {
        Some(text) if text.trim_start().starts_with('{') && serde_json::from_str::<&RawValue>(&text).is_ok() => {
            text.into()
        }
        _ => format!("{{\"gold\":{label}}}").into(),
    }
}

fn row<'a>(fields: &'a str, completion: &'a str) -> Result<RewardRow<'a>, RowFault> {
    let mut row: RewardRow<'_> = serde_json::from_str(fields).map_err(|error| no_rollout(&error))?;
    row.completion = Some(Cow::Borrowed(completion));
    // The prompt decides the group, even if the label has a query_id.
    row.query_id = None;
    Ok(row)
}

/// Removes end-of-turn tokens and padding tokens from the end of a text that was decoded with special tokens.
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
        for (label, expected) in [
            ("\"2\"", "{\"gold\":\"2\"}"),
            ("2.5", "{\"gold\":2.5}"),
            ("{\"gold\": 2}", "{\"gold\": 2}"),
            ("\"{\\\"gold\\\": 2}\"", "{\"gold\": 2}"),
            ("\"{2}\"", "{\"gold\":\"{2}\"}"),
        ] {
            assert_eq!(fields(label), expected);
            assert!(row(expected, "4").is_ok(), "{expected}");
        }
    }
}
