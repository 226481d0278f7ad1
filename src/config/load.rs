//! Parses config files and `--set` overrides into checked settings; errors name the key.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::nearest::nearest_key;
use super::secrets::without_keys;
use super::settings::Settings;

/// Why a config is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config: {0}")]
    Io(#[from] std::io::Error),
    /// The config is not TOML, or a value has the wrong type.
    #[error("{origin}: {detail}")]
    Syntax {
        /// The file, or the `--set` argument.
        origin: String,
        /// The parser's message, with line and column.
        detail: String,
    },
    /// A key is unknown.
    #[error("{origin}: unknown key \"{key}\"{}", nearest.as_ref().map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default())]
    UnknownKey {
        /// The file, or the `--set` argument.
        origin: String,
        /// The key with its path.
        key: String,
        /// The known key with the most similar spelling.
        nearest: Option<String>,
    },
    /// A value is out of range, or needs a feature that this version lacks.
    #[error("{origin}: {key} {detail}")]
    Value {
        /// The file.
        origin: String,
        /// The key.
        key: &'static str,
        /// Why the value is invalid, and the allowed values.
        detail: String,
    },
}

/// A config with the directory of its file.
#[derive(Debug, Clone)]
pub struct LoadedConfig {
    /// The checked settings, overrides applied.
    pub settings: Settings,
    /// The directory of the config file.
    pub dir: PathBuf,
}

impl LoadedConfig {
    /// Returns the base directories of relative inputs, in order: the config file's directory, then the working
    /// directory.
    #[must_use]
    pub fn base_dirs(&self) -> Vec<PathBuf> {
        vec![self.dir.clone(), PathBuf::from(".")]
    }

    /// Resolves a relative name in the base directories; returns the first existing path, or the first candidate if
    /// none exists.
    #[must_use]
    pub fn resolve(&self, name: &str) -> PathBuf {
        let mut candidates = self.base_dirs().into_iter().map(|base| base.join(name));
        candidates.find(|path| path.exists()).unwrap_or_else(|| self.dir.join(name))
    }
}

/// Reads a config file and applies overrides of the form `key=value`, where the value is TOML or else a string.
///
/// # Errors
/// [`ConfigError`], naming file, line and key.
pub fn load(path: &Path, overrides: &[String]) -> Result<LoadedConfig, ConfigError> {
    let text = fs_err::read_to_string(path)?;
    let settings = parse_with_overrides(&text, &path.display().to_string(), overrides)?;
    let dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let dir = if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir };
    Ok(LoadedConfig { settings, dir })
}

/// Parses a config text; see [`load`]. `origin` names it in errors.
///
/// # Errors
/// [`ConfigError`], naming `origin` and key.
pub fn parse_with_overrides(text: &str, origin: &str, overrides: &[String]) -> Result<Settings, ConfigError> {
    let syntax =
        |origin: &str, detail: String| ConfigError::Syntax { origin: origin.to_owned(), detail: without_keys(&detail) };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| syntax(origin, error.to_string()))?;
    let mut value = toml::Value::Table(table);
    refuse_unknown_keys(&value, origin)?;
    // Parse the original text once, so that a wrong type is reported with its line.
    let mut settings: Settings = toml::from_str(text).map_err(|error| syntax(origin, error.to_string()))?;
    for item in overrides {
        let Some((key, raw)) = item.split_once('=') else {
            let origin = format!("--set {}", without_keys(item));
            return Err(syntax(&origin, "expected key=value, for example sampling.seed=1".to_owned()));
        };
        let origin = format!("--set {key}={}", without_keys(raw));
        let parsed = format!("value = {raw}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
        set(&mut value, key.trim(), parsed.unwrap_or_else(|| toml::Value::String(raw.to_owned())))
            .map_err(|detail| syntax(&origin, detail))?;
        refuse_unknown_keys(&value, &origin)?;
        settings = value.clone().try_into().map_err(|error: toml::de::Error| syntax(&origin, error.to_string()))?;
    }
    let wrong = |(key, detail)| ConfigError::Value { origin: origin.to_owned(), key, detail };
    settings.check().map_err(wrong)?;
    Ok(settings)
}

fn set(target: &mut toml::Value, key: &str, value: toml::Value) -> Result<(), String> {
    let mut place = target;
    for part in key.split('.') {
        let table = place.as_table_mut().ok_or_else(|| format!("\"{key}\": a part before the last is not a table"))?;
        place = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    }
    *place = value;
    Ok(())
}

fn refuse_unknown_keys(value: &toml::Value, origin: &str) -> Result<(), ConfigError> {
    let schema = schemars::schema_for!(Settings).to_value();
    walk(value, &schema, &schema, String::new(), origin)
}

