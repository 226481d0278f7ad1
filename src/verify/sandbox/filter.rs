//! The seccomp filters: what a program may not ask of the kernel.
//!
//! What is named here is refused with `EPERM`; all else goes, since interpreters and libraries differ in what they call.
//! Calls that are newer than this list are answered with `ENOSYS`, as an older kernel would, and so are calls of another
//! numbering (x32). A foreign architecture kills the process.
//!
//! `execve` is not refused: the filter is on before the interpreter is executed, and a filter cannot count. Landlock
//! allows to execute the interpreter alone, and a program that does so is the same process under the same layers.

use std::collections::BTreeMap;

use super::confine::Disk;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// The newest system call that this list was written with (`mseal`); numbers from 424 on are the same on all machines.
const NEWEST: u32 = 462;

/// A call that `libc` does not name for every machine.
const FCHMODAT2: c_long = 452;

/// The same.
#[cfg(target_arch = "x86_64")]
const IO_PGETEVENTS: c_long = 333;
#[cfg(not(target_arch = "x86_64"))]
const IO_PGETEVENTS: c_long = 292;

/// System calls that are always refused.
const REFUSED: &[c_long] = &[
    // Networks.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    // Other processes.
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    // Leaving the process group, or the name spaces.
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_unshare,
    libc::SYS_setns,
    // What landlock does not rule: owners, modes, times, attributes and the length of files.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    // Things that outlive a process, or memory that its limit does not count.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semctl,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_mq_notify,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // File systems.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_acct,
    // Large surfaces of the kernel that no answer needs.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_io_destroy,
    libc::SYS_io_submit,
    libc::SYS_io_cancel,
    libc::SYS_io_getevents,
    IO_PGETEVENTS,
    // A signal of its choice to itself, at any time: what kills a program has to be told apart.
    libc::SYS_timer_create,
    libc::SYS_userfaultfd,
    libc::SYS_personality,
    libc::SYS_syslog,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
];

/// More of them, where the machine has them.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_inotify_init,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[];

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
    // A file's owner gets a signal when it becomes readable: another way to send one. Leases make others wait.
    for command in [
        libc::F_SETOWN,
        15,   /* F_SETOWN_EX */
        10,   /* F_SETSIG */
        1024, /* F_SETLEASE */
        1026, /* F_NOTIFY */
    ] {
        rules.push((libc::SYS_fcntl, When::equal(1, command as u64)));
    }
    for &request in REFUSED_REQUESTS {
        rules.push((libc::SYS_ioctl, When::equal(1, request)));
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
    // The limit of CPU time decides a verdict: a program does not set it. Other limits of its own go.
    rules.push((libc::SYS_prlimit64, vec![When::equal(1, RLIMIT_CPU), When::differs(2, 0)]));
    rules
}

/// The bit of `O_TMPFILE` beyond that of `O_DIRECTORY`.
const O_TMPFILE_BIT: u64 = 0o20_000_000;
/// The kernel's number of the limit of CPU time.
const RLIMIT_CPU: u64 = 0;
/// Requests to devices and files: FIOSETOWN, SIOCSPGRP; typing into a terminal: TIOCSTI, TIOCLINUX; flags of inodes, which
/// would outlive the program: FS_IOC_SETFLAGS in both sizes, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION in both sizes,
/// FS_IOC_ENABLE_VERITY, FS_IOC_SET_ENCRYPTION_POLICY.
const REFUSED_REQUESTS: &[u64] = &[
    0x8901,
    0x8902,
    0x5412,
    0x541c,
    0x4008_6602,
    0x4004_6602,
    0x401c_5820,
    0x4008_7602,
    0x4004_7602,
    0x4080_6685,
    0x800c_6613,
];

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
    // The flags of these stand in memory, where a filter cannot look: libraries fall back on the calls above.
    let absent = [libc::SYS_clone3, libc::SYS_openat2].map(|call| (call, Vec::new()));
    let compile = |rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32| {
        let action = SeccompAction::Errno(u32::try_from(errno).unwrap_or_default());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch);
        filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())
    };
    Ok(vec![compile(rules, libc::EPERM)?, compile(absent.into_iter().collect(), libc::ENOSYS)?, newer_calls()])
}

/// Returns the program that answers `ENOSYS` to every call above [`NEWEST`].
fn newer_calls() -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let enosys = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::ENOSYS).unwrap_or_default();
    vec![
        sock_filter { code: LOAD_NUMBER, jt: 0, jf: 0, k: 0 },
        sock_filter { code: JUMP_IF_GREATER, jt: 0, jf: 1, k: NEWEST },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: enosys },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_no_call_is_both_refused_and_refused_sometimes() {
        for disk in [Disk::Private, Disk::Shared] {
            let programs = programs(disk).unwrap();
            assert_eq!(programs.len(), 3);
            // The kernel takes no more instructions.
            assert!(programs.iter().all(|program| program.len() < 4096));
            for (call, _) in refused_when(disk) {
                assert!(!REFUSED.contains(&call) && !REFUSED_HERE.contains(&call), "{call}");
            }
        }
    }
}
