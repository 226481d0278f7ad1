//! Integration tests: the real binary on a tiny model, its files read by other means than its own.
//!
//! One test binary, so that the tree is linked once. `support` holds what the modules share; no test depends on the
//! working directory, the network beyond the loopback address, or the time of day.

mod bad_input;
#[cfg(target_os = "linux")]
mod code;
mod commands;
mod curtailed;
mod damage;
mod dedup;
mod edits;
mod export;
mod hub;
mod intake;
mod judge;
mod judge_batch;
mod judge_checks;
#[allow(dead_code, unused_imports, reason = "each binary uses another part of it")]
#[path = "../mock/mod.rs"]
mod mock;
mod policy_http;
mod redecide;
mod report;
mod resume;
mod reward;
mod run;
mod serve;
mod storm;
mod support;
mod tidy;
mod verdicts;
