//! The servers of policy and judge, connected by channels: the real clients send requests and read replies over byte
//! streams, which the seed cuts, delays, tears or makes endless.
//!
//! The content of a reply depends on the request alone; its delivery depends on the seed. An outage of a server
//! affects all requests at once, probes too, and ends later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::StreamExt;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use serde_json::{Map, Value, json};
use thinkloom::domain::FinishReason;
use thinkloom::http::CallFailure;
use thinkloom::http::breaker::Probe;
use thinkloom::http::carrier::{Carrier, Incoming, Lost, Outgoing};
use thinkloom::http::client::{Admission, ChatClient};
use thinkloom::http::left_out::Recorder;
use thinkloom::http::retry::Evidence;
use thinkloom::judge::openai::{OpenAiJudge, OpenAiOptions};
use thinkloom::judge::{Attempt, Cap, Judge, JudgeRequest, RawReply};
use tokio::sync::OwnedSemaphorePermit;

use crate::outside::{Asked, Outside, Sampling, response};
use crate::random::{Random, hash};
use crate::scenario::Bug;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The policy's.
    Policy,
    /// The judge's.
    Judge,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Judge => "judge",
        }
    }
}

/// The way to a server.
pub struct Channel {
    outside: Outside,
    side: Side,
    /// Token limit of a judge's reply that was not cut off before.
    tokens_max: u32,
    bug: Bug,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Channel({:?})", self.side)
    }
}

impl Channel {
    /// Returns a way to the policy's server.
    pub fn to_policy(outside: &Outside, bug: Bug) -> Arc<dyn Carrier> {
        Arc::new(Self { outside: outside.clone(), side: Side::Policy, tokens_max: 0, bug })
    }

    /// Returns a way to the judge's server.
    fn to_judge(outside: &Outside, tokens_max: u32, bug: Bug) -> Arc<dyn Carrier> {
        Arc::new(Self { outside: outside.clone(), side: Side::Judge, tokens_max, bug })
    }
}

/// What strikes one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The account is refused, which ends the run.
    Refused,
    /// No connection can be made.
    Unreachable,
    /// A status, with nothing in the body that helps.
    Status(u16),
    /// The connection is reset before anything came.
    Reset,
    /// Nothing but white space comes.
    Blank,
    /// The reply's bytes end early, as if that were all.
    Torn,
    /// The connection is reset amid the reply.
    ResetAmid,
    /// Signs of life come, and nothing else, for ever.
    Endless,
    /// The rest comes after everybody has gone.
    Late,
    /// An error event stands in the stream.
    ErrorEvent,
}

const FAULTS: &[Fault] = &[
    Fault::Unreachable,
    Fault::Status(429),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Reset,
    Fault::Blank,
    Fault::Torn,
    Fault::Torn,
    Fault::ResetAmid,
    Fault::ResetAmid,
    Fault::Endless,
    Fault::Late,
    Fault::ErrorEvent,
];

impl Fault {
    fn name(self, side: Side) -> &'static str {
        let names = match self {
            Self::Refused => ["policy 402", "judge 402"],
            Self::Unreachable => ["policy unreachable", "judge unreachable"],
            Self::Status(429) => ["policy 429", "judge 429"],
            Self::Status(500) => ["policy 500", "judge 500"],
            Self::Status(_) => ["policy 503", "judge 503"],
            Self::Reset => ["policy reset", "judge reset"],
            Self::Blank => ["policy blank reply", "judge blank reply"],
            Self::Torn => ["policy torn reply", "judge torn reply"],
            Self::ResetAmid => ["policy reset amid a reply", "judge reset amid a reply"],
            Self::Endless => ["policy endless reply", "judge endless reply"],
            Self::Late => ["policy late reply", "judge late reply"],
            Self::ErrorEvent => ["policy error in the reply", "judge error in the reply"],
        };
        names[usize::from(side == Side::Judge)]
    }
}

fn lost(evidence: Evidence<'static>, detail: &str) -> Lost {
    Lost { evidence, detail: detail.to_owned() }
}

impl Carrier for Channel {
    fn send(&self, request: Outgoing) -> BoxFuture<'static, Result<Incoming, Lost>> {
        let server = Self { outside: self.outside.clone(), ..*self };
        async move { server.answer(request).await }.boxed()
    }
}

