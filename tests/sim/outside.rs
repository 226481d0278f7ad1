//! What the run meets outside of itself, and what of that outlives its crashes: the event log, the scripted policy and
//! judge with their faults, and the published files on the simulated disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use thinkloom::domain::{FinishReason, Mode};
use thinkloom::http::client::Admission;
use thinkloom::http::retry::Class;
use thinkloom::judge::{Attempt, CallFailure, Cap, Judge, JudgeRequest, RawReply};
use thinkloom::policy::{SampleError, ScriptedCall, ScriptedReply};
use thinkloom::shards::{FileStore, StoredFile};
use tokio::sync::Semaphore;

use crate::disk::{Disk, DiskError};
use crate::random::{Random, hash};

/// Events that a breach is shown with.
const TAIL_EVENTS: usize = 60;

/// What happened, in order.
#[derive(Debug, Default)]
pub struct Log {
    hash: u64,
    /// Events so far.
    pub count: u64,
    tail: VecDeque<String>,
}

/// How often each fault strikes, in a hundred calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Overload, errors, resets, blank replies, and connections that fail.
    pub transient: u64,
    /// The account is refused, which ends the run.
    pub refused: u64,
    /// A call takes minutes.
    pub slow: u64,
}

/// The bounds of a run (I7), and what its slots hold at most (I8).
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Queries whose responses are under way.
    pub sampling_queries: usize,
    /// Judge calls under way.
    pub judge_calls: usize,
    /// Responses that are being sampled.
    pub slots: usize,
}

#[derive(Debug, Default)]
struct InFlight {
    rollouts: BTreeMap<String, usize>,
    judge_calls: usize,
}

#[derive(Debug, Default)]
struct State {
    log: Log,
    random: Option<Random>,
    rates: Rates,
    bounds: Bounds,
    in_flight: InFlight,
    /// Judge calls that reached the server, by request: they may have been charged.
    judge_calls: BTreeMap<String, u32>,
    /// Facts that were acknowledged to the run, by name, with their content.
    acknowledged: BTreeMap<String, String>,
    faults: BTreeMap<&'static str, u64>,
    breaches: Vec<String>,
}

/// The world outside of the process. Clones share it.
#[derive(Clone)]
pub struct Outside {
    state: Arc<Mutex<State>>,
    disk: Arc<Disk>,
    golds: Arc<BTreeMap<String, String>>,
    slots: Arc<Semaphore>,
    judge_slots: Arc<Semaphore>,
}

impl Outside {
    /// Returns the world of a seed; `golds` holds the reference answer of each query.
    pub fn new(seed: u64, disk: Arc<Disk>, golds: BTreeMap<String, String>) -> Self {
        let state = State { random: Some(Random::new(seed, "outside")), ..State::default() };
        Self {
            state: Arc::new(Mutex::new(state)),
            disk,
            golds: Arc::new(golds),
            slots: Arc::new(Semaphore::new(0)),
            judge_slots: Arc::new(Semaphore::new(0)),
        }
    }

