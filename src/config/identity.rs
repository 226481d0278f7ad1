//! The identity of a run: everything that decides the data, and the work that each change causes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::judge::JudgeBackend;
use super::policy::PolicyBackend;
use super::settings::Settings;
use crate::domain::digest::sha256;

/// The work to repeat when a part of the identity changes. Ordered: each variant includes the earlier variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redo {
    /// Sample missing responses and request missing justifications.
    Lacking,
    /// Write the shards again from stored facts.
    Shards,
    /// Request the justifications again.
    Justifications,
    /// Compute verdicts and decisions again from stored rollouts.
    Decisions,
    /// Sample the responses again.
    Rollouts,
    /// Read the input again.
    Intake,
}

impl std::fmt::Display for Redo {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Lacking => "what stored facts lacked is sampled and asked for",
            Self::Shards => "shards are written again from stored facts",
            Self::Justifications => "justifications are asked for again",
            Self::Decisions => "decisions are made again from stored rollouts; changed ones are justified again",
            Self::Rollouts => "responses that are not stored are sampled",
            Self::Intake => "the input is read again; queries that stayed the same keep their facts",
        })
    }
}

/// The settings that decide the data, with the work that a change causes. Other settings (slots, threads, concurrency,
/// prices, paths) may change freely between runs. Device, executor and kernels may also change, because a run may move
/// to another machine; texts are the same bit for bit only within one family of kernels, and `run` warns if the stored
/// rollouts come from another family. The Python interpreter also belongs to the machine: stored verdicts stay valid.
const DECIDING_KEYS: &[(&str, Redo)] = &[
    ("input.answer_is", Redo::Intake),
    ("input.keep", Redo::Intake),
    ("dedup.near_duplicate_threshold", Redo::Intake),
    ("dedup.same_answer_threshold", Redo::Intake),
    ("dedup.ngram", Redo::Intake),
    ("dedup.bands", Redo::Intake),
    ("dedup.band_rows", Redo::Intake),
    ("dedup.variants", Redo::Intake),
    ("dedup.conflicting_gold", Redo::Intake),
    ("dedup.contamination_rules", Redo::Intake),
    ("dedup.contamination_share", Redo::Intake),
    ("dedup.contamination_scope", Redo::Intake),
    ("policy.kv_type", Redo::Rollouts),
    ("policy.attempts_max", Redo::Rollouts),
    ("policy.omit", Redo::Rollouts),
    ("sampling.samples_per_mode", Redo::Rollouts),
    ("sampling.temperature", Redo::Rollouts),
    ("sampling.top_k", Redo::Rollouts),
    ("sampling.top_p", Redo::Rollouts),
    ("sampling.min_p", Redo::Rollouts),
    ("sampling.think_on_tokens_max", Redo::Rollouts),
    ("sampling.think_off_tokens_max", Redo::Rollouts),
    ("sampling.seed", Redo::Rollouts),
    ("sampling.budget", Redo::Rollouts),
    ("verify.evaluated", Redo::Decisions),
    ("verify.strict", Redo::Decisions),
    ("verify.time_limit_s", Redo::Decisions),
    ("verify.memory_limit_mib", Redo::Decisions),
    ("verify.output_limit_kib", Redo::Decisions),
    ("select.tie_margin", Redo::Decisions),
    ("select.random_mode_rate", Redo::Decisions),
    ("select.other_mode", Redo::Decisions),
    ("difficulty.easy_off_min", Redo::Shards),
    ("difficulty.medium_off_min", Redo::Shards),
    ("difficulty.medium_on_min", Redo::Shards),
    ("difficulty.interval", Redo::Shards),
    ("judge.backend", Redo::Justifications),
    ("judge.base_url", Redo::Justifications),
    ("judge.model", Redo::Justifications),
    ("judge.max_tokens", Redo::Justifications),
    ("judge.extra", Redo::Justifications),
    ("judge.json_mode", Redo::Justifications),
    ("judge.omit", Redo::Justifications),
    ("judge.on_rejected", Redo::Shards),
    ("judge.attempts_max", Redo::Justifications),
    // The check for near-copies compares texts within a shard.
    ("output.queries_per_shard", Redo::Justifications),
];

/// Parts of the identity that are contents instead of settings.
const CONTENT_KEYS: &[(&str, Redo)] = &[
    ("content.input", Redo::Intake),
    ("content.policy", Redo::Rollouts),
    ("content.judge_prompt", Redo::Justifications),
    ("content.checks", Redo::Justifications),
    ("content.verifier", Redo::Decisions),
    (SANDBOX_KEY, Redo::Decisions),
    ("content.tables", Redo::Shards),
    (ANSWERS_KEY, Redo::Intake),
];

