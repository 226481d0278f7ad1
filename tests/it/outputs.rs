//! Tests outputs: the program never overwrites a file of the user, and shows its progress at any time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{
    Ledger, Mock, Outcome, Running, Workspace, data_hashes, files_below, hash_of, program, root, rows, until,
};

const QUERIES: usize = 40;

fn thinkloom(arguments: &[&str]) -> Outcome {
    Outcome::of(program().args(arguments))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn status(out: &Path) -> Value {
    serde_json::from_str(&thinkloom(&["status", text(out), "--json"]).assert_code(0).stdout).unwrap()
}

fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap()
}

/// Returns every file below a directory with its hash.
fn contents(dir: &Path) -> BTreeMap<PathBuf, String> {
    files_below(dir).into_iter().map(|path| (path.clone(), hash_of(&path))).collect()
}

/// A policy behind HTTP that takes its time; all queries are in one shard.
fn served(server: &Mock) -> Workspace {
    let base_urls = json!([server.base_url()]).to_string();
    Workspace::new(
        QUERIES,
        &[
            ("policy.backend", "\"openai\""),
            ("policy.base_urls", &base_urls),
            ("policy.model", "\"served\""),
            ("policy.mode_preset", "\"qwen3\""),
            ("policy.concurrency", "4"),
            ("output.queries_per_shard", "1000"),
        ],
    )
}

fn slow_policy() -> Mock {
    Mock::start(&["--role", "policy", "--latency-ms", "20"])
}

/// Starts a run and ends it, kindly or not, once some of its responses are stored.
fn stop_half_way(workspace: &Workspace, end: impl FnOnce(Running) -> Option<Outcome>) -> Option<Outcome> {
    let out = workspace.out();
    let running = Running::start(&mut workspace.command(&[]));
    let stored = || Ledger::open(&out)?.number("SELECT count(*) FROM rollout");
    until("some rollouts", || stored().filter(|&count| count >= 100));
    end(running)
}

fn interrupt(mut running: Running) -> Option<Outcome> {
    running.interrupt();
    Some(running.finish())
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_nothing_in_it_changes() {
    let workspace = Workspace::new(4, &[]);
    let run = workspace.run_whole("run", &[]);
    let config = workspace.path("thinkloom.toml");
    for (name, files) in [
        ("readme", &["README.md"][..]),
        ("data", &["data/samples/mine.parquet"]),
        ("project", &["src/main.rs", ".git/HEAD", "Cargo.toml"]),
        ("copy", &["manifest.json", "views.sql"]),
    ] {
        let folder = workspace.path(name);
        for file in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "mine").unwrap();
        }
        let before = contents(&folder);
        let commands: [&[&str]; 6] = [
            &["run", "-c", text(&config), "-o", text(&folder)],
            &["run", "-c", text(&config), "-o", text(&folder), "--reconfigure"],
            &["redecide", text(&run), "-o", text(&folder)],
            &["eval", "-c", text(&config), "-o", text(&folder)],
            &["eval", "--rollouts", text(&run), "-o", text(&folder)],
            &["export", text(&run), "--format", "trl", "-o", text(&folder), "--overwrite"],
        ];
        for command in commands {
            let refused = thinkloom(command).assert_code(1);
            let says = if command[0] == "export" { "is not empty" } else { "is not the output directory of a run" };
            refused.assert_says(&[says, "hint:"]);
            assert_eq!(contents(&folder), before, "{command:?}");
        }
    }
}

