//! Every bound of the mathematics verifier, in one place.
//!
//! The bounds make hostile input (towers of powers, deep nesting, megabytes of junk) end quickly with a verdict. They
//! are generous for competition answers: the longest reference answer of MATH is under 200 bytes.

/// Longest answer or gold that is parsed, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 4_096;
/// Most tokens of one expression.
pub(super) const TOKENS_MAX: usize = 2_048;
/// Deepest nesting of brackets, arguments, exponents and signs.
pub(super) const DEPTH_MAX: usize = 48;
/// Most postfix marks, divisions and set operations of one expression: each nests the tree by one.
pub(super) const WRAPS_MAX: usize = 96;
/// Most digits of one number literal.
pub(crate) const DIGITS_MAX: usize = 400;
/// Most digits of the repeating part of a decimal.
pub(super) const REPEAT_DIGITS_MAX: usize = 32;
/// Largest absolute decimal exponent of a number in scientific notation.
pub(crate) const EXPONENT_MAX: u32 = 400;
/// Largest numerator, denominator or intermediate integer, in bits.
pub(super) const BITS_MAX: usize = 40_000;
/// Largest radicand that is factored, in bits.
pub(super) const RADICAND_BITS_MAX: usize = 512;
/// The largest trial divisor; a cofactor below the square of this number is prime.
pub(super) const TRIAL_DIVISOR_MAX: u32 = 10_000;
/// Largest integer whose factorial is computed.
pub(super) const FACTORIAL_MAX: u32 = 2_100;
/// Largest absolute integer exponent of a sum of several terms.
pub(super) const SUM_EXPONENT_MAX: u32 = 48;
/// Largest index of a root.
pub(super) const ROOT_INDEX_MAX: u32 = 64;
/// Steps of exact arithmetic (products of two terms, factoring steps) that one comparison may take.
pub(super) const STEPS_MAX: u32 = 40_000;
/// Most elements of a list, set or union that are matched without order.
pub(super) const ELEMENTS_MAX: usize = 64;
/// Most terms of a series that is carried out.
pub(super) const SERIES_TERMS_MAX: i64 = 256;
