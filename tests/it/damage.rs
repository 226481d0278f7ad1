//! Tests damaged state and faulty surroundings: the program names the damage, gives a hint, and deletes no unexplained
//! file.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Ledger, Outcome, Running, Workspace, data_hashes, program, until};

/// A finished run; its shards' hashes are [`data_hashes`].
fn finished() -> Workspace {
    let workspace = Workspace::new(8, &[]);
    workspace.run_whole("out", &[]);
    workspace
}

fn check(out: &Path) -> Outcome {
    Outcome::of(program().arg("status").arg(out).arg("--check"))
}

fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, &bytes).unwrap();
    bytes
}

#[test]
fn a_truncated_or_bit_flipped_shard_is_named_kept_aside_and_written_again() {
    let workspace = finished();
    let (out, name) = (workspace.out(), "data/samples/train-00000.parquet");
    let hashes = data_hashes(&out);
    let truncate = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let flip = |bytes: &mut Vec<u8>| bytes[100] ^= 1;
    let empty = |bytes: &mut Vec<u8>| bytes.clear();
    for change in [&truncate as &dyn Fn(&mut Vec<u8>), &flip, &empty] {
        let damaged = damage(&out.join(name), change);
        let audit = check(&out).assert_code(1).assert_says(&["hint:", "thinkloom run"]);
        assert!(audit.stdout.contains(&format!("{name} does not match its recorded hash")), "{}", audit.stdout);
        workspace.run(&[]).assert_code(0).assert_says(&[name, "was changed after it was published", "keeps it as"]);
        let mut after = data_hashes(&out);
        let aside: Vec<String> = after.keys().filter(|file| file.contains(".changed-")).cloned().collect();
        assert_eq!(aside.len(), 1);
        assert_eq!(std::fs::read(out.join(&aside[0])).unwrap(), damaged);
        after.remove(&aside[0]);
        assert_eq!(after, hashes);
        std::fs::remove_file(out.join(&aside[0])).unwrap();
        check(&out).assert_code(0);
    }
}

#[test]
fn a_foreign_file_in_the_data_directory_is_named_and_left_alone() {
    let workspace = finished();
    let out = workspace.out();
    for name in ["data/samples/mine.parquet", "data/notes.txt", "data/samples/train-00000.parquet#7.bak"] {
        std::fs::write(out.join(name), "mine").unwrap();
        workspace.run(&[]).assert_code(0).assert_says(&[name, "the file stays", "hint:"]);
        let audit = check(&out).assert_code(1);
        assert!(audit.stdout.contains(name), "{}", audit.stdout);
        assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), "mine");
        std::fs::remove_file(out.join(name)).unwrap();
    }
    check(&out).assert_code(0);
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_by_name_and_not_touched() {
    let workspace = finished();
    let out = workspace.out();
    let connection = rusqlite::Connection::open(out.join("ledger.sqlite")).unwrap();
    connection.execute("INSERT INTO format (version) VALUES (99)", []).unwrap();
    drop(connection);
    let before = std::fs::read(out.join("ledger.sqlite")).unwrap();
    workspace.run(&[]).assert_code(1).assert_says(&["format 99", "hint:", "newer"]);
    check(&out).assert_code(1).assert_says(&["format 99", "hint:"]);
    assert!(std::fs::read(out.join("ledger.sqlite")).unwrap() == before);
}

#[test]
fn a_ledger_with_bad_pages_is_named_with_a_hint_and_nothing_is_deleted() {
    let page = 4096;
    let spoil_pages = |bytes: &mut Vec<u8>| bytes[page..].fill(0xa5);
    let truncate = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2 / page * page);
    let spoil_header = |bytes: &mut Vec<u8>| bytes[..100].fill(0xa5);
    for change in [&spoil_pages as &dyn Fn(&mut Vec<u8>), &truncate, &spoil_header] {
        let workspace = finished();
        let out = workspace.out();
        let hashes = data_hashes(&out);
        let damaged = damage(&out.join("ledger.sqlite"), change);
        workspace.run(&[]).assert_code(1).assert_says(&["ledger.sqlite", "hint:", "damaged"]);
        assert_eq!(check(&out).code, Some(1));
        assert!(std::fs::read(out.join("ledger.sqlite")).unwrap() == damaged);
        assert_eq!(data_hashes(&out), hashes);
    }
}

