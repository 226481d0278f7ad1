//! For every rejection, a text that is rejected and a text that just passes.

use super::*;

const QUESTION: &str = "One pipe fills a tank in 6 hours, another drains it in 9 hours. When is it full?";
const GOOD_ON: &str = "Two opposing rates of the pipes have to be combined before any time can be found.";
const GOOD_OFF: &str = "The time of the tank is one well-known fact, with nothing to derive or to check.";

fn subject(mode: Mode) -> Subject<'static> {
    Subject { question: QUESTION, gold: "18", choices: &[], mode }
}

fn api(text: &str, mode: Mode) -> Result<(), Rejection> {
    check(text, &subject(mode), known_texts(JudgeKind::Api), JudgeKind::Api)
}

#[test]
fn good_texts_of_both_modes_pass() {
    assert_eq!(api(GOOD_ON, Mode::ThinkOn), Ok(()));
    assert_eq!(api(GOOD_OFF, Mode::ThinkOff), Ok(()));
    assert_eq!(check(GOOD_ON, &subject(Mode::ThinkOn), &[], JudgeKind::Local), Ok(()));
}

#[test]
fn every_rejection_is_met_by_a_text() {
    let long = "The rates of both pipes are combined. ".repeat(50);
    let cases = [
        (GOOD_OFF.to_owned(), Rejection::ContradictsMode),
        (format!("{GOOD_ON} That gives 18 hours."), Rejection::LeaksAnswer),
        (format!("{GOOD_ON} Its pass rate is higher."), Rejection::MentionsSampling),
        (format!("{GOOD_ON} </THINK>"), Rejection::TemplateTag),
        ("The pipes are two.".to_owned(), Rejection::TooShort),
        (long, Rejection::TooLong),
        ("\u{4e24}\u{4e2a}\u{6c34}\u{7ba1}\u{7684}\u{901f}\u{7387}\u{5fc5}\u{987b}\u{5148}\u{5408}\u{5e76}\u{ff0c}\u{624d}\u{80fd}\u{6c42}\u{51fa}\u{6ce8}\u{6ee1}\u{6c34}\u{6c60}\u{6240}\u{9700}\u{7684}\u{65f6}\u{95f4}\u{3002}".to_owned(), Rejection::WrongLanguage),
        (
            "This question requires careful reasoning, so reasoning first is the best approach.".to_owned(),
            Rejection::Boilerplate,
        ),
    ];
    let met: BTreeSet<Rejection> = cases.iter().map(|(_, rejection)| *rejection).collect();
    assert_eq!(met.len(), Rejection::ALL.len() - 1, "every reason has its case, but for what neighbours decide");
    for (text, rejection) in cases {
        assert_eq!(api(&text, Mode::ThinkOn), Err(rejection), "{text}");
        assert_eq!(rejection.name().parse(), Ok(rejection));
        assert!(!rejection.advice().is_empty());
    }
    assert_eq!(api(GOOD_ON, Mode::ThinkOff), Err(Rejection::ContradictsMode));
}

#[test]
fn lengths_are_held_at_their_bounds() {
    let at = |letters: usize| "x".repeat(letters);
    assert_eq!(api(&at(LENGTH_MIN), Mode::ThinkOn), Ok(()));
    assert_eq!(api(&at(LENGTH_MIN - 1), Mode::ThinkOn), Err(Rejection::TooShort));
    assert_eq!(api(&at(CHARS_MAX), Mode::ThinkOn), Ok(()));
    assert_eq!(api(&at(CHARS_MAX + 1), Mode::ThinkOn), Err(Rejection::TooLong));
    let chinese = Subject {
        question: "\u{6c34}\u{6c60}\u{4f55}\u{65f6}\u{6ce8}\u{6ee1}\u{ff1f}\u{8bf7}\u{8bf4}\u{660e}",
        gold: "18",
        choices: &[],
        mode: Mode::ThinkOn,
    };
    assert_eq!(
        check(
            "\u{4e24}\u{7ba1}\u{901f}\u{7387}\u{987b}\u{5148}\u{5408}\u{5e76}\u{518d}\u{6c42}\u{65f6}\u{95f4}",
            &chinese,
            &[],
            JudgeKind::Api
        ),
        Ok(())
    );
    assert_eq!(check("\u{4e24}\u{7ba1}\u{901f}\u{7387}", &chinese, &[], JudgeKind::Api), Err(Rejection::TooShort));
}

#[test]
fn a_copy_of_an_example_is_boilerplate_and_a_local_judge_has_a_laxer_bound() {
    let example = "the equation has to be rearranged in two steps, each of which changes the value of the next.";
    let known = known_triples(&[example.to_owned()]);
    let judge = |text: &str, kind| check(text, &subject(Mode::ThinkOn), &known, kind);
    let near = example.replace("two steps", "three steps");
    assert_eq!(judge(example, JudgeKind::Api), Err(Rejection::Boilerplate));
    assert_eq!(judge(example, JudgeKind::Local), Err(Rejection::Boilerplate));
    assert_eq!(judge(&near, JudgeKind::Api), Err(Rejection::Boilerplate));
    assert_eq!(judge(&near, JudgeKind::Local), Ok(()));
    // A text that mentions the question may share words with known texts, but not all of them.
    let about = near.replace("the equation has", "the rate of the pipe that drains has");
    assert_eq!(judge(&about, JudgeKind::Api), Ok(()));
    let foreign = "\u{4e24}\u{4e2a}\u{6c34}\u{7ba1}\u{7684}\u{901f}\u{7387}\u{5fc5}\u{987b}\u{5148}\u{5408}\u{5e76}\u{ff0c}\u{624d}\u{80fd}\u{6c42}\u{51fa}\u{6ce8}\u{6ee1}\u{6c34}\u{6c60}\u{6240}\u{9700}\u{7684}\u{65f6}\u{95f4}\u{3002}";
    assert_eq!(judge(foreign, JudgeKind::Local), Ok(()));
}

#[test]
fn resemblance_is_the_jaccard_similarity_of_word_triples() {
    let likeness = |a: &str, b: &str| resemblance(&triples(a), &triples(b));
    assert!((likeness("a b c d", "A, b c d!") - 1.0).abs() < 1e-12);
    assert!((likeness("a b c d", "a b c x") - 1.0 / 3.0).abs() < 1e-12);
    assert!(likeness("a b", "a b").abs() < 1e-12);
}
