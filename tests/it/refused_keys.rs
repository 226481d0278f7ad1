//! Tests servers that reject a key of the request's body: which keys the client omits, which rejections stop the run,
//! and which are stored.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Ledger, Mock, Outcome, Running, Workspace, data_hashes, program, rows, text, until};

const QUERIES: usize = 8;
const SAMPLES_PER_QUERY: i64 = 6;

fn settings(servers: &[&Mock], judge: Option<&Mock>, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let base_urls = json!(servers.iter().map(|server| server.base_url()).collect::<Vec<_>>()).to_string();
    let mut settings = vec![
        ("policy.backend", "\"openai\"".to_owned()),
        ("policy.base_urls", base_urls),
        ("policy.model", "\"served\"".to_owned()),
        ("policy.mode_preset", "\"qwen3\"".to_owned()),
        ("policy.concurrency", "4".to_owned()),
    ];
    settings.extend(judge.iter().flat_map(|judge| judge.settings()));
    let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    settings.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(more).collect()
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn workspace(servers: &[&Mock], judge: Option<&Mock>, more: &[(&str, &str)]) -> Workspace {
    Workspace::new(QUERIES, &borrowed(&settings(servers, judge, more)))
}

fn policy(options: &[&str]) -> Mock {
    Mock::start(&[&["--role", "policy"], options].concat())
}

fn number(out: &Path, sql: &str) -> i64 {
    Ledger::open(out).unwrap().number(sql).unwrap()
}

fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap()
}

fn assert_whole(out: &Path) {
    assert_eq!(rows(out, "rollouts").len() as i64, QUERIES as i64 * SAMPLES_PER_QUERY);
    for table in ["rollout_failure", "judge_failure"] {
        assert_eq!(Ledger::open(out).unwrap().count(table), 0, "a refused key is charged to nobody: {table}");
    }
    Outcome::of(program().arg("status").arg(out).arg("--check")).assert_code(0);
}

#[test]
fn a_refused_seed_is_left_out_with_one_warning_and_stays_out_over_kills() {
    let server = policy(&["--refuse-keys", "seed", "--latency-ms", "20"]);
    let workspace = workspace(&[&server], None, &[]);
    let out = workspace.out();
    let running = Running::start(&mut workspace.command(&[]));
    let stored = || Ledger::open(&out)?.number("SELECT count(*) FROM rollout");
    until("some rollouts", || stored().filter(|&count| count >= 10));
    assert!(running.kill(), "the run was under way");
    let refused = server.stat("key_refused");
    assert!(refused >= 1);
    let resumed = workspace.run(&[]).assert_code(0);
    assert_eq!(server.stat("key_refused"), refused, "it is not tried again after a restart");
    assert!(!resumed.stderr.contains("refuses the key"), "{}", resumed.stderr);
    assert_whole(&out);
    assert_eq!(manifest(&out)["left_out"], json!({"policy": ["seed"]}));
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("| left out of the policy's requests | `seed`"), "{card}");

    // An uninterrupted run of the same directory's facts has the same bytes: they are built again without a request.
    let (hashes, requests) = (data_hashes(&out), server.stat("requests"));
    std::fs::remove_dir_all(out.join("data")).unwrap();
    workspace.run(&[]).assert_code(0);
    assert_eq!((data_hashes(&out), server.stat("requests")), (hashes, requests));
    let again = workspace.path("again");
    let redecide = Outcome::of(program().arg("redecide").arg(&out).arg("-o").arg(&again)).assert_code(0);
    assert!(rows(&again, "exclusions").iter().all(|row| row["reason"] != "not_stored"), "{}", redecide.stderr);

    let fresh = workspace.run(&["-o", workspace.path("fresh").to_str().unwrap()]).assert_code(0);
    assert_eq!(fresh.stderr.matches("refuses the key \"seed\"").count(), 1, "{}", fresh.stderr);
    assert!(fresh.stderr.contains("Extra inputs are not permitted"), "the server's words: {}", fresh.stderr);
}

