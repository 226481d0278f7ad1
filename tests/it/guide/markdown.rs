//! A small Markdown reader for the checks of pages: fenced blocks, headings and links.

/// A fenced block of a page.
#[derive(Debug, PartialEq, Eq)]
pub struct Fence<'a> {
    /// What follows the opening backticks.
    pub language: &'a str,
    /// Its content, without the fences.
    pub text: String,
    /// 1-based line of the opening fence.
    pub line: usize,
}

/// Returns the fenced blocks of a page, and the page with their lines left empty.
pub fn split(page: &str) -> (Vec<Fence<'_>>, String) {
    let (mut fences, mut prose): (Vec<Fence<'_>>, String) = (Vec::new(), String::new());
    let mut open: Option<Fence<'_>> = None;
    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some(fence)) => fences.push(fence),
            (Some(language), None) => {
                open = Some(Fence { language: language.trim(), text: String::new(), line: index + 1 });
            }
            (None, Some(mut fence)) => {
                fence.text.push_str(line);
                fence.text.push('\n');
                open = Some(fence);
            }
            (None, None) => prose.push_str(line),
        }
        prose.push('\n');
    }
    assert!(open.is_none(), "a fenced block is not closed: {open:?}");
    (fences, prose)
}

/// Returns a text without what stands between backticks.
fn without_code(prose: &str) -> String {
    prose.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Returns the targets of all links of a page.
pub fn links(page: &str) -> Vec<String> {
    let prose = without_code(&split(page).1);
    let starts = prose.match_indices("](").map(|(start, _)| start + 2);
    starts.filter_map(|start| Some(prose[start..].split_once(')')?.0.to_owned())).collect()
}

/// Returns the anchors of a page's headings, as code forges make them.
pub fn anchors(page: &str) -> Vec<String> {
    let prose = split(page).1;
    let headings = prose
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    headings.map(anchor).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
    kept.map(|character| if character == ' ' { '-' } else { character }).collect()
}

/// Returns the words of a command line: blanks separate them, quotes join them, a comment or a redirection ends them.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) = (Vec::new(), None, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#' | '>' | ';' | '|') if word.is_none() => return words,
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[test]
fn pages_are_taken_apart() {
    let page = "# A `b` page: one\n[x](y.md#z) `[no](link)`\n```sh\nthinkloom run # [no](link)\n# no heading\n```\n## Two, 2\n";
    let (fences, _) = split(page);
    assert_eq!(
        fences,
        [Fence { language: "sh", text: "thinkloom run # [no](link)\n# no heading\n".to_owned(), line: 3 }]
    );
    assert_eq!(links(page), ["y.md#z"]);
    assert_eq!(anchors(page), ["a-b-page-one", "two-2"]);
    assert_eq!(
        words("thinkloom run -c 'a b' --set x=\"1 2\"   # why > what"),
        ["thinkloom", "run", "-c", "a b", "--set", "x=1 2"]
    );
    assert_eq!(words("thinkloom man > thinkloom.1"), ["thinkloom", "man"]);
}
