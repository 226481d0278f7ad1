//! The world outside the run, which survives its crashes: the event log, the responses, the servers' outages, and the
//! published files on the simulated disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use thinkloom::domain::{FinishReason, Mode};
use thinkloom::policy::{SampleError, ScriptedCall, ScriptedReply};
use thinkloom::shards::{FileStore, StoredFile};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::disk::{Disk, DiskError};
use crate::random::{Random, hash};
use crate::servers::{OUTAGES, Side};

/// Events that a breach is shown with.
const TAIL_EVENTS: usize = 60;
/// Simulated time in which something happens, unless the run is stuck: no call and no wait takes longer.
const STILL_MAX: Duration = Duration::from_secs(6 * 3600);
/// Simulated time that a life takes at most.
const LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// What happened, in order.
#[derive(Debug, Default)]
pub struct Log {
    hash: u64,
    /// Events so far.
    pub count: u64,
    tail: VecDeque<String>,
}

impl Log {
    fn add(&mut self, what: &str) {
        self.count += 1;
        self.hash = self.hash.rotate_left(5) ^ hash(what);
        if self.tail.len() == TAIL_EVENTS {
            self.tail.pop_front();
        }
        self.tail.push_back(what.to_owned());
    }
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
    /// A server goes away for some minutes.
    pub outage: u64,
    /// How often one may in a life. Fewer than make a query suspect: who is asked alone when a server goes away of its own
    /// is given up, and rightly so.
    pub outages_max: u32,
    /// Outages last for longer than a run waits.
    pub is_long: bool,
}

/// When the process is killed or asked to stop: at the n-th event of its life.
#[derive(Debug, Clone, Default)]
pub struct Moments {
    /// A kill.
    pub kill: Option<u64>,
    /// A request to stop, and what it is told to.
    pub stop: Option<(u64, CancellationToken)>,
}

/// A server is away.
#[derive(Debug, Clone, Copy)]
struct Outage {
    kind: usize,
    until: Instant,
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

/// How fast a world is, and how much may wait in it. What takes time takes less than the milliseconds that are stated.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// A response.
    pub policy_ms: u64,
    /// A judge call.
    pub judge_ms: u64,
    /// A commit, or a look-up of attempts.
    pub commit_ms: u64,
    /// A piece of blocking work: a read, verdicts, a shard.
    pub work_ms: u64,
    /// Reads of the ledger at once.
    pub reads_max: usize,
    /// Commits, and look-ups, that may wait.
    pub queue_max: usize,
    /// Whether one server serves as policy and as judge, so that both share its slots.
    pub is_shared: bool,
}

impl Default for Machine {
    fn default() -> Self {
        let (policy_ms, judge_ms, commit_ms, work_ms) = (3000, 2000, 8, 8);
        Self { policy_ms, judge_ms, commit_ms, work_ms, reads_max: 8, queue_max: 256, is_shared: false }
    }
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
    /// The keys of judge requests, by their bodies.
    requests: BTreeMap<String, String>,
    /// Judge calls that came to an end while the process lived: `key attempt`.
    returned: BTreeSet<String>,
    /// What is away, by side.
    outages: [Option<Outage>; 2],
    /// Outages of this life.
    outages_seen: u32,
    moments: Moments,
    /// Events of this life.
    life_events: u64,
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
    /// Reference answers, by query.
    pub golds: Arc<BTreeMap<String, String>>,
    /// How fast it is.
    pub machine: Machine,
    /// What the policy's server, or the engine, does at once.
    pub slots: Arc<Semaphore>,
}

impl Outside {
    /// Returns the world of a seed; `golds` holds the reference answer of each query.
    pub fn new(seed: u64, machine: Machine, disk: Arc<Disk>, golds: BTreeMap<String, String>) -> Self {
        let state = State { random: Some(Random::new(seed, "outside")), ..State::default() };
        Self {
            state: Arc::new(Mutex::new(state)),
            disk,
            golds: Arc::new(golds),
            machine,
            slots: Arc::new(Semaphore::new(0)),
        }
    }

