//! Any bytes as a streamed reply, cut anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thinkloom::http::fuzz::sse(bytes));
