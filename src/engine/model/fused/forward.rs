//! One step as a parallel region: the phases of the decoder, and the work of one chunk of each phase.
//!
//! Within a phase, chunks write disjoint ranges of the buffers and read only data of earlier phases; every `SAFETY`
//! comment in this file relies on this invariant.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::{BLOCK_TOKENS, Draw, ModelConfig, PickFault, PickResult, Picked, Row, StepInput};
use super::attention::{Attention, attend};
use super::buffer::SharedBuffer;
use super::decoder::{Decoder, Layer};
use super::kernels::{Activations, Kernels, ProductScratch};
use super::kv_store::{HeadBlock, KvStore};
use super::math;
use super::matrix::{Matrix, PANEL_WIDTH, UNIT_WIDTH};
use super::team::{Job, Team};
use crate::caught::caught;
use crate::model::BlockId;
use crate::model::Nameless;
use crate::sampler;

/// Maximum rows of a chunk in the phases that work row by row.
const ROWS_PER_CHUNK_MAX: usize = 8;

/// Work memory of a step, reused by the next step.
pub(super) struct Buffers {
    kernels: Kernels,
    rows: usize,
    /// Residual stream, `[rows, hidden]`.
    residual: SharedBuffer<f32>,
    /// Normed residual stream, `[rows, hidden]`.
    normed: Activations,
    /// Queries, keys and values, `[rows, (heads + 2 kv_heads) * head_dim]`.
    projected: SharedBuffer<f32>,
    /// Attention's output, `[rows, heads * head_dim]`.
    attended: Activations,
    /// Gated activations, `[rows, ffn]`.
    activated: Activations,
    /// `[wanting rows, vocabulary]`
    logits: SharedBuffer<f32>,
    /// Token and bits of the log-probability, `[wanting rows, 2]`.
    picked: SharedBuffer<u32>,
}

impl Buffers {
    /// Builds buffers for steps of up to `rows` rows.
    pub(super) fn new(config: &ModelConfig, kernels: Kernels, rows: usize) -> Self {
        let query_width = config.heads * config.head_dim;
        let width = query_width + 2 * config.kv_heads * config.head_dim;
        Self {
            kernels,
            rows,
            residual: SharedBuffer::new(rows * config.hidden),
            normed: Activations::new(kernels, rows, config.hidden),
            projected: SharedBuffer::new(rows * width),
            attended: Activations::new(kernels, rows, query_width),
            activated: Activations::new(kernels, rows, config.ffn.next_multiple_of(PANEL_WIDTH)),
            logits: SharedBuffer::new(rows * config.vocabulary),
            picked: SharedBuffer::new(rows * 2),
        }
    }

    /// Returns the maximum rows of a step.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }
}

/// Scratch memory of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    product: ProductScratch,
    scores: Vec<f32>,
    row: Vec<f32>,
    pick: sampler::Scratch,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Embed,
    /// Norm before attention, or before the feed-forward part.
    Norm(usize, Half),
    Project(usize),
    /// Biases, head norms, rotation, and storing the keys and values in their blocks.
    Place(usize),
    Attend(usize),
    AttentionOutput(usize),
    GateUp(usize),
    Down(usize),
    OutputNorm,
    Logits,
    Pick,
}

#[derive(Debug, Clone, Copy)]
enum Half {
    Attention,
    FeedForward,
}

/// How tokens are picked in a step.
pub(super) struct Draws {
    /// One draw for each row that wants a token.
    pub draws: Vec<Draw>,
    /// The rows of the output matrix that are never picked.
    pub nameless: Arc<Nameless>,
}

/// One step in progress.
pub(super) struct Region {
    decoder: Arc<Decoder>,
    buffers: Arc<Buffers>,
    store: Arc<KvStore>,
    input: StepInput,
    draws: Vec<Draw>,
    nameless: Arc<Nameless>,
    /// Indices of the rows that want logits.
    wanting: Vec<usize>,
    phases: Vec<Phase>,
    rows_per_chunk: usize,
    /// Rows for which no token could be picked, by index among the wanting rows.
    faults: Mutex<Vec<(usize, PickFault)>>,
}

/// A finished step: its results, which no thread writes while this value lives.
pub(super) struct Over<'a> {
    region: Arc<Region>,
    /// The borrow prevents another step in the meantime.
    team: PhantomData<&'a mut Team<Scratch>>,
}

