//! Tests `thinkloom serve` through plain sockets, as its clients see it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Outcome, fixture, program, text, until};

/// A running server; killed when dropped.
struct Server {
    child: Child,
    address: String,
    folder: TempDir,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, |_| {})
    }

    fn start_with(arguments: &[&str], prepare: impl Fn(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("thinkloom.toml");
        let model = json!(fixture("tiny-llama.gguf"));
        std::fs::write(&config, format!("policy.model = {model}\npolicy.slots = 4\npolicy.threads = 1\n")).unwrap();
        let said = folder.path().join("stdout");
        let mut command = program();
        command.arg("serve").arg("-c").arg(&config).args(arguments);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        prepare(&mut command);
        let child = command.stdout(File::create(&said).unwrap()).stderr(Stdio::null()).spawn().unwrap();
        let address = until("the server listens", || {
            let text = std::fs::read_to_string(&said).unwrap();
            text.strip_suffix('\n')?.strip_prefix("listening on http://").map(str::to_owned)
        });
        Self { child, address, folder }
    }

    /// Sends a request and leaves the answer on the wire.
    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (host, length) = (&self.address, body.len());
        let kind = if method == "POST" { "Content-Type: application/json\r\n" } else { "" };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{kind}{headers}Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let mut answer = String::new();
        self.send(method, path, headers, body).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, _, answer) = self.ask("POST", path, "", &body.to_string());
        (status, serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}")))
    }

    fn chat(&self, more: &Value) -> Value {
        let (status, answer) = self.post("/v1/chat/completions", &chat(more));
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Returns the data of all events of a streamed response.
    fn events(&self, path: &str, body: &Value) -> Vec<String> {
        let (status, _, answer) = self.ask("POST", path, "", &body.to_string());
        assert_eq!(status, 200, "{answer}");
        answer.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    fn metric(&self, name: &str) -> u64 {
        let (_, _, text) = self.ask("GET", "/metrics", "", "");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("thinkloom_{name} ")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("{name} is missing:\n{text}")).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A chat request with these fields.
fn chat(more: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "Which number?"}], "max_tokens": 24, "seed": 7});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn contents(answer: &Value) -> Vec<&str> {
    answer["choices"].as_array().unwrap().iter().map(|choice| text(&choice["message"], "content")).collect()
}

#[test]
fn a_seed_gives_the_same_texts_whatever_else_is_asked_for() {
    let server = Server::start(&[]);
    let one = server.chat(&json!({}));
    let four = server.chat(&json!({"n": 4, "logprobs": true}));
    assert_eq!(contents(&four).len(), 4);
    assert_eq!(contents(&one)[0], contents(&four)[0]);
    assert_eq!(contents(&four), contents(&server.chat(&json!({"n": 4}))));
    assert_ne!(contents(&server.chat(&json!({"seed": 8}))), contents(&one), "another seed, another text");
    let usage = &four["usage"];
    assert_eq!(usage["prompt_tokens"], one["usage"]["prompt_tokens"], "one prompt for all choices");
    let choice = &four["choices"][0];
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|token| token["bytes"].as_array().unwrap())
        .map(|byte| byte.as_u64().unwrap() as u8)
        .collect();
    assert_eq!(String::from_utf8_lossy(&bytes), text(&choice["message"], "content"));
    assert!(tokens.iter().all(|token| token["logprob"].as_f64().unwrap() <= 0.0));
    let (_, _, models) = server.ask("GET", "/v1/models", "", "");
    assert!(models.contains("tiny-llama.gguf"), "{models}");
}

