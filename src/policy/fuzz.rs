//! What must hold for any chat template whatsoever: the body that a fuzz target (`tests/fuzz`) and a property test share.

use minijinja::context;

use super::compiled::Compiled;

/// Bytes of a template that is rendered in this process: too few for lists that double, or expressions that nest, beyond
/// what a process can do (see `template_process`).
const SOURCE_BYTES_MAX: usize = 256;

/// Compiles a template and renders a conversation with it; both end, with a text or an error.
///
/// # Panics
/// If the template engine does.
pub fn chat_template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    // A name space may hold itself, and printing it ends the stack.
    if source.len() > SOURCE_BYTES_MAX || source.contains("namespace") {
        return;
    }
    let Ok(template) = Compiled::new(source) else { return };
    let messages = ["user", "assistant", "user"].map(|role| context! { role => role, content => "1 < 2\n" });
    let values = context! { messages => messages, add_generation_prompt => true, bos_token => "<s>", eos_token => "" };
    let first = template.render(values.clone()).map_err(|error| error.to_string());
    assert_eq!(first, template.render(values).map_err(|error| error.to_string()), "a template says another thing");
}
