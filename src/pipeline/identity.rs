//! The identity of a run: its settings, its input, and everything else that decides its data.

use std::ops::Range;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::journal::Charging;
use super::options::{Facts, Judging};
use super::programs::Programs;
use crate::config::identity::{Contents, RunIdentity};
use crate::config::{JudgeBackend, Settings};
use crate::judge::{check, prompt};
use crate::ledger::RunRecord;
use crate::policy::{Policy, reply};
use crate::shards::TABLES_VERSION;
use crate::template::thinking;
use crate::verify;

/// The settings and identity of a run, and the work that it may do.
pub struct Run {
    /// The settings.
    pub settings: Settings,
    /// The output directory.
    pub dir: PathBuf,
    /// The list of everything that decides the data.
    pub identity: RunIdentity,
    /// The run's record in the ledger.
    pub record: RunRecord,
    /// Input rows of the run.
    pub rows: u64,
    /// Short hash over all prompts.
    pub prompt_version: String,
    /// The source of its facts.
    pub facts: Facts,
    /// If its facts are stored ones: whether the judge may be called.
    pub judging: Judging,
}

impl Run {
    /// Returns whether judge calls can be charged.
    #[must_use]
    pub fn charging(&self) -> Charging {
        if self.settings.judge.backend == JudgeBackend::Openai { Charging::Charged } else { Charging::Free }
    }

    /// Returns whether missing justifications are requested.
    #[must_use]
    pub fn asks_judge(&self) -> bool {
        self.judging == Judging::Asked
    }

    /// Returns the number of shards of the run.
    #[must_use]
    pub fn shard_count(&self) -> u64 {
        self.rows.div_ceil(self.record.queries_per_shard)
    }

    /// Returns the input rows that a shard covers.
    #[must_use]
    pub fn shard_range(&self, index: u64) -> Range<u64> {
        let start = index * self.record.queries_per_shard;
        start..(start + self.record.queries_per_shard).min(self.rows)
    }
}

/// Returns a short hash over all prompts.
pub(super) fn prompt_version(policy: &Policy) -> String {
    let prompts = format!("{}{}", policy.identity().prompts, prompt::prompt_hash());
    hex::encode(&Sha256::digest(prompts.as_bytes())[..6])
}

/// The input as it was read.
pub(super) struct ReadInput<'a> {
    /// The hash over its rows.
    pub(super) digest: &'a str,
    /// See [`Contents::answers`].
    pub(super) answers: Option<String>,
    /// The number of rows to take, if limited.
    pub(super) row_limit: Option<u64>,
}

/// Returns the list of everything that decides the data of a run.
pub(super) fn identify(settings: &Settings, input: ReadInput<'_>, policy: &Policy, programs: &Programs) -> RunIdentity {
    let contents = Contents {
        input: input.digest.to_owned(),
        policy: policy.fingerprint(),
        judge_prompt: prompt::prompt_hash(),
        checks: check::CHECKS_VERSION.to_string(),
        verifier: format!("{}, reading {}.{}", verify::VERSION, reply::READER, thinking::READING),
        sandbox: programs.lack().map(str::to_owned),
        tables: TABLES_VERSION.to_string(),
        answers: input.answers,
    };
    RunIdentity::new(settings, &contents, input.row_limit)
}
