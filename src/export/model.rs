//! A model's chat template with its special tokens, from a model directory or a file.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde_json::Value as Json;

use super::ExportError;
use crate::domain::Mode;
use crate::domain::digest::sha256;
use crate::engine::Vocabulary;
use crate::policy::{ChatTemplate, Message, StoredPrompter, TemplateError};
use crate::sys::clock;

/// Stand-ins for the turns' texts. No template treats them specially.
const USER_STANDIN: &str = "@@user-turn@@";
const ASSISTANT_STANDIN: &str = "@@assistant-turn@@";

/// A chat template, the special tokens that the template may write, and the tokenizer, as far as the model's files have
/// one.
pub struct ModelTemplate {
    path: PathBuf,
    source: String,
    bos: String,
    eos: String,
    template: ChatTemplate,
    turn_tail: String,
    tokenizer: TokenizerFiles,
    found: Found,
}

/// What is found out about a template once for all rows.
#[derive(Default)]
pub(super) struct Found {
    /// How LLaMA-Factory gets the model's own prompt, or what it would get instead.
    pub(super) slots: OnceLock<Result<Slots, String>>,
    /// The texts around those of a conversation.
    pub(super) frame: OnceLock<Result<Frame, String>>,
}

/// How LLaMA-Factory gets the model's own prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slots {
    /// It cuts the slots from the model's chat template: the config names no template.
    FromTemplate,
    /// The config names `qwen3_nothink`, because the model's template handles think blocks, which LLaMA-Factory would
    /// put before responses.
    Chatml,
}

/// The texts around a user's text and after a response, for a template that the export brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// The text before the user's.
    pub(super) head: String,
    /// The text between the user's and the response.
    pub(super) middle: String,
    /// The text after the response.
    pub(super) tail: String,
}

impl std::fmt::Debug for ModelTemplate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ModelTemplate").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The facts about a model's tokenizer in the model's files. A missing file leaves a gap.
#[derive(Default)]
pub struct TokenizerFiles {
    /// The token that the tokenizer puts before a text, if it is asked for special tokens; empty if it puts none.
    begin: Option<String>,
    /// The token that it then puts after a text; empty if it puts none.
    end: String,
    /// Whether the model has several chat templates by name, in its tokenizer_config.json or beside its own.
    named_templates: NamedTemplates,
    vocabulary: Option<Vocabulary>,
    /// The longest context of the model, in tokens.
    context: Option<usize>,
}

/// Where a model has chat templates by name, beside its default one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum NamedTemplates {
    #[default]
    Nowhere,
    /// In `tokenizer_config.json`; a file with a template takes their place.
    InConfig,
    /// In files, which stay beside a file with a template.
    InFiles,
}

impl TokenizerFiles {
    /// Reads the files of a model directory or a GGUF file.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let vocabulary = Vocabulary::load(path).ok();
        if !path.is_dir() {
            let begin = vocabulary.as_ref().and_then(|vocabulary| {
                Some(if vocabulary.adds_bos()? { vocabulary.bos_text().to_owned() } else { String::new() })
            });
            return Self { begin, vocabulary, ..Self::default() };
        }
        let json = |name: &str| -> Option<Json> { serde_json::from_slice(&fs_err::read(path.join(name)).ok()?).ok() };
        let settings = json("tokenizer_config.json").unwrap_or_default();
        let (begin, end) = match json("tokenizer.json") {
            // transformers then ignores `add_bos_token`.
            Some(tokenizer) => {
                let [begin, end] = added_tokens(&tokenizer["post_processor"]);
                (Some(begin), end)
            }
            None => {
                let added =
                    |is_added: bool| if is_added { special_text(&settings["bos_token"]) } else { String::new() };
                (settings["add_bos_token"].as_bool().map(added), String::new())
            }
        };
        let has_file = path.join("chat_template.jinja").exists();
        let named_templates = if path.join("additional_chat_templates").is_dir() {
            NamedTemplates::InFiles
        } else if settings["chat_template"].as_array().is_some_and(|named| named.len() > 1) && !has_file {
            NamedTemplates::InConfig
        } else {
            NamedTemplates::Nowhere
        };
        let context = json("config.json").and_then(|config| {
            let length = |config: &Json| config["max_position_embeddings"].as_u64();
            length(&config).or_else(|| length(&config["text_config"]))
        });
        let context = context.and_then(|length| usize::try_from(length).ok());
        Self { begin, end, named_templates, vocabulary, context }
    }
}

