//! Tests the policy behind OpenAI-style servers: modes, readings of replies, faults, and servers that go down.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Ledger, Mock, Outcome, Running, Workspace, data_hashes, program, rows, text, until};

const SAMPLES_PER_QUERY: usize = 6;

fn workspace(queries: usize, servers: &[&Mock], more: &[(&str, &str)]) -> Workspace {
    let base_urls = json!(servers.iter().map(|server| server.base_url()).collect::<Vec<_>>()).to_string();
    let mut settings = vec![
        ("policy.backend", "\"openai\""),
        ("policy.base_urls", base_urls.as_str()),
        ("policy.model", "\"served\""),
        ("policy.mode_preset", "\"qwen3\""),
        ("policy.concurrency", "4"),
    ];
    settings.extend(more);
    Workspace::new(queries, &settings)
}

fn policy(options: &[&str]) -> Mock {
    Mock::start(&[&["--role", "policy"], options].concat())
}

fn number(out: &Path, sql: &str) -> i64 {
    Ledger::open(out).unwrap().number(sql).unwrap()
}

#[test]
fn both_modes_are_sampled_and_their_thinking_is_read_from_every_place() {
    let mut thoughts = Vec::new();
    for options in [
        &["--reasoning", "reasoning_content"][..],
        &["--reasoning", "reasoning", "--keep-alives", "2"],
        &["--reasoning", "tags"],
    ] {
        for stream in ["true", "false"] {
            let server = policy(options);
            let workspace = workspace(8, &[&server], &[("policy.stream", stream)]);
            let out = workspace.run_whole("out", &[]);
            let rollouts = rows(&out, "rollouts");
            assert_eq!(rollouts.len(), 8 * SAMPLES_PER_QUERY);
            for rollout in &rollouts {
                assert_eq!(rollout["mode"], rollout["observed_mode"], "{rollout}");
                assert!(text(rollout, "answer").starts_with("\\boxed{"), "{rollout}");
                assert!(rollout["completion_tokens"].as_i64().unwrap() > 0 && rollout["policy_model"] == "served");
                let prompt: Value = serde_json::from_str(text(rollout, "prompt")).unwrap();
                assert_eq!(prompt["chat_template_kwargs"]["enable_thinking"], rollout["mode"] == "think_on");
            }
            assert!(!rows(&out, "samples").is_empty());
            assert_eq!(server.stat("ok"), rollouts.len() as i64);
            thoughts.push(rollouts.iter().map(|row| row["thinking"].clone()).collect::<Vec<_>>());
            Outcome::of(program().arg("status").arg(&out).arg("--check")).assert_code(0);
        }
    }
    assert!(thoughts.windows(2).all(|pair| pair[0] == pair[1]), "the same thoughts, wherever they stood");
}

#[test]
fn a_server_that_dies_half_way_loses_and_doubles_no_rollout() {
    let (dying, living) = (policy(&["--latency-ms", "5", "--die-after", "60"]), policy(&["--latency-ms", "5"]));
    let workspace = workspace(40, &[&dying, &living], &[]);
    let out = workspace.run_whole("out", &[]);
    let rollouts = rows(&out, "rollouts");
    assert_eq!(rollouts.len(), 40 * SAMPLES_PER_QUERY);
    let mut seen: BTreeMap<(String, String, i64), usize> = BTreeMap::new();
    for row in &rollouts {
        let cell =
            (text(row, "query_id").to_owned(), text(row, "mode").to_owned(), row["sample_index"].as_i64().unwrap());
        *seen.entry(cell).or_default() += 1;
    }
    assert_eq!(seen.len(), rollouts.len(), "every sample once");
    assert_eq!(number(&out, "SELECT count(*) FROM rollout"), rollouts.len() as i64);
    assert!(dying.stat("ok") > 20 && living.stat("ok") > 100, "{} {}", dying.stats(), living.stats());
    let lost = number(&out, "SELECT count(*) FROM rollout_failure WHERE outcome = 'transport_error'");
    let answered = dying.stat("ok") + living.stat("ok");
    assert!((0..=lost).contains(&(answered - rollouts.len() as i64)), "{answered} answers, {lost} lost");
    assert_eq!(living.stat("answered_twice"), 0);

    // The data is the same as from one server: where a response came from does not matter.
    let alone = policy(&[]);
    let hashes = data_hashes(&out);
    workspace.configure(&[
        ("policy.backend", "\"openai\""),
        ("policy.base_urls", &json!([alone.base_url()]).to_string()),
        ("policy.model", "\"served\""),
        ("policy.mode_preset", "\"qwen3\""),
    ]);
    assert_eq!(data_hashes(&workspace.run_whole("alone", &[])), hashes);
}

