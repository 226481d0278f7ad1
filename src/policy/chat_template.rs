//! Chat templates, rendered as Hugging Face's transformers renders them.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};

use super::prompt::TemplateError;

const NAME: &str = "chat";

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// Compiles a chat template. Tags that only mark where a model speaks (`generation`) are read as plain blocks.
    ///
    /// # Errors
    /// [`TemplateError`] if it is no Jinja that this program understands.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // The settings under which transformers renders chat templates.
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

    /// Adds a function that templates may call.
    pub fn add_text_function(&mut self, name: &'static str, function: fn(String) -> String) {
        self.environment.add_function(name, function);
    }

    /// Renders the template.
    ///
    /// # Errors
    /// [`TemplateError`] if the template refuses.
    pub fn render(&self, values: Value) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME).map_err(|error| TemplateError::new(&error))?;
        template.render(values).map_err(|error| TemplateError::new(&error))
    }
}

/// Puts a block that changes nothing in place of transformers' own `generation` tags.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
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

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    #[test]
    fn marks_of_what_the_model_says_change_nothing() {
        let template = ChatTemplate::new("a\n{%- generation -%}\n b {% endgeneration %}\nc{{ x }}").unwrap();
        assert_eq!(template.render(context! { x => 1 }).unwrap(), "ab c1");
        assert_eq!(without_generation_tags("{% if generation %}{% broken"), "{% if generation %}{% broken");
    }
}
