use proptest::prelude::*;

use super::*;

fn pick(logits: &[f32], draw: &Draw) -> Picked {
    super::pick(logits, draw).unwrap()
}

fn draw(temperature: f32, uniform: f32) -> Draw {
    Draw { temperature, top_p: 1.0, top_k: 0, min_p: 0.0, uniform, allowed: None }
}

/// Returns the tokens that the rule keeps, computed plainly in f64: `(id, share)` in order of ids. `None` if a cut
/// falls so close to a sum that rounding decides.
fn kept(logits: &[f32], draw: &Draw) -> Option<Vec<(u32, f64)>> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| (f64::from(logit - highest) / f64::from(draw.temperature)).exp();
    let mut ranking: Vec<(u32, f64)> = (0..).zip(logits).map(|(id, &logit)| (id, weight(logit))).collect();
    ranking.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if draw.top_k > 0 {
        ranking.truncate(draw.top_k as usize);
    }
    if draw.top_p < 1.0 {
        let target = f64::from(draw.top_p) * ranking.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut mass = 0.0;
        let mut count = ranking.len();
        for (index, (_, weight)) in ranking.iter().enumerate() {
            mass += weight;
            if (mass - target).abs() < 1e-4 * target {
                return None;
            }
            if mass >= target {
                count = index + 1;
                break;
            }
        }
        ranking.truncate(count);
    }
    let min_p = f64::from(draw.min_p);
    if ranking.iter().any(|(_, weight)| (weight - min_p).abs() < 1e-5 * min_p) {
        return None;
    }
    ranking.retain(|(_, weight)| *weight >= min_p);
    ranking.sort_by_key(|(id, _)| *id);
    let total: f64 = ranking.iter().map(|(_, weight)| weight).sum();
    Some(ranking.into_iter().map(|(id, weight)| (id, weight / total)).collect())
}

/// Returns the interval of random numbers that pick a token: its beginning and end.
fn interval(kept: &[(u32, f64)], token: u32) -> Option<(f64, f64)> {
    let index = kept.iter().position(|(id, _)| *id == token)?;
    let before: f64 = kept.iter().take(index).map(|(_, share)| share).sum();
    Some((before, before + kept[index].1))
}

/// Logits with many equal values, over several blocks.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let coarse = (-60_i32..=0).prop_map(|step| step as f32 / 4.0);
    let fine = (-12.0_f32..12.0).prop_map(|logit| logit);
    proptest::collection::vec(prop_oneof![coarse, fine], 1..900)
}

proptest! {
    #[test]
    fn every_pick_is_the_one_of_the_plain_rule(
        logits in logits(),
        temperature in prop_oneof![Just(1.0_f32), 0.05_f32..2.0],
        top_k in prop_oneof![Just(0_u32), 1_u32..12, 1_u32..1000],
        top_p in prop_oneof![Just(1.0_f32), 0.01_f32..1.0],
        min_p in prop_oneof![Just(0.0_f32), 0.001_f32..0.9],
        uniform in 0_u32..1 << 24,
    ) {
        let uniform = uniform as f32 / (1_u32 << 24) as f32;
        let draw = Draw { temperature, top_p, top_k, min_p, uniform, allowed: None };
        let Some(kept) = kept(&logits, &draw) else { return Ok(()) };
        let picked = pick(&logits, &draw);
        let (from, to) = interval(&kept, picked.token).expect("a token that the rule keeps is picked");
        let uniform = f64::from(draw.uniform);
        prop_assert!(uniform > from - 1e-5 && uniform < to + 1e-5, "{uniform} in {from}..{to}");
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
        let expected = f64::from(logits[picked.token as usize] - highest) - total.ln();
        prop_assert!((f64::from(picked.log_probability) - expected).abs() < 1e-5);
    }

    #[test]
    fn greedy_takes_the_highest_and_the_lowest_id_among_equals(logits in logits()) {
        let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let expected = logits.iter().position(|&logit| logit == best).unwrap() as u32;
        prop_assert_eq!(pick(&logits, &draw(0.0, 0.9)).token, expected);
        // Cuts that keep a single token keep this token.
        for cut in [Draw { top_k: 1, ..draw(0.7, 0.9) }, Draw { top_p: 1e-6, ..draw(0.7, 0.9) }] {
            prop_assert_eq!(pick(&logits, &cut).token, expected);
        }
    }

    #[test]
    fn memory_that_was_used_before_changes_nothing(rows in proptest::collection::vec(logits(), 1..4)) {
        let mut scratch = Scratch::default();
        for logits in rows {
            for draw in [draw(0.0, 0.3), draw(0.8, 0.3), Draw { top_k: 5, top_p: 0.9, ..draw(0.8, 0.3) }] {
                prop_assert_eq!(pick_with(&mut scratch, &logits, &draw), super::pick(&logits, &draw));
            }
        }
    }
}

/// Returns how often each token is picked if the random number takes evenly spread values.
fn frequencies(logits: &[f32], draw: &Draw) -> Vec<f64> {
    const DRAWS: u32 = 4096;
    let mut counts = vec![0_u32; logits.len()];
    for step in 0..DRAWS {
        let uniform = step as f32 / DRAWS as f32;
        counts[pick(logits, &Draw { uniform, ..draw.clone() }).token as usize] += 1;
    }
    counts.iter().map(|&count| f64::from(count) / f64::from(DRAWS)).collect()
}

