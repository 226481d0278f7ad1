//! Finds the part of a response that holds its answer, and in it the places near the end where an answer may stand: last
//! lines, words in bold, a displayed formula.
//!
//! Boxes are found by `boxes`, announced answers by `phrases`; the verifiers choose which places apply, and in which order.
//! Each search is one pure function over the text, and linear or bounded.
//!
//! No answer is taken from program text: a number at the end of `open('x') or 0` is not an answer.

use super::{characters, math, phrases};

/// How far back the last number is looked for, in bytes.
const TAIL_BYTES_MAX: usize = 16_384;
/// What ends a model's thinking; only what follows the last one counts.
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

/// Returns the part of a response in which its answer stands: what follows the last end of thinking, and of that the
/// content of the last answer tag. Thinking that never ended holds no answer.
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

/// Lines that are looked at from the end for one that states something, at most.
const LINES_MAX: usize = 40;
/// Lines from the end among which words in bold count: earlier ones are headings of the work.
const BOLD_LINES_MAX: usize = 4;
/// Words by which a line announces that it concludes.
const CONCLUDING: &[&str] =
    &["so ", "so, ", "therefore", "thus", "hence", "in total", "finally", "altogether", "in conclusion"];

/// Returns the last lines that are not blank, the last first, each with its marks of headings and lists taken off.
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
    // The end of a line that holds too many.
    if !rest.trim().is_empty() {
        sentences.push(rest.trim());
    }
    sentences
}

/// Returns what stands in bold in the last lines, the last first, each with the words that follow it in its sentence. Labels
/// ("**Total:** 5") and headings ("**Step 2**") are none.
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
        // A line that concludes is nearer to the end than bold words above it.
        let lower = line.to_ascii_lowercase();
        if claims.is_empty() && CONCLUDING.iter().any(|start| lower.starts_with(start)) {
            break;
        }
    }
    claims
}

/// Returns the only words in bold of the last sentence that has any, where they do not follow a denial.
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

/// A line in bold that numbers or names a part of the work.
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

/// Returns the formula that is displayed at the very end, on lines of its own.
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

/// Returns the last line that is not blank.
pub(super) fn last_line(text: &str) -> Option<&str> {
    text.lines().rev().find(|line| !line.trim().is_empty()).map(str::trim)
}
