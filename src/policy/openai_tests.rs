//! Prompts, bodies and replies of the policy behind HTTP.

use super::*;
use crate::domain::{Origin, QueryId};

fn query(kind: Kind) -> Query {
    Query {
        id: QueryId("q".to_owned()),
        ordinal: 0,
        source: "s".to_owned(),
        origin: Origin { file: "f".to_owned(), line: 1 },
        kind,
        question: "What is 1 + 1?".to_owned(),
        gold: "2".to_owned(),
        choices: Vec::new(),
        tests: Vec::new(),
        test_imports: Vec::new(),
        entry_point: None,
        labels: Default::default(),
    }
}

fn settings(mode_preset: ModePresetName) -> PolicySettings {
    PolicySettings {
        model: "served".to_owned(),
        base_urls: vec!["http://127.0.0.1:1".to_owned()],
        mode_preset,
        ..PolicySettings::default()
    }
}

fn policy(settings: &PolicySettings) -> OpenAiPolicy {
    OpenAiPolicy::new(settings, &SamplingSettings::default(), None).unwrap()
}

fn body(policy: &OpenAiPolicy, mode: Mode) -> Value {
    let task = &policy.tasks(&query(Kind::Numeric))[mode][0];
    serde_json::from_slice(&policy.body(task)).unwrap()
}

#[test]
fn presets_switch_the_mode_in_the_way_of_their_models() {
    use ModePresetName::{DeepseekApi, DeepseekR1, DeepseekV3, Granite, Prompted, Qwen3, Smollm3};
    let both = |preset, pointer: &str| {
        let policy = policy(&settings(preset));
        Mode::ALL.iter().map(|mode| body(&policy, *mode).pointer(pointer).cloned()).collect::<Vec<_>>()
    };
    for preset in [Qwen3, Smollm3] {
        assert_eq!(both(preset, "/chat_template_kwargs/enable_thinking"), [Some(json!(true)), Some(json!(false))]);
    }
    for preset in [Granite, DeepseekV3] {
        assert_eq!(both(preset, "/chat_template_kwargs/thinking"), [Some(json!(true)), Some(json!(false))]);
    }
    assert_eq!(both(DeepseekApi, "/thinking/type"), [Some(json!("enabled")), Some(json!("disabled"))]);
    assert_eq!(both(DeepseekR1, "/continue_final_message"), [None, Some(json!(true))]);
    let first = both(Prompted, "/messages/0/content");
    assert!(first[0].as_ref().unwrap().as_str().unwrap().contains("<think>"));
    assert!(!first[1].as_ref().unwrap().as_str().unwrap().contains("<think>"));
}

#[test]
fn a_begun_answer_belongs_to_the_response() {
    let tasks = policy(&settings(ModePresetName::DeepseekR1)).tasks(&query(Kind::Numeric));
    assert_eq!(tasks.off[0].prompt.prefill, "<think>\n\n</think>\n\n");
    assert_eq!(tasks.on[0].prompt.prefill, "");
}

#[test]
fn the_body_holds_sampling_and_seed_and_the_users_own_keys() {
    let mut settings = settings(ModePresetName::Qwen3);
    settings.extra.insert("repetition_penalty".to_owned(), json!(1.1));
    settings.extra.insert("chat_template_kwargs".to_owned(), json!({"tools": false}));
    let policy = policy(&settings);
    let body = body(&policy, Mode::ThinkOff);
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!("served"), &json!(1024)));
    assert_eq!((&body["temperature"], &body["top_p"]), (&json!(0.6), &json!(0.95)));
    assert_eq!(body["chat_template_kwargs"], json!({"enable_thinking": false, "tools": false}));
    assert_eq!(body["repetition_penalty"], json!(1.1));
    assert_eq!((body.get("top_k"), body.get("min_p"), body.get("stop")), (None, None, None));
    let tasks = policy.tasks(&query(Kind::Numeric));
    let seeds: std::collections::BTreeSet<u64> = tasks.off.iter().map(|task| task.seed >> 32).collect();
    assert_eq!(seeds.len(), 8, "every sample has a seed of its own");
}

