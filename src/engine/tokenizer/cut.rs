//! Cuts text into pieces before merging, by a list of steps. Steps with a pattern run on `pattern`.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::pattern::Invert;
use tokenizers::{PreTokenizedString, PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::pattern::{GPT2, Pattern};

/// Maximum steps of one tokenizer; models have up to seven.
const STEPS_MAX: usize = 32;

/// The steps that cut a text.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    steps: Vec<Step>,
}

/// One step, which cuts the pieces of the previous step.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Cuts by a pattern.
    Pattern {
        /// The pattern.
        pattern: Pattern,
        /// Treatment of the matches.
        behavior: SplitDelimiterBehavior,
        /// Which parts count as matches: the pattern's matches, or the text between them.
        matched: Matched,
    },
    /// Cuts nothing: inserts a space before each piece that does not begin with one.
    PrefixSpace,
    /// Cuts by a rule of the library that needs no pattern.
    Library(PreTokenizerWrapper),
}

/// The parts of a text that a pattern's step treats as matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matched {
    /// The pattern's matches.
    Pattern,
    /// The text between the pattern's matches.
    Rest,
}

impl Step {
    /// Makes each match a piece of its own.
    #[must_use]
    pub(super) fn isolating(pattern: Pattern) -> Self {
        Self::Pattern { pattern, behavior: SplitDelimiterBehavior::Isolated, matched: Matched::Pattern }
    }

    /// Spells each byte as one letter.
    #[must_use]
    pub(super) fn bytes() -> Self {
        Self::Library(ByteLevel::new(false, true, false).into())
    }

    fn apply(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        match self {
            Self::Library(step) => step.pre_tokenize(text),
            Self::PrefixSpace => text.normalize(|piece| {
                if !piece.get().starts_with(' ') {
                    piece.prepend(" ");
                }
                Ok(())
            }),
            Self::Pattern { pattern, behavior, matched: Matched::Pattern } => {
                text.split(|_, piece| piece.split(pattern, *behavior))
            }
            Self::Pattern { pattern, behavior, matched: Matched::Rest } => {
                text.split(|_, piece| piece.split(Invert(pattern), *behavior))
            }
        }
    }
}

impl Cut {
    /// Builds a cut that runs `steps` in order.
    #[must_use]
    pub(super) fn new(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// Returns whether the cut keeps every byte of a text, each spelled as one letter.
    #[must_use]
    pub(super) fn keeps_all_bytes(&self) -> bool {
        let keeps = |step: &Step| match step {
            Step::Pattern { behavior, .. } => *behavior != SplitDelimiterBehavior::Removed,
            Step::PrefixSpace => true,
            // The effect of the library's other steps on a text is not known here.
            Step::Library(step) => matches!(step, PreTokenizerWrapper::ByteLevel(_)),
        };
        self.steps.iter().all(keeps) && self.steps.iter().any(|step| matches!(step, Step::Library(_)))
    }

    /// Reads the `pre_tokenizer` of a `tokenizer.json`.
    ///
    /// # Errors
    /// A message that names the unsupported part.
    pub(super) fn from_json(json: &serde_json::Value) -> Result<Self, String> {
        let mut steps = Vec::new();
        // Sequences may contain sequences; the parts are still read in order.
        let mut waiting = vec![json];
        while let Some(part) = waiting.pop() {
            if let Some(parts) = part.get("pretokenizers").and_then(serde_json::Value::as_array) {
                waiting.extend(parts.iter().rev());
                continue;
            }
            steps.extend(Step::from_json(part)?);
            if steps.len() > STEPS_MAX {
                return Err(format!("it has more than {STEPS_MAX} steps"));
            }
        }
        Ok(Self { steps })
    }
}

impl Step {
    /// Reads one part, which may yield several steps.
    fn from_json(part: &serde_json::Value) -> Result<Vec<Self>, String> {
        let kind = part.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
        if kind == "Split" {
            return Ok(vec![Self::split(part)?]);
        }
        if kind == "FixedLength" && part.get("length").and_then(serde_json::Value::as_u64) == Some(0) {
            return Err("FixedLength has the length 0".to_owned());
        }
        let is_known = matches!(
            kind,
            "ByteLevel"
                | "Metaspace"
                | "Digits"
                | "Punctuation"
                | "Whitespace"
                | "WhitespaceSplit"
                | "BertPreTokenizer"
                | "CharDelimiterSplit"
                | "Delimiter"
                | "UnicodeScripts"
                | "FixedLength"
        );
        if !is_known {
            return Err(format!("the step {kind:?} is not known"));
        }
        let told = |error: serde_json::Error| format!("{kind}: {error}");
        let step: PreTokenizerWrapper = serde_json::from_value(part.clone()).map_err(told)?;
        match step {
            // The step's built-in pattern is GPT-2's; it runs after the step that may insert a space.
            PreTokenizerWrapper::ByteLevel(bytes) if bytes.use_regex => {
                let prefix = bytes.add_prefix_space.then_some(Self::PrefixSpace);
                let bytes = bytes.use_regex(false).add_prefix_space(false);
                let steps = [Self::isolating(Pattern::new(GPT2)?), Self::Library(bytes.into())];
                Ok(prefix.into_iter().chain(steps).collect())
            }
            step => Ok(vec![Self::Library(step)]),
        }
    }