#[test]
fn a_stream_adds_up_to_the_text_in_one_piece() {
    let server = Server::start(&[]);
    for more in [json!({"n": 3}), json!({"stop": ["e", "12"], "max_tokens": 60})] {
        let whole = server.chat(&more);
        let mut body = chat(&more);
        body.as_object_mut()
            .unwrap()
            .extend(json!({"stream": true, "stream_options": {"include_usage": true}}).as_object().unwrap().clone());
        let mut events = server.events("/v1/chat/completions", &body);
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        assert_eq!(events.last().unwrap()["usage"], whole["usage"]);
        let mut texts = vec![String::new(); contents(&whole).len()];
        let mut reasons = vec![Value::Null; texts.len()];
        for choice in events.iter().flat_map(|event| event["choices"].as_array().unwrap()) {
            let index = choice["index"].as_u64().unwrap() as usize;
            texts[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            if !choice["finish_reason"].is_null() {
                reasons[index] = choice["finish_reason"].clone();
            }
        }
        assert_eq!(texts, contents(&whole));
        let expected: Vec<&Value> =
            whole["choices"].as_array().unwrap().iter().map(|choice| &choice["finish_reason"]).collect();
        assert_eq!(reasons.iter().collect::<Vec<_>>(), expected);
    }
    let plain = json!({"prompt": ["ab", "cd"], "seed": 3, "max_tokens": 5, "n": 2, "logprobs": 0});
    let (status, whole) = server.post("/v1/completions", &plain);
    assert_eq!((status, whole["choices"].as_array().unwrap().len()), (200, 4));
    assert_eq!(whole["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len(), 5);
}

#[test]
fn a_schema_is_obeyed_even_by_a_model_that_knows_nothing() {
    let server = Server::start(&[]);
    let schema = json!({"type": "object", "properties": {
        "verdict": {"enum": ["yes", "no"]}, "reason": {"type": "string", "maxLength": 30}, "score": {"type": "integer"},
    }, "required": ["verdict", "reason", "score"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "judgement", "schema": schema}});
    for seed in 0..12 {
        let answer = server.chat(&json!({"seed": seed, "max_tokens": 80, "response_format": format}));
        let value: Value =
            serde_json::from_str(contents(&answer)[0]).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert!(["yes", "no"].contains(&text(&value, "verdict")) && value["score"].is_i64(), "{value}");
        assert!(text(&value, "reason").chars().count() <= 30);
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    }
    let object = server.chat(&json!({"response_format": {"type": "json_object"}, "max_tokens": 40}));
    assert!(serde_json::from_str::<Value>(contents(&object)[0]).unwrap().is_object());
    let short = chat(&json!({"response_format": format, "max_tokens": 20}));
    let (status, answer) = server.post("/v1/chat/completions", &short);
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("max_tokens")), "{answer}");
}

#[test]
fn a_full_queue_is_said_at_once_and_a_client_that_leaves_frees_its_place() {
    let server = Server::start(&["--queue-max", "0"]);
    let five = chat(&json!({"n": 5}));
    let (status, answer) = server.post("/v1/chat/completions", &five);
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("n")), "{answer}");
    // Requests that arrive while others run are refused, never kept without bound; all that are taken are answered.
    let body = chat(&json!({"n": 4, "max_tokens": 150})).to_string();
    let streams: Vec<TcpStream> = (0..24).map(|_| server.send("POST", "/v1/chat/completions", "", &body)).collect();
    let mut statuses: Vec<u16> = Vec::new();
    for mut stream in streams {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(status != 429 || answer.to_lowercase().contains("retry-after: 1"), "{answer}");
        statuses.push(status);
    }
    assert!(statuses.iter().all(|status| [200, 429].contains(status)) && statuses.contains(&200), "{statuses:?}");
    until("all places are free", || (server.metric("responses_under_way") == 0).then_some(()));
    // A client that goes away while its response grows.
    let body = chat(&json!({"max_tokens": 200, "n": 4, "stream": true})).to_string();
    drop(server.send("POST", "/v1/chat/completions", "", &body));
    until("its places are free", || (server.metric("responses_under_way") == 0).then_some(()));
    assert_eq!(server.chat(&json!({}))["object"], "chat.completion");
}

#[test]
fn a_key_is_asked_for_where_one_is_set() {
    let server = Server::start_with(&["--api-key-env", "SERVE_KEY"], |command| {
        command.env("SERVE_KEY", "secret-7");
    });
    assert_eq!(server.ask("GET", "/v1/models", "", "").0, 401);
    assert_eq!(server.ask("GET", "/v1/models", "Authorization: Bearer secret-8\r\n", "").0, 401);
    assert_eq!(server.ask("GET", "/v1/models", "Authorization: Bearer secret-7\r\n", "").0, 200);
    assert_eq!(server.ask("GET", "/v1/models", "Authorization: bearer secret-7\r\n", "").0, 200);
    assert_eq!(server.ask("GET", "/v1/models", "Authorization: Basic secret-7\r\n", "").0, 401);
    assert_eq!(server.ask("GET", "/health", "", "").0, 200);
    let mut missing = program();
    missing.args(["serve", "--api-key-env", "NO_SUCH_KEY", "-c"]).arg(server.folder.path().join("thinkloom.toml"));
    Outcome::of(&mut missing).assert_code(2).assert_says(&["NO_SUCH_KEY is empty or not set"]);
}

