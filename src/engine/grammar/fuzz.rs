//! Promises that hold for any schema and any text: the test body that the fuzz target and the property tests share.

use std::sync::{Arc, LazyLock};

use super::rules::NEVER;
use super::walk::{Limit, Walk};
use super::{Grammar, LEVEL_ITEMS_MAX, Matcher, OrderedSchema, STEP_WORK_MAX, TooComplex};
use crate::tokenizer::TokenTrie;

/// Maximum tokens of a text.
const TOKENS_MAX: u32 = 400;
/// Maximum items of one level: each item names a part of the schema and the progress in that part.
const LEVEL_MAX: usize = 1 << 17;
/// Maximum nesting that an independent JSON reader supports.
const READER_DEPTH_MAX: usize = 120;

/// Tokens of several bytes, in addition to one token per byte.
const TOKENS: &[&str] = &[
    "{\"",
    "\":",
    "\":\"",
    "\",\"",
    "}}",
    "]]",
    "[[",
    "{{{",
    " \"",
    ", ",
    ": ",
    "null",
    "true",
    "12",
    "1,",
    "\"a",
    "aaa",
    "a\":{\"a\":",
    "\"}",
    "],",
    "[]",
    "{}",
    "\\u00",
    "0.5e1",
    "\u{e9}",
    "\u{1f600}",
];

static VOCABULARY: LazyLock<(Vec<Box<[u8]>>, TokenTrie)> = LazyLock::new(|| {
    let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
    let all: Vec<Box<[u8]>> =
        bytes.chain(TOKENS.iter().map(|token| token.as_bytes().to_vec())).map(Vec::into_boxed_slice).collect();
    let trie = TokenTrie::new(&all, |_| true);
    (all, trie)
});

/// Reads a schema; uses the remaining bytes as choices among the tokens that the schema allows, and then as a text.
///
/// # Panics
/// If a schema is neither rejected with a short error nor followed correctly: every allowed token continues the text,
/// far from the limit no other token does, no level exceeds its bound, and every text ends within its token limit.
pub fn grammar(bytes: &[u8]) {
    let mut schemas = serde_json::Deserializer::from_slice(bytes).into_iter::<OrderedSchema>();
    let Some(Ok(OrderedSchema(schema))) = schemas.next() else { return };
    let choices = bytes.get(schemas.byte_offset()..).unwrap_or_default();
    let grammar = match Grammar::compile(&schema) {
        Ok(grammar) => Arc::new(grammar),
        Err(error) => {
            let error = error.to_string();
            assert!(error.len() < 20_000, "an error of {} bytes", error.len());
            return;
        }
    };
    let least = grammar.tokens_min();
    let spare = u32::from(choices.first().copied().unwrap_or(0));
    if least < TOKENS_MAX {
        // A step that exceeds its work limit returns an error, which is allowed; only a crash is not.
        let _ = write(&grammar, choices, (least + spare).min(TOKENS_MAX));
    }
    let _ = wander(&grammar, choices, u32::MAX);
    follow(&grammar, choices);
}

/// Writes a text to its end.
fn write(grammar: &Arc<Grammar>, choices: &[u8], tokens_max: u32) -> Result<(), TooComplex> {
    let (tokens, trie) = &*VOCABULARY;
    let (mut matcher, mut text) = (Matcher::new(Arc::clone(grammar)), Vec::new());
    let mut choices = choices.iter().chain(std::iter::repeat(&0));
    for left in (1..=tokens_max).rev() {
        let allowed: Vec<u32> = matcher.allowed(trie, left)?.tokens().collect();
        if allowed.is_empty() {
            break;
        }
        let choice = usize::from(choices.next().copied().unwrap_or(0));
        let token = tokens.get(allowed.get(choice % allowed.len()).copied().unwrap_or(0) as usize);
        let Some(token) = token else { return Ok(()) };
        assert!(matcher.advance(token), "an allowed token does not go on with {:?}", String::from_utf8_lossy(&text));
        assert!(matcher.needed() < left, "{} bytes are needed, {} tokens are left", matcher.needed(), left - 1);
        check_bounds(&matcher);
        text.extend_from_slice(token);
        if matcher.is_finished() {
            break;
        }
    }
    let shown = String::from_utf8_lossy(&text);
    assert!(matcher.is_complete(), "no end within {tokens_max} tokens: {shown}");
    let mut depth = 0_usize;
    let brackets = text.iter().filter(|byte| matches!(byte, b'{' | b'['));
    brackets.for_each(|_| depth += 1);
    if depth < READER_DEPTH_MAX {
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok(), "not JSON: {shown}");
    }
    Ok(())
}

/// Continues a text far from any limit, and tries allowed and other bytes.
fn wander(grammar: &Arc<Grammar>, choices: &[u8], tokens_left: u32) -> Result<(), TooComplex> {
    let (tokens, trie) = &*VOCABULARY;
    let mut matcher = Matcher::new(Arc::clone(grammar));
    for choice in choices.iter().take(64) {
        let set = matcher.allowed(trie, tokens_left)?;
        let far = matcher.far(trie);
        if far < NEVER {
            let walk = Walk::new(&grammar.rules, Limit::Needed(far), STEP_WORK_MAX);
            let (near, _) = walk.tokens(trie, &matcher.below, &matcher.top)?;
            assert!(near == *set, "{far} bytes are not enough behind every token");
        }
        for (token, bytes) in (0_u32..).zip(tokens).skip(usize::from(*choice) % 7).step_by(7) {
            let goes_on = matcher.clone().advance(bytes);
            assert_eq!(goes_on, set.contains(token), "{:?}", String::from_utf8_lossy(bytes));
        }
        let allowed: Vec<u32> = set.tokens().collect();
        let token =
            allowed.get(usize::from(*choice) % allowed.len().max(1)).and_then(|&token| tokens.get(token as usize));
        let Some(token) = token else { return Ok(()) };
        matcher.advance(token);
        check_bounds(&matcher);
    }
    Ok(())
}

/// Follows a text of arbitrary bytes.
fn follow(grammar: &Arc<Grammar>, bytes: &[u8]) {
    let mut matcher = Matcher::new(Arc::clone(grammar));
    for byte in bytes {
        if !matcher.advance(std::slice::from_ref(byte)) {
            assert!(!matcher.is_complete(), "what goes on no more is complete");
            return;
        }
        check_bounds(&matcher);
    }
}

fn check_bounds(matcher: &Matcher) {
    assert!(matcher.top.len() <= LEVEL_MAX, "a level of {} items", matcher.top.len());
    let items: usize = matcher.below.iter().map(|level| level.waiting.len() + level.costs.len()).sum();
    assert_eq!(items, matcher.level_items, "the levels' items are counted");
    assert!(
        items <= LEVEL_ITEMS_MAX || matcher.clone().allowed(&VOCABULARY.1, u32::MAX).is_err(),
        "{items} items are no error"
    );
}
