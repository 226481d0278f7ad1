#![doc = include_str!("ARCHITECTURE.md")]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests use files and clocks as they are")
)]

pub use thinkloom_domain as domain;
pub use thinkloom_reward::template;
pub mod sys;
pub mod config;
pub mod http;
pub mod hub;
pub use thinkloom_engine as engine;
pub mod policy;
pub mod ingest;
pub mod category;
pub mod dedup;
pub use thinkloom_verify as verify;
pub mod select;
pub mod difficulty;
pub use thinkloom_reward as reward;
pub mod judge;
pub mod ledger;
pub mod shards;
pub mod pipeline;
pub mod export;
pub mod report;
pub mod view;
pub mod eval;
pub mod serve;
pub mod guide;
pub mod telemetry;
pub mod cli;
