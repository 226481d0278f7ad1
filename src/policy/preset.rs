//! Mode presets: how a request makes a model think, or not think.
//!
//! The presets are facts about the models' own chat templates, as plain data. Think-off is recorded by the request;
//! whether the model followed it is read from the response.

use minijinja::{Value, context};

use crate::config::ModePresetName;
use crate::domain::Mode;

/// A resolved preset: a type of its own beside the setting's, so that no prompt is built by `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Template argument `enable_thinking`.
    Qwen3,
    /// Template argument `enable_thinking`; the template itself writes the system line.
    Smollm3,
    /// The think block is prefilled: opened for Think-on, opened and closed for Think-off. DeepSeek-R1 and its distills,
    /// Qwen3's thinking-only releases.
    DeepseekR1,
    /// Template argument `thinking`.
    Granite,
    /// Template argument `thinking`.
    DeepseekV3,
    /// Body key `thinking`, over HTTP only.
    DeepseekApi,
    /// Few-shot examples, prefill and forced close.
    Prompted,
    /// A judge block, then a forced mode tag: the model's own structured response.
    Structured,
}

impl Preset {
    /// Resolves a configured name; `auto` searches the chat template for known switches.
    #[must_use]
    pub fn resolve(name: ModePresetName, chat_template: &str) -> Self {
        let speaks_of = |words: &[&str]| words.iter().all(|word| chat_template.contains(word));
        match name {
            ModePresetName::Qwen3 => Self::Qwen3,
            ModePresetName::Smollm3 => Self::Smollm3,
            ModePresetName::DeepseekR1 => Self::DeepseekR1,
            ModePresetName::Granite => Self::Granite,
            ModePresetName::DeepseekV3 => Self::DeepseekV3,
            ModePresetName::DeepseekApi => Self::DeepseekApi,
            ModePresetName::Prompted => Self::Prompted,
            ModePresetName::Structured => Self::Structured,
            ModePresetName::Auto if speaks_of(&["enable_thinking", "Reasoning Mode"]) => Self::Smollm3,
            ModePresetName::Auto if speaks_of(&["enable_thinking"]) => Self::Qwen3,
            ModePresetName::Auto if speaks_of(&["thinking", "<response>"]) => Self::Granite,
            // The fullwidth bars are part of DeepSeek's role tags. V3.1's template closes the block of R1 itself.
            ModePresetName::Auto
                if speaks_of(&["\u{ff5c}Assistant\u{ff5c}"])
                    && ["if thinking", "thinking is defined"].iter().any(|test| chat_template.contains(test)) =>
            {
                Self::DeepseekV3
            }
            ModePresetName::Auto if speaks_of(&["\u{ff5c}Assistant\u{ff5c}", "think"]) => Self::DeepseekR1,
            ModePresetName::Auto if opens_thinking(chat_template) => Self::DeepseekR1,
            ModePresetName::Auto => Self::Prompted,
        }
    }

    /// Returns the stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qwen3 => "qwen3",
            Self::Smollm3 => "smollm3",
            Self::DeepseekR1 => "deepseek_r1",
            Self::Granite => "granite",
            Self::DeepseekV3 => "deepseek_v3",
            Self::DeepseekApi => "deepseek_api",
            Self::Prompted => "prompted",
            Self::Structured => "structured",
        }
    }

    /// Returns the arguments for the chat template.
    pub(super) fn template_arguments(self, mode: Mode) -> Value {
        let is_on = mode == Mode::ThinkOn;
        match self {
            Self::Qwen3 | Self::Smollm3 => context! { enable_thinking => is_on },
            Self::Granite | Self::DeepseekV3 => context! { thinking => is_on },
            Self::DeepseekR1 | Self::DeepseekApi | Self::Prompted | Self::Structured => context! {},
        }
    }

    /// Returns the text after a rendered prompt that ends at the beginning of the assistant's turn. A think block that
    /// the template already opened is respected.
    pub(super) fn opening(self, mode: Mode, rendered: &str, answer_opening: &str) -> String {
        let is_open = rendered.trim_end().ends_with("<think>");
        match (self, mode) {
            // Only a template that ignores its switch leaves the block open.
            (Self::Qwen3 | Self::Smollm3 | Self::Granite | Self::DeepseekV3 | Self::DeepseekR1, Mode::ThinkOff)
                if is_open =>
            {
                "\n</think>\n\n".to_owned()
            }
            (
                Self::Qwen3
                | Self::Smollm3
                | Self::Granite
                | Self::DeepseekV3
                | Self::DeepseekApi
                // Its opening depends on the judge block ([`super::structured`]).
                | Self::Structured,
                _,
            ) => String::new(),
            (Self::DeepseekR1, Mode::ThinkOn) if is_open => String::new(),
            (Self::DeepseekR1, Mode::ThinkOn) => "<think>\n".to_owned(),
            (Self::DeepseekR1, Mode::ThinkOff) => "<think>\n\n</think>\n\n".to_owned(),
            (Self::Prompted, Mode::ThinkOn) if is_open => String::new(),
            (Self::Prompted, Mode::ThinkOn) => "<think>\n".to_owned(),
            (Self::Prompted, Mode::ThinkOff) if is_open => format!("\n</think>\n\n{answer_opening}"),
            (Self::Prompted, Mode::ThinkOff) => answer_opening.to_owned(),
        }
    }
}

/// Returns whether the generation prompt itself opens a think block.
fn opens_thinking(chat_template: &str) -> bool {
    let generation_prompt = chat_template.rsplit_once("add_generation_prompt").map(|(_, rest)| rest);
    generation_prompt.is_some_and(|rest| rest.contains("<think>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_reads_the_chat_template() {
        let auto = |template| Preset::resolve(ModePresetName::Auto, template);
        assert_eq!(auto("{% if enable_thinking is false %}<think>"), Preset::Qwen3);
        assert_eq!(auto("Reasoning Mode: {% if enable_thinking %}/think"), Preset::Smollm3);
        assert_eq!(auto("{% if thinking %}Write ... <response>"), Preset::Granite);
        assert_eq!(auto("<\u{ff5c}Assistant\u{ff5c}><think>\\n"), Preset::DeepseekR1);
        let v31 = "{% if not thinking is defined %}{% set thinking = false %}{% endif %}<\u{ff5c}Assistant\u{ff5c}>\
                   {% if thinking %}<think>{% else %}</think>{% endif %}";
        assert_eq!(auto(v31), Preset::DeepseekV3);
        assert_eq!(auto("<|im_start|>assistant"), Preset::Prompted);
        assert_eq!(Preset::resolve(ModePresetName::Granite, "enable_thinking"), Preset::Granite);
    }

    #[test]
    fn a_preset_s_name_is_the_one_that_the_settings_know_it_by() {
        let schema = serde_json::to_value(schemars::schema_for!(ModePresetName)).unwrap();
        let names = schema["oneOf"].as_array().unwrap().iter().map(|one| &one["const"]);
        for name in names.filter(|name| *name != "auto") {
            let setting: ModePresetName = serde_json::from_value(name.clone()).unwrap();
            assert_eq!(Preset::resolve(setting, "").name(), name);
        }
    }

    #[test]
    fn deepseek_prefills_close_what_the_template_opened() {
        let opening = |mode, rendered| Preset::DeepseekR1.opening(mode, rendered, "");
        assert_eq!(opening(Mode::ThinkOn, "x<think>\n"), "");
        assert_eq!(opening(Mode::ThinkOff, "x<think>\n"), "\n</think>\n\n");
        assert_eq!(opening(Mode::ThinkOff, "x"), "<think>\n\n</think>\n\n");
    }
}
