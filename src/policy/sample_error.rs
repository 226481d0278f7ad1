//! Why a response could not be sampled.

use super::error::PolicyError;
use crate::http::CallFailure;

/// Why a response could not be sampled.
#[derive(Debug)]
pub enum SampleError {
    /// The program stops: nothing new is begun.
    Draining,
    /// It grew longer than it may be to be of use, and was given up.
    TooLong,
    /// The model failed.
    Policy(PolicyError),
    /// One attempt over HTTP failed.
    Call(CallFailure),
}
