//! The client against scripted servers.

use futures::FutureExt;
use serde_json::json;

use super::*;
use crate::http::DETAIL_CHARS_MAX;
use crate::http::testing::{Server, Step, chat_body, dead_base_url};

const KEY: &str = "sk-very-secret-0123456789";

fn options(base_url: &str) -> ClientOptions {
    ClientOptions {
        base_urls: vec![base_url.to_owned()],
        api_key: Some(SecretString::from(KEY)),
        clear_text: ClearText::Refused,
        concurrency_max: 2,
        requests_per_minute: 0,
        tokens_per_minute: 0,
        timeout: Duration::from_secs(20),
    }
}

fn endpoint(base_url: &str) -> ChatClient {
    ChatClient::new(&options(base_url)).unwrap()
}

impl ChatClient {
    /// Sends a body in one piece.
    async fn post(&self, body: &serde_json::Value) -> Result<String, CallFailure> {
        let admission = self.admit(1).await;
        self.post_chat(&body.to_string().into(), Delivery::Whole, admission).await
    }

    async fn stream(&self) -> Result<String, CallFailure> {
        let admission = self.admit(1).await;
        self.post_chat(&Bytes::from_static(b"{\"model\":\"m\"}"), Delivery::Stream, admission).await
    }

    fn is_paused(&self) -> bool {
        let now = Instant::now();
        matches!(self.endpoints[0].try_permit(now, 1), Err(Blocked::Until(until)) if until > now)
    }
}

async fn fail_with(step: Step) -> (CallFailure, ChatClient) {
    let server = Server::start(vec![step]);
    let endpoint = endpoint(&server.base_url());
    let failure = endpoint.post(&json!({})).await.unwrap_err();
    (failure, endpoint)
}

