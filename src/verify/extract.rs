//! Finds the answer part of a response, and the places near its end where an answer may be: last lines, bold words, a
//! displayed formula.
//!
//! `boxes` finds boxed answers, `phrases` finds announced answers; the verifiers choose which places apply, and in
//! which order. Each search is one pure function over the text, and linear or bounded.
//!
//! No answer is taken from program text: a number at the end of `open('x') or 0` is not an answer.

use super::{characters, math, phrases};

/// The length of the text's end in which the last number is searched for, in bytes.
const TAIL_BYTES_MAX: usize = 16_384;
/// Marks that end a model's thinking; only the text after the last one counts.
const THINKING_ENDS: &[&str] = &[
    "</think>",
    "</thinking>",
    "</thought>",
    "</thoughts>",
    "</reasoning>",
    "</reflection>",
    "</seed:think>",
    "\u{25c1}/think\u{25b7}",
    "[/THINK]",
    "<|END_THINKING|>",
    "<|channel|>final<|message|>",
    "[BEGIN FINAL RESPONSE]",
];
/// Tags around an answer.
const ANSWER_TAGS: &[(&str, &str)] =
    &[("<answer>", "</answer>"), ("<final_answer>", "</final_answer>"), ("<response>", "</response>")];

/// Returns the answer part of a response: the text after the last end of thinking, and within it the content of the
/// last answer tag. A response with unended thinking has no answer.
pub(super) fn answer_part(response: &str) -> &str {
    let end = THINKING_ENDS.iter().filter_map(|mark| response.rfind(mark).map(|at| at + mark.len())).max();
    let is_unended =
        end.is_none() && ["<think>", "<thinking>"].iter().any(|start| response.trim_start().starts_with(start));
    let answer = if is_unended { "" } else { end.and_then(|end| response.get(end..)).unwrap_or(response) };
    let tagged = ANSWER_TAGS.iter().filter_map(|(open, close)| {
        let (before, inner) = answer.rsplit_once(open)?;
        let content = inner.split_once(close).map_or(inner, |(content, _)| content);
        (!content.trim().is_empty()).then_some((before.len(), content))
    });
    tagged.max_by_key(|(at, _)| *at).map_or(answer, |(_, content)| content).trim()
}

/// Most lines that are searched for a statement, counted from the end.
const LINES_MAX: usize = 40;
/// The number of last lines in which bold words count: bold words in earlier lines are headings of the work.
const BOLD_LINES_MAX: usize = 4;
/// Words that begin a concluding line.
const CONCLUDING: &[&str] =
    &["so ", "so, ", "therefore", "thus", "hence", "in total", "finally", "altogether", "in conclusion"];

/// Returns the last non-blank lines, the last first, without marks of headings and lists.
pub(super) fn last_lines(text: &str) -> Vec<&str> {
    let tail = characters::back(text, TAIL_BYTES_MAX);
    let is_layout = |line: &str| ["\\end{", "\\begin{", "[/asy]"].iter().any(|start| line.starts_with(start));
    let lines =
        tail.lines().rev().map(str::trim).filter(|line| line.chars().any(char::is_alphanumeric) || line.contains('\\'));
    let bare = lines.filter(|line| !is_layout(line)).map(|line| line.trim_start_matches(['#', '>', ' ', '&']));
    bare.take(LINES_MAX).collect()
}

