//! The outside world, each part behind one door: the clock, the memory, signals, and files that must survive.

pub mod clock;
pub mod entropy;
pub mod files;
pub mod memory;
pub mod signals;
