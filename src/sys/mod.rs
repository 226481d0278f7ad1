//! The outside world, each part behind one door: the clock, the memory, signals, names of hosts, limits, threads, and files
//! that must survive.

pub mod clock;
pub mod entropy;
pub mod files;
pub mod hosts;
pub mod limits;
pub mod memory;
pub mod signals;
pub mod staged;
pub mod threads;
