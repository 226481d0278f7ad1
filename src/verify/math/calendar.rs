//! Compares dates and times of day, if the gold is one.
//!
//! `March 5, 2024`, `5 March 2024`, `2024-03-05` are one date; `3:05 PM`, `3:05 p.m.` and `15:05` are one time. A year
//! or an AM/PM mark may be missing on one side. Times without a mark may also be ratios: if these readings disagree,
//! the comparison is undecided. Durations and time zones are not supported.

use super::outcome::Outcome;

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const MONTH_NAMES: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: &[&str] = &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Longest text of a date or time, in bytes.
const TEXT_BYTES_MAX: usize = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: Option<u32>,
    month: u32,
    day: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clock {
    hour: u32,
    minute: u32,
    second: u32,
    /// Whether the time is marked as PM; `None` without a mark.
    afternoon: Option<bool>,
}

/// Compares two texts as dates or times; `None` if the gold is neither, or the answer is not the same kind.
pub(super) fn compare(gold: &str, answer: &str) -> Option<Outcome> {
    if gold.len() > TEXT_BYTES_MAX || answer.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (gold, answer) = (words(gold), words(answer));
    if let (Some(gold), Some(answer)) = (date(&gold), date(&answer)) {
        let agrees = |left: Option<u32>, right: Option<u32>| left.is_none() || right.is_none() || left == right;
        let same = gold.month == answer.month && gold.day == answer.day && agrees(gold.year, answer.year);
        return Some(if same { Outcome::Equal("same_date") } else { Outcome::Different("date_differs") });
    }
    let (gold, answer) = (clock(&gold)?, clock(&answer)?);
    let minutes = |clock: &Clock| (clock.hour, clock.minute, clock.second);
    match (gold.afternoon, answer.afternoon) {
        (None, None) => {
            if minutes(&gold) == minutes(&answer) {
                return Some(Outcome::Equal("same_time"));
            }
            let is_ratio = gold.hour * answer.minute == answer.hour * gold.minute;
            Some(if is_ratio { Outcome::Undecided } else { Outcome::Different("time_differs") })
        }
        _ => {
            let day_times = |clock: &Clock| -> Vec<(u32, u32, u32)> {
                let hours = match clock.afternoon {
                    Some(afternoon) => vec![clock.hour % 12 + if afternoon { 12 } else { 0 }],
                    None if clock.hour > 12 || clock.hour == 0 => vec![clock.hour % 24],
                    None => vec![clock.hour % 12, clock.hour % 12 + 12],
                };
                hours.into_iter().map(|hour| (hour, clock.minute, clock.second)).collect()
            };
            let (left, right) = (day_times(&gold), day_times(&answer));
            let same = left.iter().any(|time| right.contains(time));
            Some(if same { Outcome::Equal("same_time") } else { Outcome::Different("time_differs") })
        }
    }
}

/// Returns the words of a text in lower case, without LaTeX commands.
fn words(text: &str) -> Vec<String> {
    let mut plain = text.to_lowercase();
    for (from, to) in [
        ("\\text", ""),
        ("\\mathrm", ""),
        ("\\!", ""),
        ("\\,", " "),
        ("\\;", " "),
        ("\\ ", " "),
        ("~", " "),
        ("\\quad", " "),
        ("\\(", ""),
        ("\\)", ""),
        ("\u{5e74}", "-"),
        ("\u{6708}", "-"),
        ("\u{65e5}", ""),
    ] {
        plain = plain.replace(from, to);
    }
    let plain = plain.replace(['$', '{', '}', '*'], "").replace(',', " ");
    plain.split_whitespace().map(|word| word.trim_end_matches('.').to_owned()).filter(|word| !word.is_empty()).collect()
}

