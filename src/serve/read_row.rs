//! A row of a reward request after parsing and grading.

use serde_json::value::RawValue;

use super::error::shortened;
use super::limits::{NAME_BYTES_MAX, ROLLOUTS_MAX};
use super::wire::AtMost;
use crate::reward::row::{GradeRules, Grading, RewardRow, RowFault, grade};

/// The values of a list as raw JSON text, parsed one by one later.
pub(super) type Texts<'a> = AtMost<&'a RawValue, ROLLOUTS_MAX>;

/// The name of a group of rows.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum GroupName {
    Number(usize),
    Name(String),
    /// The SHA-256 of the prompt.
    Hash([u8; 32]),
}

/// A row that is graded, or whose program is still to be run.
pub(super) struct ReadRow {
    pub(super) group: Option<GroupName>,
    pub(super) query_id: Option<String>,
    pub(super) judge_chars: Option<usize>,
    pub(super) grading: Result<Grading, RowFault>,
}

impl ReadRow {
    /// Grades a row. The row belongs to `group`, or to the group of its `query_id` if `group` is `None`.
    pub(super) fn of(group: Option<GroupName>, row: Result<RewardRow<'_>, RowFault>, rules: GradeRules) -> Self {
        let fault = |fault| Self { group: None, query_id: None, judge_chars: None, grading: Err(fault) };
        let row = match row {
            Ok(row) => row,
            Err(error) => return Self { group, ..fault(error) },
        };
        let query_id = row.query_id.clone().map(|name| name.into_text());
        if query_id.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
            return fault(RowFault(format!("query_id has more than {NAME_BYTES_MAX} bytes")));
        }
        let group = group.or_else(|| query_id.clone().map(GroupName::Name));
        let completion = row.completion.clone();
        let grading = grade(row, rules).map_err(|fault| RowFault(shortened(fault.0)));
        let judge_end = match &grading {
            Ok(Grading::Ready(graded) | Grading::Program(graded, _)) => graded.judge_end,
            Err(_) => None,
        };
        let head = completion.as_deref().zip(judge_end).and_then(|(text, end)| text.get(..end));
        Self { group, query_id, judge_chars: head.map(|head| head.chars().count()), grading }
    }
}

/// Returns the fault of a row that does not parse, with a short message: the response repeats it for each completion of
/// the group.
pub(super) fn no_rollout(error: &serde_json::Error) -> RowFault {
    RowFault(shortened(format!("the row is not a rollout: {error}")))
}
