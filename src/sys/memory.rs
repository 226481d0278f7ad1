//! The machine's memory.

/// Returns the bytes that a process may still allocate before the system swaps, if the system states them.
#[must_use]
pub fn available_bytes() -> Option<u64> {
    parse_available(&fs_err::read_to_string("/proc/meminfo").ok()?)
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Bounds the arenas of glibc's allocator to one per core, at least four; its default is eight per core. More arenas keep
/// more memory: long-lived allocations lie between the freed ones of a shard, which then cannot return to the system.
/// Fewer arenas make threads wait for each other.
///
/// Call it before threads are started.
pub fn bound_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let arenas = i32::try_from(cores.max(4)).unwrap_or(i32::MAX);
        // SAFETY: the call takes no pointers and only changes how later allocations are placed.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, arenas);
        }
    }
}

/// Returns freed memory to the system, if the C library keeps it: glibc has an arena per thread, and each thread that
/// has built a shard would keep a shard's worth of memory.
pub fn return_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes no pointers and is allowed at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_format_is_read_and_others_are_unknown() {
        let text = "MemTotal:       24685436 kB\nMemFree:          302140 kB\nMemAvailable:   21437244 kB\n";
        assert_eq!(parse_available(text), Some(21_437_244 * 1024));
        for text in ["", "MemTotal: 1 kB", "MemAvailable: many kB", "MemAvailable: 5 MB"] {
            assert_eq!(parse_available(text), None, "{text}");
        }
    }
}
