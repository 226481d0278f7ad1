//! The typed settings, their defaults and their ranges.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dedup::DedupSettings;
use super::fault::{SettingFault, within};
use super::fields::FieldSettings;
use super::input::{AnswerIs, EvaluatedRule};
use super::judge::{JudgeBackend, JudgeSettings, Transport};
use super::policy::{ModePresetName, PolicyBackend, PolicySettings};
use crate::domain::{Kind, Mode, OtherMode};

/// All settings of `thinkloom.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The input files and their fields.
    pub input: InputSettings,
    /// The rules for duplicates.
    pub dedup: DedupSettings,
    /// The model whose responses are sampled.
    pub policy: PolicySettings,
    /// How responses are sampled.
    pub sampling: SamplingSettings,
    /// How answers and programs are verified.
    pub verify: VerifySettings,
    /// How the mode is chosen.
    pub select: SelectSettings,
    /// The model that justifies the choice of the mode.
    pub judge: JudgeSettings,
    /// The bins of the difficulty label.
    pub difficulty: DifficultySettings,
    /// The output directory and its files.
    pub output: OutputSettings,
}

/// `[input]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InputSettings {
    /// JSONL, JSON, CSV or TSV (each also .gz and .zst) or Parquet files; globs allowed; relative to the config file,
    /// else to the working directory.
    pub paths: Vec<String>,
    /// One kind for all rows; without it, the row's own kind, or the kind that follows from the file's fields and
    /// answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The form of the answers to choice questions: `auto` (decided for each file as a whole), `letter`, `index0`,
    /// `index1` or `text`.
    pub answer_is: AnswerIs,
    /// Further columns that are copied, as one JSON object, to the column `extra` of samples; dots reach into nested
    /// objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// The names of the fields in the input; dots reach into nested objects.
    pub fields: FieldSettings,
}

/// How many responses are sampled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPolicy {
    /// N responses of each mode for every query.
    #[default]
    Full,
    /// Skip responses that cannot change the published row. Counts and pass rates then cover only the drawn responses.
    Curtailed,
    /// As `curtailed`, and skip Think-on responses that could only distinguish a tie from a higher Think-off pass rate:
    /// the reason is `not_worse` for both.
    Frugal,
}

/// `[sampling]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingSettings {
    /// N: responses per query and mode, 1..=1024.
    pub samples_per_mode: u32,
    /// 0 is greedy; otherwise logits are divided by it, up to 2.
    pub temperature: f64,
    /// Sample from this many of the likeliest tokens; 0 is all. The cuts are made in the order top_k, top_p, min_p, on
    /// the distribution at the temperature.
    pub top_k: u32,
    /// Nucleus, in (0, 1].
    pub top_p: f64,
    /// Tokens less likely than this share of the likeliest token are not sampled, in 0..1.
    pub min_p: f64,
    /// The length limit of a Think-on response (of its thinking, if the preset closes the thinking), in tokens.
    pub think_on_tokens_max: u32,
    /// The length limit of a Think-off response, in tokens.
    pub think_off_tokens_max: u32,
    /// How many responses are sampled.
    pub budget: BudgetPolicy,
    /// Seed of the run: every rollout's own seed derives from it and from the rollout's key.
    pub seed: u64,
    /// Continue even if fewer than a tenth of the first 50 Think-on responses show any thinking.
    pub allow_unthinking: bool,
}

impl Default for SamplingSettings {
    fn default() -> Self {
        Self {
            samples_per_mode: 8,
            temperature: 0.6,
            top_k: 0,
            top_p: 0.95,
            min_p: 0.0,
            think_on_tokens_max: 4096,
            think_off_tokens_max: 1024,
            budget: BudgetPolicy::Full,
            seed: 0,
            allow_unthinking: false,
        }
    }
}