/// The missing layers of the sandbox, if the input has programs and a layer is missing.
pub const SANDBOX_KEY: &str = "content.sandbox";

/// The detected form of the answers to choice questions, if `input.answer_is` is `auto`.
pub const ANSWERS_KEY: &str = "content.answer_is";

/// The number of input rows (`--limit`). It decides the set of shards, but users change it often and the change repeats
/// no work, so it needs no confirmation.
const LIMIT_KEY: &str = "run.limit";

/// The number of rounds of `--retry-failed`. It decides which attempts count, and needs no confirmation.
const RETRIES_KEY: &str = "run.retries";

/// Set by `redecide`, which uses stored facts only: a run with the same settings would have sampled missing responses.
pub const FACTS_KEY: &str = "run.facts";

/// Hashes and versions of the contents that the settings refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Hash over the input files, their field names and the readers' rules.
    pub input: String,
    /// Hash over the policy's weights, mode preset and prompts.
    pub policy: String,
    /// Hash over the judge's prompt.
    pub judge_prompt: String,
    /// Version of the checks of justifications.
    pub checks: String,
    /// Version of the verifiers.
    pub verifier: String,
    /// The missing layers of the sandbox, if the input has programs and a layer is missing.
    pub sandbox: Option<String>,
    /// Version of the tables' schemas.
    pub tables: String,
    /// The detected form of the answers to choice questions, if `input.answer_is` is `auto` and the input has such
    /// questions.
    pub answers: Option<String>,
}

/// Everything that decides the data of a run, by key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunIdentity(BTreeMap<String, String>);

impl RunIdentity {
    /// Builds the identity from settings and contents; `row_limit` is the number of input rows that are used.
    #[must_use]
    pub fn new(settings: &Settings, contents: &Contents, row_limit: Option<u64>) -> Self {
        let json = serde_json::to_value(settings).expect("settings are plain data");
        let mut parts = BTreeMap::new();
        // The settings of an unused judge do not decide the data.
        let is_openai = settings.judge.backend == JudgeBackend::Openai;
        let is_hosted = settings.policy.backend == PolicyBackend::Candle;
        for (key, _) in DECIDING_KEYS {
            if is_hosted && matches!(*key, "policy.attempts_max" | "policy.omit") {
                continue;
            }
            if !is_openai
                && matches!(*key, "judge.base_url" | "judge.model" | "judge.extra" | "judge.json_mode" | "judge.omit")
            {
                continue;
            }
            let pointer = format!("/{}", key.replace('.', "/"));
            let value = json.pointer(&pointer).map(ToString::to_string).unwrap_or_default();
            // Empty tables and lists, and the budget `full`, are omitted, so that identities of earlier versions stay
            // equal.
            if !matches!(value.as_str(), "" | "{}" | "[]" | "\"full\"") {
                parts.insert((*key).to_owned(), value);
            }
        }
        let Contents { input, policy, judge_prompt, checks, verifier, sandbox, tables, answers } = contents;
        let values = [
            Some(input),
            Some(policy),
            Some(judge_prompt),
            Some(checks),
            Some(verifier),
            sandbox.as_ref(),
            Some(tables),
            answers.as_ref(),
        ];
        let contents = CONTENT_KEYS.iter().zip(values);
        parts.extend(contents.filter_map(|((key, _), value)| Some(((*key).to_owned(), value?.clone()))));
        parts.extend(row_limit.map(|limit| (LIMIT_KEY.to_owned(), limit.to_string())));
        Self(parts)
    }

    /// Returns the identity after a number of rounds of `--retry-failed`.
    #[must_use]
    pub fn with_retries(mut self, rounds: u32) -> Self {
        if rounds > 0 {
            self.0.insert(RETRIES_KEY.to_owned(), rounds.to_string());
        }
        self
    }

    /// Returns the number of rounds of `--retry-failed`.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.0.get(RETRIES_KEY).and_then(|rounds| rounds.parse().ok()).unwrap_or(0)
    }

    /// Returns the identity of a `redecide` with the same settings, which uses stored facts only.
    #[must_use]
    pub fn of_stored_facts(mut self) -> Self {
        self.0.insert(FACTS_KEY.to_owned(), "stored".to_owned());
        self
    }

    /// Returns the fingerprint: a SHA-256 in hex over all parts.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        sha256(self.to_json())
    }

    /// Returns the parts as a JSON object with sorted keys.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("a map of strings is JSON")
    }

    /// Returns the parts.
    #[must_use]
    pub fn parts(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Returns the keys in which `self` differs from `earlier`, with both values and the work to repeat.
    #[must_use]
    pub fn changes_from(&self, earlier: &Self) -> Vec<Change> {
        let redo_of = |key: &str| {
            let facts = (FACTS_KEY, Redo::Lacking);
            let known = DECIDING_KEYS.iter().chain(CONTENT_KEYS).chain([&facts]).find(|(known, _)| *known == key);
            known.map_or(Redo::Intake, |(_, redo)| *redo)
        };
        let keys: BTreeSet<&String> = self.0.keys().chain(earlier.0.keys()).collect();
        keys.into_iter()
            .filter(|key| *key != LIMIT_KEY && *key != RETRIES_KEY && self.0.get(*key) != earlier.0.get(*key))
            .map(|key| Change {
                key: key.clone(),
                before: earlier.0.get(key).cloned(),
                after: self.0.get(key).cloned(),
                redo: redo_of(key),
            })
            .collect()
    }
}

