use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::decide;
use super::*;
use crate::config::DifficultySettings;
use crate::difficulty::{self, DifficultyLabel};
use crate::domain::RolloutKey;

/// One response: correct, renderable, tokens.
type Cell = (bool, bool, u32);

fn candidates(mode: Mode, cells: &[Cell]) -> Vec<Candidate> {
    let candidate = |(index, &(is_correct, is_renderable, completion_tokens)): (usize, &Cell)| Candidate {
        key: RolloutKey(format!("{mode}{index}")),
        is_correct,
        shows_other_mode: false,
        is_renderable,
        completion_tokens,
        sample_index: index as u32,
    };
    cells.iter().enumerate().map(candidate).collect()
}

fn label(bins: &DifficultySettings) -> impl Fn(&ByMode<PassCounts>) -> DifficultyLabel + '_ {
    |counts| difficulty::label(counts, bins)
}

fn matrix() -> impl Strategy<Value = ByMode<Vec<Cell>>> {
    let rates =
        (prop::sample::select(vec![0.0, 0.1, 0.5, 0.9, 1.0]), prop::sample::select(vec![0.0, 0.1, 0.5, 0.9, 1.0]));
    (1..9_usize, rates, prop::bool::weighted(0.8)).prop_flat_map(|(n, (on, off), is_clean)| {
        let cell = move |rate: f64| {
            (prop::bool::weighted(rate), prop::bool::weighted(if is_clean { 1.0 } else { 0.5 }), 0..12_u32)
        };
        (prop::collection::vec(cell(on), n), prop::collection::vec(cell(off), n))
            .prop_map(|(on, off)| ByMode { on, off })
    })
}

fn settings() -> impl Strategy<Value = (SelectSettings, DifficultySettings)> {
    let bins = (0.05..=1.0_f64, 0.05..=1.0_f64, 0.05..=1.0_f64).prop_map(|(easy, share, on)| DifficultySettings {
        easy_off_min: easy,
        medium_off_min: easy * share,
        medium_on_min: on,
        ..DifficultySettings::default()
    });
    let rate = prop::sample::select(vec![0.0, 0.5, 1.0]);
    let select =
        (prop::sample::select(vec![0.0, 0.1, 0.25, 0.5, 1.0]), rate).prop_map(|(tie_margin, random_mode_rate)| {
            SelectSettings { tie_margin, random_mode_rate, ..SelectSettings::default() }
        });
    (select, bins)
}

/// The requested responses, each with its useful length.
type Asked = BTreeMap<(Mode, u32), Option<u32>>;

