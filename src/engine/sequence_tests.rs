//! The rules that end a sequence, token by token.

use super::*;
use crate::testing::tiny_vocabulary;

fn spec(tokens_max: u32, stops: &[&str], close: Option<ForcedClose>) -> SequenceSpec {
    SequenceSpec {
        prompt: vec![5, 6],
        tokens_max,
        stops: stops.iter().map(|&stop| stop.to_owned()).collect(),
        close,
        ..SequenceSpec::default()
    }
}

fn picked(token: u32) -> Picked {
    Picked { token, log_probability: -0.25 }
}

/// Feeds a text byte by byte (the tiny vocabulary has one token per byte) until the sequence ends or closes.
fn feed(sequence: &mut Sequence, text: &str) -> Progress {
    let vocabulary = tiny_vocabulary();
    let mut last = Progress::Continues { unchanged: 0 };
    for token in vocabulary.encode(text).unwrap() {
        last = sequence.push(picked(token), &vocabulary).unwrap();
        if !matches!(last, Progress::Continues { .. }) {
            break;
        }
    }
    last
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let mut sequence = Sequence::new(spec(100, &["END", "\n\n"], None));
    assert_eq!(feed(&mut sequence, "four\n\nfive"), Progress::Finished(FinishReason::Stop));
    let completion = sequence.completion(FinishReason::Stop);
    assert_eq!((completion.text.as_str(), completion.completion_tokens), ("four", 4));
}

#[test]
fn the_token_limit_ends_at_the_limit_and_not_before() {
    let mut sequence = Sequence::new(spec(4, &[], None));
    assert_eq!(feed(&mut sequence, "abc"), Progress::Continues { unchanged: 4 });
    assert_eq!(feed(&mut sequence, "d"), Progress::Finished(FinishReason::Length));
    assert_eq!(sequence.completion(FinishReason::Length).text, "abcd");
}

fn close() -> ForcedClose {
    ForcedClose { triggers: vec!["</think>".to_owned()], text: "\n</think>\n".to_owned(), tokens_max: 3 }
}

#[test]
fn a_trigger_closes_the_thought_and_the_answer_follows() {
    let mut sequence = Sequence::new(spec(100, &["\n"], Some(close())));
    assert_eq!(feed(&mut sequence, "2+2 \n</think>"), Progress::Continues { unchanged: 2 + 3 });
    assert_eq!(feed(&mut sequence, "4\n"), Progress::Finished(FinishReason::Stop));
    assert_eq!(sequence.completion(FinishReason::Stop).text, "2+2\n</think>\n4");
}

#[test]
fn the_limit_and_the_end_of_turn_close_the_thought_too() {
    let vocabulary = tiny_vocabulary();
    let mut sequence = Sequence::new(spec(3, &[], Some(close())));
    feed(&mut sequence, "abc");
    assert_eq!(feed(&mut sequence, "xyz"), Progress::Finished(FinishReason::Length));
    assert_eq!(sequence.completion(FinishReason::Length).text, "abc\n</think>\nxyz");

    let end = vocabulary.encode("<|im_end|>").unwrap()[0];
    let mut sequence = Sequence::new(spec(30, &[], Some(close())));
    feed(&mut sequence, "ab");
    assert_eq!(sequence.push(picked(end), &vocabulary).unwrap(), Progress::Continues { unchanged: 4 });
    assert_eq!(sequence.push(picked(end), &vocabulary).unwrap(), Progress::Finished(FinishReason::Stop));
    assert_eq!(sequence.completion(FinishReason::Stop).text, "ab\n</think>\n");
}

#[test]
fn the_cause_of_a_close_is_recorded_and_only_sampled_tokens_count_for_the_log_probability() {
    let vocabulary = tiny_vocabulary();
    let end = vocabulary.encode("<|im_end|>").unwrap()[0];
    let finish = |first: &[u32]| {
        let mut sequence = Sequence::new(spec(3, &[], Some(close())));
        for &token in first {
            sequence.push(picked(token), &vocabulary).unwrap();
        }
        assert_eq!(sequence.push(picked(end), &vocabulary).unwrap(), Progress::Finished(FinishReason::Stop));
        sequence.completion(FinishReason::Stop)
    };
    let letters = vocabulary.encode("abc").unwrap();
    let by_limit = finish(&letters);
    assert_eq!(by_limit.forced_close, Some(CloseCause::TokenLimit));
    assert_eq!(by_limit.log_probability, -0.25 * 4.0, "three letters and the end of the turn");
    assert!(by_limit.completion_tokens > 4, "the closing text counts as tokens");
    assert_eq!(finish(&[letters[0], end]).forced_close, Some(CloseCause::EndOfTurn));
    let mut sequence = Sequence::new(spec(100, &["\n"], Some(close())));
    feed(&mut sequence, "a</think>4\n");
    let by_trigger = sequence.completion(FinishReason::Stop);
    assert_eq!(by_trigger.forced_close, Some(CloseCause::Trigger));
    assert_eq!(by_trigger.log_probability, -0.25 * 11.0, "what was cut off was sampled");
    let plain = Sequence::new(spec(1, &[], None)).completion(FinishReason::Length);
    assert_eq!((plain.forced_close, plain.log_probability), (None, 0.0));
}

