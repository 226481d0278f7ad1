//! Tests of every trainer, flavour and layout against common chat templates.

use std::path::{Path, PathBuf};

use super::check::{Problem, check};
use super::layout::{Item, lay_out};
use super::pairs::pairs;
use super::render::render;
use super::*;
use crate::shards::{MessageRow, RolloutRow, SampleRow, Table, encode, read_rows};

const TEMPLATES: [&str; 7] = ["qwen3", "qwen3_5", "deepseek_r1", "smollm2", "smollm3", "granite", "llama3"];

fn template(name: &str) -> ModelTemplate {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/templates").join(name);
    ModelTemplate::read(&path).unwrap()
}

fn sample(mode: &str) -> SampleRow {
    let text = str::to_owned;
    SampleRow {
        query_id: text("q"),
        ordinal: 7,
        source: text("gsm8k"),
        kind: text("math"),
        question: text("What is 1 + 1?"),
        gold: text("2"),
        mode: text(mode),
        mode_reason: text("higher_pass_rate"),
        pass_rate_on: 1.0,
        pass_rate_off: 0.5,
        sampled_on: 2,
        sampled_off: 2,
        correct_on: 2,
        correct_off: 1,
        other_mode_on: 0,
        other_mode_off: 1,
        difficulty: text("easy"),
        difficulty_score: 0.1,
        difficulty_low: 0.0,
        difficulty_high: 0.4,
        subject: None,
        category: Some(text("math")),
        variant_of: None,
        extra: None,
        justification: Some(text("It takes a step or two.")),
        judge_model: Some(text("judge")),
        justification_status: text("accepted"),
        thinking: (mode == "think_on").then(|| text("1 + 1\n\nis \u{2464}, no, 2")),
        answer: text("So \\boxed{2}."),
        messages: Vec::<MessageRow>::new(),
        prompt: text("What is 1 + 1?"),
        completion: String::new(),
        completion_tokens: 9,
        policy_model: text("tiny"),
        policy_revision: text("abc"),
        prompt_version: text("p1"),
        seed: 1,
    }
}

fn rollout(mode: &str, sample_index: i32, verdict: &str, completion_tokens: i32) -> RolloutRow {
    let text = str::to_owned;
    RolloutRow {
        query_id: text("q"),
        ordinal: 7,
        mode: text(mode),
        sample_index,
        seed: 1,
        prompt: String::new(),
        text: String::new(),
        thinking: (mode == "think_on").then(|| format!("thought {sample_index}")),
        answer: format!("answer {mode} {sample_index}"),
        finish_reason: text("stop"),
        verdict: text(verdict),
        extracted: None,
        verdict_reason: String::new(),
        prompt_tokens: 3,
        completion_tokens,
        policy_model: text("tiny"),
        observed_mode: text(mode),
        forced_close: None,
        logprob_sum: None,
        length_estimated: false,
    }
}

fn rows(flavour: Flavour) -> Vec<TrainingRow> {
    ["think_on", "think_off"].map(|mode| TrainingRow::new(&sample(mode), flavour).unwrap()).to_vec()
}

fn problems(plan: Plan, model: &ModelTemplate) -> Vec<Problem> {
    rows(plan.flavour).iter().flat_map(|row| check(plan, Task::Sft, row, model).problems).collect()
}

