//! Any bytes as a chat template.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thinkloom::policy::fuzz::chat_template(bytes));
