//! The stored parts of a model that its prompts need.

use serde::{Deserialize, Serialize};

use super::error::PolicyError;
use crate::engine::Vocabulary;

/// The parts of prompts that come from the model: enough to address responses without the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPrompter {
    /// The model's chat template.
    pub chat_template: String,
    /// The text of the model's first token.
    pub bos_token: String,
    /// The text of the model's last token.
    pub eos_token: String,
}

impl StoredPrompter {
    /// Reads the parts from a GGUF file or a model directory, without the weights. Blocks for up to a second.
    ///
    /// # Errors
    /// [`PolicyError`] if the model cannot be read, or has no chat template.
    pub fn of_model(path: &std::path::Path) -> Result<Self, PolicyError> {
        let vocabulary = Vocabulary::load(path)?;
        let template =
            vocabulary.chat_template().ok_or_else(|| PolicyError::NoChatTemplate(path.display().to_string()))?;
        Ok(Self {
            chat_template: template.to_owned(),
            bos_token: vocabulary.bos_text().to_owned(),
            eos_token: vocabulary.eos_text().to_owned(),
        })
    }
}
