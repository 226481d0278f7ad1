//! The `tokenizers` library behind a wall: what a model's file makes it panic on is an error that names the file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, TokenizerImpl};

use super::cut::Cut;
use crate::error::{EngineError, shown};

type Inner = TokenizerImpl<ModelWrapper, NormalizerWrapper, Cut, PostProcessorWrapper, DecoderWrapper>;

/// A tokenizer of the library's, with its own cutting.
pub struct Library {
    inner: Inner,
    /// The file it was read from.
    path: PathBuf,
}

/// What a tokenizer is made of.
pub struct Parts {
    /// How pieces become tokens.
    pub model: ModelWrapper,
    /// What is done to a text first.
    pub normalizer: Option<NormalizerWrapper>,
    /// How it is cut.
    pub cut: Option<Cut>,
    /// Tokens that are taken out of a text whole.
    pub added: Vec<AddedToken>,
}

impl Library {
    /// Puts a tokenizer together; `path` is the file that errors name.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the library refuses or panics.
    pub fn new(path: &Path, parts: Parts) -> Result<Self, EngineError> {
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

    /// Returns the ids of a text; special tokens in it count as themselves, none are added.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the tokenizer fails on the text, which byte-level BPE does on none.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        guarded(&self.path, || Ok(self.inner.encode_fast(text, false)?.get_ids().to_vec()))
    }

    /// Returns whether every byte of a text reaches the merges: nothing normalizes it, and nothing takes spaces out of it.
    #[must_use]
    pub fn keeps_all_bytes(&self) -> bool {
        let swallows = |token: &AddedToken| token.lstrip || token.rstrip;
        self.inner.get_normalizer().is_none()
            && !self.inner.get_added_tokens_decoder().values().any(swallows)
            && self.inner.get_pre_tokenizer().is_some_and(Cut::keeps_all_bytes)
    }

    /// Returns the id of a token's name.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<u32> {
        self.inner.token_to_id(name)
    }

    /// Returns the name of an id.
    #[must_use]
    pub fn name(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Returns all names with their ids, in order of ids and names.
    #[must_use]
    pub fn vocabulary(&self) -> Vec<(u32, String)> {
        let mut found: Vec<_> = self.inner.get_vocab(true).into_iter().map(|(name, id)| (id, name)).collect();
        found.sort_unstable();
        found
    }

    /// Returns the texts of the tokens that are taken out whole, by id.
    #[must_use]
    pub fn added(&self) -> std::collections::BTreeMap<u32, String> {
        let added = self.inner.get_added_tokens_decoder();
        added.into_iter().map(|(id, token)| (id, token.content)).collect()
    }
}

/// Does something with the library on behalf of a model's file.
///
/// # Errors
/// [`EngineError::Malformed`] if the library refuses or panics.
pub fn guarded<T>(path: &Path, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, EngineError> {
    let failed = |why: &str| EngineError::Malformed {
        path: path.to_owned(),
        detail: format!("its tokenizer fails: {}", shown(why.lines().next().unwrap_or_default())),
    };
    // What the library holds is only read by a later call, which stands behind this wall too.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| failed(&error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(failed(text.unwrap_or("it panicked")))
        }
    }
}