impl Channel {
    async fn answer(self, request: Outgoing) -> Result<Incoming, Lost> {
        let (outside, side) = (&self.outside, self.side);
        outside.stay_dead().await;
        outside.event(&format!("{} asked", side.name()));
        let mut body: Map<String, Value> = serde_json::from_slice(&request.body).unwrap();
        let is_streamed = body.remove("stream") == Some(Value::Bool(true));
        body.remove("stream_options");
        let asked = Value::Object(body.clone()).to_string();
        let is_probe = asked.contains("Reply with OK.");
        if let Some(kind) = outside.outage(side) {
            outside.wait(20).await;
            return away(kind);
        }
        if is_probe {
            // Never late: a server that is slow to answer a probe is taken for one that has fallen.
            tokio::time::sleep(Duration::from_millis(20)).await;
            outside.stay_dead().await;
            let reply = chat_reply(&body, json!({"role": "assistant", "content": "OK"}), "length", [9, 1]);
            return Ok(incoming(200, false, portions_of(vec![reply.to_string().into_bytes()])));
        }
        let (reply, holds) = match side {
            Side::Policy => self.respond(&body, &asked).await,
            Side::Judge => self.judge(&body, &asked).await,
        };
        let fault = outside.draw(|random, rates| {
            let is_refused = side == Side::Judge && random.percent(rates.refused);
            let struck = random.percent(rates.transient);
            let fault = FAULTS[random.below(FAULTS.len() as u64) as usize];
            if is_refused { Some(Fault::Refused) } else { Some(fault).filter(|_| struck) }
        });
        if let Some(fault) = fault {
            outside.fault(fault.name(side));
        }
        match fault {
            Some(Fault::Refused) => return status(402, None),
            Some(Fault::Unreachable) => return Err(lost(Evidence::NotConnected, "nobody listens")),
            _ => outside.reached(&asked),
        }
        let latest_ms = if side == Side::Policy { outside.machine.policy_ms } else { outside.machine.judge_ms };
        let milliseconds = outside.draw(|random, _| random.below(latest_ms));
        outside.wait(milliseconds / 2).await;
        match fault {
            Some(Fault::Status(429)) => return status(429, Some("2")),
            Some(Fault::Status(code)) => return status(code, None),
            Some(Fault::Reset) => return Err(lost(Evidence::Interrupted, "connection reset")),
            _ => {}
        }
        let (bytes, end) = if is_streamed {
            self.stream_of(&reply, fault)
        } else {
            let bytes = reply.to_string().into_bytes();
            let end = bytes.len();
            (bytes, end)
        };
        let portions = self.arrival(bytes, end, fault, milliseconds / 2);
        Ok(Incoming { body: arriving(outside, portions, holds), ..incoming(200, is_streamed, Portions::new()) })
    }

    /// What the policy says, and what the request holds while it is under way.
    async fn respond(&self, body: &Map<String, Value>, asked: &str) -> (Value, Holds) {
        let outside = &self.outside;
        let query = outside.query_of(asked);
        let sampling = Sampling::begin(outside, &query);
        if outside.slots.available_permits() == 0 && !outside.machine.is_shared {
            outside.breach("I7: more responses are asked for at once than policy.concurrency allows".to_owned());
        }
        let slot = Arc::clone(&outside.slots).acquire_owned().await.unwrap();
        let gold = outside.golds.get(&query).cloned().unwrap_or_else(|| {
            outside.breach(format!("a response to {query}, which is no query"));
            String::new()
        });
        let thinks = body["chat_template_kwargs"]["enable_thinking"] == true;
        let scripted = response(Asked { key: asked, query: &query, thinks }, &gold);
        let (thought, answer) = scripted.text.split_once("\n</think>\n\n").unwrap_or(("", &scripted.text));
        let mut message = json!({"role": "assistant", "content": answer});
        if thinks {
            message["reasoning_content"] = json!(thought);
        }
        let finish = if scripted.finish_reason == FinishReason::Length { "length" } else { "stop" };
        let reply = chat_reply(body, message, finish, [60, u64::from(scripted.completion_tokens)]);
        (reply, Holds { _sampling: Some(sampling), _slot: Some(slot) })
    }

    async fn judge(&self, body: &Map<String, Value>, asked: &str) -> (Value, Holds) {
        let outside = &self.outside;
        let is_shared = outside.machine.is_shared;
        let slot = if is_shared { Arc::clone(&outside.slots).acquire_owned().await.ok() } else { None };
        let is_raised = body["max_tokens"].as_u64() > Some(u64::from(self.tokens_max));
        let (kind, content, finish) = judgement(&body["messages"].to_string(), is_raised);
        if kind == "judged" {
            outside.event(&format!("judged {:x}", hash(asked)));
        } else {
            outside.fault(kind);
        }
        let message = json!({"role": "assistant", "content": content});
        (chat_reply(body, message, finish, [300, 40]), Holds { _sampling: None, _slot: slot })
    }

