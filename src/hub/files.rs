//! Chooses the files of a repository that make up a model.
//!
//! A directory of safetensors needs the config, the tokenizer, the chat template and the weights in the root; copies in
//! other formats (`original/`, `.bin`, ONNX) are skipped. A GGUF file is a whole model.

/// Files that are downloaded with the weights, if they exist.
const NAMES: &[&str] = &[
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    TOKENIZER,
    CONFIG,
];
/// The config of a model.
pub(super) const CONFIG: &str = "config.json";
/// The tokenizer of a model.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// The index that maps tensors to files, for several weight files.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The maximum number of names in an error.
const LISTED_MAX: usize = 40;

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// One GGUF file.
    Gguf(String),
    /// The files of a directory, the config last: a directory with a config has all the other files.
    Directory(Vec<String>),
}

impl Choice {
    /// Returns the files, in the order in which their links are created.
    pub(super) fn files(&self) -> &[String] {
        match self {
            Self::Gguf(file) => std::slice::from_ref(file),
            Self::Directory(files) => files,
        }
    }
}

/// Chooses from all names of a repository, or returns why no choice is possible.
pub(super) fn choose(names: &[String], file: Option<&str>) -> Result<Choice, String> {
    let mut ggufs: Vec<&str> = names.iter().map(String::as_str).filter(|name| name.ends_with(".gguf")).collect();
    ggufs.sort_unstable();
    if let Some(file) = file {
        return match ggufs.contains(&file) {
            true => Ok(Choice::Gguf(file.to_owned())),
            false => Err(format!("the repository has no file {file}; {}", listed(&ggufs))),
        };
    }
    let weights = weights(names);
    if weights.is_empty() {
        return match ggufs.as_slice() {
            [one] => Ok(Choice::Gguf((*one).to_owned())),
            [] => Err("the repository has neither .safetensors nor .gguf files".to_owned()),
            _ => Err(format!("the repository has several models, and policy.model names no file; {}", listed(&ggufs))),
        };
    }
    if let Some(absent) = [CONFIG, TOKENIZER].iter().find(|wanted| !names.iter().any(|name| name == *wanted)) {
        return Err(format!("the repository has no {absent}"));
    }
    let others = NAMES.iter().filter(|wanted| names.iter().any(|name| name == *wanted)).map(|name| (*name).to_owned());
    Ok(Choice::Directory(weights.into_iter().map(str::to_owned).chain(others).collect()))
}

/// Returns the optional files that a repository lacks.
pub(super) fn absent(names: &[String]) -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied().filter(|wanted| !names.iter().any(|name| name == wanted))
}

/// Returns the optional names, to check a directory for them.
pub(super) fn optional() -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied().filter(|name| !matches!(*name, CONFIG | TOKENIZER | INDEX))
}

/// Returns the weights in the root: those with the usual names, else all.
fn weights(names: &[String]) -> Vec<&str> {
    let is_usual = |name: &str| {
        let stem = name.strip_suffix(".safetensors").and_then(|stem| stem.strip_prefix("model"));
        stem.is_some_and(|stem| stem.is_empty() || (stem.starts_with('-') && stem.contains("-of-")))
    };
    let in_root = names.iter().map(String::as_str).filter(|name| !name.contains('/') && name.ends_with(".safetensors"));
    let mut all: Vec<&str> = in_root.collect();
    if all.iter().any(|name| is_usual(name)) {
        all.retain(|name| is_usual(name));
    }
    all.sort_unstable();
    all
}

/// Lists the .gguf files of a repository for an error message.
fn listed(ggufs: &[&str]) -> String {
    let more = ggufs.len().saturating_sub(LISTED_MAX);
    let names = ggufs.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    match (ggufs.is_empty(), more) {
        (true, _) => "it has no .gguf file".to_owned(),
        (false, 0) => format!("its .gguf files: {names}"),
        (false, more) => format!("its .gguf files: {names} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose_from(names: &[&str], file: Option<&str>) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        choose(&names, file).map(|choice| choice.files().to_vec())
    }

    #[test]
    fn a_directory_of_safetensors_is_taken_without_its_duplicates_and_with_the_config_last() {
        let names = [
            ".gitattributes",
            "README.md",
            "config.json",
            "consolidated.safetensors",
            "model-00002-of-00002.safetensors",
            "model-00001-of-00002.safetensors",
            "model.fp16.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
            "original/model.safetensors",
            "pytorch_model.bin",
            "q4.gguf",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        let expected = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer_config.json",
            "tokenizer.json",
            "config.json",
        ];
        assert_eq!(choose_from(&names, None).unwrap(), expected);
        assert_eq!(choose_from(&names, Some("q4.gguf")).unwrap(), ["q4.gguf"]);
        let odd = ["a.safetensors", "config.json", "tokenizer.json"];
        assert_eq!(choose_from(&odd, None).unwrap(), ["a.safetensors", "tokenizer.json", "config.json"]);
    }

    #[test]
    fn one_gguf_file_is_taken_and_several_are_listed() {
        assert_eq!(choose_from(&["README.md", "config.json", "a.gguf"], None).unwrap(), ["a.gguf"]);
        let error = choose_from(&["b.gguf", "a.gguf"], None).unwrap_err();
        assert!(error.contains("a.gguf, b.gguf"), "{error}");
        let error = choose_from(&["a.gguf"], Some("c.gguf")).unwrap_err();
        assert!(error.contains("no file c.gguf") && error.contains("a.gguf"), "{error}");
        let many: Vec<String> = (0..50).map(|index| format!("{index:02}.gguf")).collect();
        assert!(choose(&many, None).unwrap_err().ends_with("39.gguf and 10 more"));
    }

    #[test]
    fn repositories_without_a_model_are_refused() {
        for (names, problem) in [
            (&["README.md"][..], "neither"),
            (&["pytorch_model.bin", "config.json", "tokenizer.json"], "neither"),
            (&["model.safetensors", "tokenizer.json"], "no config.json"),
            (&["model.safetensors", "config.json"], "no tokenizer.json"),
        ] {
            let error = choose_from(names, None).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
