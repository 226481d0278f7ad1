//! The seccomp filters: block the system calls that a program must not use.
//!
//! One list names the allowed calls (`calls`). Calls on a second list are refused with `EPERM`. All other calls fail
//! with `ENOSYS`, as on a kernel without them: calls newer than the lists, calls of another numbering (x32), and calls
//! that no program needs. Lists also name the allowed requests to files and devices, and the allowed commands to
//! descriptors. A foreign architecture kills the process.
//!
//! `execve` is not refused: the filter is installed before the interpreter is executed, and a filter cannot count.
//! Landlock allows only the interpreter to be executed, and a program that executes it remains the same process under
//! the same layers.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::calls::{ALLOWED, ALLOWED_HERE, REFUSED, REFUSED_HERE};
use super::confine::Disk;

/// A comparison of one argument of a system call.
struct When {
    argument: u8,
    is: SeccompCmpOp,
    value: u64,
}

impl When {
    const fn equal(argument: u8, value: u64) -> Self {
        Self { argument, is: SeccompCmpOp::Eq, value }
    }

    const fn differs(argument: u8, value: u64) -> Self {
        Self { argument, is: SeccompCmpOp::Ne, value }
    }

    const fn masked(argument: u8, mask: u64, value: u64) -> Self {
        Self { argument, is: SeccompCmpOp::MaskedEq(mask), value }
    }
}

/// System calls that are refused with some arguments.
#[allow(clippy::unnecessary_cast, reason = "the type of a constant differs between architectures")]
fn refused_when(disk: Disk) -> Vec<(c_long, Vec<When>)> {
    // Opening for reading with truncation: kernels before 6.2 have no landlock rule against it.
    let truncates = |argument| When::masked(argument, (libc::O_ACCMODE | libc::O_TRUNC) as u64, libc::O_TRUNC as u64);
    let mut rules = vec![
        // Threads are allowed, processes are not.
        (libc::SYS_clone, When::masked(0, libc::CLONE_THREAD as u64, 0)),
        // asyncio wakes itself through a pair of connected sockets; a socket of the pair must not get an address.
        (libc::SYS_socketpair, When::differs(0, libc::AF_UNIX as u64)),
        (libc::SYS_sendto, When::differs(4, 0)),
        (libc::SYS_openat, truncates(2)),
        // A process may read its own limits.
        (libc::SYS_prlimit64, When::differs(0, 0)),
        (libc::SYS_sched_setaffinity, When::differs(0, 0)),
        // The kernel kills this process with its parent.
        (libc::SYS_prctl, When::equal(0, libc::PR_SET_PDEATHSIG as u64)),
    ];
    // A thread in a name space of its own.
    for space in NAME_SPACES {
        rules.push((libc::SYS_clone, When::masked(0, *space as u64, *space as u64)));
    }
    // Programs that the kernel runs on a socket's data.
    for option in [libc::SO_ATTACH_FILTER, libc::SO_ATTACH_BPF, 51, 52] {
        rules.push((libc::SYS_setsockopt, When::equal(2, option as u64)));
    }
    if disk == Disk::Shared {
        // Files that no directory shows.
        rules.push((libc::SYS_openat, When::masked(2, O_TMPFILE_BIT, O_TMPFILE_BIT)));
    }
    #[cfg(target_arch = "x86_64")]
    {
        rules.push((libc::SYS_open, truncates(1)));
        rules.push((libc::SYS_setrlimit, When::equal(0, RLIMIT_CPU)));
        if disk == Disk::Shared {
            rules.push((libc::SYS_open, When::masked(1, O_TMPFILE_BIT, O_TMPFILE_BIT)));
        }
    }
    let mut rules: Vec<(c_long, Vec<When>)> = rules.into_iter().map(|(call, when)| (call, vec![when])).collect();
    // All requests except these: every new kernel adds requests to files, devices and descriptors.
    let other_than = |values: &[u64]| values.iter().map(|&value| When::differs(1, value)).collect();
    rules.push((libc::SYS_fcntl, other_than(COMMANDS)));
    rules.push((libc::SYS_ioctl, other_than(REQUESTS)));
    // The limit of CPU time decides a verdict, so a program must not set it. A program may set its other limits.
    rules.push((libc::SYS_prlimit64, vec![When::equal(1, RLIMIT_CPU), When::differs(2, 0)]));
    rules
}

