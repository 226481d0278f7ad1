//! A chat template compiled in this process, and the error of an unusable template.

use std::borrow::Cow;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};

use crate::domain::text::shortened;

const NAME: &str = "chat";

/// The fuel of one rendering: a step costs one unit, and so do 64 bytes that the template writes or searches. The
/// templates of known models take some thousands of units; a template that loops for ever, or doubles a text
/// repeatedly, ends within seconds. `template_process` bounds the costs that fuel does not count.
const FUEL: u64 = 4_000_000;

/// The maximum length of a template's own error text, in characters.
const CAUSE_CHARS_MAX: usize = 2000;

/// Why a chat template is not usable.
#[derive(Debug, thiserror::Error)]
#[error("the model's chat template cannot be rendered: {0}")]
pub struct TemplateError(String);

impl TemplateError {
    pub(super) fn new(error: &minijinja::Error) -> Self {
        if error.kind() == minijinja::ErrorKind::OutOfFuel {
            return Self("it does not come to an end, or does far more than any template needs".to_owned());
        }
        Self(shown(&error.to_string()))
    }

    /// Builds the error from a description of the failure.
    pub(super) fn told(cause: String) -> Self {
        Self(cause)
    }

    /// Returns the description of the failure.
    pub(super) fn cause(&self) -> &str {
        &self.0
    }
}

/// Returns a template's error text, shortened for display: a template may fail with a text of any length.
fn shown(cause: &str) -> String {
    shortened(cause, CAUSE_CHARS_MAX)
}

/// A function from text to text that templates may call.
pub(super) type TextFunction = fn(String) -> String;

/// A template compiled in this process.
#[derive(Debug)]
pub(super) struct Compiled {
    environment: Environment<'static>,
}

impl Compiled {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`TemplateError`] if the template is not supported Jinja.
    pub(super) fn new(source: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        // transformers renders chat templates with these settings.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| TemplateError::new(&error))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let source = without_generation_tags(source);
        environment.add_template_owned(NAME, source).map_err(|error| TemplateError::new(&error))?;
        Ok(Self { environment })
    }

    /// Adds a function that the template may call.
    pub(super) fn add_function(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        function: impl Fn(String) -> Result<String, minijinja::Error> + Send + Sync + 'static,
    ) {
        self.environment.add_function(name, function);
    }

    /// Renders the template.
    ///
    /// # Errors
    /// [`TemplateError`] if the template rejects the values, or does not end.
    pub(super) fn render(&self, values: Value) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME).map_err(|error| TemplateError::new(&error))?;
        template.render(values).map_err(|error| TemplateError::new(&error))
    }
}

/// Replaces transformers' own `generation` tags with blocks that have no effect.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        // The search begins after the opening: `{%}` opens a tag and closes none.
        let Some(length) = rest[start + 2..].find("%}").map(|length| length + 2) else { break };
        let tag = &rest[start + 2..start + length];
        let replacement = match tag.trim_matches(['-', '+', ' ']) {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        };
        out.push_str(&rest[..start + 2]);
        out.push_str(&replacement);
        rest = &rest[start + length..];
    }
    out + rest
}
