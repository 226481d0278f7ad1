//! The operating system, each part behind one module: clock, memory, signals, host names, limits, threads, and durable
//! files.

pub mod clock;
pub mod entropy;
pub mod files;
pub mod hosts;
pub mod limits;
pub mod memory;
pub mod signals;
pub mod staged;
pub mod threads;