#[test]
fn a_limit_goes_by_its_other_name_and_is_never_dropped() {
    let server = policy(&["--refuse-keys", "max_tokens,stream_options"]);
    let judge = Mock::start(&["--refuse-keys", "max_tokens,response_format"]);
    let prices = [
        ("judge.prices_usd_per_mtok.input_cache_hit", "1.0"),
        ("judge.prices_usd_per_mtok.input_cache_miss", "1.0"),
        ("judge.prices_usd_per_mtok.output", "2.0"),
        ("judge.budget_usd", "5.0"),
        ("policy.stream", "true"),
    ];
    let workspace = workspace(&[&server], Some(&judge), &prices);
    let out = workspace.run_whole("out", &[]);
    assert_whole(&out);
    let samples = rows(&out, "samples");
    assert!(!samples.is_empty() && samples.iter().all(|row| text(row, "justification").ends_with('.')));
    let refusals = Ledger::open(&out).unwrap().texts("SELECT side || ' ' || key FROM server_refusal ORDER BY 1");
    let expected = ["judge max_tokens", "judge response_format", "policy max_tokens", "policy stream_options"];
    assert_eq!(refusals, expected);
    let left_out = json!({"judge": ["max_tokens", "response_format"], "policy": ["max_tokens"]});
    assert_eq!(manifest(&out)["left_out"], left_out);
    // Under another name it is the same limit, so that responses have the addresses that they always had.
    let plain = policy(&[]);
    let other = [("policy.base_urls", json!([plain.base_url()]).to_string())];
    let settings = settings(&[&plain], None, &[(other[0].0, &other[0].1)]);
    workspace.configure(&borrowed(&settings));
    let keys = |out: &Path| Ledger::open(out).unwrap().texts("SELECT key FROM rollout ORDER BY 1");
    assert_eq!(keys(&workspace.run_whole("plain", &[])), keys(&out));

    let neither = policy(&["--refuse-keys", "max_tokens,max_completion_tokens"]);
    let stuck = self::workspace(&[&neither], None, &[]);
    let stopped = stuck.run(&[]).assert_code(1);
    stopped.assert_says(&["max_completion_tokens", "neither max_tokens nor", "everything so far is kept"]);
    assert_eq!(number(&stuck.out(), "SELECT count(*) FROM rollout_failure"), 0);
}

#[test]
fn what_decides_the_samples_stops_the_run_with_the_line_to_write_and_goes_on_with_it() {
    let server = policy(&["--refuse-keys", "temperature,top_p"]);
    let workspace = workspace(&[&server], None, &[]);
    let stopped = workspace.run(&[]).assert_code(1);
    stopped.assert_says(&["omit = [\"temperature\"] under [policy]", "Extra inputs", "everything so far is kept"]);
    let out = workspace.out();
    assert_eq!(number(&out, "SELECT count(*) FROM rollout_failure"), 0);
    assert!(rows(&out, "exclusions").is_empty());
    let configure = |omit: &str| {
        workspace.configure(&borrowed(&settings(&[&server], None, &[("policy.omit", omit)])));
    };
    configure("[\"temperature\"]");
    // Nothing was sampled, so that nothing has to be confirmed.
    workspace.run(&[]).assert_code(1).assert_says(&["omit = [\"temperature\", \"top_p\"] under [policy]"]);
    configure("[\"temperature\", \"top_p\"]");
    workspace.run(&[]).assert_code(0);
    assert_whole(&out);
    assert_eq!(manifest(&out)["left_out"], json!({"policy": ["temperature", "top_p"]}));
    assert_eq!(manifest(&out)["identity"]["policy.omit"], "[\"temperature\",\"top_p\"]");
    // What was sampled with other keys is other data.
    configure("[\"temperature\", \"top_p\", \"seed\"]");
    workspace.run(&[]).assert_code(2).assert_says(&["policy.omit", "--reconfigure"]);
}

#[test]
fn a_switch_of_the_mode_or_a_key_of_ones_own_names_its_setting() {
    for (key, more, words) in [
        ("chat_template_kwargs", None, "policy.mode_preset"),
        ("repetition_penalty", Some(("policy.extra", "{ repetition_penalty = 1.1 }")), "[policy.extra]"),
    ] {
        let server = policy(&["--refuse-keys", key]);
        let workspace = workspace(&[&server], None, more.as_slice());
        workspace.run(&[]).assert_code(1).assert_says(&[key, words]);
        assert_eq!(number(&workspace.out(), "SELECT count(*) FROM rollout_failure"), 0);
    }
}

