//! Servers' replies for responses, byte for byte. The reply is stored beside the parsed response, so that a later
//! version can parse the reply again.

use rusqlite::Connection;

use super::error::LedgerError;
use super::insert::{InsertError, insert_once};
use super::reader::Reader;
use super::texts;
use super::values::{integer, text};
use crate::domain::{Mode, RawReply, RolloutKey};

/// Stores the reply behind a response (attempt 0), or the reply to an attempt that gave no response.
pub(super) fn insert_rollout_reply(
    connection: &Connection,
    rollout_key: &RolloutKey,
    attempt: u32,
    reply: &RawReply,
) -> Result<(), InsertError> {
    let [body, body_zstd] = texts::pack(&reply.body);
    insert_once(
        connection,
        "rollout_reply",
        2,
        &[
            ("rollout_key", text(&rollout_key.0)),
            ("attempt", integer(u64::from(attempt))),
            ("reader", integer(u64::from(reply.reader))),
            ("text", body),
            ("text_zstd", body_zstd),
        ],
    )
}

impl Reader {
    /// Returns the stored reply behind a response, if another version than `reader` parsed it first.
    pub fn reply_of_other_reader(&self, key: &RolloutKey, reader: u32) -> Result<Option<RawReply>, LedgerError> {
        if self.format < 6 {
            return Ok(None);
        }
        let sql = "SELECT reader, text, text_zstd FROM rollout_reply \
                   WHERE rollout_key = ?1 AND attempt = 0 AND reader <> ?2";
        self.raw_reply(sql, (&key.0, reader))
    }

    /// Returns a server's reply: the one behind a response (attempt 0), or the one to an attempt that gave no response.
    pub fn rollout_reply(&self, key: &RolloutKey, attempt: u32) -> Result<Option<RawReply>, LedgerError> {
        if self.format < 6 {
            return Ok(None);
        }
        let sql = "SELECT reader, text, text_zstd FROM rollout_reply WHERE rollout_key = ?1 AND attempt = ?2";
        self.raw_reply(sql, (&key.0, attempt))
    }

    fn raw_reply(&self, sql: &str, parameters: (&String, u32)) -> Result<Option<RawReply>, LedgerError> {
        let found = self.one(sql, parameters, |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, Option<Vec<u8>>>(2)?))
        })?;
        let Some((reader, text, packed)) = found else { return Ok(None) };
        Ok(Some(RawReply { reader, body: texts::unpack(text, packed.as_deref())? }))
    }

    /// Returns the replies behind the first responses recorded since a policy's first start, in order.
    pub fn first_replies(&self, policy: &str, count: u32) -> Result<Vec<String>, LedgerError> {
        if self.format < 6 {
            return Ok(Vec::new());
        }
        let sql = "SELECT rollout_reply.text, rollout_reply.text_zstd FROM rollout \
                   JOIN rollout_reply ON rollout_key = rollout.key AND attempt = 0 \
                   WHERE recorded_unix_ms >= \
                   (SELECT min(started_unix_ms) FROM start JOIN run USING (fingerprint) WHERE run.policy = ?1) \
                   ORDER BY recorded_unix_ms LIMIT ?2";
        let found =
            self.many(sql, (policy, count), |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<Vec<u8>>>(1)?)))?;
        found.into_iter().map(|(text, packed)| texts::unpack(text, packed.as_deref())).collect()
    }

    /// Returns the first responses in a mode recorded since a configuration's first start, in order.
    pub fn first_rollouts(&self, fingerprint: &str, mode: Mode, count: u32) -> Result<Vec<RolloutKey>, LedgerError> {
        let sql = "SELECT key FROM rollout WHERE mode = ?2 AND recorded_unix_ms >= \
                   (SELECT min(started_unix_ms) FROM start WHERE fingerprint = ?1) ORDER BY rowid LIMIT ?3";
        let keys = self.many(sql, (fingerprint, mode.name(), count), |row| row.get(0))?;
        Ok(keys.into_iter().map(RolloutKey).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fact, Ledger};
    use super::*;

    fn reply(reader: u32, body: &str) -> RawReply {
        RawReply { reader, body: body.to_owned() }
    }

    fn fact(attempt: u32, reply: RawReply) -> Fact {
        Fact::RolloutReply { rollout_key: RolloutKey("k".to_owned()), attempt, reply }
    }

    #[tokio::test]
    async fn replies_come_back_byte_for_byte_and_never_change() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let key = RolloutKey("k".to_owned());
        let long = format!("{{\"choices\":[\"{}\"]}}\n", "step by step ".repeat(300));
        for (attempt, body) in [(0, long.as_str()), (1, "{}"), (2, "\u{0}\u{e9}")] {
            ledger.commit(vec![fact(attempt, reply(2, body))]).await.unwrap();
            // A later reader version is not another content.
            ledger.commit(vec![fact(attempt, reply(3, body))]).await.unwrap();
            assert!(ledger.commit(vec![fact(attempt, reply(2, "other"))]).await.is_err());
            assert_eq!(ledger.reader().unwrap().rollout_reply(&key, attempt).unwrap(), Some(reply(2, body)));
        }
        let reader = ledger.reader().unwrap();
        assert_eq!(reader.reply_of_other_reader(&key, 2).unwrap(), None);
        assert_eq!(reader.reply_of_other_reader(&key, 3).unwrap(), Some(reply(2, &long)));
        assert_eq!(reader.rollout_reply(&RolloutKey("other".to_owned()), 0).unwrap(), None);
    }
}
