//! The options of the mock server, the same for tests, benches and people.

use std::time::Duration;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// A good reply.
    Ok,
    /// 429.
    TooMany,
    /// 500.
    ServerError,
    /// 503 with a code that says overload.
    Overloaded,
    /// The connection is reset before a byte is sent.
    Reset,
    /// The connection ends in the middle of the body.
    EarlyEof,
    /// The head, and then one byte now and then, until the client gives up.
    SlowLoris,
    /// A body of blank lines.
    BlankBody,
    /// Content of blanks, `stop`.
    BlankContent,
    /// Content null, `stop`.
    NullContent,
    /// Content null, the text in `reasoning`, `length`.
    ReasoningOnly,
    /// A complete body whose JSON is cut.
    TruncatedJson,
    /// JSON of another shape.
    WrongShape,
    /// An error object in a 200.
    ErrorIn200,
    /// 400, context overflow, flat error.
    OverflowFlat,
    /// 400, context overflow, nested error.
    OverflowNested,
    /// `length` in the first sentence.
    Length,
    /// `content_filter`.
    Filtered,
    /// A justification of the other mode.
    Contradiction,
    /// A justification that gives the answer away.
    Leak,
    /// A justification that says the same whatever is asked.
    Copy,
    /// Over the enforced limit: 429, counted apart from the drawn ones.
    OverLimit,
    /// 402, or 429 with `insufficient_quota`.
    NoMoney,
    /// 401.
    BadKey,
    /// 400 or 422: a key of the body is refused.
    KeyRefused,
    /// No chat body.
    BadRequest,
    /// The client left.
    Gone,
}

impl Outcome {
    /// Every outcome with its name in statistics and, as `--rate-NAME`, in options.
    pub const NAMES: &[(Self, &str)] = &[
        (Self::Ok, "ok"),
        (Self::TooMany, "429"),
        (Self::ServerError, "500"),
        (Self::Overloaded, "503"),
        (Self::Reset, "reset"),
        (Self::EarlyEof, "eof"),
        (Self::SlowLoris, "loris"),
        (Self::BlankBody, "blank"),
        (Self::BlankContent, "empty"),
        (Self::NullContent, "null"),
        (Self::ReasoningOnly, "reasoning"),
        (Self::TruncatedJson, "truncated"),
        (Self::WrongShape, "shape"),
        (Self::ErrorIn200, "error200"),
        (Self::OverflowFlat, "overflow"),
        (Self::OverflowNested, "overflow-nested"),
        (Self::Length, "length"),
        (Self::Filtered, "filter"),
        (Self::Contradiction, "contradict"),
        (Self::Leak, "leak"),
        (Self::Copy, "copy"),
        (Self::OverLimit, "over_limit"),
        (Self::NoMoney, "no_money"),
        (Self::BadKey, "bad_key"),
        (Self::KeyRefused, "key_refused"),
        (Self::BadRequest, "bad_request"),
        (Self::Gone, "broken_pipe"),
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, name)| name)
    }
}

/// Who the server plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Replies justify a mode.
    Judge,
    /// Replies answer in a box, after reasoning where it is asked for.
    Policy,
}

/// How a 429 says how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryStyle {
    /// `Retry-After: 0.05`
    Seconds,
    /// `retry-after-ms: 50`
    Milliseconds,
    /// `Retry-After` as a date, whole seconds.
    Date,
    /// Not at all.
    None,
}

/// How a policy's thinking is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingIn {
    /// `reasoning_content`
    ReasoningContent,
    /// `reasoning`
    Reasoning,
    /// Tags in `content`.
    Tags,
}

