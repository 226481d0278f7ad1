//! Common names of the fields in public datasets, the most likely name first.

use super::FieldNames;

/// A name, or a path into nested objects.
pub(super) type Candidate = &'static str;

/// Names of columns with the text that a question in another column is about.
pub(super) const CONTEXTS: [Candidate; 7] =
    ["context", "passage", "body", "paragraph", "background", "premise", "article"];

/// Names of columns that contain one choice each.
pub(super) const CHOICE_COLUMNS: [&[&str]; 5] = [
    &["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"],
    &["a", "b", "c", "d", "e"],
    &["opa", "opb", "opc", "opd", "ope"],
    &["option_a", "option_b", "option_c", "option_d", "option_e"],
    &["option1", "option2", "option3", "option4", "option5"],
];

const KIND: &[Candidate] = &["kind", "answer_type", "question_type", "problem_type", "task_type", "type"];
const QUESTION: &[Candidate] = &[
    "question",
    "problem",
    "prompt",
    "query",
    "instruction",
    "input",
    "messages",
    "conversations",
    "conversation",
    "question_text",
    "problem_text",
    "problem_statement",
    "question_content",
    "question_stem",
    "informal_statement",
    "user_prompt",
    "task",
    "stem",
    "ctx",
    "text",
    "content",
    "body",
    "extra_info.question",
];
const CHOICES: &[Candidate] = &["choices", "options", "answer_choices", "candidates", "endings", "mc1_targets.choices"];
const TESTS: &[Candidate] = &[
    "tests",
    "test_list",
    "test_cases",
    "unit_tests",
    "public_test_cases",
    "input_output",
    "test",
    "test_code",
    "extra_info.tests",
];
const ANSWER: &[Candidate] = &[
    "answer",
    "final_answer",
    "ground_truth",
    "gold",
    "target",
    "label",
    "reward_model.ground_truth",
    "expected_answer",
    "gold_answer",
    "correct_answer",
    "reference_answer",
    "answer_key",
    "answers",
    "correct_option",
    "correct",
    "cop",
    "expected_output",
    "expected",
    "final_decision",
    "numerical_answer",
    "gt",
    "gt_answer",
    "reference",
    "extra_info.answer",
    "extra_info.ground_truth",
    "metadata.answer",
    "metadata.ground_truth",
    "canonical_solution",
    "solution",
    "reference_solution",
    "output",
    "response",
    "completion",
    "code",
];
const ID: &[Candidate] = &[
    "id",
    "_id",
    "uid",
    "uuid",
    "unique_id",
    "question_id",
    "problem_id",
    "query_id",
    "task_id",
    "example_id",
    "qid",
    "idx",
    "index",
    "extra_info.id",
    "extra_info.index",
];
const TEST_IMPORTS: &[Candidate] = &["test_imports", "test_setup_code"];
const ENTRY_POINT: &[Candidate] = &["entry_point", "fn_name"];
const SOURCE: &[Candidate] = &["source", "data_source", "dataset", "dataset_name", "source_dataset"];
const SUBJECT: &[Candidate] = &["subject", "topic", "subject_name", "type", "field"];

/// Returns the fields to search for, in the order of the search, with their candidate names.
pub(super) const fn candidates() -> [(&'static str, &'static [Candidate]); 10] {
    [
        ("kind", KIND),
        ("question", QUESTION),
        ("choices", CHOICES),
        ("tests", TESTS),
        ("answer", ANSWER),
        ("id", ID),
        ("test_imports", TEST_IMPORTS),
        ("entry_point", ENTRY_POINT),
        ("source", SOURCE),
        ("subject", SUBJECT),
    ]
}

/// Returns the column name of a field.
pub(super) fn of<'a>(fields: &'a FieldNames, field: &str) -> &'a str {
    fields.names().into_iter().find(|(known, _)| *known == field).map_or("", |(_, name)| name)
}

/// Returns whether a value can be the tests of a program. A name that is not specific needs a value that is.
pub(super) fn can_be_tests(name: &str, json: &str) -> bool {
    match name {
        "test" | "test_code" => json.contains("assert") || json.contains("def "),
        "input_output" => json.contains("inputs"),
        "test_cases" | "unit_tests" | "extra_info.tests" | "test_list" | "public_test_cases" | "tests" => {
            !matches!(json.trim(), "[]" | "\"\"" | "{}" | "\"[]\"")
        }
        _ => true,
    }
}