    /// Writes a reply as server-sent events, in one of the ways that servers do; says too where the event begins with which
    /// the reply is whole.
    fn stream_of(&self, reply: &Value, fault: Option<Fault>) -> (Vec<u8>, usize) {
        let mut random = self.outside.draw(|random, _| Random::new(random.next(), "stream"));
        let (choice, end) = (&reply["choices"][0], ["\n", "\r\n", "\r"][random.below(3) as usize]);
        let chunk =
            |choices: Value| json!({"object": "chat.completion.chunk", "model": reply["model"], "choices": choices});
        let mut events = vec![chunk(json!([{"index": 0, "delta": {"role": "assistant"}, "finish_reason": null}]))];
        for field in ["reasoning_content", "content"] {
            for piece in pieces(choice["message"][field].as_str().unwrap_or_default(), &mut random) {
                events.push(chunk(json!([{"index": 0, "delta": {field: piece}, "finish_reason": null}])));
            }
        }
        if fault == Some(Fault::ErrorEvent) {
            events.push(json!({"error": {"message": "the engine fell over", "code": 500}}));
            events.drain(1..1 + random.below(events.len() as u64 - 1) as usize);
        } else {
            events.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}])));
            let mut usage = chunk(json!([]));
            usage["usage"] = reply["usage"].clone();
            events.push(usage);
        }
        let (mut text, mut whole_from) = (String::new(), 0);
        for event in events {
            if event["choices"][0]["delta"] == json!({}) {
                whole_from = text.len();
            }
            if random.percent(10) {
                text += &format!(": keep-alive{end}{end}");
            }
            text += &format!("data:{}{event}{end}{end}", if random.percent(50) { " " } else { "" });
        }
        // Some servers close the connection instead.
        if random.percent(80) {
            text += &format!("data: [DONE]{end}{end}");
        }
        let end = if whole_from == 0 { text.len() } else { whole_from };
        (text.into_bytes(), end)
    }

    /// Cuts a body into portions and says when each comes, or what comes instead of it; what is lost is part of the first
    /// `end` bytes, without which the reply is not whole.
    fn arrival(&self, mut bytes: Vec<u8>, end: usize, fault: Option<Fault>, milliseconds: u64) -> Portions {
        let mut random = self.outside.draw(|random, _| Random::new(random.next(), "arrival"));
        if fault == Some(Fault::Blank) {
            bytes = b" \n".to_vec();
        }
        let cut = random.below(end.min(bytes.len()) as u64) as usize;
        if matches!(fault, Some(Fault::Torn | Fault::ResetAmid | Fault::Endless)) {
            bytes.truncate(cut);
        }
        // The bug that reads the end of a stream as the end of its reply.
        if fault == Some(Fault::Torn) && self.bug == Bug::EndIsDone && bytes.starts_with(b"data:") {
            let begun = bytes.windows(5).rposition(|part| part == b"data:").unwrap_or(0);
            bytes.truncate(begun);
            bytes.extend_from_slice(b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
            bytes.extend_from_slice(b"data: [DONE]\n\n");
        }
        let count = 1 + random.below(5);
        let pause = Duration::from_millis(milliseconds / count);
        let mut portions: Portions =
            cut_up(&bytes[..end.min(bytes.len())], count, &mut random).map(|part| (pause, Ok(part))).collect();
        // What comes behind a reply comes right behind it.
        let behind = bytes.get(end..).unwrap_or_default();
        portions.extend(cut_up(behind, 2, &mut random).map(|part| (Duration::from_millis(20), Ok(part))));
        match fault {
            Some(Fault::ResetAmid) => portions.push_back((pause, Err(lost(Evidence::Interrupted, "connection reset")))),
            Some(Fault::Late) => {
                let rest = bytes.split_off(cut);
                portions =
                    VecDeque::from([(pause, Ok(bytes.into())), (Duration::from_secs(24 * 3600), Ok(rest.into()))]);
            }
            Some(Fault::Endless) => {
                let alive = || (Duration::from_secs(5), Ok(Bytes::from_static(b": alive\n\n")));
                portions.extend(std::iter::repeat_with(alive).take(24 * 720));
            }
            _ => {}
        }
        portions
    }
}

