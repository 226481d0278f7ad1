//! The only mode rule (HiPO, arXiv 2509.23967, section on the data pipeline).
//!
//! The rule compares the pass rates of both modes; a difference below the tie margin keeps Think-off, otherwise the
//! higher rate wins; the shortest correct response of the winning mode is the sample. A small share of queries gets a
//! random mode. A response that shows the other mode than was asked for counts as incorrect (`select.other_mode`). A
//! response is *eligible* if its verdict is `correct`, it shows the requested mode, and it holds none of the response
//! template's tags.

pub mod curtail;

use sha2::{Digest, Sha256};

use crate::config::SelectSettings;
use crate::domain::{ByMode, Decision, Mode, ModeReason, PassCounts, QueryId, RolloutKey};

/// The rule's input for one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Content address.
    pub key: RolloutKey,
    /// Whether the response counts as correct: its verdict is `correct`, and it shows the mode that was asked for or
    /// `select.other_mode` makes no difference.
    pub is_correct: bool,
    /// Whether the response shows the other mode than was asked for.
    pub shows_other_mode: bool,
    /// Whether the response, if correct, could be rendered as a sample of its mode.
    pub is_renderable: bool,
    /// The response's length.
    pub completion_tokens: u32,
    /// 0-based index in its mode.
    pub sample_index: u32,
}

/// Why no response could be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDecision {
    /// No response of either mode is correct.
    Unsolved,
    /// The winning mode has correct responses, but the template can hold none of them.
    NotRenderable(Mode),
}

/// Chooses the mode and the response of one query.
///
/// A randomly drawn mode needs an eligible response; without one, the rule's own mode is used.
///
/// # Errors
/// [`NoDecision`] if there is no eligible response.
pub fn decide(
    query_id: &QueryId,
    candidates: &ByMode<Vec<Candidate>>,
    settings: &SelectSettings,
    seed: u64,
) -> Result<Decision, NoDecision> {
    let counts = ByMode::from_fn(|mode| count(&candidates[mode]));
    let shortest = ByMode::from_fn(|mode| shortest(&candidates[mode]));
    let is_eligible = ByMode::from_fn(|mode| shortest[mode].is_some());
    let drawn = random_mode(query_id, settings.random_mode_rate, seed);
    let (mode, reason) = choose_mode(&counts, is_eligible, drawn, settings.tie_margin)?;
    let chosen = shortest[mode].clone();
    chosen.map(|chosen| Decision { mode, reason, counts, chosen }).ok_or(NoDecision::NotRenderable(mode))
}

/// Chooses the mode by the counts of all responses, and by the modes that have an eligible response.
fn choose_mode(
    counts: &ByMode<PassCounts>,
    is_eligible: ByMode<bool>,
    drawn: Option<Mode>,
    tie_margin: f64,
) -> Result<(Mode, ModeReason), NoDecision> {
    if counts.on.correct == 0 && counts.off.correct == 0 {
        return Err(NoDecision::Unsolved);
    }
    if let Some(mode) = drawn.filter(|mode| is_eligible[*mode]) {
        return Ok((mode, ModeReason::Random));
    }
    let (mode, reason) = rule_mode(counts, tie_margin);
    if is_eligible[mode] { Ok((mode, reason)) } else { Err(NoDecision::NotRenderable(mode)) }
}

/// Counts the responses and the correct responses.
#[must_use]
pub fn count(candidates: &[Candidate]) -> PassCounts {
    let correct = candidates.iter().filter(|candidate| candidate.is_correct).count();
    let other_mode = candidates.iter().filter(|candidate| candidate.shows_other_mode).count();
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    PassCounts { sampled: number(candidates.len()), correct: number(correct), other_mode: number(other_mode) }
}