#[test]
fn faults_are_retried_and_a_killed_run_asks_for_no_stored_rollout_again() {
    let faults = ["--rate-429", "0.1", "--retry-after", "0.02", "--rate-reset", "0.02", "--rate-null", "0.02"];
    let server = policy(&[&faults[..], &["--latency-ms", "20"]].concat());
    let workspace = workspace(20, &[&server], &[]);
    let out = workspace.out();
    let running = Running::start(&mut workspace.command(&[]));
    let stored = || Ledger::open(&out)?.number("SELECT count(*) FROM rollout");
    until("some rollouts", || stored().filter(|&count| count >= 30));
    assert!(running.kill(), "the run was under way");
    let (kept, answered) = (number(&out, "SELECT count(*) FROM rollout"), server.stat("ok"));
    workspace.run(&[]).assert_code(0);
    let all = (20 * SAMPLES_PER_QUERY) as i64;
    assert_eq!(rows(&out, "rollouts").len() as i64, all);
    // The server may answer, and count, what was in flight at the kill after it was asked for its count.
    let again = server.stat("ok") - answered - (all - kept);
    assert!((0..=4).contains(&again), "{again} answers more than the ledger lacked");
    let requests = server.stat("requests");
    workspace.run(&[]).assert_code(0);
    assert_eq!(server.stat("requests"), requests, "nothing is left to ask");
}

#[test]
fn what_the_server_refuses_or_never_answers_is_excluded_with_its_reason() {
    for (options, reason) in [
        (&["--rate-overflow", "1"][..], "prompt_too_long"),
        (&["--rate-overflow-nested", "1"], "prompt_too_long"),
        (&["--rate-filter", "1"], "policy_failed"),
    ] {
        let server = policy(options);
        let workspace = workspace(3, &[&server], &[("policy.attempts_max", "2")]);
        workspace.run(&[]).assert_code(4);
        let exclusions = rows(&workspace.out(), "exclusions");
        assert_eq!(exclusions.len(), 3);
        assert!(exclusions.iter().all(|row| row["reason"] == reason), "{options:?}: {exclusions:?}");
        let requests = server.stat("requests");
        workspace.run(&[]).assert_code(4);
        assert_eq!(server.stat("requests"), requests, "a refusal is a fact");
    }
}

#[test]
fn a_refused_key_and_dead_servers_stop_the_run_with_a_hint_and_exclude_nothing() {
    let server = policy(&["--key", "sk-other-0123456789"]);
    let refused = workspace(3, &[&server], &[]);
    refused.run(&[]).assert_code(1).assert_says(&["Authentication Fails", "api_key_env"]);
    assert_eq!(server.stat("ok"), 0);
    let mut command = refused.command(&[]);
    Outcome::of(command.env("POLICY_API_KEY", "sk-other-0123456789")).assert_code(0);

    for style in ["402", "429", "200"] {
        let server = policy(&["--money-after", "5", "--money-style", style]);
        let poor = workspace(3, &[&server], &[]);
        poor.run(&[]).assert_code(3).assert_says(&["top it up"]);
        assert_eq!(server.stat("ok"), 5);
        server.pay();
        poor.run(&[]).assert_code(0);
        assert_eq!(server.stat("ok"), 3 * SAMPLES_PER_QUERY as i64, "what was paid for is kept");
    }

    let base_urls = json!(["http://127.0.0.1:1", "http://127.0.0.1:2"]).to_string();
    let dead = workspace(3, &[], &[("policy.base_urls", &base_urls), ("policy.patience_s", "3")]);
    dead.run(&[]).assert_code(3).assert_says(&["no reply for 3 s", "everything so far is kept"]);
    assert!(rows(&dead.out(), "exclusions").is_empty());
}

#[test]
fn settings_that_contradict_a_policy_behind_http_are_refused_by_name() {
    let server = policy(&[]);
    for (setting, parts) in [
        (("policy.mode_preset", "\"auto\""), ["policy.mode_preset", "chat template"]),
        (("policy.base_urls", "[]"), ["policy.base_urls", "at least one address"]),
        (("policy.backend", "\"candle\""), ["policy.base_urls", "is \"candle\""]),
        (("judge.backend", "\"policy\""), ["judge.backend", "\"openai\" or \"none\""]),
        (("policy.extra", "{ seed = 1 }"), ["policy.extra", "\"seed\""]),
        (("judge.transport", "\"batch\""), ["judge.transport", "judge.backend"]),
    ] {
        workspace(3, &[&server], &[setting]).run(&[]).assert_code(2).assert_says(&parts);
    }
}

#[test]
fn doctor_and_dry_run_know_a_policy_behind_http() {
    let server = policy(&[]);
    let workspace = workspace(8, &[&server], &[]);
    let doctor =
        |workspace: &Workspace| Outcome::of(program().arg("doctor").arg("-c").arg(workspace.path("thinkloom.toml")));
    let said = doctor(&workspace).assert_code(0).stdout;
    assert!(said.contains(&server.base_url()) && said.contains("served"), "{said}");
    let forecast = workspace.run(&["--dry-run", "--json"]).assert_code(0).stdout;
    let forecast: Value = serde_json::from_str(&forecast).unwrap();
    assert_eq!(forecast["rollouts"], 8 * SAMPLES_PER_QUERY);
    assert!(forecast["mean_tokens_on"].as_f64().unwrap() > forecast["mean_tokens_off"].as_f64().unwrap());
    let base_urls = json!(["http://127.0.0.1:1"]).to_string();
    workspace.configure(&[
        ("policy.backend", "\"openai\""),
        ("policy.base_urls", &base_urls),
        ("policy.mode_preset", "\"qwen3\""),
    ]);
    let said = doctor(&workspace).assert_code(1).stdout;
    assert!(said.contains("missing  model") && said.contains("policy.base_urls"), "{said}");
}
