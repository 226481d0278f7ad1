//! A setting with an invalid value.

use std::fmt::Display;
use std::ops::RangeBounds;

/// An invalid setting: its key, and why its value is invalid.
pub(super) type SettingFault = (&'static str, String);

pub(super) fn within<T: Display + PartialOrd + Copy>(
    key: &'static str,
    value: T,
    range: impl RangeBounds<T>,
    allowed: &str,
) -> Result<(), SettingFault> {
    if range.contains(&value) { Ok(()) } else { Err((key, format!("is {value}; allowed: {allowed}"))) }
}
