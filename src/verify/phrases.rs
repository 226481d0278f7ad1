//! Announced answers: "the final answer is", "Answer:", `####`, and their translations.
//!
//! The last announcement with an answer counts. The announced text is the rest of its sentence, or of the formula that
//! begins there, or the next line if the announcement's own line is a heading.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Match};

use super::characters;
use super::strategy::Strategy;

/// Most announcements that are tried, counted from the end.
const TRIES_MAX: usize = 8;
/// Longest text between "answer" and "is", in bytes.
const SUBJECT_BYTES_MAX: usize = 100;

/// Phrases in other languages, after full-width colons are converted to plain ones.
const FOREIGN: &[&str] = &[
    // Chinese: "the answer is", "the correct option is", "so choose".
    "\u{7b54}\u{6848}\u{662f}",
    "\u{7b54}\u{6848}\u{4e3a}",
    "\u{7b54}\u{6848}:",
    "\u{7b54}\u{6848}\u{5e94}\u{4e3a}",
    "\u{7b54}\u{6848}\u{5e94}\u{8be5}\u{662f}",
    "\u{7b54}\u{6848}\u{5c31}\u{662f}",
    "\u{7b54}\u{6848}\u{9009}",
    "\u{7b54}:",
    "\u{6b63}\u{786e}\u{9009}\u{9879}\u{662f}",
    "\u{6b63}\u{786e}\u{9009}\u{9879}\u{4e3a}",
    "\u{6b63}\u{786e}\u{9009}\u{9879}:",
    "\u{6545}\u{9009}",
    "\u{5e94}\u{9009}",
    "\u{6240}\u{4ee5}\u{9009}",
    "\u{56e0}\u{6b64}\u{9009}",
    "\u{672c}\u{9898}\u{9009}",
    "\u{5e94}\u{8be5}\u{9009}",
    "\u{6211}\u{9009}",
    // Japanese.
    "\u{7b54}\u{3048}\u{306f}",
    "\u{7b54}\u{3048}:",
    "\u{6b63}\u{89e3}\u{306f}",
    "\u{89e3}\u{7b54}:",
    "\u{56de}\u{7b54}:",
    // Korean.
    "\u{c815}\u{b2f5}\u{c740}",
    "\u{c815}\u{b2f5}:",
    "\u{b2f5}\u{c740}",
    "\u{b2f5}:",
    // French, Spanish, Portuguese, German, Italian, Dutch.
    "r\u{e9}ponse est",
    "r\u{e9}ponse finale est",
    "r\u{e9}ponse correcte est",
    "r\u{e9}ponse:",
    "r\u{e9}ponse :",
    "respuesta es",
    "respuesta final es",
    "respuesta correcta es",
    "respuesta:",
    "resposta \u{e9}",
    "resposta final \u{e9}",
    "resposta correta \u{e9}",
    "resposta:",
    "antwort ist",
    "antwort lautet",
    "antwort:",
    "risposta \u{e8}",
    "risposta finale \u{e8}",
    "risposta corretta \u{e8}",
    "risposta:",
    "antwoord is",
    "antwoord:",
    // Russian, Vietnamese, Arabic, Hindi.
    "\u{43e}\u{442}\u{432}\u{435}\u{442}:",
    "\u{41e}\u{442}\u{432}\u{435}\u{442}:",
    "\u{111}\u{e1}p \u{e1}n l\u{e0}",
    "\u{111}\u{e1}p \u{e1}n:",
    "\u{627}\u{644}\u{625}\u{62c}\u{627}\u{628}\u{629} \u{647}\u{64a}",
    "\u{627}\u{644}\u{62c}\u{648}\u{627}\u{628} \u{647}\u{648}",
    "\u{909}\u{924}\u{94d}\u{924}\u{930} \u{939}\u{948}",
    "\u{909}\u{924}\u{94d}\u{924}\u{930}:",
];

/// English phrases, except those with the word "answer".
const ENGLISH: &[&str] = &[
    "correct choice is",
    "correct option is",
    "correct choice:",
    "correct option:",
    "correct statement is",
    "best choice is",
    "best option is",
];

/// All phrases that are searched for. If several end at one position, the earlier one in this order is preferred: the
/// mark of a dataset's solutions comes first, and the phrases that need further checks come last.
static PHRASES: LazyLock<Vec<&str>> =
    LazyLock::new(|| [&["####"], FOREIGN, ENGLISH, &["answer", "ans:"]].into_iter().flatten().copied().collect());

