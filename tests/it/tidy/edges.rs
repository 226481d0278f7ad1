//! The allowed imports between the rooms of `src/`, and a reader of the paths in code.

use super::source::{Code, Source};

/// The rooms in the order of `lib.rs`, each with the rooms that its code may name.
pub const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("template", &["domain"]),
    ("sys", &[]),
    // The tags of the template may not stand in a setting.
    ("config", &["domain", "template"]),
    ("http", &["domain"]),
    ("hub", &["domain", "sys", "http"]),
    // Never the pipeline, the ledger or the judge.
    ("engine", &["domain"]),
    ("policy", &["domain", "template", "config", "engine", "http"]),
    ("ingest", &["domain", "config"]),
    ("category", &["domain"]),
    ("dedup", &["domain", "config"]),
    ("verify", &["domain"]),
    ("select", &["domain", "config"]),
    ("difficulty", &["domain", "config"]),
    ("reward", &["domain", "verify", "template"]),
    ("judge", &["domain", "config", "engine", "policy", "template", "http"]),
    ("ledger", &["domain", "sys"]),
    ("shards", &["domain"]),
    (
        "pipeline",
        &[
            "domain",
            "sys",
            "config",
            "http",
            "hub",
            "engine",
            "policy",
            "ingest",
            "category",
            "dedup",
            "verify",
            "template",
            "select",
            "difficulty",
            "judge",
            "ledger",
            "shards",
        ],
    ),
    ("export", &["domain", "sys", "engine", "policy", "template", "shards"]),
    ("report", &["domain", "config", "select", "ledger", "shards", "pipeline"]),
    ("view", &["sys", "ledger", "shards", "pipeline", "report"]),
    (
        "eval",
        &[
            "domain",
            "sys",
            "config",
            "http",
            "engine",
            "policy",
            "ingest",
            "verify",
            "template",
            "difficulty",
            "judge",
            "ledger",
            "pipeline",
        ],
    ),
    ("serve", &["domain", "sys", "config", "engine", "policy", "verify", "template", "reward", "pipeline"]),
    ("guide", &["config"]),
    ("telemetry", &[]),
    (
        "cli",
        &[
            "domain",
            "sys",
            "config",
            "http",
            "hub",
            "engine",
            "policy",
            "ingest",
            "category",
            "dedup",
            "verify",
            "template",
            "select",
            "difficulty",
            "reward",
            "judge",
            "ledger",
            "shards",
            "pipeline",
            "export",
            "report",
            "view",
            "eval",
            "serve",
            "guide",
            "telemetry",
        ],
    ),
];

/// Rooms that are packages of their own: what they may name stands in their `Cargo.toml`.
const PACKAGES: &[&str] = &["domain", "engine", "python", "verify", "reward"];

/// Returns the rooms that `lib.rs` declares or takes from a package, in its order.
pub fn rooms_in_order(lib: &str) -> Vec<&str> {
    let lines = lib.lines().filter_map(|line| line.strip_prefix("pub ")?.strip_suffix(';'));
    lines
        .filter_map(|line| {
            line.strip_prefix("mod ").or_else(|| line.strip_prefix("use thinkloom_")?.rsplit([' ', ':']).next())
        })
        .collect()
}

/// Returns the forbidden imports of a source file's code, tests excepted, as `file:line: what`.
pub fn breaches(source: &Source) -> Vec<String> {
    let Some(place) = Place::of(&source.name) else { return Vec::new() };
    if source.is_test || PACKAGES.contains(&place.room.as_str()) {
        return Vec::new();
    }
    let allowed = ROOMS.iter().find(|(room, _)| *room == place.room).map(|(_, allowed)| *allowed);
    let Some(allowed) = allowed else {
        return vec![format!("{}:1: room {} is not in the table of rooms", source.name, place.room)];
    };
    let is_forbidden = |target: &str| target != place.room && !allowed.contains(&target);
    imports(&source.code, place.depth)
        .into_iter()
        .filter(|(_, target)| is_forbidden(target))
        .map(|(line, target)| format!("{}:{line}: {} imports {target}", source.name, place.room))
        .collect()
}

/// Where a file stands in the module tree.
struct Place {
    room: String,
    /// How many `super` lead from the file's module to the crate's root.
    depth: usize,
}

impl Place {
    /// Returns the place of `src/room.rs` or `src/room/...`; none for `lib.rs` and `main.rs`, which own no room.
    fn of(name: &str) -> Option<Self> {
        let path = name.strip_prefix("src/")?.strip_suffix(".rs")?;
        let parts: Vec<&str> = path.split('/').filter(|part| *part != "mod").collect();
        let room = (*parts.first()?).to_owned();
        (room != "lib" && room != "main").then_some(Self { room, depth: parts.len() })
    }
}

/// Returns the rooms that code names through `crate::` or through enough `super::`, with their lines.
fn imports(code: &Code, depth: usize) -> Vec<(usize, String)> {
    let text = &code.0;
    let to_root = "super::".repeat(depth);
    let mut found = Vec::new();
    for prefix in ["crate::", to_root.as_str()] {
        for (start, _) in text.match_indices(prefix) {
            let before = text[..start].chars().next_back();
            // Part of a longer path or name.
            if before.is_some_and(|character| character.is_alphanumeric() || "_:".contains(character)) {
                continue;
            }
            let line = code.line_of(start);
            let rest = &text[start + prefix.len()..];
            found.extend(heads(rest).into_iter().filter(|head| *head != "super").map(|head| (line, head)));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Returns the first names of what follows a path prefix: one name, or all names of a `{...}` group at its top level.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(name(&group[start..index]));
                start = index + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found.retain(|head| !head.is_empty());
    found
}

#[test]
fn the_check_of_imports_finds_forbidden_edges_and_passes_over_tests_and_comments() {
    let text = "//! Uses crate::ledger in words only.\n\
                use crate::domain::Mode;\n\
                use crate::{\n    domain::{self, Query},\n    ledger::{Fact, Reader},\n};\n\
                const TEXT: &str = \"crate::judge::ask\";\n\
                fn f() { super::super::pipeline::run(); crate::judge::ask() }\n\
                use super::kv;\n\
                #[cfg(test)]\nmod tests {\n    use crate::shards::encode;\n}\n";
    let found = breaches(&Source::parse("src/policy/thread.rs", text));
    let expected = [
        "src/policy/thread.rs:3: policy imports ledger",
        "src/policy/thread.rs:8: policy imports judge",
        "src/policy/thread.rs:8: policy imports pipeline",
    ];
    assert_eq!(found, expected);
    assert_eq!(
        breaches(&Source::parse("src/select.rs", "use super::ledger::Reader;\n")),
        ["src/select.rs:1: select imports ledger"]
    );
    assert_eq!(
        breaches(&Source::parse("src/attic/mod.rs", "")),
        ["src/attic/mod.rs:1: room attic is not in the table of rooms"]
    );
    assert!(breaches(&Source::parse("src/policy/tests.rs", text)).is_empty());
    assert!(breaches(&Source::parse("src/cli/run.rs", "use crate::pipeline;\nuse super::print;\n")).is_empty());
}
