//! Compares a program's output with the expected output: token by token, numbers within a tolerance.

/// The allowed distance, relative above one, if the expected number has a point or an exponent.
const TOLERANCE: f64 = 1e-6;

/// Returns whether two outputs are equal.
pub(super) fn are_equal(printed: &str, expected: &str) -> bool {
    let (mut printed, mut expected) = (printed.split_whitespace(), expected.split_whitespace());
    loop {
        match (printed.next(), expected.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == other || are_close(one, other) => {}
            _ => return false,
        }
    }
}

fn are_close(printed: &str, expected: &str) -> bool {
    if !expected.contains(['.', 'e', 'E']) {
        return false;
    }
    match (number(printed), number(expected)) {
        (Some(printed), Some(expected)) => (printed - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
        _ => false,
    }
}

/// Parses a decimal number; rejects the other numbers that Rust accepts (`inf`, `nan`).
fn number(token: &str) -> Option<f64> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let has_digit = token.contains(|c: char| c.is_ascii_digit());
    (has_digit && token.chars().all(is_part)).then(|| token.parse().ok()).flatten().filter(|n: &f64| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_and_numbers_only_where_the_expected_output_shows_one() {
        for (printed, expected) in [
            ("1  2\n3\n", "1 2 3"),
            ("\n1 \r\n  2\n\n", "1\n2"),
            ("1.41421356237", "1.4142135624"),
            ("3", "3.0"),
            ("1000000.4", "1000000.0"),
            ("1e3", "1000.0"),
            ("", " \n"),
        ] {
            assert!(are_equal(printed, expected), "{printed:?} {expected:?}");
        }
        for (printed, expected) in [
            ("123", "1 2 3"),
            ("1 2 3 4", "1 2 3"),
            ("1 2", "1 2 3"),
            ("1.5", "1.4142135624"),
            ("3.0000001", "3"),
            ("3.0", "3"),
            ("yes", "YES"),
            ("nan", "1.0"),
            ("1.00001", "1.0"),
            ("inf", "1e400"),
        ] {
            assert!(!are_equal(printed, expected), "{printed:?} {expected:?}");
        }
    }
}
