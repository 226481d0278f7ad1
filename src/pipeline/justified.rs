//! The outcome of a justification, and the structured response that it completes.

use super::plan::Chosen;
use crate::config::OnRejected;
use crate::domain::{ExclusionReason, Mode};
use crate::judge::check::Rejection;
use crate::judge::{Judged, Justification};
use crate::template::{ObservedResponse, ResponseBody, StructuredResponse, render};

/// The outcome of a decided query's justification.
#[derive(Debug, Clone)]
pub(super) enum Justified {
    /// The run has no judge.
    None,
    /// No request was made, because only stored facts are read.
    Outstanding,
    /// A text was accepted.
    Accepted(Justification),
    /// No text was accepted, and the sample is kept without one.
    Rejected(Rejection),
}

impl Justified {
    /// Decides the outcome of a settled conversation for its query.
    ///
    /// # Errors
    /// The exclusion's reason and detail.
    pub(super) fn new(judged: Judged, on_rejected: OnRejected) -> Result<Self, (ExclusionReason, String)> {
        match judged {
            Judged::Accepted(justification) => Ok(Self::Accepted(justification)),
            Judged::Rejected { rejection, .. } if on_rejected == OnRejected::Keep => Ok(Self::Rejected(rejection)),
            Judged::Rejected { rejection, .. } => Err((
                ExclusionReason::JustificationRejected,
                // Without the number of attempts, which depends on accidents of the run (I6).
                format!("{rejection}: the last text was refused, for {}", rejection.advice()),
            )),
            Judged::GaveUp { detail, .. } => Err((ExclusionReason::JudgeFailed, detail)),
            Judged::ServerFell { detail } => Err((
                ExclusionReason::ServerFailedOnIt,
                format!("the judge's server fell while it was asked, and again when it was asked alone ({detail})"),
            )),
        }
    }

    /// Returns the justification, if there is one.
    #[must_use]
    pub(super) const fn justification(&self) -> Option<&Justification> {
        match self {
            Self::Accepted(justification) => Some(justification),
            Self::None | Self::Outstanding | Self::Rejected(_) => None,
        }
    }

    /// Returns the value of the column `justification_status`.
    #[must_use]
    pub(super) fn status(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Outstanding => "outstanding".to_owned(),
            Self::Accepted(_) => "accepted".to_owned(),
            Self::Rejected(rejection) => format!("rejected:{rejection}"),
        }
    }
}

/// Renders the structured response of a decided query.
///
/// # Errors
/// The exclusion's reason and detail if a part cannot be rendered; [`next`] and the judge's reader exclude that.
pub(super) fn completion(
    chosen: &Chosen<'_>,
    justification: Option<&Justification>,
) -> Result<String, (ExclusionReason, String)> {
    let ObservedResponse { thinking, answer, .. } = chosen.graded.observed.clone();
    let body = match chosen.decision.mode {
        Mode::ThinkOn => ResponseBody::ThinkOn { thinking: thinking.unwrap_or_default(), answer },
        Mode::ThinkOff => ResponseBody::ThinkOff { answer },
    };
    let justification = justification.map(|justification| justification.text.clone()).unwrap_or_default();
    render(&StructuredResponse { justification, body })
        .map_err(|collision| (ExclusionReason::TemplateCollision, collision.to_string()))
}