/// Finds all phrases in one pass: a response is searched for eighty phrases.
static MATCHER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let matcher = AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).build(PHRASES.iter());
    matcher.expect("some eighty short phrases always make an automaton")
});

/// An answer that a response announces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announcement<'a> {
    pub(super) strategy: Strategy,
    /// The rest of the announcement's sentence.
    pub(super) sentence: &'a str,
    /// Whether the preceding words retract the announcement: "I doubt that the answer is".
    pub(super) is_denied: bool,
}

/// Returns the last announced answer that is not a denial.
pub(super) fn announced(text: &str) -> Option<(Strategy, &str)> {
    let found = announcements(text).into_iter().find(|found| !found.is_denied && !is_denial(found.sentence));
    found.map(|found| (found.strategy, found.sentence))
}

/// Returns the announcements, the last first.
pub(super) fn announcements(text: &str) -> Vec<Announcement<'_>> {
    let lower = text.to_ascii_lowercase();
    let found: Vec<Match> = MATCHER.find_overlapping_iter(&lower).collect();
    let mut search_end = lower.len();
    let mut announced = Vec::new();
    for _ in 0..TRIES_MAX {
        let Some((start, end, strategy)) = last_phrase(&lower, &found, search_end) else { break };
        let rest = text.get(end..).unwrap_or("");
        let sentence = sentence(rest);
        let is_answer =
            sentence.chars().any(char::is_alphanumeric) || sentence.contains(['\u{221e}', '\u{2205}', '\\']);
        if is_answer && !is_preliminary(sentence) && !(strategy == Strategy::HashMark && is_heading(sentence)) {
            let phrase = lower.get(start..end).unwrap_or("");
            let is_supposed =
                phrase.contains("would be") && sentence.split_whitespace().any(|word| matches!(word, "if" | "unless"));
            let is_denied = is_supposed || is_taken_back(lower.get(..start).unwrap_or(""));
            // On a line of its own, `!` after a number is a factorial.
            let line = rest.lines().next().unwrap_or("").trim();
            let is_factorial =
                strategy == Strategy::HashMark && line.ends_with('!') && line.strip_suffix('!') == Some(sentence);
            announced.push(Announcement { strategy, sentence: if is_factorial { line } else { sentence }, is_denied });
        }
        search_end = start;
    }
    announced
}

/// Returns whether the words of the sentence before an announcement deny the announcement or make it an assumption.
fn is_taken_back(before: &str) -> bool {
    const WORDS: &[&str] = &[
        "not",
        "never",
        "doubt",
        "cannot",
        "hardly",
        "wrong",
        "incorrect",
        "incorrectly",
        "false",
        "suppose",
        "supposing",
        "assume",
        "assuming",
        "if",
        "whether",
        "unless",
        "nobody",
        "unlikely",
        "claims",
        "claimed",
        "mistakenly",
        "wrongly",
        "thought",
        "guess",
    ];
    let near = characters::back(before, SUBJECT_BYTES_MAX);
    let sentence = near.rsplit(['.', '!', '?', ';', '\n', ',', ':']).next().unwrap_or(near);
    let clause = [" but ", " so ", " therefore ", " then "].iter().filter_map(|turn| sentence.rfind(turn)).max();
    let clause = clause.and_then(|at| sentence.get(at..)).unwrap_or(sentence);
    clause.split(|c: char| !c.is_alphanumeric() && c != '\'').any(|word| WORDS.contains(&word) || word.ends_with("n't"))
}

/// Returns whether a line is a Markdown heading with a number: "3. Conclusion".
fn is_heading(line: &str) -> bool {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let title = rest.strip_prefix(['.', ')', ':']).map(str::trim_start);
    rest.len() < line.len() && title.is_some_and(|title| title.starts_with(|c: char| c.is_alphabetic()))
}

/// Returns whether an announcement only denies an answer.
fn is_denial(sentence: &str) -> bool {
    let lower = sentence.to_ascii_lowercase();
    let is_corrected = lower.contains(" but ");
    !is_corrected
        && ["not ", "n't ", "never ", "definitely not ", "certainly not "].iter().any(|start| lower.starts_with(start))
}

/// Returns the rest of the line that contains a sentence of the text, from the sentence's start.
pub(super) fn line_of<'a>(text: &'a str, sentence: &'a str) -> &'a str {
    let start = (sentence.as_ptr() as usize).checked_sub(text.as_ptr() as usize).filter(|start| *start <= text.len());
    let line = start.and_then(|start| text.get(start..)).and_then(|rest| rest.lines().next());
    trim_decoration(line.unwrap_or(sentence))
}