#[test]
fn of_servers_that_differ_every_response_is_found_under_the_address_it_was_given() {
    let (strict, lenient) = (policy(&["--refuse-keys", "seed", "--latency-ms", "30"]), policy(&["--latency-ms", "1"]));
    let workspace = workspace(&[&lenient, &strict], None, &[("policy.concurrency", "2")]);
    let out = workspace.run_whole("out", &[]);
    assert_whole(&out);
    assert_eq!(number(&out, "SELECT count(*) FROM rollout"), QUERIES as i64 * SAMPLES_PER_QUERY, "none twice");
    let (hashes, asked) = (data_hashes(&out), strict.stat("requests") + lenient.stat("requests"));
    std::fs::remove_dir_all(out.join("data")).unwrap();
    workspace.run(&[]).assert_code(0);
    assert_eq!(data_hashes(&out), hashes);
    assert_eq!(strict.stat("requests") + lenient.stat("requests"), asked, "nothing is asked again");
}

#[test]
fn a_judge_stops_at_a_refused_temperature_and_goes_on_without_it() {
    let server = policy(&[]);
    let judge = Mock::start(&["--refuse-keys", "temperature"]);
    let workspace = workspace(&[&server], Some(&judge), &[]);
    let stopped = workspace.run(&[]).assert_code(1);
    stopped.assert_says(&["omit = [\"temperature\"] under [judge]", "Extra inputs are not permitted"]);
    let out = workspace.out();
    assert_eq!(number(&out, "SELECT count(*) FROM judge_failure WHERE outcome NOT IN ('refused', 'server_down')"), 0);
    let with = settings(&[&server], Some(&judge), &[("judge.omit", "[\"temperature\"]")]);
    workspace.configure(&borrowed(&with));
    workspace.run(&["--reconfigure"]).assert_code(0);
    let samples = rows(&out, "samples");
    assert!(!samples.is_empty() && samples.iter().all(|row| text(row, "justification").ends_with('.')));
    assert_eq!(
        number(
            &out,
            "SELECT max(attempt) FROM judge_attempt WHERE request_key IN (SELECT request_key FROM judge_reply)"
        ),
        1
    );
}

#[test]
fn doctor_asks_servers_which_keys_they_refuse_if_it_is_told_to() {
    let server = policy(&["--refuse-keys", "seed,max_tokens"]);
    let judge = Mock::start(&["--refuse-keys", "temperature"]);
    let workspace = workspace(&[&server], Some(&judge), &[]);
    let doctor = |more: &[&str]| {
        Outcome::of(program().arg("doctor").arg("-c").arg(workspace.path("thinkloom.toml")).args(more)).assert_code(1)
    };
    let asked = doctor(&["--ask"]).stdout;
    assert!(asked.contains("rejects max_tokens, seed, which a run therefore omits"), "{asked}");
    assert!(asked.contains("missing  judge") && asked.contains("omit = [\"temperature\"] under [judge]"), "{asked}");
    let requests = server.stat("requests") + judge.stat("requests");
    workspace.configure(&borrowed(&settings(
        &[&server],
        Some(&judge),
        &[("policy.base_urls", "[\"http://127.0.0.1:1\"]")],
    )));
    doctor(&[]);
    assert_eq!(server.stat("requests") + judge.stat("requests"), requests, "it asks only if it is told to");
}

#[test]
fn a_key_that_is_refused_in_a_batch_is_left_out_of_the_next() {
    let server = policy(&[]);
    let judge = Mock::start(&["--refuse-keys", "response_format"]);
    let batch = [("judge.transport", "\"batch\""), ("judge.batch.poll_s", "0.02"), ("judge.attempts_max", "1")];
    let workspace = workspace(&[&server], Some(&judge), &batch);
    let run = workspace.run(&[]).assert_code(0);
    assert_eq!(run.stderr.matches("refuses the key \"response_format\"").count(), 1, "{}", run.stderr);
    let out = workspace.out();
    let samples = rows(&out, "samples");
    assert!(!samples.is_empty() && samples.iter().all(|row| text(row, "justification").ends_with('.')));
    assert_eq!(number(&out, "SELECT count(*) FROM judge_failure WHERE outcome <> 'refused'"), 0);
    Outcome::of(program().arg("status").arg(&out).arg("--check")).assert_code(0);
}