#[test]
fn stop_tokens_end_the_last_phase_only_and_end_of_turn_can_be_ignored() {
    let vocabulary = tiny_vocabulary();
    let [end, stop] = ["<|im_end|>", "x"].map(|text| vocabulary.encode(text).unwrap()[0]);
    let with_stop = |close| SequenceSpec { stop_tokens: vec![stop], ..spec(100, &[], close) };
    let mut sequence = Sequence::new(with_stop(None));
    assert_eq!(feed(&mut sequence, "abx"), Progress::Finished(FinishReason::Stop));
    assert_eq!(sequence.completion(FinishReason::Stop).text, "ab");
    let mut sequence = Sequence::new(with_stop(Some(close())));
    feed(&mut sequence, "ax</think>");
    assert_eq!(feed(&mut sequence, "4x"), Progress::Finished(FinishReason::Stop));
    assert_eq!(sequence.completion(FinishReason::Stop).text, "ax\n</think>\n4");
    let mut sequence = Sequence::new(SequenceSpec { end_of_turn: EndOfTurn::Ignore, ..spec(3, &[], None) });
    for _ in 0..2 {
        assert!(matches!(sequence.push(picked(end), &vocabulary).unwrap(), Progress::Continues { .. }));
    }
    assert_eq!(sequence.push(picked(end), &vocabulary).unwrap(), Progress::Finished(FinishReason::Length));
}

#[test]
fn special_tokens_stay_in_the_text_under_their_names() {
    let vocabulary = tiny_vocabulary();
    let special = vocabulary.encode("<|im_start|>").unwrap();
    assert_eq!((special.len(), vocabulary.token_bytes(special[0])), (1, &b"<|im_start|>"[..]));
    let mut sequence = Sequence::new(spec(3, &[], None));
    feed(&mut sequence, "a<|im_start|>b");
    assert_eq!(sequence.completion(FinishReason::Length).text, "a<|im_start|>b");
}

#[test]
fn a_response_is_given_up_only_once_it_cannot_be_short_enough_any_more() {
    // Tries every text of some pieces, with and without thinking: an abandoned text would always have been too long.
    let pieces = ["a", "\n", "</think>", "\n\n", " ", "\u{e9}", "bc"];
    let vocabulary = tiny_vocabulary();
    let mut given_up = 0;
    for index in 0..7_usize.pow(4) {
        let digits = (0..4_u32).map(|place| index / 7_usize.pow(place) % 7);
        let text: String = digits.map(|digit| pieces[digit]).chain(["</think>x\n\n"]).collect();
        for thought in [None, Some(close())] {
            let whole = {
                let mut sequence = Sequence::new(spec(40, &["\n\n"], thought.clone()));
                feed(&mut sequence, &text);
                sequence.completion(FinishReason::Stop).completion_tokens
            };
            for useful in 0..8 {
                let bounded = SequenceSpec { useful_tokens_max: Some(useful), ..spec(40, &["\n\n"], thought.clone()) };
                let mut sequence = Sequence::new(bounded);
                for token in vocabulary.encode(&text).unwrap() {
                    match sequence.push(picked(token), &vocabulary).unwrap() {
                        Progress::Continues { .. } => {}
                        Progress::Finished(_) => break,
                        Progress::GivenUp => {
                            given_up += 1;
                            assert!(whole > useful, "{text:?} has {whole} tokens, {useful} would be of use");
                            break;
                        }
                    }
                }
            }
        }
    }
    assert!(given_up > 1000, "{given_up}");
}

#[test]
fn a_stop_string_that_spans_two_tokens_is_found() {
    assert_eq!(earliest(b"ab</th", &["</think>".to_owned()], 2), None);
    assert_eq!(earliest(b"ab</think>", &["</think>".to_owned()], 9), Some(2));
    assert_eq!(earliest(b"xx", &["x".to_owned()], 1), Some(1));
}
