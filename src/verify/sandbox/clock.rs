//! Measures the CPU time of a job and its idle time: the wall-clock time without the time in which the job could not
//! run.
//!
//! CPU time is read from the scheduler's count. The kernel's own limit uses samples, which are far off for a program
//! that shares its core; it serves only as a fallback if the watch fails. Programs that sleep, wait for each other or
//! wait for nothing use no CPU time. A tick counts as idle as far as no process of the job ran in it, none waited for a
//! core (`schedstat`, which records a wait only after its end), none was stopped, and none waited for a disk. A late
//! tick shows that this program could not run either, and counts as one that came in time.

#![expect(clippy::disallowed_methods, reason = "time and CPU time of real processes, read from /proc")]

use std::time::{Duration, Instant};

/// The longest time that one tick can add.
const TICK_MAX: Duration = Duration::from_millis(100);
/// The most threads of a process whose waiting time is added.
const THREADS_MAX: usize = 64;
/// Nanoseconds per unit of the clock in `/proc/PID/stat`.
const CLOCK_TICK_NS: u64 = 10_000_000;

/// The activity of a process until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sample {
    /// The nanoseconds that the process's threads ran or waited for a core.
    busy_ns: u64,
    /// The CPU time of all threads of the process, in nanoseconds.
    cpu_ns: u64,
    /// Whether the process is running or runnable, is stopped, or waits for a disk.
    is_held: bool,
}

/// The time that a job has used until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// The CPU time of the process that has used the most.
    pub(super) cpu: Duration,
    /// The time in which no process had work.
    pub(super) idle: Duration,
}

/// A process whose time is counted.
#[derive(Debug)]
struct Process {
    pid: u32,
    last: Option<Sample>,
}

/// The idle time of the processes of one job.
#[derive(Debug)]
pub(super) struct IdleClock {
    /// The children, and the interpreter that forked them.
    processes: Vec<Process>,
    last: Instant,
    idle: Duration,
    cpu: Duration,
}

impl IdleClock {
    /// Starts the clock for these children of an interpreter.
    pub(super) fn start(children: &[u32], interpreter: u32) -> Self {
        let all = children.iter().chain([&interpreter]);
        let processes = all.map(|&pid| Process { pid, last: sample(pid) }).collect();
        Self { processes, last: Instant::now(), idle: Duration::ZERO, cpu: Duration::ZERO }
    }

    /// Counts the time since the last tick, and returns the total time that the job has used.
    pub(super) fn tick(&mut self) -> Used {
        let now = Instant::now();
        let passed = now.duration_since(self.last);
        self.last = now;
        let (mut busy_ns, mut is_held) = (0, false);
        let children = self.processes.len().saturating_sub(1);
        for (index, process) in self.processes.iter_mut().enumerate() {
            // A process that has ended is absent, or uses no more time.
            let next = sample(process.pid);
            if let (Some(before), Some(after)) = (process.last, next) {
                busy_ns += after.busy_ns.saturating_sub(before.busy_ns);
                is_held |= before.is_held || after.is_held;
            }
            if let Some(sample) = next.filter(|_| index < children) {
                self.cpu = self.cpu.max(Duration::from_nanos(sample.cpu_ns));
            }
            process.last = next;
        }
        let busy = Duration::from_nanos(busy_ns);
        // The kernel reports a wait for a core only when the process gets the core: until then the wait was counted as
        // idle.
        self.idle = self.idle.saturating_sub(busy.saturating_sub(passed)) + idle(passed, busy, is_held);
        Used { cpu: self.cpu, idle: self.idle }
    }
}

/// Returns the idle part of a tick.
fn idle(passed: Duration, busy: Duration, is_held: bool) -> Duration {
    if is_held {
        return Duration::ZERO;
    }
    passed.saturating_sub(busy).min(TICK_MAX)
}

/// Returns the activity of a process, if the process exists.
fn sample(pid: u32) -> Option<Sample> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (state, ticks, threads) = read_stat(&stat)?;
    let (ran_ns, mut waited_ns) = read_schedstat(&format!("/proc/{pid}/schedstat")).unwrap_or_default();
    // The first thread's value covers only that thread, and a kernel may keep no such account.
    let ran_ns = ran_ns.max(ticks.saturating_mul(CLOCK_TICK_NS));
    if threads > 1 {
        waited_ns = 0;
        let entries = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        for entry in entries.flatten().take(THREADS_MAX) {
            let path = entry.path().join("schedstat");
            waited_ns += read_schedstat(&path.to_string_lossy()).unwrap_or_default().1;
        }
    }
    let cpu_ns = ticks.saturating_mul(CLOCK_TICK_NS);
    Some(Sample { busy_ns: ran_ns.saturating_add(waited_ns), cpu_ns, is_held: matches!(state, 'R' | 'T' | 't' | 'D') })
}

/// Parses the state, the clock ticks of user and system time, and the number of threads.
fn read_stat(stat: &str) -> Option<(char, u64, u64)> {
    // The process name may contain any character, including brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let fields: Vec<u64> = fields.map(|field| field.parse().unwrap_or_default()).collect();
    // Fields 14, 15 and 20 of the whole line; `fields` begins with the fourth.
    Some((state, fields.get(10)? + fields.get(11)?, *fields.get(16)?))
}

/// Reads the time that a thread ran, and the time that it waited for a core, in nanoseconds.
fn read_schedstat(path: &str) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut fields = text.split_whitespace().map(|field| field.parse().unwrap_or_default());
    Some((fields.next()?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_as_idle_only_if_nothing_ran_waited_or_was_held() {
        let ms = Duration::from_millis;
        assert_eq!(idle(ms(20), ms(0), false), ms(20));
        assert_eq!(idle(ms(20), ms(15), false), ms(5));
        assert_eq!(idle(ms(20), ms(90), false), ms(0));
        assert_eq!(idle(ms(20), ms(0), true), ms(0));
        assert_eq!(idle(ms(9000), ms(0), false), TICK_MAX, "a late tick");
    }

    #[test]
    fn a_line_of_stat_is_read_whatever_the_process_is_called() {
        let line = "7 (a) T (b) S 1 7 7 0 -1 4194304 100 0 0 0 12 34 0 0 20 0 3 0 100 1 1";
        assert_eq!(read_stat(line), Some(('S', 46, 3)));
        assert_eq!(read_stat("7 (a"), None);
        assert_eq!(read_stat("7 (a) S 1"), None);
        assert!(sample(std::process::id()).is_some_and(|sample| sample.busy_ns > 0));
        assert_eq!(sample(u32::MAX), None);
    }
}