fn walk(value: &toml::Value, schema: &Json, root: &Json, path: String, origin: &str) -> Result<(), ConfigError> {
    let schema = resolve(schema, root);
    let (Some(table), Some(properties)) = (value.as_table(), schema.get("properties").and_then(Json::as_object)) else {
        return Ok(());
    };
    for (key, value) in table {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let Some(schema) = properties.get(key) else {
            let mut known = Vec::new();
            collect_keys(root, root, String::new(), &mut known);
            let nearest = nearest_key(&full, &known);
            return Err(ConfigError::UnknownKey { origin: origin.to_owned(), key: full, nearest });
        };
        walk(value, schema, root, full, origin)?;
    }
    Ok(())
}

fn resolve<'a>(schema: &'a Json, root: &'a Json) -> &'a Json {
    let reference = schema.get("$ref").and_then(Json::as_str);
    reference.and_then(|path| root.pointer(path.trim_start_matches('#'))).unwrap_or(schema)
}

fn collect_keys(schema: &Json, root: &Json, path: String, keys: &mut Vec<String>) {
    let Some(properties) = resolve(schema, root).get("properties").and_then(Json::as_object) else { return };
    for (key, schema) in properties {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        keys.push(full.clone());
        collect_keys(schema, root, full, keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|&item| item.to_owned()).collect();
        parse_with_overrides(text, "x.toml", &overrides).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_config_is_the_default() {
        assert_eq!(parse_with_overrides("", "x.toml", &[]).unwrap(), Settings::default());
    }

    #[test]
    fn the_default_written_out_reads_back_as_itself() {
        let text = toml::to_string(&Settings::default()).unwrap();
        assert_eq!(parse_with_overrides(&text, "x.toml", &[]).unwrap(), Settings::default());
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_known_key() {
        let error = error_of("[sampling]\nsample_per_mode = 3", &[]);
        assert_eq!(
            error,
            "x.toml: unknown key \"sampling.sample_per_mode\"; did you mean \"sampling.samples_per_mode\"?"
        );
        assert!(error_of("[select]\ntemperature = 1.0", &[]).contains("did you mean \"sampling.temperature\""));
        assert!(error_of("", &["judge.modle=x"]).contains("did you mean \"judge.model\""));
        assert!(error_of("zzzzqq = 1", &[]).ends_with("unknown key \"zzzzqq\""));
    }

    #[test]
    fn wrong_types_and_ranges_name_the_key() {
        assert!(error_of("[sampling]\nseed = \"x\"", &[]).contains("seed"));
        assert!(error_of("[select]\ntie_margin = 1.5", &[]).contains("select.tie_margin is 1.5; allowed: 0 to 1"));
        assert!(error_of("", &["sampling.top_p=0"]).contains("sampling.top_p"));
        assert!(
            error_of("[policy]\ndevice = \"gpu\"", &[]).contains("policy.device is \"gpu\"; allowed: auto, cpu, cuda")
        );
        assert!(error_of("", &["sampling.min_p=1.0"]).contains("sampling.min_p is 1; allowed: 0 to below 1"));
        assert!(error_of("", &["sampling.top_k=-1"]).contains("top_k"));
        assert!(error_of("", &["policy.kernels=sse"]).contains("avx512"));
        assert!(error_of("", &["judge.transport=\"slow\""]).contains("batch"));
        assert!(error_of("", &["judge.prices_usd_per_mtok.off_peak.hours_utc=[\"8-9\"]"]).contains("no part of a day"));
        assert!(error_of("", &["judge.batch.poll=1"]).contains("did you mean \"judge.batch.poll_s\""));
        assert!(error_of("[policy]\nbackend = \"openai\"", &[]).contains("policy.mode_preset is \"auto\""));
        assert!(error_of("", &["policy.stream=\"perhaps\""]).contains("allowed: \"auto\", true, false"));
        assert!(error_of("[judge", &[]).contains("x.toml"));
        assert!(error_of("", &["sampling.seed"]).contains("expected key=value"));
    }

    #[test]
    fn overrides_take_toml_values_and_bare_strings() {
        let overrides = ["sampling.seed=7", "policy.model=a/b.gguf", "input.paths=[\"x.jsonl\"]"].map(str::to_owned);
        let settings = parse_with_overrides("[sampling]\nseed = 3", "x.toml", &overrides).unwrap();
        assert_eq!(settings.sampling.seed, 7);
        assert_eq!(settings.policy.model, "a/b.gguf");
        assert_eq!(settings.input.paths, ["x.jsonl"]);
    }
}
