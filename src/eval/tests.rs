//! Measures and intervals on rows whose numbers are known.

use super::*;

fn row(query: usize, condition: Condition, correct: bool, tokens: u32) -> EvalRow {
    let mode = if condition == Condition::On { ShownMode::ThinkOn } else { ShownMode::ThinkOff };
    EvalRow {
        query_id: format!("q{query:03}"),
        condition,
        sample_index: 0,
        mode,
        correct,
        format_ok: true,
        leak: (mode == ShownMode::ThinkOff).then_some(false),
        completion_tokens: tokens,
        source: "s".to_owned(),
        kind: "numeric".to_owned(),
        difficulty: None,
    }
}

#[test]
fn measures_are_means_over_queries_and_the_median_over_responses() {
    let rows = [
        row(0, Condition::On, true, 10),
        row(0, Condition::On, false, 30),
        row(1, Condition::On, true, 40),
        row(1, Condition::On, true, 80),
    ];
    let report = evaluate("m", &rows, None);
    assert_eq!(report.lines.len(), 1, "no slice has two values");
    let measures = &report.lines[0].measures;
    assert_eq!((measures.queries, measures.responses), (2, 4));
    assert_eq!(measures.accuracy.estimate, 0.75);
    assert_eq!((measures.tokens_mean.estimate, measures.tokens_median), (40.0, 35.0));
    assert_eq!((measures.think_rate.estimate, measures.leak_rate), (1.0, None));
    assert!(measures.accuracy.low >= 0.5 && measures.accuracy.high <= 1.0);
}

#[test]
fn responses_of_another_mode_or_of_none_are_counted() {
    let of = |condition, mode| EvalRow { mode, ..row(0, condition, false, 1) };
    let rows = [
        of(Condition::Free, ShownMode::None),
        of(Condition::Free, ShownMode::ThinkOn),
        of(Condition::Off, ShownMode::ThinkOn),
        of(Condition::On, ShownMode::ThinkOn),
    ];
    let report = evaluate("m", &rows, None);
    let rates: Vec<f64> = report.lines.iter().map(|line| line.measures.other_rate).collect();
    assert_eq!(rates, [0.5, 0.0, 1.0], "free, on, off");
    assert_eq!(report.lines[0].measures.think_rate.estimate, 0.5, "no mode is not Think-on");
}

#[test]
fn changes_are_paired_over_the_queries_that_both_have() {
    // Every query gains exactly 10 tokens and nothing else changes: the paired differences do not vary.
    let old: Vec<EvalRow> =
        (0..40).map(|query| row(query, Condition::Off, query % 3 == 0, 100 + 7 * query as u32)).collect();
    let mut new: Vec<EvalRow> =
        old.iter().cloned().map(|row| EvalRow { completion_tokens: row.completion_tokens + 10, ..row }).collect();
    new.push(row(99, Condition::Off, true, 1));
    let baseline = Baseline { name: "old".to_owned(), rows: old, condition: None };
    let change = evaluate("m", &new, Some(&baseline)).lines[0].change.clone().unwrap();
    assert_eq!(change.queries, 40);
    let difference = change.tokens.difference;
    assert!((difference.estimate - 10.0).abs() < 1e-9 && (difference.high - difference.low).abs() < 1e-9);
    assert_eq!((change.accuracy.difference.low, change.accuracy.difference.high), (0.0, 0.0));
    assert_eq!(change.think_rate.relative, None, "nothing is no baseline for a ratio");
    assert!(change.tokens.relative.unwrap().estimate > 0.0);
}

#[test]
fn one_condition_may_be_the_baseline_of_all() {
    let rows: Vec<EvalRow> = (0..30)
        .flat_map(|query| [row(query, Condition::On, true, 50), row(query, Condition::Off, query % 2 == 0, 10)])
        .collect();
    let baseline = Baseline { name: "off".to_owned(), rows: rows.clone(), condition: Some(Condition::Off) };
    let report = evaluate("m", &rows, Some(&baseline));
    let on = report.lines.iter().find(|line| line.by == "all" && line.condition == Condition::On).unwrap();
    let change = on.change.as_ref().unwrap();
    assert_eq!((change.baseline, change.accuracy.difference.estimate), (Condition::Off, 0.5));
    assert!((change.tokens.relative.unwrap().estimate - 4.0).abs() < 1e-12);
    assert!(change.accuracy.difference.low > 0.2 && change.accuracy.difference.high < 0.8);
    let text = table::text(&report);
    assert!(text.contains("+50.0 pt") && text.contains("+400.0%"), "{text}");
    let svg = plot::svg(&report);
    assert!(svg.starts_with("<svg") && svg.matches("<circle").count() == 2 && !svg.contains("NaN"), "{svg}");
}

#[test]
fn intervals_hold_their_share_of_the_truth_and_are_the_same_every_time() {
    let values: Vec<f64> = (0..200).map(|index| f64::from(u8::from(index % 4 == 0))).collect();
    let interval = || bootstrap::Resampled::new(values.len()).interval(&|draw| draw.mean(&values).unwrap());
    let found = interval();
    assert_eq!(found, interval());
    // The normal approximation: 0.25 +- 1.96 sqrt(0.25 * 0.75 / 200) = 0.19 to 0.31.
    assert!((found.low - 0.19).abs() < 0.01 && (found.high - 0.31).abs() < 0.01, "{found:?}");
    let none = bootstrap::Resampled::new(0).interval(&|draw| draw.mean(&[]).unwrap_or(0.5));
    assert_eq!((none.estimate, none.low, none.high), (0.5, 0.5, 0.5));
}

#[test]
fn difficulty_comes_from_the_forced_conditions_and_only_from_both() {
    let mut rows = vec![
        row(0, Condition::On, true, 1),
        row(0, Condition::Off, true, 1),
        row(0, Condition::Free, false, 1),
        row(1, Condition::On, false, 1),
    ];
    label_difficulty(&mut rows, &DifficultySettings::default());
    assert_eq!(rows[2].difficulty.as_deref(), Some("easy"));
    assert_eq!(rows[3].difficulty, None);
}

#[test]
fn only_long_answers_of_short_kinds_leak() {
    let long = "word ".repeat(LEAK_WORDS_MAX + 1);
    let most = "word ".repeat(LEAK_WORDS_MAX);
    assert_eq!(leaks(ShownMode::ThinkOff, Kind::Numeric, &long), Some(true));
    assert_eq!(leaks(ShownMode::ThinkOff, Kind::Numeric, &most), Some(false));
    assert_eq!(leaks(ShownMode::ThinkOff, Kind::Code, &long), Some(false));
    assert_eq!(leaks(ShownMode::ThinkOn, Kind::Numeric, &long), None);
}
