//! Opens runs over stored facts alone: loads no model and has no policy to sample.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::actors::Actors;
use super::blocking::Blocking;
use super::context::Context;
use super::error::RunError;
use super::identity::{ReadInput, Run, identify, prompt_version};
use super::opening::{judge_breaker, open_budget, open_stored_judge, remember_refusals, restore_policy};
use super::options::{Facts, Judging, Wiring};
use super::programs::Programs;
use super::progress::Progress;
use super::sensitivity::Sensitivity;
use super::stores::Stores;
use super::thinking::ThinkingWatch;
use crate::config::Settings;
use crate::config::identity::{ANSWERS_KEY, RunIdentity};
use crate::domain::Kind;
use crate::ledger::{Ledger, LedgerError, RunRecord};
use crate::shards::Publisher;
use crate::sys::files::DirLock;

/// The run to decide again from stored facts.
#[derive(Debug, Clone)]
pub struct StoredOptions {
    /// The output directory, with its copy of the ledger.
    pub dir: PathBuf,
    /// The settings.
    pub settings: Settings,
    /// The run to decide again.
    pub last: RunRecord,
    /// Whether the judge may be called.
    pub judging: Judging,
}

impl Context {
    /// Opens a run over stored facts: the ledger of `dir` is a copy, and its last run is decided again under other
    /// settings. Loads no model, and calls no server except the judge, if `judging` allows it. Blocks.
    ///
    /// # Errors
    /// [`RunError`] if the facts cannot be used.
    pub fn open_stored(options: StoredOptions, lock: DirLock, stop: CancellationToken) -> Result<Self, RunError> {
        let StoredOptions { dir, settings, last, judging } = options;
        let (publisher, ledger) = (Publisher::new(&dir)?, Ledger::open(&dir)?);
        let reader = ledger.reader()?;
        let policy = restore_policy(&settings, &last, &reader)?;
        let judge = open_stored_judge(&settings, &policy, judging)?;
        remember_refusals(&policy, judge.as_deref(), &ledger)?;
        let has_programs = reader.intake_holds(&last.input_digest, Kind::Code)?;
        let programs = if has_programs { Programs::open(&settings.verify) } else { Programs::none(&settings.verify) };
        let read = ReadInput { digest: &last.input_digest, answers: answers_of(&last)?, row_limit: last.row_limit };
        let identity = identify(&settings, read, &policy, &programs).with_retries(reader.retry_rounds()?);
        let identity = identity.of_stored_facts();
        let stored = reader.intake_rows(&last.input_digest)?;
        let rows = last.row_limit.map_or(stored, |limit| limit.min(stored));
        let record = RunRecord {
            fingerprint: identity.fingerprint(),
            identity: identity.to_json(),
            queries_per_shard: settings.output.queries_per_shard,
            settings: toml::to_string(&settings).unwrap_or_default(),
            ..last
        };
        let budget = open_budget(&settings, &reader, &[])?;
        let sensitivity = Some(Mutex::new(Sensitivity::new(&settings)));
        let judge_breaker = judge_breaker(&settings, judge.as_deref(), reader.holds_any()?.1);
        let (facts, prompt_version) = (Facts::Stored, prompt_version(&policy));
        let run = Run { settings, dir, identity, record, rows, prompt_version, facts, judging };
        let actors = Actors::new(policy, judge, programs, Blocking::Threads);
        let actors = Actors { budget, judge_breaker, ..actors };
        let stores = Stores::new(ledger, publisher, Blocking::Threads, Some(lock));
        Ok(Self { sensitivity, stop, ..Self::over_stored(run, actors, stores) })
    }

    /// Joins the parts of a run over stored facts. No caller can stop it.
    pub(super) fn over_stored(run: Run, actors: Actors, stores: Stores) -> Self {
        Self {
            progress: Arc::new(Progress::new(run.rows)),
            run,
            actors,
            thinking: ThinkingWatch::default(),
            sensitivity: None,
            stop: CancellationToken::new(),
            wiring: Wiring::Stages,
            stores: Arc::new(stores),
        }
    }

    /// Returns the list of everything that decides the data, computed by this version.
    pub(super) fn identified_again(&self) -> RunIdentity {
        let Run { settings, identity, record, facts, .. } = &self.run;
        let answers = identity.parts().get(ANSWERS_KEY).cloned();
        let read = ReadInput { digest: &record.input_digest, answers, row_limit: record.row_limit };
        let again = identify(settings, read, &self.actors.policy, &self.actors.programs);
        let again = again.with_retries(identity.retries());
        if *facts == Facts::Stored { again.of_stored_facts() } else { again }
    }
}

/// Returns how an earlier run read the answers of choice questions.
fn answers_of(run: &RunRecord) -> Result<Option<String>, RunError> {
    let identity: RunIdentity = serde_json::from_str(&run.identity)
        .map_err(|error| LedgerError::Unreadable { kind: "run", detail: error.to_string() })?;
    Ok(identity.parts().get(ANSWERS_KEY).cloned())
}
