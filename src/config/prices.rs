//! `[judge.prices_usd_per_mtok]`: the prices of a provider, by time of day.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::SettingFault;

const DAY_MINUTES: u16 = 24 * 60;
const MINUTE_MS: i64 = 60_000;

/// `[judge.prices_usd_per_mtok]`; without a price the spend is unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PriceSettings {
    /// The day of these prices, `YYYY-MM-DD`; shown beside the spend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// Input tokens that the provider found in its cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_cache_hit: Option<f64>,
    /// Other input tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_cache_miss: Option<f64>,
    /// Output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<f64>,
    /// The price of a reply through the batch API, as a share of the other prices; without it, the cost is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_factor: Option<f64>,
    /// Prices of other hours.
    #[serde(skip_serializing_if = "OffPeakSettings::is_empty")]
    pub off_peak: OffPeakSettings,
}

/// `[judge.prices_usd_per_mtok.off_peak]`; the time of the reply decides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OffPeakSettings {
    /// The hours of these prices, every day, in UTC: `["00:00-01:00", "16:30-00:30"]`; the end is not included.
    pub hours_utc: Vec<HourWindow>,
    /// Whether these prices also apply to whole Saturdays and Sundays (UTC). Public holidays count as peak.
    pub weekends: bool,
    /// Input tokens that the provider found in its cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_cache_hit: Option<f64>,
    /// Other input tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_cache_miss: Option<f64>,
    /// Output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<f64>,
}

/// The three prices of one moment, in USD per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Input tokens that the provider found in its cache.
    pub input_cache_hit: Option<f64>,
    /// Other input tokens.
    pub input_cache_miss: Option<f64>,
    /// Output tokens.
    pub output: Option<f64>,
}

impl PriceSettings {
    /// Returns the prices outside the off-peak hours.
    #[must_use]
    pub const fn peak(&self) -> Rates {
        let Self { input_cache_hit, input_cache_miss, output, .. } = *self;
        Rates { input_cache_hit, input_cache_miss, output }
    }

    /// Returns the prices of the off-peak hours, if there are such hours.
    #[must_use]
    pub fn off_peak(&self) -> Option<Rates> {
        let OffPeakSettings { input_cache_hit, input_cache_miss, output, .. } = self.off_peak;
        self.off_peak.has_hours().then_some(Rates { input_cache_hit, input_cache_miss, output })
    }

    /// Returns the prices at a time, in milliseconds since 1970.
    #[must_use]
    pub fn at(&self, unix_ms: i64) -> Rates {
        if self.off_peak.holds_at(unix_ms) { self.off_peak().unwrap_or_else(|| self.peak()) } else { self.peak() }
    }

    /// Returns the first price that is not known, by its key below `judge.prices_usd_per_mtok`.
    #[must_use]
    pub fn unknown(&self) -> Option<String> {
        let tables = [("", Some(self.peak())), ("off_peak.", self.off_peak())];
        tables.into_iter().find_map(|(table, rates)| {
            let Rates { input_cache_hit, input_cache_miss, output } = rates?;
            let prices =
                [("input_cache_hit", input_cache_hit), ("input_cache_miss", input_cache_miss), ("output", output)];
            prices.iter().find(|(_, price)| price.is_none()).map(|(name, _)| format!("{table}{name}"))
        })
    }

    pub(super) fn check(&self) -> Result<(), SettingFault> {
        const KEY: &str = "judge.prices_usd_per_mtok";
        let fault = |detail: &str| Err((KEY, detail.to_owned()));
        let all = [Some(self.peak()), self.off_peak()];
        let prices =
            all.iter().flatten().flat_map(|rates| [rates.input_cache_hit, rates.input_cache_miss, rates.output]);
        if prices.flatten().any(|price| !(0.0..=1e6).contains(&price)) {
            return fault("holds a price that is not within 0 and 1000000");
        }
        if self.batch_factor.is_some_and(|factor| !(0.0..=10.0).contains(&factor)) {
            return fault("holds a batch_factor that is not within 0 and 10; 0.5 is half price");
        }
        if self.as_of.as_deref().is_some_and(|day| !is_day(day)) {
            return fault("holds an as_of that is no day like 2026-08-16");
        }
        if !self.off_peak.is_empty() && !self.off_peak.has_hours() {
            return fault("holds off_peak prices, but neither hours_utc nor weekends is set");
        }
        Ok(())
    }
}

fn is_day(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let within = |text: &str, width: usize, range: std::ops::RangeInclusive<u16>| {
        text.len() == width && text.parse().is_ok_and(|number| range.contains(&number))
    };
    within(year, 4, 1970..=9999) && within(month, 2, 1..=12) && within(day, 2, 1..=31)
}

impl OffPeakSettings {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn has_hours(&self) -> bool {
        self.weekends || !self.hours_utc.is_empty()
    }

    fn holds_at(&self, unix_ms: i64) -> bool {
        let minutes = unix_ms.div_euclid(MINUTE_MS);
        let day = minutes.div_euclid(i64::from(DAY_MINUTES));
        let minute = u16::try_from(minutes.rem_euclid(i64::from(DAY_MINUTES))).unwrap_or(0);
        // 1 January 1970 was a Thursday: 0 is Sunday.
        let is_weekend = matches!((day + 4).rem_euclid(7), 0 | 6);
        (self.weekends && is_weekend) || self.hours_utc.iter().any(|window| window.holds(minute))
    }
}

