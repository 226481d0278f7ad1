//! Queries that give no sample, each with one reason.

use serde::{Deserialize, Serialize};

use super::{Origin, QueryId, stable_names};

/// Why a query gives no sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExclusionReason {
    /// The line is not UTF-8.
    InvalidUtf8,
    /// The line is not JSON, or the CSV record is incomplete.
    InvalidSyntax,
    /// A field has an unusable type.
    WrongType,
    /// A required field is absent or empty.
    MissingField,
    /// The reference answer is absent or empty.
    MissingGold,
    /// The kind is unknown.
    UnknownKind,
    /// A field's value contradicts another field (the gold names no choice, too many choices), or the gold cannot be
    /// parsed as the kind requires.
    InvalidValue,
    /// A query of kind `code` has no test that can fail.
    NoTests,
    /// The tests of a program can never be run.
    TestsUnusable,
    /// An earlier query has the same id and other content.
    DuplicateId,
    /// The line is longer than the reader's limit.
    RowTooLong,
    /// An earlier query asks the same question.
    Duplicate,
    /// An earlier query asks the same question and has another answer.
    ConflictingGold,
    /// An earlier query asks nearly the same question.
    NearDuplicate,
    /// A benchmark contains the question.
    Contaminated,
    /// No response of either mode was correct.
    Unsolved,
    /// Every verdict was `unverifiable`.
    Unverifiable,
    /// The correct responses contain the response template's own tags, or do not show the requested mode.
    TemplateCollision,
    /// The prompt leaves no room for an answer in the model's context.
    PromptTooLong,
    /// The policy's server gave no response within its attempts, or refused the request.
    PolicyFailed,
    /// The policy's or the judge's server crashed at three separate times while it processed the query, and again when
    /// it processed the query alone.
    ServerFailedOnIt,
    /// The decision needs responses or verdicts that are not stored, and the run reads stored facts only.
    NotStored,
    /// The judge gave no usable justification within its attempts.
    JudgeFailed,
    /// No text of the judge passed the checks within the judge's attempts.
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
    /// Returns whether the reason is a fault (exit code 4), as opposed to a rule that worked as intended.
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
    /// The id, if the row was readable enough to have one.
    pub query_id: Option<QueryId>,
    /// 0-based position among all input rows of the run.
    pub ordinal: u64,
    /// The row's own `source`, or the file's name if the source is not readable.
    pub source: String,
    /// File and line.
    pub origin: Origin,
    /// Why the query gives no sample.
    pub reason: ExclusionReason,
    /// One sentence for a person: the found and the expected value.
    pub detail: String,
}