    fn split(part: &serde_json::Value) -> Result<Self, String> {
        let text = |key: &str| part.pointer(key).and_then(serde_json::Value::as_str);
        let pattern = match (text("/pattern/Regex"), text("/pattern/String")) {
            (Some(pattern), _) => {
                Pattern::new(pattern).map_err(|why| format!("the pattern {pattern:?} cannot be run: {why}"))?
            }
            (None, Some(literal)) => {
                Pattern::literal(literal).map_err(|why| format!("{literal:?} cannot be compiled: {why}"))?
            }
            (None, None) => return Err("Split has no pattern".to_owned()),
        };
        let behavior = part.get("behavior").cloned().unwrap_or_default();
        let behavior = serde_json::from_value(behavior).map_err(|error| format!("Split: behavior: {error}"))?;
        let matched = match part.get("invert").and_then(serde_json::Value::as_bool) {
            Some(true) => Matched::Rest,
            Some(false) => Matched::Pattern,
            None => return Err("Split has no value for invert".to_owned()),
        };
        Ok(Self::Pattern { pattern, behavior, matched })
    }
}

impl PreTokenizer for Cut {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        self.steps.iter().try_for_each(|step| step.apply(text))
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::OffsetReferential::Original;
    use tokenizers::OffsetType::Byte;

    use super::*;

    /// Returns the pieces of a text, with a space spelled as byte-level tokenizers spell it.
    fn pieces(json: &serde_json::Value, text: &str) -> Vec<String> {
        let mut cut = PreTokenizedString::from(text);
        Cut::from_json(json).unwrap().pre_tokenize(&mut cut).unwrap();
        cut.get_splits(Original, Byte).into_iter().map(|(piece, ..)| piece.replace('\u{120}', "_")).collect()
    }

    #[test]
    fn a_space_is_put_before_a_text_that_begins_with_none_and_before_nothing_else() {
        let bytes = |prefix: bool, regex: bool| serde_json::json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex });
        assert_eq!(pieces(&bytes(true, true), "don't  go"), ["_don", "'t", "_", "_go"]);
        assert_eq!(pieces(&bytes(true, true), " do 12"), ["_do", "_12"]);
        assert_eq!(pieces(&bytes(false, true), "do 12"), ["do", "_12"]);
        assert_eq!(pieces(&bytes(true, false), "do 12"), ["_do_12"]);
        let twice = serde_json::json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true }, bytes(true, true),
        ] });
        assert_eq!(pieces(&twice, "a 12"), ["_a", "_", "_1", "_2"]);
    }
}