impl Region {
    /// Prepares a step; without draws, the step ends with the logits. `input` has at most as many rows as the buffers.
    pub(super) fn new(
        (decoder, buffers, store): (Arc<Decoder>, Arc<Buffers>, Arc<KvStore>),
        input: StepInput,
        Draws { draws, nameless }: Draws,
        threads: usize,
    ) -> Self {
        let wanting: Vec<usize> =
            input.rows.iter().enumerate().filter(|(_, row)| row.wants_logits).map(|(index, _)| index).collect();
        let mut phases = vec![Phase::Embed];
        for layer in 0..decoder.layers.len() {
            phases.extend([
                Phase::Norm(layer, Half::Attention),
                Phase::Project(layer),
                Phase::Place(layer),
                Phase::Attend(layer),
                Phase::AttentionOutput(layer),
                Phase::Norm(layer, Half::FeedForward),
                Phase::GateUp(layer),
                Phase::Down(layer),
            ]);
        }
        if !wanting.is_empty() {
            phases.extend([Phase::OutputNorm, Phase::Logits]);
        }
        if !draws.is_empty() {
            phases.push(Phase::Pick);
        }
        let rows_per_chunk = input.rows.len().div_ceil(2 * threads).clamp(1, ROWS_PER_CHUNK_MAX);
        let faults = Mutex::default();
        Self { decoder, buffers, store, input, draws, nameless, wanting, phases, rows_per_chunk, faults }
    }

