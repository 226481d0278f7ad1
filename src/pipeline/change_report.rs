//! The report of a run before it repeats any work: the keys that changed, and the work that follows.

use serde::Serialize;

use crate::config::identity::Change;

/// Characters of a value that are shown. Hashes are longer.
const VALUE_CHARS_MAX: usize = 40;

/// Changes and their consequences.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangeReport {
    /// The keys that changed, sorted.
    pub changes: Vec<ChangedKey>,
    /// The remaining work under the new configuration.
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
    /// The work that a change of this key may repeat, in words.
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
        write!(formatter, "remaining work:\n{}", self.outlook.to_text().trim_end())
    }
}

/// The remaining work, and its expected cost.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Outlook {
    /// Queries of the run, without excluded rows.
    pub queries: u64,
    /// Stored responses that apply.
    pub rollouts_kept: u64,
    /// Think-on responses to be sampled; an upper bound under a curtailed budget.
    pub rollouts_on: u64,
    /// Think-off responses to be sampled; an upper bound under a curtailed budget.
    pub rollouts_off: u64,
    /// Stored responses to be verified.
    pub verdicts: u64,
    /// Judge requests that apply and have no reply yet: at least one call each.
    pub judge_calls: u64,
    /// Queries that must be sampled or run first, and may then need one judge call each.
    pub judge_calls_open: u64,
    /// Completion tokens to be sampled, from the mean lengths so far; absent without stored responses.
    pub tokens: Option<f64>,
    /// Seconds of sampling, from the speed so far; absent without stored responses.
    pub sampling_s: Option<f64>,
    /// Prompt and completion tokens of one judge call.
    pub judge_tokens_per_call: Option<(u64, u64)>,
    /// An upper bound on the cost of all judge calls in USD, the open ones included; absent if a price is unknown.
    pub judge_usd: Option<f64>,
}

impl Outlook {
    /// Returns the outlook as lines for display, each indented by two blanks.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { rollouts_on, rollouts_off, rollouts_kept, verdicts, judge_calls, judge_calls_open, .. } = self;
        let mut text = String::new();
        let mut line = |name: &str, what: String| text.push_str(&format!("  {name:<9} {what}\n"));
        let missing = rollouts_on + rollouts_off;
        line(
            "sample",
            match missing {
                0 => format!("nothing; {rollouts_kept} stored responses are reused"),
                _ => {
                    let tokens = self
                        .tokens
                        .map_or_else(|| "an unknown number of".to_owned(), |tokens| format!("about {tokens:.0}"));
                    let time = self.sampling_s.map_or_else(String::new, |seconds| format!(", about {seconds:.0} s"));
                    format!(
                        "{missing} responses (think-on {rollouts_on}, think-off {rollouts_off}): {tokens} tokens{time}; \
                         {rollouts_kept} stored responses are reused"
                    )
                }
            },
        );
        line("verify", format!("{verdicts} stored responses"));
        let open = match judge_calls_open {
            0 => String::new(),
            open => format!(", and up to {open} more once their responses are stored"),
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