/// Returns the mode by the rule: `|p_on - p_off| < tie_margin` keeps Think-off; otherwise the higher rate wins.
///
/// If a tie leaves Think-off without a correct response (one correct Think-on answer within a wide margin), the mode
/// with a correct response is chosen: a sample must be correct.
#[must_use]
pub fn rule_mode(counts: &ByMode<PassCounts>, tie_margin: f64) -> (Mode, ModeReason) {
    let difference = counts.on.pass_rate() - counts.off.pass_rate();
    // A binary float is not exactly a tenth: 0.6 - 0.5 must count as 0.1.
    let is_tie = difference.abs() < tie_margin - 1e-9 || difference == 0.0;
    if is_tie && counts.off.correct > 0 {
        (Mode::ThinkOff, ModeReason::Tie)
    } else if difference > 0.0 {
        (Mode::ThinkOn, ModeReason::HigherPassRate)
    } else {
        (Mode::ThinkOff, ModeReason::HigherPassRate)
    }
}

/// Returns the shortest eligible response; among equals, the one with the lowest sample index.
fn shortest(candidates: &[Candidate]) -> Option<RolloutKey> {
    candidates
        .iter()
        .filter(|candidate| candidate.is_correct && candidate.is_renderable)
        .min_by_key(|candidate| (candidate.completion_tokens, candidate.sample_index))
        .map(|candidate| candidate.key.clone())
}

