//! The auditor: reads the disk as another program would, with its own SQL and Parquet readers, and compares it with
//! the requests and replies that the simulated servers recorded.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};
use thinkloom::ledger::{Fact, ServerRefusal};

use crate::disk::Disk;
use crate::outside::Outside;
use crate::vfs::Vfs;

/// The facts of a ledger by name, with their content (times left out).
pub type Facts = BTreeMap<String, String>;

/// Kinds of facts: table, columns of the key, columns of the content.
const KINDS: &[(&str, &str, &str)] = &[
    ("prompt", "sha256", "text"),
    ("rollout", "key", "mode || sample_index || '/' || seed || '/' || finish_reason || '/' || completion_tokens"),
    ("verdict", "key", "rollout_key || outcome || reason"),
    ("judge_attempt", "request_key || ' ' || attempt", "query_id"),
    ("judge_reply", "request_key || ' ' || attempt", "hex(body)"),
    ("judge_failure", "request_key || ' ' || attempt", "outcome || detail"),
    ("rollout_cut", "rollout_key || ' ' || longer_than", "''"),
    ("prompter", "hash", "source"),
    ("judge_batch", "batch_key", "base_url || requests"),
    ("judge_batch_step", "batch_key || ' ' || step", "value"),
    ("rollout_failure", "rollout_key || ' ' || attempt", "outcome || detail"),
    ("server_refusal", "side || ' ' || base_url || ' ' || model || ' ' || key", "''"),
    ("forgiven", "key || ' ' || attempt", "round"),
    ("rollout_reply", "rollout_key || ' ' || attempt", "text || hex(coalesce(text_zstd, ''))"),
    ("shard_begun", "fingerprint || ' ' || table_name || ' ' || shard_index || ' ' || sha256", "file_name"),
    ("shard", "fingerprint || ' ' || table_name || ' ' || shard_index", "sha256"),
    ("intake", "input_digest || ' ' || ordinal", "coalesce(query_id, '') || coalesce(excluded_reason, '')"),
    ("run", "fingerprint", "identity"),
];

/// Returns the name of a fact that is stored under a key of its own; `start` has none.
pub fn name_of(fact: &Fact) -> Option<(String, String)> {
    let named = |kind: &str, key: &str| Some((format!("{kind} {key}"), String::new()));
    match fact {
        Fact::Start { .. } => None,
        Fact::Run(run) => named("run", &run.fingerprint),
        Fact::Rollout { rollout, .. } => named("rollout", &rollout.key.0),
        Fact::Verdict { key, .. } => named("verdict", key),
        Fact::JudgeAttempt { request_key, attempt, .. } => named("judge_attempt", &format!("{request_key} {attempt}")),
        Fact::JudgeReply { request_key, attempt, .. } => named("judge_reply", &format!("{request_key} {attempt}")),
        Fact::JudgeFailure { request_key, attempt, .. } => named("judge_failure", &format!("{request_key} {attempt}")),
        Fact::RolloutFailure { rollout_key, failure } => {
            named("rollout_failure", &format!("{} {}", rollout_key.0, failure.attempt))
        }
        Fact::RolloutReply { rollout_key, attempt, .. } => {
            named("rollout_reply", &format!("{} {attempt}", rollout_key.0))
        }
        Fact::RolloutCut { rollout_key, longer_than } => {
            named("rollout_cut", &format!("{} {longer_than}", rollout_key.0))
        }
        Fact::Prompter { hash, .. } => named("prompter", hash),
        Fact::JudgeBatch { batch_key, .. } => named("judge_batch", batch_key),
        Fact::JudgeBatchStep { batch_key, step, .. } => {
            named("judge_batch_step", &format!("{batch_key} {}", step.name()))
        }
        Fact::Forgiven { key, attempt, .. } => named("forgiven", &format!("{key} {attempt}")),
        Fact::ServerRefusal(refusal) => {
            let ServerRefusal { side, base_url, model, key, .. } = refusal;
            named("server_refusal", &format!("{side} {base_url} {model} {key}"))
        }
        Fact::ShardBegun(shard) => {
            named("shard_begun", &format!("{} {} {} {}", shard.fingerprint, shard.table, shard.index, shard.sha256))
        }
        Fact::Shard(shard) => {
            let (name, _) = named("shard", &format!("{} {} {}", shard.fingerprint, shard.table, shard.index))?;
            Some((name, shard.sha256.clone()))
        }
    }
}

/// Opens the ledger on a disk image; none if there is none yet.
fn open(vfs: &Vfs, disk: &Disk) -> Option<Connection> {
    disk.find("ledger.sqlite")?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Some(Connection::open_with_flags_and_vfs("/ledger.sqlite", flags, vfs.name().as_str()).unwrap())
}

