//! Renders chat templates as Hugging Face's transformers does.

use minijinja::Value;

use super::compiled::{Compiled, TemplateError, TextFunction};

/// The maximum size of a template in bytes; the templates of known models have up to 30 kB.
const SOURCE_BYTES_MAX: usize = 1 << 20;

/// A compiled chat template: rendered in a separate process if thinkloom can start one, else in this process.
#[derive(Debug)]
pub struct ChatTemplate {
    renderer: Renderer,
}

#[derive(Debug)]
enum Renderer {
    Here(Box<Compiled>),
    #[cfg(unix)]
    Apart(std::sync::Mutex<super::template_process::Apart>),
}

impl ChatTemplate {
    /// Compiles a chat template. Tags that only mark the model's text (`generation`) become plain blocks.
    ///
    /// # Errors
    /// [`TemplateError`] if the template is not supported Jinja, or far larger than any known template.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_BYTES_MAX {
            let length = source.len();
            return Err(TemplateError::told(format!("it has {length} bytes; at most {SOURCE_BYTES_MAX} are read")));
        }
        #[cfg(unix)]
        if let Some(apart) = super::template_process::Apart::new(source)? {
            return Ok(Self { renderer: Renderer::Apart(std::sync::Mutex::new(apart)) });
        }
        Ok(Self { renderer: Renderer::Here(Box::new(Compiled::new(source)?)) })
    }

    /// Adds a function that templates may call.
    pub fn add_text_function(&mut self, name: &'static str, function: TextFunction) {
        match &mut self.renderer {
            Renderer::Here(compiled) => compiled.add_function(name, move |text: String| Ok(function(text))),
            #[cfg(unix)]
            Renderer::Apart(apart) => {
                apart.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).add_text_function(name, function);
            }
        }
    }

    /// Renders the template.
    ///
    /// # Errors
    /// [`TemplateError`] if the template rejects the values, does not end, or exceeds the memory limit.
    pub fn render(&self, values: Value) -> Result<String, TemplateError> {
        match &self.renderer {
            Renderer::Here(compiled) => compiled.render(values),
            #[cfg(unix)]
            Renderer::Apart(apart) => apart.lock().unwrap_or_else(std::sync::PoisonError::into_inner).render(&values),
        }
    }
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::super::compiled::without_generation_tags;
    use super::*;

    #[test]
    fn templates_without_end_are_ended_and_named_as_such() {
        for source in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}",
            "{% macro again(n) %}{{ again(n) }}{{ again(n) }}{% endmacro %}{% for a in range(99999) %}{{ again(a) }}{% endfor %}",
            "{% set ns = namespace(x = 'x') %}{% for a in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "{{ 'x' * 10000000000 }}",
            "{% for a in range(99999) %}{% for b in messages * 99999 %}{% endfor %}{% endfor %}",
            "{% for a in range(99999) %}{{ range(99999) | join }}{% endfor %}",
            "{% for a in range(99999) %}{% set x = ('x' * 99999).replace('x', 'xx') %}{% endfor %}",
            "{% for a in range(99999) %}{% set x = ('x ' * 99999).split() %}{% endfor %}",
        ] {
            let template = ChatTemplate::new(source).unwrap();
            let error = template.render(context! { messages => ["a", "b"] }).unwrap_err().to_string();
            assert!(error.contains("does not come to an end") || error.contains("recursion"), "{source}: {error}");
        }
        // A long conversation must not fail.
        let template = ChatTemplate::new("{% for m in messages %}<|user|>{{ m | trim }}<|end|>\n{% endfor %}").unwrap();
        let messages = vec!["word ".repeat(2000); 2000];
        assert!(template.render(context! { messages => messages }).unwrap().len() > 20_000_000);
    }

    proptest::proptest! {
        #[test]
        fn no_template_whatever_panics(
            parts in proptest::collection::vec(proptest::sample::select(&[
                "{% for m in messages %}", "{% endfor %}", "{{ m.content }}", "{{ m['role'] | upper }}", "{% if m %}", "{% else %}",
                "{% endif %}", "{% set x = messages + messages %}", "{{ x[1:] | tojson(indent=1) }}", "{% generation %}", "{% endgeneration %}",
                "{{ 'a'.split('b')[0] }}", "{{", "}}", "{%-", "-%}", "{#", "loop", "\u{e9}", " ", "\n", "{{ '%s' | format(x) }}",
                "{% macro a(b) %}{{ a(b) }}{% endmacro %}", "{{ a(1) }}",
            ][..]), 0..10),
        ) {
            crate::policy::fuzz::chat_template(parts.concat().as_bytes());
        }
    }

    #[test]
    fn marks_of_what_the_model_says_change_nothing() {
        let template = ChatTemplate::new("a\n{%- generation -%}\n b {% endgeneration %}\nc{{ x }}").unwrap();
        assert_eq!(template.render(context! { x => 1 }).unwrap(), "ab c1");
        for as_it_is in ["{% if generation %}{% broken", "{%}{% x %}", "{%", "{%}"] {
            assert_eq!(without_generation_tags(as_it_is), as_it_is);
        }
    }
}