/// Draws a mode for the random share of queries; a pure function of query id and seed.
fn random_mode(query_id: &QueryId, rate: f64, seed: u64) -> Option<Mode> {
    let mut hasher = Sha256::new();
    hasher.update(b"thinkloom random mode\0");
    hasher.update(seed.to_le_bytes());
    hasher.update(query_id.0.as_bytes());
    let digest = hasher.finalize();
    let (share, _) = digest.split_first_chunk::<8>()?;
    // 53 bits: a uniform f64 in [0, 1).
    let uniform = (u64::from_le_bytes(*share) >> 11) as f64 / (1_u64 << 53) as f64;
    let mode = if digest.last()? & 1 == 0 { Mode::ThinkOn } else { Mode::ThinkOff };
    (uniform < rate).then_some(mode)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::OtherMode;

    const RULE: SelectSettings =
        SelectSettings { tie_margin: 0.1, random_mode_rate: 0.0, other_mode: OtherMode::Incorrect };

    fn candidates(mode: &str, correct: &[bool]) -> Vec<Candidate> {
        let candidate = |(index, &is_correct): (usize, &bool)| Candidate {
            key: RolloutKey(format!("{mode}{index}")),
            is_correct,
            shows_other_mode: false,
            is_renderable: true,
            completion_tokens: 100 - index as u32,
            sample_index: index as u32,
        };
        correct.iter().enumerate().map(candidate).collect()
    }

    fn of_ten(on: usize, off: usize) -> ByMode<Vec<Candidate>> {
        let column = |mode, correct| candidates(mode, &(0..10).map(|index| index < correct).collect::<Vec<_>>());
        ByMode { on: column("on", on), off: column("off", off) }
    }

    fn decided(on: usize, off: usize, settings: &SelectSettings) -> (Mode, ModeReason) {
        let decision = decide(&QueryId("q".to_owned()), &of_ten(on, off), settings, 0).unwrap();
        (decision.mode, decision.reason)
    }

    #[test]
    fn the_margin_is_strict_at_every_tenth() {
        use Mode::{ThinkOff, ThinkOn};
        use ModeReason::{HigherPassRate, Tie};
        for off in 1..=9 {
            assert_eq!(decided(off + 1, off, &RULE), (ThinkOn, HigherPassRate), "a difference of 0.1 is no tie");
            assert_eq!(decided(off, off, &RULE), (ThinkOff, Tie));
            assert_eq!(decided(off, off + 1, &RULE), (ThinkOff, HigherPassRate));
            let wide = SelectSettings { tie_margin: 0.11, ..RULE };
            assert_eq!(decided(off + 1, off, &wide), (ThinkOff, Tie));
        }
        let none = SelectSettings { tie_margin: 0.0, ..RULE };
        assert_eq!(decided(5, 5, &none), (ThinkOff, Tie), "equal rates are a tie at any margin");
    }

    #[test]
    fn a_tie_without_a_correct_think_off_response_takes_the_mode_that_has_one() {
        let wide = SelectSettings { tie_margin: 0.5, ..RULE };
        assert_eq!(decided(1, 0, &wide), (Mode::ThinkOn, ModeReason::HigherPassRate));
    }

    #[test]
    fn unsolved_and_unrenderable_queries_give_no_decision() {
        let id = QueryId("q".to_owned());
        assert_eq!(decide(&id, &of_ten(0, 0), &RULE, 0), Err(NoDecision::Unsolved));
        let mut only_collisions = of_ten(0, 2);
        for candidate in &mut only_collisions.off {
            candidate.is_renderable = false;
        }
        assert_eq!(decide(&id, &only_collisions, &RULE, 0), Err(NoDecision::NotRenderable(Mode::ThinkOff)));
    }

    #[test]
    fn equal_lengths_go_to_the_lowest_index_and_ineligible_ones_are_passed_over() {
        let mut all = of_ten(0, 4);
        for candidate in &mut all.off {
            candidate.completion_tokens = 7;
        }
        all.off[0].is_renderable = false;
        let decision = decide(&QueryId("q".to_owned()), &all, &RULE, 0).unwrap();
        assert_eq!(decision.chosen, RolloutKey("off1".to_owned()));
        assert_eq!(decision.counts.off, PassCounts { sampled: 10, correct: 4, other_mode: 0 });
    }

    #[test]
    fn the_random_share_is_near_its_rate_in_both_modes_and_needs_a_correct_response() {
        let settings = SelectSettings { random_mode_rate: 0.2, ..RULE };
        let mut drawn = ByMode { on: 0, off: 0 };
        for index in 0..2000 {
            let id = QueryId(format!("q{index}"));
            let decision = decide(&id, &of_ten(9, 3), &settings, 1).unwrap();
            if decision.reason == ModeReason::Random {
                drawn[decision.mode] += 1;
            }
            let one_sided = decide(&id, &of_ten(9, 0), &settings, 1).unwrap();
            assert_eq!(one_sided.mode, Mode::ThinkOn);
        }
        assert!((150..250).contains(&drawn.on) && (150..250).contains(&drawn.off), "{drawn:?}");
    }

    proptest! {
        #[test]
        fn the_choice_is_correct_of_its_mode_and_shortest(
            on in proptest::collection::vec((any::<bool>(), any::<bool>(), 1_u32..9), 1..6),
            off in proptest::collection::vec((any::<bool>(), any::<bool>(), 1_u32..9), 1..6),
            tie_margin in 0.0_f64..1.0,
            random_mode_rate in 0.0_f64..1.0,
        ) {
            let column = |mode: &str, cells: &[(bool, bool, u32)]| cells.iter().enumerate().map(|(index, cell)| Candidate {
                key: RolloutKey(format!("{mode}{index}")),
                is_correct: cell.0,
                shows_other_mode: false,
                is_renderable: cell.1,
                completion_tokens: cell.2,
                sample_index: index as u32,
            }).collect::<Vec<_>>();
            let all = ByMode { on: column("on", &on), off: column("off", &off) };
            let settings = SelectSettings { tie_margin, random_mode_rate, ..RULE };
            let outcome = decide(&QueryId("q".to_owned()), &all, &settings, 3);
            let any_correct = all.on.iter().chain(&all.off).any(|candidate| candidate.is_correct);
            prop_assert_eq!(outcome == Err(NoDecision::Unsolved), !any_correct);
            if let Ok(decision) = outcome {
                let eligible: Vec<&Candidate> =
                    all[decision.mode].iter().filter(|c| c.is_correct && c.is_renderable).collect();
                let chosen = eligible.iter().find(|c| c.key == decision.chosen).unwrap();
                prop_assert!(eligible.iter().all(|c| c.completion_tokens >= chosen.completion_tokens));
            }
        }
    }
}
