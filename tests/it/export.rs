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
fn configs_have_what_their_trainers_require_and_thinklooms_reward() {
    let workspace = Workspace::new(7, &[]);
    let out = workspace.run_whole("out", &[]);
    let model = root().join("fixtures/templates/smollm2");
    for (format, name, says) in [
        ("trl", "trl-rl.yaml", vec!["reward_funcs: [trl_reward.thinkloom_reward]", "max_completion_length: "]),
        ("trl", "trl-dpo.yaml", vec!["max_length: "]),
        ("trl", "trl-kto.yaml", vec!["max_length: "]),
        (
            "swift",
            "swift-rl.sh",
            vec!["--external_plugins swift_template.py swift_reward.py", "--reward_funcs thinkloom"],
        ),
        (
            "swift",
            "swift-rl.sh",
            vec!["--max_completion_length ", "--num_generations 8 --per_device_train_batch_size 8"],
        ),
        ("swift", "swift-kto.sh", vec!["--gradient_accumulation_steps ", "--template thinkloom"]),
        ("axolotl", "axolotl-sft.yaml", vec!["learning_rate: ", "sequence_len: ", "excess_length_strategy: raise"]),
        ("verl", "verl-rl.yaml", vec!["custom_reward_function: {path: verl_reward.py", "max_response_length: "]),
        ("verl", "verl-sft.yaml", vec!["defaults: [sft_trainer_engine, _self_]", "messages_key: messages"]),
        ("llamafactory", "llamafactory-sft.yaml", vec!["# No `template`", "cutoff_len: "]),
    ] {
        let target = workspace.path(format);
        if !target.exists() {
            export(&out, &["--format", format, "--template", text(&model), "-o", text(&target)]).assert_code(0);
        }
        let config = std::fs::read_to_string(target.join(name)).unwrap();
        for word in says {
            assert!(config.contains(word), "{name} lacks {word}: {config}");
        }
        let recipe = target.join(format!("{format}_reward.py"));
        assert_eq!(recipe.is_file(), matches!(format, "trl" | "swift" | "verl"), "{}", recipe.display());
        let listed = std::fs::read_to_string(target.join("export.json")).unwrap();
        assert!(listed.contains("\"proven_with\""), "{listed}");
    }
    let texts = workspace.path("axolotl-text");
    let arguments = ["--format", "axolotl", "--layout", "text", "--template", text(&model), "-o", text(&texts)];
    export(&out, &arguments).assert_code(0);
    let config = std::fs::read_to_string(texts.join("axolotl-kto.yaml")).unwrap();
    assert!(config.contains("remove_unused_columns: false"), "{config}");
    let older = workspace.path("verl-older");
    let outcome = export(&out, &["--format", "verl", "--trainer-version", "0.7.0", "-o", text(&older)]).assert_code(0);
    outcome.assert_says(&["warning: verl sft: fsdp_sft_trainer", "not the end token"]);
    let config = std::fs::read_to_string(older.join("verl-sft.yaml")).unwrap();
    assert!(config.contains("fsdp_sft_trainer") && config.contains("response_key: response"), "{config}");
}

#[test]
fn rows_that_a_limit_cuts_are_named_by_a_warning() {
    let workspace = Workspace::new(3, &[]);
    let out = workspace.run_whole("out", &[]);
    let target = workspace.path("trl");
    let arguments = ["--format", "trl", "--task", "sft", "--max-length", "20", "-o", text(&target)];
    let outcome = export(&out, &arguments).assert_code(0);
    outcome.assert_says(&["warning: trl sft: --max-length 20", "cut", "q001 (think_"]);
    let config = std::fs::read_to_string(target.join("trl-sft.yaml")).unwrap();
    assert!(config.contains("max_length: 20 ") && config.contains("longer rows are cut"), "{config}");
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
        (
            vec!["--format", "swift", "-o", "x", "--task", "rl", "--layout", "text"],
            "would render a finished prompt twice",
        ),
        (vec!["--format", "verl", "-o", "x", "--trainer-version", "new"], "is not a version such as 0.9.1"),
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
