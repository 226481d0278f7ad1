//! Replies of servers, parsed as the responses of their models.

use serde_json::{Value, json};

use super::*;
use crate::domain::RolloutKey;
use crate::template::read_response;
use FinishReason::{Length, Stop};
use Mode::{ThinkOff, ThinkOn};

fn body(message: &Value, finish: &Value, usage: &Value) -> String {
    json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}).to_string()
}

fn counted() -> Value {
    json!({"prompt_tokens": 9, "completion_tokens": 5})
}

fn read_in(mode: Mode, message: Value, finish: Value) -> Result<(String, FinishReason), String> {
    let body = body(&message, &finish, &counted());
    let read = read(&body, "prompt", mode);
    read.map(|read| (read.text, read.finish_reason)).map_err(|evidence| format!("{evidence:?}"))
}

/// Thinking and answer of a reply, as the pipeline sees them.
fn seen(mode: Mode, body: &str) -> (Option<String>, String) {
    let read = read(body, "prompt", mode).unwrap();
    let observed = read_response(&read.text, mode, read.finish_reason);
    (observed.thinking, observed.answer)
}

fn both(thinking: &str, answer: &str) -> (Option<String>, String) {
    (Some(thinking.to_owned()), answer.to_owned())
}

#[test]
fn replies_are_read_as_the_model_wrote_them() {
    let stop = |text: &str| Ok((text.to_owned(), Stop));
    let length = |text: &str| Ok((text.to_owned(), Length));
    assert_eq!(read_in(ThinkOn, json!({"content": "a"}), json!("stop")), stop("a"));
    assert_eq!(read_in(ThinkOn, json!({"content": "a"}), json!(null)), stop("a"));
    for name in ["reasoning_content", "reasoning", "thinking", "reasoning_text"] {
        let with = |content: Value| json!({"content": content, name: "t"});
        assert_eq!(read_in(ThinkOn, with(json!("a")), json!("stop")), stop("<think>\nt\n</think>\n\na"));
        for mode in Mode::ALL.iter().copied() {
            assert_eq!(read_in(mode, with(json!(null)), json!("length")), length("<think>\nt"), "{mode}: no answer");
        }
        // The thinking was never closed, or the whole text is the answer.
        assert_eq!(read_in(ThinkOn, with(json!(null)), json!("stop")), stop("<think>\nt"));
        assert_eq!(read_in(ThinkOff, with(json!("")), json!("stop")), stop("t"));
    }
    let tagged = json!({"content": "<think>t</think>a", "reasoning": null});
    assert_eq!(read_in(ThinkOn, tagged, json!("stop")), stop("<think>t</think>a"));
    for message in [json!({"content": null}), json!({"content": "  "}), json!({})] {
        assert_eq!(read_in(ThinkOn, message.clone(), json!("stop")), Err("Unusable".to_owned()), "{message}");
        let (text, finish) = read_in(ThinkOn, message, json!("MAX_TOKENS")).unwrap();
        assert_eq!((text.trim(), finish), ("", Length), "the thought is the server's own");
    }
    assert!(matches!(read(" \n", "p", ThinkOn), Err(Evidence::BlankBody)));
    assert!(matches!(read("<html>", "p", ThinkOn), Err(Evidence::NotJson)));
    let money = r#"{"error":{"message":"m","code":"insufficient_quota"}}"#;
    assert!(matches!(read(money, "p", ThinkOn), Err(Evidence::ErrorObject { code: Some("insufficient_quota") })));
}

#[test]
fn text_beside_any_end_is_a_response_but_for_what_was_cut() {
    for finish in [
        "stop",
        "STOP",
        "FINISH_REASON_STOP",
        "eos",
        "eos_token",
        "end_turn",
        "stop_sequence",
        "",
        "complete",
        "tool_calls",
        "brand_new",
    ] {
        assert_eq!(read_in(ThinkOff, json!({"content": "5"}), json!(finish)), Ok(("5".to_owned(), Stop)), "{finish}");
    }
    for finish in ["length", "max_tokens", "MAX_TOKENS", "model_length", "token_limit", "max_output_tokens"] {
        assert_eq!(read_in(ThinkOff, json!({"content": "5"}), json!(finish)), Ok(("5".to_owned(), Length)), "{finish}");
    }
    for finish in ["aborted", "insufficient_system_resource", "error", "cancelled"] {
        assert_eq!(
            read_in(ThinkOff, json!({"content": "5"}), json!(finish)),
            Err("CutByServer".to_owned()),
            "{finish}"
        );
    }
    for finish in ["content_filter", "SAFETY", "RECITATION", "refusal"] {
        assert_eq!(
            read_in(ThinkOff, json!({"content": "5"}), json!(finish)),
            Err("ContentFilter".to_owned()),
            "{finish}"
        );
    }
    let unknown = body(&json!({"content": "5"}), &json!("brand_new"), &counted());
    assert_eq!(read(&unknown, "p", ThinkOff).unwrap().unknown_finish.as_deref(), Some("brand_new"));
}

#[test]
fn what_came_of_a_stream_that_broke_off_is_no_response_and_kept() {
    let fragment =
        json!({"object": "chat.completion.fragment", "choices": [{"message": {"content": "The ans"}}]}).to_string();
    assert!(matches!(read(&fragment, "p", ThinkOff), Err(Evidence::Interrupted)));
    assert_eq!(worth_keeping(&fragment), Some(fragment.clone()));
    for body in ["<html>", "", r#"{"error":{"message":"busy"}}"#] {
        assert_eq!(worth_keeping(body), None, "{body}");
    }
}

