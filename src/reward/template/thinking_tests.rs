//! Tests of the thinking in models' own texts.

use proptest::prelude::*;

use super::*;
use FinishReason::{Length, Stop};
use Mode::{ThinkOff, ThinkOn};

fn read(text: &str, mode: Mode, finish_reason: FinishReason) -> (Option<String>, String) {
    let Split { thinking, answer } = split(text, mode, finish_reason);
    (thinking, without_answer_tags(&answer).to_owned())
}

fn both(thinking: &str, answer: &str) -> (Option<String>, String) {
    (Some(thinking.to_owned()), answer.to_owned())
}

fn answer(answer: &str) -> (Option<String>, String) {
    (None, answer.to_owned())
}

#[test]
fn every_pair_is_found_at_the_beginning_in_any_case_and_unclosed() {
    for (opening, closing) in PAIRS {
        for mode in Mode::ALL.iter().copied() {
            for (opening, closing) in [
                ((*opening).to_owned(), (*closing).to_owned()),
                (opening.to_ascii_uppercase(), closing.to_ascii_uppercase()),
                (opening.to_ascii_lowercase(), closing.to_ascii_lowercase()),
            ] {
                let text = format!("\n{opening}\nI add them.\n{closing}\n\n5");
                assert_eq!(read(&text, mode, Stop), both("I add them.", "5"), "{text}");
                let text = format!("{opening}I add them.{closing}<answer>\n5\n</answer>");
                assert_eq!(read(&text, mode, Stop), both("I add them.", "5"), "{text}");
                let text = format!("{opening}I add");
                assert_eq!(read(&text, mode, Length), both("I add", ""), "{text}");
                let text = format!("{opening}\n\n{closing}\n\n5");
                assert_eq!(read(&text, mode, Stop), answer("5"), "{text}");
                // The prompt's blank block precedes the model's block.
                let text = format!("<think>\n\n</think>\n\n{opening}\nI add them.\n{closing}\n\n5");
                if opening.to_ascii_lowercase() != THINK.0 {
                    assert_eq!(read(&text, mode, Stop), both("I add them.", "5"), "{text}");
                }
            }
        }
    }
}

#[test]
fn a_block_may_be_opened_by_the_prompt_or_after_a_few_words() {
    for (opening, closing) in PAIRS {
        assert_eq!(read(&format!("I add them.\n{closing}\n\n5"), ThinkOn, Stop), both("I add them.", "5"), "{closing}");
        let text = format!("Sure, here it is.\n{opening}\nI add them.\n{closing}\n\n5");
        assert_eq!(read(&text, ThinkOn, Stop), both("I add them.", "5"), "{text}");
    }
}

#[test]
fn mentions_are_no_thinking() {
    for (opening, closing) in PAIRS {
        for text in [
            format!("Put it between `{opening}` and `{closing}`."),
            format!("Write this:\n```xml\n{opening}\nwhy\n{closing}\n```\nand send it."),
            format!("Use `{opening}why{closing}` then."),
        ] {
            assert_eq!(read(&text, ThinkOff, Stop), answer(&text), "{text}");
            if *opening != THINK.0 {
                assert_eq!(read(&text, ThinkOn, Stop), answer(&text), "{text}");
            }
            // After a thought they belong to the answer.
            let thought = format!("<think>\nI quote.\n</think>\n\n{text}");
            assert_eq!(read(&thought, ThinkOn, Stop), both("I quote.", &text), "{thought}");
            let thought = format!("{opening}\nI quote.\n{closing}\n\n{text}");
            assert_eq!(read(&thought, ThinkOn, Stop), both("I quote.", &text), "{thought}");
        }
    }
    // Everyday markup later in the text.
    let markup = format!("{}<review><reason>late</reason></review> is the record.", "The data. ".repeat(30));
    assert_eq!(read(&markup, ThinkOff, Stop), answer(markup.trim()));
    let asked_for = "Here is the record:\n<reason>\nlate\n</reason>\nThat is all.";
    assert_eq!(read(asked_for, ThinkOff, Stop), answer(asked_for));
    let inline = "The field is <reason>late</reason> here.";
    assert_eq!(read(inline, ThinkOff, Stop), answer(inline));
}

