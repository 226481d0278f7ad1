//! Tests requests to stop during long work that does not check for them often.

use std::io::Write;
use std::path::Path;

use crate::support::{Outcome, Running, Workspace, fixture, program, until};

/// Bytes of a file that is read for far longer than any test waits; on the disk it takes none.
const SPARSE_BYTES: u64 = 16 << 30;

/// A workspace whose input is this file, made by `write`.
fn workspace(name: &str, more: &[(&str, &str)], write: impl FnOnce(&mut std::fs::File)) -> Workspace {
    let paths = format!("[\"{name}\"]");
    let settings: Vec<(&str, &str)> =
        [("input.paths", paths.as_str())].into_iter().chain(more.iter().copied()).collect();
    let workspace = Workspace::new(1, &settings);
    write(&mut std::fs::File::create(workspace.path(name)).unwrap());
    workspace
}

fn sparse(file: &mut std::fs::File, head: &[u8]) {
    file.write_all(head).unwrap();
    file.set_len(SPARSE_BYTES).unwrap();
}

/// Members of a gzip file may follow each other.
fn newlines(file: &mut std::fs::File) {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    member.write_all(&vec![b'\n'; 1 << 20]).unwrap();
    let member = member.finish().unwrap();
    for _ in 0..8192 {
        file.write_all(&member).unwrap();
    }
}

/// Returns whether a process catches SIGTERM and has this file open.
fn is_reading(pid: u32, path: &Path) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
    let catches = u64::from_str_radix(caught.trim(), 16).is_ok_and(|mask| mask >> 14 & 1 == 1);
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    catches && open.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|link| link == path))
}

/// Starts a command and asks it to stop once it reads the file.
fn stopped_while_reading(command: &mut std::process::Command, path: &Path) -> Outcome {
    let mut running = Running::start(command);
    let path = path.canonicalize().unwrap();
    until("reading the input", || is_reading(running.id(), &path).then_some(()));
    running.signal("-TERM");
    until("the end of a process that was asked to stop", || running.ended());
    running.finish()
}

#[test]
fn a_run_and_an_evaluation_stop_while_they_read_hash_and_unpack() {
    let cases = [
        (workspace("newlines.jsonl.gz", &[], newlines), "newlines.jsonl.gz"),
        (workspace("line.csv", &[], |file| sparse(file, b"id,question,answer\n\"")), "line.csv"),
        (workspace("zeros.jsonl", &[], |file| sparse(file, b"\n")), "zeros.jsonl"),
        (workspace("hashed.jsonl", &[("input.answer_is", "\"letter\"")], |file| sparse(file, b"\n")), "hashed.jsonl"),
    ];
    for (workspace, name) in &cases {
        let path = workspace.path(name);
        let said = ["stopping", "error: stopped", "run the same command again"];
        for more in [&[][..], &["--dry-run"][..]] {
            let mut run = workspace.command(more);
            stopped_while_reading(run.current_dir(workspace.path("")), &path).assert_code(3).assert_says(&said);
        }
        let mut eval = program();
        eval.arg("eval").arg("-c").arg(workspace.path("thinkloom.toml")).arg("-o").arg(workspace.path("eval"));
        stopped_while_reading(&mut eval, &path).assert_code(3).assert_says(&said);
    }
}

#[test]
fn a_model_whose_chat_template_does_not_end_is_refused() {
    let workspace = Workspace::new(4, &[]);
    let mut bytes = std::fs::read(fixture("tiny-llama.gguf")).unwrap();
    let find = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|window| window == part).unwrap();
    let key = find(&bytes, b"tokenizer.chat_template");
    let start = key + find(&bytes[key..], b"{%");
    let length = u64::from_le_bytes(bytes[start - 8..start].try_into().unwrap()) as usize;
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    bytes[start..start + length].copy_from_slice(format!("{endless:length$}").as_bytes());
    std::fs::write(workspace.path("endless.gguf"), bytes).unwrap();
    let model = format!("{:?}", workspace.path("endless.gguf"));
    workspace.configure(&[("policy.model", model.as_str())]);
    let refusal = ["chat template cannot be rendered", "does not come to an end", "hint:"];
    workspace.run(&[]).assert_code(1).assert_says(&refusal);
}
