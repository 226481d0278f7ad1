//! The contents of a `tokenizer.json`, checked before the library builds anything from them.
//!
//! The library trusts the file: it compiles patterns for a backtracking engine, lets normalizers multiply a text, and
//! accepts any token id. The limits below are far above those of any model:
//!
//! - [`TOKENS_MAX`] tokens of up to [`TOKEN_BYTES_MAX`] bytes, [`NAMES_BYTES_MAX`] together, [`ADDED_MAX`] of them
//!   added;
//! - ids below the number of embedding rows;
//! - normalizers that lengthen a text by at most a factor of [`GROWTH_MAX`], without patterns, each other kind once.

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::{AddedToken, ModelWrapper, NormalizerWrapper};

use super::cut::Cut;
use super::library::Parts;
use crate::error::{FileFault, malformed};

/// Maximum tokens of a vocabulary; models have up to 262,208.
pub(super) const TOKENS_MAX: usize = 1 << 21;
/// Maximum bytes of a token's name; models have up to about 260, for runs of spaces.
pub(super) const TOKEN_BYTES_MAX: usize = 1 << 10;
/// Maximum bytes of all tokens' names; models have up to 4 MB.
pub(super) const NAMES_BYTES_MAX: usize = 16 << 20;
/// Maximum tokens that are matched as a whole; models have up to 6,500.
const ADDED_MAX: usize = 1 << 17;
/// Maximum factor by which all normalizers together may lengthen a text; U+2581, which replaces a space, has three
/// bytes.
const GROWTH_MAX: usize = 4;
/// Maximum steps of a normalizer; models have up to four.
const NORMALIZERS_MAX: usize = 32;
/// Maximum bytes that a normalizer inserts before a text, or as a replacement.
const CONTENT_BYTES_MAX: usize = 256;
/// Supported models of the library.
const MODELS: &str = "BPE, Unigram, WordLevel";

/// The parts of a `tokenizer.json`, as unparsed JSON.
#[derive(Deserialize)]
pub(super) struct Outline<'a> {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    added_tokens: Option<Vec<AddedEntry>>,
    #[serde(borrow, default)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    decoder: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AddedEntry {
    #[serde(flatten)]
    token: AddedToken,
}

impl<'a> Outline<'a> {
    /// Finds the parts.
    ///
    /// # Errors
    /// [`FileFault::Malformed`] if the file is not a JSON object with these parts.
    pub(super) fn read(json: &'a [u8]) -> Result<Self, FileFault> {
        let outline: Self =
            serde_json::from_slice(json).or_else(|error| malformed(format!("not a JSON object: {error}")))?;
        match &outline.version {
            Some(version) if version != "1.0" => {
                Err(FileFault::Unsupported(format!("key version is {version:?}; supported: 1.0")))
            }
            _ => Ok(outline),
        }
    }

    /// Returns the decoder.
    ///
    /// # Errors
    /// [`FileFault::Unsupported`] if the file has no decoder.
    pub(super) fn decoder(&self) -> Result<Value, FileFault> {
        match self.decoder {
            Some(raw) => value("decoder", raw),
            None => Err(FileFault::Unsupported("key decoder is missing".to_owned())),
        }
    }

    /// Checks the limits and builds the parts for the library; `rows` is the number of embedding rows, if it is known.
    ///
    /// # Errors
    /// [`FileFault`], naming the key or the token.
    pub(super) fn parts(self, rows: Option<usize>) -> Result<Parts, FileFault> {
        let Some(model) = self.model else { return malformed("key model is missing") };
        let added = self.added_tokens.unwrap_or_default();
        check_added(&added)?;
        check_model(model, added.len(), rows)?;
        let normalizer = match self.normalizer {
            Some(raw) => normalizer(&value("normalizer", raw)?)?,
            None => None,
        };
        let cut = match self.pre_tokenizer {
            Some(raw) => {
                let cut = Cut::from_json(&value("pre_tokenizer", raw)?);
                Some(cut.map_err(|why| FileFault::Unsupported(format!("key pre_tokenizer: {why}")))?)
            }
            None => None,
        };
        let model: ModelWrapper =
            serde_json::from_str(model.get()).or_else(|error| malformed(format!("key model: {error}")))?;
        Ok(Parts { model, normalizer, cut, added: added.into_iter().map(|entry| entry.token).collect() })
    }
}

fn value(key: &str, raw: &RawValue) -> Result<Value, FileFault> {
    serde_json::from_str(raw.get()).or_else(|error| malformed(format!("key {key}: {error}")))
}

fn check_added(added: &[AddedEntry]) -> Result<(), FileFault> {
    if added.len() > ADDED_MAX {
        return malformed(format!("key added_tokens has {} tokens; at most {ADDED_MAX} are read", added.len()));
    }
    let mut names = Names::default();
    added.iter().try_for_each(|entry| names.count(&entry.token.content)).or_else(malformed)
}

/// Number and total bytes of a vocabulary's names.
#[derive(Debug, Default)]
struct Names {
    count: usize,
    bytes: usize,
}

impl Names {
    fn count(&mut self, name: &str) -> Result<(), String> {
        self.count += 1;
        self.bytes += name.len();
        if name.len() > TOKEN_BYTES_MAX {
            return Err(format!(
                "token \"{name:.40}...\" has {} bytes; at most {TOKEN_BYTES_MAX} are read",
                name.len()
            ));
        }
        if self.count > TOKENS_MAX || self.bytes > NAMES_BYTES_MAX {
            return Err(format!(
                "its vocabulary has more than {TOKENS_MAX} tokens or {NAMES_BYTES_MAX} bytes of names"
            ));
        }
        Ok(())
    }
}

