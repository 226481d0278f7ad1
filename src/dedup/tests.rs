//! Tests of both passes together.

use super::*;
use crate::config::DedupSettings;
use crate::domain::Kind;

const EGGS: &str = "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for \
                    her friends every day with four. She sells the remainder at the farmers' market daily for $2 per \
                    fresh duck egg. How much in dollars does she make every day at the farmers' market?";

fn store(settings: &DedupSettings, rows: &[(String, String)]) -> RowStore {
    let extractor = Extractor::new(settings, Benchmarks::default());
    let mut store = RowStore::new(tempfile::tempfile().unwrap(), extractor.bands());
    for (index, (question, answer)) in rows.iter().enumerate() {
        let document = Document { kind: Kind::Numeric, question, answer, choices: &[], tests: &[] };
        store.push(index as u64, &index.to_string(), &[], Some(&extractor.features(&document))).unwrap();
    }
    store
}

fn decided(settings: &DedupSettings, rows: &[(&str, &str)]) -> Vec<Action> {
    let rows: Vec<(String, String)> = rows.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let decisions = decide(&mut store(settings, &rows), settings).unwrap();
    (0..rows.len() as u32).map(|row| decisions.of(row).unwrap()).collect()
}

#[test]
fn how_many_pairs_are_gathered_at_a_time_changes_no_decision() {
    // One group of variants, with near-copies, and some unrelated rows between them.
    let row = |number: usize| match number % 7 {
        6 => (format!("What is the name of river {number}?"), "4".to_owned()),
        _ => (EGGS.replace("16", &(number / 2).to_string()).replace("four", "five"), (number % 3).to_string()),
    };
    let rows: Vec<(String, String)> = (0..400).map(row).collect();
    let settings = DedupSettings::default();
    let decided = |pairs, rows_min| {
        let bounds = candidates::Bounds { pairs, rows: rows_min };
        decide::decide_within(&mut store(&settings, &rows), &settings, bounds).unwrap()
    };
    let whole = decided(usize::MAX, 1);
    let counts = whole.counts();
    assert!(counts.near_duplicates > 20 && counts.variants > 1, "{counts:?}");
    for (pairs, rows_min) in [(0, 1), (0, 7), (100, 1), (5000, 3)] {
        assert_eq!(decided(pairs, rows_min), whole, "{pairs} pairs, {rows_min} rows");
    }
}

const KEPT: Action = Action::Keep { variant_of: None };

#[test]
fn copies_and_near_copies_are_found_and_variants_are_kept_and_linked() {
    let reordered = "She sells the remainder at the farmers' market daily for $2 per fresh duck egg. Janet's ducks lay 16 \
                     eggs per day. She eats three for breakfast every morning and bakes muffins for her friends every day \
                     with four. How much in dollars does she make every day at the farmers' market?";
    let typos = EGGS.replace("breakfast", "breakfsat").replace("remainder", "remaindr").replace("friends", "frends");
    let other_number = EGGS.replace("16", "18");
    let rows = [
        (EGGS, "18"),
        (&EGGS.to_uppercase(), "18.0"),
        (reordered, "18"),
        (typos.as_str(), "18"),
        (other_number.as_str(), "22"),
        (other_number.as_str(), "18"),
        ("What is the capital of France?", "18"),
    ];
    let actions = decided(&DedupSettings::default(), &rows);
    assert_eq!(actions[0], KEPT);
    for action in &actions[1..4] {
        assert!(
            matches!(action, Action::NearDuplicate { of: 0, near: 0, .. } | Action::Duplicate { of: 0, .. }),
            "{action:?}"
        );
    }
    assert_eq!(actions[4], Action::Keep { variant_of: Some(0) });
    assert_eq!(actions[5], Action::Duplicate { of: 4, conflicting: true });
    assert_eq!(actions[6], KEPT);
    let exclude = DedupSettings { variants: Variants::Exclude, ..DedupSettings::default() };
    assert!(matches!(decided(&exclude, &rows)[4], Action::NearDuplicate { of: 0, .. }));
    let off = DedupSettings { near_duplicate_threshold: 1.0, ..DedupSettings::default() };
    assert_eq!(decided(&off, &rows)[2..5], [KEPT, KEPT, KEPT]);
}

#[test]
fn conflicting_answers_exclude_the_later_or_all_by_setting() {
    let rows = [("What is 1+1?", "2"), ("What is 1+1?", "3"), ("What is 1+1?", "2"), ("What is 2+2?", "4")];
    let conflicting = |of, conflicting| Action::Duplicate { of, conflicting };
    let first = decided(&DedupSettings::default(), &rows);
    assert_eq!(first, [KEPT, conflicting(0, true), conflicting(0, false), KEPT]);
    let all = DedupSettings { conflicting_gold: Conflicts::ExcludeAll, ..DedupSettings::default() };
    assert_eq!(decided(&all, &rows), [conflicting(1, true), conflicting(0, true), conflicting(0, false), KEPT]);
}

