//! Queries that give no sample, each with one reason.

use serde::{Deserialize, Serialize};

use super::{Origin, QueryId, stable_names};

/// Why a query gives no sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExclusionReason {
    /// The line is not UTF-8.
    InvalidUtf8,
    /// The line is not JSON, or the CSV record is torn.
    InvalidSyntax,
    /// A field has a type that cannot be used.
    WrongType,
    /// A required field is absent or empty.
    MissingField,
    /// The reference answer is absent or empty.
    MissingGold,
    /// The kind is none of the known kinds.
    UnknownKind,
    /// A field's value contradicts another (a choice gold that names no choice, too many choices), or the reference
    /// answer cannot be read as its kind demands.
    InvalidValue,
    /// A program's query has no test that can fail.
    NoTests,
    /// The tests of a program can never be run.
    TestsUnusable,
    /// The id was seen before with different content.
    DuplicateId,
    /// The line is longer than the reader's limit.
    RowTooLong,
    /// The same question was seen before.
    Duplicate,
    /// The same question was seen before, with another answer.
    ConflictingGold,
    /// A question whose text is near was seen before.
    NearDuplicate,
    /// A benchmark holds the question.
    Contaminated,
    /// No response of either mode was correct.
    Unsolved,
    /// Every verdict was `unverifiable`.
    Unverifiable,
    /// The correct responses hold the response template's own tags, or do not show the mode that was asked for.
    TemplateCollision,
    /// The prompt leaves no room for an answer in the model's context.
    PromptTooLong,
    /// The policy's server gave no response within its attempts, or refused the request.
    PolicyFailed,
    /// The policy's or the judge's server fell at three separate times while the query was asked, and again when it was
    /// asked alone.
    ServerFailedOnIt,
    /// Responses or verdicts that a decision needs are not stored, and only stored facts were read.
    NotStored,
    /// The judge gave no usable justification within its attempts.
    JudgeFailed,
    /// The judge's texts did not pass the checks within its attempts.
    JustificationRejected,
}

stable_names!(ExclusionReason {
    InvalidUtf8 => "invalid_utf8",
    InvalidSyntax => "invalid_syntax",
    WrongType => "wrong_type",
    MissingField => "missing_field",
    MissingGold => "missing_gold",
    UnknownKind => "unknown_kind",
    InvalidValue => "invalid_value",
    NoTests => "no_tests",
    TestsUnusable => "tests_unusable",
    DuplicateId => "duplicate_id",
    RowTooLong => "row_too_long",
    Duplicate => "duplicate",
    ConflictingGold => "conflicting_gold",
    NearDuplicate => "near_duplicate",
    Contaminated => "contaminated",
    Unsolved => "unsolved",
    Unverifiable => "unverifiable",
    TemplateCollision => "template_collision",
    PromptTooLong => "prompt_too_long",
    PolicyFailed => "policy_failed",
    ServerFailedOnIt => "server_failed_on_it",
    NotStored => "not_stored",
    JudgeFailed => "judge_failed",
    JustificationRejected => "justification_rejected",
});

impl ExclusionReason {
    /// Returns whether something was wrong (exit code 4), as opposed to a rule that worked as intended.
    #[must_use]
    pub const fn is_error(self) -> bool {
        !matches!(
            self,
            Self::Duplicate
                | Self::NotStored
                | Self::ConflictingGold
                | Self::NearDuplicate
                | Self::Contaminated
                | Self::Unsolved
                | Self::Unverifiable
                | Self::TemplateCollision
                | Self::JustificationRejected
        )
    }
}

/// A query that gives no sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// The id, where the row was readable enough to have one.
    pub query_id: Option<QueryId>,
    /// 0-based position among all input rows of the run.
    pub ordinal: u64,
    /// The row's own `source` where it was readable, else the file's name.
    pub source: String,
    /// File and line.
    pub origin: Origin,
    /// Why.
    pub reason: ExclusionReason,
    /// One sentence for a person: what was found and what was expected.
    pub detail: String,
}