#[tokio::test]
async fn a_chat_body_is_posted_with_the_key_and_the_reply_comes_back_unparsed() {
    let server = Server::start(vec![Step::status(200, "\n\n not json")]);
    let endpoint = endpoint(&format!("{}/v1/", server.base_url()));
    let body = json!({"model": "m"});
    assert_eq!(endpoint.post(&body).await.unwrap(), "\n\n not json");
    let seen = server.seen();
    assert!(seen[0].head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", seen[0].head);
    assert!(seen[0].head.to_lowercase().contains(&format!("authorization: bearer {KEY}")));
    assert_eq!(seen[0].body, body.to_string());
}

#[test]
fn base_urls_are_joined_without_assuming_a_version() {
    for (text, base, url) in [
        ("https://api.deepseek.com", "https://api.deepseek.com", "https://api.deepseek.com/chat/completions"),
        (" http://h:8000/v1// ", "http://h:8000/v1", "http://h:8000/v1/chat/completions"),
        ("https://h/v1/chat/completions", "https://h/v1", "https://h/v1/chat/completions"),
    ] {
        let (found_base, found_url) = parse_base_url(text).unwrap();
        assert_eq!((found_base.as_str(), found_url.as_str()), (base, url));
    }
    for text in ["", "api.deepseek.com", "ftp://h", "https://user:pw@h/v1", "https://h/v1?key=secret", "https://h#x"] {
        let error = parse_base_url(text).unwrap_err();
        assert!(!error.to_string().contains("pw") && !error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_rejected_key_is_fatal_and_stands_in_no_output() {
    let echo = format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}","code":"invalid_api_key"}}}}"#);
    let (failure, endpoint) = fail_with(Step::status(401, &echo)).await;
    assert_eq!((failure.class, failure.status), (Class::FatalRun, Some(401)));
    assert_eq!(failure.detail, "HTTP 401 (invalid_api_key): Incorrect API key provided: [redacted]");
    assert!(!format!("{failure:?} {endpoint:?}").contains(KEY));
    assert!(!format!("{:?}", options("http://h")).contains(KEY));
}

#[test]
fn a_key_with_a_line_break_is_refused_without_being_shown() {
    let mut options = options("http://127.0.0.1:1");
    options.api_key = Some(SecretString::from("sk-very\nsecret"));
    let error = ChatClient::new(&options).unwrap_err();
    assert_eq!(error, ClientError::ApiKey);
    assert!(!format!("{error} {error:?}").contains("sk-very"));
}

#[tokio::test]
async fn a_429_with_retry_after_pauses_the_whole_endpoint() {
    let (failure, endpoint) = fail_with(Step::status(429, "{}").header("Retry-After: 90")).await;
    assert_eq!((failure.class, failure.retry_after), (Class::Transient, Some(Duration::from_secs(90))));
    assert!(endpoint.is_paused());
    assert!(endpoint.admit(1).now_or_never().is_none());
}

#[tokio::test]
async fn a_429_about_money_is_fatal_and_pauses_nothing() {
    let body = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota"}}"#;
    let (failure, endpoint) = fail_with(Step::status(429, body).header("Retry-After: 90")).await;
    assert_eq!((failure.class, failure.retry_after), (Class::FatalRun, None));
    assert!(!endpoint.is_paused());
}

#[tokio::test]
async fn both_error_shapes_give_their_message() {
    let nested = r#"{"error":{"message":"bad\nfield","type":"invalid_request_error"}}"#;
    let (failure, _) = fail_with(Step::status(400, nested)).await;
    assert_eq!(failure.class, Class::FatalRequest);
    assert_eq!(failure.detail, "HTTP 400 (invalid_request_error): bad field");
    let flat = r#"{"object":"error","message":"maximum context length","type":"BadRequestError","code":400}"#;
    let (failure, _) = fail_with(Step::status(400, flat)).await;
    assert_eq!(failure.detail, "HTTP 400 (BadRequestError): maximum context length");
    let (failure, _) = fail_with(Step::status(404, "<html>\n not here</html>")).await;
    assert_eq!(
        failure.detail,
        "HTTP 404, check base_url and model: the server knows no such path or model: <html> not here</html>"
    );
    let (failure, _) = fail_with(Step::status(503, &"x".repeat(100_000))).await;
    assert_eq!((failure.class, failure.detail.chars().count()), (Class::Transient, DETAIL_CHARS_MAX));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (failure, _) = fail_with(Step::status(307, "").header("location: http://127.0.0.1:9/x")).await;
    assert_eq!((failure.class, failure.status), (Class::FatalRun, Some(307)));
}

#[tokio::test]
async fn torn_replies_are_transient_and_are_not_sent_twice() {
    for step in [Step::Hang, Step::Torn] {
        let server = Server::start(vec![step, Step::chat("second")]);
        let endpoint = endpoint(&server.base_url());
        let failure = endpoint.post(&json!({})).await.unwrap_err();
        assert_eq!((failure.class, failure.status), (Class::Transient, None), "{failure:?}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let failure = endpoint(&dead_base_url()).post(&json!({})).await.unwrap_err();
    assert_eq!((failure.class, failure.status), (Class::Unreachable, None));
    assert!(failure.detail.to_lowercase().contains("refused"), "{}", failure.detail);
}

#[tokio::test]
async fn a_timeout_after_connecting_is_transient() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = options(&format!("http://{}", listener.local_addr().unwrap()));
    options.timeout = Duration::from_millis(20);
    let failure = ChatClient::new(&options).unwrap().post(&json!({})).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient, "{failure:?}");
}

#[tokio::test]
async fn admissions_are_capped_and_given_back_on_drop() {
    let endpoint = endpoint("http://127.0.0.1:9");
    let first = endpoint.admit(1).now_or_never();
    let second = endpoint.admit(1).now_or_never();
    assert!(first.is_some() && second.is_some());
    assert!(endpoint.admit(1).now_or_never().is_none());
    drop(first);
    assert!(endpoint.admit(1).now_or_never().is_some());
}

#[tokio::test]
async fn a_reply_at_the_size_limit_is_read_and_one_byte_more_is_refused() {
    let at_limit = "x".repeat(REPLY_BYTES_MAX);
    let server = Server::start(vec![Step::status(200, &at_limit), Step::status(200, &(at_limit.clone() + "x"))]);
    let endpoint = endpoint(&server.base_url());
    assert_eq!(endpoint.post(&json!({})).await.unwrap().len(), REPLY_BYTES_MAX);
    assert_eq!(endpoint.post(&json!({})).await.unwrap_err().class, Class::Transient);
}

#[tokio::test]
async fn a_short_placeholder_key_is_left_alone_in_replies() {
    let server = Server::start(vec![Step::chat("none of it")]);
    let mut options = options(&server.base_url());
    options.api_key = Some(SecretString::from("none"));
    let body = ChatClient::new(&options).unwrap().post(&json!({})).await.unwrap();
    assert_eq!(body, chat_body("none of it"));
}

fn client(base_urls: &[String]) -> ChatClient {
    let mut options = options("");
    options.base_urls = base_urls.to_vec();
    ChatClient::new(&options).unwrap()
}

#[tokio::test]
async fn a_request_that_could_not_be_connected_moves_on_to_a_living_endpoint() {
    let server = Server::start((0..6).map(|index| Step::chat(&format!("reply {index}"))).collect());
    let client = client(&[dead_base_url(), server.base_url()]);
    for _ in 0..6 {
        client.post(&json!({})).await.unwrap();
    }
    assert_eq!(server.seen().len(), 6);
    assert_eq!(client.endpoints.iter().filter(|endpoint| endpoint.is_alive()).count(), 1);
}

#[tokio::test]
async fn only_when_all_endpoints_are_dead_a_request_is_unreachable() {
    let client = client(&[dead_base_url(), dead_base_url()]);
    for _ in 0..3 {
        assert_eq!(client.post(&json!({})).await.unwrap_err().class, Class::Unreachable);
    }
}

#[tokio::test]
async fn where_all_endpoints_are_aside_and_full_the_wait_ends_with_the_first_that_may_be_probed() {
    let client = client(&[dead_base_url(), dead_base_url()]);
    while client.has_dead() < 2 {
        assert_eq!(client.post(&json!({})).await.unwrap_err().class, Class::Unreachable);
    }
    let now = Instant::now();
    let mut held = Vec::new();
    let until = loop {
        match client.choose(now, 1) {
            Ok(leave) => held.push(leave),
            Err(until) => break until,
        }
    };
    assert!(!held.is_empty() && until.is_some_and(|until| until > now), "{until:?}");
    // One request probes the endpoint, whatever the number of requests in flight.
    let (endpoint, permit) = client.choose(until.unwrap(), 1).unwrap();
    assert!(matches!(endpoint.try_permit(until.unwrap(), 1), Err(Blocked::Aside(later)) if later > until.unwrap()));
    endpoint.give_back(&permit);
}

#[tokio::test]
async fn an_endpoint_that_fails_again_and_again_is_set_aside_and_probed() {
    let failing = Server::start(vec![Step::status(500, ""); 5].into_iter().chain([Step::chat("back")]).collect());
    let sound = Server::start((0..40).map(|_| Step::chat("sound")).collect());
    let client = client(&[failing.base_url(), sound.base_url()]);
    let mut failures = 0;
    while client.has_dead() == 0 {
        failures += usize::from(client.post(&json!({})).await.is_err());
    }
    assert_eq!((failures, failing.seen().len()), (5, 5));
    for _ in 0..5 {
        client.post(&json!({})).await.unwrap();
    }
    assert_eq!(failing.seen().len(), 5, "it is left alone for a while");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    while client.has_dead() > 0 {
        client.post(&json!({})).await.unwrap();
    }
    assert_eq!(failing.seen().len(), 6, "one request probes it");
}

impl ChatClient {
    fn has_dead(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| !endpoint.is_alive()).count()
    }
}

#[tokio::test]
async fn the_least_loaded_endpoint_is_taken_and_a_paused_one_is_not() {
    let client = client(&["http://127.0.0.1:8".to_owned(), "http://127.0.0.1:9".to_owned()]);
    let held: Vec<Admission> = [client.admit(1).await, client.admit(1).await].into();
    let of = |admission: &Admission| admission.slot.as_ref().unwrap().endpoint.base_url.clone();
    assert_ne!(of(&held[0]), of(&held[1]), "two requests, two endpoints");
    let paused = held[0].slot.as_ref().unwrap().endpoint.clone();
    drop(held);
    paused.pause(Duration::from_secs(3600));
    let held: Vec<Admission> = [client.admit(1).await, client.admit(1).await].into();
    assert!(held.iter().all(|admission| of(admission) != paused.base_url));
    assert!(client.admit(1).now_or_never().is_none());
}

#[tokio::test]
async fn requests_are_let_through_in_the_order_they_came() {
    let client = client(&["http://127.0.0.1:9".to_owned()]);
    let held = [client.admit(1).await, client.admit(1).await];
    let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(client.admit(1))).collect();
    for request in &mut waiting {
        assert!(request.as_mut().now_or_never().is_none());
    }
    drop(held);
    assert!(waiting[3].as_mut().now_or_never().is_none(), "it is not its turn");
    assert!(waiting[0].as_mut().now_or_never().is_some());
}

const STREAM: &str = "content-type: text/event-stream";

#[tokio::test]
async fn a_stream_is_asked_for_and_joined() {
    let events = ": keep-alive\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n\
                  data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let server = Server::start(vec![Step::status(200, events).header(STREAM), Step::chat("whole")]);
    let client = client(&[server.base_url()]);
    let body = client.stream().await.unwrap();
    let choice = crate::http::wire::ChatReply::parse(&body).unwrap().choice.unwrap();
    assert_eq!((choice.content.as_deref(), choice.finish_reason.as_deref()), (Some("a"), Some("stop")));
    let sent: serde_json::Value = serde_json::from_str(&server.seen()[0].body).unwrap();
    assert_eq!(sent, json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}}));
    assert_eq!(client.stream().await.unwrap(), chat_body("whole"), "a server may answer in one piece all the same");
}

