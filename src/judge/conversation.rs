//! What the stored attempts of one query's requests lead to: a pure state machine over facts.
//!
//! The live run and the building of shards both call [`Conversation::advance`], so that a resumed run and an
//! uninterrupted run make the same decisions. A conversation begins with the request of the case. The meaning of each
//! attempt:
//!
//! | stored end | API judge | local judge |
//! |---|---|---|
//! | a text that passes the checks | the justification | the justification |
//! | a text that a check rejects | counts; the next request adds the text and the reason | counts; asked again |
//! | content that is not the JSON object | counts; once, the next request names the problem; then the end | - |
//! | cut off by its token limit | counts; once more with a larger limit; then the end | the same |
//! | content filter, or rejected because of the request itself (too long, moderated) | the end | the end |
//! | other refusal (400, 422, ...), for the eighth time | the end | the end |
//! | other refusal before that, unusable reply, transient status, transport error, batch ended early | counts | counts |
//! | the server fell while only this query was asked | the end: the query is at fault | - |
//! | unreachable; an outage; key, balance, quota; no end (the process died) | ignored: not the query's fault | ignored |
//! | forgiven | ignored | ignored |
//!
//! `attempts_max` bounds the attempts that count, over all requests of a conversation and over all restarts; stored
//! attempts beyond that bound, made under a larger one, are ignored. A local judge is not told about a rejection: its
//! next attempt uses another random stream.

use std::sync::Arc;

use crate::domain::{AttemptOutcome, Mode};
use crate::http::retry::{Class, REFUSED_TRIES, is_refusal};
use crate::http::wire::Message;
use crate::http::{DETAIL_CHARS_MAX, one_line};

use super::analysis::JudgeReply;
use super::check::{self, Neighbours, Rejection, Subject};
use super::prompt::{self, JudgeCase};
use super::reply::{ParsedReply, RawReply, ReplyProblem};
use super::{Attempt, AttemptEnd, Cap, Judge, JudgeKind, JudgeRequest, PastAttempt};

/// The detail of a request that the server refused without a message.
const REFUSED: &str = "the request was rejected";

/// Replaces the name of the served model if the reply does not hold one.
const UNKNOWN_MODEL: &str = "unknown";

/// A usable justification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Justification {
    /// Plain text.
    pub text: String,
    /// The name of the model in the reply, else `unknown`.
    pub judge_model: String,
}

/// How a conversation ended: a function of the stored facts, hence the same on every run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// A text passed all checks.
    Accepted(Justification),
    /// Texts arrived, and none passed the checks within the allowed attempts.
    Rejected {
        /// Why the last text was rejected.
        rejection: Rejection,
        /// The number of attempts that counted.
        attempts: u32,
    },
    /// The server falls when it is asked about this query.
    ServerFell {
        /// The failure of the server.
        detail: String,
    },
    /// No usable text arrived within the allowed attempts.
    GaveUp {
        /// The number of attempts that counted.
        attempts: u32,
        /// The problem of the last attempt.
        detail: String,
    },
}

/// The next step of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make another attempt at the current request.
    Call(Attempt),
    /// The conversation has a new request; read that request's stored attempts.
    Next,
    /// The conversation is over.
    Settled(Judged),
}

/// One query's conversation with its judge.
#[derive(Debug, Clone)]
pub struct Conversation {
    kind: JudgeKind,
    question: String,
    gold: String,
    choices: Vec<String>,
    mode: Mode,
    /// The texts that the justification must not nearly repeat.
    neighbours: Arc<Neighbours>,
    messages: Vec<Message>,
    request: JudgeRequest,
    attempts_max: u32,
    /// The number of counted attempts in earlier requests.
    attempts_before: u32,
    /// Why the last text was rejected.
    rejection: Option<Rejection>,
    was_repaired: bool,
}

impl Conversation {
    /// Begins the conversation about a case.
    pub fn new(judge: &dyn Judge, case: &JudgeCase<'_>, attempts_max: u32) -> Result<Self, minijinja::Error> {
        Ok(Self::with_messages(judge, case, judge.messages(case)?, attempts_max))
    }

    /// Begins a conversation with the caller's messages.
    #[must_use]
    pub fn with_messages(judge: &dyn Judge, case: &JudgeCase<'_>, messages: Vec<Message>, attempts_max: u32) -> Self {
        Self {
            kind: judge.kind(),
            question: case.question.to_owned(),
            gold: case.gold.to_owned(),
            choices: case.choices.to_vec(),
            mode: case.mode,
            neighbours: Arc::new(Neighbours::new(judge.kind())),
            request: JudgeRequest::new(judge, &messages),
            messages,
            attempts_max,
            attempts_before: 0,
            rejection: None,
            was_repaired: false,
        }
    }

    /// Makes the conversation reject a text that nearly repeats a text of another query.
    #[must_use]
    pub fn among(mut self, neighbours: Arc<Neighbours>) -> Self {
        self.neighbours = neighbours;
        self
    }

    /// Returns the current request.
    #[must_use]
    pub fn request(&self) -> &JudgeRequest {
        &self.request
    }

