//! Tests of the rule against golden vectors from an independent program, and of its edge cases.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

/// Written by `tests/tools/reward_vectors.py write`.
const VECTORS: &str = include_str!("../../fixtures/reward_vectors.jsonl");

#[derive(Deserialize)]
struct Vector {
    settings: RewardSettings,
    responses: Vec<(Mode, bool, bool)>,
    mean: f64,
    deviation: f64,
    mean_on: Option<f64>,
    mean_off: Option<f64>,
    is_adjusted: bool,
    reward: Vec<f64>,
    advantage_judge: Vec<f64>,
    advantage_answer: Vec<f64>,
}

fn response(&(mode, is_correct, is_well_formed): &(Mode, bool, bool)) -> Response {
    Response { mode, is_correct, is_well_formed }
}

/// Responses of one mode: `c` correct and well-formed, `b` correct only, `f` well-formed only, `-` neither.
fn group(on: &str, off: &str) -> Vec<Response> {
    let of = |mode, marks: &str| -> Vec<Response> {
        let is = |mark: char, set: &str| set.contains(mark);
        marks.chars().map(|mark| response(&(mode, is(mark, "cb"), is(mark, "cf")))).collect()
    };
    [of(Mode::ThinkOn, on), of(Mode::ThinkOff, off)].concat()
}

#[test]
fn the_rule_gives_the_golden_vectors() {
    let mut largest = 0.0_f64;
    let mut count = 0;
    for line in VECTORS.lines() {
        let vector: Vector = serde_json::from_str(line).unwrap();
        let responses: Vec<Response> = vector.responses.iter().map(response).collect();
        let found = rewards(&responses, &vector.settings);
        assert_eq!(found.is_adjusted, vector.is_adjusted, "{line}");
        assert_eq!(found.mode_means.on.is_some(), vector.mean_on.is_some());
        assert_eq!(found.mode_means.off.is_some(), vector.mean_off.is_some());
        let mut pairs = vec![(found.mean, vector.mean), (found.deviation, vector.deviation)];
        pairs.extend(found.mode_means.on.zip(vector.mean_on));
        pairs.extend(found.mode_means.off.zip(vector.mean_off));
        assert_eq!(found.responses.len(), vector.reward.len());
        for (index, rewarded) in found.responses.iter().enumerate() {
            pairs.push((rewarded.reward, vector.reward[index]));
            pairs.push((rewarded.advantage_judge, vector.advantage_judge[index]));
            pairs.push((rewarded.advantage_answer, vector.advantage_answer[index]));
        }
        for (found, expected) in pairs {
            largest = largest.max((found - expected).abs());
        }
        count += 1;
    }
    assert_eq!(count, 200);
    assert!(largest <= 1e-12, "largest difference {largest:e}");
}

#[test]
fn a_close_think_off_is_raised_and_a_distant_or_better_one_is_not() {
    let settings = RewardSettings { format_weight: 0.0, omega: 0.05, ..RewardSettings::default() };
    let adjusted = |on: &str, off: &str| rewards(&group(on, off), &settings).is_adjusted;
    let of_twenty = |wrong| "b".repeat(20 - wrong) + &"-".repeat(wrong);
    assert!(adjusted("bb", "bb"), "no difference");
    assert!(adjusted("bb", &of_twenty(1)), "0.05 is the boost itself");
    assert!(!adjusted("bb", &of_twenty(2)));
    assert!(!adjusted(&of_twenty(1), "bb"), "Think-off is ahead");
    assert!(!adjusted("--", "--"), "a boost of nothing is none");
    let found = rewards(&group("bb", "bb"), &settings);
    assert_eq!(found.mode_means, ByMode { on: Some(1.0), off: Some(1.05) });
    assert!(found.responses[2].advantage_judge > found.responses[0].advantage_judge);
    assert_eq!(found.responses[2].advantage_answer, 0.0, "the answer's advantage uses the unadjusted mean");
}

#[test]
fn the_same_rewards_in_another_order_are_no_difference() {
    let settings = RewardSettings::default();
    assert!(rewards(&group("c-bfb-c", "fb-ccb-"), &settings).is_adjusted);
}

#[test]
fn an_empty_group_and_an_absent_mode_change_nothing() {
    let settings = RewardSettings::default();
    let empty = rewards(&[], &settings);
    assert!(empty.responses.is_empty() && empty.mode_means == ByMode::default() && !empty.is_adjusted);
    let alone = rewards(&group("cc-", ""), &settings);
    assert_eq!(alone.mode_means.off, None);
    assert_eq!(alone.mode_means.on, Some(alone.mean), "the shared term is 0");
    assert!(!alone.is_adjusted);
}

#[test]
fn constants_out_of_range_are_refused_at_the_bounds() {
    let fault = |settings: RewardSettings| settings.check().err().map(|fault| fault.name);
    let base = RewardSettings::default();
    assert_eq!(fault(base), None);
    assert_eq!(fault(RewardSettings { omega: 0.0, gamma: 0.0, format_weight: 0.0, epsilon: 1e-12, ..base }), None);
    assert_eq!(fault(RewardSettings { epsilon: 0.0, ..base }), Some("epsilon"));
    assert_eq!(fault(RewardSettings { epsilon: 1.1, ..base }), Some("epsilon"));
    assert_eq!(fault(RewardSettings { omega: -0.1, ..base }), Some("omega"));
    assert_eq!(fault(RewardSettings { gamma: f64::NAN, ..base }), Some("gamma"));
    assert_eq!(fault(RewardSettings { format_weight: f64::INFINITY, ..base }), Some("format_weight"));
}

fn any_responses() -> impl Strategy<Value = Vec<Response>> {
    let one = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(is_on, is_correct, is_well_formed)| Response {
        mode: if is_on { Mode::ThinkOn } else { Mode::ThinkOff },
        is_correct,
        is_well_formed,
    });
    proptest::collection::vec(one, 1..40)
}

proptest! {
    #[test]
    fn the_order_of_a_group_does_not_matter(responses in any_responses()) {
        let settings = RewardSettings::default();
        let reversed: Vec<Response> = responses.iter().rev().copied().collect();
        let (forth, back) = (rewards(&responses, &settings), rewards(&reversed, &settings));
        prop_assert_eq!(forth.is_adjusted, back.is_adjusted);
        for (a, b) in forth.responses.iter().zip(back.responses.iter().rev()) {
            prop_assert!((a.advantage_judge - b.advantage_judge).abs() < 1e-9);
            prop_assert!((a.advantage_answer - b.advantage_answer).abs() < 1e-9);
        }
    }

    #[test]
    fn advantages_of_a_mode_add_up_to_nothing_and_equal_rewards_have_none(responses in any_responses()) {
        let found = rewards(&responses, &RewardSettings::default());
        for &mode in Mode::ALL {
            let of_mode = responses.iter().zip(&found.responses).filter(|(response, _)| response.mode == mode);
            let answers: Vec<Rewarded> = of_mode.map(|(_, rewarded)| *rewarded).collect();
            let total: f64 = answers.iter().map(|rewarded| rewarded.advantage_answer).sum();
            prop_assert!(total.abs() < 1e-8, "{total}");
            if answers.windows(2).all(|pair| pair[0].reward == pair[1].reward) {
                prop_assert!(answers.iter().all(|rewarded| rewarded.advantage_answer == 0.0));
            }
        }
    }
}
