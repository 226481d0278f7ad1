//! Which script a text is in. Languages of one script are not told apart.

/// A script that questions come in.
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

/// Letters from which on a question has a language; formulas have fewer.
const LETTERS_MIN: usize = 8;

/// Letters that one sign stands for, about.
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

/// Returns the letters of each script by weight, formulas left out; ideographs beside kana are Japanese.
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
    // Chinese text names the odd Japanese word; Japanese is never without kana.
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
        // An odd number of marks means that they do not enclose anything.
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

/// Returns whether the script that dominates the question dominates the text; a question of few letters has none.
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
        let chinese = "一个水池有两个水管，单独注满需要几个小时？";
        let japanese = "りんごはいくつ残りますか。理由も述べよ。";
        let korean = "바구니에 사과가 몇 개 남았습니까?";
        let russian = "Сколько яблок осталось в корзине?";
        let arabic = "كم تفاحة بقيت في السلة؟";
        let texts = [english, chinese, japanese, korean, russian, arabic];
        for question in texts {
            for text in texts {
                assert_eq!(fits(text, question), text == question, "{text} / {question}");
            }
        }
    }

    #[test]
    fn formulas_and_foreign_names_do_not_count() {
        assert!(fits("需要先对方程移项", "求解 $\\frac{x+alpha}{beta} = gamma$ 的值，并说明理由。"));
        assert!(fits("这个问题需要使用Pythagoras定理并逐步计算边长", "直角三角形的斜边是多少？请给出结果"));
        assert!(fits("Any text at all", "2 + 2 = ?"));
        assert!(fits("任意文字", "x^2 + y"));
        assert!(!fits("This needs several steps", "求解方程的值，并说明理由。"));
    }
}
