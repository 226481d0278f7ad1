//! Signals that the parent process set to be ignored.

/// Number of SIGHUP, on every Unix.
const HANG_UP: u32 = 1;

/// Returns whether the program was started with SIGHUP ignored, as by `nohup`; false if the system does not state it.
#[must_use]
pub fn is_hang_up_ignored() -> bool {
    fs_err::read_to_string("/proc/self/status").is_ok_and(|status| is_ignored(&status, HANG_UP))
}

/// Parses the mask of ignored signals: hexadecimal, the lowest bit is signal 1.
fn is_ignored(status: &str, signal: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_mask_is_read_and_others_say_nothing() {
        assert!(is_ignored("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n", HANG_UP));
        for status in ["SigIgn:\t0000000000001000\n", "", "SigIgn:\tmany\n", "SigCgt:\t0000000000000001\n"] {
            assert!(!is_ignored(status, HANG_UP), "{status}");
        }
    }
}
