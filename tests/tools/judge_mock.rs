//! The mock server as a separate process: `cargo run --release --example judge-mock -- --rate-429 0.1 --latency-ms 5`

#![allow(
    clippy::disallowed_methods,
    clippy::iter_over_hash_type,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a server for tests, with the terminal for its only output; nothing outside uses its items"
)]

#[allow(dead_code, unused_imports, reason = "each binary uses another part of it")]
#[path = "../mock/mod.rs"]
mod mock;

use mock::{Knobs, Mock, USAGE};

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return std::process::ExitCode::SUCCESS;
    }
    match Knobs::parse(&arguments) {
        Ok(knobs) => {
            let mock = Mock::with(knobs);
            println!("listening on {}", mock.base_url());
            mock.wait();
            std::process::ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            std::process::ExitCode::from(2)
        }
    }
}
