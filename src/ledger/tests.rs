use super::*;
use crate::domain::{
    AttemptOutcome, CloseCause, Exclusion, ExclusionReason, FinishReason, Kind, Mode, Origin, Query, QueryId, Reading,
    Rollout, RolloutKey, Verdict, VerdictOutcome,
};

fn rollout(text: &str) -> Rollout {
    Rollout {
        key: RolloutKey("k".to_owned()),
        mode: Mode::ThinkOff,
        sample_index: 1,
        seed: u64::MAX >> 1,
        prompt: "p".to_owned(),
        prefill: String::new(),
        text: text.to_owned(),
        finish_reason: FinishReason::Length,
        forced_close: Some(CloseCause::TokenLimit),
        logprob_sum: Some(-12.3456789012345),
        prompt_tokens: 1,
        completion_tokens: 2,
        reading: Reading::default(),
    }
}

fn rollout_fact(text: &str) -> Fact {
    Fact::Rollout { query_id: QueryId("q".to_owned()), rollout: rollout(text), observed_mode: Mode::ThinkOff }
}

#[tokio::test]
async fn facts_read_back_as_written_and_writing_them_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let verdict = Verdict { outcome: VerdictOutcome::Correct, extracted: Some("4".to_owned()), reason: "r".to_owned() };
    let verdict_fact =
        Fact::Verdict { key: "v".to_owned(), rollout_key: RolloutKey("k".to_owned()), verdict: verdict.clone() };
    for _ in 0..2 {
        ledger.commit(vec![rollout_fact("a\u{0}b"), verdict_fact.clone()]).await.unwrap();
    }
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.rollout(&RolloutKey("k".to_owned())).unwrap(), Some(rollout("a\u{0}b")));
    assert_eq!(reader.rollout(&RolloutKey("other".to_owned())).unwrap(), None);
    assert_eq!(reader.verdict("v").unwrap(), Some(verdict));
    assert_eq!(reader.totals().unwrap().think_off.rollouts, 1);
    reader.check_integrity().unwrap();
}

#[tokio::test]
async fn a_long_text_is_stored_compressed_and_its_content_is_what_counts() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let long = "Step by step: 3 plus 4 is 7. ".repeat(100);
    ledger.commit(vec![rollout_fact(&long)]).await.unwrap();
    let connection = rusqlite::Connection::open(folder.path().join(FILE_NAME)).unwrap();
    let stored: (String, i64) = connection
        .query_row("SELECT text, length(text_zstd) FROM rollout", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert!(stored.0.is_empty() && stored.1 < long.len() as i64 / 10, "{stored:?}");
    assert_eq!(ledger.reader().unwrap().rollout(&RolloutKey("k".to_owned())).unwrap(), Some(rollout(&long)));
    // As an older version, or one with another compressor, stored it.
    for packed in [None, Some(zstd::bulk::compress(long.as_bytes(), 19).unwrap())] {
        let plain = if packed.is_some() { "" } else { long.as_str() };
        connection.execute("UPDATE rollout SET text = ?1, text_zstd = ?2", (plain, &packed)).unwrap();
        ledger.commit(vec![rollout_fact(&long)]).await.unwrap();
        assert!(ledger.commit(vec![rollout_fact("another")]).await.is_err(), "I2");
    }
    assert!(ledger.reader().unwrap().bytes().unwrap() > 4096);
    connection.execute("UPDATE rollout SET text_zstd = x'00'", []).unwrap();
    let unreadable = ledger.reader().unwrap().rollout(&RolloutKey("k".to_owned()));
    assert!(matches!(unreadable, Err(LedgerError::Unreadable { kind: "compressed text", .. })));
}

