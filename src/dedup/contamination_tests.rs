//! Tests of the contamination rules.

use super::*;
use ContaminationRule::{Exact, NearDuplicate, Ngram8, Ngram13, Share};

const STAMPS: &str = "Max bought stamps at the post office. Some of the stamps had a snowflake design, some had a truck \
                      design, and some had a rose design. Max bought 16 snowflake stamps. How many did he buy in all?";

fn items(questions: &[&str]) -> Vec<BenchmarkItem> {
    let item = |(index, question): (usize, &&str)| BenchmarkItem {
        benchmark: "bench.jsonl".to_owned(),
        id: format!("item-{index}"),
        question: (*question).to_owned(),
        answer: "She sold 48 clips in April and then half as many, 24, in May.".to_owned(),
    };
    questions.iter().enumerate().map(item).collect()
}

fn benchmarks(questions: &[&str], rules: &[ContaminationRule], scope: ContaminationScope) -> Benchmarks {
    let settings =
        DedupSettings { contamination_rules: rules.to_vec(), contamination_scope: scope, ..DedupSettings::default() };
    Benchmarks::new(&items(questions), &settings)
}

fn find(benchmarks: &Benchmarks, question: &str, answer: &str) -> Option<Hit> {
    benchmarks.find(&words::normalize(question), question, answer)
}

#[test]
fn each_rule_finds_what_it_says_and_tells_where() {
    let twin = STAMPS.replace("Max", "Bella").replace("16", "11");
    for (rule, copy, is_twin_found) in [
        (Exact, true, false),
        (Share, true, true),
        (Ngram8, true, true),
        (Ngram13, true, true),
        (NearDuplicate, true, false),
    ] {
        let benchmarks = benchmarks(&["What is 2 + 2?", STAMPS], &[rule], ContaminationScope::Prompts);
        let hit = find(&benchmarks, STAMPS, "38").unwrap();
        assert_eq!((hit.rule, hit.item.as_str(), hit.benchmark.as_str(), copy), (rule, "item-1", "bench.jsonl", true));
        assert!(
            hit.overlap.len() > 20
                && STAMPS.to_lowercase().replace(',', "").contains(&hit.overlap.replace(',', "")[..20])
        );
        assert_eq!(find(&benchmarks, &twin, "38").is_some(), is_twin_found, "{rule:?}");
        assert_eq!(find(&benchmarks, "Which planet is the largest of those that we know?", "38"), None);
    }
}

#[test]
fn one_stock_phrase_is_no_contamination_by_share_and_is_by_any_8_gram() {
    let item = "Tim is 5 and Ann is 9. What is the sum of the ages of Tim and Ann in ten years?";
    let other =
        "Bob is twice as old as Carl, who is 7, and Dan is 3. What is the sum of the ages of all the boys today?";
    let by = |rule| find(&benchmarks(&[item], &[rule], ContaminationScope::Prompts), other, "");
    assert!(by(Ngram8).is_some_and(|hit| hit.overlap == "what is the sum of the ages of"));
    assert_eq!(by(Share), None);
}

#[test]
fn phrases_of_three_items_are_stock_and_do_not_count_but_whole_copies_do() {
    let phrase = "What is the greatest possible value of the sum of";
    let questions: Vec<String> =
        ["a and b", "p and q", "s and t"].iter().map(|end| format!("{phrase} {end}?")).collect();
    let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
    let asked = format!("{phrase} x and y?");
    let share = |questions: &[&str]| benchmarks(questions, &[Share], ContaminationScope::Prompts);
    assert!(find(&share(&questions[..2]), &asked, "").is_some());
    assert_eq!(find(&share(&questions), &asked, ""), None);
    assert_eq!(
        find(&share(&questions), "what is the greatest possible value of the sum of p and q", "").unwrap().item,
        "item-1"
    );
    // Three copies of one item count as one text.
    assert!(find(&share(&[questions[0]; 3]), &asked, "").is_some());
}

#[test]
fn answers_are_compared_only_if_asked_for_and_long_enough() {
    let answer = "So she sold 48 clips in April and then half as many, 24, in May.";
    let prompts = benchmarks(&[STAMPS], &[Share], ContaminationScope::Prompts);
    assert_eq!(find(&prompts, "How many clips?", answer), None);
    let both = benchmarks(&[STAMPS], &[Share], ContaminationScope::PromptsAndAnswers);
    assert_eq!(find(&both, "How many clips?", answer).unwrap().part, "answer");
    assert_eq!(find(&both, "How many clips?", "24 in May"), None);
}

#[test]
fn without_benchmarks_or_words_nothing_is_found() {
    assert_eq!(find(&Benchmarks::default(), STAMPS, ""), None);
    let some = benchmarks(&[STAMPS, "?"], &[Exact, Share, Ngram8, NearDuplicate], ContaminationScope::Prompts);
    assert_eq!(find(&some, "?!", ""), None);
}
