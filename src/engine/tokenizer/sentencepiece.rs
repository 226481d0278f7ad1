//! SentencePiece's byte-pair encoding (Kudo and Richardson 2018), as Llama 2 and Mistral use it.
//!
//! Implemented directly instead of as a list of merges: SentencePiece joins neighbours in the order of the joined
//! token's score, leftmost first among equal scores, whatever the two parts are; a list of merges ranks the parts
//! instead.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use aho_corasick::{AhoCorasick, MatchKind};

use super::bytes::{SPACE_LETTER, byte_of_name};

/// The kind of a token, by llama.cpp's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A token that merging produces.
    Normal,
    /// Represents text that has no token.
    Unknown,
    /// Markup such as `<s>`.
    Control,
    /// Text that is never cut.
    UserDefined,
    /// Padding of the vocabulary.
    Unused,
    /// One byte.
    Byte,
}

impl TokenKind {
    /// Returns the kind for a number in `tokenizer.ggml.token_type`; numbers unknown to llama.cpp are normal tokens.
    #[must_use]
    pub(super) fn from_number(number: u64) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }

    /// Returns whether the token's name is matched as a whole in a text before anything else.
    #[must_use]
    pub(super) fn is_matched_whole(self) -> bool {
        matches!(self, Self::Unknown | Self::Control | Self::UserDefined)
    }
}

/// The encoder.
pub(super) struct SentencePiece {
    /// Tokens that merging may produce.
    pieces: HashMap<String, u32>,
    scores: Vec<f32>,
    bytes: HashMap<u8, u32>,
    unknown: Option<u32>,
    /// Finds tokens that are matched as a whole, all in one pass; the longest token if several begin at one place.
    whole: AhoCorasick,
    /// Their ids, in the order of the finder's patterns.
    whole_ids: Vec<u32>,
    /// Whether a space is inserted before the text, and before text that follows a token matched as a whole.
    adds_space: bool,
}

impl SentencePiece {
    /// Builds the encoder from names, kinds and scores, each sorted by id.
    ///
    /// # Errors
    /// A message, if too many tokens are matched as a whole.
    pub(super) fn new(
        names: &[String],
        kinds: &[TokenKind],
        scores: Vec<f32>,
        adds_space: bool,
    ) -> Result<Self, String> {
        let is_whole = |(name, kind): &(&String, &TokenKind)| kind.is_matched_whole() && !name.is_empty();
        let whole = names.iter().zip(kinds).filter(is_whole).map(|(name, _)| name);
        let whole = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(whole);
        let mut encoder = Self {
            pieces: HashMap::new(),
            scores,
            bytes: HashMap::new(),
            unknown: None,
            whole: whole.map_err(|error| format!("its markup cannot be compiled: {error}"))?,
            whole_ids: Vec::new(),
            adds_space,
        };
        for ((name, kind), id) in names.iter().zip(kinds).zip(0_u32..) {
            match kind {
                TokenKind::Normal | TokenKind::Unused => {
                    encoder.pieces.insert(name.clone(), id);
                }
                TokenKind::Byte => {
                    encoder.bytes.extend(byte_of_name(name).map(|byte| (byte, id)));
                }
                TokenKind::Unknown => encoder.unknown = Some(id),
                TokenKind::Control | TokenKind::UserDefined => {}
            }
            if is_whole(&(name, kind)) {
                encoder.whole_ids.push(id);
            }
        }
        Ok(encoder)
    }

    /// Returns the ids of a text.
    #[must_use]
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut at = 0;
        for found in self.whole.find_iter(text) {
            self.encode_plain(text.get(at..found.start()).unwrap_or_default(), &mut ids);
            ids.extend(self.whole_ids.get(found.pattern().as_usize()));
            at = found.end();
        }
        self.encode_plain(text.get(at..).unwrap_or_default(), &mut ids);
        ids
    }

    /// Encodes the text between tokens that are matched as a whole.
    fn encode_plain(&self, plain: &str, ids: &mut Vec<u32>) {
        if !plain.is_empty() {
            let space = if self.adds_space { " " } else { "" };
            self.merge(&format!("{space}{plain}").replace(' ', &SPACE_LETTER.to_string()), ids);
        }
    }

    fn merge(&self, text: &str, ids: &mut Vec<u32>) {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, letter))| Symbol {
                start,
                end: start + letter.len_utf8(),
                previous: index.checked_sub(1),
                next: index + 1,
            })
            .collect();
        let mut queue = BinaryHeap::new();
        for left in 0..symbols.len() {
            queue.extend(self.candidate(text, &symbols, left));
        }
        while let Some(Candidate { left, middle, end, .. }) = queue.pop() {
            let Some(first) = symbols.get(left).copied() else { continue };
            let right = first.next;
            let Some(second) = symbols.get(right).copied() else { continue };
            // Skip a candidate if either of its symbols has changed since it was added.
            if first.is_gone() || first.end != middle || second.end != end {
                continue;
            }
            if let Some(symbol) = symbols.get_mut(left) {
                symbol.end = second.end;
                symbol.next = second.next;
            }
            if let Some(symbol) = symbols.get_mut(right) {
                symbol.end = symbol.start;
            }
            if let Some(symbol) = symbols.get_mut(second.next) {
                symbol.previous = Some(left);
            }
            queue.extend(self.candidate(text, &symbols, left));
            let previous = symbols.get(left).and_then(|symbol| symbol.previous);
            queue.extend(previous.and_then(|previous| self.candidate(text, &symbols, previous)));
        }
        for symbol in symbols.iter().filter(|symbol| !symbol.is_gone()) {
            let piece = text.get(symbol.start..symbol.end).unwrap_or_default();
            match self.pieces.get(piece) {
                Some(id) => ids.push(*id),
                None => self.spell(piece, ids),
            }
        }
    }

    /// Returns the result of joining a symbol with its right neighbour, if the result is a token.
    fn candidate(&self, text: &str, symbols: &[Symbol], left: usize) -> Option<Candidate> {
        let symbol = symbols.get(left)?;
        let end = symbols.get(symbol.next)?.end;
        let id = *self.pieces.get(text.get(symbol.start..end)?)?;
        let score = self.scores.get(id as usize).copied().unwrap_or(0.0);
        Some(Candidate { score, left, middle: symbol.end, end })
    }

    /// Writes text without a token as byte tokens, or as the unknown token if the vocabulary has no byte tokens.
    fn spell(&self, piece: &str, ids: &mut Vec<u32>) {
        let bytes: Option<Vec<u32>> = piece.bytes().map(|byte| self.bytes.get(&byte).copied()).collect();
        match bytes {
            Some(bytes) => ids.extend(bytes),
            None => ids.extend(self.unknown),
        }
    }
}

/// A range of the text, in a linked list of neighbours. An empty range has been joined into its left neighbour.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    /// Index past the last symbol, for the last symbol.
    next: usize,
}

impl Symbol {
    fn is_gone(&self) -> bool {
        self.start == self.end
    }
}

/// Two neighbours that may be joined: the symbol at `left`, which ended at byte `middle`, and the next symbol, which
/// ended at byte `end`.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    score: f32,
    left: usize,
    middle: usize,
    end: usize,
}

impl Ord for Candidate {
    /// The greatest candidate is joined first: the highest score, then the leftmost position.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}