    /// Begins a life of the process: nothing of it is under way.
    pub fn begin(&mut self, rates: Rates, bounds: Bounds) {
        let mut state = self.state();
        (state.rates, state.bounds, state.in_flight) = (rates, bounds, InFlight::default());
        drop(state);
        self.slots = Arc::new(Semaphore::new(bounds.slots));
        self.judge_slots = Arc::new(Semaphore::new(bounds.judge_calls));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Logs an event.
    pub fn event(&self, what: &str) {
        let mut state = self.state();
        let log = &mut state.log;
        log.count += 1;
        log.hash = log.hash.rotate_left(5) ^ hash(what);
        if log.tail.len() == TAIL_EVENTS {
            log.tail.pop_front();
        }
        log.tail.push_back(what.to_owned());
    }

    /// Notes that an invariant does not hold.
    pub fn breach(&self, what: String) {
        self.event(&format!("BREACH {what}"));
        self.state().breaches.push(what);
    }

    /// Counts a fault.
    pub fn fault(&self, kind: &'static str) {
        self.event(kind);
        *self.state().faults.entry(kind).or_default() += 1;
    }

    /// Returns what the world has seen: number of events, hash over them with the next random number, faults, breaches.
    pub fn summary(&self) -> (u64, u64, BTreeMap<&'static str, u64>, Vec<String>) {
        let mut state = self.state();
        let drawn = state.random.as_mut().unwrap().next();
        (state.log.count, state.log.hash ^ drawn, state.faults.clone(), state.breaches.clone())
    }

    /// Returns the last events.
    pub fn tail(&self) -> Vec<String> {
        self.state().log.tail.iter().cloned().collect()
    }

    /// Returns the judge calls that reached the server, by request.
    pub fn judge_calls(&self) -> BTreeMap<String, u32> {
        self.state().judge_calls.clone()
    }

    /// Notes a fact that is acknowledged to the run.
    pub fn acknowledge(&self, name: String, content: String) {
        self.event(&format!("acknowledged {name}"));
        self.state().acknowledged.insert(name, content);
    }

    /// Returns all facts that were ever acknowledged.
    pub fn acknowledged(&self) -> BTreeMap<String, String> {
        self.state().acknowledged.clone()
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Random, Rates) -> T) -> T {
        let mut state = self.state();
        let rates = state.rates;
        draw(state.random.as_mut().unwrap(), rates)
    }

    /// Waits as long as a call takes; for ever if the process is dead.
    async fn wait(&self, milliseconds: u64) {
        let slow = self.draw(|random, rates| random.percent(rates.slow).then(|| 60_000 + random.below(240_000)));
        if slow.is_some() {
            self.fault("slow call");
        }
        tokio::time::sleep(Duration::from_millis(slow.unwrap_or(milliseconds))).await;
        self.stay_dead().await;
    }

    /// Waits for ever if the process is dead: nothing that it would do now is seen outside.
    async fn stay_dead(&self) {
        if self.disk.is_crashed() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns a pace of the ledger's writer.
    pub fn pace(&self) -> BoxFuture<'static, ()> {
        let milliseconds = self.draw(|random, _| random.below(8));
        tokio::time::sleep(Duration::from_millis(milliseconds)).boxed()
    }
}

/// A response under way.
struct Sampling<'a>(&'a Outside, String);

impl<'a> Sampling<'a> {
    fn begin(outside: &'a Outside, query: &str) -> Self {
        let mut state = outside.state();
        *state.in_flight.rollouts.entry(query.to_owned()).or_default() += 1;
        let (queries, max) = (state.in_flight.rollouts.len(), state.bounds.sampling_queries);
        drop(state);
        if queries > max {
            outside.breach(format!("I7: responses to {queries} queries are under way, {max} are allowed"));
        }
        Self(outside, query.to_owned())
    }
}

impl Drop for Sampling<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        let left = state.in_flight.rollouts.get_mut(&self.1).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            state.in_flight.rollouts.remove(&self.1);
        }
    }
}

/// How a response turns out: a function of its key alone.
fn response(call: &ScriptedCall, gold: &str) -> ScriptedReply {
    let draw = hash(&call.key.0) >> 8;
    // Some queries are easier with thinking, some without, some for nobody.
    let ease = hash(&call.query_id.0) >> 16;
    let share = match call.mode {
        Mode::ThinkOn => ease % 120,
        Mode::ThinkOff => (ease >> 8) % 110,
    };
    let answer = if draw % 100 < share { gold.to_owned() } else { (draw % 7 + 5).to_string() };
    let length = 3 + (draw >> 7) % 40;
    let thought: String = (0..length).map(|index| format!("step {index} ")).collect();
    let tag = if draw.is_multiple_of(29) { "<think_on>" } else { "" };
    let text = match call.mode {
        Mode::ThinkOn => format!("{thought}\n</think>\n\n{tag}The number is \\boxed{{{answer}}}."),
        Mode::ThinkOff => format!("{tag}The number is \\boxed{{{answer}}}."),
    };
    let finish_reason = if draw.is_multiple_of(31) { FinishReason::Length } else { FinishReason::Stop };
    ScriptedReply { text, finish_reason, completion_tokens: length as u32 * 3 }
}

fn failure(class: Class, status: Option<u16>) -> CallFailure {
    let retry_after = (status == Some(429)).then_some(Duration::from_secs(2));
    CallFailure { class, status, retry_after, detail: format!("{class:?} {status:?}") }
}