#[test]
fn frequencies_follow_the_softmax_at_the_temperature_and_each_cut() {
    let logits: Vec<f32> = [0.5_f32, 0.3, 0.2].iter().map(|p| p.ln()).collect();
    let expect = |draw: Draw, expected: [f64; 3]| {
        for (got, expected) in frequencies(&logits, &draw).iter().zip(expected) {
            assert!((got - expected).abs() < 0.001, "{got} for {expected} with {draw:?}");
        }
    };
    expect(draw(1.0, 0.0), [0.5, 0.3, 0.2]);
    expect(draw(0.5, 0.0), [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38]);
    expect(Draw { top_k: 2, ..draw(1.0, 0.0) }, [0.625, 0.375, 0.0]);
    expect(Draw { top_p: 0.75, ..draw(1.0, 0.0) }, [0.625, 0.375, 0.0]);
    expect(Draw { top_p: 0.45, ..draw(1.0, 0.0) }, [1.0, 0.0, 0.0]);
    expect(Draw { min_p: 0.5, ..draw(1.0, 0.0) }, [0.625, 0.375, 0.0]);
    // The nucleus covers the tokens that top-k kept: 0.5 of 0.8 reaches 0.6.
    expect(Draw { top_k: 2, top_p: 0.6, ..draw(1.0, 0.0) }, [1.0, 0.0, 0.0]);
    expect(Draw { top_p: 0.6, ..draw(1.0, 0.0) }, [0.625, 0.375, 0.0]);
}

#[test]
fn cuts_of_the_whole_vocabulary_and_beyond_cut_nothing() {
    let logits: Vec<f32> = (0..600).map(|id| (id % 7) as f32 / 3.0).collect();
    let all = frequencies(&logits, &draw(0.9, 0.0));
    for top_k in [600, 601, u32::MAX] {
        assert_eq!(frequencies(&logits, &Draw { top_k, ..draw(0.9, 0.0) }), all);
    }
    assert_ne!(frequencies(&logits, &Draw { top_k: 599, ..draw(0.9, 0.0) }), all);
}

#[test]
fn a_lowest_random_number_does_not_pick_what_is_next_to_impossible() {
    let mut logits = vec![0.0_f32; 600];
    logits[530] = 25.0;
    assert_eq!(pick(&logits, &draw(1.0, 0.0)).token, 530);
    assert_eq!(pick(&logits, &draw(1.0, 1.0 - 1.0 / (1_u32 << 24) as f32)).token, 530);
    assert_eq!(pick(&logits, &draw(1e-40, 0.5)).token, 530, "a temperature whose inverse is infinite");
}

#[test]
fn logits_that_are_not_finite_are_an_error_and_masked_ones_are_never_picked() {
    for draw in [draw(0.0, 0.5), draw(1.0, 0.5), Draw { top_k: 2, top_p: 0.5, ..draw(1.0, 0.5) }] {
        let mut logits = vec![0.5_f32; 700];
        logits[699] = 20.0;
        // This token is so unlikely that no sum would contain it.
        for (place, fault) in [(3, f32::NAN), (300, -f32::NAN), (698, f32::INFINITY)] {
            let mut broken = logits.clone();
            broken[place] = fault;
            assert_eq!(super::pick(&broken, &draw), Err(PickFault::NotFinite), "{fault} at {place}");
        }
        assert_eq!(super::pick(&[f32::NEG_INFINITY; 3], &draw), Err(PickFault::NotFinite));
        let mut masked = vec![f32::NEG_INFINITY; 700];
        masked[600] = -3.0;
        let picked = pick(&masked, &draw);
        assert_eq!((picked.token, picked.log_probability), (600, 0.0));
        let none = Some(std::sync::Arc::new(crate::grammar::TokenSet::empty(700)));
        assert_eq!(super::pick(&logits, &Draw { allowed: none, ..draw }), Err(PickFault::NoToken));
    }
}

#[test]
fn only_allowed_tokens_are_picked_as_if_there_were_no_others() {
    let logits: Vec<f32> = (0..600).map(|index| ((index * 37) % 101) as f32 / 10.0).collect();
    let mut allowed = crate::grammar::TokenSet::empty(logits.len());
    let ids = [3_u32, 64, 65, 300, 599];
    ids.iter().for_each(|&id| allowed.insert(id));
    let kept: Vec<f32> = ids.iter().map(|&id| logits[id as usize]).collect();
    let allowed = Some(std::sync::Arc::new(allowed));
    for step in 0..200 {
        for draw in
            [draw(0.0, 0.5), draw(1.0, step as f32 / 200.0), Draw { top_p: 0.7, ..draw(0.8, step as f32 / 200.0) }]
        {
            let among = pick(&kept, &draw);
            let found = pick(&logits, &Draw { allowed: allowed.clone(), ..draw });
            assert_eq!((found.token, found.log_probability), (ids[among.token as usize], among.log_probability));
        }
    }
}
