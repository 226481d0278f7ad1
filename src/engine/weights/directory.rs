//! A model directory as transformers writes it: `config.json`, one safetensors file or several with an index, and the
//! tokenizer's files.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::json::JsonObject;
use super::parts::{Part, PartRules, Presence, parts_of, transformers_name};
use super::raw::RawTensor;
use super::safetensors::SafetensorsFile;
use crate::error::{EngineError, shown};
use crate::model::ModelConfig;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Files, in addition to the weights, that decide the model's output.
pub(super) const SIDE_FILES: &[&str] = &[
    CONFIG,
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// An opened model directory.
pub struct ModelDirectory {
    path: PathBuf,
    config: JsonObject,
    files: Vec<SafetensorsFile>,
    /// Tensor names, each with the index of its file.
    owners: BTreeMap<String, usize>,
}

impl ModelDirectory {
    /// Opens a directory and checks the headers of all its safetensors files.
    ///
    /// # Errors
    /// [`EngineError::Io`] if a file is missing or cannot be read, [`EngineError::Malformed`] if a file is damaged or
    /// the index does not describe the files, [`EngineError::Unsupported`] if the weights have another format.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let unsupported = |detail: &str| EngineError::Unsupported { path: path.to_owned(), detail: detail.to_owned() };
        let config_path = path.join(CONFIG);
        if !config_path.exists() {
            return Err(unsupported("the directory has no config.json; use a GGUF file or a Hugging Face directory"));
        }
        let config = JsonObject::open(&config_path)?;
        let (files, owners) = if path.join(WEIGHTS).exists() {
            single(&path.join(WEIGHTS))?
        } else if path.join(INDEX).exists() {
            sharded(path)?
        } else {
            return Err(unsupported("it has neither model.safetensors nor model.safetensors.index.json"));
        };
        Ok(Self { path: path.to_owned(), config, files, owners })
    }

    /// Returns the directory's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns `config.json`.
    #[must_use]
    pub fn config(&self) -> &JsonObject {
        &self.config
    }

    /// Reads a JSON file of the directory, if the file exists.
    pub fn json(&self, name: &str) -> Result<Option<JsonObject>, EngineError> {
        JsonObject::open_if_there(&self.path.join(name))
    }

    /// Returns whether the output matrix is the embedding. In that case transformers uses the embedding even if the
    /// files contain an output matrix.
    pub fn is_tied(&self) -> Result<bool, EngineError> {
        let is_tied_by_default = self.config.string("model_type")? == Some("smollm3");
        Ok(self.config.boolean("tie_word_embeddings")?.unwrap_or(is_tied_by_default))
    }

    /// Returns whether the files contain a part and the decoder uses it.
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        let is_replaced = part == Part::Output && self.is_tied().unwrap_or(false);
        !is_replaced && self.owners.contains_key(&transformers_name(part))
    }

    /// Returns the shape of a part's tensor, outermost dimension first.
    #[must_use]
    pub fn shape(&self, part: Part) -> Option<&[usize]> {
        let name = transformers_name(part);
        self.files.get(*self.owners.get(&name)?)?.shape(&name)
    }

    /// Returns the maximum number of layers that the files can contain: each layer has tensors of its own.
    #[must_use]
    pub fn layers_max(&self) -> usize {
        self.owners.len()
    }

    /// Returns one part after checking its shape (outermost dimension first).
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the part is missing or has another shape, [`EngineError::Unsupported`] if its
    /// numbers are not bf16, f16 or f32.
    pub fn tensor(&self, part: Part, shape: &[usize]) -> Result<RawTensor<'_>, EngineError> {
        let name = transformers_name(part);
        let file = self.owners.get(&name).and_then(|owner| self.files.get(*owner));
        file.ok_or_else(|| self.malformed(format!("tensor {name} is missing")))?.tensor(&name, shape)
    }

    /// Checks that the files contain every tensor that the model needs, each in the right shape, and no other tensors.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] for a missing or misshapen tensor, [`EngineError::Unsupported`] for a tensor that the
    /// decoder would not use.
    pub fn check_parts(&self, config: &ModelConfig, rules: PartRules) -> Result<(), EngineError> {
        let mut used = HashSet::new();
        for (part, presence, shape) in parts_of(config, rules) {
            if presence == Presence::Required || presence == Presence::Optional && self.has(part) {
                self.tensor(part, &shape)?;
                used.insert(transformers_name(part));
            }
        }
        let is_passed_over = |name: &str| {
            // Frequencies follow from the config; a tied output matrix is a copy.
            name.ends_with(".inv_freq") || name == transformers_name(Part::Output) && rules.output == Presence::Absent
        };
        let names: BTreeSet<&String> = self.owners.keys().collect();
        match names.into_iter().find(|name| !used.contains(*name) && !is_passed_over(name)) {
            Some(name) => {
                let (architecture, layers) = (&config.architecture, config.layers.len());
                let detail = format!("tensor {name} is not part of a {architecture} decoder with {layers} layers");
                Err(EngineError::Unsupported { path: self.path.clone(), detail: shown(&detail) })
            }
            None => Ok(()),
        }
    }

    /// Returns the files that decide the model's output, sorted.
    pub(super) fn deciding_files(&self) -> Vec<PathBuf> {
        let side = SIDE_FILES.iter().map(|name| self.path.join(name)).filter(|path| path.exists());
        let mut files: Vec<PathBuf> = self.files.iter().map(|file| file.path().to_owned()).chain(side).collect();
        files.sort();
        files
    }

    /// Builds the error for a malformed directory.
    #[must_use]
    pub fn malformed(&self, detail: String) -> EngineError {
        EngineError::Malformed { path: self.path.clone(), detail: shown(&detail) }
    }

    /// Builds the error for a model that the engine does not support.
    #[must_use]
    pub fn unsupported(&self, detail: String) -> EngineError {
        EngineError::Unsupported { path: self.path.clone(), detail: shown(&detail) }
    }
}

