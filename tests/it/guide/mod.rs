//! Tests README, CONTRIBUTING and the guide: links have targets, commands and configs are accepted, and `thinkloom
//! help` prints the pages. `tests/consumers/guide.py` runs their SQL and Python.

mod commands;
mod markdown;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::{Outcome, Workspace, files_below, fixture, program, queries, root};
use markdown::{anchors, links, split};

/// The topics, which are contracts.
const TOPICS: [&str; 17] = [
    "config",
    "judge",
    "servers",
    "data",
    "export",
    "dedup",
    "sandbox",
    "rewards",
    "python",
    "serve",
    "eval",
    "models",
    "gpu",
    "recovery",
    "selection",
    "benchmarks",
    "glossary",
];
const README_LINES_MAX: usize = 200;

/// A page: its path relative to the repository, and its text.
pub struct Page {
    pub name: String,
    pub text: String,
}

fn read(name: &str) -> Page {
    let text = std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    Page { name: name.to_owned(), text }
}

fn guide_page(topic: &str) -> Page {
    read(&format!("src/guide/{topic}.md"))
}

/// Returns the pages for users: the README and the guide.
pub fn pages_for_users() -> Vec<Page> {
    std::iter::once(read("README.md")).chain(TOPICS.map(guide_page)).collect()
}

fn help(arguments: &[&str]) -> Outcome {
    Outcome::of(program().arg("help").args(arguments))
}