#[test]
fn chinese_and_japanese_near_copies_are_found_by_character_ngrams() {
    let chinese = "\u{5c0f}\u{660e}\u{6709}16\u{4e2a}\u{82f9}\u{679c}\u{ff0c}\u{4ed6}\u{6bcf}\u{5929}\u{65e9}\u{4e0a}\
                   \u{5403}\u{6389}\u{4e09}\u{4e2a}\u{82f9}\u{679c}\u{ff0c}\u{628a}\u{5269}\u{4e0b}\u{7684}\u{82f9}\u{679c}\
                   \u{90fd}\u{5206}\u{7ed9}\u{4e86}\u{4ed6}\u{7684}\u{56db}\u{4e2a}\u{597d}\u{670b}\u{53cb}\u{3002}\u{8bf7}\
                   \u{95ee}\u{6bcf}\u{4e2a}\u{670b}\u{53cb}\u{5206}\u{5230}\u{51e0}\u{4e2a}\u{ff1f}";
    let changed = chinese.replace("\u{8bf7}\u{95ee}", "");
    let other =
        "\u{5c0f}\u{7ea2}\u{4e70}\u{4e86}\u{4e09}\u{672c}\u{4e66}\u{ff0c}\u{6bcf}\u{672c}\u{4e94}\u{5143}\u{3002}";
    let actions = decided(&DedupSettings::default(), &[(chinese, "3"), (&changed, "3"), (other, "3")]);
    assert!(matches!(actions[1], Action::NearDuplicate { of: 0, .. }), "{actions:?}");
    assert_eq!(actions[2], KEPT);
}

#[test]
fn a_query_between_two_clusters_joins_the_older_and_excludes_nobody() {
    let words: Vec<String> = (0..60)
        .map(|number| format!("word{}", "abcdefghij".chars().nth(number % 10).unwrap()) + &number.to_string())
        .collect();
    let text = |range: std::ops::Range<usize>| words[range].join(" ");
    // Neighbours overlap by 0.8 or more, the two ends by less.
    let (one, middle, other) = (text(0..50), text(3..53), text(6..56));
    let settings = DedupSettings { near_duplicate_threshold: 0.85, ..DedupSettings::default() };
    let actions = decided(&settings, &[(&one, "1"), (&other, "1"), (&middle, "1")]);
    assert_eq!(actions[..2], [KEPT, KEPT]);
    assert!(matches!(actions[2], Action::NearDuplicate { of: 0, near: 0, .. }));
    let chain = decided(&settings, &[(&one, "1"), (&middle, "1"), (&other, "1")]);
    assert!(matches!(chain[2], Action::NearDuplicate { of: 0, near: 1, .. }), "{chain:?}");
}

/// Texts of which many are near to each other, some with different answers.
fn planted(count: usize) -> Vec<(String, String)> {
    let names = ["Ann", "Bob", "Carl", "Dan", "Eve", "Fay"];
    let things = ["apples", "pears", "plums", "books", "coins", "cards"];
    (0..count)
        .map(|index| {
            let pick = |list: &[&str; 6], step: usize| list[(index / step) % 6].to_owned();
            let (name, thing) = (pick(&names, 1), pick(&things, 6));
            let question = format!(
                "{name} has {} {thing} in a large wooden box that stands under the old bed. {name} gives {} of them to a \
                 friend who lives next door and then buys some more in the shop on the corner. How many {thing} are there?",
                index % 7, index % 3
            );
            (question, (index / 36 % 2).to_string())
        })
        .collect()
}

#[test]
fn decisions_do_not_depend_on_threads_and_rows_that_are_added_change_none() {
    let settings = DedupSettings::default();
    let rows = planted(400);
    let run = |rows: &[(String, String)], threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let decisions = pool.install(|| decide(&mut store(&settings, rows), &settings).unwrap());
        (0..rows.len() as u32).map(|row| decisions.of(row)).collect::<Vec<_>>()
    };
    let all = run(&rows, 1);
    let fates = |test: fn(&Action) -> bool| all.iter().flatten().filter(|action| test(action)).count();
    assert!(fates(|action| matches!(action, Action::Keep { variant_of: Some(_) })) > 20);
    assert!(fates(|action| matches!(action, Action::NearDuplicate { .. })) > 20);
    assert!(fates(|action| matches!(action, Action::Duplicate { .. })) > 20);
    for threads in [2, 5] {
        assert_eq!(run(&rows, threads), all);
    }
    for count in [0, 1, 57, 399] {
        assert_eq!(run(&rows[..count], 2), all[..count]);
    }
}

#[test]
fn bands_find_what_a_comparison_of_all_pairs_finds() {
    let settings = DedupSettings { variants: Variants::Exclude, ..DedupSettings::default() };
    let rows = planted(120);
    let mut found = store(&settings, &rows);
    let decisions = decide(&mut found, &settings).unwrap();
    let text = |row: u32| found.record(row).unwrap().text;
    let set = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.windows(5).map(|words| words.join(" ")).collect::<std::collections::BTreeSet<_>>()
    };
    for row in 0..rows.len() as u32 {
        let own = set(&text(row));
        let is_near = |other: u32| {
            let other = set(&text(other));
            own.intersection(&other).count() as f64 >= 0.8 * own.union(&other).count() as f64
        };
        if (0..row).any(is_near) {
            assert!(!matches!(decisions.of(row), Some(Action::Keep { .. })), "row {row}");
        }
    }
}
