//! Tests hostile servers: servers that use more tokens than allowed, report another model, or echo API keys in every
//! form.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    Ledger, Mock, Outcome, Running, Said, ScriptedServer, Workspace, files_below, program, rows, until,
};

const QUERIES: usize = 12;
const KEY: &str = "sk-Very-Secret/0123456789_abcdef";
const PRICES: [(&str, &str); 3] = [
    ("judge.prices_usd_per_mtok.input_cache_hit", "1.0"),
    ("judge.prices_usd_per_mtok.input_cache_miss", "1.0"),
    ("judge.prices_usd_per_mtok.output", "2.0"),
];

fn workspace(judge: &Mock, more: &[(&str, &str)]) -> Workspace {
    let settings = judge.settings();
    let present = settings.iter().map(|(key, value)| (*key, value.as_str()));
    Workspace::new(QUERIES, &present.chain(more.iter().copied()).collect::<Vec<_>>())
}

fn status(out: &Path) -> Value {
    let outcome = Outcome::of(program().arg("status").arg(out).arg("--json")).assert_code(0);
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn a_provider_that_ignores_max_tokens_overspends_by_one_call_and_it_is_said() {
    let judge = Mock::start(&["--usage-factor", "125"]);
    let workspace = workspace(&judge, &[&PRICES[..], &[("judge.budget_usd", "0.05")]].concat());
    let out = workspace.out();
    let told = ["125 times as many", "50000 tokens", "allowed 400", "judge.budget_usd"];
    workspace.run(&[]).assert_code(3).assert_says(&told);
    assert_eq!(judge.stat("requests"), 1, "one call showed it");
    let spent = status(&out)["spend_usd"].as_f64().unwrap();
    assert!((0.1..0.11).contains(&spent), "50,000 tokens at $2 a million: {spent}");
    assert!(status(&out)["judge"]["overrun"].as_str().unwrap().contains("125 times"));
    // It is known at the next start, so that a larger budget holds.
    workspace.run(&["--set", "judge.budget_usd=0.65"]).assert_code(3).assert_says(&told[..2]);
    let spent = status(&out)["spend_usd"].as_f64().unwrap();
    assert!(spent > 0.4 && spent <= 0.65, "{spent}");
    assert!(judge.stat("in_flight_max") <= 5, "{}", judge.stats());
}

#[test]
fn a_judge_is_charged_for_whatever_it_calls_itself() {
    for name in ["policy:local", "scripted"] {
        let judge = Mock::start(&["--served-model", name]);
        let workspace = workspace(&judge, &[&PRICES[..], &[("judge.budget_usd", "0.006")]].concat());
        workspace.run(&[]).assert_code(3).assert_says(&["budget"]);
        let spent = status(&workspace.out())["spend_usd"].as_f64().unwrap();
        assert!(spent > 0.001 && spent <= 0.006, "{name}: {spent}");
    }
}

#[test]
fn kills_alone_exclude_no_query() {
    let judge = Mock::start(&["--latency-ms", "60000"]);
    let workspace = workspace(&judge, &[("judge.attempts_max", "1")]);
    let out = workspace.out();
    for kills in 1..=3 {
        let running = Running::start(&mut workspace.command(&[]));
        let begun = || Ledger::open(&out)?.number("SELECT max(attempt) FROM judge_attempt");
        until("calls under way", || begun().filter(|&most| most >= kills));
        assert!(running.kill());
    }
    let facts = Ledger::open(&out).unwrap();
    assert_eq!((facts.count("judge_failure"), facts.count("judge_reply")), (0, 0));
    let base_url = judge.base_url();
    drop(judge);
    // The address is part of what is asked.
    let _willing = Mock::start(&["--port", base_url.rsplit(':').next().unwrap()]);
    workspace.run(&[]).assert_code(0);
    assert!(!rows(&out, "samples").is_empty());
    assert!(rows(&out, "exclusions").iter().all(|row| row["reason"] != "judge_failed"));
}

fn policy_workspace(server: &Mock, more: &[(&str, &str)]) -> Workspace {
    let base_urls = json!([server.base_url()]).to_string();
    let settings = [
        ("policy.backend", "\"openai\""),
        ("policy.base_urls", base_urls.as_str()),
        ("policy.model", "\"served\""),
        ("policy.mode_preset", "\"qwen3\""),
        ("judge.backend", "\"none\""),
    ];
    Workspace::new(4, &[&settings[..], more].concat())
}

#[test]
fn a_policy_that_answers_as_another_model_stops_the_run_with_the_words_to_write() {
    let server = Mock::start(&["--role", "policy", "--served-model", "somebody/Else-7B"]);
    let workspace = policy_workspace(&server, &[("policy.concurrency", "8")]);
    let told = ["somebody/Else-7B", "policy.served_names = [\"somebody/Else-7B\"]"];
    workspace.run(&[]).assert_code(1).assert_says(&told);
    assert_eq!(server.stat("requests"), 1, "one tells who answers: {}", server.stats());
    workspace.run(&["--set", "policy.served_names=[\"else-7b\"]"]).assert_code(0);
    assert!(!rows(&workspace.out(), "rollouts").is_empty());
}

#[test]
fn two_rows_of_one_question_share_their_responses_when_they_are_evaluated() {
    let server = Mock::start(&["--role", "policy", "--latency-ms", "20"]);
    let workspace = policy_workspace(&server, &[("sampling.samples_per_mode", "2")]);
    let row = |id: &str, gold: &str| json!({"id": id, "question": "What is 7 + 4?", "answer": gold, "kind": "numeric"});
    let input: String = [row("a", "11"), row("b", "12")].iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(workspace.path("queries.jsonl"), input).unwrap();
    let out = workspace.path("eval");
    let mut command = program();
    command.arg("eval").arg("-c").arg(workspace.path("thinkloom.toml")).arg("-o").arg(&out);
    Outcome::of(&mut command).assert_code(0);
    assert_eq!(std::fs::read_to_string(out.join("rows.jsonl")).unwrap().lines().count(), 12);
    assert_eq!((server.stat("ok"), server.stat("answered_twice")), (6, 0));
}

#[test]
fn a_change_of_the_served_model_stops_the_next_start_too() {
    let first = Mock::start(&["--role", "policy", "--served-model", "served-2025-01-01"]);
    let workspace = policy_workspace(&first, &[]);
    workspace.run(&["--limit", "2"]).assert_code(0);
    let second = Mock::start(&["--role", "policy", "--served-model", "served-2025-06-01"]);
    let base_urls = format!("policy.base_urls={}", json!([second.base_url()]));
    let told = ["served-2025-01-01", "served-2025-06-01", "policy.served_names"];
    workspace.run(&["--set", &base_urls]).assert_code(1).assert_says(&told);
    let both = "policy.served_names=[\"served-2025-01-01\", \"served-2025-06-01\"]";
    workspace.run(&["--set", &base_urls, "--set", both]).assert_code(0);
}

/// Returns the key in the forms that a server may echo.
fn forms() -> Vec<String> {
    let of_each = |write: fn(u8) -> String| KEY.bytes().map(write).collect::<String>();
    vec![
        KEY.to_owned(),
        of_each(|byte| format!("\\u{byte:04x}")),
        KEY.replace('/', "\\/").replacen('s', "\\u0073", 1),
        of_each(|byte| format!("%{byte:02X}")),
        KEY.replace('/', "%2f"),
        // `Bearer ` and the key, in base64.
        "QmVhcmVyIHNrLVZlcnktU2VjcmV0LzAxMjM0NTY3ODlfYWJjZGVm".to_owned(),
        KEY.to_uppercase(),
    ]
}

/// Looks for the key in all that was said and in all files below a folder, and in the rows of their tables.
fn assert_no_key(outcome: &Outcome, folder: &Path, out: &Path) {
    let mut needles: Vec<String> = forms().iter().map(|form| form.to_lowercase()).collect();
    needles.push("lcnktu2vjcmv0".to_owned());
    let check = |text: &str, place: &str| {
        let text = text.to_lowercase();
        for needle in &needles {
            assert!(!text.contains(needle.as_str()), "{place} holds the key as {needle}");
        }
    };
    check(&outcome.stderr, "stderr");
    check(&outcome.stdout, "stdout");
    for path in files_below(folder) {
        check(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()), &path.display().to_string());
    }
    for table in ["rollouts", "samples", "exclusions"] {
        for row in rows(out, table) {
            check(&row.to_string(), table);
            for text in row.as_object().unwrap().values().filter_map(Value::as_str) {
                check(text, table);
            }
        }
    }
}