#[test]
fn what_cannot_be_served_is_refused_with_the_field_at_fault() {
    let server = Server::start(&[]);
    let refuse = |more: Value, field: &str| {
        let (status, answer) = server.post("/v1/chat/completions", &chat(&more));
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(field)), "{answer}");
    };
    refuse(json!({"model": "gpt-5"}), "model");
    refuse(json!({"messages": []}), "messages");
    refuse(json!({"messages": [{"role": "tool", "content": "x"}]}), "messages");
    refuse(json!({"temperature": 2.5}), "temperature");
    refuse(json!({"top_p": 0}), "top_p");
    refuse(json!({"n": 0}), "n");
    refuse(json!({"stop": [""]}), "stop");
    refuse(json!({"max_tokens": 0}), "max_tokens");
    refuse(json!({"top_logprobs": 3}), "top_logprobs");
    refuse(json!({"tools": [{}]}), "tools");
    refuse(
        json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "a"}}}}),
        "response_format",
    );
    let of_itself = json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}, "$ref": "#/$defs/a"});
    refuse(
        json!({"response_format": {"type": "json_schema", "json_schema": {"schema": of_itself}}}),
        "response_format",
    );
    refuse(json!({"continue_final_message": true}), "continue_final_message");
    let (status, answer) = server.post("/v1/chat/completions", &json!({"messages": 1}));
    assert_eq!(status, 400, "{answer}");
    assert_eq!(server.ask("POST", "/v1/chat/completions", "", "{").0, 400);
    assert_eq!(server.ask("GET", "/v1/chat/completions", "", "").0, 405);
    assert_eq!(server.ask("GET", "/v2", "", "").0, 404);
    assert_eq!(server.metric("cancelled_responses_total"), 0, "nobody left");
}

const ROWS: &str = r#"{"query_id":"a","completion":"<judge>\nEasy.\n</judge>\n\n<think_off>\n<answer>\n4\n</answer>","kind":"numeric","gold":"4"}
{"query_id":"a","completion":"<judge>\nHard.\n</judge>\n\n<think_on>\n<think>\n2+2\n</think>\n\n<answer>\n5\n</answer>","kind":"numeric","gold":"4"}
{"query_id":"b","mode":"think_on","correct":true,"format_ok":true}
{"query_id":"a","completion":"4","kind":"numeric","gold":"4"}
{"query_id":"b","mode":"think_on"}
"#;

