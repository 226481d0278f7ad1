//! Any bytes as a GGUF file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // What the program catches of its libraries' panics is no finding; what it does not catch still is one.
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))));
    thinkloom::engine::fuzz::gguf(bytes);
});