/// Samples the missing responses, one at a time in an order that `shuffle` decides, until the query is settled. Returns
/// the end and the bound of every requested response.
fn sample_until_settled(
    rule: &Rule<'_, impl Fn(&ByMode<PassCounts>) -> DifficultyLabel>,
    all: &ByMode<Vec<Candidate>>,
    mut shuffle: u64,
) -> (Replay<DifficultyLabel>, Asked) {
    let mut there = Asked::new();
    loop {
        let mut open = Vec::new();
        let replay = replay(rule, |wish| {
            let candidate = &all[wish.mode][wish.sample_index as usize];
            if !there.contains_key(&(wish.mode, wish.sample_index)) {
                open.push(wish);
                return None;
            }
            let is_useful = wish.tokens_max.is_none_or(|bound| candidate.completion_tokens <= bound);
            Some(if is_useful { Seen::Whole(candidate.clone()) } else { Seen::TooLong })
        });
        if open.is_empty() {
            return (replay, there);
        }
        shuffle = shuffle.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let next = open[(shuffle >> 33) as usize % open.len()];
        there.insert((next.mode, next.sample_index), next.tokens_max);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_row_is_the_full_budgets_for_any_responses_and_any_order_of_arrival(
        cells in matrix(),
        (select, bins) in settings(),
        id in 0..4_u32,
        reasons in prop::sample::select(vec![Reasons::Exact, Reasons::Coarse]),
        shuffles in any::<(u64, u64)>(),
    ) {
        let query_id = QueryId(format!("q{id}"));
        let all = ByMode::from_fn(|mode| candidates(mode, &cells[mode]));
        let n = all.on.len() as u32;
        let rule = Rule { query_id: &query_id, samples_per_mode: n, settings: &select, seed: 7, reasons, label: label(&bins) };
        let (curtailed, asked) = sample_until_settled(&rule, &all, shuffles.0);
        let again = sample_until_settled(&rule, &all, shuffles.1);
        prop_assert_eq!((&curtailed, &asked), (&again.0, &again.1), "the order of arrival decides nothing");

        let full = decide(&query_id, &all, &select, 7);
        match (curtailed.settled.unwrap(), full) {
            (Ok((decision, label)), Ok(full)) => {
                prop_assert_eq!((decision.mode, decision.reason, &decision.chosen), (full.mode, reasons.tell(full.mode, full.reason), &full.chosen));
                prop_assert_eq!(label, difficulty::label(&full.counts, &bins));
                for mode in [Mode::ThinkOn, Mode::ThinkOff] {
                    prop_assert_eq!(decision.counts[mode].sampled as usize, curtailed.drawn[mode].len());
                    prop_assert!(decision.counts[mode].correct <= full.counts[mode].correct);
                }
            }
            (Err(none), Err(full)) => {
                prop_assert_eq!(none, full);
                if none == NoDecision::Unsolved {
                    prop_assert_eq!(asked.len() as u32, 2 * n, "only all responses show that none is correct");
                }
            }
            (curtailed, full) => prop_assert!(false, "{:?} instead of {:?}", curtailed, full),
        }
    }

    #[test]
    fn a_round_asks_for_no_verdict_that_could_not_have_mattered(
        cells in matrix(),
        (select, bins) in settings(),
        reasons in prop::sample::select(vec![Reasons::Exact, Reasons::Coarse]),
    ) {
        // The property of the last Think-on response that was requested without a bound: another verdict on it, or
        // luckier verdicts up to it, could have led to another row.
        let query_id = QueryId("q".to_owned());
        let all = ByMode::from_fn(|mode| candidates(mode, &cells[mode]));
        let n = all.on.len() as u32;
        let rule = Rule { query_id: &query_id, samples_per_mode: n, settings: &select, seed: 7, reasons, label: label(&bins) };
        let (_, asked) = sample_until_settled(&rule, &all, 1);
        let unbounded = (0..n).filter(|&index| asked.get(&(Mode::ThinkOn, index)) == Some(&None)).count();
        if unbounded > 0 {
            // Even with all of them known except the last, the naive rule over every completion is not settled.
            let known = &all.on[..unbounded - 1];
            let mut rows = Vec::new();
            let left = n as usize - known.len();
            for correct in 0..=left {
                for is_renderable in [false, true] {
                    let rest: Vec<Cell> = (0..left).map(|index| (index < correct, is_renderable, 1)).collect();
                    let mut on = known.to_vec();
                    on.extend(candidates(Mode::ThinkOn, &rest));
                    let counts = ByMode { on: count(&on), off: count(&all.off) };
                    let both = ByMode { on, off: all.off.clone() };
                    let row = decide(&query_id, &both, &select, 7).map(|full| (full.mode, reasons.tell(full.mode, full.reason)));
                    rows.push((row, difficulty::label(&counts, &bins)));
                }
            }
            prop_assert!(rows.iter().any(|row| *row != rows[0]), "{:?}", rows);
        }
    }
}

/// Draws the responses of a query with given Think-on and Think-off rates and mean lengths.
fn drawn(random: &mut u64, rates: (f64, f64), n: u32) -> ByMode<Vec<Candidate>> {
    let mut uniform = || {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut cells = |rate: f64, mean: f64| -> Vec<Cell> {
        (0..n).map(|_| (uniform() < rate, true, (mean * (0.5 + uniform())) as u32)).collect()
    };
    let (on, off) = (cells(rates.0, 800.0), cells(rates.1, 100.0));
    ByMode { on: candidates(Mode::ThinkOn, &on), off: candidates(Mode::ThinkOff, &off) }
}

#[test]
fn fewer_tokens_are_sampled_over_any_mix_of_pass_rates() {
    let (select, bins) = (SelectSettings::default(), DifficultySettings::default());
    let mut random = 1;
    for (name, rates) in
        [("easy", (0.95, 0.9)), ("middling", (0.7, 0.4)), ("hard", (0.4, 0.05)), ("thinking hurts", (0.4, 0.8))]
    {
        let (mut full, mut curtailed, mut frugal) = (0_u64, 0_u64, 0_u64);
        for index in 0..400 {
            let query_id = QueryId(format!("{name}{index}"));
            let all = drawn(&mut random, rates, 8);
            let tokens = |reasons: Reasons| -> u64 {
                let settings = &select;
                let rule =
                    Rule { query_id: &query_id, samples_per_mode: 8, settings, seed: 0, reasons, label: label(&bins) };
                let (_, asked) = sample_until_settled(&rule, &all, 1);
                let tokens = |(&(mode, index), bound): (&(Mode, u32), &Option<u32>)| {
                    let whole = all[mode][index as usize].completion_tokens;
                    u64::from(bound.map_or(whole, |bound| whole.min(bound + 1)))
                };
                asked.iter().map(tokens).sum()
            };
            curtailed += tokens(Reasons::Exact);
            frugal += tokens(Reasons::Coarse);
            full += all.on.iter().chain(&all.off).map(|candidate| u64::from(candidate.completion_tokens)).sum::<u64>();
        }
        let share = |tokens: u64| tokens as f64 / full as f64;
        println!("{name}: curtailed {:.3}, frugal {:.3} of the full budget's tokens", share(curtailed), share(frugal));
        assert!(frugal <= curtailed && curtailed < full, "{name}");
    }
}