#[test]
fn the_reward_endpoint_says_what_the_command_says() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, ROWS).unwrap();
    let mut command = program();
    command.args(["reward", "--rollouts", path.to_str().unwrap()]);
    let said = Outcome::of(&mut command).assert_code(4).stdout;
    let expected: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows: Vec<Value> = ROWS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (status, answer) = server.post("/v1/reward", &json!({"rollouts": rows}));
    assert_eq!(status, 200, "{answer}");
    let found = answer["rollouts"].as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    const KEYS: &[&str] = &[
        "mode",
        "reward",
        "mean_reward",
        "mean_reward_mode",
        "advantage_judge",
        "advantage_answer",
        "judge_chars",
        "verdict",
        "error",
    ];
    for (found, expected) in found.iter().zip(&expected) {
        // The command keeps what a row that is none says of itself.
        let is_fault = !expected["error"].is_null();
        for key in KEYS.iter().filter(|key| !is_fault || **key != "mode") {
            assert_eq!(found[key], expected[key], "{key}: {found} {expected}");
        }
    }
    assert!(text(&found[4], "error").contains("no format_ok"));
    // The same group by its completions, and in OpenRLHF's shape.
    let completions: Vec<&Value> = rows.iter().filter_map(|row| row.get("completion")).collect();
    let (_, groups) =
        server.post("/v1/reward", &json!({"groups": [{"kind": "numeric", "gold": 4, "completions": completions}]}));
    let of_group = groups["groups"][0]["rollouts"].as_array().unwrap();
    assert_eq!(
        (&of_group[0]["advantage_judge"], &of_group[2]["reward"]),
        (&found[0]["advantage_judge"], &found[3]["reward"])
    );
    let query: Vec<String> = completions.iter().map(|text| format!("Q{}<|im_end|>", text.as_str().unwrap())).collect();
    let unlabelled = json!({"query": query, "prompts": ["Q", "Q", "Q"], "labels": ["4", null, "4"]});
    let (status, answer) = server.post("/openrlhf/reward", &unlabelled);
    assert!(status == 400 && answer["error"]["message"].to_string().contains("labels[1]"), "{answer}");
    let body = json!({"query": query, "prompts": ["Q", "Q", "Q"], "labels": ["4", "4", "{\"gold\": 4, \"kind\": \"numeric\"}"]});
    let (_, remote) = server.post("/openrlhf/reward", &body);
    assert_eq!(remote["rewards"], json!([1.2, 0.2, 1.0]), "{remote}");
    assert_eq!(remote["extra_logs"]["advantage_judge"][0], found[0]["advantage_judge"]);
    // A gold that cannot be read is no reward of 0, and tests that decide nothing are none either.
    let faulty = json!({"rollouts": [
        {"query_id": "a", "completion": completions[0], "kind": "numeric", "gold": "many", "question": "How many?"},
        {"query_id": "a", "completion": completions[0], "kind": "numeric", "gold": "4", "question": "What is 2 + 2?"},
        {"query_id": "a", "completion": completions[0], "kind": "code", "tests": []},
    ]});
    let (status, answer) = server.post("/v1/reward", &faulty);
    let found = &answer["rollouts"];
    assert!(status == 200 && text(&found[0], "error").contains("unreadable_gold"), "{answer}");
    assert!(found[0]["reward"].is_null() && found[0]["correct"].is_null(), "{answer}");
    assert_eq!((&found[1]["reward"], &found[1]["mean_reward"]), (&json!(1.2), &json!(1.2)), "{answer}");
    assert!(found[2]["reward"].is_null() && text(&found[2], "error").contains("no_tests"), "{answer}");
    let label = "{\"gold\": \"many\", \"kind\": \"numeric\", \"question\": \"How many?\"}";
    let body = json!({"query": query, "prompts": ["Q", "Q", "Q"], "labels": ["4", label, "4"]});
    let (status, answer) = server.post("/openrlhf/reward", &body);
    assert!(status == 400 && answer["error"]["message"].to_string().contains("unreadable_gold"), "{answer}");
    // Settings of one request, and what is wrong with them.
    let (_, plain) =
        server.post("/v1/reward", &json!({"rollouts": rows, "settings": {"method": "grpo", "format_weight": 0}}));
    assert_eq!(plain["rollouts"][0]["reward"], 1.0);
    assert_eq!(plain["rollouts"][0]["advantage_judge"], plain["rollouts"][0]["advantage_answer"]);
    for wrong in [
        json!({"rollouts": [], "settings": {"omega": -1}}),
        json!({"rollouts": [], "settings": {"omegas": 1}}),
        json!({}),
    ] {
        assert_eq!(server.post("/v1/reward", &wrong).0, 400, "{wrong}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_what_is_under_way_and_ends_well() {
    let mut server = Server::start(&[]);
    let mut under_way =
        server.send("POST", "/v1/chat/completions", "", &chat(&json!({"n": 4, "max_tokens": 150})).to_string());
    until("it has begun", || (server.metric("sampled_tokens_total") > 0).then_some(()));
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut answer = String::new();
    under_way.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(server.child.wait().unwrap().success());
}

/// Sends a request as it stands, and returns status, head and body of the answer.
fn raw(server: &Server, request: &str) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

#[test]
fn requests_that_name_another_server_or_come_from_another_page_are_refused() {
    let server = Server::start(&["--allow-host", "proxy.example"]);
    let (own, port) = (&server.address, server.address.rsplit(':').next().unwrap());
    let get = |target: &str, headers: &str| {
        raw(&server, &format!("GET {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"))
    };
    for headers in [
        format!("Host: {own}\r\n"),
        format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"),
        "Host: proxy.example\r\nOrigin: https://proxy.example\r\n".to_owned(),
    ] {
        assert_eq!(get("/v1/models", &headers).0, 200, "{headers}");
    }
    for (target, headers, code) in [
        ("/v1/models", format!("Host: evil.example:{port}\r\n"), "host_not_allowed"),
        ("/health", format!("Host: evil.example:{port}\r\n"), "host_not_allowed"),
        ("/nothing", "Host: 127.0.0.1:1\r\n".to_owned(), "host_not_allowed"),
        ("/v1/models", String::new(), "host_not_allowed"),
        ("/v1/models", format!("Host: {own}\r\nHost: evil.example\r\n"), "host_not_allowed"),
        ("http://evil.example/v1/models", format!("Host: {own}\r\n"), "host_not_allowed"),
        ("/v1/models", format!("Host: {own}\r\nOrigin: http://evil.example\r\n"), "origin_not_allowed"),
        ("/v1/models", format!("Host: {own}\r\nOrigin: null\r\n"), "origin_not_allowed"),
        ("/health", format!("Host: {own}\r\nOrigin: http://localhost:3000\r\n"), "origin_not_allowed"),
    ] {
        let (status, _, answer) = get(target, &headers);
        assert_eq!((status, &answer["error"]["code"]), (403, &json!(code)), "{target} {headers}");
    }
    // What a page may send without asking first: no JSON.
    let body = json!({"rollouts": []}).to_string();
    for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        let head = format!("POST /v1/reward HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n{kind}");
        let (status, _, answer) = raw(&server, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!((status, &answer["error"]["code"]), (415, &json!("unsupported_media_type")), "{kind}");
    }
    let kind = "Content-Type: Application/JSON; charset=utf-8\r\n";
    let head = format!("POST /v1/reward HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n{kind}");
    assert_eq!(raw(&server, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).0, 200);
}

#[test]
fn an_address_that_others_reach_is_served_with_a_key_or_on_demand_only() {
    let server = Server::start(&[]);
    let config = server.folder.path().join("thinkloom.toml");
    let serve = |more: &[&str]| {
        let mut command = program();
        command.args(["serve", "--listen", "0.0.0.0:0", "-c"]).arg(&config).args(more);
        Outcome::of(&mut command)
    };
    serve(&[]).assert_code(2).assert_says(&["other machines can reach 0.0.0.0:0", "--api-key-env NAME", "--insecure"]);
    serve(&["--allow-host", "http://a"]).assert_code(2);
    serve(&["--insecure", "--allow-host", "fe80::7%eth0"]).assert_code(2).assert_says(&["for an IPv6 address with a \
             port, [ADDRESS]:PORT"]);
    serve(&["--insecure", "--allow-host", "http://a"])
        .assert_code(2)
        .assert_says(&["--allow-host http://a: expected NAME"]);
    let mut reached = Server::start(&["--listen", "0.0.0.0:0", "--insecure"]);
    let port = reached.address.rsplit(':').next().unwrap().to_owned();
    reached.address = format!("127.0.0.1:{port}");
    assert_eq!(reached.ask("GET", "/v1/models", "", "").0, 200);
    let (status, _, answer) =
        raw(&reached, &format!("GET /health HTTP/1.1\r\nHost: 10.1.2.3:{port}\r\nConnection: close\r\n\r\n"));
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("host_not_allowed")));
}