#[test]
fn a_directory_that_nobody_uses_is_taken_and_hidden_files_in_it_stay() {
    let workspace = Workspace::new(4, &[]);
    let free = workspace.path("free");
    for dir in [".git", "lost+found", "data/samples", "data/rollouts"] {
        std::fs::create_dir_all(free.join(dir)).unwrap();
    }
    for file in [".git/HEAD", ".gitignore", ".DS_Store", ".lock"] {
        std::fs::write(free.join(file), "").unwrap();
    }
    workspace.run_whole("free", &[]);
    assert!(free.join(".git/HEAD").is_file() && free.join("manifest.json").is_file());
    let other = workspace.path("other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join(".gitignore"), "mine").unwrap();
    thinkloom(&["redecide", text(&free), "-o", text(&other)]).assert_code(0);
    assert_eq!(std::fs::read_to_string(other.join(".gitignore")).unwrap(), "mine");
    // A run's own directory takes notes of its user.
    std::fs::write(free.join("notes.txt"), "mine").unwrap();
    workspace.run_whole("free", &[]);
    assert_eq!(std::fs::read_to_string(free.join("notes.txt")).unwrap(), "mine");
}

#[test]
fn what_somebody_edited_is_kept_and_what_nobody_edited_leaves_no_copy() {
    let workspace = Workspace::new(4, &[]);
    let out = workspace.run_whole("out", &[]);
    thinkloom(&["report", text(&out)]).assert_code(0);
    let asides = || files_below(&out).into_iter().filter(|path| text(path).contains(".changed-")).collect::<Vec<_>>();
    let whole = contents(&out);
    workspace.run_whole("out", &[]);
    thinkloom(&["report", text(&out)]).assert_code(0);
    assert!(asides().is_empty());

    for (name, by_run) in [("README.md", true), ("views.sql", true), ("README.md", false), ("report.html", false)] {
        let path = out.join(name);
        let edited = format!("{}\nmy own words\n", std::fs::read_to_string(&path).unwrap());
        std::fs::write(&path, &edited).unwrap();
        let kept = format!("{name}.changed-{}", &hash_of(&path)[..12]);
        let told = if by_run { workspace.run(&[]) } else { thinkloom(&["report", text(&out)]) };
        told.assert_code(0).assert_says(&[name, "was edited", &kept]);
        assert_eq!(std::fs::read_to_string(out.join(&kept)).unwrap(), edited);
        assert_eq!(asides().len(), 1);
        std::fs::remove_file(out.join(&kept)).unwrap();
    }
    // What was edited is as it would be without the edit.
    for name in ["README.md", "views.sql"] {
        assert_eq!(hash_of(&out.join(name)), whole[&out.join(name)], "{name}");
    }
    thinkloom(&["status", text(&out), "--check"]).assert_code(0);
}

#[test]
fn a_file_of_ones_own_under_a_shards_name_is_kept() {
    let workspace = Workspace::new(8, &[]);
    let out = workspace.run_whole("out", &["--limit", "2"]);
    let mine = out.join("data/samples/train-00001.parquet");
    std::fs::write(&mine, "mine").unwrap();
    workspace.run(&[]).assert_code(0).assert_says(&["train-00001.parquet", "keeps it as"]);
    let kept: Vec<PathBuf> =
        files_below(&out.join("data/samples")).into_iter().filter(|path| text(path).contains(".changed-")).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), "mine");
    assert_eq!(rows(&out, "samples").len() + rows(&out, "exclusions").len(), 8);
}

/// Holds what is shown and published of an unfinished run against its files.
fn assert_published(out: &Path, settled: u64) {
    let outstanding = QUERIES as u64 - settled;
    let status = status(out);
    let (samples, exclusions) = (rows(out, "samples"), rows(out, "exclusions"));
    assert_eq!((&status["settled"], &status["published"]), (&json!(settled), &json!(settled)), "{status}");
    assert_eq!((&status["outstanding"], &status["partial_shards"]), (&json!(outstanding), &json!(1)));
    assert_eq!(status["counts"]["samples"], samples.len());
    assert_eq!(status["counts"]["rollouts"], rows(out, "rollouts").len());
    assert_eq!((samples.len() + exclusions.len()) as u64, settled);
    let manifest = manifest(out);
    assert_eq!((&manifest["outstanding"], &manifest["counts"]["queries"]), (&json!(outstanding), &json!(QUERIES)));
    let files = manifest["files"].as_array().unwrap();
    assert!(files.len() == 3 && files.iter().all(|file| file["partial"] == true), "{files:?}");
    for file in files {
        assert_eq!(file["sha256"], hash_of(&out.join(file["name"].as_str().unwrap())), "{file}");
    }
    assert!(std::fs::read_to_string(out.join("README.md")).unwrap().contains("The run is not finished"));
    thinkloom(&["status", text(out), "--check"]).assert_code(0);
}