/// Returns the tokens that a post-processor of `tokenizer.json` puts before and after a single text; empty if none.
fn added_tokens(processor: &Json) -> [String; 2] {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    match processor["type"].as_str() {
        Some("TemplateProcessing") => {
            let pieces = processor["single"].as_array().map_or(&[][..], Vec::as_slice);
            let at = pieces.iter().position(|piece| piece.get("Sequence").is_some()).unwrap_or(pieces.len());
            let joined = |pieces: &[Json]| pieces.iter().map(|piece| text(&piece["SpecialToken"]["id"])).collect();
            [joined(&pieces[..at]), joined(pieces.get(at + 1..).unwrap_or_default())]
        }
        Some("Sequence") => {
            let inner = processor["processors"].as_array().map_or(&[][..], Vec::as_slice);
            let found = inner.iter().map(added_tokens).find(|[begin, end]| !(begin.is_empty() && end.is_empty()));
            found.unwrap_or_default()
        }
        Some("BertProcessing" | "RobertaProcessing") => [text(&processor["cls"][0]), text(&processor["sep"][0])],
        _ => [String::new(), String::new()],
    }
}

/// Returns the text of a special token in `tokenizer_config.json`: a string, or an object with the text as `content`.
fn special_text(value: &Json) -> String {
    value.as_str().or_else(|| value["content"].as_str()).unwrap_or_default().to_owned()
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
            return Self::of_policy(path.to_owned(), found, TokenizerFiles::read(path));
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
        let special = [special_text(&settings["bos_token"]), special_text(&settings["eos_token"])];
        Self::new(path.to_owned(), source, special, TokenizerFiles::read(&folder))
    }

    /// Builds the template from the stored template that the policy was prompted with. Error messages name it `path`.
    pub fn of_policy(path: PathBuf, stored: StoredPrompter, tokenizer: TokenizerFiles) -> Result<Self, ExportError> {
        let StoredPrompter { chat_template, bos_token, eos_token } = stored;
        Self::new(path, chat_template, [bos_token, eos_token], tokenizer)
    }

    fn new(
        path: PathBuf,
        source: String,
        [bos, eos]: [String; 2],
        tokenizer: TokenizerFiles,
    ) -> Result<Self, ExportError> {
        let mut template = ChatTemplate::new(&source)?;
        template.add_text_function("strftime_now", |format| clock::format_utc(&format));
        let mut model =
            Self { path, source, bos, eos, template, turn_tail: String::new(), tokenizer, found: Found::default() };
        let whole = model.conversation(USER_STANDIN, ASSISTANT_STANDIN, Switch::Default)?;
        let (_, end) = whole.rsplit_once(ASSISTANT_STANDIN).ok_or_else(|| ExportError::NoTemplate {
            path: model.path.clone(),
            detail: "the template drops the assistant's text".to_owned(),
        })?;
        model.turn_tail = end.to_owned();
        Ok(model)
    }

    /// Returns the same model with a wrapped template, which writes every response whole (see `wrapped`).
    pub fn wrap(self) -> Result<Self, ExportError> {
        let source = wrapped(&self.source);
        let mut tokenizer = self.tokenizer;
        // The export's template is a file, and the model's own are then passed over.
        if tokenizer.named_templates == NamedTemplates::InConfig {
            tokenizer.named_templates = NamedTemplates::Nowhere;
        }
        Self::new(self.path, source, [self.bos, self.eos], tokenizer)
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
        self.turn_tail.trim_end()
    }

    /// Returns the text that the template writes after an assistant's turn.
    #[must_use]
    pub fn turn_tail(&self) -> &str {
        &self.turn_tail
    }

    /// Returns what is found out about the template once for all rows.
    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    /// Renders turns of any roles.
    pub fn turns(&self, turns: &[(&str, &str)], opens_turn: bool) -> Result<String, TemplateError> {
        let messages: Vec<Message> = turns.iter().map(|(role, content)| message(role, content)).collect();
        self.render(&messages, opens_turn, Switch::Default)
    }

    /// Returns the token that the tokenizer puts before a text, if it is asked for special tokens: empty if it puts
    /// none, `None` if the model's files do not say.
    #[must_use]
    pub fn begin_token(&self) -> Option<&str> {
        self.tokenizer.begin.as_deref()
    }

    /// Returns the token that the tokenizer puts after a text, if it is asked for special tokens; empty if it puts none.
    #[must_use]
    pub fn end_token(&self) -> &str {
        &self.tokenizer.end
    }

    /// Returns whether the model has several chat templates by name.
    #[must_use]
    pub fn has_named_templates(&self) -> bool {
        self.tokenizer.named_templates != NamedTemplates::Nowhere
    }

    /// Returns the model's vocabulary, if its files have a usable one.
    #[must_use]
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        self.tokenizer.vocabulary.as_ref()
    }

    /// Returns the longest context of the model in tokens, if its files say.
    #[must_use]
    pub fn context(&self) -> Option<usize> {
        self.tokenizer.context
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
