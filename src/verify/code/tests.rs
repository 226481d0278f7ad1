//! Programs in the real sandbox.
