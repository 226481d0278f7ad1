//! Isolates the `tokenizers` library: if a model file makes the library panic, the result is an error that names the
//! file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, TokenizerImpl};

use super::cut::Cut;
use crate::error::{EngineError, shown};

type Inner = TokenizerImpl<ModelWrapper, NormalizerWrapper, Cut, PostProcessorWrapper, DecoderWrapper>;

/// A tokenizer of the library, with this crate's own cut.
pub(super) struct Library {
    inner: Inner,
    /// The file that the tokenizer was read from.
    path: PathBuf,
}

/// The parts of a tokenizer.
pub(super) struct Parts {
    /// Maps pieces to tokens.
    pub model: ModelWrapper,
    /// Normalizes a text before it is cut.
    pub normalizer: Option<NormalizerWrapper>,
    /// Cuts a text into pieces.
    pub cut: Option<Cut>,
    /// Tokens that are matched as a whole before a text is cut.
    pub added: Vec<AddedToken>,
}

impl Library {
    /// Builds a tokenizer from its parts; `path` is the file that errors name.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the library rejects the parts or panics.
    pub(super) fn new(path: &Path, parts: Parts) -> Result<Self, EngineError> {
        let build = || -> tokenizers::Result<Inner> {
            let Parts { model, normalizer, cut, added } = parts;
            let mut inner = Inner::new(model);
            inner.with_normalizer(normalizer)?;
            inner.with_pre_tokenizer(cut);
            inner.add_tokens(added)?;
            Ok(inner)
        };
        let inner = guarded(path, build)?;
        Ok(Self { inner, path: path.to_owned() })
    }

    /// Returns the ids of a text. Special tokens in the text are matched as such; none are added.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the tokenizer fails on the text; byte-level BPE never fails.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        guarded(&self.path, || Ok(self.inner.encode_fast(text, false)?.get_ids().to_vec()))
    }

    /// Returns whether every byte of a text reaches the merges: there is no normalizer, and no step removes spaces.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "any of them")]
    pub(super) fn keeps_all_bytes(&self) -> bool {
        let swallows = |token: &AddedToken| token.lstrip || token.rstrip;
        self.inner.get_normalizer().is_none()
            && !self.inner.get_added_tokens_decoder().values().any(swallows)
            && self.inner.get_pre_tokenizer().is_some_and(Cut::keeps_all_bytes)
    }

    /// Returns the id of the token with this name.
    #[must_use]
    pub(super) fn id(&self, name: &str) -> Option<u32> {
        self.inner.token_to_id(name)
    }

    /// Returns the name of the token with this id.
    #[must_use]
    pub(super) fn name(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Returns all names with their ids, sorted by id and name.
    #[must_use]
    pub(super) fn vocabulary(&self) -> Vec<(u32, String)> {
        let mut found: Vec<_> = self.inner.get_vocab(true).into_iter().map(|(name, id)| (id, name)).collect();
        found.sort_unstable();
        found
    }

    /// Returns the texts of the tokens that are matched as a whole, by id.
    #[must_use]
    pub(super) fn added(&self) -> std::collections::BTreeMap<u32, String> {
        let added = self.inner.get_added_tokens_decoder();
        added.into_iter().map(|(id, token)| (id, token.content)).collect()
    }
}

/// Calls the library with data from a model's file, and catches its panics.
///
/// # Errors
/// [`EngineError::Malformed`] if the library returns an error or panics.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, EngineError> {
    let failed = |why: &str| EngineError::Malformed {
        path: path.to_owned(),
        detail: format!("its tokenizer failed: {}", shown(why.lines().next().unwrap_or_default())),
    };
    // Later calls only read the library's state, and they run under `guarded` also.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| failed(&error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(failed(text.unwrap_or("it panicked")))
        }
    }
}