#[test]
fn every_refusal_is_json_and_one_model_is_found_by_its_name() {
    let server = Server::start(&[]);
    let own = &server.address;
    let json_of = |answer: (u16, String, String)| -> (u16, Value) {
        let error = serde_json::from_str::<Value>(&answer.2).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        (answer.0, error["error"]["code"].clone())
    };
    assert_eq!(json_of(server.ask("GET", "/v1/models/other/model", "", "")), (404, json!("model_not_found")));
    for name in ["%ff", "a/%C3%28", "%"] {
        let path = format!("/v1/models/{name}");
        assert_eq!(json_of(server.ask("GET", &path, "", "")), (404, json!("model_not_found")), "{name}");
    }
    let (status, _, model) = server.ask("GET", "/v1/models/tiny-llama.gguf", "", "");
    assert!(status == 200 && model.contains("\"id\":\"tiny-llama.gguf\""), "{model}");
    assert_eq!(json_of(server.ask("GET", "/v2", "", "")), (404, json!("not_found")));
    assert_eq!(json_of(server.ask("DELETE", "/v1/models", "", "")), (405, json!("method_not_allowed")));
    assert_eq!(json_of(server.ask("OPTIONS", "/v1/reward", "", "")), (405, json!("method_not_allowed")));
    assert_eq!(server.ask("HEAD", "/health", "", "").0, 200);
    for body in ["", "{", "[]", "nul", "{\"messages\": \"\\ud800\"}", "\u{feff}{}", "{} {}"] {
        assert_eq!(
            json_of(server.ask("POST", "/v1/chat/completions", "", body)),
            (400, json!("invalid_request_error")),
            "{body}"
        );
    }
    let deep = format!("{{\"messages\": {}", "[".repeat(200_000));
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/reward", "/openrlhf/reward"] {
        assert_eq!(json_of(server.ask("POST", path, "", &deep)), (400, json!("invalid_request_error")), "{path}");
    }
    let head =
        format!("POST /v1/reward HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\nContent-Type: application/json\r\n");
    let large = format!("{head}Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n");
    let (status, _, answer) = raw(&server, &large);
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("request_too_large")), "{answer}");
    // What is small on the wire and large once it is parsed.
    let many = json!({"groups": [{"completions": [], "tests": vec![json!({"": 0}); 400_000]}]});
    let (status, answer) = server.post("/v1/reward", &many);
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("request_too_large")), "{answer}");
    let (status, answer) = server.post("/v1/reward", &json!({"rollouts": vec![0; 65_537]}));
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_request_error")), "{answer}");
}