    /// Runs the step to its end. Panics if one of its chunks panics.
    ///
    /// # Safety
    /// From now until the result is dropped, no other step may run on these buffers and this store.
    pub(super) unsafe fn run_on(self, team: &mut Team<Scratch>) -> Over<'_> {
        let region = Arc::new(self);
        let chunks: Vec<usize> = region.phases.iter().map(|phase| region.chunks(*phase)).collect();
        let own = Arc::clone(&region);
        team.run(Job::new(team.size(), chunks, move |phase, chunk, scratch| {
            own.run(own.phases[phase], chunk, scratch)
        }));
        Over { region, team: PhantomData }
    }

    fn chunks(&self, phase: Phase) -> usize {
        let rows = self.input.rows.len();
        match phase {
            Phase::Embed | Phase::Norm(..) | Phase::Place(_) => rows.div_ceil(self.rows_per_chunk),
            Phase::Project(layer) => self.decoder.layers[layer].query_key_value.units(),
            Phase::Attend(_) => rows * self.decoder.config.kv_heads,
            Phase::AttentionOutput(layer) => self.decoder.layers[layer].output.units(),
            Phase::GateUp(layer) => self.decoder.layers[layer].gate_up.units(),
            Phase::Down(layer) => self.decoder.layers[layer].down.units(),
            Phase::OutputNorm | Phase::Pick => self.wanting.len(),
            Phase::Logits => self.decoder.output.units(),
        }
    }

    fn run(&self, phase: Phase, chunk: usize, scratch: &mut Scratch) {
        let layer = |index: usize| &self.decoder.layers[index];
        match phase {
            Phase::Embed => self.for_rows(chunk, |index, row| self.embed(index, row)),
            Phase::Norm(index, half) => {
                let weight = match half {
                    Half::Attention => &layer(index).attention_norm,
                    Half::FeedForward => &layer(index).ffn_norm,
                };
                self.for_rows(chunk, |index, _| self.norm(index, index, weight, &mut scratch.row));
            }
            Phase::Project(index) => self.project(layer(index), chunk, scratch),
            Phase::Place(index) => self.for_rows(chunk, |row_index, row| self.place(index, row_index, row)),
            Phase::Attend(index) => self.attend(index, chunk, scratch),
            Phase::AttentionOutput(index) => {
                let Layer { output, output_bias, .. } = layer(index);
                self.add_product(output, output_bias.as_deref(), &self.buffers.attended, chunk, scratch);
            }
            Phase::GateUp(index) => self.gate_up(&layer(index).gate_up, chunk, scratch),
            Phase::Down(index) => {
                self.add_product(&layer(index).down, None, &self.buffers.activated, chunk, scratch);
            }
            Phase::OutputNorm => {
                self.norm(self.wanting[chunk], chunk, &self.decoder.output_norm, &mut scratch.row);
            }
            Phase::Logits => self.output_logits(chunk, scratch),
            Phase::Pick => self.pick(chunk, &mut scratch.pick),
        }
    }

    fn for_rows(&self, chunk: usize, mut work: impl FnMut(usize, &Row)) {
        let first = chunk * self.rows_per_chunk;
        for (offset, row) in self.input.rows.iter().skip(first).take(self.rows_per_chunk).enumerate() {
            work(first + offset, row);
        }
    }

    fn embed(&self, index: usize, row: &Row) {
        let hidden = self.decoder.config.hidden;
        // SAFETY: only this chunk accesses this row.
        let residual = unsafe { self.buffers.residual.write(index * hidden..(index + 1) * hidden) };
        self.decoder.embed(row.token, residual);
    }

    /// Normalizes a row of the residual stream into a row of the activations.
    fn norm(&self, from: usize, to: usize, weight: &[f32], normed: &mut Vec<f32>) {
        let ModelConfig { hidden, epsilon, .. } = self.decoder.config;
        normed.resize(hidden, 0.0);
        // SAFETY: this phase only reads the residual stream.
        let residual = unsafe { self.buffers.residual.read(from * hidden..(from + 1) * hidden) };
        math::rms_norm(residual, weight, epsilon, &mut normed[..hidden]);
        // SAFETY: only this chunk accesses this row.
        unsafe { self.buffers.normed.write(to, 0, &normed[..hidden]) };
    }

    fn project(&self, layer: &Layer, unit: usize, scratch: &mut Scratch) {
        let ModelConfig { heads, kv_heads, head_dim, .. } = self.decoder.config;
        let (matrix, width) = (&layer.query_key_value, (heads + 2 * kv_heads) * head_dim);
        // SAFETY: this phase only reads the activations.
        let sums = unsafe { scratch.product.multiply(matrix, unit, &self.buffers.normed, self.input.rows.len()) };
        store_columns(matrix, unit, sums, |row, columns, sums| {
            // SAFETY: only this unit accesses these columns.
            let target =
                unsafe { self.buffers.projected.write(row * width + columns.start..row * width + columns.end) };
            target.copy_from_slice(sums);
        });
    }

    fn place(&self, layer_index: usize, index: usize, row: &Row) {
        let ModelConfig { heads, kv_heads, head_dim, epsilon, .. } = self.decoder.config;
        let layer = &self.decoder.layers[layer_index];
        let width = (heads + 2 * kv_heads) * head_dim;
        // SAFETY: only this chunk accesses this row.
        let projected = unsafe { self.buffers.projected.write(index * width..(index + 1) * width) };
        if let Some(bias) = &layer.query_key_value_bias {
            math::add_assign(projected, bias);
        }
        let (queries, keys_and_values) = projected.split_at_mut(heads * head_dim);
        let (keys, values) = keys_and_values.split_at_mut(kv_heads * head_dim);
        for (part, norm) in [(&mut *queries, &layer.query_norm), (&mut *keys, &layer.key_norm)] {
            for head in part.chunks_exact_mut(head_dim) {
                if let Some(norm) = norm {
                    math::rms_norm_in_place(head, norm, epsilon);
                }
                if layer.kind.uses_rope {
                    self.decoder.rotate(head, row.position);
                }
            }
        }
        let place = (self.input.tables[row.table][row.position / BLOCK_TOKENS], row.position % BLOCK_TOKENS);
        let heads = keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim));
        for (kv_head, (key, value)) in heads.enumerate() {
            // SAFETY: only this row accesses this position, and attention reads it in a later phase. A block that is
            // written belongs to one sequence.
            unsafe { self.store.write(layer_index, place, kv_head, key, value) };
        }
    }

    fn attend(&self, layer_index: usize, chunk: usize, scratch: &mut Scratch) {
        let ModelConfig { heads, kv_heads, head_dim, .. } = self.decoder.config;
        let (group, width) = (heads / kv_heads * head_dim, (heads + 2 * kv_heads) * head_dim);
        // The rows of one key head are consecutive, so that a shared prefix stays in cache.
        let (index, kv_head) = (chunk % self.input.rows.len(), chunk / self.input.rows.len());
        let row = &self.input.rows[index];
        let start = index * width + kv_head * group;
        // SAFETY: this phase only reads the projections, and the keys and values.
        let queries = unsafe { self.buffers.projected.read(start..start + group) };
        let end = row.position + 1;
        let first = self.decoder.layers[layer_index].kind.window.map_or(0, |window| end.saturating_sub(window));
        let first_block = first / BLOCK_TOKENS;
        let table: &[BlockId] = &self.input.tables[row.table][first_block..end.div_ceil(BLOCK_TOKENS)];
        // SAFETY: as above.
        let head = |block: &BlockId| unsafe { self.store.head(layer_index, *block, kv_head) };
        let blocks: Vec<HeadBlock<'_>> = table.iter().map(head).collect();
        scratch.row.resize(group.max(scratch.row.len()), 0.0);
        let out = &mut scratch.row[..group];
        let visible = first - first_block * BLOCK_TOKENS..end - first_block * BLOCK_TOKENS;
        let (kv_type, scores) = (self.store.kv_type(), &mut scratch.scores);
        attend(
            self.buffers.kernels,
            Attention { queries, blocks: &blocks, visible, head_dim, kv_type, out: &mut *out, scores },
        );
        // SAFETY: only this chunk accesses these heads of this row.
        unsafe { self.buffers.attended.write(index, kv_head * group, out) };
    }

    /// Adds a product, and optionally a bias, to the residual stream.
    fn add_product(&self, matrix: &Matrix, bias: Option<&[f32]>, x: &Activations, unit: usize, scratch: &mut Scratch) {
        let hidden = self.decoder.config.hidden;
        // SAFETY: this phase only reads the activations.
        let sums = unsafe { scratch.product.multiply(matrix, unit, x, self.input.rows.len()) };
        store_columns(matrix, unit, sums, |row, columns, sums| {
            let range = row * hidden + columns.start..row * hidden + columns.end;
            // SAFETY: only this unit accesses these columns.
            let residual = unsafe { self.buffers.residual.write(range) };
            math::add_assign(residual, sums);
            if let Some(bias) = bias {
                math::add_assign(residual, &bias[columns]);
            }
        });
    }

    fn gate_up(&self, matrix: &Matrix, unit: usize, scratch: &mut Scratch) {
        let rows = self.input.rows.len();
        // SAFETY: this phase only reads the activations.
        let sums = unsafe { scratch.product.multiply(matrix, unit, &self.buffers.normed, rows) };
        let (sums, _) = sums.as_chunks_mut::<UNIT_WIDTH>();
        math::swiglu(sums);
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: only this unit accesses these columns; padded outputs are products of zeros.
            unsafe { self.buffers.activated.write(row, unit * PANEL_WIDTH, &sums[..PANEL_WIDTH]) };
        }
    }

    fn output_logits(&self, unit: usize, scratch: &mut Scratch) {
        let vocabulary = self.decoder.config.vocabulary;
        let matrix = &self.decoder.output;
        // SAFETY: this phase only reads the activations.
        let sums = unsafe { scratch.product.multiply(matrix, unit, &self.buffers.normed, self.wanting.len()) };
        store_columns(matrix, unit, sums, |row, columns, sums| {
            let range = row * vocabulary + columns.start..row * vocabulary + columns.end;
            // SAFETY: only this unit accesses these columns.
            unsafe { self.buffers.logits.write(range) }.copy_from_slice(sums);
        });
    }

    fn pick(&self, index: usize, scratch: &mut sampler::Scratch) {
        let vocabulary = self.decoder.config.vocabulary;
        let Some(draw) = self.draws.get(index) else { return };
        // SAFETY: in this phase only this chunk accesses this row.
        let logits = unsafe { self.buffers.logits.write(index * vocabulary..(index + 1) * vocabulary) };
        let logits = self.nameless.masked(logits);
        // A panic in the sampler fails this row alone.
        let picked = caught(|| sampler::pick_with(scratch, logits, draw)).map_err(PickFault::Panicked);
        let picked = match picked.and_then(|picked| picked) {
            Ok(picked) => picked,
            Err(fault) => {
                self.faults.lock().unwrap_or_else(PoisonError::into_inner).push((index, fault));
                return;
            }
        };
        // SAFETY: only this chunk accesses this row.
        let target = unsafe { self.buffers.picked.write(2 * index..2 * index + 2) };
        target.copy_from_slice(&[picked.token, picked.log_probability.to_bits()]);
    }
}