/// One difference between two identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its value in the earlier run, if it had one.
    pub before: Option<String>,
    /// Its value now, if it has one.
    pub after: Option<String>,
    /// The work to repeat.
    pub redo: Redo,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents {
        let text = |text: &str| text.to_owned();
        Contents {
            input: text("a"),
            policy: text("b"),
            judge_prompt: text("d"),
            checks: text("1"),
            verifier: text("1"),
            sandbox: None,
            tables: text("1"),
            answers: None,
        }
    }

    #[test]
    fn settings_that_do_not_decide_data_do_not_change_the_fingerprint() {
        let base = RunIdentity::new(&Settings::default(), &contents(), None);
        let mut settings = Settings::default();
        settings.policy.slots = 3;
        settings.policy.device = crate::config::DeviceName::Cpu;
        settings.policy.executor = crate::domain::ExecutorChoice::Fused;
        settings.policy.kernels = crate::domain::KernelChoice::Avx2;
        settings.verify.workers = 3;
        settings.verify.python = "python3.12".to_owned();
        settings.judge.concurrency_max = 1;
        settings.output.dir = "elsewhere".to_owned();
        settings.judge.model = "a judge that is not asked".to_owned();
        assert_eq!(RunIdentity::new(&settings, &contents(), None).fingerprint(), base.fingerprint());
    }

    #[test]
    fn a_sandbox_that_lacks_something_is_part_of_the_identity_and_a_whole_one_is_not() {
        let settings = Settings::default();
        let lacking = Contents { sandbox: Some("none".to_owned()), ..contents() };
        let (whole, lacking) =
            (RunIdentity::new(&settings, &contents(), None), RunIdentity::new(&settings, &lacking, None));
        assert!(!whole.to_json().contains("sandbox"));
        let changes = whole.changes_from(&lacking);
        assert_eq!((changes[0].key.as_str(), changes[0].redo), ("content.sandbox", Redo::Decisions));
    }

    #[test]
    fn what_answers_were_found_to_be_is_part_of_the_identity_where_there_are_choices() {
        let settings = Settings::default();
        let found = Contents { answers: Some("index0".to_owned()), ..contents() };
        let (without, with) =
            (RunIdentity::new(&settings, &contents(), None), RunIdentity::new(&settings, &found, None));
        assert!(!without.parts().contains_key(ANSWERS_KEY));
        assert_eq!(with.parts()[ANSWERS_KEY], "index0");
        assert_eq!(with.parts()["input.answer_is"], "\"auto\"");
        let changes = with.changes_from(&without);
        assert_eq!((changes[0].key.as_str(), changes[0].redo), (ANSWERS_KEY, Redo::Intake));
    }

    #[test]
    fn every_deciding_key_exists_and_changes_are_named() {
        let mut settings = Settings::default();
        settings.judge.backend = JudgeBackend::Openai;
        settings.policy.backend = PolicyBackend::Openai;
        settings.sampling.budget = crate::config::BudgetPolicy::Curtailed;
        settings.input.keep.push("level".to_owned());
        settings.judge.extra.insert("thinking".to_owned(), serde_json::Value::Bool(false));
        settings.judge.omit = vec!["temperature".to_owned()];
        settings.policy.omit = vec!["seed".to_owned()];
        let base = RunIdentity::new(&settings, &contents(), None);
        for (key, _) in DECIDING_KEYS {
            assert!(!base.0[*key].is_empty(), "{key} is no setting");
        }
        settings.select.tie_margin = 0.2;
        let changed = RunIdentity::new(&settings, &Contents { input: "z".to_owned(), ..contents() }, Some(5));
        let changes = changed.changes_from(&base);
        let keys: Vec<(&str, Redo)> = changes.iter().map(|change| (change.key.as_str(), change.redo)).collect();
        assert_eq!(keys, [("content.input", Redo::Intake), ("select.tie_margin", Redo::Decisions)]);
        assert_eq!(changes[1].before.as_deref(), Some("0.1"));
    }
}