#[test]
fn the_naive_export_is_refused_where_a_template_mangles_it_and_the_lost_text_is_named() {
    let plan = Plan::newest(Format::Trl, Flavour::Auto, Layout::Messages);
    let found = problems(plan, &template("qwen3"));
    let lost: Vec<(&str, &str)> = found
        .iter()
        .filter_map(|problem| match problem {
            Problem::Lost { part, text } => Some((*part, text.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        lost,
        [("judge block", "<judge>\nIt takes a step or two.\n</judge>"), ("mode tag", "<think_on>")],
        "{found:?}"
    );
    assert!(found.contains(&Problem::Inserted("<think>\n\n</think>\n\n".to_owned())), "{found:?}");
    let mangled = |format, flavour| {
        let plan = Plan::newest(format, flavour, Layout::Messages);
        TEMPLATES.into_iter().filter(|name| !problems(plan, &template(name)).is_empty()).collect::<Vec<_>>()
    };
    use Flavour::{Auto, Controlled};
    assert_eq!(mangled(Format::Trl, Auto), ["qwen3", "qwen3_5", "deepseek_r1"]);
    assert_eq!(mangled(Format::Axolotl, Auto), ["qwen3", "qwen3_5", "deepseek_r1"]);
    assert_eq!(mangled(Format::Verl, Auto), ["qwen3", "qwen3_5", "deepseek_r1"]);
    assert_eq!(mangled(Format::LlamaFactory, Auto), ["qwen3_5", "deepseek_r1"], "it cannot follow these templates");
    assert_eq!(mangled(Format::Swift, Auto), Vec::<&str>::new(), "the export brings a template of its own");
    let older = Plan { version: TrainerVersion(0, 7, 0), ..Plan::newest(Format::Verl, Auto, Layout::Messages) };
    assert_eq!(problems(older, &template("qwen3")), [], "its prompt is the template's");
    // With the mode passed to the template, the template's own think block is the response's.
    assert_eq!(mangled(Format::Trl, Controlled), ["deepseek_r1"]);
}

#[test]
fn finished_text_and_wrapped_templates_keep_every_response_whole_with_loss_on_all_of_it() {
    for name in TEMPLATES {
        for &format in Format::ALL {
            for &flavour in Flavour::ALL {
                let wrapped = template(name).wrap().unwrap();
                let mut cases = vec![(Layout::Messages, wrapped)];
                if format != Format::Verl {
                    cases.push((Layout::Text, template(name)));
                }
                for (layout, model) in cases {
                    let plan = Plan::newest(format, flavour, layout);
                    for row in rows(flavour) {
                        let rendered = render(plan, Task::Sft, &row, &model).unwrap();
                        let learnt = &rendered.text[rendered.loss_start..rendered.loss_end];
                        assert!(learnt.starts_with(&row.response), "{name} {plan:?}: {learnt:?}");
                        assert_eq!(check(plan, Task::Sft, &row, &model).problems, [], "{name} {plan:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_mode_decision_carries_loss_where_the_model_chooses_and_stands_in_the_prompt_where_the_user_does() {
    let model = template("smollm2");
    for &format in Format::ALL {
        let split = |flavour| {
            let plan = Plan::newest(format, flavour, Layout::Messages);
            let row = &rows(flavour)[1];
            let rendered = render(plan, Task::Sft, row, &model).unwrap();
            let (prompt, learnt) = rendered.text.split_at(rendered.loss_start);
            (prompt.contains("<think_off>"), learnt.contains("<think_off>"), learnt.contains("<judge>"))
        };
        assert_eq!(split(Flavour::Auto), (false, true, true), "{format}");
        assert_eq!(split(Flavour::Controlled), (true, false, false), "{format}");
    }
}

#[test]
fn a_wrapped_template_serves_a_conversation_as_the_inner_one_does_but_for_think_blocks() {
    let inner = template("llama3");
    let wrapped = template("llama3").wrap().unwrap();
    let (user, assistant) = ("Hello @@loom-1@@ {{ x }}", "Bye.");
    let switch = model::Switch::Default;
    assert_eq!(wrapped.prompt(user, switch).unwrap(), inner.prompt(user, switch).unwrap());
    let inner = inner.conversation("Hello", assistant, switch).unwrap();
    assert_eq!(wrapped.conversation("Hello", assistant, switch).unwrap(), inner);
    let prefilled = template("deepseek_r1").wrap().unwrap();
    assert!(prefilled.prompt("Hello", switch).unwrap().ends_with("<\u{ff5c}Assistant\u{ff5c}>"));
}

#[test]
fn pairs_set_the_sample_against_a_longer_a_wrong_and_another_modes_response() {
    let rollouts = [
        rollout("think_on", 0, "correct", 9),
        rollout("think_on", 1, "correct", 30),
        rollout("think_on", 2, "incorrect", 5),
        rollout("think_off", 0, "incorrect", 2),
        rollout("think_off", 1, "correct", 4),
    ];
    let found = pairs(&sample("think_on"), &rollouts, Flavour::Auto);
    let told: Vec<(&str, i32, bool)> =
        found.iter().map(|pair| (pair.kind, pair.tokens.1, pair.rejected.response.contains("<think_off>"))).collect();
    assert_eq!(told, [("shorter", 30, false), ("correct", 5, false), ("mode", 4, true)]);
    assert!(found.iter().all(|pair| pair.chosen.user == pair.rejected.user));
    let shared = "<judge>\nIt takes a step or two.\n</judge>\n\n<think_o";
    assert!(found.iter().all(|pair| pair.rejected.response.starts_with(shared)));
    let kinds = |rollouts: &[RolloutRow], flavour| {
        pairs(&sample("think_on"), rollouts, flavour).iter().map(|pair| pair.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&rollouts, Flavour::Controlled), ["shorter", "correct"], "the user has chosen the mode");
    // A truncated response, one in another mode than requested, a blank one, and one with the template's own tags: none
    // can be rejected.
    let mut bad = rollouts[1..3].to_vec();
    bad[0].finish_reason = "length".to_owned();
    bad[1].answer = "<answer>".to_owned();
    assert_eq!(kinds(&bad, Flavour::Auto), Vec::<&str>::new());
    let mut random = sample("think_on");
    random.mode_reason = "random".to_owned();
    assert!(pairs(&random, &rollouts, Flavour::Auto).iter().all(|pair| pair.kind != "mode"));
}

#[test]
fn rows_have_the_columns_of_their_schema_and_hostile_text_stays_as_it_is() {
    let hostile =
        "<script>alert(1)</script>\u{0}\u{1b}[31m {{ raise_exception('x') }} {% endset %}\u{202e}abc @@loom-1@@";
    let mut sample = sample("think_off");
    sample.answer = hostile.to_owned();
    sample.prompt = format!("Q {hostile}");
    for &format in Format::ALL {
        for &flavour in Flavour::ALL {
            for &layout in Layout::ALL {
                let plan = Plan::newest(format, flavour, layout);
                let model = template("qwen3");
                let row = TrainingRow::new(&sample, flavour).unwrap();
                for &task in plan.tasks() {
                    let pair = Pair { kind: "mode", chosen: row.clone(), rejected: row.clone(), tokens: (1, 2) };
                    let item = match task {
                        Task::Dpo => Item::Pair(&pair),
                        Task::Kto => Item::Labelled(&row, true),
                        Task::Sft | Task::Rl => Item::Row(&row),
                    };
                    let laid = lay_out(plan, task, &item, Some(&model)).unwrap();
                    let text = laid.to_string();
                    let escaped = serde_json::to_string(hostile).unwrap();
                    assert!(text.contains(escaped.trim_matches('"')), "{plan:?} {task}: {text}");
                    if layout::file_kind(format) == layout::FileKind::Parquet
                        && (layout, format) != (Layout::Text, Format::Verl)
                    {
                        crate::shards::encode_as("rows", layout::schema(plan, task), &[laid]).unwrap();
                    }
                }
            }
        }
    }
}

/// Returns an output directory with these shards.
fn published(shards: &[Vec<SampleRow>]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join(Table::Samples.dir())).unwrap();
    for (index, samples) in (0..).zip(shards) {
        let bytes = encode(Table::Samples, samples).unwrap();
        std::fs::write(folder.path().join(Table::Samples.file_name(index)), bytes).unwrap();
    }
    folder
}

/// Returns the rows of a task in an export.
fn written(out: &Path, task: Task) -> Vec<serde_json::Value> {
    let entries = std::fs::read_dir(out.join(task.name())).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let lines = |path: &PathBuf| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let is_parquet = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    files.iter().flat_map(|path| if is_parquet(path) { read_rows(path).unwrap() } else { lines(path) }).collect()
}

#[test]
fn rl_rows_say_their_kind_and_programs_are_left_to_the_other_tasks() {
    let mut program = sample("think_off");
    (program.kind, program.gold) = ("code".to_owned(), String::new());
    let run = published(&[vec![sample("think_on")], vec![sample("think_off"), program]]);
    let source = Source::new(run.path(), vec![0, 1], None).unwrap();
    for format in [Format::Trl, Format::Verl, Format::Swift] {
        let plan = Plan::newest(format, Flavour::Auto, Layout::Messages);
        let tasks = [Task::Sft, Task::Rl];
        let options = WriteOptions {
            plan,
            tasks: &tasks,
            model: None,
            ships_template: false,
            overwrites: false,
            license: None,
            max_length: None,
            choices: &|_| Vec::new(),
        };
        let out = run.path().join(format.name());
        let report = write(&source, &out, &options).unwrap();
        assert_eq!(tasks.map(|task| (report[&task].rows, report[&task].left_out)), [(3, 0), (2, 1)], "{format}");
        assert_eq!(written(&out, Task::Sft).len(), 3, "{format}");
        let rows = written(&out, Task::Rl);
        let kinds: Vec<_> = rows.iter().map(|row| row.pointer("/extra_info/kind").unwrap_or(&row["kind"])).collect();
        assert_eq!(kinds, ["math", "math"], "{format}");
        let questions: Vec<_> =
            rows.iter().map(|row| row.pointer("/extra_info/question").unwrap_or(&row["question"])).collect();
        assert_eq!(questions, ["What is 1 + 1?"; 2], "{format}");
        let card = std::fs::read_to_string(out.join("README.md")).unwrap();
        assert!(card.contains("Rows of kind `code` that are not in `rl`: 1."), "{card}");
        let model = template("smollm2");
        let check = CheckOptions { plan, tasks: &tasks, model: &model, max_length: None, wants_tokens: false };
        let checked = check_all(&source, &check, &mut |_, _, _| Ok(())).unwrap();
        assert_eq!(
            (checked[&Task::Rl].rows, checked[&Task::Rl].left_out),
            (2, 1),
            "{format}: the check sees the same rows"
        );
    }
}

#[test]
fn a_model_without_a_template_and_a_template_that_writes_no_answer_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let error = ModelTemplate::read(folder.path()).unwrap_err();
    assert!(error.to_string().contains("no chat template"), "{error}");
    let file = folder.path().join("x.jinja");
    std::fs::write(&file, "{{ bos_token }}").unwrap();
    assert!(ModelTemplate::read(&file).unwrap_err().to_string().contains("drops the assistant's text"));
    std::fs::write(&file, "{% for %}").unwrap();
    assert!(matches!(ModelTemplate::read(&file).unwrap_err(), ExportError::Template(_)));
    let config = r#"{"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}"}], "eos_token": {"content": "</s>"}}"#;
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    assert_eq!(ModelTemplate::read(folder.path()).unwrap().end_of_turn(), "</s>");
}

/// Returns a model directory with a fixture's template and a post-processor in its tokenizer.json.
fn model_with(name: &str, post_processor: &str) -> (tempfile::TempDir, ModelTemplate) {
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/templates").join(name);
    let folder = tempfile::tempdir().unwrap();
    for file in ["chat_template.jinja", "tokenizer_config.json"] {
        std::fs::copy(fixture.join(file), folder.path().join(file)).unwrap();
    }
    let tokenizer = format!("{{\"post_processor\": {post_processor}}}");
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
    let model = ModelTemplate::read(folder.path()).unwrap();
    (folder, model)
}

const ADDS_BEGIN: &str = r#"{"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}]}"#;
const ADDS_NOTHING: &str = r#"{"type": "ByteLevel"}"#;

#[test]
fn a_finished_prompt_has_the_begin_token_exactly_if_the_trainers_tokenizer_adds_none() {
    let begins = |name: &str, post_processor: &str, format: Format, task: Task| {
        let (_folder, model) = model_with(name, post_processor);
        let plan = Plan::newest(format, Flavour::Auto, Layout::Text);
        let own = model.prompt("What is 1 + 1?", model::Switch::Default).unwrap();
        let row = &rows(Flavour::Auto)[1];
        let rendered = render(plan, task, row, &model).unwrap();
        assert_eq!(
            &rendered.text[..rendered.loss_start],
            own,
            "{name} {format} {task}: what is learnt is the model's own"
        );
        render::finish(plan, task, row, &model).unwrap().prompt == own
    };
    // SmolLM2's first token is its begin-of-sequence token, and its tokenizer adds none.
    for format in [Format::Trl, Format::Swift, Format::Axolotl, Format::LlamaFactory] {
        assert!(begins("smollm2", ADDS_NOTHING, format, Task::Sft), "{format}");
        assert!(begins("smollm2", ADDS_NOTHING, format, Task::Dpo), "{format}");
    }
    // Llama 3's tokenizer adds it where the trainer asks for special tokens.
    assert!(!begins("llama3", ADDS_BEGIN, Format::Trl, Task::Sft));
    assert!(!begins("llama3", ADDS_BEGIN, Format::Swift, Task::Sft));
    assert!(!begins("llama3", ADDS_BEGIN, Format::Axolotl, Task::Dpo));
    assert!(!begins("llama3", ADDS_BEGIN, Format::Axolotl, Task::Kto));
    assert!(begins("llama3", ADDS_BEGIN, Format::Axolotl, Task::Sft), "input_output adds nothing");
    assert!(begins("llama3", ADDS_BEGIN, Format::LlamaFactory, Task::Sft));
}

#[test]
fn what_a_tokenizer_adds_to_the_models_own_prompt_and_what_is_not_known_are_told() {
    let row = &rows(Flavour::Auto)[1];
    let found = |format, layout, task, model: &ModelTemplate| {
        check(Plan::newest(format, Flavour::Auto, layout), task, row, model).problems
    };
    // Qwen3's template writes no begin token.
    let (_folder, model) = model_with("qwen3", ADDS_BEGIN);
    let added = [Problem::Added("<|begin_of_text|>".to_owned())];
    assert_eq!(found(Format::Trl, Layout::Text, Task::Sft, &model), added);
    assert_eq!(found(Format::Trl, Layout::Text, Task::Rl, &model), added);
    assert_eq!(found(Format::LlamaFactory, Layout::Text, Task::Sft, &model), [], "it adds nothing");
    // axolotl tokenizes the prompts of preferences with special tokens, and the template has written one.
    let (_folder, model) = model_with("llama3", ADDS_BEGIN);
    let twice = found(Format::Axolotl, Layout::Messages, Task::Dpo, &model);
    assert_eq!(twice, added);
    assert_eq!(found(Format::Axolotl, Layout::Messages, Task::Sft, &model), []);
    // A tokenizer may put an end token after a text.
    let ends = r#"{"type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}]}"#;
    let (_folder, model) = model_with("smollm2", ends);
    let added = [Problem::Added("<|im_end|>".to_owned())];
    for task in [Task::Sft, Task::Rl, Task::Dpo, Task::Kto] {
        assert_eq!(found(Format::Trl, Layout::Text, task, &model), added, "{task}");
    }
    assert_eq!(found(Format::Trl, Layout::Messages, Task::Sft, &model), []);
    let [Problem::Refused(told)] = &found(Format::LlamaFactory, Layout::Messages, Task::Sft, &model)[..] else {
        unreachable!("it would begin every prompt with the end token")
    };
    assert!(told.contains("LLaMA-Factory cannot follow"), "{told}");
    assert_eq!(found(Format::LlamaFactory, Layout::Text, Task::Sft, &model), []);
    // A template alone does not say.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.jinja");
    std::fs::write(&file, template("llama3").source()).unwrap();
    let model = ModelTemplate::read(&file).unwrap();
    let [Problem::Refused(told)] = &found(Format::Trl, Layout::Text, Task::Sft, &model)[..] else { unreachable!() };
    assert!(told.contains("tokenizer.json"), "{told}");
    assert_eq!(found(Format::Trl, Layout::Messages, Task::Sft, &model), []);
}

#[test]
fn llamafactory_and_ms_swift_get_the_models_own_prompt_or_are_refused() {
    let row = &rows(Flavour::Auto)[1];
    for name in TEMPLATES {
        let model = template(name);
        let own = model.prompt(&row.user, model::Switch::Default).unwrap();
        for format in [Format::LlamaFactory, Format::Swift] {
            let plan = Plan::newest(format, Flavour::Auto, Layout::Messages);
            let Ok(rendered) = render(plan, Task::Sft, row, &model) else { continue };
            let prompt = &rendered.text[..rendered.loss_start];
            let block = if format == Format::Swift { render::open_block(&own) } else { "" };
            assert_eq!(prompt, &own[..own.len() - block.len()], "{name} {format}");
            assert!(
                rendered.text.ends_with(model.turn_tail()),
                "{name} {format}: the end of the turn is learnt as it is"
            );
        }
    }
    use model::Slots;
    use slots::llamafactory;
    assert_eq!(llamafactory(&template("smollm2")), Ok(Slots::FromTemplate), "with its system turn");
    assert_eq!(llamafactory(&template("qwen3")), Ok(Slots::Chatml), "it would put a think block before responses");
    assert!(llamafactory(&template("deepseek_r1")).unwrap_err().contains("begin with the prompt"));
}

#[test]
fn llamafactory_is_refused_a_model_with_several_chat_templates_because_it_uses_none_of_them() {
    let row = &rows(Flavour::Auto)[1];
    let plan = Plan::newest(Format::LlamaFactory, Flavour::Auto, Layout::Messages);
    let (folder, model) = model_with("smollm2", ADDS_NOTHING);
    assert_eq!(check(plan, Task::Sft, row, &model).problems, []);
    std::fs::create_dir(folder.path().join("additional_chat_templates")).unwrap();
    let model = ModelTemplate::read(folder.path()).unwrap();
    let is_told = |model: &ModelTemplate| matches!(&check(plan, Task::Sft, row, model).problems[..], [Problem::Refused(told)] if told.contains("by name"));
    assert!(is_told(&model));
    assert!(is_told(&model.wrap().unwrap()), "the other files stay beside the export's");
    // Named templates in the config give way to a file.
    let template = template("smollm2").source().to_owned();
    let named = serde_json::json!({"eos_token": "<|im_end|>", "chat_template": [
        {"name": "default", "template": template}, {"name": "tool_use", "template": "x"}]});
    std::fs::remove_dir(folder.path().join("additional_chat_templates")).unwrap();
    std::fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), named.to_string()).unwrap();
    let model = ModelTemplate::read(folder.path()).unwrap();
    assert!(is_told(&model));
    assert_eq!(check(plan, Task::Sft, row, &model.wrap().unwrap()).problems, []);
}

#[test]
fn a_think_block_that_carries_no_loss_though_no_prompt_opens_it_is_told() {
    let plan = Plan::newest(Format::Axolotl, Flavour::Controlled, Layout::Messages);
    let found = problems(plan, &template("qwen3"));
    let is_silent = |problem: &Problem| matches!(problem, Problem::Unlearnt(text) if text.contains("<think>"));
    assert!(found.iter().any(is_silent), "{found:?}");
}

#[test]
fn verls_rows_are_those_of_its_version() {
    let row = &rows(Flavour::Auto)[0];
    let columns = |version: &str| {
        let plan =
            Plan { version: version.parse().unwrap(), ..Plan::newest(Format::Verl, Flavour::Auto, Layout::Messages) };
        let row = lay_out(plan, Task::Sft, &Item::Row(row), None).unwrap();
        (row.get("messages").is_some(), row.get("prompt").is_some() && row.get("response").is_some())
    };
    assert_eq!(["0.9.1", "0.7.1", "0.10", "1"].map(columns), [(true, false); 4]);
    assert_eq!(["0.7.0", "0.6.1rc1"].map(columns), [(false, true); 2]);
    assert!("new".parse::<TrainerVersion>().is_err());
}

#[test]
fn limits_hold_the_longest_row_and_name_those_that_they_cut() {
    use lengths::{Lengths, Limits};
    let longest = Lengths { prompt: 40, response: 6_000, row: 6_040 };
    assert_eq!(Limits::new(longest, None), Limits { row: 6_144, prompt: 256, completion: 12_032 });
    assert_eq!(Limits::new(longest, Some(4_096)), Limits { row: 4_096, prompt: 256, completion: 4_096 });
    let mut long = sample("think_on");
    long.thinking = Some("step ".repeat(6_000));
    long.query_id = "long".to_owned();
    let run = published(&[vec![sample("think_off"), long]]);
    let source = Source::new(run.path(), vec![0], None).unwrap();
    for &format in Format::ALL {
        let plan = Plan::newest(format, Flavour::Auto, Layout::Messages);
        let model = template("llama3");
        let tasks: Vec<Task> =
            plan.tasks().iter().copied().filter(|task| matches!(task, Task::Sft | Task::Rl)).collect();
        let options = |max_length| WriteOptions {
            plan,
            tasks: &tasks,
            model: Some(&model),
            ships_template: false,
            overwrites: true,
            license: None,
            max_length,
            choices: &|_| Vec::new(),
        };
        let out = run.path().join(format.name());
        let report = write(&source, &out, &options(None)).unwrap();
        for (task, entry) in &report {
            assert_eq!(entry.cut, Vec::<String>::new(), "{format} {task}");
            let limits = Limits::new(entry.lengths, None);
            assert!(entry.lengths.row > 30_000 && limits.row >= entry.lengths.row, "{format} {task}: {entry:?}");
            let names = ["yaml", "sh"].map(|ending| out.join(format!("{format}-{task}.{ending}")));
            let config = names.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap();
            let limit = if *task == Task::Rl { limits.completion } else { limits.row };
            assert!(config.contains(&limit.to_string()), "{format} {task}: {config}");
        }
        let report = write(&source, &out, &options(Some(1_000))).unwrap();
        for (task, entry) in &report {
            assert!(entry.cut[0].starts_with("long (think_on): 3"), "{format} {task}: {:?}", entry.cut);
        }
        let list = std::fs::read_to_string(out.join("export.json")).unwrap();
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!((&list["limits"]["sft"]["row"], list["cut"]["sft"].as_array().unwrap().len()), (&1_000.into(), 1));
        assert_eq!(list["proven_with"][0], list["trainer_version"], "{format}");
    }
}

#[test]
fn neighbours_of_kto_have_other_queries_and_other_responses() {
    let query = |ordinal: i64| {
        let mut sample = sample("think_off");
        (sample.ordinal, sample.query_id) = (ordinal, format!("q{ordinal}"));
        // Two of them have one answer.
        sample.answer = format!("{}", ordinal / 2);
        sample
    };
    let samples: Vec<SampleRow> = (0..4).map(query).collect();
    let rows: Vec<TrainingRow> = samples.iter().filter_map(|sample| TrainingRow::new(sample, Flavour::Auto)).collect();
    let found: Vec<Pair> = samples
        .iter()
        .flat_map(|sample| {
            let mut rollouts = [rollout("think_off", 0, "incorrect", 5), rollout("think_off", 1, "correct", 30)];
            for rollout in &mut rollouts {
                rollout.answer = format!("{} {}", sample.query_id, rollout.answer);
            }
            pairs(sample, &rollouts, Flavour::Auto)
        })
        .collect();
    let items = files::labelled(&rows, &found);
    let told: Vec<(&str, &str)> = items
        .iter()
        .map(|item| match item {
            Item::Labelled(row, _) => (row.query_id.as_str(), row.response.as_str()),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(told.len(), 12);
    assert!(told.windows(2).all(|pair| pair[0].0 != pair[1].0 && pair[0].1 != pair[1].1), "{told:?}");
}
