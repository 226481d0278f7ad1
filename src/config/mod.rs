//! The settings of a run: `thinkloom.toml`, checked once into plain typed data.
//!
//! An unknown key is an error that names the nearest known key; values are checked against their ranges before anything
//! runs. [`identity`] lists the settings that decide the data, and the work that a change causes.

mod batch;
mod dedup;
mod fault;
mod fields;
pub mod identity;
mod input;
mod judge;
mod load;
mod nearest;
mod omit;
mod policy;
mod prices;
mod secrets;
mod settings;
mod streaming;

pub use batch::BatchSettings;
pub use dedup::{Conflicts, ContaminationRule, ContaminationScope, DedupSettings, Variants};
pub use fields::{FieldSettings, Written};
pub use input::{AnswerIs, EvaluatedRule};
pub use judge::{JudgeBackend, JudgeSettings, OnRejected, Transport};
pub use load::{ConfigError, LoadedConfig, load, parse_with_overrides};
pub use policy::{DeviceName, ModePresetName, PolicyBackend, PolicySettings};
pub use prices::{HourWindow, OffPeakSettings, PriceSettings, Rates};
pub use secrets::{key_name_problem, looks_like_key};
pub use settings::{
    BudgetPolicy, DifficultySettings, InputSettings, OutputSettings, SamplingSettings, SelectSettings, Settings,
    VerifySettings,
};
pub use streaming::{STREAMED_TOKENS_MIN, Streaming};