impl SamplingSettings {
    /// Returns the limit of a mode's responses, in tokens.
    #[must_use]
    pub const fn tokens_max(&self, mode: Mode) -> u32 {
        match mode {
            Mode::ThinkOn => self.think_on_tokens_max,
            Mode::ThinkOff => self.think_off_tokens_max,
        }
    }
}

/// `[verify]`: the rules for answers, and the sandbox for programs of queries of kind `code`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VerifySettings {
    /// Whether an answer must be evaluated: `required`, or `any`, with which `1/2 + 1/4` matches `3/4`.
    pub evaluated: EvaluatedRule,
    /// Run no program unless every layer of the sandbox works; `false` runs programs without missing layers.
    pub strict: bool,
    /// The number of programs that run at once, 0..=1024; 0 is one for each core.
    pub workers: u32,
    /// The Python interpreter: a path, or a name on PATH.
    pub python: String,
    /// CPU time of a program with all its tests, in seconds, 1..=3600; twice that and one second by the clock.
    pub time_limit_s: u32,
    /// Address space of a program, in MiB, 64..=1048576.
    pub memory_limit_mib: u32,
    /// The output limit of a program, stdout and stderr together, in KiB, 1..=1048576.
    pub output_limit_kib: u32,
}

impl Default for VerifySettings {
    fn default() -> Self {
        Self {
            evaluated: EvaluatedRule::Required,
            strict: true,
            workers: 0,
            python: "python3".to_owned(),
            time_limit_s: 10,
            memory_limit_mib: 1024,
            output_limit_kib: 1024,
        }
    }
}

/// `[select]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelectSettings {
    /// HiPO's delta, in 0..=1: pass rates that differ by less are a tie, and Think-off is chosen.
    pub tie_margin: f64,
    /// Share of queries whose mode is drawn at random, in 0..=1.
    pub random_mode_rate: f64,
    /// What a response of the other mode than was asked for counts as: `incorrect` in the mode that was asked for, or
    /// `as_verified`.
    pub other_mode: OtherMode,
}

impl Default for SelectSettings {
    fn default() -> Self {
        Self { tie_margin: 0.1, random_mode_rate: 0.01, other_mode: OtherMode::Incorrect }
    }
}

/// `[difficulty]`: bins over the two pass rates; the rule is in `difficulty.rs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DifficultySettings {
    /// `easy` from this Think-off pass rate on.
    pub easy_off_min: f64,
    /// `medium` from this Think-off pass rate on.
    pub medium_off_min: f64,
    /// Also `medium` from this Think-on pass rate on.
    pub medium_on_min: f64,
    /// Probability that `difficulty_low` and `difficulty_high` enclose the score, in 0..1 (Beta posterior, flat prior).
    pub interval: f64,
}

impl Default for DifficultySettings {
    fn default() -> Self {
        Self { easy_off_min: 0.75, medium_off_min: 0.25, medium_on_min: 0.75, interval: 0.9 }
    }
}

/// `[output]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSettings {
    /// The output directory, relative to the config file; `-o` overrides it.
    pub dir: String,
    /// Input rows per shard, 1..=1000000.
    pub queries_per_shard: u64,
    /// The licence in the dataset card, as a Hub id (`mit`, `cc-by-4.0`); empty: the card names none.
    pub license: String,
}

impl Default for OutputSettings {
    fn default() -> Self {
        Self { dir: "out".to_owned(), queries_per_shard: 1000, license: String::new() }
    }
}

