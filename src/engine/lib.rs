//! The sampling engine: a model on its own OS thread, decoding many sequences together.
//!
//! The engine knows tokens and text, not queries, modes or files. Its promise: the text of a sequence is a function of
//! its [`SequenceSpec`] and the weights alone. What else is in the batch, how many slots and threads there are, whether
//! its prompt was cached, whether it was preempted: none of it changes a bit of its logits.

mod caught;
mod diagnosis;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod grammar;
mod kv;
mod model;
mod reply;
mod sampler;
mod scheduler;
mod sequence;
mod stats;
#[cfg(test)]
mod testing;
mod thread;
mod tokenizer;
mod weights;
mod worker;

#[cfg(test)]
mod tests;

pub use error::EngineError;
#[doc(hidden)]
pub use grammar::fuzz as grammar_fuzz;
pub use grammar::{Grammar, OrderedSchema, SchemaError};
pub use model::{DeviceChoice, Draw, ExecutorChoice, KernelChoice, KvType, ModelConfig, Picked, available_kernels};
pub use reply::{Piece, StreamEvent};
pub use sequence::{Completion, EndOfTurn, ForcedClose, SampledToken, SequenceSpec};
pub use stats::EngineStats;
pub use thread::{Engine, EngineDescription, EngineOptions};
pub use tokenizer::Vocabulary;
pub use weights::model_digest;
