//! A setting that is out of its range.

use std::fmt::Display;
use std::ops::RangeBounds;

/// A setting that cannot be used: its key, and what is wrong with it.
pub type SettingFault = (&'static str, String);

pub(super) fn within<T: Display + PartialOrd + Copy>(
    key: &'static str,
    value: T,
    range: impl RangeBounds<T>,
    allowed: &str,
) -> Result<(), SettingFault> {
    if range.contains(&value) { Ok(()) } else { Err((key, format!("is {value}; allowed: {allowed}"))) }
}