fn date(words: &[String]) -> Option<Date> {
    let rest = match words.split_first() {
        Some((first, rest)) if WEEKDAYS.contains(&first.as_str()) => rest,
        _ => words,
    };
    let parts: Vec<&str> = rest.iter().map(String::as_str).filter(|word| !matches!(*word, "of" | "the")).collect();
    if let [numeric] = parts.as_slice() {
        return numeric_date(numeric);
    }
    let month_at = parts.iter().position(|word| month(word).is_some())?;
    let named = month(parts.get(month_at)?)?;
    let numbers: Option<Vec<(u32, usize)>> = parts
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != month_at)
        .map(|(_, word)| {
            let digits = ["st", "nd", "rd", "th"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
            digits.parse().ok().map(|number| (number, digits.len()))
        })
        .collect();
    let is_year = |(number, len): (u32, usize)| len == 4 && number >= 1000;
    let day = |(number, len): (u32, usize)| (len <= 2 && (1..=31).contains(&number)).then_some(number);
    match numbers?.as_slice() {
        [only] if is_year(*only) => Some(Date { year: Some(only.0), month: named, day: None }),
        [only] => Some(Date { year: None, month: named, day: Some(day(*only)?) }),
        [first, second] if is_year(*second) => {
            Some(Date { year: Some(second.0), month: named, day: Some(day(*first)?) })
        }
        [first, second] if is_year(*first) => {
            Some(Date { year: Some(first.0), month: named, day: Some(day(*second)?) })
        }
        _ => None,
    }
}

fn month(word: &str) -> Option<u32> {
    let at = MONTH_NAMES
        .iter()
        .position(|name| *name == word)
        .or_else(|| MONTHS.iter().position(|name| *name == word || (word == "sept" && *name == "sep")))?;
    u32::try_from(at + 1).ok()
}

/// Parses `2024-03-05`, `3-5` with a Chinese month, and `13/5/2024` if only one order is possible.
fn numeric_date(word: &str) -> Option<Date> {
    let parse = |part: &str| part.parse::<u32>().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()));
    let parts: Vec<&str> = word.split('-').collect();
    if let [year, month, day] = parts.as_slice()
        && year.len() == 4
    {
        let (month, day) = (parse(month)?, parse(day)?);
        let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
        return is_date.then_some(Date { year: Some(parse(year)?), month, day: Some(day) });
    }
    let parts: Vec<&str> = word.split('/').collect();
    let [first, second, year] = parts.as_slice() else { return None };
    let (first, second) = (parse(first)?, parse(second)?);
    let year = parse(year).filter(|_| year.len() == 4)?;
    let (month, day) = match (first, second) {
        (1..=12, 13..=31) => (first, second),
        (13..=31, 1..=12) => (second, first),
        (1..=12, _) if first == second => (first, second),
        _ => return None,
    };
    Some(Date { year: Some(year), month, day: Some(day) })
}

fn clock(words: &[String]) -> Option<Clock> {
    let joined = words.concat().replace('.', "");
    match joined.as_str() {
        "noon" => return Some(Clock { hour: 12, minute: 0, second: 0, afternoon: Some(true) }),
        "midnight" => return Some(Clock { hour: 12, minute: 0, second: 0, afternoon: Some(false) }),
        _ => {}
    }
    let (digits, afternoon) = match joined.strip_suffix("am") {
        Some(digits) => (digits, Some(false)),
        None => match joined.strip_suffix("pm") {
            Some(digits) => (digits, Some(true)),
            None => (joined.as_str(), None),
        },
    };
    let digits = digits.strip_suffix("o'clock").unwrap_or(digits);
    let parts: Vec<&str> = digits.split(':').collect();
    let number = |part: &str, max: u32| {
        let is_plain = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u32>().ok().filter(|number| is_plain && *number <= max)
    };
    let hour_max = if afternoon.is_some() { 12 } else { 24 };
    let hour = number(parts.first()?, hour_max)?;
    let below_sixty = |part: &str| number(part, 59).filter(|_| part.len() == 2);
    match parts.as_slice() {
        // Without minutes, a number needs a mark to be a time.
        [_] => afternoon.is_some().then_some(Clock { hour, minute: 0, second: 0, afternoon }),
        [_, minute] => Some(Clock { hour, minute: below_sixty(minute)?, second: 0, afternoon }),
        [_, minute, second] => {
            Some(Clock { hour, minute: below_sixty(minute)?, second: below_sixty(second)?, afternoon })
        }
        _ => None,
    }
}
