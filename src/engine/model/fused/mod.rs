//! The fused executor: the decoder on thinkloom's own CPU kernels.

mod attention;
mod kv_store;
mod math;

use rayon::prelude::*;

pub use math::exp;

use self::attention::HeadBlock;
use self::kv_store::KvStore;
use self::math::PackedMatrix;
use super::{BLOCK_TOKENS, Draw, ExecutorOptions, ModelConfig, Picked, StepInput};
use crate::engine::error::EngineError;
use crate::engine::sampler;
use crate::engine::weights::{LayerPart, Part, Weights};

struct Layer {
    attention_norm: Vec<f32>,
    /// Queries, keys and values side by side: one product, and one wait for all threads.
    query_key_value: PackedMatrix,
    output: PackedMatrix,
    ffn_norm: Vec<f32>,
    /// Gates and ups side by side.
    gate_up: PackedMatrix,
    down: PackedMatrix,
}

/// A model loaded for the CPU.
pub struct FusedModel {
    config: ModelConfig,
    pool: rayon::ThreadPool,
    embedding: Vec<f32>,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    output: PackedMatrix,
    /// Inverse rotary frequencies, `[head_dim / 2]`.
    inverse_frequencies: Vec<f32>,
    store: KvStore,
}

impl FusedModel {
    /// Loads a model.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] for missing or misshapen tensors.
    pub fn load(weights: &Weights, options: &ExecutorOptions) -> Result<Self, EngineError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|index| format!("engine-{index}"))
            .build()
            .map_err(|error| EngineError::Stopped(error.to_string()))?;
        let config = weights.config()?;
        let (hidden, q_width, kv_width) =
            (config.hidden, config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let embedding = weights.matrix(Part::Embedding, config.vocabulary, hidden)?.to_f32()?;
        // Matrices of the same input are stacked: `parts` are parts and output counts.
        let stack = |parts: &[(Part, usize)], inputs: usize| {
            let mut numbers = Vec::new();
            for (part, outputs) in parts {
                numbers.extend(weights.matrix(*part, *outputs, inputs)?.to_f32()?);
            }
            Ok::<_, EngineError>(PackedMatrix::pack(&numbers, inputs))
        };
        let mut layers = Vec::with_capacity(config.layers.len());
        for index in 0..config.layers.len() {
            let part = |part: LayerPart| Part::Layer(index, part);
            let attention = [
                (part(LayerPart::Query), q_width),
                (part(LayerPart::Key), kv_width),
                (part(LayerPart::Value), kv_width),
            ];
            let gate_up = [(part(LayerPart::Gate), config.ffn), (part(LayerPart::Up), config.ffn)];
            layers.push(Layer {
                attention_norm: weights.vector(part(LayerPart::AttentionNorm), hidden)?,
                query_key_value: stack(&attention, hidden)?,
                output: stack(&[(part(LayerPart::AttentionOutput), hidden)], q_width)?,
                ffn_norm: weights.vector(part(LayerPart::FfnNorm), hidden)?,
                gate_up: stack(&gate_up, hidden)?,
                down: stack(&[(part(LayerPart::Down), hidden)], config.ffn)?,
            });
        }
        let output_norm = weights.vector(Part::OutputNorm, hidden)?;
        // A model without an output matrix ties it to the embedding.
        let output = if weights.has(Part::Output) {
            stack(&[(Part::Output, config.vocabulary)], hidden)?
        } else {
            PackedMatrix::pack(&embedding, hidden)
        };
        let (inverse_frequencies, _) = config.rope.inverse_frequencies(config.head_dim);
        let store = KvStore::new(&config);
        Ok(Self { config, pool, embedding, layers, output_norm, output, inverse_frequencies, store })
    }

    /// Returns the model's shape.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the bytes that the weights occupy in memory.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        let layer = |l: &Layer| {
            [&l.query_key_value, &l.output, &l.gate_up, &l.down].map(PackedMatrix::size_bytes).iter().sum::<usize>()
        };
        self.layers.iter().map(layer).sum::<usize>()
            + self.output.size_bytes()
            + self.embedding.len() * size_of::<f32>()
    }

    /// Runs one step and picks a token for each row that wants one.
    pub fn step(&mut self, input: &StepInput, draws: &[Draw]) -> Vec<Picked> {
        let logits = self.logits(input);
        let rows = draws.par_iter().zip(logits.par_chunks_exact(self.config.vocabulary));
        self.pool.install(|| rows.map(|(draw, logits)| sampler::pick(logits, draw)).collect())
    }

    /// Runs one step and returns the logits of those rows that want them, `[wanted, vocabulary]` f32, in row order.
    pub fn logits(&mut self, input: &StepInput) -> Vec<f32> {
        let mut store = std::mem::replace(&mut self.store, KvStore::new(&self.config));
        let logits = self.pool.install(|| self.forward(input, &mut store));
        self.store = store;
        logits
    }

    fn forward(&self, input: &StepInput, store: &mut KvStore) -> Vec<f32> {
        let ModelConfig { hidden, ffn, heads, kv_heads, head_dim, epsilon, .. } = self.config;
        let width = (heads + 2 * kv_heads) * head_dim;
        let rows = &input.rows;
        let mut x = vec![0.0_f32; rows.len() * hidden];
        for (x, row) in x.chunks_exact_mut(hidden).zip(rows) {
            let start = (row.token as usize).min(self.config.vocabulary - 1) * hidden;
            x.copy_from_slice(&self.embedding[start..start + hidden]);
        }
        let rotations: Vec<Vec<(f32, f32)>> = rows.iter().map(|row| self.rotation(row.position)).collect();
        let used_blocks = input.tables.iter().flatten().copied();
        store.ensure(used_blocks);
        for (layer_index, layer) in self.layers.iter().enumerate() {
            let normed = math::rms_norm(&x, &layer.attention_norm, epsilon);
            let mut projected = layer.query_key_value.multiply(&normed);
            rotate(&mut projected, &rotations, width, (heads + kv_heads) * head_dim, head_dim);
            for (projected, row) in projected.chunks_exact(width).zip(rows) {
                let (keys, values) = projected[heads * head_dim..].split_at(kv_heads * head_dim);
                let block = input.tables[row.table][row.position / BLOCK_TOKENS];
                store.write(layer_index, block, row.position % BLOCK_TOKENS, keys, values);
            }
            let attended = self.attend(layer_index, input, &projected, store);
            math::add_assign(&mut x, &layer.output.multiply(&attended));
            let normed = math::rms_norm(&x, &layer.ffn_norm, epsilon);
            let activated = math::swiglu(&layer.gate_up.multiply(&normed), ffn);
            math::add_assign(&mut x, &layer.down.multiply(&activated));
        }
        let wanted = rows.iter().zip(x.chunks_exact(hidden)).filter(|(row, _)| row.wants_logits);
        let last: Vec<f32> = wanted.flat_map(|(_, x)| x.iter().copied()).collect();
        if last.is_empty() {
            return Vec::new();
        }
        self.output.multiply(&math::rms_norm(&last, &self.output_norm, epsilon))
    }

    /// Attention of all rows in one layer: `projected` is `[rows, queries, keys and values]`, the result
    /// `[rows, heads * head_dim]`.
    fn attend(&self, layer: usize, input: &StepInput, projected: &[f32], store: &KvStore) -> Vec<f32> {
        let ModelConfig { heads, kv_heads, head_dim, .. } = self.config;
        let (group, width) = (heads / kv_heads * head_dim, (heads + 2 * kv_heads) * head_dim);
        let mut out = vec![0.0_f32; input.rows.len() * heads * head_dim];
        let per_head = out.par_chunks_mut(group).enumerate();
        per_head.for_each_init(Vec::new, |scores, (index, out)| {
            let (row_index, kv_head) = (index / kv_heads, index % kv_heads);
            let row = &input.rows[row_index];
            let queries = &projected[row_index * width + kv_head * group..][..group];
            let length = row.position + 1;
            let table = &input.tables[row.table][..length.div_ceil(BLOCK_TOKENS)];
            let blocks: Vec<HeadBlock<'_>> = table.iter().map(|&block| store.head(layer, block, kv_head)).collect();
            attention::attend(queries, &blocks, length, head_dim, scores, out);
        });
        out
    }

    /// Returns cosine and sine of every rotary pair at a position.
    fn rotation(&self, position: usize) -> Vec<(f32, f32)> {
        self.inverse_frequencies
            .iter()
            .map(|&frequency| {
                // f64 keeps the angle exact to f32 precision at any position.
                let angle = position as f64 * f64::from(frequency);
                (angle.cos() as f32, angle.sin() as f32)
            })
            .collect()
    }
}

/// Rotates neighbouring pairs of each head (the layout that GGUF gives llama models) in the first `rotated` numbers of
/// each row; `x` is `[rows, width]`.
fn rotate(x: &mut [f32], rotations: &[Vec<(f32, f32)>], width: usize, rotated: usize, head_dim: usize) {
    for (row, rotation) in x.chunks_exact_mut(width).zip(rotations) {
        for head in row[..rotated].chunks_exact_mut(head_dim) {
            for (pair, (cos, sin)) in head.chunks_exact_mut(2).zip(rotation) {
                let (a, b) = (pair[0], pair[1]);
                pair[0] = a * cos - b * sin;
                pair[1] = a * sin + b * cos;
            }
        }
    }
}