#[test]
fn a_manifest_that_disagrees_is_named_and_written_again() {
    let workspace = finished();
    let out = workspace.out();
    let whole = std::fs::read_to_string(out.join("manifest.json")).unwrap();
    let shard = "data/samples/train-00001.parquet";
    let fingerprint = serde_json::from_str::<serde_json::Value>(&whole).unwrap()["fingerprint"].clone();
    let damages = [
        (whole.replace(shard, "data/samples/other.parquet"), shard),
        (whole.replace(fingerprint.as_str().unwrap(), "0123"), "another configuration"),
        (whole[..whole.len() / 2].to_owned(), "cannot be read"),
    ];
    for (text, said) in damages {
        std::fs::write(out.join("manifest.json"), text).unwrap();
        let audit = check(&out).assert_code(1);
        assert!(audit.stdout.contains("manifest.json") && audit.stdout.contains(said), "{}", audit.stdout);
        workspace.run(&[]).assert_code(0);
        assert_eq!(std::fs::read_to_string(out.join("manifest.json")).unwrap(), whole);
        check(&out).assert_code(0);
    }
}

/// Runs a shell script in which file systems can be mounted; none where the system does not let us.
#[cfg(target_os = "linux")]
fn with_mounts(script: &str, workspace: &Workspace) -> Option<Outcome> {
    let shell = |script: &str| {
        let mut command = program();
        let program = command.get_program().to_owned();
        command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command.env("PROGRAM", program).env("CONFIG", workspace.path("thinkloom.toml"));
        command.env("HERE", workspace.path("")).env("NO_COLOR", "1").env("HF_ENDPOINT", "http://127.0.0.1:1");
        command.stdin(Stdio::null()).output()
    };
    std::fs::create_dir_all(workspace.path("disk")).unwrap();
    let is_possible =
        shell("mount -t tmpfs -o size=64k none \"$HERE/disk\"").is_ok_and(|output| output.status.success());
    is_possible.then(|| shell(script).unwrap().into())
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_run_by_name_and_with_space_it_goes_on_to_the_same_bytes() {
    let workspace = Workspace::new(16, &[("output.queries_per_shard", "4")]);
    let whole = data_hashes(&workspace.run_whole("whole", &[]));
    // From one that holds not even an empty ledger to one that is nearly enough.
    for kibibytes in [100, 250, 330, 400, 480, 560, 640] {
        let script = format!(
            "mount -t tmpfs -o size={kibibytes}k none \"$HERE/disk\" && \
             \"$PROGRAM\" run -c \"$CONFIG\" -o \"$HERE/disk/out\"; first=$?; \
             mount -o remount,size=64m \"$HERE/disk\" && \"$PROGRAM\" run -c \"$CONFIG\" -o \"$HERE/disk/out\" 2>/dev/null; \
             second=$?; \"$PROGRAM\" status --check \"$HERE/disk/out\" > /dev/null || second=audit; \
             cp -r \"$HERE/disk/out\" \"$HERE/kept-{kibibytes}\"; echo \"codes $first $second\""
        );
        let Some(outcome) = with_mounts(&script, &workspace) else {
            eprintln!("no file system can be mounted here; the simulation fills its disk all the same");
            return;
        };
        let is_full = outcome.stdout.contains("codes 1 0");
        assert!(is_full || (kibibytes > 400 && outcome.stdout.contains("codes 0 0")), "{kibibytes} KiB: {outcome:?}");
        if is_full {
            let outcome = outcome.assert_says(&["error:", "hint:", "space"]);
            assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        }
        assert_eq!(data_hashes(&workspace.path(&format!("kept-{kibibytes}"))), whole, "{kibibytes} KiB");
    }
}

/// Copies an output directory in the state in which a second run leaves it that is killed: with a log beside the ledger,
/// which alone knows of its start.
#[cfg(target_os = "linux")]
fn leave_log(out: &Path, copy: &Path) {
    let ledger = thinkloom::ledger::Ledger::open(out).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let fingerprint = manifest["fingerprint"].as_str().unwrap().to_owned();
    let fact = thinkloom::ledger::Fact::Start { fingerprint, numerics: "f32".to_owned() };
    tokio::runtime::Runtime::new().unwrap().block_on(ledger.commit(vec![fact])).unwrap();
    assert!(Command::new("cp").arg("-r").args([out, copy]).status().unwrap().success());
    assert!(std::fs::metadata(copy.join("ledger.sqlite-wal")).unwrap().len() > 0);
    std::fs::remove_file(copy.join("ledger.sqlite-shm")).unwrap();
    drop(ledger);
    assert!(!out.join("ledger.sqlite-wal").exists(), "the last handle folds the log in");
}

#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_is_read_only_is_named_with_a_hint_and_can_still_be_looked_at() {
    let workspace = finished();
    let before = workspace.path("once");
    assert!(Command::new("cp").arg("-r").args([workspace.out(), before]).status().unwrap().success());
    leave_log(&workspace.out(), &workspace.path("killed"));
    let script = "mount -t tmpfs -o size=64m none \"$HERE/disk\" && cp -r \"$HERE/once\" \"$HERE/disk/out\" && \
                  cp -r \"$HERE/killed\" \"$HERE/disk\" && mount -o remount,ro \"$HERE/disk\" && \
                  \"$PROGRAM\" status \"$HERE/disk/out\" && \"$PROGRAM\" status \"$HERE/disk/killed\"; status=$?; \
                  \"$PROGRAM\" run -c \"$CONFIG\" -o \"$HERE/disk/out\"; echo \"codes $status $?\"";
    let Some(outcome) = with_mounts(script, &workspace) else {
        eprintln!("no file system can be mounted here");
        return;
    };
    let outcome = outcome.assert_says(&["error:", "disk/out", "hint:"]);
    assert!(outcome.stdout.contains("codes 0 1"), "{outcome:?}");
    let starts: Vec<&str> =
        outcome.stdout.lines().filter_map(|line| line.strip_prefix("starts ")).map(str::trim).collect();
    assert_eq!(starts, ["1", "2"]);
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_ends_the_run_by_name_and_the_next_one_goes_on() {
    let workspace = Workspace::new(16, &[("output.queries_per_shard", "4")]);
    let whole = data_hashes(&workspace.run_whole("whole", &[]));
    let out = workspace.path("limited");
    let mut failures = 0;
    // Blocks of 512 bytes. Nobody ignores the signal for it: it would end without a word otherwise.
    for blocks in ["40", "200", "400"] {
        let mut command = Command::new("sh");
        let script = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(script).arg(program().get_program()).arg("run");
        let outcome = Outcome::of(command.arg("-c").arg(workspace.path("thinkloom.toml")).arg("-o").arg(&out));
        assert!(matches!(outcome.code, Some(0 | 1)), "{outcome:?}");
        if outcome.code == Some(1) {
            failures += 1;
            outcome.assert_says(&["error:", "limited", "hint:", "ulimit -f"]);
        }
    }
    assert!(failures > 0);
    workspace.run(&["-o", out.to_str().unwrap()]).assert_code(0);
    assert_eq!(data_hashes(&out), whole);
}

/// Starts a run that lasts a while, `how`, and returns it once some of its rollouts are stored.
#[cfg(unix)]
fn start(workspace: &Workspace, how: impl FnOnce(&mut Command)) -> Running {
    let mut command = workspace.command(&[]);
    how(&mut command);
    let mut running = Running::start(&mut command);
    let stored = || Ledger::open(&workspace.out())?.number("SELECT count(*) FROM rollout");
    until("a stored rollout", || {
        assert!(running.ended().is_none(), "the run ended too early to be interrupted");
        stored().is_some_and(|count| count > 0).then_some(())
    });
    running
}

/// Returns whether this process ignores SIGHUP, where the system says.
#[cfg(unix)]
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(unix)]
fn slow() -> Workspace {
    let settings = [("policy.slots", "2"), ("sampling.think_on_tokens_max", "260"), ("output.queries_per_shard", "4")];
    Workspace::new(16, &settings)
}

