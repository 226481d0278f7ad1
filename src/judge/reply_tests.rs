//! What is read in judges' replies, and what is wrong with those that cannot be used.

use serde_json::{Value, json};

use super::*;

const TEXT: &str = "Two rates must be combined before a time can be found. Steps help.";

fn body(content: Value, finish: Value) -> String {
    json!({
        "model": "deepseek-v4",
        "choices": [{"message": {"content": content, "reasoning_content": "hidden"}, "finish_reason": finish,
                     "native_finish_reason": "whatever"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 4},
    })
    .to_string()
}

fn text_of(content: &str) -> Result<String, ReplyProblem> {
    parse(&body(json!(content), json!("stop")), JudgeKind::Local).map(|reply| reply.justification)
}

fn analysis_of(content: &str, finish: &str) -> Result<String, ReplyProblem> {
    parse(&body(json!(content), json!(finish)), JudgeKind::Api).map(|reply| reply.justification)
}

#[test]
fn a_body_is_read_once_whoever_looks_at_it_and_whoever_it_is_handed_to() {
    let reply = RawReply::new(body(json!(TEXT), json!("stop")));
    assert!(reply.wire.get().is_none(), "nothing is read before it is asked for");
    assert_eq!(reply.parse(JudgeKind::Local).map(|reply| reply.justification).as_deref(), Ok(TEXT));
    let first = std::ptr::from_ref(reply.wire.get().unwrap().as_ref());
    assert!(reply.parse(JudgeKind::Api).is_err(), "what it says depends on the judge, what it holds does not");
    assert_eq!((reply.usage().map(|usage| usage.completion_tokens), reply.model()), (Some(5), Some("deepseek-v4")));
    assert!(std::ptr::eq(first, reply.wire.get().unwrap().as_ref()));
    let handed_on = reply.clone();
    assert!(handed_on.wire.get().is_some());
    assert_eq!(handed_on, RawReply::new(reply.body().to_owned()));
}

#[test]
fn the_object_is_found_in_fences_and_prose_and_behind_thinking() {
    let object = json!({"analysis": TEXT, "more": {"a": 1}}).to_string();
    for content in [
        object.clone(),
        format!("```json\n{object}\n```"),
        format!("Here is {{it}}:\n{object}\nDone."),
        format!("<think>\n{{\"analysis\": \"no\"}}\n</think>\n{object}"),
    ] {
        assert_eq!(analysis_of(&content, "stop").as_deref(), Ok(TEXT), "{content}");
    }
    // A whole object is whole, whatever ended the reply after it.
    assert_eq!(analysis_of(&object, "length").as_deref(), Ok(TEXT));
}

#[test]
fn content_without_the_object_is_malformed_and_says_why() {
    let cut = "{\"analysis\": \"Two rates";
    for (content, why) in [
        (TEXT, "no object"),
        ("[1]", "no object"),
        ("{\"text\": \"x\"}", "missing field `analysis`"),
        ("{\"analysis\": 7}", "invalid type"),
        (cut, "EOF"),
    ] {
        let Err(ReplyProblem::Malformed { problem, said }) = analysis_of(content, "stop") else { panic!("{content}") };
        assert!(problem.contains(why) && said == content, "{content}: {problem}");
    }
    assert_eq!(analysis_of(cut, "length"), Err(ReplyProblem::Truncated));
    assert_eq!(analysis_of("{\"analysis\": \" \"}", "stop"), Err(ReplyProblem::BlankContent));
}

#[test]
fn an_object_in_the_reasoning_counts_only_if_there_is_no_content() {
    let ended = |content: Value, reasoning: &str, finish: &str| {
        let choice = json!({"message": {"content": content, "reasoning": reasoning}, "finish_reason": finish});
        parse(&json!({"choices": [choice]}).to_string(), JudgeKind::Api).map(|reply| reply.justification)
    };
    let with = |content: Value, reasoning: &str| ended(content, reasoning, "stop");
    let object = json!({"analysis": TEXT}).to_string();
    assert_eq!(ended(json!(null), &object, "length"), Err(ReplyProblem::Truncated));
    assert_eq!(with(json!(null), &object).as_deref(), Ok(TEXT));
    assert_eq!(with(json!(null), "let me see"), Err(ReplyProblem::BlankContent));
    assert!(matches!(with(json!("x"), &object), Err(ReplyProblem::Malformed { .. })));
}

#[test]
fn a_good_reply_gives_text_model_and_usage() {
    let reply = parse(&format!("\n\n{}", body(json!(TEXT), json!("stop"))), JudgeKind::Local).unwrap();
    let usage = Usage { prompt_tokens: 9, cache_hit_tokens: Some(4), completion_tokens: 5 };
    let served_model = Some("deepseek-v4".to_owned());
    assert_eq!(reply, ParsedReply { justification: TEXT.to_owned(), served_model, usage: Some(usage) });
}

#[test]
fn every_unusable_reply_has_its_own_problem() {
    let cases = [
        (" \n".to_owned(), ReplyProblem::BlankBody),
        (body(json!(null), json!("stop")), ReplyProblem::BlankContent),
        (body(json!("   "), json!("stop")), ReplyProblem::BlankContent),
        (body(json!(""), json!(null)), ReplyProblem::BlankContent),
        (body(json!("```\n```"), json!("stop")), ReplyProblem::BlankContent),
        ("{}".to_owned(), ReplyProblem::BlankContent),
        (r#"{"choices":[]}"#.to_owned(), ReplyProblem::BlankContent),
        (body(json!(null), json!("length")), ReplyProblem::Truncated),
        (body(json!("Too short."), json!("length")), ReplyProblem::Truncated),
        (body(json!(TEXT), json!("content_filter")), ReplyProblem::ContentFilter),
        (body(json!(TEXT), json!("aborted")), ReplyProblem::CutByServer { finish: "aborted".to_owned() }),
        (body(json!(TEXT), json!("CANCELLED")), ReplyProblem::CutByServer { finish: "CANCELLED".to_owned() }),
        (body(json!(TEXT), json!("SAFETY")), ReplyProblem::ContentFilter),
        (body(json!(null), json!("odd")), ReplyProblem::UnknownFinish { finish: "odd".to_owned() }),
        (body(json!(null), json!("MAX_TOKENS")), ReplyProblem::Truncated),
    ];
    for (body, expected) in cases {
        assert_eq!(parse(&body, JudgeKind::Local), Err(expected), "{body}");
    }
    assert!(matches!(parse("<html>", JudgeKind::Local), Err(ReplyProblem::NotJson { .. })));
}

#[test]
fn an_error_object_counts_before_choices() {
    let mut value: Value = serde_json::from_str(&body(json!(TEXT), json!(null))).unwrap();
    value["error"] = json!({"message": "server\nbusy", "code": "busy"});
    let problem = parse(&value.to_string(), JudgeKind::Local).unwrap_err();
    let expected = ReplyProblem::ErrorObject { message: "server busy".to_owned(), code: Some("busy".to_owned()) };
    assert_eq!(problem, expected);
    assert_eq!(problem.class(), Class::Transient);
    value["error"] = json!({"message": "no", "type": "insufficient_quota"});
    assert_eq!(parse(&value.to_string(), JudgeKind::Local).unwrap_err().class(), Class::FatalRun);
    value["choices"][0]["finish_reason"] = json!("stop");
    assert_eq!(parse(&value.to_string(), JudgeKind::Local).unwrap().justification, TEXT, "it came too late");
}

#[test]
fn an_end_of_any_name_will_do_beside_text() {
    let object = json!({"analysis": TEXT}).to_string();
    for finish in ["eos", "STOP", "end_turn", "", "COMPLETE", "tool_calls", "something_new"] {
        assert_eq!(analysis_of(&object, finish).as_deref(), Ok(TEXT), "{finish}");
        let local = parse(&body(json!(TEXT), json!(finish)), JudgeKind::Local).map(|reply| reply.justification);
        assert_eq!(local.as_deref(), Ok(TEXT), "{finish}");
    }
}

#[test]
fn thinking_in_other_tags_is_dropped_as_well() {
    let object = json!({"analysis": TEXT}).to_string();
    for thought in [
        "<thought>{a}</thought>\n",
        "[THINK]x[/THINK]",
        "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>",
    ] {
        assert_eq!(analysis_of(&format!("{thought}{object}"), "stop").as_deref(), Ok(TEXT), "{thought}");
    }
}

#[test]
fn a_null_finish_is_accepted_beside_text() {
    assert_eq!(parse(&body(json!(TEXT), json!(null)), JudgeKind::Local).unwrap().justification, TEXT);
}

#[test]
fn a_truncated_reply_is_cut_at_its_last_sentence_end() {
    let cut = |content: &str| {
        parse(&body(json!(content), json!("length")), JudgeKind::Local).map(|reply| reply.justification)
    };
    assert_eq!(cut(&format!("{TEXT} And then 3.5 of")).unwrap(), TEXT);
    // 40 characters are enough, 39 are not.
    let at = format!("{}. tail", "x".repeat(39));
    let below = format!("{}. tail", "x".repeat(38));
    assert_eq!(cut(&at).unwrap().chars().count(), CUT_CHARS_MIN);
    assert_eq!(cut(&below), Err(ReplyProblem::Truncated));
}

#[test]
fn thinking_labels_quotes_and_fences_are_removed() {
    for wrapped in [
        format!("<think>\nlet me see\n</think>\n\n{TEXT}"),
        format!("let me see\n</think>\n{TEXT}"),
        format!("Justification: {TEXT}"),
        format!("**Justification:** {TEXT}"),
        format!("\"{TEXT}\""),
        format!("\u{201c}{TEXT}\u{201d}"),
        format!("```text\n{TEXT}\n```"),
        format!("```\nJustification: \"{TEXT}\"\n```"),
        format!("  {TEXT}\r\n"),
    ] {
        assert_eq!(text_of(&wrapped).as_deref(), Ok(TEXT), "{wrapped}");
    }
    let quoted = "\"Two\" and \"three\" must be told apart.";
    assert_eq!(text_of(quoted).as_deref(), Ok(quoted));
    let colon = "This needs care: signs flip.";
    assert_eq!(text_of(colon).as_deref(), Ok(colon));
}

#[test]
fn blank_lines_and_control_characters_are_dropped() {
    assert_eq!(text_of("one \r\n\r\n\n\ttwo\u{0}\n   \nthree").as_deref(), Ok("one\n\ttwo\nthree"));
}

#[test]
fn long_text_is_cut_at_the_bound() {
    let at = "\u{e9}".repeat(TEXT_CHARS_MAX);
    assert_eq!(text_of(&at).as_deref(), Ok(at.as_str()));
    assert_eq!(text_of(&format!("{at}\u{e9}")).as_deref(), Ok(at.as_str()));
    let sentences = "This is one whole sentence. ".repeat(200);
    let cut = text_of(&sentences).unwrap();
    assert!(cut.ends_with("sentence.") && cut.chars().count() <= TEXT_CHARS_MAX && cut.len() > 3900);
}

#[test]
fn usage_is_read_from_unusable_replies_too() {
    assert_eq!(usage(&body(json!(null), json!("length"))).map(|usage| usage.completion_tokens), Some(5));
    assert_eq!(usage("no json"), None);
    for count in ["0", "-5", "1e300", "18446744073709551615", "null"] {
        let body = format!(
            r#"{{"choices":[{{"message":{{"content":"text"}}}}],"usage":{{"prompt_tokens":9,"completion_tokens":{count}}}}}"#
        );
        assert_eq!(usage(&body), None, "{count}: a text takes tokens");
    }
}
