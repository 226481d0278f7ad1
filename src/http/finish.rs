//! Why a reply ended, from any server's finish reason.
//!
//! | class | names, in any letter case, with or without `FINISH_REASON_` |
//! |---|---|
//! | `Stop` | none, null, the empty string; `stop`, `eos`, `end_turn`, `stop_sequence`, `completed`, `tool_calls` and kin |
//! | `Length` | `length`, `max_tokens`, `model_length`, `token_limit` and kin |
//! | `Filtered` | `content_filter`, `SAFETY`, `RECITATION`, `refusal` and kin |
//! | `Cut` | `insufficient_system_resource`, `aborted`, `error`, `cancelled` and kin |
//! | `Unknown` | any other name: text with it is a normal reply, and a warning is logged once per name |

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::one_line;

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The model ended its turn, or a stop string was reached.
    Stop,
    /// A token limit was reached.
    Length,
    /// A content filter stopped the reply.
    Filtered,
    /// The server gave up during generation.
    Cut,
    /// The name is unknown.
    Unknown,
}

const STOP: &[&str] = &[
    "",
    "stop",
    "stopped",
    "eos",
    "eos_token",
    "end_of_text",
    "end_of_sequence",
    "end_turn",
    "end_of_turn",
    "end",
    "ended",
    "stop_sequence",
    "stop_string",
    "stop_str",
    "stop_token",
    "stop_word",
    "complete",
    "completed",
    "finish",
    "finished",
    "done",
    "normal",
    "success",
    "null",
    "none",
    // The number of this reason in a protocol.
    "1",
    "tool_calls",
    "tool_call",
    "tool_use",
    "function_call",
];

const LENGTH: &[&str] = &["truncated", "limit", "token_limit", "exhausted", "2"];

const FILTERED: &[&str] = &[
    "recitation",
    "refusal",
    "refused",
    "blocklist",
    "blocked",
    "prohibited_content",
    "spii",
    "guardrail_intervened",
    "sensitive",
    "error_toxic",
    "3",
    "4",
];

const CUT: &[&str] = &["insufficient_system_resource", "interrupted", "preempted", "failed", "failure", "disconnected"];

/// Parts of names that decide the meaning of a name outside the lists.
const PARTS: &[(&str, Ending)] = &[
    ("filter", Ending::Filtered),
    ("safety", Ending::Filtered),
    ("moderat", Ending::Filtered),
    ("policy", Ending::Filtered),
    ("guardrail", Ending::Filtered),
    ("abort", Ending::Cut),
    ("cancel", Ending::Cut),
    ("error", Ending::Cut),
    ("timeout", Ending::Cut),
    ("timed_out", Ending::Cut),
    ("insufficient", Ending::Cut),
    ("length", Ending::Length),
    ("max_", Ending::Length),
    ("token_limit", Ending::Length),
    ("context_window", Ending::Length),
];

/// The maximum number of names in warnings; each is logged once.
const WARNED_MAX: usize = 16;

/// Returns the meaning of a finish reason.
#[must_use]
pub fn ending(name: Option<&str>) -> Ending {
    let Some(name) = name else { return Ending::Stop };
    let name = name.trim().to_ascii_lowercase().replace(['-', ' '], "_");
    let bare = ["finish_reason_", "finishreason.", "finish_reason.", "stop_reason_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(&name);
    let lists = [(STOP, Ending::Stop), (LENGTH, Ending::Length), (FILTERED, Ending::Filtered), (CUT, Ending::Cut)];
    let listed = lists.iter().find(|(names, _)| names.contains(&bare)).map(|(_, ending)| *ending);
    let by_part = || PARTS.iter().find(|(part, _)| bare.contains(part)).map(|(_, ending)| *ending);
    listed.or_else(by_part).unwrap_or(Ending::Unknown)
}

/// Logs a warning, once per name, about an unknown finish reason of a reply with text.
pub fn warn_of_unknown(name: Option<&str>) {
    static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if ending(name) != Ending::Unknown {
        return;
    }
    let name = one_line(name.unwrap_or_default(), 40);
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if warned.len() < WARNED_MAX && warned.insert(name.clone()) {
        tracing::warn!(
            "a server ends replies with the unknown finish reason \"{name}\": thinkloom treats it as a normal end"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that a list or a part of a name classifies, separated by blanks.
    const CASES: &[(Ending, &str)] = &[
        (
            Ending::Stop,
            "stop STOP FINISH_REASON_STOP FinishReason.STOP eos eos_token end_turn end-turn stop_sequence null complete \
             COMPLETE Completed finished end tool_calls",
        ),
        (
            Ending::Length,
            "length LENGTH max_tokens MAX_TOKENS FINISH_REASON_MAX_TOKENS model_length token_limit max_output_tokens \
             max_new_tokens max_length length_capped context_length_exceeded model_context_window_exceeded truncated",
        ),
        (
            Ending::Filtered,
            "content_filter content_filtered SAFETY IMAGE_SAFETY RECITATION refusal BLOCKLIST PROHIBITED_CONTENT SPII \
             guardrail_intervened ContentFilter moderation content_policy",
        ),
        (
            Ending::Cut,
            "insufficient_system_resource aborted abort error cancelled canceled CANCELED network_error server_error \
             timeout timed_out client_abort",
        ),
        (Ending::Unknown, "other OTHER weird unspecified stp"),
    ];

    #[test]
    fn names_are_known_in_any_case_and_dress() {
        for (expected, names) in CASES {
            for name in names.split_whitespace() {
                assert_eq!(ending(Some(name)), *expected, "{name:?}");
            }
        }
        for blank in [None, Some(""), Some(" ")] {
            assert_eq!(ending(blank), Ending::Stop);
        }
    }
}
