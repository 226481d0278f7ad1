//! Simulates machines without one layer of the sandbox: a filter over the whole program makes the layer's system calls
//! fail.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::{Value, json};

use super::{Bench, holding, verdicts};
use crate::support::{Outcome, Workspace, program, text};

/// Makes a program believe that the kernel does not know these system calls.
fn without(command: &mut Command, calls: &[i64]) {
    let rules: BTreeMap<i64, Vec<_>> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, unknown, arch).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    // SAFETY: installing a filter that was compiled before makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            seccompiler::apply_filter(&filter).map_err(|_| std::io::Error::from_raw_os_error(libc::EINVAL))
        });
    }
}

const LANDLOCK: &[i64] =
    &[libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self];
const SECCOMP: &[i64] = &[libc::SYS_seccomp];

fn grade_without(bench: &Bench, calls: &[i64], case: &Value, settings: &[&str]) -> Outcome {
    let mut command = bench.command(std::slice::from_ref(case), settings);
    without(&mut command, calls);
    Outcome::of(&mut command).assert_code(0)
}

#[test]
fn without_landlock_nothing_runs_but_where_that_is_allowed() {
    let bench = Bench::new();
    let file = bench.path("outside/proof");
    let writes = holding(&format!("open({}, 'w').write('x')", json!(file)));
    let refused = grade_without(&bench, LANDLOCK, &writes, &[]);
    let verdict = &verdicts(&refused)[0];
    assert_eq!((text(verdict, "verdict"), text(verdict, "reason")), ("unverifiable", "no_sandbox"));
    refused.assert_says(&["landlock", "hint:"]);
    assert!(!file.exists(), "nothing ran");

    let lax = grade_without(&bench, LANDLOCK, &writes, &["verify.strict=false"]);
    assert_eq!(text(&verdicts(&lax)[0], "verdict"), "correct", "the other layers do not rule files");
    lax.assert_says(&["without landlock"]);
    assert!(file.exists(), "the program would have written it");

    std::fs::remove_file(&file).unwrap();
    assert_eq!(text(&verdicts(&bench.grade(&[writes], &[]))[0], "reason"), "code_block:refused");
    assert!(!file.exists());
}

#[test]
fn without_seccomp_nothing_runs_but_where_that_is_allowed() {
    let bench = Bench::new();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    let program =
        format!("import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))");
    let sends = holding(&program);
    let received = || server.recv(&mut [0; 8]).is_ok();
    let refused = grade_without(&bench, SECCOMP, &sends, &[]);
    assert_eq!(text(&verdicts(&refused)[0], "reason"), "no_sandbox");
    refused.assert_says(&["seccomp", "hint:"]);
    assert!(!received(), "nothing ran");
    let lax = grade_without(&bench, SECCOMP, &sends, &["verify.strict=false"]);
    assert_eq!(text(&verdicts(&lax)[0], "verdict"), "correct");
    assert!(received(), "the program would have sent it");
    assert_eq!(text(&verdicts(&bench.grade(&[sends], &[]))[0], "reason"), "code_block:refused");
    assert!(!received());
}

#[test]
fn without_python_nothing_runs_strict_or_not() {
    let bench = Bench::unchecked();
    for strict in ["verify.strict=true", "verify.strict=false"] {
        for python in ["verify.python=/no/such/python", "verify.python=/bin/false", "verify.python=/bin/echo"] {
            let outcome = bench.grade(&[holding("")], &[strict, python]).assert_code(0);
            assert_eq!(text(&verdicts(&outcome)[0], "reason"), "no_sandbox", "{python}");
            outcome.assert_says(&["python", "hint:"]);
        }
    }
}

#[test]
fn doctor_says_for_each_layer_whether_it_is_there_and_what_to_do() {
    let workspace = Workspace::new(1, &[]);
    let doctor = |calls: &[i64]| {
        let mut command = program();
        command.arg("doctor").arg("-c").arg(workspace.path("thinkloom.toml"));
        without(&mut command, calls);
        Outcome::of(&mut command)
    };
    let well = doctor(&[libc::SYS_mseal]).assert_code(0).stdout;
    for layer in ["python:", "limits:", "landlock:", "seccomp:"] {
        assert!(well.lines().any(|line| line.starts_with("ok       sandbox") && line.contains(layer)), "{well}");
    }
    for (calls, layer) in [(LANDLOCK, "landlock"), (SECCOMP, "seccomp")] {
        let ill = doctor(calls).assert_code(1).stdout;
        let line = ill.lines().find(|line| line.starts_with(&format!("missing  sandbox  {layer}:")));
        assert!(line.is_some_and(|line| line.contains("hint:")), "{ill}");
        assert_eq!(ill.lines().filter(|line| line.starts_with("missing")).count(), 1, "{ill}");
    }
}
