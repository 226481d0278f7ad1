//! The sampling engine: a model on its own OS thread, decoding many sequences together.
//!
//! The engine knows tokens and text; it does not know queries, modes or the files of a run. Its promise: the text of a
//! sequence is a function of its [`SequenceSpec`], the weights and the kernel family ([`Engine::numerics`]). The fused
//! CPU executor keeps this promise bit for bit: no logit depends on the rest of the batch, the number of slots or
//! threads, the prompt cache, or a preemption. The tensor executor does not keep the last bits.
//!
//! # Files
//!
//! | file or folder | role |
//! |---|---|
//! | `thread` | [`Engine`], the handle: loads a model, starts the thread, checks and sends requests |
//! | `worker` | the loop of the thread: accepts requests, runs steps, sends replies, isolates faults |
//! | `scheduler` | continuous batching: chooses the sequences and rows of each step, preempts for KV memory |
//! | `kv` | bookkeeping of KV blocks: holders, and cached prompt prefixes |
//! | `sequence` | one sequence: its tokens, text and random stream, and the rules that end it |
//! | `sampler` | from a row of logits to a token: temperature, top-k, top-p, min-p |
//! | `grammar` | JSON by schema: the tokens that may come next |
//! | `tokenizer` | [`Vocabulary`]: text to tokens and back, for both model formats |
//! | `weights` | model files (GGUF, Hugging Face directories): opened, checked and mapped, by part of the decoder |
//! | `model` | the decoder: its shape, the input and output of a step, and its executors `fused` and `tensor` |
//! | `reply`, `stats` | the channels of responses; running totals |
//! | `error`, `caught` | [`EngineError`] with hints; panics as errors |
//! | `diagnosis` | finds the cause of logits that are not finite |
//! | `fuzz`, `testing` | promises that hold for any model file; models for tests |
//!
//! # One response
//!
//! 1. The caller encodes the prompt ([`Vocabulary::encode_within`]) and fills in a [`SequenceSpec`].
//! 2. [`Engine::sample`] or [`Engine::stream`] calls [`Engine::check_fit`], which lowers the token limit to the context
//!    or rejects the request, and sends the request over a bounded mailbox.
//! 3. The worker takes the request from the mailbox, and the scheduler puts the new sequence at the end of its queue.
//! 4. Before each step the scheduler fills free slots, holds the cached blocks of known prompt prefixes, and plans the
//!    rows: one per decoding sequence, the rest for prompts. If the KV blocks run out, it preempts the youngest
//!    sequence.
//! 5. Each sequence whose last token is among the rows returns a [`Draw`]: the settings of the sampler,
//!    the next number of the sequence's random stream, and the tokens that its [`Grammar`] allows.
//! 6. The executor runs the rows, stores their keys and values, and returns one [`Picked`] token or fault per draw.
//! 7. Each sequence appends its token and applies its rules: end of turn, stop strings, token limits, the end of its
//!    grammar, [`ForcedClose`] (which starts the second phase), useful length. The scheduler registers full prompt
//!    blocks under their prefix hash, and releases the blocks of sequences that ended.
//! 8. The worker sends the [`Completion`], or an [`EngineError`], to the receiver. For a streamed response, it sends a
//!    [`StreamEvent::Piece`] with the new final text after every step, and a [`StreamEvent::End`] at the end.
//!
//! A dropped receiver drops its sequence before the next step. A failed step ends the engine: every pending or later
//! request gets [`EngineError::Stopped`] with the cause.
//!
//! # Key types
//!
//! [`EngineOptions`] (device, executor, kernels, slots, memory), [`Engine`], [`SequenceSpec`], [`Completion`],
//! [`SampledToken`], [`StreamEvent`], [`Vocabulary`], [`ModelConfig`], [`Grammar`], [`EngineStats`], [`EngineError`].

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests use files and clocks as they are")
)]

mod caught;
mod diagnosis;
mod error;
#[cfg(any(test, feature = "testing"))]
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
#[cfg(any(test, feature = "testing"))]
pub use grammar::fuzz as grammar_fuzz;
pub use grammar::{Grammar, OrderedSchema, SchemaError};
pub use model::{DeviceChoice, Draw, ExecutorChoice, KernelChoice, KvType, ModelConfig, Picked, available_kernels};
pub use reply::{Piece, StreamEvent};
pub use sequence::{Completion, EndOfTurn, ForcedClose, SampledToken, SequenceSpec};
pub use stats::EngineStats;
pub use thread::{Engine, EngineDescription, EngineOptions};
pub use tokenizer::Vocabulary;
pub use weights::model_digest;
