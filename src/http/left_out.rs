//! Reacts to body keys that servers refuse, and stores the keys that are omitted so far.
//!
//! | refused key | reaction |
//! |---|---|
//! | `seed`, `response_format` | omitted from then on, with one warning |
//! | `max_tokens` | sent as `max_completion_tokens` from then on; if that is refused too, the run stops |
//! | `stream`, `stream_options` | replies are requested in one piece from then on |
//! | `temperature`, `top_p`, `top_k`, `min_p`, `stop` | the run stops and names the config line to write, because samples depend on it |
//! | a switch of the mode, a key of the user's own | the run stops and names the setting that the key comes from |
//!
//! A refusal is recorded durably before any request is sent without the key, and costs no attempt: the same request is
//! sent again at once. If a request with all keys had succeeded before, a refusal that would stop the run fails that
//! request alone. The order of the refusals is stored, because a response's address depends on it (`policy::openai`).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::CallFailure;
use super::client::Delivery;
use super::retry::Class;

/// Keys that decide only how a sample is repeated or wrapped.
const DISPENSABLE: &[&str] = &["seed", "response_format"];
/// Keys that decide what is sampled.
const DECIDING: &[&str] = &["temperature", "top_p", "top_k", "min_p", "stop"];
/// Keys that request streaming.
const STREAMING: &[&str] = &["stream", "stream_options"];
/// Keys that switch the mode of a response.
const SWITCHES: &[&str] = &["chat_template_kwargs", "thinking", "continue_final_message", "add_generation_prompt"];
const LIMIT: &str = "max_tokens";
const NEW_LIMIT: &str = "max_completion_tokens";

/// The side that sends the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The policy.
    Policy,
    /// The judge.
    Judge,
}

impl Side {
    /// Returns the name of its section in the config.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Judge => "judge",
        }
    }
}

/// A key that a server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The side that sent the request.
    pub side: Side,
    /// The first address of that side's servers.
    pub base_url: String,
    /// The name of the model in the request.
    pub model: String,
    /// The key.
    pub key: String,
    /// The server's error text, one line.
    pub words: String,
}

/// Records a refusal durably; the error is one line.
pub type Recorder = Arc<dyn Fn(Refusal) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The omitted keys of one side's requests.
pub struct LeftOut {
    side: Side,
    base_url: String,
    model: String,
    /// Keys that the settings omit.
    configured: BTreeSet<String>,
    /// Keys of the user's own.
    extra: BTreeSet<String>,
    /// Refused keys in the order of their refusal.
    learnt: RwLock<Vec<String>>,
    recorder: OnceLock<Recorder>,
    /// Ensures that one task at a time records a refusal.
    turn: tokio::sync::Mutex<()>,
    has_succeeded: AtomicBool,
}

impl std::fmt::Debug for LeftOut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LeftOut")
            .field("side", &self.side)
            .field("learnt", &self.learnt())
            .finish_non_exhaustive()
    }
}

