//! The reasons for which a run ends before it is finished.

use super::change_report::ChangeReport;
use super::memory::MemoryShort;
use crate::config::ConfigError;
use crate::dedup::StoreError;
use crate::domain::text::with_causes;
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

/// An error that ends a run. Committed work is always kept.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The output directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// An input file cannot be read.
    #[error("cannot read the input: {}", with_causes(.0))]
    Ingest(#[from] IngestError),
    /// The deduplication index cannot be used.
    #[error(transparent)]
    Dedup(#[from] StoreError),
    /// The policy model cannot be found or downloaded.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The policy model cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy's servers do not answer usefully.
    #[error("cannot sample the policy: {message}")]
    PolicyServer {
        /// The HTTP status, if a server answered.
        status: Option<u16>,
        /// The problem.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// A server gave no reply for longer than the run waits.
    #[error("cannot use the {side}: {message}")]
    Outage {
        /// `policy` or `judge`.
        side: &'static str,
        /// Since when, and the last words of the server.
        message: String,
    },
    /// Think-on responses show no thinking.
    #[error(
        "the policy does not think: {thinking} of the first {responses} Think-on responses show any thinking ({seen}); mode preset {preset}"
    )]
    Unthinking {
        /// Responses checked.
        responses: usize,
        /// Responses with thinking.
        thinking: usize,
        /// The fields of their replies.
        seen: String,
        /// The mode preset.
        preset: String,
    },
    /// The memory for keys and values exceeds the machine's.
    #[error("{0}")]
    Memory(#[from] MemoryShort),
    /// The system allows too few threads.
    #[error(transparent)]
    Threads(#[from] TooFewThreads),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file cannot be written.
    #[error("cannot publish: {}", with_causes(.0))]
    Shard(#[from] ShardError),
    /// The judge cannot be set up.
    #[error("cannot set up the judge: {message}")]
    Judge {
        /// The problem.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// No judge call can succeed at present.
    #[error("{}", with_causes(.0))]
    Ask(AskError),
    /// The machine cannot run programs.
    #[error("cannot verify a program: {0}")]
    Sandbox(SandboxFault),
    /// A key that decides the data changed since the last run.
    #[error("the configuration changed since the last run of this directory:\n{0}")]
    Changed(Box<ChangeReport>),
    /// `redecide` cannot use a directory.
    #[error("cannot decide {dir} again: {problem}")]
    Redecide {
        /// The directory.
        dir: String,
        /// The problem.
        problem: String,
        /// The remedy.
        hint: String,
    },
    /// A directory has a ledger without a started run.
    #[error("{dir} has a ledger without a started run")]
    NoRun {
        /// The directory.
        dir: String,
    },
    /// Another version ran the directory, and decides differently.
    #[error("{dir} was run by another version of thinkloom, which decides or writes differently")]
    OtherVersion {
        /// The directory.
        dir: String,
    },
    /// Stored responses cannot be matched to queries without the model.
    #[error(
        "cannot match stored responses to queries: the prompt settings are not recorded, or this version builds prompts differently"
    )]
    PromptsUnknown,
    /// A signal or the caller stopped the run.
    #[error("stopped")]
    Stopped,
    /// A bug.
    #[error("{0}")]
    Internal(String),
}

impl RunError {
    /// Returns the remedy for the user.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = |hint: &str| Some(hint.to_owned());
        if let Some(hint) = limits::hint_for(self) {
            return Some(hint);
        }
        match self {
            Self::Config(ConfigError::Io(_)) => text("`thinkloom init` writes a config to start from"),
            Self::Config(ConfigError::UnknownKey { .. }) => text("`thinkloom help config` lists all keys"),
            Self::Config(ConfigError::Value { .. }) => text("`thinkloom help config` lists the values of each key"),
            Self::Config(_) | Self::Internal(_) => None,
            Self::Dir(error) => text(error.hint()),
            Self::Ingest(error) => error.hint().map(str::to_owned),
            Self::Dedup(_) => {
                text("free space in the output directory; the file dedup.index in it is a cache and may be deleted")
            }
            Self::Hub(error) => text(error.hint()),
            Self::Policy(error) => error.hint().map(str::to_owned),
            Self::Unthinking { .. } => text(
                "set policy.mode_preset to the switch of this model's thinking, let the server return the thinking (vLLM: \
                 --reasoning-parser; or leave the tags in the text), or change policy.extra, then run with --reconfigure; if \
                 only the server changed, set policy.revision as well, so that its responses are sampled again; \
                 sampling.allow_unthinking = true accepts such responses. Everything so far is kept. `thinkloom help servers` lists the presets",
            ),
            Self::Threads(error) => text(error.hint()),
            Self::Memory(_) => text("lower policy.kv_cache_mib, or end other programs that take memory"),
            Self::Ledger(error) => error.hint().map(str::to_owned),
            Self::Shard(error) => error.hint().map(str::to_owned),
            Self::Judge { hint, .. } | Self::Redecide { hint, .. } => text(hint),
            Self::NoRun { .. } => text("start with `thinkloom run`"),
            Self::OtherVersion { .. } => {
                text("run `thinkloom run` with the run's config: it takes over the stored facts")
            }
            Self::PromptsUnknown => {
                text("repeat the directory's own `thinkloom run`, which records the prompt settings")
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
            // The account lacks money: the run is sound, and continues once the account has some.
            Self::PolicyServer { status: Some(200..=299 | 402 | 429), .. }
            | Self::Ask(AskError::Budget { .. } | AskError::ResultsMissing { .. }) => 3,
            _ if self.is_refused_account() => 3,
            _ => 1,
        }
    }

    /// Returns whether the judge refused the account: its money, its key or its rights. An error object in a 200 reply
    /// that ends the run counts too.
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
