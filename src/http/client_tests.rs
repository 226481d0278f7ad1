//! The client against scripted servers.

use futures::FutureExt;
use serde_json::json;

use super::*;
use crate::http::testing::{Server, Step, chat_body, dead_base_url};

const KEY: &str = "sk-very-secret-0123456789";

fn options(base_url: &str) -> ClientOptions {
    ClientOptions {
        base_urls: vec![base_url.to_owned()],
        api_key: Some(SecretString::from(KEY)),
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