/// Samples one response; `can_fail` says whether it comes from a server.
pub fn sample(
    outside: &Outside,
    can_fail: bool,
    call: ScriptedCall,
) -> BoxFuture<'static, Result<ScriptedReply, SampleError>> {
    let outside = outside.clone();
    async move {
        let _under_way = Sampling::begin(&outside, &call.query_id.0);
        let slots = Arc::clone(&outside.slots);
        let _slot = slots.acquire().await.unwrap();
        if outside.slots.available_permits() >= outside.state().bounds.slots {
            outside.breach("I8: a sampled response holds no slot".to_owned());
        }
        let (milliseconds, fails, kind) =
            outside.draw(|random, rates| (random.below(3000), random.percent(rates.transient), random.below(3)));
        outside.wait(milliseconds).await;
        let Some(gold) = outside.golds.get(&call.query_id.0) else {
            outside.breach(format!("a response to {}, which is no query", call.query_id));
            return Err(SampleError::Draining);
        };
        if can_fail && fails {
            let (name, status) =
                [("policy 429", Some(429)), ("policy 500", Some(500)), ("policy reset", None)][kind as usize];
            outside.fault(name);
            return Err(SampleError::Call(failure(Class::Transient, status)));
        }
        outside.event(&format!("sampled {}", call.key));
        Ok(response(&call, gold))
    }
    .boxed()
}

/// A judge behind an API.
pub struct ScriptedJudge {
    outside: Outside,
    extra: Map<String, Value>,
}

impl ScriptedJudge {
    /// Returns the judge of a world.
    pub fn new(outside: &Outside) -> Self {
        Self { outside: outside.clone(), extra: Map::new() }
    }
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

/// What the judge says to a request: a function of the request alone.
fn reply(request: &JudgeRequest, cap: Cap) -> (&'static str, String) {
    let draw = hash(&request.key) >> 8;
    let (kind, content, finish) = match draw % 16 {
        0 => (
            "judge speaks of samples",
            json!({"analysis": "Most samples of this mode passed, and its pass rate is higher."}).to_string(),
            "stop",
        ),
        1 => (
            "judge argues for both modes",
            json!({"analysis": "Step by step reasoning is needed here, but answering directly suits it best."})
                .to_string(),
            "stop",
        ),
        2 => ("judge forgets the JSON", "Here is my analysis.".to_owned(), "stop"),
        3 if cap == Cap::AsAsked => ("judge is cut off", "{\"analysis\": \"The".to_owned(), "length"),
        _ => ("judged", json!({"analysis": text(draw)}).to_string(), "stop"),
    };
    let body = json!({
        "model": "scripted-judge",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 40},
    });
    (kind, body.to_string())
}

impl Judge for ScriptedJudge {
    fn identity(&self) -> &str {
        "https://judge.invalid"
    }

    fn model(&self) -> &str {
        "scripted-judge"
    }

    fn max_tokens(&self) -> u32 {
        200
    }

    fn extra(&self) -> Option<&Map<String, Value>> {
        Some(&self.extra)
    }

    fn call<'a>(
        &'a self,
        request: &'a JudgeRequest,
        attempt: Attempt,
        _: Admission,
    ) -> BoxFuture<'a, Result<RawReply, CallFailure>> {
        async move {
            let outside = &self.outside;
            outside.stay_dead().await;
            let _slot = outside.judge_slots.acquire().await.unwrap();
            let _call = JudgeCall::begin(outside, request, attempt);
            let (milliseconds, is_refused, fails, kind) = outside.draw(|random, rates| {
                let (milliseconds, is_refused) = (random.below(2000), random.percent(rates.refused));
                (milliseconds, is_refused, random.percent(rates.transient), random.below(7))
            });
            if is_refused {
                outside.fault("judge 402");
                return Err(failure(Class::FatalRun, Some(402)));
            }
            if fails && kind == 0 {
                outside.fault("judge unreachable");
                return Err(failure(Class::Unreachable, None));
            }
            *outside.state().judge_calls.entry(request.key.clone()).or_default() += 1;
            outside.wait(milliseconds).await;
            let (name, end) = match kind {
                _ if !fails => {
                    let (name, body) = reply(request, attempt.cap);
                    if name == "judged" {
                        outside.event(&format!("judged {}", request.key));
                    } else {
                        outside.fault(name);
                    }
                    return Ok(RawReply { body });
                }
                1 | 2 => ("judge 429", Err(failure(Class::Transient, Some(429)))),
                3 => ("judge 503", Err(failure(Class::Transient, Some(503)))),
                4 => ("judge reset", Err(failure(Class::Transient, None))),
                5 => ("judge torn reply", Ok(RawReply { body: "{\"choices\": [{\"index\"".to_owned() })),
                _ => ("judge blank reply", Ok(RawReply { body: " ".to_owned() })),
            };
            outside.fault(name);
            end
        }
        .boxed()
    }
}

