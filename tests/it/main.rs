//! Integration tests: they run the real binary on a tiny model and read its files with independent readers.
//!
//! All modules form one test binary, so that the dependencies are linked once. `support` has the shared helpers. No
//! test depends on the working directory, the time of day, or a network other than the loopback address.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test may end in a panic, and uses files and clocks as they are; nothing outside uses its items"
)]

mod bad_input;
#[cfg(target_os = "linux")]
mod code;
mod commands;
mod curtailed;
mod damage;
mod dedup;
mod edits;
mod export;
mod files;
mod guide;
mod hostile;
mod hub;
mod intake;
mod judge;
mod judge_batch;
mod judge_checks;
#[cfg(target_os = "linux")]
mod limits;
mod long_rows;
#[allow(dead_code, unused_imports, reason = "each binary uses another part of it")]
#[path = "../mock/mod.rs"]
mod mock;
mod outages;
mod outputs;
mod policy_http;
mod policy_replies;
mod redecide;
mod refused_keys;
mod report;
mod resume;
mod reward;
mod run;
mod serve;
#[cfg(target_os = "linux")]
mod stop;
mod storm;
mod support;
mod tidy;
mod verdicts;
