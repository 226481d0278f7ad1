//! The outside world, each part behind one door: the clock, and files that must survive.

pub mod clock;
pub mod files;
