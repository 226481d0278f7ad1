//! The attempt loop against a scripted judge, and the HTTP judge against a scripted server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::cost::Budget;
use super::openai::{OpenAiJudge, OpenAiJudgeError, OpenAiOptions};
use super::prompt::JudgeCase;
use super::*;
use crate::domain::{Mode, ModeReason};
use crate::http::retry::{Backoff, Class, REFUSED_TRIES};
use crate::http::testing::{Server, Step, chat_body, dead_base_url};

const KEY: &str = "sk-very-secret-0123456789";
const TEXT: &str = "Two rates must be combined before a time can be found.";
/// A text that reveals the answer of [`CASE`].
const LEAK: &str = "Two rates must be combined, and the tank is full after 18 hours.";

const CASE: JudgeCase<'static> = JudgeCase {
    question: "One pipe fills a tank in 6 hours, another drains it in 9. When is it full?",
    gold: "18",
    choices: &[],
    mode: Mode::ThinkOn,
    reason: ModeReason::Tie,
    thinking: None,
    answer: "18",
};

/// One dollar per million tokens of every kind.
fn flat_prices() -> cost::Prices {
    let (input_cache_hit, input_cache_miss, output) = (Some(1.0), Some(1.0), Some(1.0));
    cost::Prices { input_cache_hit, input_cache_miss, output, ..cost::Prices::default() }
}

/// The JSON object that an API judge must return.
fn object(text: &str) -> String {
    json!({"analysis": text}).to_string()
}

fn good() -> Step {
    Step::chat(&object(TEXT))
}

/// How an attempt ended, and the detail of a failure.
type Recorded = (Option<AttemptEnd>, String);

/// A journal in memory that also checks the order of the calls.
#[derive(Default)]
struct MemoryJournal {
    attempts: Mutex<BTreeMap<(String, u32), Recorded>>,
}

impl MemoryJournal {
    fn with(request: &JudgeRequest, ends: Vec<Option<AttemptEnd>>) -> Self {
        let journal = Self::default();
        for (attempt, end) in (1..).zip(ends) {
            journal.attempts.lock().unwrap().insert((request.key.clone(), attempt), (end, String::new()));
        }
        journal
    }

    /// How attempts ended, without the error texts.
    fn ends(&self) -> Vec<Option<AttemptEnd>> {
        let wordless = |end: AttemptEnd| match end {
            AttemptEnd::Failed { outcome, status, .. } => AttemptEnd::Failed { outcome, status, detail: String::new() },
            other => other,
        };
        self.attempts.lock().unwrap().values().map(|(end, _)| end.clone().map(wordless)).collect()
    }

    fn dump(&self) -> String {
        format!("{:?}", self.attempts.lock().unwrap())
    }

    fn end(&self, key: &str, attempt: u32, end: AttemptEnd, detail: &str) {
        let mut attempts = self.attempts.lock().unwrap();
        let slot = attempts.get_mut(&(key.to_owned(), attempt)).expect("the attempt has begun");
        assert_eq!(slot.0, None, "an attempt ends once");
        *slot = (Some(end), detail.to_owned());
    }
}

impl Journal for MemoryJournal {
    fn history<'a>(&'a self, key: &'a str) -> BoxFuture<'a, anyhow::Result<Vec<PastAttempt>>> {
        let attempts = self.attempts.lock().unwrap();
        let past = attempts.iter().filter(|((of, _), _)| of == key);
        let history =
            past.map(|((_, attempt), (end, _))| PastAttempt { attempt: *attempt, end: end.clone() }).collect();
        async { Ok(history) }.boxed()
    }

    fn begin<'a>(
        &'a self,
        request: &'a JudgeRequest,
        _: &'a QueryId,
        Attempt { number, .. }: Attempt,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        let earlier = self.attempts.lock().unwrap().insert((request.key.clone(), number), (None, String::new()));
        assert!(earlier.is_none(), "attempt {number} is begun twice");
        async { Ok(()) }.boxed()
    }

    fn reply<'a>(&'a self, key: &'a str, attempt: u32, reply: &'a RawReply) -> BoxFuture<'a, anyhow::Result<()>> {
        self.end(key, attempt, AttemptEnd::Reply(reply.clone()), "");
        async { Ok(()) }.boxed()
    }

    fn failed<'a>(
        &'a self,
        key: &'a str,
        attempt: u32,
        outcome: AttemptOutcome,
        status: Option<u16>,
        detail: &'a str,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        self.end(key, attempt, AttemptEnd::Failed { outcome, status, detail: detail.to_owned() }, detail);
        async { Ok(()) }.boxed()
    }
}