#[tokio::test]
async fn a_stream_that_ends_too_early_or_holds_junk_is_transient() {
    let early = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    for events in [early, "", ": keep-alive\n\n", "data: <html>\n\n"] {
        let server = Server::start(vec![Step::status(200, events).header(STREAM)]);
        let failure = client(&[server.base_url()]).stream().await.unwrap_err();
        assert_eq!(failure.class, Class::Transient, "{events}");
    }
}

#[tokio::test]
async fn a_server_with_nothing_left_pauses_its_endpoint_and_nonsense_does_not() {
    let left = |remaining: &str, reset: &str| {
        Step::chat("x")
            .header("x-ratelimit-limit-requests: 60")
            .header(&format!("x-ratelimit-remaining-requests: {remaining}"))
            .header(&format!("x-ratelimit-reset-requests: {reset}"))
    };
    for (remaining, reset, is_paused) in
        [("0", "59m0s", true), ("1", "59m0s", false), ("-1", "0", false), ("0", "-1s", false)]
    {
        let server = Server::start(vec![left(remaining, reset)]);
        let client = client(&[server.base_url()]);
        client.post(&json!({})).await.unwrap();
        assert_eq!(client.is_paused(), is_paused, "{remaining} {reset}");
    }
}

#[tokio::test]
async fn the_servers_word_on_retrying_counts() {
    let (failure, _) = fail_with(Step::status(500, "").header("x-should-retry: false")).await;
    assert_eq!(failure.class, Class::FatalRequest);
    let (failure, _) = fail_with(Step::status(400, "").header("x-should-retry: true")).await;
    assert_eq!(failure.class, Class::Transient);
}

