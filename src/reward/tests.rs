//! Tests of the rule against golden vectors from an independent program, and of its edge cases.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

/// Written by `tests/tools/reward_vectors.py write`.
const VECTORS: &str = include_str!("../../fixtures/reward_vectors.jsonl");

#[derive(Deserialize)]
struct Vector {
    settings: RewardSettings,
    responses: Vec<(ShownMode, bool, bool)>,
    #[serde(default)]
    completion_tokens: Option<Vec<u32>>,
    mean: f64,
    deviation: f64,
    mean_on: Option<f64>,
    mean_off: Option<f64>,
    is_adjusted: bool,
    reward: Vec<f64>,
    advantage_judge: Vec<f64>,
    advantage_answer: Vec<f64>,
}

fn response(&(mode, is_correct, is_well_formed): &(ShownMode, bool, bool)) -> Response {
    Response { mode, is_correct, is_well_formed, completion_tokens: None }
}

/// Responses of one mode: `c` correct and well-formed, `b` correct only, `f` well-formed only, `-` neither.
fn group(on: &str, off: &str) -> Vec<Response> {
    let of = |mode, marks: &str| -> Vec<Response> {
        let is = |mark: char, set: &str| set.contains(mark);
        marks.chars().map(|mark| response(&(ShownMode::from(mode), is(mark, "cb"), is(mark, "cf")))).collect()
    };
    [of(Mode::ThinkOn, on), of(Mode::ThinkOff, off)].concat()
}

#[test]
fn the_rule_gives_the_golden_vectors() {
    let mut largest = 0.0_f64;
    let mut count = 0;
    for line in VECTORS.lines() {
        let vector: Vector = serde_json::from_str(line).unwrap();
        let mut responses: Vec<Response> = vector.responses.iter().map(response).collect();
        for (response, tokens) in responses.iter_mut().zip(vector.completion_tokens.iter().flatten()) {
            response.completion_tokens = Some(*tokens);
        }
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
    assert_eq!(count, 300);
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
    assert_eq!(fault(RewardSettings { length_weight: 1.0, ..base }), None);
    assert_eq!(fault(RewardSettings { length_weight: 1.1, ..base }), Some("length_weight"));
    assert_eq!(fault(RewardSettings { length_weight: f64::NAN, ..base }), Some("length_weight"));
    let one_advantage = RewardSettings { length_weight: 0.1, method: Method::Grpo, ..base };
    assert_eq!(fault(one_advantage), Some("length_weight"));
}

#[test]
fn a_margin_raises_think_off_as_the_selection_chooses_it() {
    let settings = RewardSettings { boost: Boost::Margin, omega: 0.1, format_weight: 0.0, ..RewardSettings::default() };
    let of_ten = |correct| "b".repeat(correct) + &"-".repeat(10 - correct);
    for on in 0..=10 {
        for off in 0..=10 {
            let found = rewards(&group(&of_ten(on), &of_ten(off)), &settings);
            assert_eq!(found.is_adjusted, on == off, "a difference of a tenth is the margin: {on} {off}");
        }
    }
    let wide = RewardSettings { omega: 0.11, ..settings };
    let found = rewards(&group(&of_ten(5), &of_ten(4)), &wide);
    assert!(found.is_adjusted && found.mode_means.off > found.mode_means.on);
}

#[test]
fn among_correct_responses_a_shorter_one_gains_and_incorrect_ones_are_as_before() {
    let long = |mut responses: Vec<Response>, tokens: &[u32]| {
        for (response, tokens) in responses.iter_mut().zip(tokens) {
            response.completion_tokens = Some(*tokens);
        }
        responses
    };
    let settings = RewardSettings { length_weight: 0.2, ..RewardSettings::default() };
    let responses = long(group("cc-", "c-"), &[100, 60, 5, 20, 1]);
    let (plain, with) = (rewards(&responses, &RewardSettings::default()), rewards(&responses, &settings));
    let gain = |index: usize| {
        let (plain, with) = (plain.responses[index], with.responses[index]);
        (with.advantage_judge - plain.advantage_judge, with.advantage_answer - plain.advantage_answer)
    };
    // 100, 60, 20 have the mean 60; 100 and 60 the mean 80 and the deviation 20; 20 is alone in its mode.
    assert!(gain(0).0 < -0.2 && gain(1).0.abs() < 1e-9 && gain(3).0 > 0.2);
    assert!((gain(0).1 + 0.2).abs() < 1e-6 && (gain(1).1 - 0.2).abs() < 1e-6 && gain(3).1 == 0.0);
    assert!(gain(2) == (0.0, 0.0) && gain(4) == (0.0, 0.0));
    let equal = long(group("cc", "c"), &[7, 7, 7]);
    assert_eq!(rewards(&equal, &settings), rewards(&equal, &RewardSettings::default()));
    assert_eq!(rewards(&group("cc", "c"), &settings), rewards(&group("cc", "c"), &RewardSettings::default()));
}

#[test]
fn a_response_without_a_mode_is_of_the_group_and_of_no_mode() {
    let settings = RewardSettings::default();
    let mut responses = group("cc", "cc");
    responses.push(response(&(ShownMode::None, false, false)));
    let found = rewards(&responses, &settings);
    assert_eq!(found.mode_means, rewards(&group("cc", "cc"), &settings).mode_means);
    assert!(found.mean < 1.2 && found.is_adjusted);
    let [.., none] = found.responses.as_slice() else { unreachable!("the group has five responses") };
    assert!(none.advantage_judge < -found.mean && none.advantage_answer < -1.9, "{none:?}");
    let lost = rewards(&[responses[4]; 3], &settings);
    assert!(lost.responses.iter().all(|rewarded| *rewarded == Rewarded::default()), "{lost:?}");
}

fn any_responses() -> impl Strategy<Value = Vec<Response>> {
    let one = (any::<bool>(), any::<bool>(), any::<bool>(), 1_u32..999);
    let one = one.prop_map(|(is_on, is_correct, is_well_formed, tokens)| Response {
        mode: if is_on { ShownMode::ThinkOn } else { ShownMode::ThinkOff },
        is_correct,
        is_well_formed,
        completion_tokens: Some(tokens),
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
            let of_mode = responses.iter().zip(&found.responses).filter(|(response, _)| response.mode == mode.into());
            let answers: Vec<Rewarded> = of_mode.map(|(_, rewarded)| *rewarded).collect();
            let total: f64 = answers.iter().map(|rewarded| rewarded.advantage_answer).sum();
            prop_assert!(total.abs() < 1e-8, "{total}");
            if answers.windows(2).all(|pair| pair[0].reward == pair[1].reward) {
                prop_assert!(answers.iter().all(|rewarded| rewarded.advantage_answer == 0.0));
            }
        }
    }
}
