//! A row of a request for rewards, once it was read and graded.

use serde_json::value::RawValue;

use super::error::shortened;
use super::limits::{NAME_BYTES_MAX, ROLLOUTS_MAX};
use super::wire::AtMost;
use crate::reward::row::{Grading, RewardRow, RowFault, grade};
use crate::verify::Evaluated;

/// Values of a body in their own text, which is looked at when their turn comes.
pub(super) type Texts<'a> = AtMost<&'a RawValue, ROLLOUTS_MAX>;

/// Which rows belong together.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum GroupName {
    Number(usize),
    Name(String),
    /// Of a prompt.
    Hash([u8; 32]),
}

/// A row that is graded, or waits for its program.
pub(super) struct ReadRow {
    pub(super) group: Option<GroupName>,
    pub(super) query_id: Option<String>,
    pub(super) judge_chars: Option<usize>,
    pub(super) grading: Result<Grading, RowFault>,
}

impl ReadRow {
    /// Grades a row, which belongs to this group or else to the one that it names.
    pub(super) fn of(group: Option<GroupName>, row: Result<RewardRow<'_>, RowFault>, evaluated: Evaluated) -> Self {
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
        let grading = grade(row, evaluated).map_err(|fault| RowFault(shortened(fault.0)));
        let judge_end = match &grading {
            Ok(Grading::Ready(graded) | Grading::Program(graded, _)) => graded.judge_end,
            Err(_) => None,
        };
        let head = completion.as_deref().zip(judge_end).and_then(|(text, end)| text.get(..end));
        Self { group, query_id, judge_chars: head.map(|head| head.chars().count()), grading }
    }
}

/// What is said of a row stands for each completion of a group, so it must not repeat a long text.
pub(super) fn no_rollout(error: &serde_json::Error) -> RowFault {
    RowFault(shortened(format!("the row is no rollout: {error}")))
}
