//! What can go wrong with a policy.

use super::compiled::TemplateError;
use crate::engine::EngineError;

/// What can go wrong with a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The model cannot be loaded or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its chat template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It has none.
    #[error("{0} carries no chat template")]
    NoChatTemplate(String),
}

impl PolicyError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Template(_) | Self::NoChatTemplate(_) => Some("use an instruction-tuned model"),
        }
    }
}