/// Cuts bytes into so many parts, some of them empty.
fn cut_up<'a>(bytes: &'a [u8], count: u64, random: &mut Random) -> impl Iterator<Item = Bytes> + use<'a> {
    let mut cuts: Vec<usize> = (1..count).map(|_| random.below(bytes.len() as u64 + 1) as usize).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let parts: Vec<Bytes> = cuts.windows(2).map(|cut| Bytes::copy_from_slice(&bytes[cut[0]..cut[1]])).collect();
    parts.into_iter()
}

/// What a request holds until its reply is over.
struct Holds {
    _sampling: Option<Sampling>,
    _slot: Option<OwnedSemaphorePermit>,
}

/// What comes of a body, and how long after what came before.
type Portions = VecDeque<(Duration, Result<Bytes, Lost>)>;

fn portions_of(bodies: Vec<Vec<u8>>) -> Portions {
    bodies.into_iter().map(|body| (Duration::ZERO, Ok(body.into()))).collect()
}

/// Sends portions at their times, while the process lives.
fn arriving(
    outside: &Outside,
    portions: Portions,
    holds: Holds,
) -> futures::stream::BoxStream<'static, Result<Bytes, Lost>> {
    let state = (outside.clone(), portions, holds);
    let stream = futures::stream::unfold(state, |(outside, mut portions, holds)| async move {
        let (pause, portion) = portions.pop_front()?;
        tokio::time::sleep(pause).await;
        outside.stay_dead().await;
        outside.event("portion");
        outside.stay_dead().await;
        Some((portion, (outside, portions, holds)))
    });
    stream.boxed()
}

fn incoming(status: u16, is_streamed: bool, portions: Portions) -> Incoming {
    let kind = if is_streamed { "text/event-stream; charset=utf-8" } else { "application/json" };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
    let body = futures::stream::iter(portions.into_iter().map(|(_, portion)| portion)).boxed();
    Incoming { status: StatusCode::from_u16(status).unwrap(), headers, body, deadline: None }
}

fn status(code: u16, retry_after: Option<&'static str>) -> Result<Incoming, Lost> {
    let mut reply = incoming(code, false, portions_of(vec![b"{\"error\":{\"message\":\"not now\"}}".to_vec()]));
    if let Some(seconds) = retry_after {
        reply.headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    Ok(reply)
}

/// Names of the ways in which a server is away.
pub const OUTAGES: [&str; 5] =
    ["outage: 502", "outage: 503 loading", "outage: an HTML page", "outage: unreachable", "outage: 429 for long"];

/// What a server that is away says, by the index of its outage's name.
fn away(kind: usize) -> Result<Incoming, Lost> {
    match kind {
        0 => status(502, None),
        1 => status(503, Some("1")),
        2 => Ok(incoming(200, false, portions_of(vec![b"<html><body>Bad gateway</body></html>".to_vec()]))),
        3 => Err(lost(Evidence::NotConnected, "connection refused")),
        _ => status(429, Some("30")),
    }
}

fn chat_reply(body: &Map<String, Value>, message: Value, finish: &str, [prompt, completion]: [u64; 2]) -> Value {
    json!({
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    })
}

/// Splits a text at character boundaries.
fn pieces(text: &str, random: &mut Random) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let mut rest = letters.as_slice();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((1 + random.below(80) as usize).min(rest.len()));
        found.push(piece.iter().collect());
        rest = after;
    }
    found
}

/// Parts of texts that pass all checks and say something of the question. There are enough texts for every query, and few
/// enough that some nearly repeat another query's.
const OPENINGS: &[&str] = &[
    "The card is named outright",
    "What the question wants is a single number",
    "The row of cards fixes what is asked for",
    "Only the place of the card is given",
    "A number belongs to every card here",
    "The wording leaves one card to look at",
    "Whoever reads it has to find the card",
    "The cards stand in a fixed order",
];
const MIDDLES: &[&str] = &[
    "so what matters is how its number relates to the others",
    "and it hangs on where the card stands among its neighbours",
    "while nothing else in the question bears on it",
    "which one look at the row makes plain",
    "and the numbers repeat after every fourth card",
    "so that a rule for the whole row is called for",
    "though the remainder has to be worked out",
    "and a slip of one place spoils the result",
];
const ENDINGS: &[&str] = &[
    "in a short chain of steps.",
    "before anything can be said.",
    "without any further fact.",
    "however long the row may be.",
    "once the pattern is seen.",
    "as in a children's game.",
    "from the first card on.",
    "by counting around.",
];