#[tokio::test]
async fn a_fact_with_another_content_is_refused_and_its_neighbours_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    ledger.commit(vec![rollout_fact("a")]).await.unwrap();
    let attempt = |attempt| Fact::JudgeAttempt {
        request_key: "r".to_owned(),
        attempt,
        query_id: QueryId("q".to_owned()),
        size: CallSize::default(),
    };
    let (bad, good) = tokio::join!(ledger.commit(vec![attempt(1), rollout_fact("b")]), ledger.commit(vec![attempt(2)]));
    assert!(matches!(bad, Err(LedgerError::Conflict { kind: "rollout", .. })), "I2");
    good.unwrap();
    let attempts = ledger.reader().unwrap().attempts("r").unwrap();
    assert_eq!(attempts.iter().map(|record| record.attempt).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_verdict_without_its_rollout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let verdict = Verdict { outcome: VerdictOutcome::Incorrect, extracted: None, reason: "r".to_owned() };
    let fact = Fact::Verdict { key: "v".to_owned(), rollout_key: RolloutKey("none".to_owned()), verdict };
    assert!(ledger.commit(vec![fact]).await.is_err(), "I4");
}

#[tokio::test]
async fn attempts_carry_their_replies_and_failures() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let key = || "r".to_owned();
    let attempt = |attempt| Fact::JudgeAttempt {
        request_key: key(),
        attempt,
        query_id: QueryId("q".to_owned()),
        size: CallSize::default(),
    };
    let failure = Fact::JudgeFailure {
        request_key: key(),
        attempt: 1,
        outcome: AttemptOutcome::HttpError,
        status: Some(500),
        detail: "d".to_owned(),
    };
    let reply = Fact::JudgeReply { request_key: key(), attempt: 2, body: "{}".to_owned() };
    ledger.commit(vec![attempt(1), failure, attempt(2), reply, attempt(3)]).await.unwrap();
    let expected = vec![
        AttemptRecord {
            attempt: 1,
            reply: None,
            failure: Some((AttemptOutcome::HttpError, Some(500), "d".to_owned())),
            is_forgiven: false,
        },
        AttemptRecord { attempt: 2, reply: Some("{}".to_owned()), failure: None, is_forgiven: false },
        AttemptRecord { attempt: 3, reply: None, failure: None, is_forgiven: false },
    ];
    assert_eq!(ledger.reader().unwrap().attempts("r").unwrap(), expected);
    assert_eq!(ledger.attempts("r").await.unwrap(), expected);
    assert_eq!(ledger.attempts("other").await.unwrap(), []);
    let other_reply = Fact::JudgeReply { request_key: key(), attempt: 2, body: "{\"x\":1}".to_owned() };
    assert!(ledger.commit(vec![other_reply]).await.is_err(), "I2");
}

#[tokio::test]
async fn many_look_ups_and_commits_at_once_see_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let tasks = (0..300).map(|index| {
        let ledger = ledger.clone();
        async move {
            let key = format!("r{index}");
            assert_eq!(ledger.attempts(&key).await.unwrap(), []);
            let query_id = QueryId("q".to_owned());
            let attempt =
                Fact::JudgeAttempt { request_key: key.clone(), attempt: 1, query_id, size: CallSize::default() };
            ledger.commit(vec![attempt]).await.unwrap();
            assert_eq!(ledger.attempts(&key).await.unwrap().len(), 1);
        }
    });
    futures::future::join_all(tasks).await;
}

#[tokio::test]
async fn failed_attempts_at_a_response_read_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let failure = |attempt, outcome, status| RolloutFailure { attempt, outcome, status, detail: "d".to_owned() };
    let both = [failure(1, AttemptOutcome::HttpError, Some(500)), failure(2, AttemptOutcome::TransportError, None)];
    for failure in both.iter().rev() {
        let fact = Fact::RolloutFailure { rollout_key: RolloutKey("k".to_owned()), failure: failure.clone() };
        ledger.commit(vec![fact.clone(), fact]).await.unwrap();
    }
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.rollout_failures(&RolloutKey("k".to_owned())).unwrap(), both);
    assert_eq!(reader.rollout_failures(&RolloutKey("other".to_owned())).unwrap(), []);
}