/// Returns whether an announcement only leads to a later answer.
fn is_preliminary(sentence: &str) -> bool {
    let lower = sentence.to_ascii_lowercase();
    ["in the form", "of the form", "to be", "given by the", "as follows", "therefore", "obtained by"]
        .iter()
        .any(|start| lower.starts_with(start))
}

/// Returns the last phrase that ends before `limit`: its start, the start of its answer, and its strategy. `found` are
/// all matches, in the order of their ends.
fn last_phrase(lower: &str, found: &[Match], limit: usize) -> Option<(usize, usize, Strategy)> {
    let head = lower.get(..limit)?;
    let found = found.get(..found.partition_point(|place| place.end() <= limit))?;
    if found.is_empty() {
        return None;
    }
    // The start of the last occurrence of each phrase.
    let mut last: Vec<Option<usize>> = vec![None; PHRASES.len()];
    for place in found {
        last[place.pattern().as_usize()] = Some(place.start());
    }
    let mut best: Option<(usize, usize, Strategy)> = None;
    let mut consider = |start: usize, end: usize, strategy: Strategy| {
        if best.is_none_or(|(_, before, _)| before < end) {
            best = Some((start, end, strategy));
        }
    };
    let (answer, short) = (PHRASES.len() - 2, PHRASES.len() - 1);
    if let Some(at) = last[0] {
        consider(at, at + 4, Strategy::HashMark);
    }
    for (phrase, at) in PHRASES.iter().zip(&last).take(answer).skip(1) {
        if let &Some(at) = at {
            // In Chinese, "final" precedes the phrase.
            let is_final = head.get(..at).is_some_and(|before| before.ends_with("\u{6700}\u{7ec8}"));
            let is_final = is_final || phrase.contains("final");
            consider(at, at + phrase.len(), if is_final { Strategy::FinalAnswer } else { Strategy::AnswerIs });
        }
    }
    let answers = found.iter().rev().filter(|place| place.pattern().as_usize() == answer);
    for at in answers.map(Match::start).take(TRIES_MAX) {
        if let Some(answer_at) = after_answer(lower, at) {
            let before = head.get(..at).unwrap_or("").trim_end_matches(['*', ' ', '_']);
            let strategy = if before.ends_with("final") { Strategy::FinalAnswer } else { Strategy::AnswerIs };
            consider(at, answer_at, strategy);
            break;
        }
    }
    if let Some(at) = last[short].filter(|at| !head.get(..*at).is_some_and(|b| b.ends_with(char::is_alphanumeric))) {
        consider(at, at + 4, Strategy::AnswerIs);
    }
    best
}

/// Returns the start of the answer that the word "answer" at `at` announces, if it announces one.
fn after_answer(lower: &str, at: usize) -> Option<usize> {
    let word_end = at + "answer".len();
    let rest = lower.get(word_end..)?;
    let mut body = rest.strip_prefix("(s)").or_else(|| rest.strip_prefix('s')).unwrap_or(rest);
    body = body.trim_start_matches(['*', '_', '"', '`', ')', ']']);
    let position = |tail: &str| lower.len() - tail.len();
    let spaceless = body.trim_start_matches(' ');
    if let Some(tail) = spaceless.strip_prefix(':').or_else(|| spaceless.strip_prefix('=')) {
        return Some(position(tail));
    }
    for verb in [" is", "'s", " are", " would be", " must be", " should be", " will be", " being", " comes out to be"] {
        if let Some(tail) = body.strip_prefix(verb)
            && !tail.starts_with(|c: char| c.is_alphanumeric())
        {
            return Some(position(tail));
        }
    }
    // A heading: the line contains nothing else except decoration.
    let (line, below) = body.split_once('\n')?;
    let line_start = lower.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let before = lower.get(line_start..at)?;
    let is_bare = |text: &str| text.chars().all(|c| !c.is_alphanumeric() && c != '.');
    let is_heading = is_bare(line)
        && (is_bare(before)
            || before.trim_end().ends_with("final") && is_bare(&before.replace("final", "").replace("the", "")));
    if is_heading {
        return Some(position(below));
    }
    // "The answer to the question is": within the sentence.
    subject_then_is(line).map(|len| position(body) + len)
}

