//! Any two texts, parted by the first line end, as gold and answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (gold, answer) = text.split_once('\n').unwrap_or((text, text));
    thinkloom::verify::fuzz::latex(gold, answer);
});