#[test]
fn an_intake_is_stored_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let origin = Origin { file: "f".to_owned(), line: 3 };
    let query = Query {
        id: QueryId("q".to_owned()),
        ordinal: 0,
        source: "s".to_owned(),
        origin: origin.clone(),
        kind: Kind::Code,
        question: "?".to_owned(),
        gold: "A".to_owned(),
        choices: vec!["x".to_owned(), "y".to_owned()],
        tests: vec!["assert f() == 1".to_owned()],
        test_imports: vec!["import math".to_owned()],
        entry_point: Some("f".to_owned()),
        labels: Default::default(),
    };
    let exclusion = Exclusion {
        query_id: None,
        ordinal: 1,
        source: "f".to_owned(),
        origin,
        reason: ExclusionReason::InvalidSyntax,
        detail: "d".to_owned(),
    };
    let rows = [IntakeRow::Query(query), IntakeRow::Excluded(exclusion)];
    let torn = rows.iter().cloned().map(Ok).chain([Err(LedgerError::Closed)]);
    assert!(ledger.store_intake("digest", torn).is_err());
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.intake_rows("digest").unwrap(), 0);
    ledger.store_intake::<LedgerError>("digest", rows.iter().cloned().map(Ok)).unwrap();
    assert_eq!(reader.intake("digest", 0, 10).unwrap(), rows);
    assert_eq!(reader.intake_by_id("digest", "q").unwrap(), rows[..1]);
    assert!(reader.intake_holds("digest", Kind::Code).unwrap());
    assert!(!reader.intake_holds("digest", Kind::Math).unwrap());
    assert!(!reader.intake_holds("other", Kind::Code).unwrap());
}

#[test]
fn a_newer_or_missing_ledger_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(folder.path()), Err(LedgerError::Missing(_))));
    drop(Ledger::open(folder.path()).unwrap());
    let connection = rusqlite::Connection::open(folder.path().join(FILE_NAME)).unwrap();
    connection.execute("INSERT INTO format (version) VALUES (99)", []).unwrap();
    assert!(matches!(Ledger::open(folder.path()), Err(LedgerError::Newer { found: 99, .. })));
    assert!(matches!(Reader::open(folder.path()), Err(LedgerError::Newer { found: 99, .. })));
}

/// Removes the tables and columns of later formats.
fn make_format_1(path: &std::path::Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    for (table, column, _) in ADDED_COLUMNS {
        connection.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column};")).unwrap();
    }
    connection.execute_batch("DELETE FROM format; INSERT INTO format (version) VALUES (1);").unwrap();
}

#[tokio::test]
async fn a_ledger_of_the_first_format_is_read_as_it_is_and_gets_its_columns_when_it_is_opened_for_writing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    ledger.commit(vec![rollout_fact("a")]).await.unwrap();
    drop(ledger);
    make_format_1(&folder.path().join(FILE_NAME));
    let key = RolloutKey("k".to_owned());
    let old = Rollout { forced_close: None, logprob_sum: None, ..rollout("a") };
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.rollout(&key).unwrap(), Some(old.clone()));
    assert_eq!(reader.other_numerics("f32").unwrap(), Vec::<String>::new());
    drop(reader);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.reader().unwrap().rollout(&key).unwrap(), Some(old));
    let newer = Rollout { key: RolloutKey("k2".to_owned()), ..rollout("b") };
    let fact =
        Fact::Rollout { query_id: QueryId("q".to_owned()), rollout: newer.clone(), observed_mode: Mode::ThinkOn };
    ledger.commit(vec![fact]).await.unwrap();
    assert_eq!(ledger.reader().unwrap().rollout(&newer.key).unwrap(), Some(newer));
}

