//! Any bytes as a model's config.json.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thinkloom::engine::fuzz::config_json(bytes));
