//! Chat templates of the supported model families, reduced to the parts that decide the mode: the prompts, and the
//! parsing of the responses.

use super::*;
use crate::config::ModePresetName;
use crate::domain::{ByMode, FinishReason, Kind, Query, QueryId};
use crate::template::{ObservedResponse, read_response};

const TURNS: &str =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}";

/// The first, hybrid release: the model writes the block itself.
const QWEN3: &str = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}\
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}";

/// Later hybrids: the generation prompt opens the block.
const QWEN35: &str = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}\
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}\
    {%- else %}{{- '<think>\n' }}{%- endif %}{%- endif %}";

/// A release that always thinks.
const QWEN3_THINKING: &str = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}";

/// A release that never thinks.
const QWEN3_INSTRUCT: &str = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}";

const SMOLLM3: &str = "{%- if enable_thinking is not defined %}{%- set enable_thinking = true %}{%- endif %}\
    {{- '<|im_start|>system\nReasoning Mode: ' ~ ('/think' if enable_thinking else '/no_think') ~ '<|im_end|>\n' }}TURNS\
    {%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}\
    {%- if not enable_thinking %}{{- '<think>\n\n</think>\n' }}{%- endif %}{%- endif %}";

const GRANITE: &str = "{%- if thinking %}{{- '<|start_of_role|>system<|end_of_role|>Write your thoughts between <think></think> \
    and write your response between <response></response>.<|end_of_text|>\n' }}{%- endif %}\
    {%- for m in messages %}{{- '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\n' }}{%- endfor %}\
    {%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}";

/// The later of DeepSeek-R1's templates; the earlier template ends without the block.
const DEEPSEEK_R1: &str = "{%- for m in messages %}{{- '<\u{ff5c}User\u{ff5c}>' + m.content }}{%- endfor %}\
    {%- if add_generation_prompt %}{{- '<\u{ff5c}Assistant\u{ff5c}><think>\n' }}{%- endif %}";

/// Renders both prompts of a query, under the preset that a config name gives for a template.
fn render(name: ModePresetName, template: &str) -> (Preset, ByMode<RenderedPrompt>) {
    let template = match template {
        template if template.contains("TURNS") => template.replace("TURNS", TURNS),
        template if template.contains("for m in") => template.to_owned(),
        template => format!("{TURNS}{template}"),
    };
    let preset = Preset::resolve(name, &template);
    let query = Query {
        id: QueryId("q".to_owned()),
        // A question that ends in the tag must not count as the model's own tag.
        question: "What is 1 + 1? <think>".to_owned(),
        gold: "2".to_owned(),
        ..Query::blank(Kind::Numeric)
    };
    (preset, Prompter::new(&template, "<s>", "</s>", preset).unwrap().render(&query).unwrap())
}

/// The parsed response after the end of the prompt that belongs to it.
fn read(prompt: &RenderedPrompt, text: &str, requested: Mode, finish: FinishReason) -> (Option<String>, String, Mode) {
    assert!(prompt.text.ends_with(&prompt.prefill));
    let ObservedResponse { thinking, answer, mode } =
        read_response(&format!("{}{text}", prompt.prefill), requested, finish);
    (thinking, answer, mode)
}

/// The cases of every family: thinking, an empty block, truncated thinking, an answer without a block.
fn check_reading(prompts: &ByMode<RenderedPrompt>, opener: &str) {
    use FinishReason::{Length, Stop};
    let on = |text: &str, finish| read(&prompts.on, text, Mode::ThinkOn, finish);
    let off = |text: &str, finish| read(&prompts.off, text, Mode::ThinkOff, finish);
    let thought = (Some("A".to_owned()), "B".to_owned(), Mode::ThinkOn);
    let plain = (None, "B".to_owned(), Mode::ThinkOff);
    assert_eq!(on(&format!("{opener}A\n</think>\n\nB"), Stop), thought);
    assert_eq!(on(&format!("{opener}A is"), Length), (Some("A is".to_owned()), String::new(), Mode::ThinkOn));
    assert_eq!(on(&format!("{opener}\n</think>\n\nB"), Stop), plain, "an empty block is Think-off");
    assert_eq!(off("B", Stop), plain);
    assert_eq!(off("B", Length), plain, "a partial answer is no thought");
    assert_eq!(off("<think>\n\n</think>\n\nB", Stop), plain, "the model writes the empty block itself");
}

