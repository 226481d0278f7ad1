//! `--deadline`: the time at which a run stops, given as a duration or as a point in time.

use std::str::FromStr;
use std::time::Duration;

/// The time at which to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    /// A duration after the start: `90s`, `45m`, `2h30m`, `1d`.
    After(Duration),
    /// A point in time, in milliseconds since 1970; written as an RFC 3339 time such as `2026-11-26T06:00:00+01:00`.
    At(i64),
}

impl Deadline {
    /// Returns the duration from now until the deadline; zero if the deadline has passed.
    pub(super) fn wait(self, now_unix_ms: i64) -> Duration {
        match self {
            Self::After(length) => length,
            Self::At(moment) => Duration::from_millis(u64::try_from(moment - now_unix_ms).unwrap_or(0)),
        }
    }
}

impl FromStr for Deadline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = length(text).map(Self::After).or_else(|| moment(text).map(Self::At));
        found.ok_or_else(|| "expected a length such as 2h30m, or a time such as 2026-11-26T06:00:00Z".to_owned())
    }
}

fn length(text: &str) -> Option<Duration> {
    let mut seconds = 0_u64;
    let mut digits = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(std::mem::take(&mut digits).parse::<u64>().ok()?.checked_mul(unit)?)?;
    }
    (digits.is_empty() && seconds > 0 && seconds <= 10 * 365 * 86_400).then(|| Duration::from_secs(seconds))
}

/// Reads `YYYY-MM-DDThh:mm:ss[.fraction](Z|+hh:mm|-hh:mm)`.
fn moment(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize, range: std::ops::RangeInclusive<i64>| -> Option<i64> {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok().filter(|number| range.contains(number))
    };
    let marks = [(4, "-"), (7, "-"), (13, ":"), (16, ":")];
    let is_formed = marks.iter().all(|(at, mark)| text.get(*at..at + 1) == Some(*mark));
    let parted = text.get(10..11).is_some_and(|mark| matches!(mark, "T" | "t" | " "));
    if !is_formed || !parted {
        return None;
    }
    let (year, month, day) = (number(0, 4, 1970..=9999)?, number(5, 7, 1..=12)?, number(8, 10, 1..=31)?);
    let (hour, minute, second) = (number(11, 13, 0..=23)?, number(14, 16, 0..=59)?, number(17, 19, 0..=60)?);
    let mut zone = text.get(19..)?;
    if let Some(fraction) = zone.strip_prefix('.') {
        zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let offset_minutes = match zone {
        "Z" | "z" => 0,
        _ => {
            let at = text.len() - zone.len();
            let sign = if zone.starts_with('+') { 1 } else { -1 };
            let is_zone = zone.len() == 6 && zone.starts_with(['+', '-']) && zone.get(3..4) == Some(":");
            let zone_hours = is_zone.then(|| number(at + 1, at + 3, 0..=23)).flatten()?;
            sign * (60 * zone_hours + number(at + 4, at + 6, 0..=59)?)
        }
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
    Some(1000 * seconds)
}

/// Days of the proleptic Gregorian calendar (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_moments_are_read() {
        let after = |seconds| Ok(Deadline::After(Duration::from_secs(seconds)));
        assert_eq!("90s".parse(), after(90));
        assert_eq!("2h30m".parse(), after(9000));
        assert_eq!("1d".parse(), after(86_400));
        assert_eq!("1970-01-01T00:00:00Z".parse(), Ok(Deadline::At(0)));
        assert_eq!("2000-03-01T00:00:00Z".parse(), Ok(Deadline::At(951_868_800_000)));
        assert_eq!("2026-11-26T06:00:00.5+01:00".parse::<Deadline>(), "2026-11-26T05:00:00Z".parse());
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in
            ["", "5", "h", "0s", "2x", "2026-11-26", "2026-13-01T00:00:00Z", "2026-11-26T06:00:00", "99999999999d"]
        {
            assert!(text.parse::<Deadline>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_that_has_passed_is_now() {
        assert_eq!(Deadline::At(1000).wait(5000), Duration::ZERO);
        assert_eq!(Deadline::At(5000).wait(1000), Duration::from_secs(4));
    }
}
