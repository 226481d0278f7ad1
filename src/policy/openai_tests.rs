//! Prompts, bodies and replies of the policy behind HTTP.

use super::*;
use crate::domain::QueryId;

fn query(kind: Kind) -> Query {
    Query {
        id: QueryId("q".to_owned()),
        question: "What is 1 + 1?".to_owned(),
        gold: "2".to_owned(),
        ..Query::blank(kind)
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
fn what_is_left_out_is_part_of_the_address_and_former_addresses_stay_known() {
    let plain = policy(&settings(ModePresetName::Qwen3));
    let before = plain.tasks(&query(Kind::Numeric)).on[0].clone();
    assert_eq!(before.addresses().collect::<Vec<_>>(), [&before.key]);
    // A renamed limit and a reply in one piece count as no omitted key.
    plain.remember(vec!["max_tokens".to_owned(), "stream_options".to_owned()], None);
    assert_eq!(plain.current(&before).key, before.key);
    assert!(body(&plain, Mode::ThinkOn)["max_completion_tokens"].is_number());
    assert!(body(&plain, Mode::ThinkOn).get("max_tokens").is_none());

    plain.remember(vec!["max_tokens".to_owned(), "seed".to_owned()], None);
    let after = plain.current(&before);
    assert_ne!(after.key, before.key);
    assert_eq!(after.addresses().collect::<Vec<_>>(), [&before.key, &after.key]);
    assert_eq!(after.first_address(), before.first_address());
    assert_eq!(after, plain.tasks(&query(Kind::Numeric)).on[0]);
    assert!(body(&plain, Mode::ThinkOn).get("seed").is_none());
    let free = &plain.free_tasks(&query(Kind::Numeric))[0];
    assert_eq!(plain.current(free).key, free.key, "a free task stays one");

    // An omission by the settings gives the same address as the refusal, and no former address.
    let omit = vec!["seed".to_owned()];
    let set = policy(&PolicySettings { omit, ..settings(ModePresetName::Qwen3) });
    let task = set.tasks(&query(Kind::Numeric)).on[0].clone();
    assert_eq!(task.addresses().collect::<Vec<_>>(), [&after.key]);
    assert_eq!(task.seed, after.seed);
}

#[test]
fn everything_that_may_be_left_out_is_left_out() {
    let sampling = SamplingSettings { top_k: 20, min_p: 0.1, ..SamplingSettings::default() };
    let keys = ["seed", "max_tokens", "temperature", "top_p", "top_k", "min_p"];
    let of = |omit: Vec<String>| {
        let settings = PolicySettings { omit, ..settings(ModePresetName::Qwen3) };
        let policy = OpenAiPolicy::new(&settings, &sampling, None).unwrap();
        let task = policy.tasks(&query(Kind::Numeric)).on[0].clone();
        let body: Value = serde_json::from_slice(&policy.body(&task)).unwrap();
        (task.key, body)
    };
    let (_, whole) = of(Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    for key in keys {
        assert!(whole.get(key).is_some(), "{key}");
        let (address, body) = of(vec![key.to_owned()]);
        assert!(body.get(key).is_none(), "{key}");
        assert_eq!(body.as_object().unwrap().len() + 1, whole.as_object().unwrap().len());
        assert!(seen.insert(address.0), "{key} has an address of its own");
    }
}