#[test]
fn prompts_that_no_context_holds_are_refused_before_they_are_tokenized() {
    let server = Server::start(&[]);
    // Spaces that a template may trim, letters, one long word, bytes that are escaped, many messages.
    let text = |letter: &str| letter.repeat((3 << 20) / letter.len());
    let message = |content: &str| json!({"role": "user", "content": content});
    let chats = [
        json!({"messages": [message(&text("a "))]}),
        json!({"messages": [message(&text("\u{1}"))]}),
        json!({"messages": vec![message(&"word ".repeat(1000)); 600]}),
        json!({"messages": vec![message(""); 100_000]}),
        json!({"messages": vec![message(""); 10_000]}),
        json!({"messages": [message(&"ab ".repeat(70_000))]}),
    ];
    for chat in &chats {
        let (status, answer) = server.post("/v1/chat/completions", chat);
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("context_length_exceeded")), "{answer}");
        assert_eq!(server.ask("GET", "/health", "", "").0, 200);
    }
    for prompt in [json!(text("x")), json!(["a", text(" ")]), json!(vec![1; 100_000]), json!([vec![1; 100_000]])] {
        let (status, answer) = server.post("/v1/completions", &json!({"prompt": prompt}));
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("context_length_exceeded")), "{answer}");
        assert_eq!(answer["error"]["param"], "prompt");
    }
    assert_eq!(server.chat(&json!({}))["object"], "chat.completion");
}

/// Returns the most memory that the server has had, in KiB.
#[cfg(target_os = "linux")]
fn peak_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_group_says_of_itself_is_not_kept_once_for_each_completion() {
    let server = Server::start(&[]);
    let group = |question: usize, completions: usize| json!({"groups": [{"kind": "code", "tests": [], "question": "x".repeat(question), "completions": vec![ROWS; completions]}]});
    let (status, answer) = server.post("/v1/reward", &group(100, 400));
    assert_eq!(status, 200, "{answer}");
    let before = peak_kib(&server);
    let (status, answer) = server.post("/v1/reward", &group(500_000, 400));
    assert_eq!(answer["groups"][0]["rollouts"].as_array().map(Vec::len), Some(400), "{answer}");
    assert_eq!((status, text(&answer["groups"][0]["rollouts"][9], "error").contains("no_tests")), (200, true));
    let grown = peak_kib(&server) - before;
    assert!(grown < 100 << 10, "400 times 500 kB were looked at, and {grown} KiB more were held");
    let (status, answer) = server.post("/v1/reward", &group(10_000_000, 400));
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("groups[0].completions")), "{answer}");
}

