use super::*;
use crate::http::testing::{Server, Step, dead_base_url};

const KEY: &str = "sk-very-secret-0123456789";

fn client(base_url: &str) -> BatchClient {
    BatchClient::new(base_url, Some(SecretString::from(KEY)), ClearText::Refused, Duration::from_secs(5)).unwrap()
}

fn answer(value: &Value) -> Step {
    Step::status(200, &value.to_string())
}

#[tokio::test]
async fn an_upload_is_a_form_with_purpose_name_and_lines() {
    let server = Server::start(vec![answer(&json!({"id": "file-1", "object": "file"}))]);
    let lines = Bytes::from_static(b"{\"custom_id\":\"a-1\"}\n");
    assert_eq!(client(&server.base_url()).upload("x.jsonl", lines).await.unwrap(), "file-1");
    let seen = server.seen().remove(0);
    assert!(seen.head.starts_with("POST /files HTTP/1.1") && seen.head.contains(KEY), "{}", seen.head);
    let boundary = seen.head.split("boundary=").nth(1).unwrap().lines().next().unwrap().to_owned();
    let parts: Vec<&str> = seen.body.split(&format!("--{boundary}")).collect();
    let [before, purpose, file, after] = parts.as_slice() else { panic!("{}", seen.body) };
    assert_eq!((*before, *after), ("", "--\r\n"));
    assert!(purpose.ends_with("name=\"purpose\"\r\n\r\nbatch\r\n"), "{purpose}");
    assert!(file.contains("filename=\"x.jsonl\"") && file.ends_with("\r\n\r\n{\"custom_id\":\"a-1\"}\n\r\n"), "{file}");
}

#[tokio::test]
async fn batches_are_found_by_name_or_file_over_pages_and_not_found_otherwise() {
    let page = |ids: &[&str], has_more: bool| {
        let entry = |id: &&str| json!({"id": id, "status": "in_progress", "input_file_id": format!("of-{id}"), "metadata": {NAME_KEY: format!("name-{id}")}});
        answer(&json!({"object": "list", "data": ids.iter().map(entry).collect::<Vec<_>>(), "has_more": has_more}))
    };
    let script = vec![page(&["b1", "b2"], true), page(&["b3"], false)];
    let server = Server::start([script.clone(), script.clone(), script].concat());
    let client = client(&server.base_url());
    assert_eq!(client.find("name-b3", "", 0).await.unwrap().unwrap().id, "b3");
    assert!(server.seen()[1].head.contains("&after=b2"), "{}", server.seen()[1].head);
    assert_eq!(client.find("name-b9", "", 0).await.unwrap(), None);
    assert_eq!(client.find("", "of-b2", 0).await.unwrap().unwrap().id, "b2");
}