/// A judge call under way.
struct JudgeCall<'a>(&'a Outside);

impl<'a> JudgeCall<'a> {
    fn begin(outside: &'a Outside, request: &JudgeRequest, attempt: Attempt) -> Self {
        outside.event(&format!("judge call {} attempt {}", request.key, attempt.number));
        let name = format!("judge_attempt {} {}", request.key, attempt.number);
        let mut state = outside.state();
        state.in_flight.judge_calls += 1;
        let (calls, max) = (state.in_flight.judge_calls, state.bounds.judge_calls);
        let is_recorded = state.acknowledged.contains_key(&name);
        drop(state);
        if calls > max {
            outside.breach(format!("I7: {calls} judge calls are under way, {max} are allowed"));
        }
        if !is_recorded {
            outside.breach(format!("I5: {name} is made before it is recorded"));
        }
        Self(outside)
    }
}

impl Drop for JudgeCall<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight.judge_calls -= 1;
    }
}

/// The published files on the simulated disk.
pub struct SimulatedFiles(pub Outside);

impl std::fmt::Debug for SimulatedFiles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SimulatedFiles")
    }
}

fn system_error(error: DiskError) -> std::io::Error {
    use std::io::ErrorKind;
    match error {
        DiskError::Full => ErrorKind::StorageFull.into(),
        DiskError::Missing => ErrorKind::NotFound.into(),
        DiskError::Io | DiskError::Crashed => std::io::Error::other("the device failed"),
    }
}

impl SimulatedFiles {
    /// Writes as the real store does: staged, synced, renamed, names synced; others may run between any two steps.
    async fn put_steps(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let disk = &self.0.disk;
        let staged = format!("{name}#1");
        let file = disk.create(&staged)?;
        for (index, part) in bytes.chunks(4096).enumerate() {
            disk.write(file, index * 4096, part)?;
        }
        tokio::task::yield_now().await;
        disk.sync(file)?;
        tokio::task::yield_now().await;
        disk.rename(&staged, name)?;
        tokio::task::yield_now().await;
        disk.sync_names()
    }
}

impl FileStore for SimulatedFiles {
    fn put<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<(), object_store::Error>> {
        async move {
            let result = self.put_steps(name, &bytes).await;
            self.0.stay_dead().await;
            self.0.event(&format!("put {name}: {result:?}"));
            result.map_err(|error| object_store::Error::Generic { store: "disk", source: system_error(error).into() })
        }
        .boxed()
    }

    fn open(&self, name: &str) -> std::io::Result<StoredFile> {
        let disk = &self.0.disk;
        let bytes = disk.find(name).and_then(|file| disk.bytes(file)).ok_or(DiskError::Missing);
        bytes.map(|bytes| StoredFile::Memory(bytes.into())).map_err(system_error)
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.event(&format!("rename {from} to {to}"));
        self.0.disk.rename(from, to).map_err(system_error)
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.0.event(&format!("remove {name}"));
        self.0.disk.remove(name).map_err(system_error)
    }
}

/// Returns the names of published files on a disk.
pub fn published(disk: &Disk) -> BTreeSet<String> {
    let is_other = |name: &String| name.starts_with("ledger.sqlite") || name.starts_with("temporary-");
    let is_published = |name: &String| !is_other(name) && !name.contains('#');
    disk.names().into_iter().filter(is_published).collect()
}
