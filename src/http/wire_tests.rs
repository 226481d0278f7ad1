use super::*;

fn parse(body: &str) -> ChatReply {
    ChatReply::parse(body).unwrap()
}

#[test]
fn blank_keep_alive_lines_before_the_json_are_skipped() {
    let reply = parse("\n\r\n \n{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"hi\"}}]}\n");
    assert_eq!(reply.model.as_deref(), Some("m"));
    assert_eq!(reply.choice.unwrap().content.as_deref(), Some("hi"));
}

#[test]
fn blank_bodies_and_other_things_than_objects_are_refused() {
    assert_eq!(ChatReply::parse(" \n\n"), Err(WireError::Blank));
    for body in ["<html>busy</html>", "[]", "null", "\"text\"", "{\"choices\":", "data: {}"] {
        assert!(matches!(ChatReply::parse(body), Err(WireError::NotJson { .. })), "{body}");
    }
}

#[test]
fn odd_types_are_read_as_absent() {
    let reply = parse(r#"{"model":7,"choices":{"a":1},"usage":"none","error":null}"#);
    assert_eq!(reply, ChatReply { error: None, model: None, choice: None, usage: None, is_fragment: false });
    let reply = parse(r#"{"choices":[{"message":{"content":null,"reasoning":"r"},"finish_reason":null}]}"#);
    assert_eq!(reply.choice, Some(Choice { content: None, reasoning: Some("r".to_owned()), finish_reason: None }));
    assert_eq!(parse(r#"{"choices":[]}"#).choice, None);
    assert_eq!(parse(r#"{"choices":[{"finish_reason":"stop"}]}"#).choice.unwrap().content, None);
}

#[test]
fn a_gateways_stop_does_not_hide_that_the_server_gave_up() {
    let finish = |native: &str| {
        let fields = format!(r#"{{"native_finish_reason":"{native}"}}"#);
        let body =
            format!(r#"{{"choices":[{{"message":{{}},"finish_reason":"stop","provider_specific_fields":{fields}}}]}}"#);
        parse(&body).choice.unwrap().finish_reason.unwrap()
    };
    assert_eq!(finish("insufficient_system_resource"), "insufficient_system_resource");
    assert_eq!(finish("end_turn"), "stop");
}

#[test]
fn used_tokens_are_prompt_and_completion() {
    assert_eq!(tokens_used("\n{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4},\"x\":[1]}"), Some(7));
    assert_eq!(tokens_used("{\"usage\":null}"), None);
    assert_eq!(tokens_used("busy"), None);
}

#[test]
fn content_parts_are_joined_without_thinking_parts() {
    let body = r#"{"choices":[{"message":{"content":[{"type":"thinking","text":"no"},
        {"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#;
    let choice = parse(body).choice.unwrap();
    assert_eq!((choice.content.as_deref(), choice.reasoning.as_deref()), (Some("ab"), Some("no")));
}

#[test]
fn an_error_beside_a_whole_reply_came_too_late() {
    let body = |finish: &str, content: &str| {
        format!(
            r#"{{"error":{{"message":"gone"}},"choices":[{{"message":{{"content":{content}}},"finish_reason":{finish}}}]}}"#
        )
    };
    for (finish, content, is_error) in [
        (r#""stop""#, r#""5""#, false),
        (r#""MAX_TOKENS""#, r#""5""#, false),
        ("null", r#""5""#, true),
        (r#""error""#, r#""5""#, true),
        (r#""stop""#, "null", true),
    ] {
        assert_eq!(parse(&body(finish, content)).error.is_some(), is_error, "{finish} {content}");
    }
}

#[test]
fn the_reasoning_is_counted_even_by_servers_that_leave_it_out() {
    let tokens = |json: &str| parse(&format!("{{\"usage\":{json}}}")).usage.map(|usage| usage.completion_tokens);
    for (usage, expected) in [
        // The total decides.
        (
            r#"{"prompt_tokens":32,"completion_tokens":3,"total_tokens":155,"completion_tokens_details":{"reasoning_tokens":120}}"#,
            123,
        ),
        (
            r#"{"prompt_tokens":21,"completion_tokens":0,"total_tokens":81,"completion_tokens_details":{"reasoning_tokens":60}}"#,
            60,
        ),
        (r#"{"prompt_tokens":30,"completion_tokens":5,"total_tokens":90}"#, 60),
        // A reasoning count above the completion count is not part of it.
        (r#"{"prompt_tokens":32,"completion_tokens":3,"completion_tokens_details":{"reasoning_tokens":120}}"#, 123),
        (r#"{"prompt_tokens":32,"completion_tokens":3,"total_tokens":35,"reasoning_tokens":120}"#, 123),
        // The count includes the reasoning, as in OpenAI's replies.
        (
            r#"{"prompt_tokens":32,"completion_tokens":150,"total_tokens":182,"completion_tokens_details":{"reasoning_tokens":120}}"#,
            150,
        ),
        (r#"{"prompt_tokens":32,"completion_tokens":150,"completion_tokens_details":{"reasoning_tokens":null}}"#, 150),
        // The total also holds cached prompt tokens, or other tokens without any reasoning.
        (
            r#"{"prompt_tokens":30,"completion_tokens":5,"total_tokens":95,"prompt_tokens_details":{"cached_tokens":60}}"#,
            5,
        ),
        (
            r#"{"prompt_tokens":30,"completion_tokens":5,"total_tokens":95,"completion_tokens_details":{"reasoning_tokens":0}}"#,
            5,
        ),
        // A total that is too small is ignored.
        (r#"{"prompt_tokens":32,"completion_tokens":150,"total_tokens":7}"#, 150),
        // Other types and names.
        (r#"{"prompt_tokens":"30","completion_tokens":"12"}"#, 12),
        (r#"{"prompt_tokens":30.0,"completion_tokens":12.0}"#, 12),
        (r#"{"prompt_tokens":"30.0","completion_tokens":" 12.0 ","total_tokens":"42"}"#, 12),
        (r#"{"input_tokens":30,"output_tokens":12}"#, 12),
        (r#"{"prompt_tokens":30,"completion_tokens":-1}"#, 0),
        (r#"{"prompt_tokens":30,"completion_tokens":"many"}"#, 0),
    ] {
        assert_eq!(tokens(usage), Some(expected), "{usage}");
    }
    assert_eq!(tokens(r#"{"prompt_tokens":null,"completion_tokens":null}"#), None);
}

#[test]
fn counts_that_cannot_be_are_as_good_as_not_said() {
    let usage = |json: &str| parse(&format!("{{\"usage\":{json}}}")).usage;
    for count in ["1e300", "18446744073709551615", "-1", "-1e9", "1000000001", "\"18446744073709551615\"", "\"inf\""] {
        assert_eq!(usage(&format!(r#"{{"prompt_tokens":{count},"completion_tokens":3}}"#)), None, "{count}");
        let known = usage(&format!(r#"{{"prompt_tokens":3,"completion_tokens":{count},"total_tokens":{count}}}"#));
        assert_eq!(known.unwrap().completion_tokens, 0, "{count}");
        let hits = usage(&format!(r#"{{"prompt_cache_hit_tokens":{count},"prompt_cache_miss_tokens":{count}}}"#));
        assert_eq!(hits, None, "{count}");
    }
    let most = r#"{"prompt_cache_hit_tokens":1000000000,"prompt_cache_miss_tokens":1000000000}"#;
    assert_eq!(usage(most).unwrap().prompt_tokens, 2_000_000_000);
}

#[test]
fn the_choice_with_the_lowest_index_is_read() {
    let content = |choices: &str| parse(&format!("{{\"choices\":[{choices}]}}")).choice.unwrap().content;
    let choice = |index: &str, said: &str| format!(r#"{{"index":{index},"message":{{"content":"{said}"}}}}"#);
    for choices in [
        [choice("1", "no"), choice("0", "yes")].join(","),
        [choice("0", "yes"), choice("0", "no")].join(","),
        [choice("2", "no"), choice("1", "yes"), choice("3", "no")].join(","),
        [choice("null", "yes"), choice("null", "no")].join(","),
        choice("-1", "yes"),
    ] {
        assert_eq!(content(&choices).as_deref(), Some("yes"), "{choices}");
    }
}

#[test]
fn errors_are_found_in_every_shape() {
    let cases = [
        (
            r#"{"error":{"message":"no funds","type":"insufficient_quota","code":null}}"#,
            "no funds",
            Some("insufficient_quota"),
        ),
        (r#"{"error":{"message":"m","type":"t","code":"c"}}"#, "m", Some("c")),
        (r#"{"error":{"message":"m","type":"t","code":"403"}}"#, "m", Some("t")),
        (
            r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#,
            "too long",
            Some("BadRequestError"),
        ),
        (r#"{"error":"model not found"}"#, "model not found", None),
        (r#"{"detail":"Not Found"}"#, "Not Found", None),
        (r#"{"error":{"code":"busy"}}"#, r#"{"code":"busy"}"#, Some("busy")),
        (r#"{"choices":[{"error":{"message":"inner"}}]}"#, "inner", None),
    ];
    for (body, message, code) in cases {
        let error = parse(body).error;
        assert_eq!(error, Some(ErrorInfo { message: message.to_owned(), code: code.map(str::to_owned) }), "{body}");
    }
    assert_eq!(parse(r#"{"message":"hello","choices":[]}"#).error, None);
    assert_eq!(parse_error("<html>"), None);
}

#[test]
fn cached_tokens_are_read_in_both_dialects() {
    let usage = |json: &str| parse(&format!("{{\"usage\":{json}}}")).usage;
    let expect = |prompt_tokens, cached_tokens, completion_tokens| {
        Some(WireUsage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens: None })
    };
    assert_eq!(usage(r#"{"prompt_tokens":10,"completion_tokens":3}"#), expect(10, None, 3));
    assert_eq!(
        usage(r#"{"prompt_tokens":10,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6,"completion_tokens":3}"#),
        expect(10, Some(4), 3)
    );
    assert_eq!(usage(r#"{"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}"#), expect(10, Some(4), 0));
    assert_eq!(usage(r#"{"prompt_tokens":10,"prompt_cache_miss_tokens":6}"#), expect(10, Some(4), 0));
    assert_eq!(
        usage(r#"{"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":8},"completion_tokens":3}"#),
        expect(10, Some(8), 3)
    );
    assert_eq!(usage(r#"{"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":99}}"#), expect(10, Some(10), 0));
    assert_eq!(usage(r#"{"prompt_tokens":10,"prompt_tokens_details":null}"#), expect(10, None, 0));
    assert_eq!(usage(r#"{"completion_tokens":3}"#), None);
    assert_eq!(usage("null"), None);
}