#[tokio::test]
async fn states_are_read_leniently() {
    let state = |more: Value| {
        let mut all = json!({"id": "b"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        answer(&all)
    };
    let server = Server::start(vec![
        state(json!({"status": "validating"})),
        state(json!({"status": "expired", "output_file_id": "o", "error_file_id": "e"})),
        state(json!({"status": "failed", "output_file_id": null, "errors": {"data": [{"message": "bad\nmodel"}]}})),
        state(json!({"status": "canceled", "output_file_id": ""})),
        state(json!({"status": 7, "error": null})),
        Step::status(404, r#"{"error":{"message":"no such batch"}}"#),
    ]);
    let client = client(&server.base_url());
    assert_eq!(client.state("b").await.unwrap().status, BatchStatus::UnderWay);
    let expired = client.state("b").await.unwrap();
    assert_eq!((expired.status, expired.result_files), (BatchStatus::Expired, vec!["o".to_owned(), "e".to_owned()]));
    let failed = client.state("b").await.unwrap();
    assert_eq!((failed.status, failed.problem.as_str()), (BatchStatus::Failed, "bad model"));
    let cancelled = client.state("b").await.unwrap();
    assert_eq!((cancelled.status, cancelled.result_files.len()), (BatchStatus::Cancelled, 0));
    assert_eq!(client.state("b").await.unwrap().status, BatchStatus::UnderWay);
    assert_eq!(client.state("../b?x").await.unwrap_err().status, Some(404));
    assert!(server.seen()[5].head.starts_with("GET /batches/..bx HTTP"), "{}", server.seen()[5].head);
}

#[tokio::test]
async fn how_many_results_the_files_hold_is_read_where_a_provider_counts_them() {
    let counts = |status: &str, counts: Value, files: Value| {
        let mut all = json!({"id": "b", "status": status, "request_counts": counts});
        all.as_object_mut().unwrap().extend(files.as_object().unwrap().clone());
        answer(&all)
    };
    let five = json!({"total": 5, "completed": 3, "failed": 2});
    let rows = [
        (counts("completed", five.clone(), json!({"output_file_id": "o", "error_file_id": "e"})), Some(5)),
        (counts("completed", five.clone(), json!({"output_file_id": "o"})), Some(3)),
        (counts("completed", five.clone(), json!({})), Some(3)),
        (counts("expired", five, json!({"output_file_id": "o", "error_file_id": "e"})), Some(3)),
        (counts("completed", json!({"total": 0, "completed": 0, "failed": 0}), json!({})), None),
        (counts("completed", json!(null), json!({})), None),
    ];
    let (steps, expected): (Vec<Step>, Vec<Option<u64>>) = rows.into_iter().unzip();
    let server = Server::start(steps);
    let client = client(&server.base_url());
    for expected in expected {
        assert_eq!(client.state("b").await.unwrap().results, expected);
    }
}

#[tokio::test]
async fn results_come_line_by_line_and_a_torn_file_is_an_error_that_passes() {
    let server = Server::start(vec![Step::status(200, "{\"a\":1}\r\n\n{\"b\":2}"), Step::Torn]);
    let client = client(&server.base_url());
    let mut lines = client.results("file-9").await.unwrap();
    let mut found = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        found.push(line);
    }
    assert_eq!(found, ["{\"a\":1}", "{\"b\":2}"]);
    assert!(server.seen()[0].head.starts_with("GET /files/file-9/content HTTP"));
    let mut torn = client.results("file-9").await.unwrap();
    let failure = loop {
        match torn.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the file is torn"),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.class, Class::Transient);
}

#[tokio::test]
async fn failures_mean_what_the_table_says_and_never_show_the_key() {
    let echo = format!(r#"{{"error":{{"message":"key {KEY} is bad"}}}}"#);
    let server = Server::start(vec![
        Step::status(401, &echo),
        Step::status(503, "{}").header("retry-after-ms: 7"),
        Step::status(404, "{}"),
        Step::status(200, "<html>"),
        Step::status(200, r#"{"error":{"message":"m","code":"insufficient_quota"}}"#),
        Step::Hang,
    ]);
    let client = client(&server.base_url());
    let mut found = Vec::new();
    for _ in 0..6 {
        let failure = client.create("f", "n").await.unwrap_err();
        assert!(!format!("{failure:?}").contains(KEY), "{failure:?}");
        found.push((failure.class, failure.retry_after.map(|wait| wait.as_millis())));
    }
    use Class::{FatalRun, Transient};
    let expected = [
        (FatalRun, None),
        (Transient, Some(7)),
        (FatalRun, None),
        (Transient, None),
        (FatalRun, None),
        (Transient, None),
    ];
    assert_eq!(found, expected);
    let dead = self::client(&dead_base_url());
    assert_eq!(dead.state("b").await.unwrap_err().class, Class::Unreachable);
}

#[tokio::test]
async fn a_list_is_read_until_its_entries_are_too_old_and_an_endless_one_stops_the_run() {
    const DAY_S: i64 = 86_400;
    let page = |entries: &[(&str, i64)]| {
        let entry = |(id, created_at): &(&str, i64)| json!({"id": id, "filename": id, "created_at": created_at});
        answer(&json!({"data": entries.iter().map(entry).collect::<Vec<_>>(), "has_more": true}))
    };
    let newest_first =
        [page(&[("f9", 109 * DAY_S), ("f8", 108 * DAY_S)]), page(&[("f7", 101 * DAY_S), ("f1", 90 * DAY_S)])];
    let server = Server::start(newest_first.to_vec());
    assert_eq!(client(&server.base_url()).find_file("f0", 100 * DAY_S * 1000).await.unwrap(), None);
    assert_eq!(server.seen().len(), 2, "what is older was not uploaded by this run");
    // In a list that begins with the oldest entry, the search continues after old entries.
    let oldest_first = [page(&[("f1", 1), ("f2", 2)]), page(&[("f3", 3), ("f0", 4)])];
    let server = Server::start(oldest_first.to_vec());
    assert_eq!(client(&server.base_url()).find_file("f0", 100 * DAY_S * 1000).await.unwrap().as_deref(), Some("f0"));
    // A server that does not support `after` returns the first page for ever.
    let server = Server::start(vec![page(&[("f1", 1), ("f2", 1)]); 3]);
    let failure = client(&server.base_url()).find_file("f0", 0).await.unwrap_err();
    assert!(failure.class == Class::FatalRun && failure.hint().contains("delete old files"), "{failure:?}");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn counts_that_are_not_final_say_nothing() {
    let state = |status: &str, counts: Value| {
        answer(&json!({"id": "b", "status": status, "output_file_id": "o", "request_counts": counts}))
    };
    let counts =
        |total: u64, completed: u64, failed: u64| json!({"total": total, "completed": completed, "failed": failed});
    let cases = [
        (state("completed", counts(5, 5, 0)), Some(5)),
        (state("completed", counts(5, 0, 0)), None),
        (state("completed", counts(5, 3, 1)), None),
        (state("completed", counts(5, 3, 2)), Some(3)),
        (state("expired", counts(5, 3, 0)), Some(3)),
        (state("completed", counts(0, 0, 0)), None),
        (state("completed", counts(u64::MAX, u64::MAX, u64::MAX)), Some(u64::MAX)),
    ];
    let server = Server::start(cases.iter().map(|(step, _)| step.clone()).collect());
    for (_, expected) in cases {
        assert_eq!(client(&server.base_url()).state("b").await.unwrap().results, expected);
    }
}
