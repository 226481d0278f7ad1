//! Detects the script of a text. Languages that share a script are not distinguished.

/// A script of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Han,
    /// Japanese: kana with or without ideographs.
    Kana,
    Hangul,
    Cyrillic,
    Arabic,
    Greek,
    Hebrew,
    Devanagari,
    Thai,
}

/// The minimum number of letters for a question to have a language; formulas have fewer.
const LETTERS_MIN: usize = 8;

/// The approximate number of letters that one sign represents.
const fn weight(script: Script) -> usize {
    match script {
        Script::Han | Script::Hangul => 3,
        Script::Kana => 2,
        _ => 1,
    }
}

/// Returns whether a character is a Korean syllable.
pub(super) fn is_hangul(c: char) -> bool {
    script_of(c) == Some(Script::Hangul)
}

fn script_of(c: char) -> Option<Script> {
    Some(match c {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' if c.is_alphabetic() => Script::Latin,
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' => Script::Han,
        '\u{3041}'..='\u{30ff}' => Script::Kana,
        '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7a3}' => Script::Hangul,
        '\u{400}'..='\u{52f}' => Script::Cyrillic,
        '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' => Script::Arabic,
        '\u{370}'..='\u{3ff}' => Script::Greek,
        '\u{590}'..='\u{5ff}' => Script::Hebrew,
        '\u{900}'..='\u{97f}' => Script::Devanagari,
        '\u{e00}'..='\u{e7f}' => Script::Thai,
        _ => return None,
    })
}

const ALL: [Script; 10] = [
    Script::Latin,
    Script::Han,
    Script::Kana,
    Script::Hangul,
    Script::Cyrillic,
    Script::Arabic,
    Script::Greek,
    Script::Hebrew,
    Script::Devanagari,
    Script::Thai,
];

/// Returns the letters of each script by weight, without formulas; ideographs next to kana count as Japanese.
fn letters(text: &str) -> [(Script, usize); 10] {
    let mut counts = ALL.map(|script| (script, 0));
    let text = without_formulas(text);
    for script in text.chars().filter_map(script_of) {
        if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == script) {
            *count += weight(script);
        }
    }
    let of = |wanted| counts.iter().find(|(script, _)| *script == wanted).map_or(0, |(_, count)| *count);
    let (han, kana) = (of(Script::Han), of(Script::Kana));
    // Chinese text may name a Japanese word; Japanese text always has kana.
    let (han, kana) = if 8 * kana >= han { (0, if kana == 0 { 0 } else { han + kana }) } else { (han + kana, 0) };
    let (han, kana) = if of(Script::Kana) == 0 { (of(Script::Han), 0) } else { (han, kana) };
    counts.map(|(script, count)| match script {
        Script::Han => (script, han),
        Script::Kana => (script, kana),
        _ => (script, count),
    })
}

/// Drops `$...$`, code spans and TeX commands.
fn without_formulas(text: &str) -> String {
    let mut kept = String::new();
    for (index, part) in text.split(['$', '`']).enumerate() {
        // An odd number of marks encloses no formula.
        if index.is_multiple_of(2) {
            kept.push_str(part);
        }
    }
    if kept.trim().is_empty() {
        kept = text.to_owned();
    }
    let mut plain = String::new();
    let mut is_command = false;
    for c in kept.chars() {
        is_command = c == '\\' || (is_command && c.is_ascii_alphabetic());
        if !is_command {
            plain.push(c);
        }
    }
    plain
}

/// Returns whether the dominant script of the question dominates the text; a question of few letters fits any text.
pub(super) fn fits(text: &str, question: &str) -> bool {
    let asked = letters(question);
    let Some((script, count)) = asked.into_iter().max_by_key(|(_, count)| *count) else { return true };
    if count < LETTERS_MIN {
        return true;
    }
    let said = letters(text);
    let total: usize = said.iter().map(|(_, count)| count).sum();
    let own = said.iter().find(|(known, _)| *known == script).map_or(0, |(_, count)| *count);
    2 * own >= total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_the_question_must_dominate() {
        let english = "How many apples are left in the basket?";
        let chinese = "\u{4e00}\u{4e2a}\u{6c34}\u{6c60}\u{6709}\u{4e24}\u{4e2a}\u{6c34}\u{7ba1}\u{ff0c}\u{5355}\u{72ec}\u{6ce8}\u{6ee1}\u{9700}\u{8981}\u{51e0}\u{4e2a}\u{5c0f}\u{65f6}\u{ff1f}";
        let japanese = "\u{308a}\u{3093}\u{3054}\u{306f}\u{3044}\u{304f}\u{3064}\u{6b8b}\u{308a}\u{307e}\u{3059}\u{304b}\u{3002}\u{7406}\u{7531}\u{3082}\u{8ff0}\u{3079}\u{3088}\u{3002}";
        let korean = "\u{bc14}\u{ad6c}\u{b2c8}\u{c5d0} \u{c0ac}\u{acfc}\u{ac00} \u{ba87} \u{ac1c} \u{b0a8}\u{c558}\u{c2b5}\u{b2c8}\u{ae4c}?";
        let russian = "\u{421}\u{43a}\u{43e}\u{43b}\u{44c}\u{43a}\u{43e} \u{44f}\u{431}\u{43b}\u{43e}\u{43a} \u{43e}\u{441}\u{442}\u{430}\u{43b}\u{43e}\u{441}\u{44c} \u{432} \u{43a}\u{43e}\u{440}\u{437}\u{438}\u{43d}\u{435}?";
        let arabic = "\u{643}\u{645} \u{62a}\u{641}\u{627}\u{62d}\u{629} \u{628}\u{642}\u{64a}\u{62a} \u{641}\u{64a} \u{627}\u{644}\u{633}\u{644}\u{629}\u{61f}";
        let texts = [english, chinese, japanese, korean, russian, arabic];
        for question in texts {
            for text in texts {
                assert_eq!(fits(text, question), text == question, "{text} / {question}");
            }
        }
    }

    #[test]
    fn formulas_and_foreign_names_do_not_count() {
        assert!(fits(
            "\u{9700}\u{8981}\u{5148}\u{5bf9}\u{65b9}\u{7a0b}\u{79fb}\u{9879}",
            "\u{6c42}\u{89e3} $\\frac{x+alpha}{beta} = gamma$ \u{7684}\u{503c}\u{ff0c}\u{5e76}\u{8bf4}\u{660e}\u{7406}\u{7531}\u{3002}"
        ));
        assert!(fits(
            "\u{8fd9}\u{4e2a}\u{95ee}\u{9898}\u{9700}\u{8981}\u{4f7f}\u{7528}Pythagoras\u{5b9a}\u{7406}\u{5e76}\u{9010}\u{6b65}\u{8ba1}\u{7b97}\u{8fb9}\u{957f}",
            "\u{76f4}\u{89d2}\u{4e09}\u{89d2}\u{5f62}\u{7684}\u{659c}\u{8fb9}\u{662f}\u{591a}\u{5c11}\u{ff1f}\u{8bf7}\u{7ed9}\u{51fa}\u{7ed3}\u{679c}"
        ));
        assert!(fits("Any text at all", "2 + 2 = ?"));
        assert!(fits("\u{4efb}\u{610f}\u{6587}\u{5b57}", "x^2 + y"));
        assert!(!fits(
            "This needs several steps",
            "\u{6c42}\u{89e3}\u{65b9}\u{7a0b}\u{7684}\u{503c}\u{ff0c}\u{5e76}\u{8bf4}\u{660e}\u{7406}\u{7531}\u{3002}"
        ));
    }
}
