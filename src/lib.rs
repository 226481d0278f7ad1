//! thinkloom builds hybrid Think-on / Think-off training sets.

pub mod domain;
pub mod sys;
pub mod config;
pub mod engine;
pub mod policy;
pub mod ingest;
pub mod dedup;
pub mod verify;
pub mod template;
pub mod select;
pub mod difficulty;
pub mod http;
pub mod judge;
pub mod ledger;
pub mod shards;
pub mod pipeline;
pub mod telemetry;
pub mod cli;
