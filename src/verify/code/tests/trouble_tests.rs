//! Machines that are busy, stopped or broken: no honest program may fail because of them.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{case, reason, verifier};

/// Returns a program that runs for this CPU time, in seconds.
fn busy(seconds: f64) -> String {
    format!("import time\ndef f():\n    while time.process_time() < {seconds}: pass\n    return 3")
}

fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: a raw call without pointers.
    unsafe { libc::kill(i32::try_from(pid).unwrap(), signal) };
}

/// Returns the processes of a group, the leader first.
fn group(leader: u32) -> Vec<u32> {
    let mut found = vec![leader];
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        if fields.get(2) == Some(&leader.to_string().as_str()) && pid != leader {
            found.push(pid);
        }
    }
    found.sort_unstable();
    found
}

fn until<T>(what: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn many_programs_at_once_that_nearly_use_their_time_are_all_right() {
    let verifier = verifier(1);
    let program = busy(0.8);
    std::thread::scope(|scope| {
        let run = || reason(&verifier, &case(&program, &["assert f() == 3"]));
        let running: Vec<_> = (0..16).map(|_| scope.spawn(run)).collect();
        for thread in running {
            let reason = thread.join().unwrap();
            assert!(reason.ends_with("tests_passed"), "{reason}");
        }
    });
    assert!(reason(&verifier, &case(&busy(3.0), &["assert f() == 3"])).ends_with(":time_out"));
}

#[test]
fn a_process_that_is_stopped_for_long_is_not_held_against_the_program() {
    // A program may sleep for three seconds in this test.
    let pause = Duration::from_secs(5);
    let program = format!("{}\nimport time\ntime.sleep(1.5)", busy(0.7));
    let stopped = |which: Range<usize>| {
        let verifier = verifier(1);
        let leader = verifier.sandbox().unwrap().groups()[0];
        std::thread::scope(|scope| {
            let running = scope.spawn(|| reason(&verifier, &case(&program, &["assert f() == 3"])));
            let all = until(|| Some(group(leader)).filter(|all| all.len() == 3));
            std::thread::sleep(Duration::from_millis(100));
            let chosen = &all[which];
            chosen.iter().for_each(|pid| signal(*pid, libc::SIGSTOP));
            std::thread::sleep(pause);
            chosen.iter().for_each(|pid| signal(*pid, libc::SIGCONT));
            running.join().unwrap()
        })
    };
    // Stops all processes of the job; then the interpreter, the program, or the tests alone.
    std::thread::scope(|scope| {
        let running: Vec<_> =
            [0..3, 0..1, 1..2, 2..3].into_iter().map(|which| scope.spawn(|| stopped(which))).collect();
        for thread in running {
            let reason = thread.join().unwrap();
            assert!(reason.ends_with("tests_passed"), "{reason}");
        }
    });
}

#[test]
fn an_interpreter_that_was_killed_is_replaced_and_no_program_is_wrong_because_of_it() {
    let verifier = verifier(2);
    let program = format!("{}\nimport time\ntime.sleep(1.5)", busy(0.3));
    for _ in 0..2 {
        signal(verifier.sandbox().unwrap().groups()[0], libc::SIGKILL);
        assert!(reason(&verifier, &case(&program, &["assert f() == 3"])).ends_with("tests_passed"));
    }
    // Kills each of the three processes in the middle of a job.
    for index in 0..3 {
        let leader = verifier.sandbox().unwrap().groups()[0];
        std::thread::scope(|scope| {
            let running = scope.spawn(|| verifier.verify(&case(&program, &["assert f() == 3"])).map(|v| v.reason));
            let all = until(|| Some(group(leader)).filter(|all| all.len() == 3));
            signal(all[index], libc::SIGKILL);
            // There is no verdict: the run retries the case.
            let found = running.join().unwrap();
            let fault = found.as_ref().err().map(ToString::to_string);
            let is_right = found.as_ref().is_ok_and(|reason| reason.ends_with("tests_passed"));
            assert!(is_right || fault.is_some_and(|fault| fault.starts_with("failed to ")), "{index}: {found:?}");
        });
        until(|| (group(leader).len() <= 1).then_some(()));
    }
}

#[test]
fn interpreters_and_programs_end_with_their_sandbox() {
    let verifier = verifier(20);
    let leader = verifier.sandbox().unwrap().groups()[0];
    assert!(reason(&verifier, &case("def f(): return 3", &["assert f() == 3"])).ends_with("tests_passed"));
    assert!(std::path::Path::new(&format!("/proc/{leader}")).exists());
    drop(verifier);
    until(|| (!std::path::Path::new(&format!("/proc/{leader}")).exists()).then_some(()));
}