#[test]
fn a_run_that_is_stopped_publishes_what_is_settled_and_is_completed_with_the_bytes_of_a_whole_one() {
    let server = slow_policy();
    let workspace = served(&server);
    let out = workspace.out();
    let told = stop_half_way(&workspace, interrupt).unwrap().assert_code(3);
    let settled = status(&out)["settled"].as_u64().unwrap();
    assert!((10..QUERIES as u64).contains(&settled), "{settled}");
    told.assert_says(&[
        &format!("published {settled} of {QUERIES} queries"),
        "incomplete, the run will complete",
        "next: run the same command",
    ]);
    assert_published(&out, settled);

    // Others can make something of it, and say that it is not all.
    let target = workspace.path("trl");
    let exported = thinkloom(&["export", text(&out), "--format", "trl", "--task", "sft", "-o", text(&target)]);
    let exported = exported.assert_code(0);
    assert!(exported.stdout.contains("not checked: the policy's chat template is not known"), "{}", exported.stdout);
    exported.assert_says(&["is not finished", &format!("{settled} of {QUERIES} queries")]);
    let report = thinkloom(&["report", text(&out)]).assert_code(0);
    assert!(report.stdout.contains(&format!("with {QUERIES} of {QUERIES} queries")), "{}", report.stdout);
    report.assert_says(&["not finished", &format!("{settled} of the {QUERIES}").replace("of the", "of")]);

    let again = workspace.run(&[]).assert_code(0);
    again.assert_says(&[&format!("resumed at {settled} of {QUERIES} queries")]);
    assert!(manifest(&out)["files"].as_array().unwrap().iter().all(|file| file["partial"].is_null()));
    let whole = workspace.run_whole("whole", &[]);
    assert_eq!(data_hashes(&out), data_hashes(&whole));
    for name in ["manifest.json", "README.md", "views.sql"] {
        assert_eq!(hash_of(&out.join(name)), hash_of(&whole.join(name)), "{name}");
    }
    thinkloom(&["status", text(&out), "--check"]).assert_code(0);
}

#[test]
fn what_a_killed_run_has_settled_is_seen_at_once_and_published_when_asked_for() {
    let server = slow_policy();
    let workspace = served(&server);
    let out = workspace.out();
    stop_half_way(&workspace, |running| {
        let dir = workspace.out();
        // While it goes on: seen, and not to be written by two.
        assert!(status(&dir)["settled"].as_u64().unwrap() > 0);
        thinkloom(&["publish", text(&dir)]).assert_code(1).assert_says(&["another process is using", "hint:"]);
        assert!(running.kill());
        None
    });
    let before = status(&out);
    assert_eq!((&before["published"], &before["partial_shards"]), (&json!(0), &json!(0)));
    let settled = before["settled"].as_u64().unwrap();
    assert!(before["think_on_share"].is_number() && before["counts"]["rollouts"].as_u64().unwrap() >= settled);
    for _ in 0..2 {
        let told = thinkloom(&["publish", text(&out)]).assert_code(0).stdout;
        assert!(told.starts_with(&format!("published {settled} of {QUERIES} queries")), "{told}");
        assert_published(&out, settled);
        // A part that is damaged or gone is named, and written again.
        let part = out.join("data/exclusions/train-00000.parquet");
        std::fs::write(&part, "spoilt").unwrap();
        let audit = thinkloom(&["status", text(&out), "--check"]).assert_code(1).stdout;
        assert!(audit.contains("data/exclusions/train-00000.parquet does not match its recorded hash"), "{audit}");
        thinkloom(&["publish", text(&out)]).assert_code(0).assert_says(&["keeps it as"]);
        for path in files_below(&out.join("data")).into_iter().filter(|path| text(path).contains(".changed-")) {
            std::fs::remove_file(path).unwrap();
        }
        std::fs::remove_file(&part).unwrap();
        let audit = thinkloom(&["status", text(&out), "--check"]).assert_code(1).stdout;
        assert!(audit.contains("lists data/exclusions/train-00000.parquet, which is missing"), "{audit}");
    }
    workspace.run(&[]).assert_code(0);
    assert_eq!(data_hashes(&out), data_hashes(&workspace.run_whole("whole", &[])));
    let told = thinkloom(&["publish", text(&out)]).assert_code(0).stdout;
    assert!(told.starts_with("published 40 of 40"), "{told}");
    assert_eq!(data_hashes(&out), data_hashes(&workspace.path("whole")));
    thinkloom(&["publish", text(&workspace.path("nothing"))])
        .assert_code(1)
        .assert_says(&["is not the output directory of a run: it has no ledger.sqlite", "hint:"]);
}

