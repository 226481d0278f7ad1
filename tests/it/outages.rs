//! Tests servers that go down, reject all requests, or crash on one query: no query is lost, and no query is charged
//! for the failures.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Ledger, Outcome, Said, ScriptedServer, data_hashes, program, rows, text};

/// How long a server is away here.
const AWAY: Duration = Duration::from_secs(2);

fn good(body: &Value) -> Said {
    let is_on = body["chat_template_kwargs"]["enable_thinking"] == true;
    let message =
        if is_on { json!({"content": "5", "reasoning_content": "I add them."}) } else { json!({"content": "5"}) };
    let usage = json!({"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    Said::Body(json!({"object": "chat.completion", "model": "served", "usage": usage, "choices": [choice]}))
}

fn question(body: &Value) -> &str {
    body["messages"].as_array().and_then(|messages| messages.last()?["content"].as_str()).unwrap_or_default()
}

fn questions(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("Case {index}: what is 2 + 3?")).collect()
}

fn audited(out: &Path) {
    Outcome::of(program().arg("status").arg(out).arg("--check")).assert_code(0);
}

fn charged(out: &Path) -> i64 {
    Ledger::open(out).unwrap().count("rollout_failure")
}

#[test]
fn a_server_that_goes_away_costs_no_query_an_attempt() {
    let gone: [fn() -> Said; 6] = [
        || Said::Status(502, "<html><h1>502 Bad Gateway</h1></html>".to_owned()),
        || Said::Status(503, r#"{"error": {"code": 503, "message": "Loading model"}}"#.to_owned()),
        || Said::Status(429, r#"{"error": {"message": "free-models-per-day"}}"#.to_owned()),
        || Said::Nothing,
        || Said::Status(500, "Internal Server Error".to_owned()),
        || Said::Status(200, "<!doctype html><title>maintenance</title>".to_owned()),
    ];
    for fault in gone {
        let away: Mutex<Option<Instant>> = Mutex::new(None);
        let server = ScriptedServer::start(move |body, number| {
            if number == 60 {
                *away.lock().unwrap() = Some(Instant::now());
            }
            let is_away = away.lock().unwrap().is_some_and(|since| since.elapsed() < AWAY);
            if is_away { fault() } else { good(body) }
        });
        let workspace =
            server.workspace(&questions(40), &[("sampling.samples_per_mode", "2"), ("policy.concurrency", "8")]);
        let out = workspace.run_whole("out", &[]);
        assert_eq!(rows(&out, "samples").len(), 40);
        assert_eq!(charged(&out), 0);
        audited(&out);
    }
}

#[test]
fn patience_ends_a_run_that_goes_on_later_and_is_then_like_any_other() {
    let is_away = std::sync::Arc::new(AtomicBool::new(false));
    let server = {
        let is_away = std::sync::Arc::clone(&is_away);
        ScriptedServer::start(move |body, number| {
            if number == 50 {
                is_away.store(true, Ordering::SeqCst);
            }
            if is_away.load(Ordering::SeqCst) { Said::Status(503, "Loading model".to_owned()) } else { good(body) }
        })
    };
    let settings = [("sampling.samples_per_mode", "2"), ("policy.patience_s", "3"), ("policy.concurrency", "4")];
    let workspace = server.workspace(&questions(30), &settings);
    let stopped = workspace.run(&[]).assert_code(3);
    assert!(
        stopped.stderr.contains("no reply for 3 s") && stopped.stderr.contains("Loading model"),
        "{}",
        stopped.stderr
    );
    assert!(stopped.stderr.contains("policy.patience_s"), "{}", stopped.stderr);
    is_away.store(false, Ordering::SeqCst);
    workspace.run(&[]).assert_code(0);
    assert_eq!((rows(&workspace.out(), "samples").len(), charged(&workspace.out())), (30, 0));
    let whole = workspace.run_whole("whole", &[]);
    assert_eq!(data_hashes(&whole), data_hashes(&workspace.out()));
}

#[test]
fn a_query_that_fells_its_server_is_excluded_by_name_and_asked_again_on_demand() {
    let poison = std::sync::Arc::new(AtomicBool::new(true));
    let server = {
        let (poison, away) = (std::sync::Arc::clone(&poison), Mutex::new(None::<Instant>));
        ScriptedServer::start(move |body, _| {
            let mut away = away.lock().unwrap();
            if question(body).contains("Case 17:") && poison.load(Ordering::SeqCst) {
                *away = Some(Instant::now());
                return Said::Nothing;
            }
            if away.is_some_and(|since| since.elapsed() < AWAY) {
                return Said::Status(503, "restarting".to_owned());
            }
            good(body)
        })
    };
    let settings = [("sampling.samples_per_mode", "2"), ("policy.concurrency", "4"), ("policy.patience_s", "120")];
    let workspace = server.workspace(&questions(40), &settings);
    let run = workspace.run(&[]).assert_code(4);
    let out = workspace.out();
    let exclusions = rows(&out, "exclusions");
    assert_eq!((rows(&out, "samples").len(), exclusions.len()), (39, 1), "{}", run.stderr);
    assert_eq!((text(&exclusions[0], "query_id"), text(&exclusions[0], "reason")), ("q017", "server_failed_on_it"));
    assert!(text(&exclusions[0], "detail").contains("restarting"), "{}", exclusions[0]);
    audited(&out);
    let requests = server.requests();
    workspace.run(&[]).assert_code(4);
    assert_eq!(server.requests(), requests, "it is not asked for again by itself");

    poison.store(false, Ordering::SeqCst);
    workspace.run(&["--retry-failed"]).assert_code(0);
    assert_eq!((rows(&out, "samples").len(), server.requests()), (40, requests + 4));
    audited(&out);
    let again = workspace.run(&["--retry-failed"]).assert_code(0);
    assert!(again.stderr.contains("no failed requests to repeat"), "{}", again.stderr);
}

#[test]
fn who_refuses_everybody_stops_the_run_and_is_asked_again_once_mended() {
    let is_mended = std::sync::Arc::new(AtomicBool::new(false));
    let server = {
        let is_mended = std::sync::Arc::clone(&is_mended);
        ScriptedServer::start(move |body, _| {
            if is_mended.load(Ordering::SeqCst) {
                return good(body);
            }
            Said::Status(400, r#"{"object": "error", "message": "this is no chat model", "code": 400}"#.to_owned())
        })
    };
    let settings = [("sampling.samples_per_mode", "2"), ("policy.concurrency", "8")];
    let workspace = server.workspace(&questions(60), &settings);
    let refused = workspace.run(&[]).assert_code(1);
    assert!(refused.stderr.contains("this is no chat model"), "{}", refused.stderr);
    assert_eq!(charged(&workspace.out()), 0);
    assert!(server.requests() < 120, "{} requests", server.requests());
    is_mended.store(true, Ordering::SeqCst);
    workspace.run(&[]).assert_code(0);
    assert_eq!(rows(&workspace.out(), "samples").len(), 60);
}

#[test]
fn one_prompt_that_is_refused_is_its_querys_business_alone() {
    for (status, words, reason) in [
        (403, "<!doctype html><title>Attention Required! | Firewall</title>", "policy_failed"),
        (403, r#"{"error": {"code": 403, "message": "Input was flagged by moderation"}}"#, "policy_failed"),
        (
            400,
            r#"{"message": "The input (9120 tokens) is longer than the model's context length (4096 tokens)."}"#,
            "prompt_too_long",
        ),
        (404, r#"{"error": "no such file is known to this model: not found"}"#, "policy_failed"),
    ] {
        let server = ScriptedServer::start(move |body, _| {
            if question(body).contains("Case 3:") { Said::Status(status, words.to_owned()) } else { good(body) }
        });
        let settings = [("sampling.samples_per_mode", "2"), ("policy.attempts_max", "2")];
        let workspace = server.workspace(&questions(20), &settings);
        workspace.run(&[]).assert_code(4);
        let exclusions = rows(&workspace.out(), "exclusions");
        assert_eq!((rows(&workspace.out(), "samples").len(), exclusions.len()), (19, 1), "{words}");
        assert_eq!((text(&exclusions[0], "query_id"), text(&exclusions[0], "reason")), ("q003", reason));
        let shown = text(&exclusions[0], "detail");
        assert!(shown.contains(&status.to_string()), "the server's words: {shown}");
    }
}

#[test]
fn a_refusal_that_passes_loses_nothing() {
    let server = ScriptedServer::start(|body, number| {
        if number % 5 == 4 {
            return Said::Status(400, r#"{"object": "error", "message": "Already borrowed", "code": 400}"#.to_owned());
        }
        good(body)
    });
    let workspace =
        server.workspace(&questions(30), &[("sampling.samples_per_mode", "2"), ("policy.concurrency", "4")]);
    let out = workspace.run_whole("out", &[]);
    assert_eq!(rows(&out, "samples").len(), 30);
}

#[test]
fn stages_of_any_speed_come_to_their_end() {
    const TEXTS: &[&str] = &["amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "hazel", "ivory", "jade"];
    let judge = |slow: u64| {
        let calls = AtomicUsize::new(0);
        ScriptedServer::start(move |_, _| {
            std::thread::sleep(Duration::from_millis(slow));
            let call = calls.fetch_add(1, Ordering::SeqCst);
            let word = |step: usize| TEXTS[(call / step + call * step) % TEXTS.len()];
            let words: Vec<&str> = [1, 3, 7, 11, 13, 17, 19, 23].into_iter().map(word).collect();
            let analysis = format!("A short reply suits this request, number {call}, since {}.", words.join(" "));
            let message = json!({"content": json!({"analysis": analysis}).to_string()});
            Said::Body(json!({"model": "j", "choices": [{"message": message, "finish_reason": "stop"}],
                              "usage": {"prompt_tokens": 300, "completion_tokens": 40}}))
        })
    };
    // A judge that is slower than the sampling, in few slots, and the other way round.
    for (policy_ms, judge_ms) in [(0, 300), (20, 0)] {
        let policy = ScriptedServer::start(move |body, _| {
            std::thread::sleep(Duration::from_millis(policy_ms));
            good(body)
        });
        let judge = judge(judge_ms);
        let base_url = json!(judge.base_url()).to_string();
        let settings = [
            ("sampling.samples_per_mode", "1"),
            ("judge.backend", "\"openai\""),
            ("judge.base_url", base_url.as_str()),
            ("judge.model", "\"j\""),
            ("judge.concurrency_max", "8"),
            ("judge.on_rejected", "\"keep\""),
            ("output.queries_per_shard", "40"),
        ];
        let workspace = policy.workspace(&questions(120), &settings);
        let out = workspace.run_whole("out", &[]);
        assert_eq!(rows(&out, "samples").len(), 120);
        audited(&out);
    }
}
