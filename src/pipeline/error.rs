//! Why a run ended without being finished.

use super::change_report::ChangeReport;
use super::memory::MemoryShort;
use crate::config::ConfigError;
use crate::dedup::StoreError;
use crate::http::breaker::Denied;
use crate::hub::HubError;
use crate::ingest::IngestError;
use crate::judge::AskError;
use crate::ledger::LedgerError;
use crate::policy::PolicyError;
use crate::shards::ShardError;
use crate::sys::files::DirError;
use crate::sys::limits;
use crate::sys::threads::TooFewThreads;
use crate::verify::sandbox::SandboxFault;

/// An error that ends a run. What was committed before is kept, always.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The output directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// An input file cannot be read.
    #[error("cannot read the input: {}", chain(.0))]
    Ingest(#[from] IngestError),
    /// The file that deduplication works with cannot be used.
    #[error(transparent)]
    Dedup(#[from] StoreError),
    /// The policy model cannot be found or downloaded.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The policy model cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy's servers cannot be used.
    #[error("cannot go on without the policy: {message}")]
    PolicyServer {
        /// The status that it answered with, if one did.
        status: Option<u16>,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A server brought nothing for longer than the run waits.
    #[error("cannot go on without the {side}: {message}")]
    Outage {
        /// `policy` or `judge`.
        side: &'static str,
        /// Since when, and what it said last.
        message: String,
    },
    /// Think-on responses do not think.
    #[error("of the first {responses} Think-on responses {thinking} show any thinking ({seen}); mode preset {preset}")]
    Unthinking {
        /// Responses looked at.
        responses: usize,
        /// Those that think.
        thinking: usize,
        /// What was seen of their replies.
        seen: String,
        /// The mode preset.
        preset: String,
    },
    /// The memory for keys and values is more than the machine has.
    #[error("{0}")]
    Memory(#[from] MemoryShort),
    /// The system gives too few threads.
    #[error(transparent)]
    Threads(#[from] TooFewThreads),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file cannot be written.
    #[error("cannot publish: {}", chain(.0))]
    Shard(#[from] ShardError),
    /// The judge cannot be set up.
    #[error("cannot set up the judge: {message}")]
    Judge {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// No judge call can succeed at present.
    #[error("cannot go on without the judge: {}", chain(.0))]
    Ask(AskError),
    /// The machine fails to run programs.
    #[error("cannot verify a program: {0}")]
    Sandbox(SandboxFault),
    /// Something that decides the data changed since the last run.
    #[error("the configuration changed since the last run of this directory:\n{0}")]
    Changed(Box<ChangeReport>),
    /// A directory cannot be decided again into.
    #[error("cannot decide {dir} again: {problem}")]
    Redecide {
        /// The directory.
        dir: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// A directory holds a ledger and nothing was run in it.
    #[error("{dir} holds a ledger, but no run was started")]
    NoRun {
        /// The directory.
        dir: String,
    },
    /// This version decides otherwise than the one that ran the directory.
    #[error("{dir} was run by a version of this program that decides or writes in another way")]
    OtherVersion {
        /// The directory.
        dir: String,
    },
    /// Which responses are whose cannot be told without the model.
    #[error("the ledger does not say how its responses were prompted, or this program prompts in another way")]
    PromptsUnknown,
    /// The program was asked to stop.
    #[error("stopped")]
    Stopped,
    /// Something that cannot happen did.
    #[error("{0}")]
    Internal(String),
}

impl RunError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = |hint: &str| Some(hint.to_owned());
        if let Some(hint) = limits::hint_for(self) {
            return Some(hint);
        }
        match self {
            Self::Config(ConfigError::Io(_)) => text("`thinkloom init` writes a config to start from"),
            Self::Config(ConfigError::UnknownKey { .. }) => text("`thinkloom help config` lists all keys"),
            Self::Config(ConfigError::Value { .. }) => {
                text("`thinkloom help config` has the values that each key takes")
            }
            Self::Config(_) | Self::Internal(_) => None,
            Self::Dir(error) => text(error.hint()),
            Self::Ingest(error) => error.hint().map(str::to_owned),
            Self::Dedup(_) => {
                text("free space in the output directory; dedup.index there is a cache and may be deleted")
            }
            Self::Hub(error) => text(error.hint()),
            Self::Policy(error) => error.hint().map(str::to_owned),
            Self::Unthinking { .. } => text(
                "set policy.mode_preset to what switches this model's thinking, have the server hand the thinking on (vLLM: \
                 --reasoning-parser; or leave the tags in the text), or change policy.extra, then run with --reconfigure; if \
                 only the server changed, set policy.revision as well, so that its responses are sampled anew; \
                 sampling.allow_unthinking = true goes on as it is. Everything so far is kept. `thinkloom help servers` lists the presets",
            ),
            Self::Threads(error) => text(error.hint()),
            Self::Memory(_) => text("lower policy.kv_cache_mib, or end what else takes memory"),
            Self::Ledger(error) => error.hint().map(str::to_owned),
            Self::Shard(error) => error.hint().map(str::to_owned),
            Self::Judge { hint, .. } | Self::Redecide { hint, .. } => text(hint),
            Self::NoRun { .. } => text("start with `thinkloom run`"),
            Self::OtherVersion { .. } => text("`thinkloom run` with the run's config takes over what is stored"),
            Self::PromptsUnknown => {
                text("run the directory's own `thinkloom run` once more; then its responses are known")
            }
            Self::PolicyServer { hint, .. }
            | Self::Ask(AskError::FatalRun { hint, .. } | AskError::Unreachable { hint, .. }) => {
                let again = "run the same command again: everything so far is kept";
                Some(if hint.contains(again) { hint.clone() } else { format!("{hint}; then {again}") })
            }
            Self::Outage { side, .. } => Some(format!(
                "run the same command again once the server is back: everything so far is kept, and no query was charged \
                 ({side}.patience_s says how long a run waits; `thinkloom help servers`)"
            )),
            Self::Sandbox(_) => text(
                "free some memory and space for temporary files, then run the same command again: everything so far is kept",
            ),
            Self::Ask(AskError::Budget { .. }) => {
                text("raise judge.budget_usd and run the same command again: everything so far is kept")
            }
            Self::Ask(AskError::ResultsMissing { .. }) => text(
                "run the same command again later: everything so far is kept, and the batch's results are looked for again \
                 for three days; nothing is uploaded twice",
            ),
            Self::Ask(_) | Self::Stopped => text("run the same command again to go on: everything so far is kept"),
            Self::Changed(_) => text("add --reconfigure to go on, or choose another directory with -o"),
        }
    }

    /// Returns the exit code (documented in README and `thinkloom help recovery`).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Changed(_) | Self::Redecide { .. } => 2,
            Self::Stopped | Self::Outage { .. } => 3,
            // Out of money: nothing is wrong with the run, and it goes on once there is some.
            Self::PolicyServer { status: Some(200..=299 | 402 | 429), .. }
            | Self::Ask(AskError::Budget { .. } | AskError::ResultsMissing { .. }) => 3,
            _ if self.is_refused_account() => 3,
            _ => 1,
        }
    }

    /// Returns whether the judge refused the account: its money, its key or its rights. An error object in a 200 that
    /// ends the run counts as well.
    #[must_use]
    pub fn is_refused_account(&self) -> bool {
        let Self::Ask(AskError::FatalRun { status, .. }) = self else { return false };
        matches!(status, Some(200..=299 | 401..=403 | 429))
    }
}

impl From<Denied> for RunError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Outage { side, message } => Self::Outage { side, message },
            Denied::Refused { status, message, hint } => Self::PolicyServer { status, message, hint },
            Denied::Suspect | Denied::Fells(_) => Self::Internal("a query that is set aside ends the run".to_owned()),
        }
    }
}

/// Joins an error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    let mut text = error.to_string();
    for cause in causes {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
