//! Reads the results of a batch.
//!
//! The results are paid for, so they are requested until they are complete: a result file that is missing, torn, or
//! shorter than the provider's count is read again after a wait, [`RESULT_READS_MAX`] times. Then the run stops, and
//! the next start continues with the same files. Only after three days does a missing file count as lost ([`is_gone`]),
//! and its requests as unanswered. Only lines about requests of the batch count as results. Failures are stored last:
//! after a line that reports a failure, another line may have the reply.

use std::collections::{BTreeMap, HashSet};

use super::carry::{COMMIT_MAX, Carrier, TRIES_MAX, is_gone};
use super::request::Items;
use crate::http::CallFailure;
use crate::http::batch::{BatchState, BatchStatus};
use crate::judge::AskError;
use crate::judge::batch::{BatchEnd, BatchResult, read_line};
use crate::ledger::BatchRecord;

/// Reads of result files that are incomplete.
const RESULT_READS_MAX: u32 = 8;
/// The longest time between two reads, in poll intervals: about seven minutes in all by default.
const READS_APART_MAX: u32 = 4;
/// Reads of the result files of a batch that ended early, if nothing states how many requests it answered.
const ENDED_READS_MAX: u32 = 3;
/// Statuses of a file that does not exist (yet).
const NO_FILE: &[u16] = &[400, 404, 409, 410, 422, 425];

impl Carrier {
    /// Stores the results of an ended batch, and reads its files again until they are complete.
    ///
    /// # Errors
    /// [`AskError::ResultsMissing`] if they are not complete in time.
    pub(super) async fn fetch(
        &self,
        record: &BatchRecord,
        mut state: BatchState,
        items: &mut Items,
        fatal: &mut Option<CallFailure>,
    ) -> Result<(), AskError> {
        let every = self.poll();
        let mut found = Found::new(record, items);
        for reads in 1.. {
            let ids_before = found.ids.len();
            found.is_torn = false;
            found.missing = None;
            for file_id in &state.result_files {
                self.store_results(file_id, items, fatal, &mut found).await?;
            }
            let Some(lack) = found.lack(&state, items) else { break };
            if is_gone(record) {
                tracing::warn!("batch {}: {lack}, days after it began: the missing requests are sent again", state.id);
                break;
            }
            let is_unchanged = state.results.is_none() && found.is_sound() && found.ids.len() == ids_before;
            if is_unchanged && reads >= ENDED_READS_MAX && state.status != BatchStatus::Completed {
                break;
            }
            if reads == RESULT_READS_MAX {
                // A provider without counts leaves unanswered requests out of its files, which then do not change.
                if is_unchanged && !found.ids.is_empty() {
                    break;
                }
                return Err(AskError::ResultsMissing { batch: state.id, problem: lack });
            }
            if reads == 1 {
                tracing::warn!("batch {}: {lack}; its results are read again", state.id);
            }
            tokio::time::sleep(every * reads.min(READS_APART_MAX)).await;
            // A provider may name the files after the end.
            match self.look(&state.id).await? {
                Some(later) if later.status == BatchStatus::UnderWay => {}
                Some(later) => state = later,
                None => {}
            }
        }
        let mut failures: Vec<(String, BatchEnd)> = found.failures.into_iter().collect();
        while !failures.is_empty() {
            let rest = failures.split_off(failures.len().min(COMMIT_MAX));
            self.store(std::mem::replace(&mut failures, rest), items, fatal).await?;
        }
        Ok(())
    }