#[test]
fn the_readme_can_be_read_in_one_go() {
    let lines = read("README.md").text.lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines, {README_LINES_MAX} are allowed");
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let mut breaches = Vec::new();
    let mut seen = 0;
    for page in pages_for_users().into_iter().chain(["CONTRIBUTING.md", "src/ARCHITECTURE.md"].map(read)) {
        for link in links(&page.text) {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            seen += 1;
            let (path, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(path, anchor)| (path, Some(anchor)));
            let folder = Path::new(&page.name).parent().unwrap();
            let target = if path.is_empty() { PathBuf::from(&page.name) } else { folder.join(path) };
            let Ok(text) = std::fs::read_to_string(root().join(&target)) else {
                breaches.push(format!("{}: {link}: there is no such file", page.name));
                continue;
            };
            if anchor.is_some_and(|anchor| !anchors(&text).iter().any(|known| known == anchor)) {
                breaches.push(format!("{}: {link}: there is no such heading", page.name));
            }
        }
    }
    assert!(seen > 50, "only {seen} links are seen");
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn every_topic_has_a_page_that_is_linked_and_printed() {
    let files = files_below(&root().join("src/guide"));
    let pages = files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let found: BTreeSet<&str> = pages.map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(found, BTreeSet::from(TOPICS));
    let linked = links(&read("README.md").text);
    let overview = help(&[]).assert_code(0).stdout;
    for topic in TOPICS {
        let page = guide_page(topic).text;
        assert!(linked.contains(&format!("src/guide/{topic}.md")), "the README links no {topic}");
        assert!(overview.lines().any(|line| line.starts_with(&format!("  {topic} "))), "{topic}:\n{overview}");
        let printed = help(&[topic]).assert_code(0).stdout;
        assert!(printed.starts_with(&page), "{topic}:\n{printed}");
        let usage = Outcome::of(program().args([topic, "--help"]));
        if usage.code == Some(0) {
            assert!(
                printed.ends_with(&usage.stdout),
                "{topic}: the usage of the command of this name follows:\n{printed}"
            );
        } else {
            assert_eq!(printed, page);
        }
        // Untagged blocks would be taken for Rust by rustdoc.
        assert!(split(&page).0.iter().all(|fence| !fence.language.is_empty()), "{topic}: a block without a language");
    }
}

#[test]
fn help_prints_a_commands_usage_and_an_unknown_name_is_an_error_that_lists_all() {
    for name in ["run", "status", "doctor", "help"] {
        let usage = Outcome::of(program().args([name, "--help"])).assert_code(0).stdout;
        assert_eq!(help(&[name]).assert_code(0).stdout, usage);
    }
    let overview = help(&[]).assert_code(0).stdout;
    assert!(overview.contains("\n  run ") && overview.contains("Topics"), "{overview}");
    let unknown = help(&["jugde"]).assert_code(2);
    assert!(unknown.stdout.is_empty());
    let unknown = unknown.assert_says(&["error: no topic or command \"jugde\"; did you mean \"judge\"?", "hint: "]);
    unknown.assert_says(&TOPICS).assert_says(&["redecide", "doctor"]);
    help(&["judge", "batch"]).assert_code(2);
}

#[cfg(unix)]
#[test]
fn a_reader_of_a_page_that_stops_reading_is_no_failure() {
    for arguments in
        [&["help"][..], &["help", "data"], &["help", "serve"], &["man"], &["completions", "zsh"], &["--version"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = program().args(arguments).stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let outcome = Outcome::from(child.wait_with_output().unwrap()).assert_code(0);
        assert!(outcome.stderr.is_empty(), "{arguments:?}: {}", outcome.stderr);
    }
}

#[test]
fn the_page_on_config_is_what_the_program_generates_and_has_every_key() {
    let generated = Outcome::of(program().args(["schema", "config", "--markdown"])).assert_code(0).stdout;
    let page = guide_page("config").text;
    // Without `assert_eq`, which would print both pages, whole.
    assert!(page == generated, "stale: cargo run --release -- schema config --markdown > src/guide/config.md");
    let schema = std::fs::read_to_string(root().join("schemas/config.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let mut keys = 0;
    for (name, section) in schema["$defs"].as_object().unwrap() {
        for key in section["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
            let is_section = page.lines().any(|line| line.starts_with("## `[") && line.ends_with(&format!("{key}]`")));
            assert!(is_section || page.contains(&format!("\n- `{key}` (")), "{name}.{key} is missing");
            keys += 1;
        }
    }
    assert!(keys > 100, "only {keys} keys are seen");
    Outcome::of(program().args(["schema", "samples", "--markdown"])).assert_code(2);
}

/// Returns the topics and commands that texts of the program name: `thinkloom help a, b`.
fn named_in(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (start, marker) in text.match_indices("thinkloom help ") {
        let rest = &text[start + marker.len()..];
        let end = rest.find(|character: char| !(character.is_ascii_lowercase() || ", ".contains(character)));
        let list = rest[..end.unwrap_or(rest.len())].split(", ");
        named.extend(
            list.map(|name| name.split(' ').next().unwrap_or_default().to_owned()).filter(|name| !name.is_empty()),
        );
    }
    named
}

#[test]
fn hints_and_usages_name_topics_that_there_are() {
    let listed = Outcome::of(program().arg("--help")).assert_code(0).stdout;
    let commands: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let mut named = BTreeSet::new();
    for path in files_below(&root().join("src")) {
        if path.extension().is_some_and(|ending| ending == "rs") {
            // Doc comments speak of `thinkloom help TOPIC`; capitals are not collected.
            named.extend(named_in(&std::fs::read_to_string(&path).unwrap()));
        }
    }
    for name in &named {
        assert!(
            TOPICS.contains(&name.as_str()) || commands.contains(name.as_str()),
            "thinkloom help {name}: {named:?}"
        );
    }
    assert!(named.len() > 10, "{named:?}");
}

#[test]
fn every_config_of_readme_and_guide_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (config, cases) = (folder.path().join("thinkloom.toml"), folder.path().join("cases.jsonl"));
    std::fs::write(&cases, "").unwrap();
    let check = |text: &str| {
        std::fs::write(&config, text).unwrap();
        // The cheapest command that reads a whole config.
        Outcome::of(program().arg("grade").arg("--cases").arg(&cases).arg("-c").arg(&config))
    };
    let mut seen = 0;
    for page in pages_for_users() {
        for fence in split(&page.text).0.iter().filter(|fence| fence.language == "toml") {
            let outcome = check(&fence.text);
            assert_eq!(outcome.code, Some(0), "{}:{}: {}", page.name, fence.line, outcome.stderr);
            seen += 1;
        }
    }
    assert!(seen >= 9, "only {seen} configs are seen");
    check("[policy]\nmodle = \"x\"\n").assert_code(2);
}

/// Rows as the datasets of the README's table have them, and what `doctor` says of the first.
const DATASETS: &[(&str, &str, &str)] = &[
    (
        "gsm8k",
        r#"{"question": "How many clips are 48 and 24?", "answer": "48 + 24 = <<48+24=72>>72 clips.\n#### 72"}"#,
        "kind math, question \"How many clips are 48 and 24?\"\n    answer \"72\"",
    ),
    (
        "math",
        r#"{"problem": "Compute $1+1$.", "level": "Level 1", "type": "Algebra", "solution": "We add and get $\\boxed{2}$."}"#,
        "kind math, question \"Compute $1+1$.\"\n    answer \"2\"",
    ),
    (
        "arc",
        r#"{"id": "m1", "question": "What is ice?", "choices": {"text": ["stone", "water", "sand", "air"], "label": ["A", "B", "C", "D"]}, "answerKey": "B"}"#,
        "kind choice, question \"What is ice?\"\n    answer B: \"water\"",
    ),
    (
        "mmlu",
        r#"{"question": "What is ice?", "subject": "physics", "choices": ["stone", "water", "sand", "air"], "answer": 1}"#,
        "kind choice, question \"What is ice?\"\n    answer B: \"water\"",
    ),
    (
        "mbpp",
        r#"{"task_id": 2, "text": "Write a function add.", "code": "def add(a, b):\n    return a + b", "test_list": ["assert add(1, 2) == 3"], "test_setup_code": "", "challenge_test_list": []}"#,
        "kind code, question \"Write a function add.\"\n    answer 1 tests, the first \"assert add(1, 2) == 3\"",
    ),
    (
        "own",
        r#"{"ask": "Compute 1 + 1.", "meta": {"gold": "2"}}"#,
        "kind math, question \"Compute 1 + 1.\"\n    answer \"2\"",
    ),
];

#[test]
fn the_lines_of_the_readme_for_each_dataset_read_its_rows() {
    let readme = read("README.md").text;
    let table = readme.lines().filter(|line| line.starts_with("| ") && line.contains("`paths = "));
    let rows: Vec<&str> = table.collect();
    assert_eq!(rows.len(), DATASETS.len(), "{rows:?}");
    for (row, (name, line, expected)) in rows.into_iter().zip(DATASETS) {
        let cell = row.split('|').nth(2).unwrap();
        let lines: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(lines[0].contains(&format!("{name}/")), "{row}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("rows.jsonl"), format!("{line}\n")).unwrap();
        let text =
            format!("[input]\n{}\n[judge]\nbackend = \"none\"\n", lines.join("\n").replace(".parquet", ".jsonl"));
        let config = folder.path().join("thinkloom.toml");
        std::fs::write(&config, text).unwrap();
        let model = format!("policy.model={}", fixture("tiny-llama.gguf").display());
        let outcome = Outcome::of(program().arg("doctor").arg("-c").arg(&config).args(["--set", &model]));
        let said = outcome.stdout.lines().collect::<Vec<_>>().join("\n");
        assert!(
            said.contains("1 queries, 0 excluded") && said.contains(expected),
            "{name}:\n{said}\n{}",
            outcome.stderr
        );
    }
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let listed = Outcome::of(program().arg("--help")).assert_code(0).stdout;
    let listed = listed.split("Commands:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let commands: Vec<&str> = listed.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Outcome::of(program().args(["completions", shell])).assert_code(0).stdout;
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
    }
    Outcome::of(program().args(["completions", "tcsh"])).assert_code(2);
    let man = Outcome::of(program().arg("man")).assert_code(0).stdout;
    assert!(man.contains(".TH thinkloom 1"), "{man}");
    for command in commands {
        assert!(man.contains(&format!("thinkloom\\-{command}(1)")), "{command}:\n{man}");
        let page = Outcome::of(program().args(["man", command])).assert_code(0).stdout;
        assert!(page.contains(&format!(".TH thinkloom-{command} 1")), "{page}");
    }
    Outcome::of(program().args(["man", "rnu"])).assert_code(2).assert_says(&["did you mean \"run\"?"]);
}

/// Makes a workspace in which the commands of a page can be run: a run in `out`, and the files that pages speak of.
pub fn stage(page: &Page) -> Workspace {
    let add = r#"{"id": "add", "question": "What is 2 + 3?", "answer": "5", "kind": "numeric"}"#;
    let workspace = Workspace::with_input(format!("{}{add}\n", queries(5)).as_bytes(), &[]);
    workspace.run_whole("out", &[]);
    let row = |id: &str| {
        format!(r#"{{"id": "{id}", "question": "Which number is next to {id} and why is it so?", "answer": "4"}}"#)
    };
    let case = r#"{"id": 1, "kind": "numeric", "gold": "3", "response": "\\boxed{3}"}"#;
    let rollout = |mode: &str| format!(r#"{{"query_id": "a", "mode": "{mode}", "correct": true, "format_ok": true}}"#);
    for (name, content) in [
        ("cases.jsonl", case.to_owned()),
        ("train.jsonl", row("a")),
        ("test.jsonl", row("b")),
        ("more.csv", "id,question,answer\nc,What is 1 + 1?,2".to_owned()),
        ("rollouts.jsonl", format!("{}\n{}", rollout("think_on"), rollout("think_off"))),
    ] {
        std::fs::write(workspace.path(name), content + "\n").unwrap();
    }
    let model = workspace.path("models/Qwen3-8B");
    std::fs::create_dir_all(&model).unwrap();
    for name in ["chat_template.jinja", "tokenizer_config.json"] {
        std::fs::copy(fixture("templates/qwen3").join(name), model.join(name)).unwrap();
    }
    let prepare = |arguments: &[&str]| {
        Outcome::of(program().args(arguments).current_dir(workspace.path("."))).assert_code(0);
    };
    if page.text.contains("eval-old") {
        prepare(&["eval", "-c", "thinkloom.toml", "-o", "eval-old"]);
    }
    if page.text.contains("diff out out2") && !page.text.contains("-o out2") {
        prepare(&["redecide", "out", "-o", "out2", "--set", "select.tie_margin=0.2"]);
    }
    workspace
}
