//! Curtailed sampling: selects exactly the responses that can still change the published row.
//!
//! The row of a query (mode, reason, response, label; or no row) is a function of all 2 N responses. A curtailed budget
//! samples responses in rounds, and each round is a function of the results of the earlier rounds:
//!
//! 1. all Think-off responses, which are short;
//! 2. while mode, reason or label depend on missing verdicts: the minimum number of Think-on responses after which they
//!    may no longer depend on them;
//! 3. if Think-on has won: its remaining responses, which can only win by being shorter. A response may be cut as soon
//!    as it is longer than the shortest eligible one; of Think-off none remain.
//!
//! A response that is cut, or complete but too long to win, has no verdict and is not counted. The rounds depend on
//! facts in a fixed order, not on other stored facts or on the order of arrival; therefore a resumed run, a run over
//! the facts of a full run and an uninterrupted run end with the same responses and the same row (I6). A property test
//! below proves that the row is the row of the full budget. If responses fail, the two budgets may differ: the smaller
//! budget meets fewer failures. A frugal budget is the same with coarser [`Reasons`].

use super::{Candidate, NoDecision, choose_mode, count, random_mode, shortest};
use crate::config::SelectSettings;
use crate::domain::{ByMode, Decision, Mode, ModeReason, PassCounts, QueryId};

/// Everything that decides the row of a query, except its responses.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a, F> {
    /// The query.
    pub query_id: &'a QueryId,
    /// N.
    pub samples_per_mode: u32,
    /// The mode rule's settings.
    pub settings: &'a SelectSettings,
    /// Seed of the run.
    pub seed: u64,
    /// How precisely the row states its reason.
    pub reasons: Reasons,
    /// The label of a query by the counts of all its responses.
    pub label: F,
}

/// How precisely a row states the reasons of Think-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reasons {
    /// The reasons of the full budget.
    Exact,
    /// A tie and a higher pass rate are both `not_worse`: if Think-off wins either way, no response is needed to
    /// distinguish them, and if Think-off solves everything, no Think-on response at all.
    Coarse,
}

impl Reasons {
    /// Returns a reason at this precision.
    #[must_use]
    pub fn tell(self, mode: Mode, reason: ModeReason) -> ModeReason {
        match (self, mode, reason) {
            (Self::Coarse, Mode::ThinkOff, ModeReason::Tie | ModeReason::HigherPassRate) => ModeReason::NotWorse,
            _ => reason,
        }
    }
}

/// A requested response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wish {
    /// The response's mode.
    pub mode: Mode,
    /// 0-based index in its mode.
    pub sample_index: u32,
    /// The number of completion tokens after which the response is useless, if there is such a bound.
    pub tokens_max: Option<u32>,
}

/// The known state of a requested response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The response and its verdict are stored, within the wish's bound.
    Whole(Candidate),
    /// The response is longer than the wish's bound.
    TooLong,
}

/// The state of a query under a curtailed budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay<L> {
    /// The requested responses that are stored, in order of sample index.
    pub drawn: ByMode<Vec<Candidate>>,
    /// The decision with its label, once no response can change it; `None` while a round is incomplete.
    pub settled: Option<Result<(Decision, L), NoDecision>>,
}

/// The content of a query's row, except its response.
type Row<L> = Result<(Mode, ModeReason, L), NoDecision>;

