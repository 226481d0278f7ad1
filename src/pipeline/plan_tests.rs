//! Compares the plan with an oracle: a naive decision table over every state of a query's facts.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::config::{ModePresetName, PolicySettings};
use crate::domain::{FinishReason, ModeReason, QueryId, Reading, RolloutKey};
use crate::policy::OpenAiPolicy;

/// The facts about one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    /// Failed attempts; `attempts_max` is three.
    Failed(u32),
    Refused,
    TooLong,
    Unjudged,
    Correct,
    /// Correct, but the template cannot render it.
    Tagged,
    /// The answer is correct, in the other mode than was asked for.
    OtherMode,
    Incorrect,
    Unverifiable,
}

/// A response: its state and its length in tokens.
type Known = (State, u32);

fn query() -> Query {
    Query {
        id: QueryId("q".to_owned()),
        question: "What is 2 + 2?".to_owned(),
        gold: "4".to_owned(),
        ..Query::blank(Kind::Numeric)
    }
}

fn settings(n: usize, tenths: u32) -> Settings {
    let policy = PolicySettings {
        base_urls: vec!["http://127.0.0.1:1/v1".to_owned()],
        mode_preset: ModePresetName::Prompted,
        attempts_max: 3,
        ..PolicySettings::default()
    };
    let mut settings = Settings { policy, ..Settings::default() };
    settings.sampling.samples_per_mode = n as u32;
    settings.select.tie_margin = f64::from(tenths) / 10.0;
    settings.select.random_mode_rate = 0.0;
    settings
}

fn rollout(task: &RolloutTask, state: State, tokens: u32) -> Rollout {
    let answer = if state == State::Tagged { "4 <judge>" } else { "4" };
    let shown = if state == State::OtherMode { task.mode.other() } else { task.mode };
    let text = match shown {
        Mode::ThinkOn => format!("<think>\ntwo and two\n</think>\n{answer}"),
        Mode::ThinkOff => answer.to_owned(),
    };
    Rollout {
        key: task.key.clone(),
        mode: task.mode,
        sample_index: task.sample_index,
        seed: task.seed,
        prompt: String::new(),
        prefill: String::new(),
        text,
        finish_reason: FinishReason::Stop,
        forced_close: None,
        logprob_sum: None,
        prompt_tokens: 1,
        completion_tokens: tokens,
        reading: Reading::default(),
    }
}

fn verdict(state: State) -> Option<Verdict> {
    let outcome = match state {
        State::Correct | State::Tagged | State::OtherMode => VerdictOutcome::Correct,
        State::Incorrect => VerdictOutcome::Incorrect,
        State::Unverifiable => VerdictOutcome::Unverifiable,
        _ => return None,
    };
    Some(Verdict { outcome, extracted: None, reason: "by hand".to_owned() })
}

fn cell(task: RolloutTask, (state, tokens): Known) -> Cell {
    let failure =
        |attempt, outcome, detail: &str| RolloutFailure { attempt, outcome, status: None, detail: detail.to_owned() };
    let failures = match state {
        State::Failed(count) => {
            (1..=count).map(|attempt| failure(attempt, AttemptOutcome::HttpError, "busy")).collect()
        }
        State::Refused => vec![failure(1, AttemptOutcome::Rejected, "no")],
        State::TooLong => vec![failure(1, AttemptOutcome::Rejected, "maximum context length is 4096 tokens")],
        _ => Vec::new(),
    };
    let is_there = !matches!(state, State::Missing | State::Failed(_) | State::Refused | State::TooLong);
    let rollout = is_there.then(|| rollout(&task, state, tokens));
    Cell { verdict: verdict(state), rollout, failures, longer_than: None, task }
}

fn tasks(settings: &Settings) -> ByMode<Vec<RolloutTask>> {
    OpenAiPolicy::new(&settings.policy, &settings.sampling, None).unwrap().tasks(&query())
}

fn cells(settings: &Settings, known: &ByMode<Vec<Known>>) -> ByMode<Vec<Cell>> {
    let tasks = tasks(settings);
    let of = |mode: Mode| tasks[mode].iter().cloned().zip(known[mode].iter().copied());
    ByMode::from_fn(|mode| of(mode).map(|(task, known)| cell(task, known)).collect())
}

/// The next step according to the oracle.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Sample(BTreeSet<(Mode, u32)>),
    Verify(BTreeSet<(Mode, u32)>),
    Excluded(ExclusionReason),
    Justify(Mode, ModeReason, u32),
}

