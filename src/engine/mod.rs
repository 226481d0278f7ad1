//! The sampling engine: a model on its own OS thread, decoding many sequences together.
//!
//! The engine knows tokens and text, not queries, modes or files. Its promise: the text of a sequence is a function of
//! its [`SequenceSpec`] and the weights alone. What else is in the batch, how many slots and threads there are, whether
//! its prompt was cached, whether it was preempted: none of it changes a bit of its logits.

mod error;
mod grammar;
mod kv;
mod model;
mod sampler;
mod scheduler;
mod sequence;
#[cfg(test)]
mod testing;
mod thread;
mod tokenizer;
mod weights;

#[cfg(test)]
mod tests;

pub use error::EngineError;
pub use grammar::{Grammar, OrderedSchema, SchemaError};
pub use model::{DeviceChoice, Draw, ExecutorChoice, KernelChoice, KvType, ModelConfig, Picked};
pub use sequence::{Completion, EndOfTurn, ForcedClose, SampledToken, SequenceSpec};
pub use thread::{Engine, EngineDescription, EngineOptions, EngineStats, Piece, StreamEvent};
pub use tokenizer::Vocabulary;
pub use weights::model_digest;
