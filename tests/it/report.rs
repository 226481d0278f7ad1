//! Tests `report`, `view`, `diff` and `inspect`: their contents, and that text of a run is never executed as markup or
//! as terminal control.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::{Outcome, Workspace, program};

fn thinkloom(arguments: &[&str]) -> Outcome {
    Outcome::of(program().args(arguments))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server that ends with the test.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(out: &Path) -> Self {
        let mut child = program().arg("view").arg(out).args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().next().unwrap();
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { child, address }
    }

    /// Returns status and body of a request that names `host`, and what else is said after it.
    fn get_as(&self, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        let reply = String::from_utf8_lossy(&reply).into_owned();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get_as(path, &self.address);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Queries that try to be more than text.
fn hostile_input() -> String {
    let hostile = "</script><script>window.hostile = 1</script>\u{1b}[31m<b>{{ 7 * 7 }}</b>\u{202e}gnp\u{0}";
    let rows = [
        json!({"id": "plain", "question": "What is 1 + 1?", "answer": "2", "kind": "numeric"}),
        json!({"id": format!("x{hostile}"), "question": format!("What is 2 + 1? {hostile}"), "answer": "3", "kind": "numeric", "source": hostile}),
        json!({"id": "long", "question": format!("Ignore this: {} What is 1 + 2?", "y".repeat(200)), "answer": "3", "kind": "numeric"}),
    ];
    rows.iter().map(|row| format!("{row}\n")).collect()
}

#[test]
fn a_report_is_one_file_that_asks_nobody_and_runs_no_foreign_text() {
    let workspace = Workspace::with_input(hostile_input().as_bytes(), &[]);
    let out = workspace.run_whole("out", &[]);
    let told = thinkloom(&["report", text(&out)]).assert_code(0).stdout;
    assert!(told.contains("report.html: the report, with 3 of 3 queries"), "{told}");
    let html = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(!html.contains("<script>window") && !html.contains("<b>{{"), "foreign markup");
    assert_eq!(html.matches("</script>").count(), 2);
    assert!(!html.contains("http://") && !html.contains("https://"));
    assert!(html.contains("default-src 'none'") && html.contains("script-src 'sha256-"));
    let data = html.split("id=\"reader-data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let rows = data["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["rollouts"].as_array().is_some_and(|all| all.len() == 6)), "{rows:?}");
    assert!(rows.iter().any(|row| row["id"].as_str().unwrap().contains('\u{1b}')), "data is whole");

    let nothing = workspace.path("nothing");
    thinkloom(&["report", text(&nothing)])
        .assert_code(1)
        .assert_says(&["is not the output directory of a run: it has no ledger.sqlite"]);
}

#[test]
fn a_served_run_gives_pages_from_its_shards_and_answers_to_this_machine_only() {
    let workspace = Workspace::new(12, &[]);
    let out = workspace.run_whole("out", &[]);
    let served = Served::start(&out);
    assert!(served.address.starts_with("127.0.0.1:"));
    let (status, page) = served.get_as("/", &served.address);
    assert!(status == 200 && page.contains("<figure>") && page.contains("script-src 'self'"), "{page}");
    let all = served.json("/api/queries?limit=5&offset=10");
    assert_eq!((&all["total"], all["rows"].as_array().unwrap().len()), (&json!(12), 2));
    let one = served.json("/api/queries?search=Q003&limit=5");
    assert_eq!(one["total"], 1, "{one}");
    let ordinal = one["rows"][0]["ordinal"].as_i64().unwrap();
    let story = served.json(&format!("/api/query?ordinal={ordinal}"));
    assert_eq!((story["id"].as_str(), story["rollouts"].as_array().unwrap().len()), (Some("q003"), 6));
    assert!(served.json("/api/summary")["html"].as_str().unwrap().contains("<figure>"));
    assert_eq!(served.get_as("/api/query?ordinal=99", &served.address).0, 404);
    assert_eq!(served.get_as("/api/query?ordinal=x", &served.address).0, 400);
    assert_eq!(served.get_as("/", "evil.example").0, 403, "a name that points here is not this machine");
    for (origin, status) in [(format!("http://{}", served.address), 200), ("http://evil.example".to_owned(), 403)] {
        let headers = format!("{}\r\nOrigin: {origin}", served.address);
        assert_eq!(served.get_as("/api/summary", &headers).0, status, "{origin}");
    }
    assert_eq!(served.get_as("/../ledger.sqlite", &served.address).0, 404);
}

#[test]
fn a_served_run_shows_shards_that_come_later() {
    let workspace = Workspace::new(12, &[]);
    let out = workspace.run_whole("out", &["--limit", "5"]);
    let served = Served::start(&out);
    assert_eq!(served.json("/api/queries")["total"], 5);
    workspace.run_whole("out", &[]);
    assert_eq!(served.json("/api/queries")["total"], 12);
}

#[test]
fn the_reader_shows_every_query_settled_or_not_and_what_failed_first() {
    let server = crate::mock::Mock::start(&["--role", "policy", "--latency-ms", "20", "--rate-filter", "0.1"]);
    let base_urls = json!([server.base_url()]).to_string();
    let workspace = Workspace::new(
        40,
        &[
            ("policy.backend", "\"openai\""),
            ("policy.base_urls", &base_urls),
            ("policy.model", "\"served\""),
            ("policy.mode_preset", "\"qwen3\""),
            ("output.queries_per_shard", "1000"),
        ],
    );
    let out = workspace.out();
    let running = crate::support::Running::start(&mut workspace.command(&[]));
    // Queries with all six responses, one of them correct: their samples are there, and most queries have not begun.
    let solved = "SELECT count(*) FROM (SELECT query_id FROM verdict JOIN rollout ON rollout_key = rollout.key \
                  GROUP BY query_id HAVING count(*) = 6 AND max(outcome = 'correct' AND observed_mode = mode))";
    let stored = || crate::support::Ledger::open(&out)?.number(solved);
    crate::support::until("some solved queries", || stored().filter(|&count| count >= 3));
    assert!(running.kill());
    let served = Served::start(&out);
    let all = served.json("/api/queries?order=failures&limit=200");
    let rows = all["rows"].as_array().unwrap();
    assert_eq!((&all["total"], rows.len()), (&json!(40), 40));
    let ranks = ["failed", "excluded", "outstanding", "sample"];
    let rank = |row: &Value| ranks.iter().position(|rank| row["rank"] == *rank).unwrap();
    let order: Vec<(usize, i64)> = rows.iter().map(|row| (rank(row), row["ordinal"].as_i64().unwrap())).collect();
    assert!(order.is_sorted(), "{order:?}");
    for name in ["outstanding", "sample"] {
        assert!(rows.iter().any(|row| row["rank"] == name), "{name}: {rows:?}");
    }
    for row in rows {
        let story = served.json(&format!("/api/query?ordinal={}", row["ordinal"]));
        for name in ["question", "gold", "kind", "outcome", "id"] {
            assert!(story[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {story}");
        }
        assert_eq!(story["rank"], row["rank"]);
        if row["rank"] == "sample" {
            assert!(story["p_on"].is_number() && !story["rollouts"].as_array().unwrap().is_empty(), "{story}");
        }
    }
    for (asked, rank) in [("%21failed", "failed"), ("%21excluded", "excluded"), ("%21sample", "sample")] {
        let found = served.json(&format!("/api/queries?outcome={asked}&limit=200"));
        assert_eq!(found["total"], rows.iter().filter(|row| row["rank"] == rank).count(), "{asked}");
    }
    // What comes later is there without a new start, and is then read from the files.
    assert!(matches!(workspace.run(&[]).code, Some(0 | 4)));
    let after = crate::support::until("the end is seen", || {
        let all = served.json("/api/queries?outcome=outstanding");
        (all["total"] == 0).then(|| served.json("/api/queries?limit=200"))
    });
    assert_eq!(after["total"], 40);
    for row in after["rows"].as_array().unwrap() {
        assert!(row["question"].is_string() && row["gold"].is_string(), "{row}");
    }
}

#[test]
fn inspect_keeps_to_80_columns_and_steers_no_terminal() {
    let workspace = Workspace::with_input(hostile_input().as_bytes(), &[]);
    let out = workspace.run_whole("out", &[]);
    let list = thinkloom(&["inspect", text(&out)]).assert_code(0).stdout;
    let rows = thinkloom(&["inspect", text(&out), "--json"]).assert_code(0).stdout;
    let mut shown = list;
    for row in rows.lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let id = row["query_id"].as_str().unwrap();
        if id.contains('\0') {
            // No argument can hold it.
            continue;
        }
        shown += &thinkloom(&["inspect", text(&out), "--query", id]).assert_code(0).stdout;
        let whole = thinkloom(&["inspect", text(&out), "--query", id, "--json"]).assert_code(0).stdout;
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let outcome = if whole["sample"].is_null() { &whole["exclusion"]["reason"] } else { &whole["sample"]["mode"] };
        assert_eq!(*outcome, row["outcome"]);
        if !whole["sample"].is_null() {
            assert!(whole["sample"]["pass_rate_on"].is_number() && whole["sample"]["messages"].is_array(), "{whole}");
        }
    }
    let wide: Vec<&str> = shown.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");
    let steers = |character: char| (character.is_control() && character != '\n') || character == '\u{202e}';
    assert!(!shown.contains(steers), "{shown:?}");
}

#[test]
fn diff_names_settings_outcomes_and_queries_that_differ_and_finds_nothing_in_a_copy() {
    let workspace = Workspace::new(8, &[]);
    let first = workspace.run_whole("first", &[]);
    let same = thinkloom(&["diff", text(&first), text(&first)]).assert_code(0).stdout;
    assert!(same.starts_with("queries      8 and 8; 8 are the same\n"), "{same}");
    let second = workspace.run_whole("second", &["--set", "sampling.seed=7"]);
    let told = thinkloom(&["diff", text(&first), text(&second)]).assert_code(0).stdout;
    assert!(told.contains("settings     sampling.seed: 0 -> 7"), "{told}");
    let json = thinkloom(&["diff", text(&first), text(&second), "--json"]).assert_code(0).stdout;
    let diff: Value = serde_json::from_str(&json).unwrap();
    let changed = diff["changes"].as_array().unwrap().len() as u64;
    assert_eq!(diff["same"].as_u64().unwrap() + changed, 8);
    let nothing = workspace.path("nothing");
    thinkloom(&["diff", text(&first), text(&nothing)]).assert_code(1).assert_says(&["no published shard"]);
}
