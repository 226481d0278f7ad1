//! The errors of a policy.

use super::compiled::TemplateError;
use crate::engine::EngineError;

/// An error of a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The model cannot be loaded or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model's chat template is not usable.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The model has no chat template.
    #[error("the model {0} has no chat template")]
    NoChatTemplate(String),
}

impl PolicyError {
    /// Returns advice to the user.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Template(_) | Self::NoChatTemplate(_) => Some("use an instruction-tuned model"),
        }
    }
}
