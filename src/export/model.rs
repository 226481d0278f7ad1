//! A model's chat template with its special tokens, from a model directory or a file.

use std::path::{Path, PathBuf};

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde_json::Value as Json;

use super::ExportError;
use crate::domain::Mode;
use crate::domain::digest::sha256;
use crate::policy::{ChatTemplate, Message, StoredPrompter, TemplateError};
use crate::sys::clock;

/// Stand-ins for the turns' texts. No template treats them specially.
const USER_STANDIN: &str = "@@user-turn@@";
const ASSISTANT_STANDIN: &str = "@@assistant-turn@@";

/// A chat template and the special tokens that the template may write.
#[derive(Debug)]
pub struct ModelTemplate {
    path: PathBuf,
    source: String,
    bos: String,
    eos: String,
    template: ChatTemplate,
    end_of_turn: String,
}

/// The variables that a trainer passes to the template, in addition to the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Nothing: the template's own default.
    Default,
    /// `enable_thinking` and `thinking`, set by the mode.
    Mode(Mode),
}

impl ModelTemplate {
    /// Reads the chat template of a model directory (`chat_template.jinja`, or `tokenizer_config.json`), of a GGUF
    /// file, or of a template file, and the special tokens from `tokenizer_config.json` in the same directory.
    ///
    /// # Errors
    /// [`ExportError::NoTemplate`] if there is no template; [`ExportError::Template`] if the template does not compile
    /// or rejects a plain conversation.
    pub fn read(path: &Path) -> Result<Self, ExportError> {
        if path.is_file() && path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
            let found = StoredPrompter::of_model(path)
                .map_err(|error| ExportError::NoTemplate { path: path.to_owned(), detail: error.to_string() })?;
            return Self::of_policy(path.to_owned(), found);
        }
        let (file, folder) = if path.is_dir() {
            (path.join("chat_template.jinja"), path.to_owned())
        } else {
            (path.to_owned(), path.parent().unwrap_or(Path::new("")).to_owned())
        };
        let config = folder.join("tokenizer_config.json");
        let settings: Json = match fs_err::read(&config) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| ExportError::NoTemplate { path: config, detail: error.to_string() })?,
            Err(_) => Json::Null,
        };
        let source = match fs_err::read_to_string(&file) {
            Ok(source) => source,
            Err(error) if path.is_dir() && error.kind() == std::io::ErrorKind::NotFound => template_in(&settings)
                .ok_or_else(|| ExportError::NoTemplate {
                    path: path.to_owned(),
                    detail: "the model has no chat template".to_owned(),
                })?,
            Err(error) => return Err(ExportError::NoTemplate { path: file, detail: error.to_string() }),
        };
        let token = |key: &str| match &settings[key] {
            Json::String(text) => text.clone(),
            other => other["content"].as_str().unwrap_or_default().to_owned(),
        };
        Self::new(path.to_owned(), source, token("bos_token"), token("eos_token"))
    }

    /// Builds the template from the stored template that the policy was prompted with. Error messages name it `path`.
    pub fn of_policy(path: PathBuf, stored: StoredPrompter) -> Result<Self, ExportError> {
        let StoredPrompter { chat_template, bos_token, eos_token } = stored;
        Self::new(path, chat_template, bos_token, eos_token)
    }

    fn new(path: PathBuf, source: String, bos: String, eos: String) -> Result<Self, ExportError> {
        let mut template = ChatTemplate::new(&source)?;
        template.add_text_function("strftime_now", |format| clock::format_utc(&format));
        let mut model = Self { path, source, bos, eos, template, end_of_turn: String::new() };
        let whole = model.conversation(USER_STANDIN, ASSISTANT_STANDIN, Switch::Default)?;
        let (_, end) = whole.rsplit_once(ASSISTANT_STANDIN).ok_or_else(|| ExportError::NoTemplate {
            path: model.path.clone(),
            detail: "the template drops the assistant's text".to_owned(),
        })?;
        model.end_of_turn = end.trim_end().to_owned();
        Ok(model)
    }

    /// Returns the same model with a wrapped template, which writes every response whole (see `wrapped`).
    pub fn wrap(self) -> Result<Self, ExportError> {
        let source = wrapped(&self.source);
        Self::new(self.path, source, self.bos, self.eos)
    }

    /// Returns the path of the template.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the source of the template.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the hexadecimal SHA-256 of the template.
    #[must_use]
    pub fn hash(&self) -> String {
        sha256(self.source.as_bytes())
    }

    /// Returns the text of the begin-of-sequence token; empty if unknown.
    #[must_use]
    pub fn bos(&self) -> &str {
        &self.bos
    }

    /// Returns the text of the end-of-sequence token; empty if unknown.
    #[must_use]
    pub fn eos(&self) -> &str {
        &self.eos
    }

    /// Returns the text that the template writes after an assistant's turn, without trailing white space.
    #[must_use]
    pub fn end_of_turn(&self) -> &str {
        &self.end_of_turn
    }

    /// Renders a user's turn and the beginning of the assistant's turn.
    pub fn prompt(&self, user: &str, switch: Switch) -> Result<String, TemplateError> {
        self.render(&[message("user", user)], true, switch)
    }

    /// Renders a user's turn and the assistant's turn.
    pub fn conversation(&self, user: &str, assistant: &str, switch: Switch) -> Result<String, TemplateError> {
        self.render(&[message("user", user), message("assistant", assistant)], false, switch)
    }

    fn render(&self, messages: &[Message], opens_turn: bool, switch: Switch) -> Result<String, TemplateError> {
        let values = context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => opens_turn,
            bos_token => &self.bos,
            eos_token => &self.eos,
        };
        let values = match switch {
            Switch::Default => values,
            Switch::Mode(mode) => {
                let is_on = mode == Mode::ThinkOn;
                minijinja::value::merge_maps([values, context! { enable_thinking => is_on, thinking => is_on }])
            }
        };
        self.template.render(values)
    }
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned() }
}

