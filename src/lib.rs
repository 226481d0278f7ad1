//! thinkloom builds hybrid Think-on / Think-off training sets.

pub mod domain;
pub mod engine;
pub mod ingest;
pub mod dedup;
pub mod verify;
pub mod http;
pub mod judge;
pub mod shards;