    /// Begins a life of the process: nothing of it is under way.
    pub fn begin(&mut self, rates: Rates, bounds: Bounds, moments: Moments) {
        let mut state = self.state();
        (state.rates, state.bounds, state.in_flight) = (rates, bounds, InFlight::default());
        (state.outages, state.outages_seen) = ([None; 2], 0);
        (state.moments, state.life_events) = (moments, 0);
        drop(state);
        self.slots = Arc::new(Semaphore::new(bounds.slots));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Logs an event; at the one that was chosen for it, the process is killed or asked to stop.
    pub fn event(&self, what: &str) {
        let mut state = self.state();
        state.log.add(what);
        state.life_events += 1;
        let now = state.life_events;
        if state.moments.kill == Some(now) {
            drop(state);
            self.disk.crash();
        } else if let Some((at, stop)) = &state.moments.stop
            && *at == now
        {
            let stop = stop.clone();
            drop(state);
            self.fault("asked to stop at an event");
            stop.cancel();
        }
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

    /// Notes as which request the judge's server will know a body.
    pub fn expect(&self, body: String, key: &str) {
        self.state().requests.insert(body, key.to_owned());
    }

    /// Notes that a body reached the judge's server, if it is one of a judge.
    pub fn reached(&self, body: &str) {
        let state = &mut *self.state();
        if let Some(key) = state.requests.get(body) {
            *state.judge_calls.entry(key.clone()).or_default() += 1;
        }
    }

    /// Notes that a judge call came to an end.
    pub fn returned(&self, key: &str, attempt: u32) {
        self.state().returned.insert(format!("{key} {attempt}"));
    }

    /// Returns whether a judge call came to an end while the process lived.
    pub fn has_returned(&self, call: &str) -> bool {
        self.state().returned.contains(call)
    }

    /// Notes that a judge call begins, which the ledger must know of.
    pub fn judge_call_begins(&self, name: &str) {
        let mut state = self.state();
        state.in_flight.judge_calls += 1;
        let (calls, max) = (state.in_flight.judge_calls, state.bounds.judge_calls);
        let is_recorded = state.acknowledged.contains_key(name);
        drop(state);
        if calls > max {
            self.breach(format!("I7: {calls} judge calls are under way, {max} are allowed"));
        }
        if !is_recorded {
            self.breach(format!("I5: {name} is made before it is recorded"));
        }
    }

    /// Notes that a judge call is over.
    pub fn judge_call_ends(&self) {
        self.state().in_flight.judge_calls -= 1;
    }

    /// Returns how a server is away, if it is: it may go now.
    pub fn outage(&self, side: Side) -> Option<usize> {
        let mut state = self.state();
        let State { outages, outages_seen, random, rates, .. } = &mut *state;
        let (outage, random, now) = (&mut outages[side as usize], random.as_mut().unwrap(), Instant::now());
        if let Some(outage) = outage.filter(|outage| outage.until > now) {
            return Some(outage.kind);
        }
        *outage = None;
        if *outages_seen >= rates.outages_max || !random.percent(rates.outage) {
            return None;
        }
        *outages_seen += 1;
        let seconds = if rates.is_long { 7200 + random.below(7200) } else { 1 + random.below(600) };
        let kind = random.below(OUTAGES.len() as u64) as usize;
        *outage = Some(Outage { kind, until: now + Duration::from_secs(seconds) });
        drop(state);
        self.fault(OUTAGES[kind]);
        Some(kind)
    }

    /// Returns the id of the query that a request asks: its question names the card, as the last number of the conversation.
    pub fn query_of(&self, asked: &str) -> String {
        let number = asked.rsplit("belongs to card ").next().unwrap_or_default();
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        format!("q{:02}", digits.parse::<u64>().unwrap_or(99))
    }

    /// Draws from the world's numbers.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Random, Rates) -> T) -> T {
        let mut state = self.state();
        let rates = state.rates;
        draw(state.random.as_mut().unwrap(), rates)
    }

    /// Waits as long as a call takes; for ever if the process is dead.
    pub async fn wait(&self, milliseconds: u64) {
        let slow = self.draw(|random, rates| random.percent(rates.slow).then(|| 60_000 + random.below(240_000)));
        if slow.is_some() {
            self.fault("slow call");
        }
        tokio::time::sleep(Duration::from_millis(slow.unwrap_or(milliseconds))).await;
        self.stay_dead().await;
    }

    /// Waits for ever if the process is dead: nothing that it would do now is seen outside.
    pub async fn stay_dead(&self) {
        if self.disk.is_crashed() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns a pace of the ledger's writer.
    pub fn pace(&self) -> BoxFuture<'static, ()> {
        let milliseconds = self.draw(|random, _| random.below(self.machine.commit_ms));
        tokio::time::sleep(Duration::from_millis(milliseconds)).boxed()
    }

    /// Returns a pace of work that blocks.
    pub fn work(&self) -> BoxFuture<'static, ()> {
        let milliseconds = self.draw(|random, _| random.below(self.machine.work_ms));
        let outside = self.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            outside.stay_dead().await;
        }
        .boxed()
    }

    /// Returns once the process gets nowhere: nothing has happened for [`STILL_MAX`], or its life does not end.
    pub async fn stuck(&self) -> String {
        let started = tokio::time::Instant::now();
        loop {
            let before = self.state().log.count;
            tokio::time::sleep(STILL_MAX).await;
            let state = self.state();
            let InFlight { rollouts, judge_calls } = &state.in_flight;
            let under_way =
                format!("responses to {} queries and {judge_calls} judge calls are under way", rollouts.len());
            if state.log.count == before {
                return format!("stuck: nothing has happened for {STILL_MAX:?}; {under_way}");
            }
            if started.elapsed() > LIFE_MAX {
                return format!("stuck: a life goes on after {LIFE_MAX:?}; {under_way}");
            }
        }
    }
}

