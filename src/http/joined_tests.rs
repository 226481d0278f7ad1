use super::super::wire::ChatReply;
use super::*;

fn joined(data: &[&str]) -> Option<String> {
    let mut joined = Joined::default();
    for data in data {
        joined.take(&Event { name: String::new(), data: (*data).to_owned() }).unwrap();
    }
    joined.into_body()
}

#[test]
fn deltas_are_joined_to_the_reply_they_are_part_of() {
    let body = joined(&[
        r#"{"model":"m","choices":[{"index":0,"delta":{"role":"assistant","reasoning":"why"}}]}"#,
        r#"{"model":"m","choices":[{"index":0,"delta":{"content":"a "}}]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"other"},"finish_reason":"length"}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
        "[DONE]",
    ]);
    let reply = ChatReply::parse(&body.unwrap()).unwrap();
    let choice = reply.choice.unwrap();
    assert_eq!((reply.model.as_deref(), reply.usage.unwrap().prompt_tokens), (Some("m"), 3));
    assert_eq!(choice.content.as_deref(), Some("a b"));
    assert_eq!(choice.reasoning.as_deref(), Some("why"));
    assert_eq!(choice.finish_reason.as_deref(), Some("stop"));
}

#[test]
fn a_stream_without_an_end_gives_no_body() {
    assert_eq!(joined(&[]), None);
    assert_eq!(joined(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#]), None);
    assert!(joined(&["[DONE]"]).is_some());
    assert!(joined(&[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#]).is_some());
}

#[test]
fn the_lowest_index_counts_wherever_it_stands() {
    let text = |data: &[&str]| choice(data).content.unwrap();
    let end = |index: &str| format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":"stop"}}]}}"#);
    let piece =
        |index: &str, said: &str| format!(r#"{{"choices":[{{"index":{index},"delta":{{"content":"{said}"}}}}]}}"#);
    // The other choice begins first, and ends first.
    let mixed = [piece("1", "no"), end("1"), piece("0", "ye"), piece("1", "no"), piece("0", "s"), end("0")];
    assert_eq!(text(&mixed.each_ref().map(String::as_str)), "yes");
    // Choice 0 has not ended: the end of choice 1 does not count for it.
    assert_eq!(joined(&[&piece("1", "no"), &end("1"), &piece("0", "cut")]), None);
    // A server that counts from 1, and a server that does not count.
    assert_eq!(text(&[&piece("1", "yes"), &end("1")]), "yes");
    let uncounted = r#"{"choices":[{"delta":{"content":"yes"}},{"delta":{"content":"no"}}]}"#;
    assert_eq!(text(&[uncounted, &end("0")]), "yes");
    assert_eq!(text(&[&piece("\"0\"", "y"), &piece("0.0", "es"), &end("null")]), "yes");
}

#[test]
fn an_end_that_every_piece_names_and_says_nothing_is_none() {
    for reason in [r#""""#, r#""null""#, "false", "null", r#""None""#] {
        let piece = format!(r#"{{"choices":[{{"delta":{{"content":"a"}},"finish_reason":{reason}}}]}}"#);
        assert_eq!(joined(&[&piece, &piece]), None, "{reason}");
        assert!(joined(&[&piece, "[DONE]"]).is_some(), "{reason}");
    }
    for reason in [r#""stop""#, r#""something_new""#, "1"] {
        let last = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":{reason}}}]}}"#);
        assert!(joined(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#, &last]).is_some(), "{reason}");
    }
}

#[test]
fn whatever_a_stream_adds_to_is_counted() {
    for delta in [r#"{"content":"ab"}"#, r#"{"a":[1,2]}"#, r#"{"a":[[],{}]}"#, r#"{"a":[{"b":null}]}"#] {
        let mut all = Joined::default();
        for _ in 0..100 {
            let data = format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
            all.take(&Event { name: String::new(), data }).unwrap();
        }
        assert!(all.text_len() >= 200, "{delta}: {}", all.text_len());
    }
}

#[test]
fn content_that_never_came_is_null_and_not_empty() {
    let body = joined(&[r#"{"choices":[{"delta":{"reasoning_content":"r"},"finish_reason":"length"}]}"#]).unwrap();
    assert!(body.contains(r#""content":null"#), "{body}");
}

#[test]
fn errors_end_the_stream_in_every_shape() {
    let mut named = Joined::default();
    named.take(&Event { name: "error".to_owned(), data: r#"{"message":"busy","code":403}"#.to_owned() }).unwrap();
    assert!(named.is_done());
    let mut text = Joined::default();
    text.take(&Event { name: "error".to_owned(), data: "busy".to_owned() }).unwrap();
    let plain = joined(&[r#"{"error":{"message":"busy"}}"#]);
    let inner = joined(&[r#"{"choices":[{"error":{"message":"busy"}}]}"#]);
    for body in [named.into_body(), text.into_body(), plain, inner] {
        let reply = ChatReply::parse(&body.unwrap()).unwrap();
        assert_eq!(reply.error.unwrap().message, "busy");
    }
}

fn choice(data: &[&str]) -> super::super::wire::Choice {
    ChatReply::parse(&joined(data).unwrap()).unwrap().choice.unwrap()
}

#[test]
fn thinking_is_joined_from_whichever_field_and_never_doubled() {
    let end = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    for (deltas, what) in [
        (
            [r#"{"reasoning_content":null,"reasoning":"Add"}"#, r#"{"reasoning_content":null,"reasoning":" them"}"#],
            "null",
        ),
        ([r#"{"reasoning_content":"","reasoning":"Add"}"#, r#"{"reasoning_content":"","reasoning":" them"}"#], "empty"),
        (
            [
                r#"{"reasoning_content":"Add","reasoning":"Add"}"#,
                r#"{"reasoning_content":" them","reasoning":" them"}"#,
            ],
            "both",
        ),
        ([r#"{"thinking":"Add"}"#, r#"{"thinking":" them"}"#], "thinking"),
        (
            [
                r#"{"reasoning":"Add","reasoning_details":[{"type":"reasoning.text","text":"Add","index":0}]}"#,
                r#"{"reasoning":" them","reasoning_details":[{"type":"reasoning.text","text":" them","index":0}]}"#,
            ],
            "details beside",
        ),
        (
            [
                r#"{"reasoning_details":[{"type":"reasoning.text","text":"Add","index":0}]}"#,
                r#"{"reasoning_details":[{"type":"reasoning.text","text":" them","index":0,"signature":"s"}]}"#,
            ],
            "details",
        ),
        (
            [
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Add"}]}]}"#,
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":" them"}]}]}"#,
            ],
            "parts",
        ),
        (
            [r#"{"content":[{"text":"Add","thought":true}]}"#, r#"{"content":[{"text":" them","thought":true}]}"#],
            "thought parts",
        ),
    ] {
        for answer in [r#""5""#, r#"[{"type":"text","text":"5"}]"#] {
            let chunk = |delta: &str| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            let said = chunk(&format!(r#"{{"content":{answer},"reasoning_content":null}}"#));
            let choice = choice(&[
                &chunk(r#"{"role":"assistant","content":""}"#),
                &chunk(deltas[0]),
                &chunk(deltas[1]),
                &said,
                end,
            ]);
            let found = (choice.content.as_deref(), choice.reasoning.as_deref());
            assert_eq!(found, (Some("5"), Some("Add them")), "{what}, {answer}");
        }
    }
}

#[test]
fn thousands_of_parts_become_one() {
    let mut all = Joined::default();
    for _ in 0..5000 {
        let data = r#"{"choices":[{"delta":{"content":[{"type":"text","text":"ab"}]}}]}"#.to_owned();
        all.take(&Event { name: String::new(), data }).unwrap();
    }
    assert!(all.fragment().unwrap().len() < 10_300);
}

#[test]
fn an_error_after_the_end_is_late_and_one_before_it_keeps_what_came() {
    let text = r#"{"choices":[{"delta":{"content":"5"}}]}"#;
    let end = r#"{"choices":[{"delta":{},"finish_reason":"eos"}]}"#;
    let error = r#"{"error":{"message":"busy"}}"#;
    let late = ChatReply::parse(&joined(&[text, end, error]).unwrap()).unwrap();
    assert_eq!((late.error, late.choice.unwrap().content.as_deref()), (None, Some("5")));
    let body = joined(&[text, error]).unwrap();
    assert!(body.starts_with("{\"error\""), "{body}");
    let early = ChatReply::parse(&body).unwrap();
    assert_eq!((early.error.unwrap().message.as_str(), early.choice.unwrap().content.as_deref()), ("busy", Some("5")));
}

#[test]
fn a_cut_stream_leaves_a_fragment_and_no_body() {
    let mut cut = Joined::default();
    let take = |cut: &mut Joined, data: &str| cut.take(&Event { name: String::new(), data: data.to_owned() }).unwrap();
    take(&mut cut, r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#);
    assert_eq!(cut.fragment(), None);
    take(&mut cut, r#"{"choices":[{"delta":{"content":"The ans"}}]}"#);
    assert!(cut.fragment().unwrap().contains("The ans"));
    assert!(!cut.is_whole());
    assert_eq!(cut.into_body(), None);
}

#[test]
fn a_stream_is_known_by_its_text() {
    let chunks = [r#"{"choices":[{"delta":{"content":"5"}}]}"#, r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#];
    let events = format!(": hello\n\ndata: {}\n\ndata: {}", chunks[0], chunks[1]);
    let lines = format!("{}\n{}\n[DONE]\n", chunks[0], chunks[1]);
    for text in [events.as_str(), lines.as_str()] {
        let reply = ChatReply::parse(&joined_text(text).unwrap()).unwrap();
        assert_eq!(reply.choice.unwrap().content.as_deref(), Some("5"), "{text}");
    }
    for text in ["<html>busy</html>", "data: <html>\n\n", "", "{\"a\":\n1}", &lines[..20]] {
        assert_eq!(joined_text(text), None, "{text}");
    }
    // Any fault after the end.
    assert!(joined_text(&format!("{events}\n\ndata: <html>")).is_some());
    assert_eq!(joined_text(chunks[0]), None, "cut");
}

#[test]
fn what_is_no_chunk_is_refused() {
    for data in ["<html>", "[1]", "{\"choices\":", "null"] {
        let event = Event { name: String::new(), data: data.to_owned() };
        assert!(Joined::default().take(&event).is_err(), "{data}");
    }
}