/// A judge whose every call gives the same result.
struct FixedJudge {
    result: Result<String, CallFailure>,
    calls: AtomicUsize,
    cancel_during_call: Option<CancellationToken>,
    kind: JudgeKind,
}

impl FixedJudge {
    fn new(result: Result<String, CallFailure>) -> Self {
        Self { result, calls: AtomicUsize::new(0), cancel_during_call: None, kind: JudgeKind::Api }
    }

    fn failing(class: Class, status: Option<u16>) -> Self {
        Self::new(Err(CallFailure {
            class,
            status,
            retry_after: None,
            detail: "scripted".to_owned(),
            refused: None,
            body: None,
        }))
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Judge for FixedJudge {
    fn identity(&self) -> &str {
        "policy:fixed"
    }

    fn model(&self) -> &str {
        "fixed"
    }

    fn max_tokens(&self) -> u32 {
        MAX_TOKENS_DEFAULT
    }

    fn kind(&self) -> JudgeKind {
        self.kind
    }

    fn extra(&self) -> Option<&Map<String, Value>> {
        None
    }

    fn call<'a>(
        &'a self,
        _: &'a JudgeRequest,
        _: Attempt,
        _: Admission,
    ) -> BoxFuture<'a, Result<RawReply, CallFailure>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(cancel) = &self.cancel_during_call {
            cancel.cancel();
        }
        let result = self.result.clone().map(RawReply::new);
        async {
            tokio::task::yield_now().await;
            result
        }
        .boxed()
    }
}

fn conversation(judge: &dyn Judge, attempts_max: u32) -> Conversation {
    let messages = vec![Message::system("rubric"), Message::user("question")];
    Conversation::with_messages(judge, &CASE, messages, attempts_max)
}

fn request(judge: &dyn Judge) -> JudgeRequest {
    conversation(judge, 1).request().clone()
}

/// Options with this number of attempts.
struct Asked {
    attempts_max: u32,
    options: AskOptions,
}

impl std::ops::Deref for Asked {
    type Target = AskOptions;

    fn deref(&self) -> &AskOptions {
        &self.options
    }
}

impl std::ops::DerefMut for Asked {
    fn deref_mut(&mut self) -> &mut AskOptions {
        &mut self.options
    }
}

fn options(attempts_max: u32) -> Asked {
    let options = AskOptions {
        backoff: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(1) },
        ..AskOptions::new(CancellationToken::new())
    };
    Asked { attempts_max, options }
}

async fn ask_with(judge: &dyn Judge, journal: &dyn Journal, asked: &Asked) -> Result<Judged, AskError> {
    let mut conversation = conversation(judge, asked.attempts_max);
    ask(judge, journal, &QueryId("q1".to_owned()), &mut conversation, &asked.options).await
}

fn text(result: Result<Judged, AskError>) -> String {
    match result {
        Ok(Judged::Accepted(justification)) => justification.text,
        other => panic!("{other:?}"),
    }
}

fn http_judge(base_url: &str) -> OpenAiJudge {
    let mut options = OpenAiOptions::new(base_url, "deepseek-chat");
    options.client.api_key = Some(SecretString::from(KEY));
    OpenAiJudge::new(options).unwrap()
}

async fn ask_server(script: Vec<Step>, attempts_max: u32) -> (Result<Judged, AskError>, MemoryJournal, usize) {
    let server = Server::start(script);
    let journal = MemoryJournal::default();
    let result = ask_with(&http_judge(&server.base_url()), &journal, &options(attempts_max)).await;
    (result, journal, server.seen().len())
}

fn failed(outcome: AttemptOutcome, status: Option<u16>) -> Option<AttemptEnd> {
    Some(AttemptEnd::Failed { outcome, status, detail: String::new() })
}