/// Hours of every day, `HH:MM-HH:MM`; they may span midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct HourWindow {
    /// Minutes since midnight.
    start: u16,
    /// Minutes since midnight, not included; up to a whole day.
    end: u16,
}

impl HourWindow {
    const fn holds(self, minute: u16) -> bool {
        if self.start < self.end {
            self.start <= minute && minute < self.end
        } else {
            self.start <= minute || minute < self.end
        }
    }
}

impl TryFrom<String> for HourWindow {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let minutes = |part: &str| -> Option<u16> {
            let (hour, minute) = part.trim().split_once(':')?;
            let is_short = hour.len() == 2 && minute.len() == 2;
            let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok().filter(|minute| *minute < 60)?);
            let minutes = hour.checked_mul(60)? + minute;
            (is_short && minutes <= DAY_MINUTES).then_some(minutes)
        };
        let window = text.split_once('-').and_then(|(start, end)| Some((minutes(start)?, minutes(end)?)));
        match window {
            Some((start, end)) if start != end && start < DAY_MINUTES => Ok(Self { start, end }),
            _ => Err(format!("\"{text}\" is no part of a day like \"16:30-00:30\"")),
        }
    }
}

impl From<HourWindow> for String {
    fn from(HourWindow { start, end }: HourWindow) -> Self {
        format!("{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wednesday, 25 November 2026, 00:00 UTC.
    const WEDNESDAY_MS: i64 = 1_795_564_800_000;

    fn at(hour: i64, minute: i64) -> i64 {
        WEDNESDAY_MS + (hour * 60 + minute) * MINUTE_MS
    }

    fn prices(hours: &[&str], weekends: bool) -> PriceSettings {
        let hours_utc = hours.iter().map(|text| HourWindow::try_from((*text).to_owned()).unwrap()).collect();
        let off_peak = OffPeakSettings { hours_utc, weekends, output: Some(1.0), ..OffPeakSettings::default() };
        PriceSettings { output: Some(2.0), off_peak, ..PriceSettings::default() }
    }

    #[test]
    fn the_minute_decides_which_prices_hold_and_the_end_is_not_included() {
        let prices = prices(&["10:00-12:30", "23:00-01:00"], false);
        for (hour, minute, output) in [
            (9, 59, 2.0),
            (10, 0, 1.0),
            (12, 29, 1.0),
            (12, 30, 2.0),
            (22, 59, 2.0),
            (23, 0, 1.0),
            (0, 0, 1.0),
            (0, 59, 1.0),
            (1, 0, 2.0),
        ] {
            assert_eq!(prices.at(at(hour, minute)).output, Some(output), "{hour}:{minute}");
        }
        assert_eq!(prices.at(-1).output, Some(1.0), "a minute before 1970 is one before midnight");
    }

    #[test]
    fn weekends_are_off_peak_as_a_whole_if_they_are_said_to_be() {
        const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
        let prices = prices(&[], true);
        let outputs: Vec<f64> = (0..7).map(|day| prices.at(at(12, 0) + day * DAY_MS).output.unwrap()).collect();
        assert_eq!(outputs, [2.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0], "from Wednesday to Tuesday");
    }

    #[test]
    fn windows_are_read_and_written_back_and_others_are_refused() {
        for text in ["00:00-24:00", "16:30-00:30", "01:00-04:00"] {
            assert_eq!(String::from(HourWindow::try_from(text.to_owned()).unwrap()), text);
        }
        for text in ["", "10-12", "10:00", "10:00-10:00", "24:00-01:00", "10:60-11:00", "1:00-2:00", "10:00-24:01"] {
            assert!(HourWindow::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_named_and_what_cannot_be_is_refused() {
        let known = PriceSettings {
            input_cache_hit: Some(0.0),
            input_cache_miss: Some(0.1),
            output: Some(0.2),
            ..PriceSettings::default()
        };
        assert_eq!((known.unknown(), known.check()), (None, Ok(())));
        assert_eq!(PriceSettings { output: None, ..known.clone() }.unknown().as_deref(), Some("output"));
        let off_peak = OffPeakSettings { weekends: true, input_cache_hit: Some(0.0), ..OffPeakSettings::default() };
        let half = PriceSettings { off_peak: off_peak.clone(), ..known.clone() };
        assert_eq!(half.unknown().as_deref(), Some("off_peak.input_cache_miss"));
        let timeless = PriceSettings { off_peak: OffPeakSettings { weekends: false, ..off_peak }, ..known.clone() };
        assert!(timeless.check().unwrap_err().1.contains("hours_utc"));
        for (as_of, is_good) in
            [("2026-08-16", true), ("2026-13-01", false), ("16.8.2026", false), ("2026-8-16", false)]
        {
            let dated = PriceSettings { as_of: Some(as_of.to_owned()), ..known.clone() };
            assert_eq!(dated.check().is_ok(), is_good, "{as_of}");
        }
        assert!(PriceSettings { output: Some(-1.0), ..known.clone() }.check().is_err());
        assert!(PriceSettings { batch_factor: Some(-0.5), ..known }.check().is_err());
    }
}