/// All options with their defaults.
#[derive(Debug, Clone)]
pub struct Knobs {
    pub port: u16,
    pub role: Role,
    pub reasoning: ThinkingIn,
    pub rates: Vec<(Outcome, f64)>,
    pub latency: Duration,
    /// Of the logarithm; 0: the latency is fixed.
    pub latency_sigma: f64,
    pub retry_after: Duration,
    pub retry_style: RetryStyle,
    /// Blank lines, or comments of a stream, before a good reply.
    pub keep_alives: u32,
    pub keep_alive_every: Duration,
    pub loris_every: Duration,
    pub requests_per_minute: u64,
    pub tokens_per_minute: u64,
    pub limit_headers: bool,
    pub key: String,
    pub key_after: u64,
    pub money_after: u64,
    pub money_style: u16,
    pub die_after: u64,
    pub echo_headers: bool,
    /// Every good reply says the same.
    pub duplicates: bool,
    /// Share of request bodies whose good replies say the same as those of the others.
    pub copies: f64,
    pub batch_delay: Duration,
    pub batch_answer: Duration,
    pub batch_hang: u64,
    pub batch_refuse: u64,
    pub batch_expire: u64,
    pub batch_cancel: u64,
    pub batch_tear: u64,
    pub batch_late: u64,
    pub batch_counts: bool,
    /// Looks at batches that find none.
    pub batch_forget: u64,
    pub refused_keys: Vec<String>,
    /// Replies say that they used so many times `max_tokens`; 0: what they did use.
    pub usage_factor: u64,
    /// The model that replies say they are from; empty: the one that was asked for.
    pub served_model: String,
    pub seed: u64,
    pub log: String,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            port: 0,
            role: Role::Judge,
            reasoning: ThinkingIn::ReasoningContent,
            rates: Vec::new(),
            latency: Duration::ZERO,
            latency_sigma: 0.0,
            retry_after: Duration::from_secs(1),
            retry_style: RetryStyle::Seconds,
            keep_alives: 0,
            keep_alive_every: Duration::from_millis(2),
            loris_every: Duration::from_millis(100),
            requests_per_minute: 0,
            tokens_per_minute: 0,
            limit_headers: false,
            key: String::new(),
            key_after: u64::MAX,
            money_after: u64::MAX,
            money_style: 402,
            die_after: u64::MAX,
            echo_headers: false,
            duplicates: false,
            copies: 0.0,
            batch_delay: Duration::ZERO,
            batch_answer: Duration::ZERO,
            batch_hang: 0,
            batch_refuse: 0,
            batch_expire: 0,
            batch_cancel: 0,
            batch_tear: 0,
            batch_late: 0,
            batch_counts: false,
            batch_forget: 0,
            refused_keys: Vec::new(),
            usage_factor: 0,
            served_model: String::new(),
            seed: 0,
            log: String::new(),
        }
    }
}

/// The options, for people.
pub const USAGE: &str = "\
A judge or policy server that misbehaves on purpose: OpenAI-style /chat/completions, /files and /batches
on the loopback address.

  --port N                 0: any free port
  --role judge|policy      what good replies say
  --reasoning reasoning_content|reasoning|tags   where a policy's thinking stands
  --rate-NAME P            share of requests with that end: 429 500 503 reset eof loris blank empty null reasoning
                           truncated shape error200 overflow overflow-nested length filter contradict leak
  --latency-ms MS          fixed, or the median of a lognormal distribution with --latency-sigma S
  --retry-after S          of a 429; --retry-style seconds|ms|date|none
  --keep-alives N          blank lines (or stream comments) before a good reply, every --keep-alive-ms MS
  --loris-ms MS            time between two bytes of a slow reply
  --requests-per-minute N  enforced in a sliding window; --tokens-per-minute N counts prompt and reply
  --limit-headers          send x-ratelimit-* headers
  --key K                  bearer token to demand; --key-after N refuses it after N requests
  --money-after N          no money after N requests, said as --money-style 402|429|200; GET /pay ends it
  --die-after N            reset all connections and stop listening after N requests
  --echo-headers           put the request's headers into error bodies
  --duplicates             every good reply says the same; --copies P: only those to this share of request bodies
  --batch-delay-ms MS      time that a batch takes; its lines meet the ends of --rate-NAME
  --batch-answer-ms MS     uploads and new batches are done at once and answered after this time
  --batch-hang N           the first N uploads are neither stored nor answered
  --batch-refuse N         the first N batches fail as a whole, the next --batch-expire N expire and the next
                           --batch-cancel N are cancelled, both with half of their lines answered
  --batch-tear N           the first N downloads break off in the middle
  --batch-late N           the first N downloads find no file, an empty one, or the first half of its lines, in turn
  --batch-forget N         the first N looks at a batch find none
  --batch-counts           batches say how many of their requests have a result
  --usage-factor F         replies say that they used F times max_tokens
  --served-model NAME      the model that replies say they are from
  --refuse-keys A,B        requests whose body has one of these keys are refused
  --seed N                 of all draws: the n-th end of a body is a function of (seed, body, n)
  --log FILE               JSON lines, one per request

The first line on stdout is `listening on http://127.0.0.1:PORT`. GET /stats gives counts, GET /log the log.";

