//! The seccomp filters: what a program may not ask of the kernel.
//!
//! A list says what goes (`calls`). What another list names is refused with `EPERM`; all else is answered with `ENOSYS`, as a
//! kernel would that lacks it: calls that are newer than the lists, calls of another numbering (x32), and whatever no program
//! needs. Of requests to files and devices, and of commands to descriptors, a list says what goes as well. A foreign
//! architecture kills the process.
//!
//! `execve` is not refused: the filter is on before the interpreter is executed, and a filter cannot count. Landlock
//! allows to execute the interpreter alone, and a program that does so is the same process under the same layers.

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
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
fn refused_when(disk: Disk) -> Vec<(c_long, Vec<When>)> {
    // Opening for reading with truncation: kernels before 6.2 have no landlock rule for it.
    let truncates = |argument| When::masked(argument, (libc::O_ACCMODE | libc::O_TRUNC) as u64, libc::O_TRUNC as u64);
    let mut rules = vec![
        // Threads go, processes do not.
        (libc::SYS_clone, When::masked(0, libc::CLONE_THREAD as u64, 0)),
        // asyncio wakes itself through a pair of sockets, which lead nowhere; but one may not be given an address.
        (libc::SYS_socketpair, When::differs(0, libc::AF_UNIX as u64)),
        (libc::SYS_sendto, When::differs(4, 0)),
        (libc::SYS_openat, truncates(2)),
        // Reading limits goes, of this process.
        (libc::SYS_prlimit64, When::differs(0, 0)),
        (libc::SYS_sched_setaffinity, When::differs(0, 0)),
        // The kernel kills this process with its parent.
        (libc::SYS_prctl, When::equal(0, libc::PR_SET_PDEATHSIG as u64)),
    ];
    // A thread in a name space of its own.
    for space in NAME_SPACES {
        rules.push((libc::SYS_clone, When::masked(0, *space as u64, *space as u64)));
    }
    // Programs for the kernel to run on what a socket brings.
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
    // All but these: what can be asked of files, devices and descriptors grows with every kernel.
    let other_than = |values: &[u64]| values.iter().map(|&value| When::differs(1, value)).collect();
    rules.push((libc::SYS_fcntl, other_than(COMMANDS)));
    rules.push((libc::SYS_ioctl, other_than(REQUESTS)));
    // The limit of CPU time decides a verdict: a program does not set it. Other limits of its own go.
    rules.push((libc::SYS_prlimit64, vec![When::equal(1, RLIMIT_CPU), When::differs(2, 0)]));
    rules
}

/// The bit of `O_TMPFILE` beyond that of `O_DIRECTORY`.
const O_TMPFILE_BIT: u64 = 0o20_000_000;
/// The kernel's number of the limit of CPU time.
const RLIMIT_CPU: u64 = 0;
/// Name spaces that `clone` can make.
const NAME_SPACES: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];
/// Commands of `fcntl`: descriptors, their flags, and locks of files (F_DUPFD to F_SETLKW, F_OFD_GETLK to F_OFD_SETLKW,
/// F_DUPFD_CLOEXEC, F_GETPIPE_SZ, F_GET_SEALS). Not among them: whom a file sends signals (F_SETOWN, F_SETSIG, F_NOTIFY),
/// leases, which make others wait (F_SETLEASE), and sizes of pipes, which are memory of all (F_SETPIPE_SZ).
const COMMANDS: &[u64] = &[0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034];
/// Requests of `ioctl`: whether it is a terminal (TCGETS, TCGETS2, TIOCGWINSZ, TIOCGPGRP), what can be read (FIONREAD), and
/// flags of descriptors (FIONBIO, FIONCLEX, FIOCLEX).
const REQUESTS: &[u64] = &[0x5401, 0x802c_542a, 0x5413, 0x540f, 0x541b, 0x5421, 0x5450, 0x5451];

/// Returns the programs, to be installed one by one in this order.
///
/// # Errors
/// Why this machine has none.
pub(super) fn programs(disk: Disk) -> Result<Vec<BpfProgram>, String> {
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, when) in refused_when(disk) {
        let conditions = when.into_iter().map(|when| {
            // Arguments that are no pointers have 32 bits in the kernel; an address of 64 bits is compared whole.
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
    // Without a directory's files in sight, room that no write has filled would not be counted; libraries write then.
    let unsupported = if disk == Disk::Shared { whole(&[libc::SYS_fallocate]) } else { BTreeMap::new() };
    let errno = |number: i32| SeccompAction::Errno(u32::try_from(number).unwrap_or_default());
    let compile = |rules: BTreeMap<i64, Vec<SeccompRule>>, otherwise: SeccompAction, then: SeccompAction| {
        let filter = SeccompFilter::new(rules, otherwise, then, arch);
        filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())
    };
    // Of several answers of one kind that of the latest filter counts: a call that is refused exists, so that it stands in
    // the last one as well. `clone3` and `openat2` are not there, for their flags stand in memory, where a filter cannot
    // look: libraries fall back on other calls.
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
            // The kernel takes no more instructions.
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