fn gave_up(result: Result<Judged, AskError>) -> (u32, String) {
    match result {
        Ok(Judged::GaveUp { attempts, detail }) => (attempts, detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_good_reply_is_recorded_raw_and_returned() {
    let (result, journal, requests) = ask_server(vec![good()], 5).await;
    let expected = Justification { text: TEXT.to_owned(), judge_model: "served-model".to_owned() };
    assert_eq!(result.unwrap(), Judged::Accepted(expected));
    assert_eq!(requests, 1);
    assert_eq!(journal.ends(), vec![Some(AttemptEnd::Reply(RawReply::new(chat_body(&object(TEXT)))))]);
}

#[tokio::test]
async fn failures_that_pass_are_retried_until_a_usable_reply() {
    let null_content = r#"{"choices":[{"message":{"content":null,"reasoning":"hm"},"finish_reason":"length"}]}"#;
    let (result, journal, requests) = ask_server(
        vec![
            Step::status(500, "oops"),
            Step::status(429, "{}").header("retry-after-ms: 1"),
            Step::status(200, ""),
            Step::status(200, "\n\n"),
            Step::status(200, "<html>busy</html>"),
            Step::status(200, r#"{"error":{"message":"busy","code":503}}"#),
            Step::status(200, null_content),
            Step::chat("  "),
            Step::Hang,
            Step::Torn,
            Step::status(200, &format!("\n\n\n{}", chat_body(&object(TEXT)))),
        ],
        20,
    )
    .await;
    assert_eq!(text(result), TEXT);
    assert_eq!(requests, 11);
    let ends = journal.ends();
    assert_eq!(ends.len(), 11);
    assert_eq!(ends[0], failed(AttemptOutcome::HttpError, Some(500)));
    assert_eq!(ends[1], failed(AttemptOutcome::HttpError, Some(429)));
    assert_eq!(ends[2], Some(AttemptEnd::Reply(RawReply::new(String::new()))));
    assert_eq!(ends[8], failed(AttemptOutcome::TransportError, None));
    assert_eq!(ends[9], failed(AttemptOutcome::TransportError, None));
}

#[tokio::test]
async fn a_rejected_key_ends_the_run_with_a_hint_and_without_the_key() {
    let body = format!(r#"{{"error":{{"message":"bad key {KEY}"}}}}"#);
    let (result, journal, requests) = ask_server(vec![Step::status(401, &body)], 5).await;
    let error = result.unwrap_err();
    let AskError::FatalRun { message, hint, .. } = &error else { panic!("{error:?}") };
    assert_eq!(message, "HTTP 401: bad key [redacted]");
    assert!(hint.contains("api_key_env"));
    assert_eq!(requests, 1);
    assert_eq!(journal.ends(), vec![failed(AttemptOutcome::Refused, Some(401))]);
    for text in [format!("{error}"), format!("{error:?}"), journal.dump()] {
        assert!(!text.contains(KEY), "{text}");
    }
}

#[tokio::test]
async fn an_empty_account_ends_the_run_in_every_shape() {
    let quota = r#"{"error":{"message":"quota","type":"insufficient_quota"}}"#;
    for step in [Step::status(402, "{}"), Step::status(429, quota), Step::status(200, quota)] {
        let (result, _, requests) = ask_server(vec![step.clone()], 5).await;
        let Err(AskError::FatalRun { hint, .. }) = result else { panic!("{step:?}: {result:?}") };
        assert!(hint.contains("top it up"), "{hint}");
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn a_rejected_request_is_given_up_at_once() {
    let flat = r#"{"object":"error","message":"maximum context length","type":"BadRequestError","code":400}"#;
    let (result, journal, requests) = ask_server(vec![Step::status(400, flat)], 5).await;
    let (attempts, detail) = gave_up(result);
    assert!(attempts == 1 && detail.contains("HTTP 400") && detail.contains("maximum context length"), "{detail}");
    assert_eq!(requests, 1);
    assert_eq!(journal.ends(), vec![failed(AttemptOutcome::Rejected, Some(400))]);
    assert!(journal.dump().contains("maximum context length"));
}

#[tokio::test]
async fn a_model_that_is_not_served_ends_the_run_and_excludes_nothing() {
    let (result, journal, _) = ask_server(vec![Step::status(404, r#"{"detail":"Not Found"}"#)], 5).await;
    let Err(AskError::FatalRun { message, hint, .. }) = result else { panic!("{result:?}") };
    assert!(message.contains("Not Found") && hint.contains("base_url and model"), "{message}; {hint}");
    assert_eq!(journal.ends(), vec![failed(AttemptOutcome::Refused, Some(404))]);
}

/// A reply that its token limit ended before the first sentence was complete.
const CUT_OFF: &str = r#"{"choices":[{"message":{"content":"Two ra"},"finish_reason":"length"}]}"#;

#[tokio::test]
async fn a_reply_that_was_cut_off_is_asked_for_once_more_with_a_larger_limit() {
    let server = Server::start(vec![Step::status(200, CUT_OFF), good()]);
    let journal = MemoryJournal::default();
    let result = ask_with(&http_judge(&server.base_url()), &journal, &options(5)).await;
    assert_eq!(text(result), TEXT);
    let limits: Vec<Value> = server
        .seen()
        .iter()
        .map(|seen| serde_json::from_str::<Value>(&seen.body).unwrap()["max_tokens"].clone())
        .collect();
    assert_eq!(limits, [400, 800]);

    let (result, _, requests) = ask_server(vec![Step::status(200, CUT_OFF); 9], 9).await;
    let (attempts, detail) = gave_up(result);
    assert_eq!((attempts, requests), (2, 2));
    assert!(detail.contains("token limit, and again with a larger one"), "{detail}");
}

#[tokio::test]
async fn a_content_filter_is_not_argued_with() {
    let filtered = r#"{"choices":[{"message":{"content":""},"finish_reason":"content_filter"}]}"#;
    let (result, _, requests) = ask_server(vec![Step::status(200, filtered), good()], 5).await;
    assert_eq!(gave_up(result), (1, "the provider's content filter stopped the reply".to_owned()));
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn identical_requests_in_flight_share_one_call() {
    let judge = FixedJudge::new(Ok(chat_body(&object(TEXT))));
    let (journal, options) = (MemoryJournal::default(), options(5));
    let asks = (0..50).map(|_| ask_with(&judge, &journal, &options));
    for result in futures::future::join_all(asks).await {
        assert_eq!(text(result), TEXT);
    }
    assert_eq!((judge.calls(), journal.ends().len()), (1, 1));
}

#[tokio::test]
async fn a_refused_connection_is_tried_a_few_times_and_counts_for_nothing() {
    let judge = http_judge(&dead_base_url());
    let journal = MemoryJournal::default();
    let error = ask_with(&judge, &journal, &options(2)).await.unwrap_err();
    let AskError::Unreachable { url, hint } = error else { panic!("{error:?}") };
    assert_eq!(url, judge.identity());
    assert!(hint.contains("run the same command again"));
    assert_eq!(journal.ends(), vec![failed(AttemptOutcome::Unreachable, None); 5]);
    // The allowed attempts are all available, and the numbering continues.
    let back = FixedJudge::new(Ok(chat_body(&object(TEXT))));
    let journal = MemoryJournal::with(&request(&back), journal.ends());
    assert_eq!(text(ask_with(&back, &journal, &options(1)).await), TEXT);
    assert_eq!(journal.ends().len(), 6);
}

#[tokio::test]
async fn attempts_are_bounded_over_restarts() {
    let judge = FixedJudge::failing(Class::Transient, Some(500));
    let journal = MemoryJournal::with(
        &request(&judge),
        vec![
            failed(AttemptOutcome::HttpError, Some(500)),
            None,
            Some(AttemptEnd::Reply(RawReply::new("junk".to_owned()))),
        ],
    );
    assert_eq!(gave_up(ask_with(&judge, &journal, &options(5)).await), (5, "scripted".to_owned()));
    assert_eq!(judge.calls(), 3, "the attempt that the process did not survive does not count");
    // No further call is made, whatever happened to the process in between.
    assert_eq!(gave_up(ask_with(&judge, &journal, &options(5)).await), (5, "scripted".to_owned()));
    assert_eq!(judge.calls(), 3, "the attempt that the process did not survive does not count");
}

#[tokio::test]
async fn a_stored_usable_reply_is_returned_without_any_call() {
    let judge = FixedJudge::failing(Class::FatalRun, Some(401));
    let stored = vec![
        failed(AttemptOutcome::HttpError, Some(500)),
        Some(AttemptEnd::Reply(RawReply::new(chat_body(&object(TEXT))))),
    ];
    let journal = MemoryJournal::with(&request(&judge), stored);
    assert_eq!(text(ask_with(&judge, &journal, &options(2)).await), TEXT);
    // Attempts beyond the bound, made under a larger bound, are ignored.
    assert!(matches!(ask_with(&judge, &journal, &options(1)).await, Ok(Judged::GaveUp { attempts: 1, .. })));
    assert_eq!(judge.calls(), 0);
}

#[tokio::test]
async fn cancelling_ends_a_wait_but_not_a_call() {
    // Cancelled before the first attempt: no attempt begins.
    let judge = FixedJudge::new(Ok(chat_body(&object(TEXT))));
    let journal = MemoryJournal::default();
    let stopped = options(5);
    stopped.cancel.cancel();
    assert!(matches!(ask_with(&judge, &journal, &stopped).await, Err(AskError::Cancelled)));
    assert!(journal.ends().is_empty());

    // Cancelled during a call that succeeds: the reply is kept and returned.
    let during = options(5);
    let judge = FixedJudge { cancel_during_call: Some(during.cancel.clone()), ..judge };
    assert_eq!(text(ask_with(&judge, &journal, &during).await), TEXT);
    assert_eq!(journal.ends().len(), 1);

    // Cancelled during a call that fails: the end is recorded, and the long wait after it is skipped.
    let mut during = options(5);
    during.backoff = Backoff { base: Duration::from_secs(1_000_000), cap: Duration::from_secs(1_000_000) };
    let judge = FixedJudge {
        cancel_during_call: Some(during.cancel.clone()),
        ..FixedJudge::failing(Class::Transient, Some(503))
    };
    let journal = MemoryJournal::default();
    assert!(matches!(ask_with(&judge, &journal, &during).await, Err(AskError::Cancelled)));
    assert_eq!(journal.ends(), vec![failed(AttemptOutcome::HttpError, Some(503))]);
}

#[tokio::test]
async fn the_last_failed_attempt_is_not_waited_after() {
    let judge = FixedJudge::failing(Class::Transient, Some(503));
    let mut patient = options(1);
    patient.backoff = Backoff { base: Duration::from_secs(1_000_000), cap: Duration::from_secs(1_000_000) };
    assert_eq!(gave_up(ask_with(&judge, &MemoryJournal::default(), &patient).await).0, 1);
}

#[tokio::test]
async fn a_wish_to_wait_takes_the_place_of_the_backoff() {
    // The back-off alone would take days.
    let server = Server::start(vec![Step::status(503, "").header("retry-after: 0.001"), good()]);
    let mut patient = options(3);
    patient.backoff = Backoff { base: Duration::from_secs(1_000_000), cap: Duration::from_secs(1_000_000) };
    let result = ask_with(&http_judge(&server.base_url()), &MemoryJournal::default(), &patient).await;
    assert_eq!(text(result), TEXT);
}

#[tokio::test]
async fn the_wire_body_and_its_key_cover_everything_that_decides_the_reply() {
    let server = Server::start(vec![good()]);
    let extra = |json: Value| json.as_object().cloned();
    let build = |extra: Option<Map<String, Value>>, model: &str, base_url: &str| {
        OpenAiJudge::new(OpenAiOptions { extra, ..OpenAiOptions::new(base_url, model) }).unwrap()
    };
    let thinking_off = extra(json!({"thinking": {"type": "disabled"}}));
    let judge = build(thinking_off.clone(), "m", &server.base_url());
    let asked = request(&judge);
    let attempt = Attempt { number: 1, cap: Cap::AsAsked };
    judge.call(&asked, attempt, judge.admit(&asked).await).await.unwrap();
    let sent: Value = serde_json::from_str(&server.seen()[0].body).unwrap();
    assert_eq!(
        sent,
        json!({
            "model": "m",
            "messages": [{"role": "system", "content": "rubric"}, {"role": "user", "content": "question"}],
            "max_tokens": 400,
            "temperature": 0.2,
            "response_format": {"type": "json_object"},
            "thinking": {"type": "disabled"},
        })
    );
    assert_eq!(asked.key.len(), 64);
    assert_eq!(asked.key, request(&judge).key);
    for other in [
        build(None, "m", &server.base_url()),
        build(thinking_off.clone(), "m2", &server.base_url()),
        build(thinking_off, "m", "http://127.0.0.1:9"),
    ] {
        assert_ne!(request(&other).key, asked.key);
    }
    let other_prompt = JudgeRequest::new(&judge, &[Message::user("question")]);
    assert_ne!(other_prompt.key, asked.key);
    let completion_tokens = request(&build(extra(json!({"max_completion_tokens": 300})), "m", &server.base_url()));
    assert_eq!(completion_tokens.body.get("max_tokens"), None);
}

#[test]
fn reserved_extra_keys_are_refused_by_name() {
    let extra = json!({"stream": true}).as_object().cloned();
    let error = OpenAiJudge::new(OpenAiOptions { extra, ..OpenAiOptions::new("http://h", "m") }).unwrap_err();
    assert_eq!(error, OpenAiJudgeError::ReservedKey { key: "stream".to_owned() });
}

#[test]
fn canonical_json_does_not_depend_on_key_order() {
    let one: Value = serde_json::from_str(r#"{"b":[1,{"y":null,"x":"\""}],"a":0.2}"#).unwrap();
    let two: Value = serde_json::from_str(r#"{"a":0.2,"b":[1,{"x":"\"","y":null}]}"#).unwrap();
    assert_eq!(canonical(&one), r#"{"a":0.2,"b":[1,{"x":"\"","y":null}]}"#);
    assert_eq!(canonical(&one), canonical(&two));
    assert_eq!(canonical(&json!({"a": {}, "b": [], "c": [[]]})), r#"{"a":{},"b":[],"c":[[]]}"#);
}

#[test]
fn what_stored_attempts_settle_follows_the_table() {
    let reply = |body: &str| Some(AttemptEnd::Reply(RawReply::new(body.to_owned())));
    let history = |ends: &[Option<AttemptEnd>]| -> Vec<PastAttempt> {
        (1..).zip(ends).map(|(attempt, end)| PastAttempt { attempt, end: end.clone() }).collect()
    };
    let judge = FixedJudge::failing(Class::Transient, None);
    let step = |ends: &[Option<AttemptEnd>]| conversation(&judge, 2).advance(&judge, &history(ends));
    let verdict = |ends: &[Option<AttemptEnd>]| match step(ends) {
        super::Step::Call(_) => "open".to_owned(),
        super::Step::Next => "next".to_owned(),
        super::Step::Settled(Judged::Accepted(justification)) => justification.text,
        super::Step::Settled(Judged::GaveUp { attempts, detail }) => format!("{attempts} {detail}"),
        super::Step::Settled(Judged::ServerFell { detail }) => format!("fell: {detail}"),
        super::Step::Settled(Judged::Rejected { rejection, attempts }) => format!("{attempts} {rejection}"),
    };
    let unreachable = failed(AttemptOutcome::Unreachable, None);
    let refused = failed(AttemptOutcome::Refused, Some(429));
    let busy = failed(AttemptOutcome::HttpError, Some(503));
    let quota = reply(r#"{"error":{"type":"insufficient_quota","message":"m"}}"#);
    assert_eq!(verdict(&[]), "open");
    assert_eq!(verdict(&[reply(&chat_body(&object(TEXT)))]), TEXT);
    assert_eq!(verdict(&[busy.clone(), reply(&chat_body(&object(TEXT)))]), TEXT);
    assert_eq!(verdict(&[busy.clone(), busy.clone(), reply(&chat_body(&object(TEXT)))]), "2 HTTP 503");
    let outage = failed(AttemptOutcome::ServerDown, Some(503));
    let forgiven = Some(AttemptEnd::Forgiven);
    // Failures without a fault of the query do not count, a killed process among them.
    let free = [unreachable.clone(), refused, quota, unreachable, outage, forgiven, None, None, None];
    assert_eq!(verdict(&free), "open");
    assert_eq!(verdict(&vec![None; 8]), "open", "kills alone use nothing up");
    assert_eq!(verdict(&[None, failed(AttemptOutcome::ServerFell, None)]), "fell: the server fell");
    assert_eq!(verdict(std::slice::from_ref(&busy)), "open");
    let torn = failed(AttemptOutcome::TransportError, None);
    assert_eq!(verdict(&[busy.clone(), torn.clone()]), "2 no complete reply came");
    assert_eq!(verdict(&[busy.clone(), reply("")]), "2 the reply is blank");
    let words =
        AttemptEnd::Failed { outcome: AttemptOutcome::Rejected, status: Some(422), detail: "too long".to_owned() };
    assert_eq!(verdict(&[Some(words)]), "1 too long");
    // Some refusals are transient.
    let refusal = failed(AttemptOutcome::HttpError, Some(400));
    let refusals = |count: usize| conversation(&judge, 9).advance(&judge, &history(&vec![refusal.clone(); count]));
    assert!(matches!(refusals(REFUSED_TRIES - 1), super::Step::Call(_)));
    assert!(matches!(refusals(REFUSED_TRIES), super::Step::Settled(Judged::GaveUp { attempts: 8, .. })));
    assert_eq!(verdict(&[reply(CUT_OFF)]), "open");
    assert_eq!(verdict(&[reply(CUT_OFF), busy.clone()]), "2 HTTP 503");
    assert_eq!(verdict(&[failed(AttemptOutcome::Rejected, None)]), "1 the request was rejected");
    let leak = reply(&chat_body(&object(LEAK)));
    assert_eq!(verdict(std::slice::from_ref(&leak)), "next");
    assert_eq!(verdict(&[busy.clone(), leak]), "2 leaks_answer");
    let prose = reply(&chat_body(TEXT));
    assert_eq!(verdict(std::slice::from_ref(&prose)), "next");
    assert_eq!(verdict(&[busy, prose]), "2 it holds no object");
    let nameless = json!({"choices": [{"message": {"content": object(TEXT)}, "finish_reason": "stop"}]}).to_string();
    let super::Step::Settled(Judged::Accepted(justification)) = step(&[reply(&nameless)]) else { panic!() };
    assert_eq!(justification.judge_model, "unknown");
}

#[tokio::test]
async fn a_rejected_text_is_shown_to_the_judge_with_the_reason_and_the_next_one_is_taken() {
    let server = Server::start(vec![Step::chat(&object(LEAK)), Step::status(500, ""), good()]);
    let (judge, journal) = (http_judge(&server.base_url()), MemoryJournal::default());
    assert_eq!(text(ask_with(&judge, &journal, &options(3)).await), TEXT);
    let bodies: Vec<Value> = server.seen().iter().map(|seen| serde_json::from_str(&seen.body).unwrap()).collect();
    let messages = |index: usize| bodies[index]["messages"].as_array().unwrap();
    assert_eq!((bodies.len(), messages(0).len(), messages(1).len()), (3, 2, 4));
    assert_eq!(messages(1)[..2], messages(0)[..], "the beginning stays, for the provider's cache");
    assert_eq!(messages(1)[2], json!({"role": "assistant", "content": object(LEAK)}));
    assert!(messages(1)[3]["content"].as_str().unwrap().contains("gives the answer away"));
    assert_eq!(bodies[1], bodies[2]);
    // The same facts lead to the same end without any call.
    let silent = http_judge(&server.base_url());
    assert_eq!(text(ask_with(&silent, &journal, &options(3)).await), TEXT);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn rejections_are_bounded_together_with_all_other_attempts() {
    let server = Server::start(vec![Step::chat(&object(LEAK)), Step::status(500, ""), Step::chat(&object(LEAK))]);
    let (judge, journal) = (http_judge(&server.base_url()), MemoryJournal::default());
    for _ in 0..2 {
        let judged = ask_with(&judge, &journal, &options(3)).await.unwrap();
        assert_eq!(judged, Judged::Rejected { rejection: check::Rejection::LeaksAnswer, attempts: 3 });
        assert_eq!(server.seen().len(), 3);
    }
}

#[tokio::test]
async fn broken_json_is_repaired_once() {
    let (result, _, requests) = ask_server(vec![Step::chat(TEXT), good()], 5).await;
    assert_eq!((text(result).as_str(), requests), (TEXT, 2));
    let (result, _, requests) = ask_server(vec![Step::chat(TEXT), Step::chat("{\"text\": 1}"), good()], 5).await;
    assert_eq!((gave_up(result).0, requests), (2, 2));
}

#[tokio::test]
async fn a_local_judge_replies_with_plain_text_and_is_asked_again_instead_of_told() {
    let judge = FixedJudge { kind: JudgeKind::Local, ..FixedJudge::new(Ok(chat_body(LEAK))) };
    let journal = MemoryJournal::default();
    let judged = ask_with(&judge, &journal, &options(3)).await.unwrap();
    assert_eq!(judged, Judged::Rejected { rejection: check::Rejection::LeaksAnswer, attempts: 3 });
    assert_eq!((judge.calls(), journal.ends().len()), (3, 3));
    let judge = FixedJudge { kind: JudgeKind::Local, ..FixedJudge::new(Ok(chat_body(TEXT))) };
    assert_eq!(text(ask_with(&judge, &MemoryJournal::default(), &options(3)).await), TEXT);
}

#[path = "budget_tests.rs"]
mod budget_tests;