#[test]
fn a_rollouts_address_covers_what_decides_it_and_not_where_it_is_served() {
    let key = |change: fn(&mut PolicySettings)| {
        let mut settings = settings(ModePresetName::Qwen3);
        change(&mut settings);
        let policy = policy(&settings);
        (policy.tasks(&query(Kind::Numeric)).on[0].key.clone(), policy.fingerprint())
    };
    let base = key(|_| {});
    assert_eq!(key(|settings| settings.base_urls.push("http://127.0.0.1:2".to_owned())), base);
    assert_eq!(key(|settings| settings.concurrency = 1), base);
    for other in [
        key(|settings| settings.model = "other".to_owned()),
        key(|settings| settings.revision = "2".to_owned()),
        key(|settings| settings.mode_preset = ModePresetName::Granite),
        key(|settings| drop(settings.extra.insert("x".to_owned(), json!(1)))),
    ] {
        assert!(other.0 != base.0 && other.1 != base.1);
    }
}

#[test]
fn replies_are_read_as_the_model_wrote_them() {
    let task = policy(&settings(ModePresetName::Qwen3)).tasks(&query(Kind::Numeric)).on[0].clone();
    let read = |message: &str, finish: &str| {
        let usage = r#"{"prompt_tokens":9,"completion_tokens":5}"#;
        let body = format!(r#"{{"choices":[{{"message":{message},"finish_reason":{finish}}}],"usage":{usage}}}"#);
        read_reply(&body, &task).map(|read| (read.text, read.finish_reason)).map_err(|evidence| format!("{evidence:?}"))
    };
    let stop = |text: &str| Ok((text.to_owned(), FinishReason::Stop));
    let length = |text: &str| Ok((text.to_owned(), FinishReason::Length));
    let unusable = || Err("Unusable".to_owned());
    assert_eq!(read(r#"{"content":"a"}"#, r#""stop""#), stop("a"));
    assert_eq!(read(r#"{"content":"a"}"#, "null"), stop("a"));
    for name in ["reasoning_content", "reasoning"] {
        let message = format!(r#"{{"content":"a","{name}":"t"}}"#);
        assert_eq!(read(&message, r#""stop""#), stop("<think>\nt\n</think>\n\na"));
        let message = format!(r#"{{"content":null,"{name}":"t"}}"#);
        assert_eq!(read(&message, r#""length""#), length("<think>\nt"));
        assert_eq!(read(&message, r#""stop""#), unusable());
    }
    assert_eq!(read(r#"{"content":"<think>t</think>a","reasoning":null}"#, r#""stop""#), stop("<think>t</think>a"));
    for message in [r#"{"content":null}"#, r#"{"content":"  "}"#, "{}"] {
        assert_eq!(read(message, r#""stop""#), unusable(), "{message}");
        assert_eq!(read(message, r#""length""#), unusable(), "{message}");
    }
    assert_eq!(read(r#"{"content":"a"}"#, r#""aborted""#), Err("CutByServer".to_owned()));
    assert_eq!(read(r#"{"content":"a"}"#, r#""content_filter""#), Err("ContentFilter".to_owned()));
    assert_eq!(read(r#"{"content":"a"}"#, r#""tool_calls""#), unusable());
    assert!(matches!(read_reply(" \n", &task), Err(Evidence::BlankBody)));
    assert!(matches!(read_reply("<html>", &task), Err(Evidence::NotJson)));
    let money = r#"{"error":{"message":"m","code":"insufficient_quota"}}"#;
    assert!(matches!(read_reply(money, &task), Err(Evidence::ErrorObject { code: Some("insufficient_quota") })));
}

#[test]
fn a_turn_that_ends_at_once_is_a_response_and_missing_counts_are_estimated() {
    let task = policy(&settings(ModePresetName::Qwen3)).tasks(&query(Kind::Numeric)).off[0].clone();
    let body = r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    assert_eq!(read_reply(body, &task).unwrap().text, "");
    let uncounted = r#"{"choices":[{"message":{"content":"four words of text"},"finish_reason":"stop"}]}"#;
    let read = read_reply(uncounted, &task).unwrap();
    assert_eq!(read.completion_tokens, 6);
    assert!(read.prompt_tokens > 20);
}