#[test]
fn thinking_and_answer_are_seen_wherever_servers_put_them() {
    let wanted = both("I add them.", "5");
    for message in [
        json!({"content": "5", "reasoning_content": "I add them."}),
        json!({"content": "5", "reasoning_content": "", "reasoning": "I add them."}),
        json!({"content": "5", "reasoning_content": null, "reasoning": "I add them."}),
        json!({"content": "5", "reasoning_content": "I add them.", "reasoning": "I add them."}),
        json!({"content": "5", "reasoning_details": [{"type": "reasoning.text", "text": "I add them."}]}),
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "I add them."}]}, {"type": "text", "text": "5"}]}),
        json!({"content": [{"type": "thinking", "thinking": "I add them."}, {"type": "text", "text": "5"}]}),
        json!({"content": "<think>I add them.</think>5", "reasoning_content": "I add them."}),
        json!({"content": "</think>\n\n5", "reasoning_content": "I add them."}),
        json!({"content": "5", "reasoning_content": "<think>\nI add them.\n</think>"}),
        json!({"content": null, "reasoning_content": "I add them.\n</think>\n\n5"}),
        json!({"content": "", "reasoning": "<think>I add them.</think>5"}),
        json!({"content": "<thought>\nI add them.\n</thought>\n\n5"}),
        json!({"content": "[THINK]I add them.[/THINK]5"}),
        json!({"content": "<|channel|>analysis<|message|>I add them.<|end|><|start|>assistant<|channel|>final<|message|>5"}),
    ] {
        for mode in Mode::ALL.iter().copied() {
            assert_eq!(seen(mode, &body(&message, &json!("stop"), &counted())), wanted, "{mode}: {message}");
        }
    }
}

#[test]
fn an_answer_in_the_reasoning_is_one_in_think_off_only_and_only_if_it_is_whole() {
    let message = json!({"content": null, "reasoning": "5"});
    assert_eq!(seen(ThinkOff, &body(&message, &json!("stop"), &counted())), (None, "5".to_owned()));
    assert_eq!(seen(ThinkOff, &body(&message, &json!("length"), &counted())), both("5", ""));
    assert_eq!(seen(ThinkOn, &body(&message, &json!("stop"), &counted())), both("5", ""));
}

#[test]
fn lengths_are_counted_with_the_reasoning_or_marked() {
    let length = |message: Value, usage: Value| {
        let read = read(&body(&message, &json!("stop"), &usage), "a prompt", ThinkOn).unwrap();
        (read.completion_tokens, read.length_estimated)
    };
    let long = "Let me check this again and again. ".repeat(60);
    let thought = || json!({"content": "5", "reasoning_content": long});
    let estimate = u32::try_from(format!("<think>\n{}\n</think>\n\n5", long.trim()).len().div_ceil(3)).unwrap();
    let reasoning = |count: u32| json!({"reasoning_tokens": count});
    for (usage, expected) in [
        (
            json!({"prompt_tokens": 32, "completion_tokens": 1, "total_tokens": 513, "completion_tokens_details": reasoning(480)}),
            (481, false),
        ),
        (
            json!({"prompt_tokens": 32, "completion_tokens": 1, "completion_tokens_details": reasoning(480)}),
            (481, false),
        ),
        // An included reasoning count would leave no token for the text: it is counted separately.
        (
            json!({"prompt_tokens": 32, "completion_tokens": 90, "completion_tokens_details": reasoning(90)}),
            (180, false),
        ),
        (
            json!({"prompt_tokens": 32, "completion_tokens": 481, "completion_tokens_details": reasoning(480)}),
            (481, false),
        ),
        (json!({"prompt_tokens": 32, "completion_tokens": 1}), (estimate, true)),
        (json!({"prompt_tokens": 32, "completion_tokens": 0}), (estimate, true)),
        (json!({"prompt_tokens": null, "completion_tokens": null}), (estimate, true)),
        (json!(null), (estimate, true)),
        (json!({"prompt_tokens": "32", "completion_tokens": "481"}), (481, false)),
        (json!({"prompt_tokens": 32.0, "completion_tokens": 481.0}), (481, false)),
    ] {
        assert_eq!(length(thought(), usage.clone()), expected, "{usage}");
    }
    assert_eq!(length(json!({"content": "four words of text"}), json!(null)), (6, true));
    let uncounted = body(&json!({"content": "5"}), &json!("stop"), &json!(null));
    assert_eq!(read(&uncounted, "a prompt of some length", ThinkOff).unwrap().prompt_tokens, 8);
}

#[test]
fn a_turn_that_ends_at_once_is_a_response() {
    let body = body(&json!({"content": ""}), &json!("stop"), &json!({"prompt_tokens": 9, "completion_tokens": 1}));
    assert_eq!(read(&body, "p", ThinkOff).unwrap().text, "");
}

#[test]
fn a_stored_reply_is_read_again_and_what_cannot_be_read_stays() {
    let first = Rollout {
        key: RolloutKey("k".to_owned()),
        mode: ThinkOn,
        sample_index: 0,
        seed: 1,
        prompt: "p".to_owned(),
        prefill: String::new(),
        text: "5".to_owned(),
        finish_reason: Stop,
        forced_close: None,
        logprob_sum: None,
        prompt_tokens: 9,
        completion_tokens: 1,
        reading: Reading::default(),
    };
    let raw = body(&json!({"content": "5", "reasoning": "I add."}), &json!("eos"), &counted());
    let again = reread(first.clone(), &raw);
    assert_eq!((again.text.as_str(), again.completion_tokens), ("<think>\nI add.\n</think>\n\n5", 5));
    assert!(again.reading.is_reread);
    let same = reread(again.clone(), &raw);
    assert_eq!((same.text.as_str(), same.reading.is_reread), (again.text.as_str(), false));
    assert_eq!(reread(first.clone(), "<html>"), first);
}
