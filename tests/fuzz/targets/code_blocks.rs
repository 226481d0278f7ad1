//! Any text as a response that holds programs.
#![no_main]

libfuzzer_sys::fuzz_target!(|response: &str| thinkloom::verify::fuzz::code_blocks(response));
