//! Tests of the wire format: accepted and rejected requests, messages, prompts, long lists.

use serde_json::json;

use super::*;

fn sampling(body: &str) -> Result<Checked, ApiError> {
    parse::<Sampling<'_>>(body.as_bytes())?.check()
}

fn chat(body: &str) -> Result<Vec<Message>, ApiError> {
    parse::<ChatRequest<'_>>(body.as_bytes())?.conversation(64, 1000)
}

#[test]
fn what_is_out_of_range_or_of_another_shape_is_refused() {
    let refused = [
        "[]",
        "[1]",
        "1",
        "null",
        "",
        "{",
        r#"{"n": 0}"#,
        r#"{"n": 129}"#,
        r#"{"n": -1}"#,
        r#"{"n": 1e300}"#,
        r#"{"n": 1, "n": 2}"#,
        r#"{"max_tokens": 0}"#,
        r#"{"max_tokens": -5}"#,
        r#"{"max_tokens": 4294967296}"#,
        r#"{"max_tokens": 1.5}"#,
        r#"{"temperature": NaN}"#,
        r#"{"temperature": 1e999}"#,
        r#"{"temperature": -0.1}"#,
        r#"{"temperature": "1"}"#,
        r#"{"top_p": 0}"#,
        r#"{"min_p": 1}"#,
        r#"{"seed": 99999999999999999999}"#,
        r#"{"stop": ""}"#,
        r#"{"stop": [1]}"#,
        r#"{"stop": {}}"#,
        r#"{"logit_bias": {"1": 5}}"#,
        r#"{"logit_bias": [1]}"#,
        r#"{"presence_penalty": 0.5}"#,
        r#"{"response_format": 1}"#,
        r#"{"response_format": {"type": "xml"}}"#,
        r#"{"response_format": {"type": "json_schema"}}"#,
    ];
    for body in refused {
        assert!(sampling(body).is_err(), "{body}");
    }
    let long = json!({"stop": "x".repeat(STOP_BYTES_MAX + 1)}).to_string();
    let many = json!({"stop": vec!["x"; STOPS_MAX + 1]}).to_string();
    let format = json!({"response_format": {"type": "json_object", "x": "x".repeat(SCHEMA_BYTES_MAX)}}).to_string();
    for body in [long, many, format] {
        assert!(sampling(&body).is_err(), "{} bytes", body.len());
    }
    let taken = [
        "{}",
        r#"{"stop": null, "logit_bias": null, "response_format": null, "n": null, "stream_options": null}"#,
        r#"{"logit_bias": { }, "frequency_penalty": 0, "user": {"a": [{}]}, "top_k": -1, "max_tokens": 4294967295}"#,
    ];
    for body in taken {
        assert!(sampling(body).is_ok(), "{body}");
    }
    assert_eq!(sampling(r#"{"stop": ["a", "b"]}"#).unwrap().stops, ["a", "b"]);
    assert_eq!(sampling(r#"{"stop": "a\u0062"}"#).unwrap().stops, ["ab"]);
}

#[test]
fn messages_are_texts_or_parts_and_no_more_than_there_is_room_for() {
    let parts = r#"{"messages": [{"role": "developer", "content": [{"type": "text", "text": "a\n"}, {"type": "text", "text": "b"}]}]}"#;
    let read = chat(parts).unwrap();
    assert_eq!((read[0].role.as_str(), read[0].content.as_str()), ("system", "a\nb"));
    assert_eq!(chat(r#"{"messages": [{"role": "assistant", "content": null}]}"#).unwrap()[0].content, "");
    let refused = [
        r#"{"messages": []}"#,
        r#"{"messages": {}}"#,
        r#"{"messages": [{}]}"#,
        r#"{"messages": [{"role": "tool", "content": "x"}]}"#,
        r#"{"messages": [{"role": "user", "content": 7}]}"#,
        r#"{"messages": [{"role": "user", "content": {"text": "x"}}]}"#,
        r#"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}"#,
        r#"{"messages": [{"role": "user", "content": ["x"]}]}"#,
        r#"{"messages": [{"role": "user", "content": "\ud800"}]}"#,
        r#"{"messages": [{"role": "user", "content": "x"}], "tools": [{}]}"#,
        r#"{"messages": [{"role": "user", "content": "x"}], "tools": {}}"#,
    ];
    for body in refused {
        assert!(chat(body).is_err(), "{body}");
    }
    let many = json!({"messages": vec![json!({"role": "user"}); 65]}).to_string();
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(1001)}]}).to_string();
    for body in [many, long] {
        let error = chat(&body).unwrap_err();
        assert_eq!(error.body()["error"]["code"], "context_length_exceeded", "{error:?}");
    }
    for (kwargs, mode) in [
        ("{}", None),
        (r#"{"enable_thinking": false}"#, Some(Mode::ThinkOff)),
        (r#"{"thinking": true}"#, Some(Mode::ThinkOn)),
        ("null", None),
    ] {
        let body = format!(r#"{{"messages": [], "chat_template_kwargs": {kwargs}}}"#);
        assert_eq!(parse::<ChatRequest<'_>>(body.as_bytes()).unwrap().asked_mode(), mode);
    }
}

#[test]
fn prompts_are_one_text_or_list_of_tokens_or_several() {
    let read = |prompt: &str| {
        let body = format!(r#"{{"prompt": {prompt}}}"#);
        parse::<CompletionsRequest<'_>>(body.as_bytes())
            .map(|request| request.prompt.0.iter().map(|prompt| format!("{prompt:?}")).collect::<Vec<String>>())
    };
    assert_eq!(read(r#""a\u0062""#).unwrap(), [r#"Text("ab")"#]);
    assert_eq!(read(r#"["a", "b"]"#).unwrap(), [r#"Text("a")"#, r#"Text("b")"#]);
    assert_eq!(read("[1, 2]").unwrap(), ["Tokens([1, 2])"]);
    assert_eq!(read("[[1], []]").unwrap(), ["Tokens([1])", "Tokens([])"]);
    assert!(read("[]").unwrap().is_empty());
    for wrong in ["1", "null", "{}", "[1, \"a\"]", "[-1]", "[4294967296]", "[1.5]", "[[[1]]]", "[null]", "[[\"a\"]]"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn lists_are_given_up_when_they_are_too_long() {
    assert_eq!(serde_json::from_str::<AtMost<u8, 2>>("[1,2]").unwrap().0, [1, 2]);
    assert!(serde_json::from_str::<AtMost<u8, 2>>("[1,2,3").unwrap_err().to_string().contains("more than 2 items"));
}

#[test]
fn what_an_error_repeats_of_a_request_is_cut() {
    let body = format!(r#"{{"n": "{}"}}"#, "\u{e9}".repeat(1 << 20));
    let error = parse::<Sampling<'_>>(body.as_bytes()).unwrap_err();
    assert!(error.body().to_string().len() < 2000);
}