/// Checks the names of a list of tokens.
///
/// # Errors
/// A message that names the token that is too long, or that reports too many tokens.
pub(super) fn check_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), String> {
    let mut counted = Names::default();
    names.into_iter().try_for_each(|name| counted.count(name))
}

/// The parts of a model that are checked.
#[derive(Deserialize)]
struct ModelOutline {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    vocab: Vocab,
    #[serde(default)]
    dropout: Option<f64>,
}

fn check_model(raw: &RawValue, added: usize, rows: Option<usize>) -> Result<(), FileFault> {
    let outline: ModelOutline =
        serde_json::from_str(raw.get()).or_else(|error| malformed(format!("key model: {error}")))?;
    // Early files do not name the kind; all of these files are BPE.
    let kind = outline.kind.as_deref().unwrap_or("BPE");
    if !MODELS.split(", ").any(|known| known == kind) {
        return Err(FileFault::Unsupported(format!("key model.type is {kind:?}; supported: {MODELS}")));
    }
    if outline.dropout.is_some_and(|dropout| dropout != 0.0) {
        // With dropout, the tokenizer would skip merges at random, and one text would have different tokens each time.
        return Err(FileFault::Unsupported("key model.dropout is not 0".to_owned()));
    }
    let Vocab { names, highest } = outline.vocab;
    // Without a number of embedding rows, ids may have gaps, but the gaps may not outnumber the tokens.
    let bound = rows.unwrap_or(2 * (names.count + added) + (1 << 16));
    match highest {
        Some((id, name)) if id >= bound as u64 => match rows {
            Some(rows) => malformed(format!("token \"{name}\" has the id {id}, but the embedding has {rows} rows")),
            None => {
                malformed(format!("token \"{name}\" has the id {id}, but there are {} tokens", names.count + added))
            }
        },
        _ => Ok(()),
    }
}

/// A vocabulary: an object of ids by name, or a list of names with scores.
#[derive(Debug, Default)]
struct Vocab {
    names: Names,
    /// The highest id, and its name.
    highest: Option<(u64, String)>,
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabVisitor)
    }
}

struct VocabVisitor;

impl<'de> Visitor<'de> for VocabVisitor {
    type Value = Vocab;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object of ids or a list of tokens")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
        let mut vocab = Vocab::default();
        while let Some((name, id)) = map.next_entry::<String, u64>()? {
            vocab.names.count(&name).map_err(serde::de::Error::custom)?;
            if vocab.highest.as_ref().is_none_or(|(highest, _)| id > *highest) {
                vocab.highest = Some((id, name));
            }
        }
        Ok(vocab)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vocab, A::Error> {
        let mut vocab = Vocab::default();
        while let Some((name, _)) = list.next_element::<(String, IgnoredAny)>()? {
            vocab.names.count(&name).map_err(serde::de::Error::custom)?;
        }
        vocab.highest = vocab.names.count.checked_sub(1).map(|last| (last as u64, "the last one".to_owned()));
        Ok(vocab)
    }
}

/// Reads a normalizer whose steps together lengthen a text by at most a known factor.
fn normalizer(json: &Value) -> Result<Option<NormalizerWrapper>, FileFault> {
    let (mut waiting, mut kinds, mut steps, mut growth, mut prepended) = (vec![json], Vec::new(), 0, 1_usize, 0);
    while let Some(step) = waiting.pop() {
        let kind = step.get("type").and_then(Value::as_str).unwrap_or_default();
        let unsupported = |what: &str| Err(FileFault::Unsupported(format!("key normalizer: {kind:?} {what}")));
        let content = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
        match kind {
            "Sequence" => {
                waiting.extend(step.get("normalizers").and_then(Value::as_array).into_iter().flatten().rev());
            }
            "Replace" => {
                let Some(pattern) =
                    step.pointer("/pattern/String").and_then(Value::as_str).filter(|text| !text.is_empty())
                else {
                    return unsupported("has a pattern that is not a text; supported: texts");
                };
                if pattern.len().max(content("content").len()) > CONTENT_BYTES_MAX {
                    return unsupported(&format!("has texts of more than {CONTENT_BYTES_MAX} bytes"));
                }
                growth = growth.saturating_mul(content("content").len().div_ceil(pattern.len()).max(1));
            }
            "Prepend" => prepended += content("prepend").len(),
            "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "Strip" | "StripAccents" | "Nmt" | "ByteLevel"
            | "BertNormalizer" | "Bert" => {
                // A repeated normalizer has no use, and two alternating normalizers may lengthen a text at each step.
                let group = if kind.starts_with("NF") { "NF" } else { kind };
                if kinds.contains(&group) {
                    return unsupported("occurs twice");
                }
                kinds.push(group);
            }
            _ => return unsupported("is not known to be safe"),
        }
        if growth > GROWTH_MAX || prepended > CONTENT_BYTES_MAX {
            return unsupported(&format!("lengthens texts; supported: up to {GROWTH_MAX} times"));
        }
        steps += 1;
        if steps > NORMALIZERS_MAX {
            return unsupported(&format!("is one of more than {NORMALIZERS_MAX} steps"));
        }
    }
    serde_json::from_value(json.clone()).map(Some).or_else(|error| malformed(format!("key normalizer: {error}")))
}

#[cfg(test)]
#[path = "outline_tests.rs"]
mod tests;