    /// Decides what the stored attempts at the current request, in order, lead to.
    pub fn advance(&mut self, judge: &dyn Judge, history: &[PastAttempt]) -> Step {
        let mut attempts = self.attempts_before;
        let mut rejection = self.rejection;
        let (mut last, mut was_cut, mut refused) = (None, false, 0);
        for past in history {
            // Attempts beyond the bound were made under a larger bound.
            if attempts >= self.attempts_max {
                break;
            }
            let standing = self.standing(past.end.as_ref());
            attempts += u32::from(!matches!(standing, Standing::Free));
            match standing {
                Standing::Free => {}
                Standing::Accepted(justification) => return Step::Settled(Judged::Accepted(justification)),
                Standing::Rejected { reason, .. } if self.kind == JudgeKind::Local || attempts >= self.attempts_max => {
                    rejection = Some(reason);
                }
                Standing::Rejected { reason, text } => {
                    self.rejection = Some(reason);
                    return self.go_on(judge, attempts, &text, prompt::rejected(reason));
                }
                Standing::Malformed { problem, said } if !self.was_repaired && attempts < self.attempts_max => {
                    self.was_repaired = true;
                    return self.go_on(judge, attempts, &said, prompt::malformed(&problem));
                }
                Standing::Malformed { problem, .. } => return ended(rejection, attempts, problem),
                Standing::CutOff(detail) if was_cut => {
                    return ended(rejection, attempts, format!("{detail}, and again with a larger one"));
                }
                Standing::Hopeless(detail) => return ended(rejection, attempts, detail),
                Standing::Fell(detail) => return Step::Settled(Judged::ServerFell { detail }),
                Standing::Refused(detail) => {
                    refused += 1;
                    if refused == REFUSED_TRIES {
                        return ended(rejection, attempts, detail);
                    }
                    last = Some(detail);
                }
                Standing::CutOff(detail) => (was_cut, last) = (true, Some(detail)),
                Standing::Counts(detail) => last = Some(detail),
            }
        }
        if attempts >= self.attempts_max {
            return ended(rejection, attempts, last.unwrap_or_else(|| "no attempt is allowed".to_owned()));
        }
        let number = history.last().map_or(0, |past| past.attempt).saturating_add(1);
        Step::Call(Attempt { number, cap: if was_cut { Cap::Raised } else { Cap::AsAsked } })
    }

    /// Continues with a request that shows the judge its text and the problem of the text.
    fn go_on(&mut self, judge: &dyn Judge, attempts: u32, said: &str, objection: Message) -> Step {
        self.messages.extend([Message::assistant(said), objection]);
        self.request = JudgeRequest::new(judge, &self.messages);
        self.attempts_before = attempts;
        Step::Next
    }

    fn standing(&self, end: Option<&AttemptEnd>) -> Standing {
        let (outcome, status, detail) = match end {
            // The process died during the attempt, so the query is not at fault.
            None | Some(AttemptEnd::Forgiven) => return Standing::Free,
            Some(AttemptEnd::Reply(reply)) => return self.standing_of_reply(reply),
            Some(AttemptEnd::Failed { outcome, status, detail }) => (*outcome, *status, detail),
        };
        let said = |otherwise: &str| match (detail.as_str(), status) {
            ("", Some(status)) => format!("HTTP {status}"),
            ("", None) => otherwise.to_owned(),
            (words, _) => words.to_owned(),
        };
        match outcome {
            AttemptOutcome::Unreachable | AttemptOutcome::Refused | AttemptOutcome::ServerDown => Standing::Free,
            AttemptOutcome::ServerFell => Standing::Fell(said("the server fell")),
            AttemptOutcome::Rejected => Standing::Hopeless(said(REFUSED)),
            AttemptOutcome::Unanswered => Standing::Counts("its batch ended before it was answered".to_owned()),
            AttemptOutcome::HttpError if is_refusal(status) => Standing::Refused(said(REFUSED)),
            AttemptOutcome::HttpError | AttemptOutcome::TransportError => {
                Standing::Counts(said("no complete reply came"))
            }
        }
    }

    fn standing_of_reply(&self, reply: &RawReply) -> Standing {
        let problem = match reply.parse(self.kind) {
            Ok(reply) => return self.checked(reply),
            Err(ReplyProblem::Malformed { problem, said }) => return Standing::Malformed { problem, said },
            Err(problem) => problem,
        };
        let detail = one_line(&problem.to_string(), DETAIL_CHARS_MAX);
        match problem.class() {
            Class::FatalRun => Standing::Free,
            Class::FatalRequest => Standing::Hopeless(detail),
            Class::Length => Standing::CutOff(detail),
            Class::Transient | Class::Unreachable => Standing::Counts(detail),
        }
    }

    fn checked(&self, reply: ParsedReply) -> Standing {
        let ParsedReply { justification: text, served_model, .. } = reply;
        let Self { question, gold, choices, mode, .. } = self;
        let subject = Subject { question, gold, choices, mode: *mode };
        let checked = check::check(&text, &subject, check::known_texts(self.kind), self.kind);
        let checked =
            checked.and_then(|()| if self.neighbours.resemble(&text) { Err(Rejection::NearCopy) } else { Ok(()) });
        match checked {
            Ok(()) => {
                let judge_model = served_model.unwrap_or_else(|| UNKNOWN_MODEL.to_owned());
                Standing::Accepted(Justification { text, judge_model })
            }
            Err(reason) => {
                let object = serde_json::to_string(&JudgeReply { analysis: text });
                Standing::Rejected { reason, text: object.unwrap_or_default() }
            }
        }
    }
}

/// The meaning of one stored attempt for its conversation.
enum Standing {
    Accepted(Justification),
    Rejected { reason: Rejection, text: String },
    Malformed { problem: String, said: String },
    Counts(String),
    CutOff(String),
    Hopeless(String),
    Refused(String),
    Fell(String),
    Free,
}

/// Prefers a rejection over the last failure: a rejected text says more about the query.
fn ended(rejection: Option<Rejection>, attempts: u32, detail: String) -> Step {
    Step::Settled(match rejection {
        Some(rejection) => Judged::Rejected { rejection, attempts },
        None => Judged::GaveUp { attempts, detail },
    })
}