#[test]
fn a_fence_that_the_thought_left_open_hides_nothing() {
    let text = "<think>\n```python\nprint(1)\nNow I know.\n</think>\n\n```python\nprint(2)\n```";
    assert_eq!(read(text, ThinkOn, Stop), both("```python\nprint(1)\nNow I know.", "```python\nprint(2)\n```"));
    let text = "<think>\nIt says `</think>\n\n5";
    assert_eq!(read(text, ThinkOn, Stop), both("It says `", "5"));
}

#[test]
fn harmony_is_read_with_and_without_its_marks() {
    for text in [
        "<|channel|>analysis<|message|>I add them.<|end|><|start|>assistant<|channel|>final<|message|>5",
        "<|channel|>analysis<|message|>I add them.<|end|><|start|>assistant<|channel|>final<|message|>5<|return|>",
        "<|start|>assistant<|channel|>analysis<|message|>I add them.<|end|>\n<|start|>assistant<|channel|>final <|constrain|>json<|message|>5<|return|>",
        "I add them.<|end|><|start|>assistant<|channel|>final<|message|>5",
        "<|channel|>analysis<|message|>I add them.<|end|><|start|>assistant<|channel|>commentary to=f<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>5",
        "analysisI add them.assistantfinal5",
    ] {
        for mode in Mode::ALL.iter().copied() {
            assert_eq!(read(text, mode, Stop), both("I add them.", "5"), "{text}");
        }
    }
    assert_eq!(read("<|channel|>analysis<|message|>I add", ThinkOn, Length), both("I add", ""));
    assert_eq!(read("<|channel|>final<|message|>5", ThinkOff, Stop), answer("5"));
    let prose = "analysis of the data gives 5";
    assert_eq!(read(prose, ThinkOff, Stop), answer(prose));
}

#[test]
fn granites_sentences_are_read() {
    let text = "Here is my thought process:\n\nI add them.\n\nHere is my response:\n\n5";
    assert_eq!(read(text, ThinkOn, Stop), both("I add them.", "5"));
    let text = "Here's my thought process: I add them. Here's my response: 5";
    assert_eq!(read(text, ThinkOn, Stop), both("I add them.", "5"));
    assert_eq!(read("Here is my thought process: I add", ThinkOn, Length), both("I add", ""));
}

#[test]
fn the_first_reading_stands_where_the_two_agree() {
    for text in [
        "<think>\nA\n</think>\n\nB",
        "A</think>B",
        "B",
        "<think>A",
        "Sure.\n<think>A</think>B",
        "<think>a</think>b</think>c",
    ] {
        for mode in Mode::ALL.iter().copied() {
            for finish_reason in [Stop, Length] {
                let (now, then) = (split(text, mode, finish_reason), first_split(text, mode, finish_reason));
                assert_eq!(now, then, "{text} {mode} {finish_reason}");
            }
        }
    }
    assert!(split("<thought>A</thought>B", ThinkOn, Stop) != first_split("<thought>A</thought>B", ThinkOn, Stop));
}

proptest! {
    #[test]
    fn without_other_tags_and_quotes_the_two_readings_agree(
        pieces in prop::collection::vec(prop_oneof![
            3 => "[a-z \\n<>/_]{0,12}",
            1 => Just("<think>".to_owned()),
            1 => Just("</think>".to_owned()),
            1 => Just("\n</thi".to_owned()),
        ], 0..7),
        is_on in any::<bool>(),
        is_cut in any::<bool>(),
    ) {
        let text = pieces.concat();
        let (mode, finish_reason) = (if is_on { ThinkOn } else { ThinkOff }, if is_cut { Length } else { Stop });
        let first = first_split(&text, mode, finish_reason);
        // Reading 1 took a block after a blank block for the answer.
        prop_assume!(leading_pair(&first.answer).is_none());
        prop_assert_eq!(split(&text, mode, finish_reason), first);
    }

    #[test]
    fn any_text_is_taken_apart_without_panic(text in "[`<>|/\\[\\]\u{25c1}\u{25b7}a-zA-Z:\n ]{0,80}", index in 0usize..17) {
        let (opening, closing) = PAIRS[index];
        for text in [text.clone(), format!("{opening}{text}{closing}{text}"), format!("{text}{closing}"), format!("{text}{opening}")] {
            for mode in Mode::ALL.iter().copied() {
                let _ = (split(&text, mode, Stop), split(&text, mode, Length));
            }
        }
    }
}