#[cfg(unix)]
#[test]
fn sigterm_and_the_end_of_the_terminal_stop_a_run_resumably() {
    let workspace = slow();
    let whole = data_hashes(&workspace.run_whole("whole", &[]));
    // Tests that are run under nohup hand down that it is ignored.
    let signals = if hang_up_is_ignored() { &["-TERM"][..] } else { &["-TERM", "-HUP"] };
    for signal in signals {
        let mut running = start(&workspace, |_| {});
        running.signal(signal);
        running.finish().assert_code(3).assert_says(&["stopping", "run the same command again"]);
        let _ = std::fs::rename(workspace.out(), workspace.path(&format!("stopped{signal}")));
        workspace.run(&["-o", workspace.path(&format!("stopped{signal}")).to_str().unwrap()]).assert_code(0);
        assert_eq!(data_hashes(&workspace.path(&format!("stopped{signal}"))), whole);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn under_nohup_the_end_of_the_terminal_is_survived() {
    let workspace = slow();
    let shell = |command: &mut Command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
        *command = shell;
    };
    let mut running = start(&workspace, shell);
    running.signal("-HUP");
    running.finish().assert_code(0);
}

#[cfg(unix)]
#[test]
fn a_run_whose_readers_are_gone_finishes_its_work() {
    let workspace = Workspace::new(4, &[]);
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let status = workspace.command(&[]).stdout(closed()).stderr(closed()).status().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    check(&workspace.out()).assert_code(0);
    // Said to nobody, but with the code that a script goes by.
    let mut command = program();
    command.args(["status", "nowhere"]).stdout(closed()).stderr(closed());
    assert_eq!(command.status().unwrap().code(), Some(1));
}