impl Knobs {
    /// Returns the key of a body that is refused, if one is.
    pub fn refused_key(&self, body: &str) -> Option<&String> {
        let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        self.refused_keys.iter().find(|key| body.get(key.as_str()).is_some())
    }

    /// Reads options.
    ///
    /// # Errors
    /// What is wrong with the first that cannot be used.
    pub fn parse(arguments: &[impl AsRef<str>]) -> Result<Self, String> {
        let mut knobs = Self::default();
        let mut arguments = arguments.iter().map(AsRef::as_ref);
        while let Some(name) = arguments.next() {
            match name {
                "--limit-headers" => knobs.limit_headers = true,
                "--echo-headers" => knobs.echo_headers = true,
                "--duplicates" => knobs.duplicates = true,
                "--batch-counts" => knobs.batch_counts = true,
                _ => {
                    let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
                    knobs.set(name, value)?;
                }
            }
        }
        Ok(knobs)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let bad = || format!("{name} {value}: not understood");
        let number = || value.parse::<u64>().map_err(|_| bad());
        let real = || value.parse::<f64>().map_err(|_| bad());
        let time = |scale: f64| Duration::try_from_secs_f64(real()? * scale).map_err(|_| bad());
        match name {
            "--port" => self.port = value.parse().map_err(|_| bad())?,
            "--role" => {
                self.role = choose(value, &[("judge", Role::Judge), ("policy", Role::Policy)]).ok_or_else(bad)?
            }
            "--reasoning" => {
                let known = [
                    ("reasoning_content", ThinkingIn::ReasoningContent),
                    ("reasoning", ThinkingIn::Reasoning),
                    ("tags", ThinkingIn::Tags),
                ];
                self.reasoning = choose(value, &known).ok_or_else(bad)?;
            }
            "--latency-ms" => self.latency = time(1e-3)?,
            "--latency-sigma" => self.latency_sigma = real()?,
            "--retry-after" => self.retry_after = time(1.0)?,
            "--retry-style" => {
                let known = [
                    ("seconds", RetryStyle::Seconds),
                    ("ms", RetryStyle::Milliseconds),
                    ("date", RetryStyle::Date),
                    ("none", RetryStyle::None),
                ];
                self.retry_style = choose(value, &known).ok_or_else(bad)?;
            }
            "--keep-alives" => self.keep_alives = value.parse().map_err(|_| bad())?,
            "--keep-alive-ms" => self.keep_alive_every = time(1e-3)?,
            "--loris-ms" => self.loris_every = time(1e-3)?,
            "--requests-per-minute" => self.requests_per_minute = number()?,
            "--tokens-per-minute" => self.tokens_per_minute = number()?,
            "--key" => value.clone_into(&mut self.key),
            "--key-after" => self.key_after = number()?,
            "--money-after" => self.money_after = number()?,
            "--money-style" => self.money_style = value.parse().map_err(|_| bad())?,
            "--die-after" => self.die_after = number()?,
            "--copies" => self.copies = real()?,
            "--batch-delay-ms" => self.batch_delay = time(1e-3)?,
            "--batch-answer-ms" => self.batch_answer = time(1e-3)?,
            "--batch-hang" => self.batch_hang = number()?,
            "--batch-refuse" => self.batch_refuse = number()?,
            "--batch-expire" => self.batch_expire = number()?,
            "--batch-cancel" => self.batch_cancel = number()?,
            "--batch-tear" => self.batch_tear = number()?,
            "--batch-late" => self.batch_late = number()?,
            "--batch-forget" => self.batch_forget = number()?,
            "--refuse-keys" => self.refused_keys = value.split(',').map(str::to_owned).collect(),
            "--usage-factor" => self.usage_factor = number()?,
            "--served-model" => value.clone_into(&mut self.served_model),
            "--seed" => self.seed = number()?,
            "--log" => value.clone_into(&mut self.log),
            _ => {
                let rated = name.strip_prefix("--rate-").ok_or_else(|| format!("no option {name}"))?;
                let found = Outcome::NAMES.iter().find(|(_, known)| *known == rated);
                let (outcome, _) = found.ok_or_else(|| format!("no outcome {rated}"))?;
                self.rates.push((*outcome, real()?));
            }
        }
        Ok(())
    }
}

fn choose<T: Copy>(value: &str, known: &[(&str, T)]) -> Option<T> {
    known.iter().find(|(name, _)| *name == value).map(|(_, found)| *found)
}