/// Returns the template in `tokenizer_config.json`: a text, or an item of a list of named templates.
fn template_in(settings: &Json) -> Option<String> {
    match &settings["chat_template"] {
        Json::String(text) => Some(text.clone()),
        Json::Array(named) => {
            let default = named.iter().find(|entry| entry["name"] == "default")?;
            Some(default["template"].as_str()?.to_owned())
        }
        _ => None,
    }
}

/// Returns a template that renders as `source` does, with three exceptions: it writes the assistant's text whole and
/// unchanged, puts no think block before this text, and begins the assistant's turn without a think block.
///
/// The wrapper passes stand-ins for the texts to the inner template, and replaces them in its output.
#[must_use]
pub(super) fn wrapped(source: &str) -> String {
    let inner = source.strip_suffix('\n').unwrap_or(source);
    format!("{}{inner}{}", WRAPPER_HEAD, WRAPPER_TAIL)
}

const WRAPPER_HEAD: &str = "\
{#- Written by thinkloom: the model's own template, with whole responses. -#}
{%- set loom = namespace(messages=[], said=[], text='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' and message['content'] is string -%}
{%- set loom.messages = loom.messages + [{'role': 'assistant', 'content': '@@loom-' ~ loop.index0 ~ '@@'}] -%}
{%- set loom.said = loom.said + [['@@loom-' ~ loop.index0 ~ '@@', message['content']]] -%}
{%- else -%}
{%- set loom.messages = loom.messages + [message] -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = loom.messages -%}
{%- set loom_text -%}";

const WRAPPER_TAIL: &str = "\
{%- endset -%}
{%- set loom.text = loom_text -%}
{%- for said in loom.said -%}
{%- for block in ['<think>\\n\\n</think>\\n\\n', '<think>\\n\\n</think>\\n', '<think></think>', '<think>\\n', '<think>', '</think>'] -%}
{%- set loom.text = loom.text.replace(block ~ said[0], said[0]) -%}
{%- endfor -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{%- for block in ['<think>\\n\\n</think>\\n\\n', '<think>\\n\\n</think>\\n', '<think></think>', '<think>\\n', '<think>', '</think>'] -%}
{%- if loom.text.endswith(block) -%}
{%- set loom.text = loom.text[:(loom.text | length) - (block | length)] -%}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- for said in loom.said -%}
{%- set loom.text = loom.text.replace(said[0], said[1]) -%}
{%- endfor -%}
{{- loom.text -}}
";
