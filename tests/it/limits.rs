//! Tests limits of the system: threads, open files, file sizes, a blocked stdout, and kills at any moment.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Outcome, Running, Workspace, data_hashes, program, program_at, until};

/// Makes a command one of a user who may have so many processes and threads, and nothing else is running of.
fn with_tasks_max(command: &mut Command, tasks: u64) {
    // SAFETY: the closure makes system calls on its own memory only.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: tasks, rlim_max: tasks };
            // Within the users that a container knows.
            let user = 20_000 + libc::getpid() as u32 % 40_000;
            // Root may have as many as it likes; another user has those that it has.
            let is_other = libc::geteuid() != 0 || (libc::setgid(user) == 0 && libc::setuid(user) == 0);
            if is_other && libc::setrlimit(libc::RLIMIT_NPROC, &limit) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
}

/// A workspace that any user can write into, and a copy of the binary that any user can start: where the binary is built
/// may be a home directory.
fn open_workspace() -> (Workspace, PathBuf) {
    let workspace = Workspace::new(4, &[]);
    std::fs::set_permissions(workspace.path(""), std::fs::Permissions::from_mode(0o777)).unwrap();
    let binary = workspace.path("thinkloom");
    std::fs::copy(program().get_program(), &binary).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    (workspace, binary)
}

#[test]
fn too_few_threads_are_an_error_with_a_hint_and_never_a_panic() {
    let (workspace, binary) = open_workspace();
    let queries = workspace.path("queries.jsonl");
    let limited = |tasks: u64, arguments: &[&OsStr]| {
        let mut command = program_at(&binary);
        command.args(arguments);
        with_tasks_max(&mut command, tasks);
        Outcome::of(&mut command)
    };
    let config = workspace.path("thinkloom.toml");
    let run = ["run".as_ref(), "-c".as_ref(), config.as_os_str()];
    let dedup = ["dedup".as_ref(), "--queries".as_ref(), queries.as_os_str()];
    for tasks in [1, 6] {
        for arguments in [&run, &dedup] {
            let outcome = limited(tasks, arguments);
            assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
            if outcome.code != Some(0) {
                outcome.assert_code(1).assert_says(&["threads", "hint:", "ulimit -u"]);
            }
        }
    }
    limited(1, &run).assert_code(1).assert_says(&["ulimit -u"]);
}

#[test]
fn a_low_limit_on_open_files_is_raised_and_one_that_cannot_be_is_named() {
    let workspace = Workspace::new(2, &[]);
    let run = |limit: &str, out: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit {limit}; exec \"$0\" \"$@\"")).arg(program().get_program());
        command.arg("run").arg("-c").arg(workspace.path("thinkloom.toml")).arg("-o").arg(workspace.path(out));
        Outcome::of(&mut command)
    };
    run("-Sn 12", "soft").assert_code(0);
    run("-n 12", "hard").assert_code(1).assert_says(&["error:", "hint:", "ulimit -n"]);
    // What was refused for want of them goes on with more.
    workspace.run(&["-o", workspace.path("hard").to_str().unwrap()]).assert_code(0);
    assert_eq!(data_hashes(&workspace.path("hard")), data_hashes(&workspace.path("soft")));
}