impl Settings {
    /// Checks every value against its range, and that this version supports the settings.
    pub fn check(&self) -> Result<(), SettingFault> {
        const TOKENS: std::ops::RangeInclusive<u32> = 1..=1 << 20;
        const TOKENS_TEXT: &str = "1 to 1048576";
        let Self { dedup, policy, sampling, verify, select, judge, difficulty, output, .. } = self;
        dedup.check()?;
        within("policy.slots", policy.slots, 1..=1024, "1 to 1024")?;
        within("policy.threads", policy.threads, 0..=1024, "0 to 1024")?;
        within("policy.kv_cache_mib", policy.kv_cache_mib, 1..=1 << 20, "1 to 1048576")?;
        within("policy.concurrency", policy.concurrency, 1..=4096, "1 to 4096")?;
        within("policy.attempts_max", policy.attempts_max, 1..=100, "1 to 100")?;
        within("policy.timeout_s", policy.timeout_s, 1..=86_400, "1 to 86400")?;
        within("policy.patience_s", policy.patience_s, 0..=31_536_000, "0 (for ever) to 31536000")?;
        within("sampling.samples_per_mode", sampling.samples_per_mode, 1..=1024, "1 to 1024")?;
        within("sampling.temperature", sampling.temperature, 0.0..=2.0, "0 to 2")?;
        within("sampling.top_p", sampling.top_p, f64::MIN_POSITIVE..=1.0, "above 0, up to 1")?;
        within("sampling.min_p", sampling.min_p, 0.0..1.0, "0 to below 1")?;
        within("sampling.think_on_tokens_max", sampling.think_on_tokens_max, TOKENS, TOKENS_TEXT)?;
        within("sampling.think_off_tokens_max", sampling.think_off_tokens_max, TOKENS, TOKENS_TEXT)?;
        // TOML integers are signed: a larger seed could not be written back.
        within("sampling.seed", sampling.seed, 0..=i64::MAX as u64, "0 to 2^63 - 1")?;
        within("verify.workers", verify.workers, 0..=1024, "0 to 1024")?;
        within("verify.time_limit_s", verify.time_limit_s, 1..=3600, "1 to 3600")?;
        within("verify.memory_limit_mib", verify.memory_limit_mib, 64..=1 << 20, "64 to 1048576")?;
        within("verify.output_limit_kib", verify.output_limit_kib, 1..=1 << 20, "1 to 1048576")?;
        within("select.tie_margin", select.tie_margin, 0.0..=1.0, "0 to 1")?;
        within("select.random_mode_rate", select.random_mode_rate, 0.0..=1.0, "0 to 1")?;
        within("judge.concurrency_max", judge.concurrency_max, 1..=4096, "1 to 4096")?;
        within("judge.attempts_max", judge.attempts_max, 1..=100, "1 to 100")?;
        within("judge.max_tokens", judge.max_tokens, TOKENS, TOKENS_TEXT)?;
        within("judge.budget_usd", judge.budget_usd, 0.0..=1e9, "0 (no limit) to 1000000000")?;
        within("judge.timeout_s", judge.timeout_s, 1..=86_400, "1 to 86400")?;
        within("judge.patience_s", judge.patience_s, 0..=31_536_000, "0 (for ever) to 31536000")?;
        within("judge.batch.requests_max", judge.batch.requests_max, 1..=50_000, "1 to 50000")?;
        within("judge.batch.file_mib_max", judge.batch.file_mib_max, 1..=200, "1 to 200")?;
        within("judge.batch.under_way_max", judge.batch.under_way_max, 1..=64, "1 to 64")?;
        within("judge.batch.fill_s", judge.batch.fill_s, 0.0..=86_400.0, "0 to 86400")?;
        within("judge.batch.poll_s", judge.batch.poll_s, 0.01..=3600.0, "0.01 to 3600")?;
        judge.prices_usd_per_mtok.check()?;
        super::secrets::check_name("policy.api_key_env", &policy.api_key_env)?;
        super::secrets::check_name("judge.api_key_env", &judge.api_key_env)?;
        super::secrets::check_extra("policy.extra", &policy.extra)?;
        super::secrets::check_extra("judge.extra", &judge.extra)?;
        let above_zero = f64::MIN_POSITIVE..=1.0;
        within("difficulty.easy_off_min", difficulty.easy_off_min, above_zero.clone(), "above 0, up to 1")?;
        within("difficulty.medium_on_min", difficulty.medium_on_min, above_zero, "above 0, up to 1")?;
        let bins = f64::MIN_POSITIVE..=difficulty.easy_off_min;
        within("difficulty.medium_off_min", difficulty.medium_off_min, bins, "above 0, up to difficulty.easy_off_min")?;
        let open = 0.01..=0.999;
        within("difficulty.interval", difficulty.interval, open, "0.01 to 0.999")?;
        within("output.queries_per_shard", output.queries_per_shard, 1..=1_000_000, "1 to 1000000")?;
        self.check_combinations()
    }

