//! The llama decoder: weights from a GGUF file, and one batched step over ragged sequences.
//!
//! candle reads and dequantizes the weights; the step itself runs on thinkloom's own f32 kernels (`math`,
//! `attention`), because candle's matmul kernels are either scalar for the common Q4_1 file or change their order of
//! operations with the batch size, and resuming stands on results that do not depend on the batch.

mod attention;
mod config;
mod kv_store;
mod math;

use rayon::prelude::*;

pub use attention::BLOCK_TOKENS;
pub use config::ModelConfig;
pub use kv_store::KvStore;
pub use math::exp;

use self::attention::HeadBlock;
use self::math::PackedMatrix;
use super::error::EngineError;
use super::gguf::GgufFile;
use super::kv::BlockId;

/// One token of one sequence, to be run in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Token id.
    pub token: u32,
    /// 0-based position in its sequence.
    pub position: usize,
    /// Index into the step's block tables.
    pub table: usize,
    /// Whether the logits after this token are needed.
    pub wants_logits: bool,
}

/// Everything one step needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepInput {
    /// Rows in any order, but positions of one sequence ascending.
    pub rows: Vec<Row>,
    /// One block table per sequence: the blocks that hold its positions, in order.
    pub tables: Vec<Vec<BlockId>>,
}

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

/// A loaded model.
pub struct Model {
    config: ModelConfig,
    embedding: Vec<f32>,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    output: PackedMatrix,
    /// Inverse rotary frequencies, `[head_dim / 2]`.
    inverse_frequencies: Vec<f32>,
}

impl Model {
    /// Loads a llama-architecture model.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for another architecture or rope scaling, [`EngineError::Malformed`] for missing
    /// or misshapen tensors, [`EngineError::Io`] if the file cannot be read.
    pub fn load(file: &mut GgufFile) -> Result<Self, EngineError> {
        let config = ModelConfig::from_gguf(file)?;
        let (hidden, q_width, kv_width) =
            (config.hidden, config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let embedding_tensor = file.tensor("token_embd.weight", &[config.vocabulary, hidden])?;
        let embedding = dequantize(&embedding_tensor)?;
        // Matrices of the same input are stacked: `parts` are names and output counts.
        let stack = |file: &mut GgufFile, parts: &[(String, usize)], inputs: usize| {
            let mut weights = Vec::new();
            for (name, outputs) in parts {
                weights.extend(dequantize(&file.tensor(name, &[*outputs, inputs])?)?);
            }
            Ok::<_, EngineError>(PackedMatrix::pack(&weights, inputs))
        };
        let mut layers = Vec::with_capacity(config.layers);
        for index in 0..config.layers {
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            let attention = [(name("attn_q"), q_width), (name("attn_k"), kv_width), (name("attn_v"), kv_width)];
            layers.push(Layer {
                attention_norm: file.vector(&name("attn_norm"), hidden)?,
                query_key_value: stack(file, &attention, hidden)?,
                output: stack(file, &[(name("attn_output"), hidden)], q_width)?,
                ffn_norm: file.vector(&name("ffn_norm"), hidden)?,
                gate_up: stack(file, &[(name("ffn_gate"), config.ffn), (name("ffn_up"), config.ffn)], hidden)?,
                down: stack(file, &[(name("ffn_down"), hidden)], config.ffn)?,
            });
        }
        let output_norm = file.vector("output_norm.weight", hidden)?;
        // A model without an output matrix ties it to the embedding.
        let output = if file.has_tensor("output.weight") {
            stack(file, &[("output.weight".to_owned(), config.vocabulary)], hidden)?
        } else {
            PackedMatrix::pack(&embedding, hidden)
        };
        let inverse_frequencies = inverse_frequencies(file, &config)?;
        Ok(Self { config, embedding, layers, output_norm, output, inverse_frequencies })
    }

    /// Returns the model's shape.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the bytes that the weights occupy in memory.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let layer = |l: &Layer| {
            [&l.query_key_value, &l.output, &l.gate_up, &l.down].map(PackedMatrix::size_bytes).iter().sum::<usize>()
        };
        self.layers.iter().map(layer).sum::<usize>()
            + self.output.size_bytes()
            + self.embedding.len() * size_of::<f32>()
    }

    /// Runs one step: writes the keys and values of all rows into `store`, and returns the logits of those rows that
    /// want them, `[wanted, vocabulary]` f32, in row order.
    ///
    /// The caller owns the block tables: every row's position lies inside its table's blocks, positions below it have
    /// been run before or stand earlier in this step, and blocks written here belong to one sequence only.
    #[must_use]
    pub fn step(&self, input: &StepInput, store: &mut KvStore) -> Vec<f32> {
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

fn dequantize(tensor: &candle_core::quantized::QTensor) -> Result<Vec<f32>, EngineError> {
    Ok(tensor.dequantize(&candle_core::Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?)
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

/// Returns `theta^(-2 i / d)` for each rotary pair, divided by Llama 3's long-context factors where the file has them.
fn inverse_frequencies(file: &mut GgufFile, config: &ModelConfig) -> Result<Vec<f32>, EngineError> {
    let pairs = config.head_dim / 2;
    let factors =
        if file.has_tensor("rope_freqs.weight") { file.vector("rope_freqs.weight", pairs)? } else { vec![1.0; pairs] };
    let base = |index: usize| config.rope_theta.powf(-2.0 * index as f32 / config.head_dim as f32);
    Ok(factors.iter().enumerate().map(|(index, factor)| base(index) / factor).collect())
}
