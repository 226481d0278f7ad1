//! Figures of invented runs, and texts that try to act as markup.

use super::figures::{figures, sensitivity_rows};
use super::gather::{Gathered, QueryFacts, Timeline};
use super::page::{PageOptions, file};
use super::{Entry, entries, svg};
use crate::domain::{ByMode, Mode, PassCounts};

fn facts(on: u32, off: u32, mode: Option<Mode>) -> QueryFacts {
    let counts = |correct| PassCounts { sampled: 4, correct, other_mode: 0 };
    QueryFacts {
        counts: ByMode { on: counts(on), off: counts(off) },
        tokens: ByMode { on: 400, off: 40 },
        shortest: ByMode { on: (on > 0).then_some(80), off: (off > 0).then_some(8) },
        mode,
    }
}

fn run() -> Gathered {
    let queries = vec![facts(4, 4, Some(Mode::ThinkOff)), facts(4, 1, Some(Mode::ThinkOn)), facts(0, 0, None)];
    let mut all = Gathered { queries, tie_margin: Some(0.1), ..Gathered::default() };
    all.counts.samples = 2;
    all.think_by_difficulty.insert("easy".to_owned(), (2, 1));
    all.counts.exclusions_by_reason.insert("<b>unsolved".to_owned(), 1);
    all
}

#[test]
fn headline_numbers_are_those_of_the_run() {
    let all = run();
    assert_eq!(all.pass_rate(Mode::ThinkOn), Some(8.0 / 12.0));
    assert_eq!(all.think_rate(), Some(0.5));
    // Always thinking takes 100 + 100 tokens, the chosen modes 10 + 100.
    assert_eq!(all.tokens_saved(), Some(1.0 - 110.0 / 200.0));
}

#[test]
fn a_wider_tie_margin_thinks_less_and_counts_what_changes() {
    let rows = sensitivity_rows(&run());
    let shares: Vec<f64> = rows.iter().map(|(_, share, ..)| *share).collect();
    assert!(shares.is_sorted_by(|left, right| left >= right) && shares[0] == 0.5, "{shares:?}");
    assert_eq!(rows[2].2, 0, "nothing changes at the run's own margin");
    // The gain of the one query that thinks is 0.75, beyond every margin tried.
    assert_eq!(rows[10].1, 0.5);
}

#[test]
fn a_mode_that_was_not_sampled_has_no_pass_rate_rather_than_one_of_zero() {
    let mut all = run();
    let mut frugal = facts(0, 4, Some(Mode::ThinkOff));
    frugal.counts.on = PassCounts::default();
    assert!(!figures(&all).contains("Not shown"));
    all.queries.push(frugal);
    let html = figures(&all);
    // Heat map and decision margin, each with its label for screen readers.
    assert_eq!(html.matches("Not shown: 1 queries that were sampled in one mode only.").count(), 4);
    assert!(!html.contains("<td>0%</td><td class=\"n\">100%</td>") && !html.contains("<td>-1.0</td>"), "{html}");

    let row = serde_json::json!({
        "query_id": "q", "ordinal": 0, "source": "s", "kind": "math", "question": "1 + 1?", "gold": "2",
        "mode": "think_off", "mode_reason": "not_worse", "pass_rate_on": 0.0, "pass_rate_off": 1.0, "sampled_on": 0,
        "sampled_off": 4, "correct_on": 0, "correct_off": 4, "other_mode_on": 0, "other_mode_off": 0,
        "difficulty": "easy", "difficulty_score": 0.3,
        "difficulty_low": 0.0, "difficulty_high": 0.5, "justification_status": "none", "answer": "2", "messages": [],
        "prompt": "1 + 1?", "completion": "", "completion_tokens": 1, "policy_model": "tiny", "policy_revision": "r",
        "prompt_version": "p", "seed": 1,
    });
    let entry = entries::sample_entry(serde_json::from_value(row).unwrap());
    assert_eq!((entry.p_on, entry.p_off), (None, Some(1.0)));
}

#[test]
fn figures_escape_names_and_say_their_numbers_in_tables_too() {
    let html = figures(&run());
    assert!(html.contains("&lt;b&gt;unsolved") && !html.contains("<b>unsolved"));
    assert_eq!(html.matches("<figure>").count(), 9);
    assert_eq!(html.matches("<figure>").count(), html.matches("<table>").count());
    assert!(figures(&Gathered::default()).contains("<figure>"), "an empty run has figures as well");
}

#[test]
fn work_is_sorted_into_steps_that_keep_its_sums() {
    let tokens: Vec<(i64, u64)> = (0..1000).map(|second| (second * 1000, 2)).collect();
    let timeline = Timeline::new(&tokens, Some(&[(0, 0.5), (999_000, 0.25)]));
    assert_eq!(timeline.tokens.iter().sum::<u64>(), 2000);
    assert_eq!((timeline.spend_usd.first(), timeline.spend_usd.last()), (Some(&0.5), Some(&0.75)));
    assert_eq!(Timeline::new(&[], None), Timeline::default());
}

#[test]
fn hostile_text_stays_text_in_the_page() {
    let hostile = "</script><script>alert(1)</script>{title}<!--\u{202e}\u{1b}[31m\u{0}";
    let entry =
        Entry { id: hostile.to_owned(), outcome: hostile.to_owned(), answer: hostile.to_owned(), ..Entry::default() };
    let options = PageOptions { title: hostile, subtitle: hostile, summary: "" };
    let html = file(&options, &[entry], 1);
    assert!(!html.contains("<script>alert") && !html.contains("</script><script>alert"));
    // Two script elements: the data and the reader.
    assert_eq!(html.matches("</script>").count(), 2);
    assert!(!html.contains("http://") && !html.contains("https://"), "it asks nobody");
    let data = html.split("id=\"reader-data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["rows"][0]["answer"], hostile, "and is whole as data");
    let shown = svg::escape(hostile);
    assert!(shown.contains("\u{27e8}202e\u{27e9}") && !shown.contains('\u{1b}') && !shown.contains('<'), "{shown}");
}
