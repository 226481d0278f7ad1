//! A query with its requests: prompts are rendered and addresses hashed once, however often its facts are read.

use std::sync::OnceLock;

use crate::domain::{ByMode, Query};
use crate::policy::{Policy, PolicyError, RolloutTask};

/// A query during a run.
pub(super) struct Posed {
    /// The query.
    pub query: Query,
    /// Its requests, once rendered.
    tasks: OnceLock<ByMode<Vec<RolloutTask>>>,
}

impl Posed {
    /// Wraps a query; renders nothing yet.
    #[must_use]
    pub(super) fn new(query: Query) -> Self {
        Self { query, tasks: OnceLock::new() }
    }

    /// Returns the requests of the query for the policy's present settings. Only the first call renders, unless a
    /// server refused a request key since.
    ///
    /// # Errors
    /// [`PolicyError`] if the chat template rejects the query.
    pub(super) fn tasks(&self, policy: &Policy) -> Result<ByMode<Vec<RolloutTask>>, PolicyError> {
        let tasks = match self.tasks.get() {
            Some(tasks) => tasks,
            None => {
                let rendered = policy.tasks(&self.query)?;
                self.tasks.get_or_init(|| rendered)
            }
        };
        Ok(ByMode::from_fn(|mode| tasks[mode].iter().map(|task| policy.current(task.clone())).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ModePresetName, PolicySettings, SamplingSettings};
    use crate::domain::{Kind, QueryId};
    use crate::policy::OpenAiPolicy;

    #[test]
    fn a_query_is_asked_as_if_it_were_rendered_now_though_a_server_refused_a_key_since() {
        let settings = PolicySettings {
            base_urls: vec!["http://127.0.0.1:1".to_owned()],
            mode_preset: ModePresetName::Qwen3,
            ..PolicySettings::default()
        };
        let policy = OpenAiPolicy::new(&settings, &SamplingSettings::default(), None).unwrap();
        let policy = Policy::OpenAi(Box::new(policy));
        let posed = Posed::new(Query {
            id: QueryId("q".to_owned()),
            question: "What is 1 + 1?".to_owned(),
            gold: "2".to_owned(),
            ..Query::blank(Kind::Numeric)
        });
        let before = posed.tasks(&policy).unwrap();
        assert_eq!(before, policy.tasks(&posed.query).unwrap());
        assert_eq!(posed.tasks(&policy).unwrap(), before);

        policy.remember(vec!["seed".to_owned()], None);
        let after = posed.tasks(&policy).unwrap();
        assert_eq!(after, policy.tasks(&posed.query).unwrap());
        assert_ne!(after.on[0].key, before.on[0].key);
    }
}