fn texts(connection: &Connection, sql: &str) -> Vec<Vec<Option<String>>> {
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|index| row.get(index)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn first(connection: &Connection, sql: &str) -> String {
    texts(connection, sql).into_iter().flatten().flatten().next().unwrap_or_default()
}

/// Returns the judge attempts on a disk that came to no end that is known.
pub fn attempts_without_end(disk: &Disk) -> Vec<(String, u32)> {
    let image = disk.image();
    let vfs = Vfs::new(image.clone(), 0);
    let Some(connection) = open(&vfs, &image) else { return Vec::new() };
    let sql = "SELECT request_key, CAST(attempt AS TEXT) FROM judge_attempt LEFT JOIN judge_failure USING (request_key, \
               attempt) LEFT JOIN judge_reply USING (request_key, attempt) WHERE outcome IS NULL AND body IS NULL";
    let rows = texts(&connection, sql).into_iter().map(|row| row.into_iter().map(Option::unwrap).collect());
    rows.map(|row: Vec<String>| (row[0].clone(), row[1].parse().unwrap())).collect()
}

/// What an audit was given of earlier ones.
#[derive(Debug, Default)]
pub struct Auditor {
    /// All facts that were ever seen.
    known: Facts,
    /// Audits made.
    pub audits: u64,
}

impl Auditor {
    /// Audits a copy of the disk, and tells the outside world of every breach. `attempts_max` is the bound of I5.
    pub fn audit(&mut self, disk: &Disk, outside: &Outside, attempts_max: u32) {
        self.audits += 1;
        let image = disk.image();
        let vfs = Vfs::new(image.clone(), 0);
        let Some(connection) = open(&vfs, &image) else {
            self.compare_facts(Facts::new(), outside);
            return;
        };
        let integrity = connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        if integrity.as_deref() != Ok("ok") {
            outside.breach(format!("the ledger's pages are damaged: {integrity:?}"));
            return;
        }
        if first(&connection, "SELECT CAST(count(*) AS TEXT) FROM sqlite_schema WHERE name = 'shard'") != "1" {
            self.compare_facts(Facts::new(), outside);
            return;
        }
        let mut facts = Facts::new();
        for (table, key, content) in KINDS {
            for row in texts(&connection, &format!("SELECT '{table} ' || {key}, {content} FROM {table}")) {
                let mut row = row.into_iter().map(Option::unwrap_or_default);
                facts.insert(row.next().unwrap(), row.next().unwrap());
            }
        }
        self.compare_facts(facts, outside);
        check_judge_calls(&connection, outside, attempts_max);
        check_charges(&connection, outside);
        check_files(&connection, &image, outside);
        for dangling in texts(&connection, "PRAGMA foreign_key_check") {
            outside.breach(format!("I4: a fact points at nothing: {dangling:?}"));
        }
    }

    /// I2: facts are never lost and never change; and what was acknowledged is there.
    fn compare_facts(&mut self, facts: Facts, outside: &Outside) {
        for (name, content) in &self.known {
            match facts.get(name) {
                None => outside.breach(format!("I2: {name} is gone")),
                Some(found) if found != content => outside.breach(format!("I2: {name} changed")),
                Some(_) => {}
            }
        }
        for (name, content) in outside.acknowledged() {
            match facts.get(&name) {
                None => outside.breach(format!("I2: {name} was acknowledged and is not there")),
                Some(found) if !content.is_empty() && *found != content => {
                    outside.breach(format!("I2: {name} is not what was acknowledged"));
                }
                Some(_) => {}
            }
        }
        self.known = facts;
    }
}

/// I5: every call that the server saw was recorded before, and no request has more attempts that count than are allowed:
/// neither those that a fault of the server ended, nor those that the process did not survive.
fn check_judge_calls(connection: &Connection, outside: &Outside, attempts_max: u32) {
    let counted = |condition: &str| -> BTreeMap<String, u32> {
        let sql = format!(
            "SELECT judge_attempt.request_key, CAST(count(*) AS TEXT) FROM judge_attempt \
             LEFT JOIN judge_failure USING (request_key, attempt) LEFT JOIN judge_reply USING (request_key, attempt) \
             WHERE coalesce(outcome, '') NOT IN ('unreachable', 'refused') {condition} GROUP BY 1"
        );
        let rows = texts(connection, &sql);
        rows.into_iter()
            .map(|row| {
                let mut row = row.into_iter().map(Option::unwrap);
                (row.next().unwrap(), row.next().unwrap().parse().unwrap())
            })
            .collect()
    };
    let recorded = counted("");
    for (key, calls) in outside.judge_calls() {
        let attempts = recorded.get(&key).copied().unwrap_or(0);
        if calls > attempts {
            outside.breach(format!("I5: the server saw {calls} calls of {key}, the ledger knows {attempts}"));
        }
    }
    let charged = counted("AND coalesce(outcome, '') <> 'server_down' AND (outcome IS NOT NULL OR body IS NOT NULL)");
    for (key, attempts) in charged {
        if attempts > attempts_max {
            outside.breach(format!("I5: {key} has {attempts} attempts, {attempts_max} are allowed"));
        }
    }
}

/// I9: whatever is charged to a request as a failed attempt is a call that failed while the process lived; what a kill cut
/// is none, nor is one for which no call was made.
fn check_charges(connection: &Connection, outside: &Outside) {
    let sql = "SELECT request_key || ' ' || attempt, outcome FROM judge_failure WHERE outcome <> 'server_fell'";
    for row in texts(connection, sql) {
        let [call, outcome]: [String; 2] = row.into_iter().map(Option::unwrap).collect::<Vec<_>>().try_into().unwrap();
        if !outside.has_returned(&call) {
            outside.breach(format!("I9: attempt {call} is recorded as {outcome}, and its call never came to an end"));
        }
    }
}

/// I1, I3 and I4 over the published files of the latest configuration.
fn check_files(connection: &Connection, image: &Disk, outside: &Outside) {
    let latest = first(connection, "SELECT fingerprint FROM start ORDER BY sequence DESC LIMIT 1");
    let explained: BTreeSet<String> = texts(connection, "SELECT file_name || ' ' || sha256 FROM shard_begun")
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    // A configuration that the directory has come back to: others may have replaced or removed its files, until it has
    // published again.
    let sql = format!(
        "SELECT CAST(count(*) AS TEXT) FROM start WHERE fingerprint <> '{latest}' AND sequence > \
         (SELECT min(sequence) FROM start WHERE fingerprint = '{latest}')"
    );
    let has_come_back = first(connection, &sql) != "0";
    let mut replaced = BTreeSet::new();
    let sql = "SELECT file_name, sha256, table_name, CAST(shard_index AS TEXT), CAST(first_ordinal AS TEXT), \
               CAST(end_ordinal AS TEXT) FROM shard WHERE fingerprint = '{}' ORDER BY 1";
    let mut ordinals: BTreeMap<String, (BTreeMap<i64, u32>, [i64; 2])> = BTreeMap::new();
    for row in texts(connection, &sql.replace("{}", &latest)) {
        let row: Vec<String> = row.into_iter().map(Option::unwrap).collect();
        let [name, sha256, table, index, start, end] = row.try_into().unwrap();
        let Some(bytes) = image.find(&name).and_then(|file| image.bytes(file)) else {
            if has_come_back {
                replaced.insert(index);
            } else {
                outside.breach(format!("I3: {name} is recorded and missing"));
            }
            continue;
        };
        let found = hex::encode(Sha256::digest(&bytes));
        if found != sha256 {
            if has_come_back && explained.contains(&format!("{name} {found}")) {
                replaced.insert(index);
            } else {
                outside.breach(format!("I3: {name} has another content than recorded"));
            }
            continue;
        }
        if table == "rollouts" {
            continue;
        }
        let range = [start.parse().unwrap(), end.parse().unwrap()];
        let (seen, _) = ordinals.entry(index).or_insert_with(|| (BTreeMap::new(), range));
        for row in rows(&bytes) {
            *seen.entry(row.ordinal).or_default() += 1;
            if table == "samples" && !has_evidence(connection, &row) {
                outside.breach(format!("I4: the sample of {:?} has no correct response behind it", row.query));
            }
        }
    }
    for (index, (seen, [start, end])) in ordinals {
        if replaced.contains(&index) {
            continue;
        }
        let is_whole = (start..end).all(|ordinal| seen.get(&ordinal) == Some(&1)) && seen.len() as i64 == end - start;
        // Both tables of a shard are recorded in one transaction.
        if !is_whole {
            outside.breach(format!("I1: shard {index} does not hold each of {start}..{end} once: {seen:?}"));
        }
    }
}

/// What is read of a published row.
struct Published {
    ordinal: i64,
    query: String,
    mode: Option<String>,
    seed: Option<i64>,
}

/// Returns the rows of a file of exclusions, to say how two differ.
pub fn exclusions(bytes: &[u8]) -> Vec<String> {
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(bytes)).unwrap();
    reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect()
}

fn rows(bytes: &[u8]) -> Vec<Published> {
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(bytes)).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let column = |name: &str| schema.root_schema().get_fields().iter().position(|field| field.name() == name);
    let (ordinal, query) = (column("ordinal").unwrap(), column("query_id").unwrap());
    let (mode, seed) = (column("mode"), column("seed"));
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    rows.map(|row| Published {
        ordinal: row.get_long(ordinal).unwrap(),
        query: row.get_string(query).cloned().unwrap_or_default(),
        mode: mode.map(|mode| row.get_string(mode).unwrap().clone()),
        seed: seed.map(|seed| row.get_long(seed).unwrap()),
    })
    .collect()
}

fn has_evidence(connection: &Connection, row: &Published) -> bool {
    let sql = "SELECT count(*) FROM rollout JOIN verdict ON rollout_key = rollout.key \
               WHERE query_id = ?1 AND mode = ?2 AND seed = ?3 AND outcome = 'correct'";
    let found: i64 = connection.query_row(sql, (&row.query, &row.mode, row.seed), |row| row.get(0)).unwrap();
    found > 0
}