    /// Stores the results of one file. After a broken connection, reads it again and stores the remaining results.
    async fn store_results(
        &self,
        file_id: &str,
        items: &mut Items,
        fatal: &mut Option<CallFailure>,
        found: &mut Found,
    ) -> Result<(), AskError> {
        let mut tries = 0;
        loop {
            let failure = match self.api.results(file_id).await {
                Ok(mut lines) => {
                    let mut ends: Vec<(String, BatchEnd)> = Vec::new();
                    let failure = loop {
                        let line = lines.next().await;
                        let is_last = !matches!(line, Ok(Some(_)));
                        if let Ok(Some(text)) = &line
                            && let Some(result) = found.read(text)
                            && items.contains_key(&result.custom_id)
                        {
                            let BatchResult { custom_id, end } = result;
                            match end {
                                BatchEnd::Reply(_) => ends.push((custom_id, end)),
                                failed => drop(found.failures.entry(custom_id).or_insert(failed)),
                            }
                        }
                        if is_last || ends.len() == COMMIT_MAX {
                            self.store(std::mem::take(&mut ends), items, fatal).await?;
                        }
                        match line {
                            Ok(Some(_)) => {}
                            Ok(None) => break None,
                            Err(failure) => break Some(failure),
                        }
                    };
                    match failure {
                        None => return Ok(()),
                        Some(failure) => failure,
                    }
                }
                Err(failure) if failure.status.is_some_and(|status| NO_FILE.contains(&status)) => {
                    found.missing = Some(failure.detail);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            tries += 1;
            self.patience(&failure, tries, TRIES_MAX, file_id).await?;
        }
    }
}

/// The contents of a batch's result files.
struct Found {
    /// The requests whose results are wanted.
    own: HashSet<String>,
    /// Requests whose results were stored before.
    before: u64,
    /// The requests with a result.
    ids: HashSet<String>,
    /// Requests whose only result so far is a failure.
    failures: BTreeMap<String, BatchEnd>,
    /// Whether a line was cut, or was not a result.
    is_torn: bool,
    /// Lines about requests that are not in the batch.
    others: u64,
    /// The error of a file that could not be read.
    missing: Option<String>,
}

impl Found {
    fn new(record: &BatchRecord, items: &Items) -> Self {
        Self {
            own: items.keys().cloned().collect(),
            before: record.requests.saturating_sub(items.len() as u64),
            ids: HashSet::new(),
            failures: BTreeMap::new(),
            is_torn: false,
            others: 0,
            missing: None,
        }
    }

    fn read(&mut self, line: &str) -> Option<BatchResult> {
        let result = read_line(line);
        match &result {
            Some(result) if self.own.contains(&result.custom_id) => drop(self.ids.insert(result.custom_id.clone())),
            // The files also contain results that an earlier start stored.
            Some(_) => self.others += 1,
            None => self.is_torn = true,
        }
        result
    }

    /// Returns whether each file was read to its end.
    fn is_sound(&self) -> bool {
        !self.is_torn && self.missing.is_none()
    }

    /// Returns a description of the missing results, if any.
    fn lack(&self, state: &BatchState, items: &Items) -> Option<String> {
        let missing = items.keys().filter(|id| !self.failures.contains_key(*id)).count();
        if missing == 0 {
            return None;
        }
        let count = self.before.saturating_add(self.ids.len() as u64);
        match (&self.missing, state.results) {
            (Some(problem), _) => Some(format!("a result file is missing ({problem})")),
            (None, Some(results)) if count < results => {
                Some(format!("its result files have {count} of {results} results"))
            }
            (None, Some(_)) => None,
            (None, None) if self.is_torn => Some("a result file is cut".to_owned()),
            (None, None) => {
                let others =
                    if self.others > self.before { ", and lines of requests that are not in the batch" } else { "" };
                // A provider that answered every request names the files of all results.
                Some(match state.status {
                    BatchStatus::Completed => format!("its result files have no line for {missing} requests{others}"),
                    _ => format!(
                        "the provider does not state whether it answered {missing} requests before the batch ended{others}"
                    ),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Item;
    use super::*;

    fn record(requests: u64) -> BatchRecord {
        let (file_id, provider_id) = (None, None);
        let (batch_key, base_url) = ("b".to_owned(), String::new());
        BatchRecord { batch_key, base_url, requests, begun_unix_ms: 0, file_id, provider_id }
    }

    fn items(ids: &[&str]) -> Items {
        let item =
            |id: &&str| ((*id).to_owned(), Item { request_key: (*id).to_owned(), attempt: 1, reservation: None });
        ids.iter().map(item).collect()
    }

    fn state(status: BatchStatus, results: Option<u64>) -> BatchState {
        let (id, status_name, problem) = ("b".to_owned(), String::new(), String::new());
        BatchState { id, status, status_name, result_files: vec!["f".to_owned()], results, problem }
    }

    fn line(id: &str) -> String {
        format!(r#"{{"custom_id":"{id}","response":{{"status_code":200,"body":{{}}}}}}"#)
    }

    #[test]
    fn lines_of_other_requests_and_repeated_ones_are_no_results() {
        let held = items(&["a", "b"]);
        let mut found = Found::new(&record(2), &held);
        for id in ["x", "y", "a", "a"] {
            found.read(&line(id));
        }
        for (status, results) in
            [(BatchStatus::Completed, Some(2)), (BatchStatus::Completed, None), (BatchStatus::Expired, None)]
        {
            assert!(found.lack(&state(status, results), &held).is_some(), "{status:?} {results:?}");
        }
        found.read(&line("b"));
        assert_eq!(found.lack(&state(BatchStatus::Completed, Some(2)), &held), None);
    }

    #[test]
    fn what_an_earlier_start_stored_counts_as_found() {
        let held = items(&["b", "c"]);
        let mut found = Found::new(&record(3), &held);
        found.read(&line("a"));
        assert!(found.lack(&state(BatchStatus::Completed, Some(3)), &held).is_some());
        found.read(&line("b"));
        found.read(&line("c"));
        assert_eq!(found.lack(&state(BatchStatus::Completed, Some(3)), &held), None);
    }
}