/// A response under way.
pub struct Sampling(Outside, String);

impl Sampling {
    /// Begins one.
    pub fn begin(outside: &Outside, query: &str) -> Self {
        let mut state = outside.state();
        *state.in_flight.rollouts.entry(query.to_owned()).or_default() += 1;
        let (queries, max) = (state.in_flight.rollouts.len(), state.bounds.sampling_queries);
        drop(state);
        if queries > max {
            outside.breach(format!("I7: responses to {queries} queries are under way, {max} are allowed"));
        }
        Self(outside.clone(), query.to_owned())
    }
}

impl Drop for Sampling {
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

/// What a response is a function of.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What tells it from all others.
    pub key: &'a str,
    /// The query.
    pub query: &'a str,
    /// Whether it is to think.
    pub thinks: bool,
}

/// How a response turns out.
pub fn response(asked: Asked<'_>, gold: &str) -> ScriptedReply {
    let draw = hash(asked.key) >> 8;
    // Some queries are easier with thinking, some without, some for nobody.
    let ease = hash(asked.query) >> 16;
    let share = if asked.thinks { ease % 120 } else { (ease >> 8) % 110 };
    let answer = if draw % 100 < share { gold.to_owned() } else { (draw % 7 + 5).to_string() };
    let length = 3 + (draw >> 7) % 40;
    let thought: String = (0..length).map(|index| format!("step {index} ")).collect();
    let tag = if draw.is_multiple_of(29) { "<think_on>" } else { "" };
    let text = if asked.thinks {
        format!("{thought}\n</think>\n\n{tag}The number is \\boxed{{{answer}}}.")
    } else {
        format!("{tag}The number is \\boxed{{{answer}}}.")
    };
    let finish_reason = if draw.is_multiple_of(31) { FinishReason::Length } else { FinishReason::Stop };
    ScriptedReply { text, finish_reason, completion_tokens: length as u32 * 3 }
}

/// Samples one response in this process.
pub fn sample(outside: &Outside, call: ScriptedCall) -> BoxFuture<'static, Result<ScriptedReply, SampleError>> {
    let outside = outside.clone();
    async move {
        let _under_way = Sampling::begin(&outside, &call.query_id.0);
        let slots = Arc::clone(&outside.slots);
        let _slot = slots.acquire().await.unwrap();
        if outside.slots.available_permits() >= outside.state().bounds.slots {
            outside.breach("I8: a sampled response holds no slot".to_owned());
        }
        let milliseconds = outside.draw(|random, _| random.below(outside.machine.policy_ms));
        outside.wait(milliseconds).await;
        let Some(gold) = outside.golds.get(&call.query_id.0) else {
            outside.breach(format!("a response to {}, which is no query", call.query_id));
            return Err(SampleError::Draining);
        };
        outside.event(&format!("sampled {}", call.key));
        let asked = Asked { key: &call.key.0, query: &call.query_id.0, thinks: call.mode == Mode::ThinkOn };
        Ok(response(asked, gold))
    }
    .boxed()
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