/// The decision table: the first line that applies.
fn oracle(known: &ByMode<Vec<Known>>, tenths: u32) -> Said {
    use State::{Correct, Failed, Incorrect, Missing, OtherMode, Refused, Tagged, TooLong, Unjudged, Unverifiable};
    let all = || {
        let of = |mode: Mode| (0_u32..).zip(&known[mode]).map(move |(index, known)| (mode, index, *known));
        of(Mode::ThinkOn).chain(of(Mode::ThinkOff))
    };
    let those = |is_one: &dyn Fn(State) -> bool| -> BTreeSet<(Mode, u32)> {
        all().filter(|(_, _, (state, _))| is_one(*state)).map(|(mode, index, _)| (mode, index)).collect()
    };
    if let Some((_, _, (state, _))) = all().find(|(_, _, (state, _))| matches!(state, Refused | TooLong | Failed(3..)))
    {
        let is_long = state == TooLong;
        return Said::Excluded(if is_long { ExclusionReason::PromptTooLong } else { ExclusionReason::PolicyFailed });
    }
    let missing = those(&|state| matches!(state, Missing | Failed(_)));
    if !missing.is_empty() {
        return Said::Sample(missing);
    }
    let unjudged = those(&|state| state == Unjudged);
    if !unjudged.is_empty() {
        return Said::Verify(unjudged);
    }
    let correct = |mode: Mode| known[mode].iter().filter(|(state, _)| matches!(state, Correct | Tagged)).count() as u32;
    let (on, off) = (correct(Mode::ThinkOn), correct(Mode::ThinkOff));
    if on + off == 0 {
        let is_unverifiable = those(&|state| matches!(state, Incorrect | OtherMode)).is_empty()
            && !those(&|state| state == Unverifiable).is_empty();
        return Said::Excluded(if is_unverifiable { ExclusionReason::Unverifiable } else { ExclusionReason::Unsolved });
    }
    // |on / n - off / n| < tenths / 10, in whole numbers.
    let n = known.on.len() as u32;
    let is_tie = on == off || on.abs_diff(off) * 10 < tenths * n;
    let (mode, reason) = match (is_tie, on > off) {
        (true, _) if off > 0 => (Mode::ThinkOff, ModeReason::Tie),
        (_, true) => (Mode::ThinkOn, ModeReason::HigherPassRate),
        (_, false) => (Mode::ThinkOff, ModeReason::HigherPassRate),
    };
    let mut best: Option<(u32, u32)> = None;
    for (index, (state, tokens)) in (0_u32..).zip(&known[mode]) {
        if *state == Correct && best.is_none_or(|(fewest, _)| *tokens < fewest) {
            best = Some((*tokens, index));
        }
    }
    best.map_or(Said::Excluded(ExclusionReason::TemplateCollision), |(_, index)| Said::Justify(mode, reason, index))
}

fn said(cells: &ByMode<Vec<Cell>>, settings: &Settings) -> Said {
    match next(&query(), cells, settings) {
        Next::Sample(wanted) => {
            Said::Sample(wanted.iter().map(|wanted| (wanted.cell.task.mode, wanted.cell.task.sample_index)).collect())
        }
        Next::Verify(rollouts) => {
            Said::Verify(rollouts.iter().map(|rollout| (rollout.mode, rollout.sample_index)).collect())
        }
        Next::Excluded(reason, _) => Said::Excluded(reason),
        Next::Justify(chosen) => {
            let Decision { mode, reason, .. } = chosen.decision;
            Said::Justify(mode, reason, chosen.graded.rollout.sample_index)
        }
    }
}

fn known(states: Vec<State>) -> impl Strategy<Value = ByMode<Vec<Known>>> {
    (1..6_usize).prop_flat_map(move |n| {
        let known = || prop::collection::vec((prop::sample::select(states.clone()), 0..9_u32), n);
        (known(), known()).prop_map(|(on, off)| ByMode { on, off })
    })
}