impl LeftOut {
    /// Creates the state of one side, with the keys that the settings omit and the keys that they add.
    #[must_use]
    pub fn new<'a>(
        side: Side,
        (base_url, model): (&str, &str),
        configured: &[String],
        extra: impl Iterator<Item = &'a String>,
    ) -> Self {
        Self {
            side,
            base_url: base_url.to_owned(),
            model: model.to_owned(),
            configured: configured.iter().cloned().collect(),
            extra: extra.cloned().collect(),
            learnt: RwLock::default(),
            recorder: OnceLock::new(),
            turn: tokio::sync::Mutex::default(),
            has_succeeded: AtomicBool::new(false),
        }
    }

    /// Sets the refused keys of earlier starts, in the order of their refusal, and the recorder of further refusals.
    pub fn remember(&self, earlier: Vec<String>, recorder: Option<Recorder>) {
        *self.learnt.write().unwrap_or_else(PoisonError::into_inner) = earlier;
        if let Some(recorder) = recorder {
            // A second recorder would come from a second run over the same client, which does not exist.
            let _ = self.recorder.set(recorder);
        }
    }

    /// Returns the refused keys in the order of their refusal.
    #[must_use]
    pub fn learnt(&self) -> Vec<String> {
        self.learnt.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the omitted keys for sampling, each set sorted: the keys omitted before any refusal, then the keys after
    /// each refusal that omitted a further key. The last set is the current one.
    #[must_use]
    pub fn stages(&self) -> Vec<BTreeSet<String>> {
        let mut stages = vec![self.configured.clone()];
        for key in self.learnt().iter().filter(|key| DISPENSABLE.contains(&key.as_str())) {
            let mut next = stages.last().cloned().unwrap_or_default();
            if next.insert(key.clone()) {
                stages.push(next);
            }
        }
        stages
    }

    /// Returns all keys that are currently omitted, sorted; without the streaming keys.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let learnt = self.learnt().into_iter().filter(|key| !STREAMING.contains(&key.as_str()));
        self.configured.iter().cloned().chain(learnt).collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// Records that a request succeeded, so that later refusals are not assumed to concern all requests.
    pub fn succeeded(&self) {
        self.has_succeeded.store(true, Ordering::Relaxed);
    }

    /// Removes the currently omitted keys from a body, and renames the token limit if the server requires it.
    pub fn apply(&self, body: &mut Map<String, Value>) {
        let learnt = self.learnt();
        let dispensable = learnt.iter().filter(|key| DISPENSABLE.contains(&key.as_str()));
        for key in self.configured.iter().chain(dispensable) {
            body.remove(key);
        }
        self.rename_limit(body);
    }

    /// Renames the token limit if the server requires it; for bodies whose other keys are already decided.
    pub fn rename_limit(&self, body: &mut Map<String, Value>) {
        if self.learnt().iter().any(|key| key == LIMIT)
            && let Some(limit) = body.remove(LIMIT)
        {
            body.entry(NEW_LIMIT).or_insert(limit);
        }
    }

    /// Returns how replies can be requested.
    #[must_use]
    pub fn delivery(&self, wanted: Delivery) -> Delivery {
        let is_refused = self.learnt().iter().any(|key| STREAMING.contains(&key.as_str()));
        if is_refused { Delivery::Whole } else { wanted }
    }

    /// Decides how to react to a refused key: `Ok` means that the same request is to be sent again, with the keys of
    /// the current state.
    ///
    /// # Errors
    /// The unchanged failure, if it names no refused key; a failure with [`Class::FatalRun`] and a hint, if no request
    /// of this run can succeed.
    pub async fn heed(&self, failure: CallFailure) -> Result<(), CallFailure> {
        let Some(key) = failure.refused.as_ref().map(|refused| refused.key.clone()) else { return Err(failure) };
        let _turn = self.turn.lock().await;
        let learnt = self.learnt();
        if learnt.contains(&key) {
            // Another request was refused earlier, and this request was sent before the refusal was known.
            return Ok(());
        }
        let name = self.side.name();
        let is_streaming = STREAMING.contains(&key.as_str());
        let does = match key.as_str() {
            LIMIT if !self.extra.contains(NEW_LIMIT) => "thinkloom now sends the limit as max_completion_tokens",
            LIMIT => "thinkloom now sends max_completion_tokens alone",
            "seed" if !self.extra.contains("seed") => {
                "thinkloom now omits it, so no seed can repeat a response; the data records this"
            }
            "response_format" => "thinkloom now omits it: only the prompt asks for JSON",
            _ if is_streaming => "thinkloom now requests replies in one piece",
            _ => return Err(self.stop(failure, &key)),
        };
        let words = failure.detail.clone();
        if let Some(recorder) = self.recorder.get() {
            let Self { side, base_url, model, .. } = self;
            let (base_url, model) = (base_url.clone(), model.clone());
            let refusal = Refusal { side: *side, base_url, model, key: key.clone(), words: words.clone() };
            if let Err(problem) = recorder(refusal).await {
                let detail = format!("cannot record that the server refuses {key}: {problem}");
                return Err(CallFailure { class: Class::FatalRun, detail, refused: None, ..failure });
            }
        }
        tracing::warn!("the {name}'s server refuses the key \"{key}\" ({words}); {does}");
        self.learnt.write().unwrap_or_else(PoisonError::into_inner).push(key);
        Ok(())
    }

    /// Returns the failure of a request whose refused key must be sent.
    fn stop(&self, mut failure: CallFailure, key: &str) -> CallFailure {
        // Other requests with this key succeeded, so the refusal concerns one server or one request.
        if self.has_succeeded.load(Ordering::Relaxed) {
            return failure;
        }
        let name = self.side.name();
        let rerun =
            "then (with --reconfigure if thinkloom requires it) run the same command again: everything so far is kept";
        let hint = if self.extra.contains(key) {
            format!("remove \"{key}\" from [{name}.extra], {rerun}")
        } else if SWITCHES.contains(&key) {
            format!(
                "this server does not support the mode switch \"{key}\": choose another policy.mode_preset \
                 (\"prompted\" asks by words alone), {rerun}"
            )
        } else if key == NEW_LIMIT {
            format!(
                "the server takes neither max_tokens nor max_completion_tokens, and without a limit nothing bounds what \
                 a call costs: use another server; where calls cost nothing, write omit = [\"max_tokens\"] under \
                 [{name}], {rerun}"
            )
        } else if DECIDING.contains(&key) {
            let mut omit: BTreeSet<&str> = self.configured.iter().map(String::as_str).collect();
            omit.insert(key);
            let list: Vec<String> = omit.into_iter().map(|key| format!("\"{key}\"")).collect();
            format!(
                "\"{key}\" decides what is sampled, so thinkloom omits it only on request: write \
                 omit = [{}] under [{name}], {rerun}",
                list.join(", ")
            )
        } else {
            format!("the server does not support \"{key}\": use another server or version, {rerun}")
        };
        failure.class = Class::FatalRun;
        // An error in a successful response carries no information about the account.
        failure.status = failure.status.filter(|status| !(200..=299).contains(status));
        failure.detail = format!("the server refuses the key \"{key}\": {}", failure.detail);
        if let Some(refused) = &mut failure.refused {
            refused.hint = hint;
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::RefusedKey;
    use super::*;

    fn left_out(side: Side, configured: &[&str], extra: &[&str]) -> LeftOut {
        let owned = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        LeftOut::new(side, ("http://a", "m"), &owned(configured), owned(extra).iter())
    }

    fn refused(key: &str) -> CallFailure {
        let refused = Some(Box::new(RefusedKey { key: key.to_owned(), hint: String::new() }));
        let detail = format!("HTTP 400: Unknown parameter: '{key}'.");
        CallFailure { class: Class::FatalRequest, status: Some(400), retry_after: None, detail, refused, body: None }
    }

    fn applied(left_out: &LeftOut) -> Value {
        let mut body = json!({"max_tokens": 7, "seed": 1, "temperature": 0.5, "response_format": {}});
        left_out.apply(body.as_object_mut().unwrap());
        body
    }

    #[tokio::test]
    async fn what_is_dispensable_is_left_out_once_and_recorded_before() {
        let left_out = left_out(Side::Policy, &[], &[]);
        let recorded = Arc::new(std::sync::Mutex::new(Vec::new()));
        let copy = Arc::clone(&recorded);
        let recorder: Recorder = Arc::new(move |refusal: Refusal| {
            copy.lock().unwrap().push((refusal.side, refusal.key));
            Box::pin(std::future::ready(Ok(())))
        });
        left_out.remember(vec!["seed".to_owned()], Some(recorder));
        for key in ["seed", "max_tokens", "max_tokens", "stream_options", "response_format"] {
            assert_eq!(left_out.heed(refused(key)).await, Ok(()), "{key}");
        }
        let keys: Vec<String> = recorded.lock().unwrap().iter().map(|(_, key)| key.clone()).collect();
        assert_eq!(keys, ["max_tokens", "stream_options", "response_format"]);
        assert_eq!(applied(&left_out), json!({"max_completion_tokens": 7, "temperature": 0.5}));
        assert_eq!(left_out.delivery(Delivery::Stream), Delivery::Whole);
        let stages: Vec<usize> = left_out.stages().iter().map(BTreeSet::len).collect();
        assert_eq!(left_out.keys(), ["max_tokens", "response_format", "seed"]);
        assert_eq!(stages, [0, 1, 2], "a renamed limit and a whole reply leave nothing out");
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_is_not_learnt() {
        let left_out = left_out(Side::Judge, &[], &[]);
        let recorder: Recorder = Arc::new(|_| Box::pin(std::future::ready(Err("disk full".to_owned()))));
        left_out.remember(Vec::new(), Some(recorder));
        let failure = left_out.heed(refused("response_format")).await.unwrap_err();
        assert!(failure.class == Class::FatalRun && failure.detail.contains("disk full"), "{failure:?}");
        assert!(left_out.learnt().is_empty());
    }

    #[tokio::test]
    async fn what_decides_the_data_stops_the_run_with_the_line_to_write() {
        for (side, configured, extra, key, words) in [
            (Side::Policy, &[][..], &[][..], "temperature", "omit = [\"temperature\"] under [policy]"),
            (Side::Policy, &["seed"], &[], "top_p", "omit = [\"seed\", \"top_p\"] under [policy]"),
            (Side::Judge, &[], &[], "temperature", "omit = [\"temperature\"] under [judge]"),
            (Side::Policy, &[], &[], "chat_template_kwargs", "policy.mode_preset"),
            (Side::Policy, &[], &["repetition_penalty"], "repetition_penalty", "[policy.extra]"),
            (Side::Judge, &[], &["max_completion_tokens"], "max_completion_tokens", "[judge.extra]"),
            (Side::Judge, &[], &["seed"], "seed", "[judge.extra]"),
        ] {
            let left_out = left_out(side, configured, extra);
            let failure = left_out.heed(refused(key)).await.unwrap_err();
            assert_eq!(failure.class, Class::FatalRun, "{key}");
            assert!(failure.hint().contains(words), "{key}: {}", failure.hint());
            assert!(failure.detail.contains("Unknown parameter"), "the server's words: {}", failure.detail);
            assert!(left_out.learnt().is_empty());
            left_out.succeeded();
            let later = left_out.heed(refused(key)).await.unwrap_err();
            assert_eq!(later, refused(key), "others were served: {key}");
        }
    }

    #[tokio::test]
    async fn a_limit_that_is_refused_under_both_names_is_not_dropped() {
        let left_out = left_out(Side::Judge, &[], &[]);
        left_out.heed(refused("max_tokens")).await.unwrap();
        let failure = left_out.heed(refused("max_completion_tokens")).await.unwrap_err();
        assert!(failure.class == Class::FatalRun && failure.hint().contains("neither"), "{failure:?}");
        assert_eq!(applied(&left_out)["max_completion_tokens"], 7);
    }

    #[tokio::test]
    async fn what_settings_leave_out_is_not_sent() {
        let left_out = left_out(Side::Policy, &["seed", "temperature"], &[]);
        assert_eq!(applied(&left_out), json!({"max_tokens": 7, "response_format": {}}));
        assert_eq!(left_out.stages(), [BTreeSet::from(["seed".to_owned(), "temperature".to_owned()])]);
    }
}