#[tokio::test]
async fn overload_shrinks_concurrency_and_success_lets_it_grow_again() {
    let mut steps = vec![Step::status(503, "").header("retry-after: 0.001")];
    steps.extend((0..8).map(|_| Step::chat("x")));
    let server = Server::start(steps);
    let client = client(&[server.base_url()]);
    client.post(&json!({})).await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let first = client.admit(1).await;
    assert!(client.admit(1).now_or_never().is_none(), "one at a time after an overload");
    drop(first);
    for _ in 0..8 {
        client.post(&json!({})).await.unwrap();
    }
    let _both = [client.admit(1).await, client.admit(1).await];
}

#[tokio::test]
async fn a_key_that_is_echoed_stands_in_no_panic() {
    let echo = format!(r#"{{"error":{{"message":"you sent authorization: Bearer {KEY}"}}}}"#);
    for (status, body) in [(500, echo.as_str()), (400, &format!("you sent {KEY}")), (200, &echo)] {
        let server = Server::start(vec![Step::status(status, body)]);
        let client = client(&[server.base_url()]);
        let result = client.post(&json!({})).await;
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            panic!("{result:?} {client:?} {:?}", options("http://h"));
        }));
        let payload = panic.unwrap_err();
        let text = payload.downcast_ref::<String>().unwrap();
        assert!(text.contains("[redacted]") && !text.contains(KEY), "{text}");
    }
}