/// Returns a text that depends on all of `draw`.
fn text(draw: u64) -> String {
    let part = |parts: &[&'static str], shift: u32| parts[(draw >> shift) as usize % parts.len()];
    format!("{}, {} {}", part(OPENINGS, 8), part(MIDDLES, 16), part(ENDINGS, 24))
}

/// What the judge says to messages: a function of them and of the token limit alone.
fn judgement(messages: &str, is_raised: bool) -> (&'static str, String, &'static str) {
    let draw = hash(messages) >> 8;
    let analysis = |text: &str| json!({"analysis": text}).to_string();
    match draw % 16 {
        0 => {
            let text = "Most samples of this mode passed, and its pass rate is higher.";
            ("judge speaks of samples", analysis(text), "stop")
        }
        1 => {
            let text = "Step by step reasoning is needed here, but answering directly suits it best.";
            ("judge argues for both modes", analysis(text), "stop")
        }
        2 => ("judge forgets the JSON", "Here is my analysis.".to_owned(), "stop"),
        3 if !is_raised => ("judge is cut off", "{\"analysis\": \"The".to_owned(), "length"),
        _ => ("judged", analysis(&text(draw)), "stop"),
    }
}

/// The real judge of an API, whose calls the world watches.
pub struct WatchedJudge {
    outside: Outside,
    judge: OpenAiJudge,
}

impl WatchedJudge {
    /// Returns the judge of a world.
    pub fn new(outside: &Outside, options: OpenAiOptions, bug: Bug) -> Self {
        let tokens_max = options.max_tokens;
        let channel = |_: &reqwest::Url| Ok(Channel::to_judge(outside, tokens_max, bug));
        let judge = OpenAiJudge::over(options, |options| ChatClient::over(options, channel)).unwrap();
        Self { outside: outside.clone(), judge }
    }
}

impl Judge for WatchedJudge {
    fn identity(&self) -> &str {
        self.judge.identity()
    }

    fn model(&self) -> &str {
        self.judge.model()
    }

    fn max_tokens(&self) -> u32 {
        self.judge.max_tokens()
    }

    fn temperature(&self) -> f64 {
        self.judge.temperature()
    }

    fn extra(&self) -> Option<&Map<String, Value>> {
        self.judge.extra()
    }

    fn wire_text(&self, request: &JudgeRequest, cap: Cap) -> Bytes {
        self.judge.wire_text(request, cap)
    }

    fn left_out(&self) -> Vec<String> {
        self.judge.left_out()
    }

    fn heed(&self, failure: CallFailure) -> BoxFuture<'_, Result<(), CallFailure>> {
        self.judge.heed(failure)
    }

    fn remember(&self, refused: Vec<String>, recorder: Option<Recorder>) {
        self.judge.remember(refused, recorder);
    }

    fn admit<'a>(&'a self, request: &'a JudgeRequest) -> BoxFuture<'a, Admission> {
        self.judge.admit(request)
    }

    fn probe(&self) -> Option<Probe> {
        self.judge.probe()
    }

    fn call<'a>(
        &'a self,
        request: &'a JudgeRequest,
        attempt: Attempt,
        admission: Admission,
    ) -> BoxFuture<'a, Result<RawReply, CallFailure>> {
        async move {
            let outside = &self.outside;
            outside.stay_dead().await;
            let _call = JudgeCall::begin(outside, request, attempt);
            let wire: Value = serde_json::from_slice(&self.wire_text(request, attempt.cap)).unwrap();
            outside.expect(wire.to_string(), &request.key);
            let result = self.judge.call(request, attempt, admission).await;
            outside.stay_dead().await;
            outside.returned(&request.key, attempt.number);
            result
        }
        .boxed()
    }
}

/// A judge call under way.
struct JudgeCall<'a>(&'a Outside);

impl<'a> JudgeCall<'a> {
    fn begin(outside: &'a Outside, request: &JudgeRequest, attempt: Attempt) -> Self {
        outside.event(&format!("judge call {} attempt {}", request.key, attempt.number));
        outside.judge_call_begins(&format!("judge_attempt {} {}", request.key, attempt.number));
        Self(outside)
    }
}

impl Drop for JudgeCall<'_> {
    fn drop(&mut self) {
        self.0.judge_call_ends();
    }
}
