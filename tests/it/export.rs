//! Tests `export`: its files, its rejections, and existing files at the destination.

use std::path::Path;

use serde_json::Value;

use crate::support::{Outcome, Workspace, files_below, hash_of, program, root};

fn export(out: &Path, arguments: &[&str]) -> Outcome {
    let mut command = program();
    Outcome::of(command.arg("export").arg(out).args(arguments))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_export_is_whole_or_not_there_and_replaces_only_an_earlier_one() {
    let workspace = Workspace::new(7, &[]);
    let out = workspace.run_whole("out", &[]);
    let target = workspace.path("trl");
    let qwen3 = root().join("fixtures/templates/qwen3");
    let naive = ["--format", "trl", "--template", text(&qwen3), "-o", text(&target)];
    let refused = export(&out, &naive).assert_code(1);
    refused.assert_says(&["would be mangled", "the template drops the judge block", "hint: add --layout text"]);
    assert!(!target.exists());
    assert_eq!(
        std::fs::read_dir(workspace.path(""))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(".thinkloom-export"))
            .count(),
        0
    );

    let finished = [&naive[..], &["--layout", "text", "--license", "mit"]].concat();
    let told = export(&out, &finished).assert_code(0).stdout;
    assert!(told.contains("every row is complete"), "{told}");
    let card = std::fs::read_to_string(target.join("README.md")).unwrap();
    assert!(card.contains("license: \"mit\"") && card.contains("config_name: sft"), "{card}");
    let list: Value = serde_json::from_slice(&std::fs::read(target.join("export.json")).unwrap()).unwrap();
    for (name, hash) in list["files"].as_object().unwrap() {
        assert_eq!(*hash, hash_of(&target.join(name)), "{name}");
    }
    assert_eq!(list["files"].as_object().unwrap().len() + 1, files_below(&target).len());

    let before: Vec<String> = files_below(&target).iter().map(|path| hash_of(path)).collect();
    export(&out, &finished).assert_code(1).assert_says(&["is not empty", "--overwrite"]);
    export(&out, &[&finished[..], &["--overwrite"]].concat()).assert_code(0);
    let after: Vec<String> = files_below(&target).iter().map(|path| hash_of(path)).collect();
    assert_eq!(before, after, "the same facts give the same bytes");
    std::fs::write(target.join("mine.txt"), "x").unwrap();
    export(&out, &[&finished[..], &["--overwrite"]].concat()).assert_code(1).assert_says(&["is not empty"]);
    assert!(target.join("mine.txt").is_file());
}

#[test]
fn every_trainer_gets_its_files_and_a_config_to_train_from() {
    let workspace = Workspace::new(7, &[]);
    let out = workspace.run_whole("out", &[]);
    for (format, files) in [
        ("trl", vec!["sft/train-00000.parquet", "rl/train-00000.parquet", "dpo/train-00000.parquet", "trl-sft.yaml"]),
        ("verl", vec!["sft/train-00000.parquet", "rl/train-00001.parquet", "verl-rl.yaml"]),
        ("llamafactory", vec!["sft/train-00000.parquet", "dataset_info.json", "llamafactory-kto.yaml"]),
        ("swift", vec!["sft/train.jsonl", "rl/train.jsonl", "swift-sft.sh"]),
        ("axolotl", vec!["sft/train.jsonl", "dpo/train.jsonl", "axolotl-sft.yaml"]),
    ] {
        for flavour in ["auto", "controlled"] {
            let target = workspace.path(&format!("{format}-{flavour}"));
            export(&out, &["--format", format, "--flavour", flavour, "-o", text(&target)]).assert_code(0);
            for name in &files {
                assert!(target.join(name).is_file(), "{format} {flavour}: {name} is missing");
            }
        }
    }
}

#[test]
fn verls_configs_name_every_file_because_verl_takes_no_directory() {
    let workspace = Workspace::new(7, &[]);
    let out = workspace.run_whole("out", &[]);
    let target = workspace.path("verl");
    export(&out, &["--format", "verl", "-o", text(&target)]).assert_code(0);
    for task in ["sft", "rl"] {
        let config = std::fs::read_to_string(target.join(format!("verl-{task}.yaml"))).unwrap();
        let named = format!("train_files: [{task}/train-00000.parquet, {task}/train-00001.parquet]\n");
        assert!(config.contains(&named), "{config}");
        assert_eq!(files_below(&target.join(task)).len(), 2);
    }
}

#[test]
fn what_does_not_go_together_is_refused_with_code_2_and_what_is_no_run_with_code_1() {
    let workspace = Workspace::new(2, &[]);
    let out = workspace.run_whole("out", &[]);
    for (arguments, says) in [
        (vec!["-o", "x"], "name a trainer"),
        (vec!["--format", "trl"], "-o DIR"),
        (vec!["--format", "trl", "-o", "x", "--layout", "text", "--unchecked"], "--unchecked"),
        (vec!["--format", "verl", "-o", "x", "--task", "dpo"], "has no task dpo"),
        (vec!["--format", "poem", "-o", "x"], "trl, verl"),
    ] {
        export(&out, &arguments).assert_code(2).assert_says(&[says]);
    }
    let target = workspace.path("x");
    let nothing = workspace.path("nothing");
    let arguments = ["--format", "trl", "-o", text(&target)];
    export(&nothing, &arguments).assert_code(1).assert_says(&["no published samples", "hint:"]);
    let absent = [&arguments[..], &["--template", "absent"]].concat();
    export(&out, &absent).assert_code(1).assert_says(&["absent", "hint:"]);
}
