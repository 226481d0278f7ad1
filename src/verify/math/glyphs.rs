//! Characters that represent a number, a raised or lowered digit, or a unit.

/// Returns the plain digit or sign of a raised character.
pub(crate) fn superscript(character: char) -> Option<char> {
    Some(match character {
        '\u{b2}' => '2',
        '\u{b3}' => '3',
        '\u{b9}' => '1',
        '\u{2070}' => '0',
        '\u{2074}'..='\u{2079}' => char::from_digit(u32::from(character) - 0x2070, 10)?,
        '\u{207a}' => '+',
        '\u{207b}' => '-',
        '\u{207d}' => '(',
        '\u{207e}' => ')',
        '\u{207f}' => 'n',
        '\u{2071}' => 'i',
        '\u{2e3}' => 'x',
        _ => return None,
    })
}

/// Returns the plain digit of a lowered character.
pub(super) fn subscript(character: char) -> Option<char> {
    match character {
        '\u{2080}'..='\u{2089}' => char::from_digit(u32::from(character) - 0x2080, 10),
        '\u{2099}' => Some('n'),
        '\u{2096}' => Some('k'),
        '\u{1d62}' => Some('i'),
        _ => None,
    }
}

/// Returns the number in a circled-number character.
pub(super) fn circled(character: char) -> Option<u32> {
    matches!(character, '\u{2460}'..='\u{2473}').then(|| u32::from(character) - 0x245f)
}

/// Returns the temperature scale that a character names.
pub(super) fn temperature(character: char) -> Option<&'static str> {
    match character {
        '\u{2103}' => Some("celsius"),
        '\u{2109}' => Some("fahrenheit"),
        _ => None,
    }
}

/// Returns the two numbers of a vulgar fraction.
pub(super) fn vulgar_fraction(character: char) -> Option<(&'static str, &'static str)> {
    Some(match character {
        '\u{bd}' => ("1", "2"),
        '\u{bc}' => ("1", "4"),
        '\u{be}' => ("3", "4"),
        '\u{2150}' => ("1", "7"),
        '\u{2151}' => ("1", "9"),
        '\u{2152}' => ("1", "10"),
        '\u{2153}' => ("1", "3"),
        '\u{2154}' => ("2", "3"),
        '\u{2155}' => ("1", "5"),
        '\u{2156}' => ("2", "5"),
        '\u{2157}' => ("3", "5"),
        '\u{2158}' => ("4", "5"),
        '\u{2159}' => ("1", "6"),
        '\u{215a}' => ("5", "6"),
        '\u{215b}' => ("1", "8"),
        '\u{215c}' => ("3", "8"),
        '\u{215d}' => ("5", "8"),
        '\u{215e}' => ("7", "8"),
        '\u{2189}' => ("0", "3"),
        _ => return None,
    })
}
