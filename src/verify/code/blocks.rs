//! Finds program texts in a response: fenced blocks with their language tags.
//!
//! Pure, linear, and without knowledge of Python: the driver, which can parse the blocks, decides which of several
//! blocks is the answer.

/// The most blocks that are examined, counted from the end.
const BLOCKS_MAX: usize = 32;

/// The most bytes before a block that are searched for doubts.
const LEAD_BYTES_MAX: usize = 160;
/// Words that mark the next program as wrong.
const DOUBTS: &[&str] = &[
    "wrong",
    "incorrect",
    "buggy",
    "broken",
    "fails",
    "would fail",
    "will fail",
    "not work",
    "doesn't work",
    "won't work",
    "counterexample",
    "counter-example",
    "bad version",
    "naive",
    "pitfall",
    "mistake",
    "avoid",
    "instead of",
    "do not",
    "don't",
    "too slow",
    "inefficient",
];
/// Words that cancel a doubt: the block is the correction.
const REPAIRS: &[&str] = &[
    "fix",
    "correct version",
    "corrected",
    "here is the correct",
    "here's the correct",
    "solution",
    "to avoid",
    "improved",
];
/// Pairs of marks that replace fences in some responses: opening and closing.
const REGIONS: &[(&str, &str)] = &[("<code>", "</code>"), ("[BEGIN]", "[DONE]"), ("[PYTHON]", "[/PYTHON]")];

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    /// The first word after the opening fence, in lower case.
    tag: String,
    text: String,
    /// Whether the response calls the block wrong.
    is_doubtful: bool,
}

/// The program texts of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// All texts, in order.
    pub(super) texts: Vec<String>,
    /// The texts that the response calls wrong.
    pub(super) doubtful: Vec<String>,
}

/// An open fence.
struct Fence {
    mark: char,
    length: usize,
    indentation: usize,
    block: Block,
}

/// Returns the texts that may be the program, in order: the blocks tagged as Python and the blocks without a tag; if
/// there are none, all other blocks.
///
/// A block begins with three or more backticks or tildes and ends with a line of at least as many; the last block may
/// end with the response. Lines lose the indentation of their fence.
pub(crate) fn program_blocks(response: &str) -> Vec<String> {
    find(response).texts
}

/// Returns the program texts, and which of them are doubtful. In a response without fences, the texts between other
/// marks.
pub(super) fn find(response: &str) -> Found {
    let mut blocks = fenced(response);
    if blocks.is_empty() {
        blocks = between_marks(response);
    }
    let is_python = |block: &Block| {
        let tag = block.tag.as_str();
        tag.is_empty() || tag.starts_with("py") || matches!(tag, "ipython" | "code" | "tool_code")
    };
    let has_python = blocks.iter().any(is_python);
    let chosen = blocks.into_iter().filter(|block| !has_python || is_python(block));
    let chosen: Vec<Block> = chosen.filter(|block| !block.text.trim().is_empty()).collect();
    let skipped = chosen.len().saturating_sub(BLOCKS_MAX);
    let chosen = chosen.into_iter().skip(skipped);
    let mut found = Found::default();
    for block in chosen {
        if block.is_doubtful {
            found.doubtful.push(block.text.clone());
        }
        found.texts.push(block.text);
    }
    found
}

/// Returns the texts between marks, in order; the last mark may be unclosed. Of marks within each other, the inner pair
/// counts.
fn between_marks(response: &str) -> Vec<Block> {
    let mut openings: Vec<(usize, usize)> = Vec::new();
    for (kind, (open, _)) in REGIONS.iter().enumerate() {
        openings.extend(response.match_indices(open).map(|(at, _)| (at, kind)));
    }
    openings.sort_unstable();
    let (mut blocks, mut end, mut from) = (Vec::new(), 0, 0);
    for (at, kind) in openings {
        let Some((open, close)) = REGIONS.get(kind).filter(|_| at >= from) else { continue };
        let after = response.get(at + open.len()..).unwrap_or_default();
        let text = after.split_once(close).map_or(after, |(text, _)| text);
        let inner = REGIONS.iter().filter_map(|(open, close)| {
            let inner = text.find(open)?;
            text.get(inner..)?.contains(close).then_some(inner)
        });
        if let Some(inner) = inner.min() {
            from = at + open.len() + inner;
            continue;
        }
        let lead = response.get(end..at).unwrap_or_default();
        let trimmed = format!("{}\n", text.trim_matches(['\n', '\r']));
        blocks.push(Block { tag: String::new(), text: trimmed, is_doubtful: is_doubted(lead) });
        end = at + open.len() + text.len();
        from = end;
    }
    blocks
}

/// Returns whether the end of the text before a block calls the block wrong.
fn is_doubted(lead: &str) -> bool {
    let paragraph = lead.trim_end().rsplit("\n\n").next().unwrap_or_default();
    let from = paragraph.len().saturating_sub(LEAD_BYTES_MAX);
    let near = paragraph
        .char_indices()
        .find(|(at, _)| *at >= from)
        .map_or("", |(at, _)| paragraph.get(at..).unwrap_or_default());
    let near = near.replace('\u{2019}', "'").to_lowercase();
    DOUBTS.iter().any(|doubt| near.contains(doubt)) && !REPAIRS.iter().any(|repair| near.contains(repair))
}

