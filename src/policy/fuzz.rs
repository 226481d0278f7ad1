//! Properties of any chat template; the fuzz target (`tests/fuzz`) and a property test share this function.

use minijinja::context;

use super::compiled::Compiled;

/// The maximum size of a template that is rendered in this process, in bytes: too small for doubling lists or nested
/// expressions that would exceed a process's limits (see `template_process`).
const SOURCE_BYTES_MAX: usize = 256;

/// Compiles a template and renders a conversation with it; both steps must end, with a text or an error.
///
/// # Panics
/// If the template engine panics, or two renderings differ.
pub fn chat_template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    // A namespace may hold itself, and printing it would overflow the stack.
    if source.len() > SOURCE_BYTES_MAX || source.contains("namespace") {
        return;
    }
    let Ok(template) = Compiled::new(source) else { return };
    let messages = ["user", "assistant", "user"].map(|role| context! { role => role, content => "1 < 2\n" });
    let values = context! { messages => messages, add_generation_prompt => true, bos_token => "<s>", eos_token => "" };
    let first = template.render(values.clone()).map_err(|error| error.to_string());
    assert_eq!(first, template.render(values).map_err(|error| error.to_string()), "a template says another thing");
}