type Opened = (Vec<SafetensorsFile>, BTreeMap<String, usize>);

fn single(path: &Path) -> Result<Opened, EngineError> {
    let file = SafetensorsFile::open(path)?;
    let owners = file.names().into_iter().map(|name| (name, 0)).collect();
    Ok((vec![file], owners))
}

fn sharded(dir: &Path) -> Result<Opened, EngineError> {
    let path = dir.join(INDEX);
    let index = JsonObject::open(&path)?;
    let malformed = |detail: String| EngineError::Malformed { path: path.clone(), detail: shown(&detail) };
    let Some(map) = index.object("weight_map")? else { return Err(index.malformed("is missing", "weight_map")) };
    let mut wanted = BTreeMap::new();
    for tensor in map.keys() {
        let file = map.string(tensor)?.unwrap_or_default();
        if !file.ends_with(".safetensors") || file.contains(['/', '\\']) {
            return Err(malformed(format!(
                "tensor {tensor} is listed in \"{file}\", which is not a safetensors file beside the index"
            )));
        }
        wanted.insert(tensor, file);
    }
    let names: BTreeSet<&str> = wanted.values().copied().collect();
    let mut files = Vec::new();
    let mut owners = BTreeMap::new();
    for name in names {
        let file = SafetensorsFile::open(&dir.join(name))?;
        for tensor in file.names() {
            if wanted.get(tensor.as_str()) != Some(&name) {
                return Err(malformed(format!("tensor {tensor} of {name} is not listed for that file")));
            }
            owners.insert(tensor, files.len());
        }
        files.push(file);
    }
    match wanted.iter().find(|(tensor, _)| !owners.contains_key(**tensor)) {
        Some((tensor, file)) => Err(malformed(format!("tensor {tensor} is listed for {file}, which does not have it"))),
        None => Ok((files, owners)),
    }
}
