//! The run itself, from its start to its last shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::context::Context;
use super::error::RunError;
use super::identity::Run;
#[cfg(feature = "testing")]
use super::nested;
use super::options::{Facts, Wiring};
use super::publish;
use super::stages::work_through;
use crate::domain::{ExclusionReason, Mode};
use crate::ledger::{Fact, Reader};
use crate::shards::{Counts, Publisher, Table};

/// The result of a finished run.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Rows by table and exclusions by reason.
    pub counts: Counts,
    /// Exclusions because of an error, not by a rule.
    pub error_exclusions: u64,
    /// The most frequent details of those exclusions, with their numbers.
    pub words: Vec<(String, u64)>,
}

/// Number of details in a summary.
const WORDS_MAX: usize = 3;

/// Runs or resumes to the end. After an error, the same call resumes the run; committed work is kept.
pub async fn run(context: &Arc<Context>) -> Result<Summary, RunError> {
    // Without sampling, keep the kernel family recorded with the stored responses.
    let is_stored = context.run.facts == Facts::Stored;
    let own = if is_stored { "" } else { context.actors.policy.numerics() };
    let others = context.read(move |_, reader| Ok(reader.other_numerics(own)?)).await?;
    let numerics = if is_stored { others.last().map_or("server", String::as_str) } else { own };
    if !others.is_empty() && !is_stored {
        tracing::warn!(
            "earlier rollouts of this directory were sampled with {} kernels, new ones use {numerics} kernels: the \
             missing rollouts may get other texts than on the earlier machine",
            others.join(" and ")
        );
    }
    let start = Fact::Start { fingerprint: context.run.record.fingerprint.clone(), numerics: numerics.to_owned() };
    let mut facts = vec![Fact::Run(context.run.record.clone()), start];
    if let Some(prompter) = context.actors.policy.prompter() {
        let source = serde_json::to_string(&prompter).map_err(|error| RunError::Internal(error.to_string()))?;
        facts.push(Fact::Prompter { hash: context.actors.policy.identity().prompts.clone(), source });
    }
    context.stores.ledger.commit(facts).await?;
    let published = context.until_stop(context.read(publish::published)).await?;
    resume_progress(context, &published).await?;
    let open: Vec<u64> =
        (0..context.run.shard_count()).filter(|index| published.binary_search(index).is_err()).collect();
    match context.wiring {
        Wiring::Stages => work_through(context, open).await?,
        #[cfg(feature = "testing")]
        Wiring::Nested => nested::work_through(context, open).await?,
    }
    let counts = publish::finish(context).await?;
    let is_error = |name: &str| name.parse::<ExclusionReason>().map_or(true, ExclusionReason::is_error);
    let errors = counts.exclusions_by_reason.iter().filter(|(name, _)| is_error(name)).map(|(_, count)| count);
    let error_exclusions: u64 = errors.sum();
    let words = if error_exclusions == 0 {
        Vec::new()
    } else {
        context.read(|context, reader| failure_words(&context.run, &context.stores.publisher, reader)).await?
    };
    Ok(Summary { error_exclusions, counts, words })
}

/// Returns the most frequent details of exclusions because of errors. Blocks.
fn failure_words(run: &Run, publisher: &Publisher, reader: &Reader) -> Result<Vec<(String, u64)>, RunError> {
    // Digits are ignored in the comparison, so that positions and lengths do not separate equal details.
    let mut words: BTreeMap<String, (String, u64)> = BTreeMap::new();
    for record in reader.shards(&run.record.fingerprint)? {
        if record.table != Table::Exclusions.name() {
            continue;
        }
        for row in publisher.read_columns(&record.file_name, &["reason", "detail"])? {
            let [Some(reason), Some(detail)] = row.as_slice() else { continue };
            if reason.parse::<ExclusionReason>().is_ok_and(|reason| reason.is_error()) {
                let alike = format!("{reason} {detail}").chars().filter(|c| !c.is_ascii_digit()).collect();
                words.entry(alike).or_insert_with(|| (format!("{reason}: {detail}"), 0)).1 += 1;
            }
        }
    }
    let mut words: Vec<(String, u64)> = words.into_values().collect();
    words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    words.truncate(WORDS_MAX);
    Ok(words)
}

/// Counts the rows that earlier starts published.
async fn resume_progress(context: &Arc<Context>, published: &[u64]) -> Result<(), RunError> {
    for &index in published {
        let modes = context.read(move |context, _| {
            let name = Table::Samples.file_name(u32::try_from(index).unwrap_or(u32::MAX));
            Ok(context.stores.publisher.read_columns(&name, &["mode"])?)
        });
        let modes = context.until_stop(modes).await?;
        let think_on =
            modes.iter().filter(|row| row.first().is_some_and(|mode| mode.as_deref() == Some(Mode::ThinkOn.name())));
        let range = context.run.shard_range(index);
        context.progress.resume(range.end - range.start, modes.len() as u64, think_on.count() as u64);
    }
    Ok(())
}
