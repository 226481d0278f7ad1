//! The fused executor: the decoder on thinkloom's own CPU kernels.
//!
//! candle reads the headers of the weights; the step itself runs on this crate's own kernels. candle's kernels either
//! are scalar for the common Q4_1 files or change their order of operations with the number of rows, and resuming a run
//! relies on results that do not depend on the batch. A step is one parallel region (`team`) over phases (`forward`).

mod amx;
mod attention;
mod buffer;
mod decoder;
mod expand;
mod few_rows;
mod forward;
mod kernels;
mod kv_store;
mod math;
mod matrix;
mod team;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use math::exp;

use self::decoder::Decoder;
use self::forward::{Buffers, Draws, Over, Region, Scratch};
use self::kernels::Kernels;
pub use self::kernels::available as available_kernels;
use self::kv_store::KvStore;
use self::team::Team;
use super::{Draw, ExecutorOptions, Nameless, PickResult, StepInput};
use crate::error::EngineError;
use crate::weights::Weights;

/// A model loaded for the CPU.
pub(crate) struct FusedModel {
    decoder: Arc<Decoder>,
    nameless: Arc<Nameless>,
    buffers: Arc<Buffers>,
    store: Arc<KvStore>,
    team: Team<Scratch>,
    kernels: Kernels,
}

impl FusedModel {
    /// Loads a model.
    ///
    /// # Errors
    /// [`EngineError::NoDevice`] for kernels that this CPU lacks, [`EngineError::Malformed`] for missing or misshapen
    /// tensors, [`EngineError::OutOfMemory`].
    pub(crate) fn load(weights: &Weights, options: &ExecutorOptions) -> Result<Self, EngineError> {
        let kernels = kernels::choose(options.kernels)?;
        let positions = options.kv_blocks.saturating_mul(super::BLOCK_TOKENS);
        let decoder = Decoder::load(weights, positions)?;
        let buffers = Buffers::new(&decoder.config, kernels, options.rows_max);
        let store = KvStore::new(&decoder.config, options.kv_type, options.kv_blocks)?;
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let team = Team::new(threads).map_err(|error| EngineError::Stopped(error.to_string()))?;
        Ok(Self {
            nameless: Arc::new(Nameless::new(decoder.config.vocabulary, &[])),
            decoder: Arc::new(decoder),
            buffers: Arc::new(buffers),
            store: Arc::new(store),
            team,
            kernels,
        })
    }

    /// Excludes `nameless`, the rows of the output matrix that must never be picked.
    pub(crate) fn never_pick(&mut self, nameless: &[u32]) {
        self.nameless = Arc::new(Nameless::new(self.decoder.config.vocabulary, nameless));
    }

    /// Returns the bytes that the weights occupy in memory.
    #[must_use]
    pub(crate) fn weight_bytes(&self) -> usize {
        self.decoder.weight_bytes()
    }

    /// Returns the name of the kernel family: texts of one family have the same bits on every machine.
    #[must_use]
    pub(crate) fn numerics(&self) -> &'static str {
        self.kernels.numerics()
    }

    /// Runs one step and picks a token for each row that wants one.
    pub(crate) fn step(&mut self, input: &StepInput, draws: &[Draw]) -> Vec<PickResult> {
        self.run(input, draws).picked()
    }

    /// Runs one step and returns the logits of the rows that want them, `[wanting rows, vocabulary]` f32, in row order.
    #[cfg(test)]
    pub(crate) fn logits(&mut self, input: &StepInput) -> Vec<f32> {
        self.run(input, &[]).logits()
    }

    fn run(&mut self, input: &StepInput, draws: &[Draw]) -> Over<'_> {
        if input.rows.len() > self.buffers.rows() {
            self.buffers = Arc::new(Buffers::new(&self.decoder.config, self.kernels, input.rows.len()));
        }
        let parts = (Arc::clone(&self.decoder), Arc::clone(&self.buffers), Arc::clone(&self.store));
        let draws = Draws { draws: draws.to_vec(), nameless: Arc::clone(&self.nameless) };
        let region = Region::new(parts, input.clone(), draws, self.team.size());
        // SAFETY: this model alone owns the buffers and the store, and the result holds the model's exclusive borrow.
        // Regions of earlier steps, which late threads may still hold, have no chunk left to run.
        unsafe { region.run_on(&mut self.team) }
    }
}