#[test]
fn qwen3_hybrids_are_switched_by_their_template() {
    let (preset, prompts) = render(ModePresetName::Auto, QWEN3);
    assert_eq!(preset, Preset::Qwen3);
    assert!(prompts.on.text.ends_with("<|im_start|>assistant\n"));
    assert_eq!((prompts.on.prefill.as_str(), prompts.off.prefill.as_str()), ("", "<think>\n\n</think>\n\n"));
    check_reading(&prompts, "<think>\n");
    let soft = read(&prompts.off, "<think>A</think>B", Mode::ThinkOff, FinishReason::Stop);
    assert_eq!(soft.2, Mode::ThinkOn, "a model that thinks all the same is seen");
}

#[test]
fn later_qwen_hybrids_have_the_opener_in_the_prompt() {
    let (preset, prompts) = render(ModePresetName::Auto, QWEN35);
    assert_eq!(preset, Preset::Qwen3);
    assert_eq!((prompts.on.prefill.as_str(), prompts.off.prefill.as_str()), ("<think>\n", "<think>\n\n</think>\n\n"));
    check_reading(&prompts, "");
}

#[test]
fn thinking_only_qwen_gets_its_block_closed_for_think_off() {
    let (preset, prompts) = render(ModePresetName::Auto, QWEN3_THINKING);
    assert_eq!(preset, Preset::DeepseekR1);
    assert!(prompts.on.text.ends_with("assistant\n<think>\n") && prompts.off.text.ends_with("<think>\n\n</think>\n\n"));
    assert_eq!((prompts.on.prefill.as_str(), prompts.off.prefill.as_str()), ("<think>\n", "<think>\n\n</think>\n\n"));
    check_reading(&prompts, "");
    // The same template under a preset whose switch it does not support.
    assert_eq!(Preset::Qwen3.opening(Mode::ThinkOff, &prompts.on.text, ""), "\n</think>\n\n");
}

#[test]
fn instruct_only_qwen_is_prompted() {
    let (preset, prompts) = render(ModePresetName::Auto, QWEN3_INSTRUCT);
    assert_eq!(preset, Preset::Prompted);
    assert!(prompts.on.close.is_some());
    assert_eq!((prompts.on.prefill.as_str(), prompts.off.prefill.as_str()), ("<think>\n", "\\boxed{"));
}

#[test]
fn smollm3_is_switched_by_its_template() {
    let (preset, prompts) = render(ModePresetName::Auto, SMOLLM3);
    assert_eq!(preset, Preset::Smollm3);
    assert!(prompts.on.text.contains("Reasoning Mode: /think<") && prompts.off.text.contains("/no_think"));
    assert_eq!((prompts.on.prefill.as_str(), prompts.off.prefill.as_str()), ("", "<think>\n\n</think>\n"));
    check_reading(&prompts, "<think>\n");
}

#[test]
fn granite_is_switched_by_its_template_and_its_response_tags_are_taken_off() {
    let (preset, prompts) = render(ModePresetName::Auto, GRANITE);
    assert_eq!(preset, Preset::Granite);
    assert!(prompts.on.text.contains("Write your thoughts") && !prompts.off.text.contains("Write your thoughts"));
    assert_eq!((prompts.on.prefill.as_str(), prompts.off.prefill.as_str()), ("", ""));
    check_reading(&prompts, "<think>");
    let text = "<think>A</think>\n<response>B</response>";
    let read = read(&prompts.on, text, Mode::ThinkOn, FinishReason::Stop);
    assert_eq!(read, (Some("A".to_owned()), "B".to_owned(), Mode::ThinkOn));
}

#[test]
fn deepseek_r1_is_prefilled_whether_or_not_the_template_opens_the_block() {
    assert_eq!(render(ModePresetName::Auto, DEEPSEEK_R1).0, Preset::DeepseekR1);
    for template in [DEEPSEEK_R1.to_owned(), DEEPSEEK_R1.replace("><think>\n", ">")] {
        let (_, prompts) = render(ModePresetName::DeepseekR1, &template);
        assert!(prompts.on.text.ends_with("<\u{ff5c}Assistant\u{ff5c}><think>\n"), "{}", prompts.on.text);
        assert!(prompts.off.text.ends_with("<think>\n\n</think>\n\n"));
        assert_eq!(
            (prompts.on.prefill.as_str(), prompts.off.prefill.as_str()),
            ("<think>\n", "<think>\n\n</think>\n\n")
        );
        check_reading(&prompts, "");
        check_reading(&prompts, "<think>\n");
    }
}
