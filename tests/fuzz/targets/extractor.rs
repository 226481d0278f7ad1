//! Any text as a response: extraction and verdicts of every kind.
#![no_main]

libfuzzer_sys::fuzz_target!(|response: &str| thinkloom::verify::fuzz::extractor(response));
