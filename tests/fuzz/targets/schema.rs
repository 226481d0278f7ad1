//! Any JSON schema, followed through any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thinkloom::engine::grammar_fuzz::grammar(bytes));