impl Over<'_> {
    /// Returns the picked tokens, one per wanting row.
    pub(super) fn picked(&self) -> Vec<PickResult> {
        let Region { buffers, draws, faults, .. } = &*self.region;
        // SAFETY: every chunk of the step is done, and no other step runs while this value lives.
        let numbers = unsafe { buffers.picked.read(0..2 * draws.len()) };
        let picked = |pair: &[u32; 2]| Ok(Picked { token: pair[0], log_probability: f32::from_bits(pair[1]) });
        let mut picked: Vec<PickResult> = numbers.as_chunks::<2>().0.iter().map(picked).collect();
        for (index, fault) in faults.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Some(place) = picked.get_mut(index) {
                *place = Err(fault);
            }
        }
        picked
    }

    /// Returns the logits, `[wanting rows, vocabulary]`.
    #[cfg(test)]
    pub(super) fn logits(&self) -> Vec<f32> {
        let Region { buffers, wanting, decoder, .. } = &*self.region;
        // SAFETY: as above.
        unsafe { buffers.logits.read(0..wanting.len() * decoder.config.vocabulary) }.to_vec()
    }
}

/// Calls `store` with the valid columns of a unit's sums, `[rows][32]`: for each row and panel, the columns of the
/// product and their numbers.
fn store_columns(
    matrix: &Matrix,
    unit: usize,
    sums: &[f32],
    mut store: impl FnMut(usize, std::ops::Range<usize>, &[f32]),
) {
    for (index, panel) in matrix.unit(unit, 0..0).enumerate() {
        let columns = panel.column..panel.column + panel.width;
        for (row, sums) in sums.as_chunks::<UNIT_WIDTH>().0.iter().enumerate() {
            store(row, columns.clone(), &sums[index * PANEL_WIDTH..index * PANEL_WIDTH + panel.width]);
        }
    }
}
