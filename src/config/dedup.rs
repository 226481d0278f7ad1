//! `[dedup]`: the rules for duplicates, near-duplicates and benchmark items.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::{SettingFault, within};
use crate::domain::stable_names;

/// The treatment of a query whose text is near an earlier query's but whose answer differs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Variants {
    /// Keep the query and link it to the earlier query: several problems of one template teach more than one.
    #[default]
    Keep,
    /// Treat the query as a near-duplicate, whatever its answer.
    Exclude,
}

/// The treatment of queries with the same text and different answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conflicts {
    /// Keep the first query.
    #[default]
    KeepFirst,
    /// Keep no query, because the right answer is unknown.
    ExcludeAll,
}

/// The rules for finding benchmark items; `dedup/contamination.rs` has the definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum ContaminationRule {
    /// The same words.
    Exact,
    /// A large share of an item's words is in shared n-grams that are not stock phrases.
    Share,
    /// Jaccard similarity.
    NearDuplicate,
    /// Any shared word 13-gram.
    #[schemars(rename = "ngram_13")]
    Ngram13,
    /// Any shared word 8-gram.
    #[schemars(rename = "ngram_8")]
    Ngram8,
}

stable_names!(ContaminationRule {
    Exact => "exact",
    Share => "share",
    NearDuplicate => "near_duplicate",
    Ngram13 => "ngram_13",
    Ngram8 => "ngram_8",
});

/// The texts that are compared with a benchmark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContaminationScope {
    /// Questions with questions.
    #[default]
    Prompts,
    /// Questions with questions, and long answers with answers.
    PromptsAndAnswers,
}

/// `[dedup]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DedupSettings {
    /// The least Jaccard similarity over word n-grams of two near texts, in 0..=1; 1.0 turns near-deduplication off.
    pub near_duplicate_threshold: f64,
    /// The same threshold for texts with the same answer that differ in few words (one in ten) and in no number, unit
    /// or negation; does not apply to programs and to answers such as `yes` or `true`. In 0..=1; has no effect unless
    /// it is below `near_duplicate_threshold`.
    pub same_answer_threshold: f64,
    /// Words of an n-gram, 1..=32; characters in languages that are written without spaces.
    pub ngram: u32,
    /// Bands of a MinHash signature, 1..=1024.
    pub bands: u32,
    /// Hash functions of a band, 1..=32. A pair of similarity s is found with probability 1 - (1 - s^rows)^bands.
    pub band_rows: u32,
    /// Near texts with another answer: `keep` (linked by `variant_of`) or `exclude`.
    pub variants: Variants,
    /// The same text with different answers: `keep_first` or `exclude_all`.
    pub conflicting_gold: Conflicts,
    /// Files to decontaminate against, read with the names of `input.fields`; globs allowed.
    pub benchmarks: Vec<String>,
    /// The rules; a query is contaminated if any rule applies: `exact`, `share`, `near_duplicate`, `ngram_13`,
    /// `ngram_8`.
    pub contamination_rules: Vec<ContaminationRule>,
    /// For the rule `share`: the least share of an item's words, above 0, up to 1.
    pub contamination_share: f64,
    /// The compared texts: `prompts` or `prompts_and_answers`.
    pub contamination_scope: ContaminationScope,
    /// Threads, 0..=1024; 0 is all cores. The result does not depend on it.
    pub threads: u32,
}

impl Default for DedupSettings {
    fn default() -> Self {
        Self {
            near_duplicate_threshold: 0.8,
            same_answer_threshold: 0.6,
            ngram: 5,
            bands: 40,
            band_rows: 3,
            variants: Variants::Keep,
            conflicting_gold: Conflicts::KeepFirst,
            benchmarks: Vec::new(),
            contamination_rules: vec![ContaminationRule::Share],
            contamination_share: 0.6,
            contamination_scope: ContaminationScope::Prompts,
            threads: 0,
        }
    }
}

impl DedupSettings {
    /// Checks every value against its range.
    pub(super) fn check(&self) -> Result<(), SettingFault> {
        within("dedup.near_duplicate_threshold", self.near_duplicate_threshold, 0.0..=1.0, "0 to 1")?;
        within("dedup.same_answer_threshold", self.same_answer_threshold, 0.0..=1.0, "0 to 1")?;
        within("dedup.ngram", self.ngram, 1..=32, "1 to 32")?;
        within("dedup.bands", self.bands, 1..=1024, "1 to 1024")?;
        within("dedup.band_rows", self.band_rows, 1..=32, "1 to 32")?;
        within("dedup.contamination_share", self.contamination_share, f64::MIN_POSITIVE..=1.0, "above 0, up to 1")?;
        within("dedup.threads", self.threads, 0..=1024, "0 to 1024")?;
        if self.contamination_rules.is_empty() && !self.benchmarks.is_empty() {
            return Err(("dedup.contamination_rules", "is empty, but dedup.benchmarks is not: name a rule".to_owned()));
        }
        Ok(())
    }
}
