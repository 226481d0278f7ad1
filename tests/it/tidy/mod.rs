//! Checks the house rules that clippy does not check (for clippy's, see the lints in `Cargo.toml`): import edges, file
//! sizes, leftovers, orphans.
//!
//! Every check returns its breaches as `file:line: what`. A test runs each check on a text that breaks the rule.

mod edges;
mod source;

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::{files_below, root};
use edges::{ROOMS, rooms_in_order};
use source::Source;

/// Most lines of a source file; tests may be longer.
const FILE_LINES_MAX: usize = 500;
const TEST_FILE_LINES_MAX: usize = 700;

/// Words that speak of how the code came about instead of what it is, split so that this file is clean itself.
const WORDS: &[&str] = &[concat!("iss", "ue"), concat!("iss", "ues"), concat!("sess", "ion"), concat!("TO", "DO")];
/// Directories of the machine that something was written on.
const PLACES: &[&str] = &[concat!("/wo", "rk"), concat!("/ro", "ot")];
/// Tracked files that others wrote.
const FOREIGN: &[&str] = &["LICENSE", "src/python/LICENSE", "Cargo.lock"];

/// Returns all Rust files below a directory of the repository.
fn sources(dir: &str) -> Vec<Source> {
    let files = files_below(&root().join(dir));
    let rust = files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let found: Vec<Source> = rust.map(|path| Source::read(path)).collect();
    assert!(!found.is_empty(), "{dir} has no sources");
    found
}

#[track_caller]
fn assert_none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

#[test]
fn imports_go_one_way_between_the_rooms() {
    let sources = sources("src");
    let breaches: Vec<String> = sources.iter().flat_map(edges::breaches).collect();
    assert_none("imports that the table in tests/it/tidy/edges.rs does not allow", &breaches);
}

#[test]
fn the_rooms_stand_in_data_flow_order_and_each_is_in_the_table() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let expected: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    assert_eq!(rooms_in_order(&lib), expected, "src/lib.rs and ROOMS name the same rooms in the same order");
}

#[test]
fn files_stay_short() {
    let mut breaches = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let max = if source.is_test { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
        let lines = source.raw.lines().count();
        if lines > max {
            breaches.push(format!("{}:{max}: {lines} lines, {max} are allowed", source.name));
        }
    }
    assert_none("too long", &breaches);
}

#[test]
fn nothing_is_left_over() {
    let mut breaches = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        for leftover in ["#[ignore", "#[should_panic"] {
            breaches.extend(source.all_code.places_of(leftover, &source.name));
        }
    }
    assert_none("left over", &breaches);
}

#[test]
fn sources_are_ascii() {
    let mut breaches = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let lines = source.raw.lines().enumerate().filter(|(_, line)| !line.is_ascii());
        breaches.extend(lines.map(|(index, _)| format!("{}:{}: not ASCII", source.name, index + 1)));
    }
    assert_none("write \\u{...} for other characters", &breaches);
}

#[test]
fn every_prompt_and_schema_is_used() {
    let text: String = sources("src").iter().map(|source| source.raw.clone()).collect();
    let mut breaches = Vec::new();
    for dir in ["prompts", "schemas"] {
        let files = files_below(&root().join(dir));
        assert!(!files.is_empty());
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            let stem = file.file_stem().unwrap().to_str().unwrap();
            let is_named = text.contains(&format!("{dir}/{name}"));
            let is_listed = dir == "schemas" && text.contains(&format!("(\"{stem}\","));
            if !is_named && !is_listed {
                breaches.push(format!("{dir}/{name}: nothing in src refers to it"));
            }
        }
    }
    assert_none("orphans", &breaches);
}

/// Returns the tracked files, or none outside a checkout.
fn tracked_files() -> Option<Vec<String>> {
    let output = Command::new("git").arg("ls-files").current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Returns whether `text` holds `needle`, with nothing on either side that could be part of the same name.
fn holds_word(text: &str, needle: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(needle).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + needle.len()..].chars().next();
        let is_path = needle.starts_with('/');
        !before.is_some_and(|character| is_part(character) || (is_path && "./-})".contains(character)))
            && !after.is_some_and(|character| is_part(character) || (is_path && character == '-'))
    })
}

fn words_out_of_place(name: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        // A word in capitals counts in capitals only: the macro of that name is code.
        let is_found = |word: &&&str| holds_word(&lower, word) || holds_word(line, word);
        let found = WORDS.iter().filter(is_found).chain(PLACES.iter().filter(|place| holds_word(line, place)));
        breaches.extend(found.map(|word| format!("{name}:{}: {word:?}", index + 1)));
    }
    breaches
}

#[test]
fn tracked_texts_speak_of_the_program_and_of_nothing_else() {
    let Some(files) = tracked_files() else {
        eprintln!("no git checkout: nothing is looked at");
        return;
    };
    let mut breaches = Vec::new();
    for name in files.iter().filter(|name| !FOREIGN.contains(&name.as_str())) {
        // Deleted files and binary ones have no text to look at.
        let Ok(text) = std::fs::read_to_string(root().join(name)) else { continue };
        breaches.extend(words_out_of_place(name, &text));
    }
    assert_none("words out of place", &breaches);
}

#[test]
fn the_check_of_words_finds_words_and_paths_and_no_parts_of_them() {
    let bad = format!("see {} 7\nfine\na {}: later\ncd {}/x\n\"{}\"\n", WORDS[0], WORDS[3], PLACES[0], PLACES[1]);
    let found = words_out_of_place("x.rs", &bad);
    let lines: Vec<&str> = found.iter().map(|breach| breach.split(' ').next().unwrap()).collect();
    assert_eq!(lines, ["x.rs:1:", "x.rs:3:", "x.rs:4:", "x.rs:5:"]);
    let good = format!("tis{} obs{} src{} a{}s\n", WORDS[0], WORDS[2], PLACES[0], PLACES[0]);
    assert_eq!(words_out_of_place("x.rs", &good), Vec::<String>::new());
}

#[test]
fn the_edges_of_the_table_point_backwards() {
    let mut seen = BTreeSet::new();
    for (room, allowed) in ROOMS {
        for target in *allowed {
            assert!(seen.contains(target), "{room} -> {target} goes forward");
        }
        assert!(seen.insert(*room), "{room} stands in the table twice");
    }
}

#[test]
fn the_program_stays_small() {
    const BYTES_MAX: u64 = 45 << 20;
    let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_thinkloom")).unwrap().len();
    // An unoptimised build is larger by its nature.
    assert!(cfg!(debug_assertions) || bytes <= BYTES_MAX, "the program has {bytes} bytes, {BYTES_MAX} are allowed");
}
