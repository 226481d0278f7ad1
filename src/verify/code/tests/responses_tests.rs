//! Responses with the program in different places.

use super::{assert_ends, case};
use crate::CodeCase;

fn with(response: &str) -> CodeCase {
    CodeCase { response: response.to_owned(), ..case("", &["assert add(1, 2) == 3", "assert add(10, -4) == 6"]) }
}

#[test]
fn programs_are_found_wherever_they_stand() {
    let add = "def add(a, b):\n    return a + b\n";
    let wrong = "def add(a, b):\n    return a - b\n";
    let indented = "    def add(a, b):\n        return a + b\n";
    assert_ends(&[
        ("code_block:tests_passed", with(&format!("Sure.\n```python\n{add}```\nThis adds."))),
        ("code_block:tests_passed", with(&format!("<code>\n{add}</code>"))),
        ("code_block:tests_passed", with(&format!("[BEGIN]\n{add}[DONE]"))),
        ("code_block:tests_passed", with(&format!("Here: <code>{add}</code> and that is all."))),
        ("code_lines:tests_passed", with(&format!("Solution:\n\n{indented}\nThat is it."))),
        ("code_lines:tests_passed", with("Use `def add(a, b): return a + b` for that.")),
        ("code_lines:tests_passed", with("The function is def add(a, b): return a + b")),
        ("code_lines:tests_passed", with(&format!("Here you are:\n\n{add}\nThis adds one, as asked: see above."))),
        ("whole:tests_passed", with(add)),
        // The program is cut into two blocks: after a line, and within a block that is incomplete alone.
        (
            "code_block:tests_passed",
            with("```python\ndef add(a, b):\n    c = a + b\n```\nand then\n```python\n    return c\n```"),
        ),
        (
            "code_block:tests_passed",
            with(
                "```python\ndef add(a, b):\n    if a:\n```\nand then\n```python\n        return a + b\n    return b\n```",
            ),
        ),
        // A program after the solution that the response calls wrong is not the solution.
        (
            "code_block:tests_passed",
            with(&format!("```python\n{add}```\nA common mistake is this, which is wrong:\n\n```python\n{wrong}```")),
        ),
        (
            "code_block:tests_passed",
            with(&format!("This version is wrong:\n```python\n{wrong}```\nCorrected:\n```python\n{add}```")),
        ),
        ("code_block:test_failed", with(&format!("```python\n{add}```\nOr, better:\n```python\n{wrong}```"))),
        (
            "code_block:tests_passed",
            with(&format!("```python\n{add}```\nUse it:\n```python\nprint(add(1, 2))\n```\n```bash\nls\n```")),
        ),
        (
            "code_block:tests_passed",
            with(&format!("```python\n{add}if __name__ == '__main__':\n    print(add(int(input()), 1))\n```")),
        ),
        ("code_block:tests_passed", with(&format!("```python\n{add}import doctest\ndoctest.testmod()\n```"))),
        (
            "code_block:tests_passed",
            with("```python\nclass add:\n    def __new__(cls, a, b):\n        return a + b\n```"),
        ),
        (
            "code_block:tests_passed",
            with("```python\nclass Solution:\n    def add(self, a, b):\n        return a + b\n```"),
        ),
        ("no_code", with("I do not know.")),
        ("no_code", with("")),
        ("code_block:syntax_error", with("```python\ndef add(a, b)\n    return a + b\n```")),
    ]);
}
