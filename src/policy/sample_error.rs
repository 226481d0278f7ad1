//! Why a response could not be sampled.

use super::error::PolicyError;
use crate::http::CallFailure;

/// Why a response could not be sampled.
#[derive(Debug)]
pub enum SampleError {
    /// The program stops: no new response is begun.
    Draining,
    /// The response exceeded its useful length, and was abandoned.
    TooLong,
    /// The model failed.
    Policy(PolicyError),
    /// One attempt over HTTP failed.
    Call(CallFailure),
}