fn subject_then_is(line: &str) -> Option<usize> {
    let starts = [" to ", " for ", " of ", " in ", " that ", " we ", " ("];
    if !starts.iter().any(|start| line.starts_with(start)) {
        return None;
    }
    let subject = characters::front(line, SUBJECT_BYTES_MAX);
    let at = [" is ", " is:", ": "].iter().filter_map(|verb| subject.find(verb).map(|at| at + verb.len())).min()?;
    (!subject.get(..at)?.contains(". ")).then_some(at)
}

/// Returns the rest of a sentence; a formula on lines of its own is included whole.
fn sentence(rest: &str) -> &str {
    let decorates = |c: char| c.is_whitespace() || matches!(c, ':' | '*' | '=' | '#' | '_');
    let start = rest.trim_start_matches(decorates);
    // A quotation mark on the next line; on the same line, `>` is a comparison.
    let is_below = rest.get(..rest.len() - start.len()).is_some_and(|skipped| skipped.contains('\n'));
    let rest =
        start.strip_prefix('>').filter(|_| is_below).map_or(start, |quoted| quoted.trim_start_matches(decorates));
    for (open, close) in [("\\[", "\\]"), ("$$", "$$")] {
        if let Some(inner) = rest.strip_prefix(open)
            && let Some((formula, _)) = inner.split_once(close)
        {
            return formula.trim();
        }
    }
    // One or two words, then a displayed formula: "the answer is therefore:".
    let line = rest.lines().next().unwrap_or("");
    if line.len() <= 24
        && line.trim_end().ends_with(':')
        && let Some(below) = rest.get(line.len()..)
        && below.chars().any(char::is_alphanumeric)
    {
        return sentence(below);
    }
    let line = line.split("<|").next().unwrap_or("");
    trim_decoration(line.get(..sentence_end(line)).unwrap_or(line))
}

/// Returns the end of the first sentence: a point before white space, outside formulas.
pub(super) fn sentence_end(line: &str) -> usize {
    let mut dollars = 0usize;
    let mut is_escaped = false;
    let mut characters = line.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        match character {
            '$' if !is_escaped => {
                dollars += 1;
                // `$5.$ Hence`: the point is within the formula.
                let closes = dollars.is_multiple_of(2) && line.get(..at).is_some_and(|before| before.ends_with('.'));
                if closes && next.is_some_and(char::is_whitespace) {
                    return at + 1;
                }
            }
            // `\]Thus`: a display ends the text before it.
            ']' if is_escaped
                && line.get(at + 1..).is_some_and(|rest| rest.trim_start().starts_with(char::is_uppercase)) =>
            {
                return at + 1;
            }
            '\u{3002}' => return at,
            '.' if next.is_none_or(char::is_whitespace)
                && (dollars.is_multiple_of(2) || next.is_none())
                && (next.is_none() || !is_abbreviation(line.get(..at).unwrap_or(""))) =>
            {
                return at;
            }
            _ => {}
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    line.len()
}

/// Returns whether a point belongs to the word before it: titles, `p.m.`, `U.S.`, but not the letter of a choice.
fn is_abbreviation(before: &str) -> bool {
    const SHORT: &[&str] = &[
        "Dr", "Mr", "Mrs", "Ms", "St", "Prof", "Jr", "Sr", "Mt", "Ft", "No", "vs", "approx", "Fig", "Eq", "Sec", "ca",
        "Inc", "Ltd", "Gen", "Col", "Capt", "Rev", "Hon", "Sgt", "Lt",
    ];
    let word = before.rsplit(|c: char| c.is_whitespace() || matches!(c, '*' | '"' | '(')).next().unwrap_or("");
    // `U.S`, `p.m`, `e.g`: letters with points between them.
    let is_initials =
        word.len() > 1 && word.split('.').all(|part| part.len() == 1 && part.bytes().all(|b| b.is_ascii_alphabetic()));
    SHORT.contains(&word) || is_initials
}

/// Trims Markdown emphasis, quotes and closing punctuation.
pub(super) fn trim_decoration(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '"' | '`' | '\u{201c}' | '\u{201d}'))
        .trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '\u{3002}'])
        .trim()
}

/// Returns the text before a reason: "5 because 2+3=5".
pub(super) fn without_reason(sentence: &str) -> &str {
    const REASONS: &[&str] =
        &[" because", " since ", ", as ", ", which ", ", so ", " (because", "\u{56e0}\u{4e3a}", "\u{7406}\u{7531}"];
    let end = REASONS.iter().filter_map(|reason| sentence.find(reason)).min().unwrap_or(sentence.len());
    trim_decoration(sentence.get(..end).unwrap_or(sentence))
}