/// Runs a workspace with a key whose server echoes it, with everything logged.
fn run_with_key(workspace: &Workspace) -> Outcome {
    let mut command = workspace.command(&[]);
    Outcome::of(command.env("THINKLOOM_IT_KEY", KEY).env("THINKLOOM_LOG", "trace"))
}

#[test]
fn an_echoed_key_is_in_no_file_and_no_message_in_whatever_form() {
    const SETTINGS: [(&str, &str); 4] = [
        ("policy.api_key_env", "\"THINKLOOM_IT_KEY\""),
        ("judge.backend", "\"none\""),
        ("policy.attempts_max", "1"),
        ("sampling.samples_per_mode", "1"),
    ];
    let forms = forms();
    let questions: Vec<String> = (0..forms.len()).map(|index| format!("Case {index}: what is 2 + 3?")).collect();
    let case = |body: &Value| {
        let text = body.to_string();
        let start = text.find("Case ").unwrap() + 5;
        text[start..start + 1].parse::<usize>().unwrap()
    };
    // In a reply's text, in one piece and in a stream whose pieces cut the key; the model's name and the end echo it too.
    let echoes = forms.clone();
    let server = ScriptedServer::start(move |body, _| {
        let form = &echoes[case(body)];
        if body["stream"] == true {
            let halves = form.char_indices().nth(12).map_or((form.as_str(), ""), |(at, _)| form.split_at(at));
            let piece = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
            let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
            // Pieces are cut between escapes, or they would be no JSON.
            let pieces = if form.contains('\\') { piece(form) } else { piece(halves.0) + &piece(halves.1) };
            return Said::Stream(format!("{pieces}{}{end}", piece(" \\\\boxed{5}")));
        }
        Said::Status(
            200,
            format!(
                "{{\"choices\":[{{\"message\":{{\"content\":\"Your key {form} is fine. \\\\boxed{{5}}\"}},\"finish_reason\":\"{form}\"}}]}}"
            ),
        )
    });
    for stream in ["true", "false"] {
        let workspace = server.workspace(&questions, &[&SETTINGS[..], &[("policy.stream", stream)]].concat());
        let outcome = run_with_key(&workspace).assert_code(0);
        let rollouts = rows(&workspace.out(), "rollouts");
        assert_eq!(rollouts.len(), 2 * forms.len());
        assert!(rollouts.iter().all(|row| row.to_string().contains("[redacted]")), "{rollouts:?}");
        assert_no_key(&outcome, &workspace.path(""), &workspace.out());
    }
    // In errors: of the account, of a request, under a good status, in a stream.
    for status in [401, 400, 500, 200, 0] {
        let echoes = forms.clone();
        let server = ScriptedServer::start(move |body, number| {
            let error =
                format!("{{\"error\":{{\"message\":\"bad key {}\",\"code\":\"x\"}}}}", echoes[number % echoes.len()]);
            match (status, body["stream"] == true) {
                (0, true) => Said::Stream(format!("data: {error}\n\n")),
                (0 | 200, _) => Said::Status(200, error),
                _ => Said::Status(status, error),
            }
        });
        let stream = if status == 0 { "true" } else { "false" };
        let more = [("policy.stream", stream), ("policy.patience_s", "1")];
        let workspace = server.workspace(&questions, &[&SETTINGS[..], &more].concat());
        let outcome = run_with_key(&workspace);
        assert!(server.requests() > 0);
        assert_no_key(&outcome, &workspace.path(""), &workspace.out());
    }
}

