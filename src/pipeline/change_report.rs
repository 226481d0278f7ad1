//! What a run reports before it redoes anything: the keys that changed, and the work that follows from them.

use serde::Serialize;

use crate::config::identity::Change;

/// Characters of a value that are shown; hashes are longer.
const VALUE_CHARS_MAX: usize = 40;

/// Changes with what they lead to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangeReport {
    /// The keys that changed, sorted.
    pub changes: Vec<ChangedKey>,
    /// What is left to do under the new configuration.
    pub outlook: Outlook,
}

/// One key that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedKey {
    /// The key.
    pub key: String,
    /// Its value at the last run.
    pub before: Option<String>,
    /// Its value now.
    pub after: Option<String>,
    /// What a change of this key may redo, in words.
    pub redoes: String,
}

impl From<Change> for ChangedKey {
    fn from(change: Change) -> Self {
        let Change { key, before, after, redo } = change;
        Self { key, before, after, redoes: redo.to_string() }
    }
}

impl std::fmt::Display for ChangeReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |value: &Option<String>| match value {
            None => "unset".to_owned(),
            Some(text) if text.len() > VALUE_CHARS_MAX => format!("{}...", text.chars().take(12).collect::<String>()),
            Some(text) => text.clone(),
        };
        for ChangedKey { key, before, after, redoes } in &self.changes {
            writeln!(formatter, "  {key}: {} -> {}; {redoes}", short(before), short(after))?;
        }
        write!(formatter, "what there is to do now:\n{}", self.outlook.to_text().trim_end())
    }
}

/// What is left to do, and what it is expected to take.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Outlook {
    /// Queries of the run; rows that are none are left out.
    pub queries: u64,
    /// Stored responses that apply.
    pub rollouts_kept: u64,
    /// Think-on responses to be sampled; the most that there can be under a curtailed budget.
    pub rollouts_on: u64,
    /// Think-off responses to be sampled; the most that there can be under a curtailed budget.
    pub rollouts_off: u64,
    /// Stored responses to be verified.
    pub verdicts: u64,
    /// Judge requests that apply and are not answered yet: at least one call each.
    pub judge_calls: u64,
    /// Queries that have to be sampled or run first, and then may need a judge call each.
    pub judge_calls_open: u64,
    /// Completion tokens to be sampled, at the mean lengths so far; absent if there are none to go by.
    pub tokens: Option<f64>,
    /// Seconds of sampling at the speed so far; absent if there is none to go by.
    pub sampling_s: Option<f64>,
    /// Prompt and completion tokens of one judge call.
    pub judge_tokens_per_call: Option<(u64, u64)>,
    /// What all judge calls may cost in USD, the open ones included; absent if a price is unknown.
    pub judge_usd: Option<f64>,
}

impl Outlook {
    /// Returns the outlook as lines for people, each indented by two blanks.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { rollouts_on, rollouts_off, rollouts_kept, verdicts, judge_calls, judge_calls_open, .. } = self;
        let mut text = String::new();
        let mut line = |name: &str, what: String| text.push_str(&format!("  {name:<9} {what}\n"));
        let missing = rollouts_on + rollouts_off;
        line(
            "sample",
            match missing {
                0 => format!("nothing; {rollouts_kept} stored responses are used again"),
                _ => {
                    let tokens = self
                        .tokens
                        .map_or_else(|| "an unknown number of".to_owned(), |tokens| format!("about {tokens:.0}"));
                    let time = self.sampling_s.map_or_else(String::new, |seconds| format!(", about {seconds:.0} s"));
                    format!(
                        "{missing} responses (think-on {rollouts_on}, think-off {rollouts_off}): {tokens} tokens{time}; \
                         {rollouts_kept} stored ones are used again"
                    )
                }
            },
        );
        line("verify", format!("{verdicts} stored responses"));
        let open = match judge_calls_open {
            0 => String::new(),
            open => format!(", and up to {open} more once their responses are there"),
        };
        let tokens = match self.judge_tokens_per_call {
            Some((prompt, completion)) if judge_calls + judge_calls_open > 0 => {
                format!("; about {prompt} + {completion} tokens each")
            }
            _ => String::new(),
        };
        line("judge", format!("{judge_calls} calls{open}{tokens}"));
        line(
            "money",
            match self.judge_usd {
                None => "unknown: set judge.prices_usd_per_mtok".to_owned(),
                Some(0.0) => "none".to_owned(),
                Some(usd) if *judge_calls_open > 0 => format!("up to about ${usd:.4}"),
                Some(usd) => format!("about ${usd:.4}"),
            },
        );
        text
    }
}
