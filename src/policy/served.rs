//! Checks that the model name in a server's reply is the requested model.
//!
//! Servers spell names differently ([`super::served_names`]). Any other name is another model: another size, generation
//! or tuning. A reply without a name passes.
//!
//! The replies of another model are charged, too. Therefore requests are sent one at a time until a reply is accepted.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::served_names::{is_same_model, is_same_name};
use crate::http::retry::Class;
use crate::http::{CallFailure, RefusedKey, one_line};

/// The maximum length of a model name in messages, in characters.
const NAME_CHARS_MAX: usize = 200;

/// The model names in the replies so far.
#[derive(Debug)]
pub(super) struct Served {
    asked: String,
    /// Names that the user listed for this model.
    known: Vec<String>,
    first: Mutex<Option<String>>,
    /// The failure that stopped the run.
    stopped: Mutex<Option<CallFailure>>,
    /// Held by the single request in flight before the first accepted reply; closed from then on.
    turn: Semaphore,
}

impl Served {
    /// Starts without a name.
    #[must_use]
    pub(super) fn new(asked: &str, known: &[String]) -> Self {
        let (first, stopped, turn) = (Mutex::default(), Mutex::default(), Semaphore::new(1));
        Self { asked: asked.to_owned(), known: known.to_vec(), first, stopped, turn }
    }

    /// Sets the name from the replies of an earlier start, unless the check would now reject it.
    pub(super) fn remember(&self, name: &str) {
        if self.is_known(name) {
            self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| name.to_owned());
            self.turn.close();
        }
    }

    /// Returns whether a name is the requested name or a listed name, or a form of one of them.
    fn is_known(&self, name: &str) -> bool {
        self.known.iter().chain([&self.asked]).any(|known| is_same_model(known, name))
    }

    fn is_listed(&self, name: &str) -> bool {
        self.known.iter().chain([&self.asked]).any(|known| is_same_name(known, name))
    }

    /// Waits until a request may be sent: one at a time until a reply was accepted, in this start or an earlier one.
    /// The caller holds the permit until the reply is checked; a failed request releases the next one. Cancel-safe.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // A closed semaphore means that no further wait is needed.
        self.turn.acquire().await.ok()
    }

    /// Returns whether the run may send requests: a reply may have stopped it during a wait.
    ///
    /// # Errors
    /// The failure that stopped the run.
    pub(super) fn may_go_on(&self) -> Result<(), CallFailure> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Checks the name in a reply.
    ///
    /// # Errors
    /// The failure that stops the run, if the name is another model's name or differs from the earlier one.
    pub(super) fn check(&self, name: Option<&str>) -> Result<(), CallFailure> {
        let looked = self.looked_at(name).inspect_err(|failure| {
            self.stopped.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| failure.clone());
        });
        // After a stop, all waiting requests wake up.
        self.turn.close();
        looked
    }

    fn looked_at(&self, name: Option<&str>) -> Result<(), CallFailure> {
        let Some(name) = name.filter(|name| !name.trim().is_empty()) else { return Ok(()) };
        let shown = one_line(name, NAME_CHARS_MAX);
        let Self { asked, known, .. } = self;
        if !self.is_known(name) {
            let names: Vec<&str> = known.iter().map(String::as_str).chain([shown.as_str()]).collect();
            return Err(stops(
                format!("the server's reply says that it is from the model {shown:?}, and policy.model is {asked:?}"),
                format!(
                    "if that is the model that you mean, write policy.served_names = {}; else correct policy.model or \
                     policy.base_urls",
                    list(&names)
                ),
            ));
        }
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let first = first.get_or_insert_with(|| name.to_owned());
        if is_same_name(first, name) || (self.is_listed(first) && self.is_listed(name)) {
            return Ok(());
        }
        let first = one_line(first, NAME_CHARS_MAX);
        Err(stops(
            format!("the server's replies were from the model {first:?} so far, and one is from {shown:?} now"),
            format!(
                "if both are one model, write policy.served_names = {}; else set policy.revision to the new one's version, \
                 so that everything is sampled from it",
                list(&[&first, &shown])
            ),
        ))
    }
}