    /// Rejects contradictory settings.
    fn check_combinations(&self) -> Result<(), SettingFault> {
        let fault = |key, detail: &str| Err((key, detail.to_owned()));
        let Self { policy, judge, .. } = self;
        let is_remote = policy.backend == PolicyBackend::Openai;
        match policy.mode_preset {
            ModePresetName::Auto if is_remote => {
                return fault(
                    "policy.mode_preset",
                    "is \"auto\", but a server does not publish its chat template: name the preset (qwen3, smollm3, \
                     granite, deepseek_v3, deepseek_api, deepseek_r1, prompted or structured)",
                );
            }
            ModePresetName::DeepseekApi if !is_remote => {
                return fault("policy.mode_preset", "\"deepseek_api\" needs policy.backend = \"openai\"");
            }
            ModePresetName::Structured if is_remote && policy.judge_block.is_none() => {
                return fault(
                    "policy.judge_block",
                    "is not set, and policy.mode_preset is \"structured\": a server cannot force the mode tag behind a \
                     judge block that the model writes; give the block's text, or host the model \
                     (policy.backend = \"candle\")",
                );
            }
            _ => {}
        }
        match policy.judge_block.as_deref() {
            Some(_) if policy.mode_preset != ModePresetName::Structured => {
                return fault("policy.judge_block", "is set, but only policy.mode_preset = \"structured\" uses it");
            }
            Some(block) => {
                if let Some(tag) = crate::template::find_tag(block) {
                    return Err(("policy.judge_block", format!("holds {tag}, a tag of the response template")));
                }
            }
            None => {}
        }
        if is_remote && policy.base_urls.is_empty() {
            return fault("policy.base_urls", "is empty; policy.backend = \"openai\" needs at least one address");
        }
        if !is_remote && !policy.base_urls.is_empty() {
            return fault("policy.base_urls", "is set, but policy.backend is \"candle\"; set it to \"openai\"");
        }
        if is_remote && judge.backend == JudgeBackend::Policy {
            return fault(
                "judge.backend",
                "is \"policy\", which needs policy.backend = \"candle\"; set it to \"openai\" or \"none\"",
            );
        }
        if judge.budget_usd > 0.0 && judge.backend == JudgeBackend::Openai {
            let prices = &judge.prices_usd_per_mtok;
            let is_batch = judge.transport == Transport::Batch;
            let factor = (is_batch && prices.batch_factor.is_none()).then(|| "batch_factor".to_owned());
            if let Some(name) = prices.unknown().or(factor) {
                return Err((
                    "judge.budget_usd",
                    format!("is set, but judge.prices_usd_per_mtok.{name} is not: a budget needs all prices"),
                ));
            }
        }
        if judge.transport == Transport::Batch && judge.backend != JudgeBackend::Openai {
            return fault("judge.transport", "is \"batch\", which needs judge.backend = \"openai\"");
        }
        if judge.transport == Transport::Batch && !judge.more_base_urls.is_empty() {
            return fault("judge.more_base_urls", "is set, but the batch transport uses only judge.base_url");
        }
        super::omit::check(policy, judge)?;
        let reserved = ["model", "messages", "stream", "stream_options", "n", "seed", "max_tokens"];
        if let Some(key) = policy.extra.keys().find(|key| reserved.contains(&key.as_str())) {
            return Err(("policy.extra", format!("holds \"{key}\", a key that thinkloom sets")));
        }
        Ok(())
    }
}
