//! The settings of a run: `thinkloom.toml`, checked once into plain typed data.
//!
//! Unknown keys are refused with the nearest known key; values are checked against their ranges before anything runs.
//! Which settings decide the data, and what has to be redone when one changes, is in [`identity`].

mod batch;
mod dedup;
pub mod identity;
mod input;
mod load;
mod policy;
mod prices;
mod settings;
mod streaming;

pub use batch::BatchSettings;
pub use dedup::{Conflicts, ContaminationRule, ContaminationScope, DedupSettings, Variants};
pub use input::{AnswerIs, EvaluatedRule};
pub use load::{ConfigError, LoadedConfig, load, parse_with_overrides};
pub use policy::{DeviceName, ExecutorName, KernelName, KvTypeName, ModePresetName, PolicyBackend, PolicySettings};
pub use prices::{HourWindow, OffPeakSettings, PriceSettings, Rates};
pub use settings::{
    BudgetPolicy, DifficultySettings, FieldSettings, InputSettings, JudgeBackend, JudgeSettings, OnRejected,
    OutputSettings, SamplingSettings, SelectSettings, Settings, Transport, VerifySettings,
};
pub use streaming::{STREAMED_TOKENS_MIN, Streaming};