/// Splits a line into its sentences.
pub(super) fn sentences(line: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut rest = line;
    while !rest.trim().is_empty() && sentences.len() < LINES_MAX {
        let end = phrases::sentence_end(rest);
        let (sentence, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if !sentence.trim().is_empty() {
            sentences.push(sentence.trim());
        }
        let skipped = tail.chars().next().map_or(0, char::len_utf8);
        rest = tail.get(skipped..).unwrap_or("");
    }
    // The rest of a line with too many sentences.
    if !rest.trim().is_empty() {
        sentences.push(rest.trim());
    }
    sentences
}

/// Returns the bold words of the last lines, the last first, each with the words that follow in its sentence. Skips
/// labels ("**Total:** 5") and headings ("**Step 2**").
pub(super) fn bold_claims(text: &str) -> Vec<String> {
    let mut claims = Vec::new();
    for line in last_lines(text).into_iter().take(BOLD_LINES_MAX) {
        let mut rest = line;
        let mut found = Vec::new();
        while let Some((before, after)) = rest.split_once("**") {
            let Some((content, behind)) = after.split_once("**") else { break };
            let is_label = content.trim_end().ends_with(':') || behind.trim_start().starts_with(':');
            let is_heading =
                before.trim().is_empty() && behind.trim().is_empty() && found.is_empty() && is_heading(content);
            if !is_label && !is_heading && !content.trim().is_empty() {
                let end = behind.find(['.', ',', ';', '(', '*', '$', '\\']).unwrap_or(behind.len());
                found.push(format!("{}{}", phrases::trim_decoration(content), behind.get(..end).unwrap_or("")));
            }
            rest = behind;
        }
        claims.extend(found.into_iter().rev());
        // A concluding line is nearer to the end than bold words above it.
        let lower = line.to_ascii_lowercase();
        if claims.is_empty() && CONCLUDING.iter().any(|start| lower.starts_with(start)) {
            break;
        }
    }
    claims
}

/// Returns the only bold words of the last line with bold words, unless they follow a denial.
pub(super) fn bold_words(text: &str) -> Option<&str> {
    let line = last_lines(text).into_iter().take(BOLD_LINES_MAX).find(|line| line.contains("**"))?;
    let (before, rest) = line.split_once("**")?;
    let (content, behind) = rest.split_once("**")?;
    let is_denied = before.split(|c: char| !c.is_alphanumeric() && c != '\'').any(|word| {
        matches!(word.to_lowercase().as_str(), "not" | "never" | "cannot" | "neither" | "except" | "whether")
            || word.ends_with("n't")
    });
    let is_refuted = behind.trim_start().starts_with("is not") || behind.trim_start().starts_with("isn't");
    let is_label = content.trim_end().ends_with(':') || behind.trim_start().starts_with(':');
    (!is_denied && !is_refuted && !is_label && !behind.contains("**") && !is_heading(content)).then(|| content.trim())
}

/// Returns whether a bold line numbers or names a part of the work.
fn is_heading(content: &str) -> bool {
    let first = content.trim_start().split([' ', ':', '.', ')']).next().unwrap_or("").to_lowercase();
    matches!(
        first.as_str(),
        "step"
            | "case"
            | "part"
            | "method"
            | "approach"
            | "solution"
            | "problem"
            | "question"
            | "example"
            | "note"
            | "given"
            | "check"
            | "verification"
    ) || (!first.is_empty()
        && first.bytes().all(|byte| byte.is_ascii_digit())
        && content.trim_start().get(first.len()..).is_some_and(|rest| rest.starts_with(['.', ')'])))
}

/// Returns the formula displayed at the very end, on lines of its own.
pub(super) fn last_display(text: &str) -> Option<&str> {
    let trimmed = text.trim_end().trim_end_matches('.');
    let (close, open) = [("\\]", "\\["), ("$$", "$$")].into_iter().find(|(close, _)| trimmed.ends_with(close))?;
    let body = trimmed.strip_suffix(close)?;
    let content = body.get(body.rfind(open)? + open.len()..)?.trim();
    let is_alone = body
        .get(..body.rfind(open)?)
        .is_some_and(|before| before.is_empty() || before.trim_end_matches(' ').ends_with(['\n', ':']));
    (is_alone && math::is_readable(content)).then_some(content)
}

/// Returns whether a line is program text: calls on string literals, dunder names, lambdas, imports.
pub(super) fn is_program_text(line: &str) -> bool {
    const MARKS: &[&str] = &[
        "__", "lambda ", "lambda:", "('", "(\"", "['", "[\"", "import ", "eval(", "exec(", "open(", "system(",
        "globals(", "getattr(",
    ];
    MARKS.iter().any(|mark| line.contains(mark))
}

/// Returns the last non-blank line.
pub(super) fn last_line(text: &str) -> Option<&str> {
    text.lines().rev().find(|line| !line.trim().is_empty()).map(str::trim)
}