/// The bits of `O_TMPFILE` without `O_DIRECTORY`.
const O_TMPFILE_BIT: u64 = 0o20_000_000;
/// The kernel's number of the CPU time limit.
const RLIMIT_CPU: u64 = 0;
/// The name spaces that `clone` can create.
const NAME_SPACES: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];
/// Allowed commands of `fcntl`: descriptors, their flags, and locks of files (F_DUPFD to F_SETLKW, F_OFD_GETLK to
/// F_OFD_SETLKW, F_DUPFD_CLOEXEC, F_GETPIPE_SZ, F_GET_SEALS). Not allowed: the receiver of a file's signals (F_SETOWN,
/// F_SETSIG, F_NOTIFY), leases, which make other processes wait (F_SETLEASE), and sizes of pipes, which use the memory
/// of all processes (F_SETPIPE_SZ).
const COMMANDS: &[u64] = &[0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034];
/// Allowed requests of `ioctl`: terminal queries (TCGETS, TCGETS2, TIOCGWINSZ, TIOCGPGRP), the number of readable bytes
/// (FIONREAD), and flags of descriptors (FIONBIO, FIONCLEX, FIOCLEX).
const REQUESTS: &[u64] = &[0x5401, 0x802c_542a, 0x5413, 0x540f, 0x541b, 0x5421, 0x5450, 0x5451];

/// Returns the filter programs, which must be installed one by one in this order. Fails with the reason if this machine
/// has none.
pub(super) fn programs(disk: Disk) -> Result<Vec<BpfProgram>, String> {
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, when) in refused_when(disk) {
        let conditions = when.into_iter().map(|when| {
            // Arguments that are not pointers have 32 bits in the kernel; a 64-bit address is compared whole.
            let is_pointer = matches!((call, when.argument), (libc::SYS_sendto, 4) | (libc::SYS_prlimit64, 2));
            let length = if is_pointer { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
            SeccompCondition::new(when.argument, length, when.is, when.value)
        });
        let rule = conditions.collect::<Result<Vec<_>, _>>().and_then(SeccompRule::new).map_err(|e| e.to_string())?;
        rules.entry(call).or_default().push(rule);
    }
    rules.extend(REFUSED.iter().chain(REFUSED_HERE).map(|&call| (call, Vec::new())));
    let whole = |calls: &[c_long]| -> BTreeMap<i64, Vec<SeccompRule>> {
        calls.iter().map(|&call| (call, Vec::new())).collect()
    };
    // If the files are only counted, allocated but unwritten space would not be counted; libraries fall back to
    // writing.
    let unsupported = if disk == Disk::Shared { whole(&[libc::SYS_fallocate]) } else { BTreeMap::new() };
    let errno = |number: i32| SeccompAction::Errno(u32::try_from(number).unwrap_or_default());
    let compile = |rules: BTreeMap<i64, Vec<SeccompRule>>, otherwise: SeccompAction, then: SeccompAction| {
        let filter = SeccompFilter::new(rules, otherwise, then, arch);
        filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())
    };
    // Of several results of one kind, the kernel uses that of the latest filter. A refused call exists, so the last
    // filter must also contain it. `clone3` and `openat2` do not exist, because their flags are in memory, where a
    // filter cannot read: libraries fall back to other calls.
    let mut known = whole(ALLOWED);
    known.extend(whole(ALLOWED_HERE));
    known.extend(whole(REFUSED));
    known.extend(whole(REFUSED_HERE));
    let mut programs = vec![compile(rules, SeccompAction::Allow, errno(libc::EPERM))?];
    if !unsupported.is_empty() {
        programs.push(compile(unsupported, SeccompAction::Allow, errno(libc::EOPNOTSUPP))?);
    }
    programs.push(compile(known, errno(libc::ENOSYS), SeccompAction::Allow)?);
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_no_call_is_both_refused_and_refused_sometimes() {
        for disk in [Disk::Private, Disk::Shared] {
            let programs = programs(disk).unwrap();
            assert_eq!(programs.len(), if disk == Disk::Private { 2 } else { 3 });
            // The kernel accepts no longer programs.
            assert!(programs.iter().all(|program| program.len() < 4096));
            for (call, _) in refused_when(disk) {
                assert!(!REFUSED.contains(&call) && !REFUSED_HERE.contains(&call), "{call}");
                assert!(ALLOWED.contains(&call) || ALLOWED_HERE.contains(&call), "{call} is unknown");
            }
        }
        for call in REFUSED.iter().chain(REFUSED_HERE) {
            assert!(!ALLOWED.contains(call) && !ALLOWED_HERE.contains(call), "{call}");
        }
    }
}