#[tokio::test]
async fn refused_keys_are_kept_in_the_order_in_which_they_were_learnt_and_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let refusal = |side, base_url: &str, key: &str, words: &str| {
        let (base_url, key, words) = (base_url.to_owned(), key.to_owned(), words.to_owned());
        Fact::ServerRefusal(ServerRefusal { side, base_url, model: "m".to_owned(), key, words })
    };
    for fact in [
        refusal("policy", "http://b", "seed", "no"),
        refusal("judge", "http://b", "response_format", "no"),
        refusal("policy", "http://a", "max_tokens", "no"),
        // In other words, and by another server.
        refusal("policy", "http://b", "seed", "no, again"),
        refusal("policy", "http://a", "seed", "never"),
    ] {
        ledger.commit(vec![fact]).await.unwrap();
    }
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.refused_keys("policy", "m", None).unwrap(), ["seed", "max_tokens"]);
    assert_eq!(reader.refused_keys("policy", "m", Some("http://a")).unwrap(), ["max_tokens", "seed"]);
    assert_eq!(reader.refused_keys("judge", "m", Some("http://b")).unwrap(), ["response_format"]);
    assert_eq!(reader.refused_keys("judge", "other", None).unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn starts_remember_the_family_of_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let run = RunRecord {
        fingerprint: "f".to_owned(),
        identity: "{}".to_owned(),
        input_digest: "d".to_owned(),
        row_limit: None,
        queries_per_shard: 1,
        settings: String::new(),
        policy: "{}".to_owned(),
    };
    let start = |numerics: &str| Fact::Start { fingerprint: "f".to_owned(), numerics: numerics.to_owned() };
    ledger.commit(vec![Fact::Run(run), start("f32"), start("amx"), start("amx")]).await.unwrap();
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.other_numerics("f32").unwrap(), ["amx"]);
    assert_eq!(reader.other_numerics("cuda").unwrap(), ["amx", "f32"]);
}

#[tokio::test]
async fn batches_read_back_as_far_as_they_came_and_calls_without_a_reply_with_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let size = CallSize { prompt_tokens_max: 7, completion_tokens_max: 3 };
    let attempt = |key: &str, size| {
        let (request_key, query_id) = (key.to_owned(), QueryId(format!("of {key}")));
        Fact::JudgeAttempt { request_key, attempt: 1, query_id, size }
    };
    let reply = |key: &str| Fact::JudgeReply { request_key: key.to_owned(), attempt: 1, body: "{}".to_owned() };
    let batch = |batch_key: &str, keys: &[&str]| {
        let items = keys.iter().map(|key| ((*key).to_owned(), 1)).collect();
        Fact::JudgeBatch { batch_key: batch_key.to_owned(), base_url: "http://x".to_owned(), items }
    };
    let step = |batch_key: &str, step, value: &str| Fact::JudgeBatchStep {
        batch_key: batch_key.to_owned(),
        step,
        value: value.to_owned(),
    };
    let facts = vec![
        attempt("a", size),
        attempt("b", size),
        batch("one", &["a", "b"]),
        step("one", BatchStep::Uploaded, "file-1"),
        reply("b"),
        attempt("c", size),
        batch("two", &["c"]),
        step("two", BatchStep::Ended, "never_sent"),
        attempt("single", size),
        attempt("free", CallSize::default()),
    ];
    for _ in 0..2 {
        ledger.commit(facts.clone()).await.unwrap();
    }
    let reader = ledger.reader().unwrap();
    let totals = reader.batches().unwrap();
    assert_eq!((totals.ended.get("never_sent"), totals.ended_requests, totals.under_way.len()), (Some(&1), 1, 1));
    let open = &totals.under_way[0];
    assert_eq!((open.batch_key.as_str(), open.requests, &open.provider_id), ("one", 2, &None));
    assert_eq!(open.file_id.as_deref(), Some("file-1"));
    let items = reader.batch_items("one").unwrap();
    let ends: Vec<(&str, bool)> = items.iter().map(|item| (item.request_key.as_str(), item.is_ended)).collect();
    assert_eq!((ends, items[0].size), (vec![("a", false), ("b", true)], size));
    let calls = reader.open_calls().unwrap();
    let mut calls: Vec<(Option<&str>, bool)> =
        calls.iter().map(|call| (call.batch_key.as_deref(), call.is_under_way)).collect();
    calls.sort_unstable();
    assert_eq!(calls, [(None, false), (Some("one"), true), (Some("two"), false)], "what is free is left out");
    let mut replies = Vec::new();
    reader
        .for_each_reply(|reply| replies.push((reply.query_id.to_owned(), reply.is_batched, reply.unix_ms > 0)))
        .unwrap();
    assert_eq!(replies, [("of b".to_owned(), true, true)]);
    let other = Fact::JudgeBatchStep { batch_key: "one".into(), step: BatchStep::Uploaded, value: "file-2".into() };
    assert!(matches!(ledger.commit(vec![other]).await, Err(LedgerError::Conflict { .. })));
}