#[test]
fn a_key_in_clear_or_in_place_of_its_name_is_refused_and_not_shown() {
    let elsewhere = [
        ("policy.backend", "\"openai\""),
        ("policy.base_urls", "[\"http://192.0.2.1:8000/v1\"]"),
        ("policy.mode_preset", "\"qwen3\""),
        ("policy.api_key_env", "\"THINKLOOM_IT_KEY\""),
        ("judge.backend", "\"none\""),
    ];
    let workspace = Workspace::new(2, &elsewhere);
    let refused = run_with_key(&workspace).assert_code(1).assert_says(&["in clear", "192.0.2.1", "allow_http"]);
    assert_no_key(&refused, &workspace.path(""), &workspace.out());
    for setting in ["judge.api_key_env", "policy.api_key_env", "judge.api_key", "policy.extra.api_key"] {
        for value in [KEY.to_owned(), format!("\"{KEY}\"")] {
            let outcome = workspace.run(&["--set", &format!("{setting}={value}")]).assert_code(2);
            assert_no_key(&outcome, &workspace.path(""), &workspace.out());
        }
    }
    let outcome = Outcome::of(program().args(["serve", "--api-key-env", KEY]).current_dir(workspace.path("")));
    assert_no_key(&outcome, &workspace.path(""), &workspace.out());
    assert_ne!(outcome.code, Some(0));
}