fn fenced(response: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Fence> = None;
    let mut lead = String::new();
    // The last line may end in a lone carriage return, which Python treats as a line end.
    for line in response.lines().map(|line| line.trim_end_matches('\r')) {
        let fence = fence_of(line);
        match (&mut open, fence) {
            (None, Some((mark, length, info))) => {
                let tag = info.split([' ', ',', '{', ':']).next().unwrap_or_default().to_lowercase();
                let indentation = line.len() - line.trim_start().len();
                let block = Block { tag, text: String::new(), is_doubtful: is_doubted(&lead) };
                lead.clear();
                open = Some(Fence { mark, length, indentation, block });
            }
            (Some(fence), Some((mark, length, ""))) if mark == fence.mark && length >= fence.length => {
                blocks.extend(open.take().map(|fence| fence.block));
            }
            (Some(fence), _) => {
                let strip = line.len() - line.trim_start().len();
                fence.block.text.push_str(line.get(strip.min(fence.indentation)..).unwrap_or(line));
                fence.block.text.push('\n');
            }
            (None, None) => {
                // Only the last paragraph before the block counts.
                if line.trim().is_empty() && !lead.trim().is_empty() {
                    lead.push('\n');
                } else {
                    if lead.ends_with("\n\n") {
                        lead.clear();
                    }
                    lead.push_str(line);
                    lead.push('\n');
                }
            }
        }
    }
    blocks.extend(open.map(|fence| fence.block));
    blocks
}

/// Parses a line as a fence: its mark, the number of marks, and the text after them.
fn fence_of(line: &str) -> Option<(char, usize, &str)> {
    let bare = line.trim();
    let mark = bare.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let info = bare.trim_start_matches(mark);
    let length = bare.len() - info.len();
    // Inline code may also begin a line.
    (length >= 3 && !info.contains('`')).then(|| (mark, length, info.trim()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_block_that_is_cut_within_its_last_line_end_is_that_of_the_whole_line() {
        assert_eq!(program_blocks("```\nA\n\r"), program_blocks("```\nA\n\r\n"));
        assert_eq!(program_blocks("```\r\nA\r\nB\r"), ["A\nB\n"]);
    }

    #[test]
    fn marks_of_several_kinds_come_in_order_and_the_inner_pair_counts() {
        assert_eq!(program_blocks("[PYTHON]\na\n[/PYTHON] or <code>b</code>"), ["a\n", "b\n"]);
        assert_eq!(program_blocks("<code>b</code> or [BEGIN]a[DONE] end"), ["b\n", "a\n"]);
        assert_eq!(program_blocks("[BEGIN]\n<code>a</code>\n[DONE]"), ["a\n"]);
        assert_eq!(program_blocks("[BEGIN][PYTHON]<code>a</code>[/PYTHON][DONE]"), ["a\n"]);
        assert_eq!(program_blocks("[PYTHON]\nx = '[BEGIN]'\n"), ["x = '[BEGIN]'\n"]);
        assert_eq!(program_blocks("[BEGIN]a[DONE]b[DONE] [BEGIN]c"), ["a\n", "c\n"]);
        let many = format!("{}<code>a</code>", "[BEGIN][PYTHON]".repeat(20_000));
        assert_eq!(program_blocks(&many), ["a\n"]);
    }

    #[test]
    fn blocks_come_in_order_without_their_fences_and_other_languages_only_if_there_is_no_python() {
        let response = "First:\n```python\na = 1\n```\nthen\n```\nb = 2\n```\nrun it:\n```bash\npip install x\n```\n";
        assert_eq!(program_blocks(response), ["a = 1\n", "b = 2\n"]);
        assert_eq!(program_blocks("```js\nf()\n```"), ["f()\n"]);
        assert!(program_blocks("no fence, but `inline` and ```more```").is_empty());
    }

    #[test]
    fn fences_may_be_longer_indented_tildes_or_unclosed() {
        assert_eq!(program_blocks("````py\n```\ntext\n```\n````"), ["```\ntext\n```\n"]);
        assert_eq!(program_blocks("1. so:\n   ```Python\n   if a:\n       b\n   ```"), ["if a:\n    b\n"]);
        assert_eq!(program_blocks("~~~python3\na\n~~~"), ["a\n"]);
        assert_eq!(program_blocks("```python\na\nb"), ["a\nb\n"]);
        assert_eq!(program_blocks("```{python}\na\n```").len(), 1);
        assert!(program_blocks("```python\n\n```").is_empty());
    }

    proptest! {
        #[test]
        fn any_text_ends_in_blocks_that_are_parts_of_it(text in "(```|~~~|````|python|\n|[ a-z=`\u{e9}]){0,60}") {
            for block in program_blocks(&text) {
                for line in block.lines() {
                    prop_assert!(text.contains(line));
                }
            }
        }

        #[test]
        fn a_fenced_program_is_found_again(lines in proptest::collection::vec("[ a-z=():]{0,20}", 1..8), before in "[a-z .\n]{0,30}") {
            let program = format!("{}\n", lines.join("\n"));
            prop_assume!(!program.trim().is_empty());
            let found = program_blocks(&format!("{before}\n```python\n{program}```\n"));
            prop_assert_eq!(found.last(), Some(&program));
        }
    }
}