#[cfg(target_os = "linux")]
#[test]
fn rewards_for_small_bodies_with_many_rollouts_are_in_the_memory_account() {
    let server = Server::start(&[]);
    // 131 kB, answered with 17 MB.
    let zeros = json!({"rollouts": vec![0; 65_536]}).to_string();
    let (status, head, answer) = server.ask("POST", "/v1/reward", "", &zeros);
    assert!(status == 200 && head.contains(&format!("content-length: {}", answer.len())), "{head}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["rollouts"].as_array().map(Vec::len), Some(65_536));
    let before = peak_kib(&server);
    // None of these reads its answer for now.
    let unread: Vec<TcpStream> = (0..4).map(|_| server.send("POST", "/v1/reward", "", &zeros)).collect();
    let small = json!({"rollouts": [{"query_id": "a", "mode": "think_on", "correct": true, "format_ok": true}]});
    for mut stream in unread {
        assert_eq!(server.post("/v1/reward", &small).0, 200, "small requests do not wait for large ones");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 503"), "{:?}", answer.get(..200));
    }
    let grown = peak_kib(&server).saturating_sub(before);
    assert!(grown < 250 << 10, "{grown} KiB more");
    // What a group's completions repeat counts as well.
    let group = json!({"groups": [{"query_id": "x".repeat(4000), "completions": vec![""; 60_000]}]});
    let (status, answer) = server.post("/v1/reward", &group);
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("request_too_large")), "{answer}");
}

#[test]
fn rewards_need_no_model_and_no_config() {
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("stdout");
    let mut command = program();
    command.args(["serve", "--rewards-only", "--listen", "127.0.0.1:0"]).current_dir(folder.path());
    let child = command.stdout(File::create(&said).unwrap()).stderr(Stdio::null()).spawn().unwrap();
    let address = until("the server listens", || {
        let text = std::fs::read_to_string(&said).unwrap();
        text.strip_suffix('\n')?.strip_prefix("listening on http://").map(str::to_owned)
    });
    let server = Server { child, address, folder };
    let group =
        json!({"groups": [{"gold": "4", "kind": "numeric", "completions": ["<think_off><answer>4</answer>", "5"]}]});
    let (status, answer) = server.post("/v1/reward", &group);
    assert_eq!((status, &answer["groups"][0]["rollouts"][0]["correct"]), (200, &json!(true)), "{answer}");
    assert_eq!(server.metric("rewarded_rollouts_total"), 2);
    assert_eq!(server.ask("GET", "/health", "", "").0, 200);
    let (status, answer) = server.post("/v1/chat/completions", &chat(&json!({})));
    assert_eq!(status, 404, "{answer}");
    assert!(text(&answer["error"], "message").contains("--rewards-only"), "{answer}");
    // Longer settings of one request, and a length that is missing.
    let row = json!({"query_id": "a", "completion": "4", "gold": "4"});
    let body = json!({"rollouts": [row], "settings": {"length_weight": 0.5, "boost": "margin"}});
    let (status, answer) = server.post("/v1/reward", &body);
    assert_eq!(status, 200, "{answer}");
    assert!(text(&answer["rollouts"][0], "error").contains("completion_tokens"), "{answer}");
}

#[test]
fn a_structured_model_is_asked_for_a_mode_by_the_switch() {
    let server = Server::start(&["--set", "policy.mode_preset=structured"]);
    let ask = |switch: Value| contents(&server.chat(&json!({"chat_template_kwargs": switch})))[0].to_owned();
    let off = ask(json!({"enable_thinking": false}));
    assert!(off.contains("\n</judge>\n\n<think_off>\n"), "{off}");
    assert!(ask(json!({"thinking": true})).contains("\n</judge>\n\n<think_on>\n"));
    assert!(!ask(json!({})).contains("<think_o"), "without the switch the model is free");
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}});
    let both = chat(&json!({"chat_template_kwargs": {"enable_thinking": true}, "response_format": schema}));
    assert_eq!(server.post("/v1/chat/completions", &both).0, 400);
}