#[test]
fn exports_and_reports_name_files_that_are_missing_changed_or_nobodys() {
    let workspace = Workspace::new(8, &[]);
    let out = workspace.run_whole("out", &[]);
    let target = workspace.path("trl");
    let export = || thinkloom(&["export", text(&out), "--format", "trl", "--overwrite", "-o", text(&target)]);
    export().assert_code(0);
    let report = || thinkloom(&["report", text(&out)]);
    std::fs::write(out.join("data/samples/train-00007.parquet"), "mine").unwrap();
    export().assert_code(0).assert_says(&[
        "skipped these files, because they do not belong to this dataset",
        "data/samples/train-00007.parquet",
    ]);
    report().assert_code(0).assert_says(&[
        "skipped these files, because they do not belong to this dataset",
        "data/samples/train-00007.parquet",
    ]);
    std::fs::remove_file(out.join("data/samples/train-00007.parquet")).unwrap();
    let exported = contents(&target);
    let shard = out.join("data/rollouts/train-00001.parquet");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::remove_file(&shard).unwrap();
    for outcome in [export(), report()] {
        outcome.assert_code(1).assert_says(&["data/rollouts/train-00001.parquet is missing", "hint", "thinkloom run"]);
    }
    std::fs::write(&shard, &bytes[..bytes.len() / 2]).unwrap();
    for outcome in [export(), report()] {
        outcome.assert_code(1).assert_says(&["data/rollouts/train-00001.parquet does not match its recorded hash"]);
    }
    assert_eq!(contents(&target), exported, "an export that is refused leaves the earlier one");
    // Without the ledger the manifest alone says so.
    let copy = workspace.path("copy");
    for path in files_below(&out).into_iter().filter(|path| !text(path).contains("ledger")) {
        let to = copy.join(path.strip_prefix(&out).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(path, to).unwrap();
    }
    let of_copy = ["export", text(&copy), "--format", "trl", "-o", text(&workspace.path("of-copy"))].map(str::to_owned);
    let of_copy = || Outcome::of(program().args(&of_copy));
    of_copy().assert_code(1).assert_says(&["data/rollouts/train-00001.parquet does not match its recorded hash"]);
    std::fs::write(copy.join("data/rollouts/train-00001.parquet"), &bytes).unwrap();
    of_copy().assert_code(0);
}

#[test]
fn exports_check_against_the_policys_own_template_unless_they_are_told_not_to() {
    let workspace = Workspace::new(7, &[]);
    let out = workspace.run_whole("out", &[]);
    let export = |name: &str, more: &[&str]| {
        let target = workspace.path(name);
        thinkloom(&[&["export", text(&out), "--format", "trl", "-o", text(&target)], more].concat())
    };
    let told = export("own", &[]).assert_code(0).stdout;
    assert!(told.contains("every row is complete with the template of the policy"), "{told}");
    let list = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(workspace.path(name).join("export.json")).unwrap()).unwrap()
    };
    let gguf = root().join("fixtures/tiny-llama.gguf");
    export("gguf", &["--template", text(&gguf)]).assert_code(0);
    assert!(list("own")["template"].is_string());
    assert_eq!(
        list("own")["template"],
        list("gguf")["template"],
        "the file's template is the one that was sampled with"
    );
    let told = export("unchecked", &["--unchecked"]).assert_code(0).stdout;
    assert!(told.contains("not checked against a chat template (--unchecked)"), "{told}");
    assert!(list("unchecked")["template"].is_null());
    export("text", &["--layout", "text"]).assert_code(0);
    export("x", &["--layout", "text", "--unchecked"]).assert_code(2).assert_says(&["remove --unchecked"]);
    thinkloom(&["export", text(&out), "--check", "--format", "trl"]).assert_code(0);
    let broken = workspace.path("broken.gguf");
    std::fs::write(&broken, "GGUF and nothing else").unwrap();
    export("x", &["--template", text(&broken)]).assert_code(1).assert_says(&["broken.gguf", "hint:"]);
}

#[cfg(unix)]
#[test]
fn an_export_goes_through_a_link_and_keeps_an_edited_card() {
    let workspace = Workspace::new(7, &[]);
    let out = workspace.run_whole("out", &[]);
    let (real, link) = (workspace.path("disk/real"), workspace.path("link"));
    std::fs::create_dir_all(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let export = || thinkloom(&["export", text(&out), "--format", "trl", "--overwrite", "-o", text(&link)]);
    export().assert_code(0);
    let first = contents(&real);
    export().assert_code(0);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(contents(&real), first);
    std::fs::write(real.join("README.md"), "my own words").unwrap();
    export().assert_code(0).assert_says(&["README.md was edited"]);
    let mut after = contents(&real);
    let kept: Vec<PathBuf> = after.keys().filter(|path| text(path).contains(".changed-")).cloned().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), "my own words");
    after.remove(&kept[0]);
    assert_eq!(after, first);
    assert_eq!(std::fs::read_dir(workspace.path("disk")).unwrap().count(), 1, "nothing is left beside it");
}