#[test]
fn a_key_goes_in_clear_to_this_machine_only_unless_that_is_allowed() {
    let with = |base_url: &str, key: Option<&str>, clear_text: ClearText| {
        let api_key = key.map(SecretString::from);
        ChatClient::new(&ClientOptions { api_key, clear_text, ..options(base_url) }).map(drop)
    };
    for base_url in ["http://example.com/v1", "http://10.0.0.7:8000", "http://127.0.0.1.example.com", "http://gpu1"] {
        let error = with(base_url, Some(KEY), ClearText::Refused).unwrap_err();
        let text = format!("{error} {error:?} {}", error.hint());
        assert!(text.contains("in clear") && text.contains("allow_http") && !text.contains(KEY), "{text}");
        assert_eq!(with(base_url, Some(KEY), ClearText::Allowed), Ok(()));
        assert_eq!(with(base_url, None, ClearText::Refused), Ok(()));
        assert_eq!(with(base_url, Some("  "), ClearText::Refused), Ok(()));
    }
    for base_url in ["https://example.com/v1", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
        assert_eq!(with(base_url, Some(KEY), ClearText::Refused), Ok(()));
    }
    let mixed = ["http://127.0.0.1:1".to_owned(), "http://example.com".to_owned()];
    let error = ChatClient::new(&ClientOptions { base_urls: mixed.to_vec(), ..options("") }).unwrap_err();
    assert!(matches!(error, ClientError::ClearText { .. }), "each address counts");
}

#[tokio::test]
async fn a_key_echoed_in_any_form_is_blotted_out_of_replies_errors_and_fragments() {
    let escaped: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let percent: String = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for form in [KEY.to_owned(), escaped, percent, KEY.to_uppercase(), hex::encode(KEY)] {
        let piece = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        let error = format!("{{\"error\":{{\"message\":\"you sent {form}\"}}}}");
        for step in [
            Step::status(200, &format!("{{\"choices\":[{{\"message\":{{\"content\":\"{form}\"}}}}]}}")),
            Step::status(200, &error),
            Step::status(500, &error),
            Step::status(400, &form),
            Step::status(200, &(piece(&form) + "data: [DONE]\n\n")).header(STREAM),
            Step::status(200, &piece(&form)).header(STREAM),
            Step::status(200, &format!("event: error\ndata: {form}\n\n")).header(STREAM),
        ] {
            let server = Server::start(vec![step.clone()]);
            let shown = format!("{:?}", client(&[server.base_url()]).stream().await);
            assert!(shown.contains("[redacted]"), "{step:?}: {shown}");
            let redactor = Redactor::new(Some(&SecretString::from(KEY)));
            assert!(!redactor.holds(&shown), "{step:?}: {shown}");
        }
    }
    // The pieces of a stream split the key; the joined text holds the whole key.
    let (head, tail) = KEY.split_at(9);
    let cut = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{head}\"}}}}]}}\n\ndata: {{\"choices\":[{{\"delta\":\
         {{\"content\":\"{tail}\"}},\"finish_reason\":\"stop\"}}]}}\n\n"
    );
    let server = Server::start(vec![Step::status(200, &cut).header(STREAM)]);
    let body = client(&[server.base_url()]).stream().await.unwrap();
    assert!(body.contains("\"[redacted]\""), "{body}");
}