/// Early states are rarer than late ones, because one early state hides the rest.
fn any_states() -> impl Strategy<Value = ByMode<Vec<Known>>> {
    use State::{Correct, Failed, Incorrect, Missing, OtherMode, Refused, Tagged, TooLong, Unjudged, Unverifiable};
    let late = vec![Correct, Correct, Incorrect, Incorrect, OtherMode, Tagged, Unverifiable];
    let unjudged = [late.clone(), vec![Unjudged]].concat();
    let missing = [unjudged.clone(), vec![Missing, Failed(1), Failed(2)]].concat();
    let failed = [missing.clone(), vec![Failed(3), Refused, TooLong]].concat();
    prop_oneof![known(late), known(vec![Unverifiable, Incorrect]), known(unjudged), known(missing), known(failed)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn the_plan_is_the_decision_tables(known in any_states(), tenths in 0..11_u32) {
        let settings = settings(known.on.len(), tenths);
        prop_assert_eq!(said(&cells(&settings, &known), &settings), oracle(&known, tenths));
    }

    #[test]
    fn what_is_planned_is_not_there_yet_and_doing_it_comes_to_an_end(
        known in any_states(),
        fate in known(vec![State::Correct, State::Incorrect, State::Tagged, State::Unverifiable]),
        tenths in 0..11_u32,
        budget in prop::sample::select(vec![BudgetPolicy::Full, BudgetPolicy::Curtailed, BudgetPolicy::Frugal]),
    ) {
        let mut settings = settings(known.on.len(), tenths);
        settings.sampling.budget = budget;
        let mut cells = cells(&settings, &known);
        let fate = |mode: Mode, index: u32| fate[mode][index as usize % fate[mode].len()];
        let responses = 2 * known.on.len();
        let mut steps = 0;
        loop {
            steps += 1;
            // Each step adds at least one response or verdict.
            prop_assert!(steps <= 2 * responses + 1, "it never ends");
            let planned: Vec<(RolloutKey, Option<u32>)> = match next(&query(), &cells, &settings) {
                Next::Sample(wanted) => {
                    prop_assert!(wanted.iter().all(|wanted| wanted.cell.rollout.is_none()));
                    wanted.iter().map(|wanted| (wanted.cell.task.key.clone(), wanted.useful_tokens_max)).collect()
                }
                Next::Verify(rollouts) => rollouts.iter().map(|rollout| (rollout.key.clone(), None)).collect(),
                Next::Excluded(..) | Next::Justify(_) => break,
            };
            let distinct: BTreeSet<&RolloutKey> = planned.iter().map(|(key, _)| key).collect();
            prop_assert_eq!(distinct.len(), planned.len(), "nothing is planned twice");
            for cell in cells.on.iter_mut().chain(&mut cells.off) {
                let Some((_, useful)) = planned.iter().find(|(key, _)| *key == cell.task.key) else { continue };
                let (state, tokens) = fate(cell.task.mode, cell.task.sample_index);
                match &cell.rollout {
                    Some(_) => {
                        prop_assert!(cell.verdict.is_none());
                        cell.verdict = verdict(state);
                    }
                    None if useful.is_some_and(|useful| tokens > useful) => cell.longer_than = *useful,
                    None => cell.rollout = Some(rollout(&cell.task, state, tokens)),
                }
            }
        }
        // A settled query stays settled, and only responses that count are published.
        let end = said(&cells, &settings);
        prop_assert_eq!(said(&cells, &settings), end.clone());
        let drawn = drawn(&query(), cells.clone(), &settings);
        if let Said::Justify(mode, _, index) = &end {
            prop_assert!(drawn[*mode].iter().any(|cell| cell.task.sample_index == *index));
        }
        prop_assert!(budget != BudgetPolicy::Full || drawn.on.len() + drawn.off.len() == responses);
    }
}

#[test]
fn responses_of_the_other_mode_are_counted_and_count_as_the_setting_says() {
    let known = ByMode {
        on: vec![(State::Correct, 9), (State::OtherMode, 1)],
        off: vec![(State::OtherMode, 2), (State::Incorrect, 1)],
    };
    let mut settings = settings(2, 1);
    let counts = |settings: &Settings| match next(&query(), &cells(settings, &known), settings) {
        Next::Justify(chosen) => chosen.decision.counts,
        other => unreachable!("{other:?}"),
    };
    let of = |correct| PassCounts { sampled: 2, correct, other_mode: 1 };
    assert_eq!(counts(&settings), ByMode { on: of(1), off: of(0) });
    settings.select.other_mode = OtherMode::AsVerified;
    assert_eq!(counts(&settings), ByMode { on: of(2), off: of(1) });
    let none = ByMode { on: vec![(State::OtherMode, 1)], off: vec![(State::Incorrect, 1)] };
    settings.select.other_mode = OtherMode::Incorrect;
    match next(&query(), &cells(&settings, &none), &settings) {
        Next::Excluded(ExclusionReason::Unsolved, detail) => {
            assert!(detail.contains("1 with a correct answer show the other mode"), "{detail}");
        }
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_structured_response_is_read_behind_its_forced_mode_tag() {
    let settings = settings(1, 1);
    let read = |mode: Mode, prefill: &str, text: &str| {
        let task = tasks(&settings)[mode][0].clone();
        let plain = rollout(&task, State::Correct, 1);
        observe(&Rollout { prefill: prefill.to_owned(), text: text.to_owned(), ..plain })
    };
    let own = read(
        Mode::ThinkOn,
        "<judge>\n",
        "It is long.\n</judge>\n\n<think_on>\n<think>\n2+2\n</think>\n\n<answer>\n4\n</answer>",
    );
    assert_eq!((own.thinking.as_deref(), own.answer.as_str(), own.mode), (Some("2+2"), "4", Mode::ThinkOn));
    let given = "<judge>\nIt is short.\n</judge>\n\n<think_off>\n";
    let off = read(Mode::ThinkOff, given, "<answer>\n4\n</answer>");
    assert_eq!((off.thinking, off.answer.as_str(), off.mode), (None, "4", Mode::ThinkOff));
    let thought = read(Mode::ThinkOff, given, "<think>\n2+2\n</think>\n\n<answer>\n4\n</answer>");
    assert_eq!(thought.mode, Mode::ThinkOn, "it thought in Think-off");
    let silent = read(Mode::ThinkOn, "<judge>\n", "Why.\n</judge>\n\n<think_on>\n<answer>\n4\n</answer>");
    assert_eq!(silent.mode, Mode::ThinkOff, "it did not think in Think-on");
}