/// Replays the rounds of a query. `look` returns the known state of a wished response; if it returns `None`, the replay
/// still finishes the round, so that `look` receives every open wish, and then stops.
pub fn replay<L, F>(rule: &Rule<'_, F>, mut look: impl FnMut(Wish) -> Option<Seen>) -> Replay<L>
where
    L: Copy + PartialEq,
    F: Fn(&ByMode<PassCounts>) -> L,
{
    let n = rule.samples_per_mode;
    let mut drawn = ByMode { on: Vec::new(), off: Vec::new() };
    let all_off = (0..n).map(|sample_index| Wish { mode: Mode::ThinkOff, sample_index, tokens_max: None }).collect();
    if !take(&mut drawn, all_off, &mut look) {
        return Replay { drawn, settled: None };
    }
    let rows = Rows::new(rule, &drawn.off);
    let mut asked_on = 0;
    let row = loop {
        let correct = count(&drawn.on).correct;
        let is_eligible = shortest(&drawn.on).is_some();
        let open = Open { correct, left: n - asked_on, is_eligible };
        if let Some(row) = rows.settled(open) {
            break row;
        }
        let more = rows.least_needed(open);
        let wishes = (asked_on..asked_on + more).map(|index| wish_on(index, None)).collect();
        if !take(&mut drawn, wishes, &mut look) {
            return Replay { drawn, settled: None };
        }
        asked_on += more;
    };
    let (mode, reason, label) = match row {
        Ok(row) => row,
        Err(none) => return Replay { drawn, settled: Some(Err(none)) },
    };
    if mode == Mode::ThinkOn {
        let tokens = |candidate: &Candidate| {
            (candidate.is_correct && candidate.is_renderable).then_some(candidate.completion_tokens)
        };
        // A later response of equal length does not win: the lowest index wins.
        let bound = drawn.on.iter().filter_map(tokens).min().and_then(|shortest| shortest.checked_sub(1));
        let wishes = bound.map(|bound| (asked_on..n).map(|index| wish_on(index, Some(bound))).collect());
        if !take(&mut drawn, wishes.unwrap_or_default(), &mut look) {
            return Replay { drawn, settled: None };
        }
    }
    let counts = ByMode::from_fn(|mode| count(&drawn[mode]));
    let chosen = shortest(&drawn[mode]);
    let decision = chosen.map(|chosen| (Decision { mode, reason, counts, chosen }, label));
    Replay { settled: Some(decision.ok_or(NoDecision::NotRenderable(mode))), drawn }
}

fn wish_on(sample_index: u32, tokens_max: Option<u32>) -> Wish {
    Wish { mode: Mode::ThinkOn, sample_index, tokens_max }
}

/// Collects a round; returns whether it is complete.
fn take(drawn: &mut ByMode<Vec<Candidate>>, wishes: Vec<Wish>, look: &mut impl FnMut(Wish) -> Option<Seen>) -> bool {
    let mut is_complete = true;
    for wish in wishes {
        match look(wish) {
            Some(Seen::Whole(candidate)) => drawn[wish.mode].push(candidate),
            Some(Seen::TooLong) => {}
            None => is_complete = false,
        }
    }
    is_complete
}

/// The known state of Think-on while its verdicts matter.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// The number of correct responses.
    correct: u32,
    /// The number of responses without a verdict.
    left: u32,
    /// Whether one response is correct and can be rendered.
    is_eligible: bool,
}

/// Every row that a query can still have, by the final number of correct Think-on responses and by whether one of them
/// is eligible; Think-off is complete.
struct Rows<L> {
    without: Vec<Row<L>>,
    with: Vec<Row<L>>,
    /// By the number of correct responses: the highest number with the same row, if one response is eligible.
    same_up_to: Vec<usize>,
}

impl<L: Copy + PartialEq> Rows<L> {
    fn new<F: Fn(&ByMode<PassCounts>) -> L>(rule: &Rule<'_, F>, off: &[Candidate]) -> Self {
        let Rule { query_id, samples_per_mode, settings, seed, reasons, label } = rule;
        let drawn = random_mode(query_id, settings.random_mode_rate, *seed);
        let off_counts = count(off);
        let is_off_eligible = shortest(off).is_some();
        let row = |correct: u32, is_on_eligible: bool| {
            let counts =
                ByMode { on: PassCounts { sampled: *samples_per_mode, correct, other_mode: 0 }, off: off_counts };
            let is_eligible = ByMode { on: is_on_eligible, off: is_off_eligible };
            choose_mode(&counts, is_eligible, drawn, settings.tie_margin)
                .map(|(mode, reason)| (mode, reasons.tell(mode, reason), label(&counts)))
        };
        let of_all = |is_eligible| (0..=*samples_per_mode).map(|correct| row(correct, is_eligible)).collect();
        let (without, with): (Vec<Row<L>>, Vec<Row<L>>) = (of_all(false), of_all(true));
        let mut same_up_to: Vec<usize> = (0..with.len()).collect();
        for index in (0..with.len().saturating_sub(1)).rev() {
            if with[index] == with[index + 1] {
                same_up_to[index] = same_up_to[index + 1];
            }
        }
        Self { without, with, same_up_to }
    }

    /// Returns the row if no open response can change it.
    fn settled(&self, open: Open) -> Option<Row<L>> {
        let Open { correct, left, is_eligible } = open;
        let (first, last) = (correct as usize, (correct + left) as usize);
        if is_eligible {
            return (self.same_up_to[first] >= last).then(|| self.with[first]);
        }
        let row = self.without[first];
        let later = first + 1..=last;
        later.clone().all(|index| self.with[index] == row && self.without[index] == row).then_some(row)
    }

    /// Returns the minimum number of further verdicts after which the row may be settled; at least 1, at most all.
    fn least_needed(&self, open: Open) -> u32 {
        let settles = |more: u32| {
            (0..=more).any(|correct| {
                let then = Open {
                    correct: open.correct + correct,
                    left: open.left - more,
                    is_eligible: open.is_eligible || correct > 0,
                };
                self.settled(then).is_some()
            })
        };
        (1..open.left).find(|&more| settles(more)).unwrap_or(open.left)
    }
}

#[cfg(test)]
#[path = "curtail_tests.rs"]
mod tests;