#[test]
fn a_stdout_that_takes_nothing_is_named_and_one_that_is_closed_is_no_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = program();
    let outcome = command.args(["schema", "config"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    Outcome::from(outcome).assert_code(1).assert_says(&["cannot write to stdout"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program();
    let outcome = command.args(["schema", "config"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    Outcome::from(outcome).assert_code(0);
}

#[test]
fn a_report_and_an_export_that_may_not_be_written_are_named_and_nothing_is_left_of_them() {
    let workspace = Workspace::new(6, &[]);
    let out = workspace.run_whole("out", &[]);
    let limited = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.arg("-c").arg("ulimit -f 8; exec \"$0\" \"$@\"").arg(program().get_program());
        Outcome::of(command.args(arguments)).assert_code(1).assert_says(&["hint:", "ulimit -f"]);
    };
    let text = |name: &str| workspace.path(name).to_str().unwrap().to_owned();
    limited(&["report", out.to_str().unwrap(), "-o", &text("report.html")]);
    limited(&["export", out.to_str().unwrap(), "--format", "trl", "-o", &text("trl")]);
    assert!(!workspace.path("trl").exists() && !workspace.path("report.html").exists());
    let left: Vec<String> = std::fs::read_dir(workspace.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(".thinkloom"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

/// What a selection says, without the means of its table: their last digit hangs on the order in which shards are done.
fn compared(json: &str) -> Vec<serde_json::Value> {
    let said: serde_json::Value = serde_json::from_str(json).unwrap();
    ["counts", "diff", "sensitivity_queries", "sensitivity_incomplete"].map(|part| said[part].clone()).to_vec()
}

#[test]
fn a_selection_that_was_killed_is_gone_on_with_by_the_same_command_and_another_is_refused() {
    let workspace = Workspace::new(24, &[("output.queries_per_shard", "2")]);
    let out = workspace.run_whole("out", &[]);
    let redecide = |to: &str, margin: &str| {
        let mut command = program();
        let margin = format!("select.tie_margin={margin}");
        command.arg("redecide").arg(&out).arg("-o").arg(workspace.path(to)).args(["--set", &margin, "--json"]);
        command
    };
    let whole = Outcome::of(&mut redecide("whole", "0.9")).assert_code(0).stdout;
    let mut killed = 0;
    for (to, sight) in [("a", ".redecide"), ("b", "ledger.sqlite"), ("c", "data/samples/train-00002.parquet")] {
        let mut running = Running::start(&mut redecide(to, "0.9"));
        let path = workspace.path(to).join(sight);
        until("a selection under way", || (path.exists() || running.ended().is_some()).then_some(()));
        if !running.kill() {
            continue;
        }
        killed += 1;
        assert!(workspace.path(to).join(".redecide").exists(), "{sight}");
        Outcome::of(&mut redecide(to, "0.5"))
            .assert_code(2)
            .assert_says(&["it has an unfinished selection of another run or with other settings"]);
        let again = Outcome::of(&mut redecide(to, "0.9")).assert_code(0).stdout;
        assert_eq!(compared(&again), compared(&whole), "{sight}");
        assert_eq!(data_hashes(&workspace.path(to)), data_hashes(&workspace.path("whole")));
        assert!(!workspace.path(to).join(".redecide").exists());
        Outcome::of(program().arg("status").arg(workspace.path(to)).arg("--check")).assert_code(0);
        // A finished one is somebody's dataset.
        Outcome::of(&mut redecide(to, "0.9")).assert_code(2).assert_says(&["it has a dataset already"]);
    }
    assert!(killed > 0, "it was never killed half way");
}

#[test]
fn an_export_that_was_killed_leaves_nothing_behind_the_next() {
    let workspace = Workspace::new(24, &[("output.queries_per_shard", "2")]);
    let out = workspace.run_whole("out", &[]);
    let export = |to: &str| {
        let mut command = program();
        command.arg("export").arg(&out).args(["--format", "trl", "-o"]).arg(workspace.path(to));
        command
    };
    let staged = || {
        let entries = std::fs::read_dir(workspace.path("")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".thinkloom-export-")).count()
    };
    for _ in 0..3 {
        let mut running = Running::start(&mut export("trl"));
        until("an export under way", || (staged() > 0 || running.ended().is_some()).then_some(()));
        if running.kill() {
            assert!(!workspace.path("trl").exists());
        } else {
            std::fs::remove_dir_all(workspace.path("trl")).unwrap();
        }
    }
    Outcome::of(&mut export("trl")).assert_code(0);
    assert_eq!(staged(), 0);
    assert!(workspace.path("trl/export.json").exists());
}
