use super::*;
use crate::http::retry::Class;
use crate::http::testing::{Server, Step, dead_base_url};

const KEY: &str = "sk-very-secret-0123456789";

fn client(base_url: &str) -> BatchClient {
    BatchClient::new(base_url, Some(SecretString::from(KEY)), Duration::from_secs(5)).unwrap()
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
    assert_eq!(client.find("name-b3", "").await.unwrap().unwrap().id, "b3");
    assert!(server.seen()[1].head.contains("&after=b2"), "{}", server.seen()[1].head);
    assert_eq!(client.find("name-b9", "").await.unwrap(), None);
    assert_eq!(client.find("", "of-b2").await.unwrap().unwrap().id, "b2");
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