fn list(names: &[&str]) -> String {
    let names: Vec<toml::Value> = names.iter().map(|name| toml::Value::String((*name).to_owned())).collect();
    toml::Value::Array(names).to_string()
}

fn stops(detail: String, hint: String) -> CallFailure {
    let refused = Some(Box::new(RefusedKey { key: "model".to_owned(), hint }));
    CallFailure { class: Class::FatalRun, status: None, retry_after: None, detail, refused, body: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_stops_with_the_words_to_write_until_it_is_listed() {
        let served = Served::new("qwen3-8b", &[]);
        let failure = served.check(Some("my \"own\"\nname")).unwrap_err();
        assert_eq!(failure.class, Class::FatalRun);
        assert!(failure.detail.contains("qwen3-8b"), "{}", failure.detail);
        assert!(failure.hint().contains("policy.served_names = ['my \"own\" name']"), "{}", failure.hint());
        assert_eq!(Served::new("qwen3-8b", &["other".to_owned()]).check(Some("/x/Other")), Ok(()));
        for nothing in [None, Some(""), Some(" ")] {
            assert_eq!(served.check(nothing), Ok(()));
        }
        assert_eq!(served.may_go_on(), Err(failure), "nothing more is sent");
        assert_eq!(Served::new("qwen3-8b", &[]).may_go_on(), Ok(()));
    }

    #[test]
    fn a_change_stops_unless_both_names_are_listed() {
        let served = Served::new("m", &[]);
        assert_eq!(served.check(Some("m-2025-01-01")), Ok(()));
        assert_eq!(served.check(Some("org/M-2025-01-01")), Ok(()));
        assert_eq!(served.check(None), Ok(()));
        for other in ["m-2025-06-01", "m", "m-awq"] {
            let failure = served.check(Some(other)).unwrap_err();
            assert!(failure.detail.contains("m-2025-01-01") && failure.hint().contains(other), "{failure:?}");
        }
        let both = Served::new("m", &["m-2025-06-01".to_owned(), "m-2025-01-01".to_owned()]);
        both.remember("m-2025-01-01");
        assert_eq!(both.check(Some("m-2025-06-01")), Ok(()));
        // The name of an earlier model does not become the first name of this model.
        let later = Served::new("m", &[]);
        later.remember("other");
        assert_eq!(later.check(Some("m-2025-06-01")), Ok(()));
        let restarted = Served::new("m", &[]);
        restarted.remember("m-2025-01-01");
        assert!(restarted.check(Some("m-2025-06-01")).is_err());
    }

    #[test]
    fn a_change_between_forms_of_a_listed_name_is_noticed_at_the_next_start() {
        let known = ["alias".to_owned()];
        let first = Served::new("m", &known);
        assert_eq!(first.check(Some("alias-2025-01-01")), Ok(()));
        let next = Served::new("m", &known);
        next.remember("alias-2025-01-01");
        assert_eq!(next.check(Some("alias-2025-01-01")), Ok(()));
        assert!(next.check(Some("alias-2025-06-01")).is_err());
    }

    #[tokio::test]
    async fn one_request_goes_at_a_time_until_a_reply_was_taken() {
        let served = Served::new("m", &[]);
        let first = served.turn().await;
        let mut second = std::pin::pin!(served.turn());
        let mut third = std::pin::pin!(served.turn());
        assert!(futures::poll!(&mut second).is_pending() && futures::poll!(&mut third).is_pending());
        // The request failed, or was cancelled.
        drop(first);
        let second = second.await;
        assert!(second.is_some() && futures::poll!(&mut third).is_pending());
        assert_eq!(served.check(None), Ok(()), "a reply without a name says nothing, and none will");
        assert!(third.await.is_none() && served.turn().await.is_none());

        let refused = Served::new("m", &[]);
        let first = refused.turn().await;
        let mut second = std::pin::pin!(refused.turn());
        assert!(first.is_some() && futures::poll!(&mut second).is_pending());
        assert!(refused.check(Some("other")).is_err());
        second.await;
        assert!(refused.may_go_on().is_err(), "it is not sent");

        let restarted = Served::new("m", &[]);
        restarted.remember("m-2025-01-01");
        assert!(restarted.turn().await.is_none(), "an earlier start has seen its replies");
    }
}
