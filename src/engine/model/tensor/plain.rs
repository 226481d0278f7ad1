//! The decoder in candle's operations: for any device, without a loop over sequences.

use std::collections::HashMap;

use candle_core::{D, DType, Device, Tensor};

use super::super::{
    BLOCK_TOKENS, Draw, ExecutorOptions, KvType, ModelConfig, Nameless, PickFault, PickResult, RopeLayout, Row,
    StepInput,
};
use super::device::matrix_dtype;
use super::loading::{self, LayerTensors, TensorWeights};
use crate::caught::caught;
use crate::error::EngineError;
use crate::sampler;
use crate::weights::Weights;

/// A model in candle's operations.
pub(super) struct PlainModel {
    config: ModelConfig,
    nameless: Nameless,
    device: Device,
    /// Type of the matrices and of their factors.
    dtype: DType,
    weights: TensorWeights,
    /// One per layer, `[positions of all blocks, kv_heads * head_dim]` in the KV type.
    keys: Vec<Tensor>,
    /// As `keys`.
    values: Vec<Tensor>,
    /// Inverse rotary frequencies, `[head_dim / 2]`.
    inverse_frequencies: Vec<f32>,
    /// Factor on cosine and sine.
    magnitude: f32,
}

/// Values of a step that all layers share.
struct Context {
    /// Cosine of every row's rotary pairs, `[rows, 1, head_dim / 2]` f32.
    cosine: Tensor,
    /// Sine of the same pairs.
    sine: Tensor,
    /// Where each row's keys and values are stored, `[rows, kv_heads * head_dim]` u32.
    slots: Tensor,
    /// Groups of sequences whose attention is computed together.
    groups: Vec<Group>,
    /// For each row, its index in the concatenated outputs of the groups, `[rows]` u32.
    places: Tensor,
}

/// Sequences whose rows are padded to a common count, and whose positions are padded to another.
struct Group {
    tables: usize,
    rows: usize,
    positions: usize,
    /// The row of each query, `[tables * rows]` u32; padding repeats a table's first row.
    queries: Tensor,
    /// The slot of each position, `[tables * positions]` u32.
    slots: Tensor,
    /// By window: 0 where a query attends, minus infinity elsewhere, `[tables, 1, 1, rows, positions]` f32.
    masks: HashMap<Option<usize>, Tensor>,
}

impl PlainModel {
    /// Loads a model.
    pub(super) fn load(
        weights: &Weights,
        config: ModelConfig,
        device: Device,
        options: &ExecutorOptions,
    ) -> Result<Self, EngineError> {
        let kv_dtype = match options.kv_type {
            KvType::F32 => DType::F32,
            KvType::Bf16 => DType::BF16,
        };
        let shape = (options.kv_blocks * BLOCK_TOKENS, config.kv_heads * config.head_dim);
        let store = || config.layers.iter().map(|_| Tensor::zeros(shape, kv_dtype, &device)).collect();
        let (keys, values): (Result<_, _>, Result<_, _>) = (store(), store());
        let (inverse_frequencies, magnitude) = config.rope.inverse_frequencies(config.head_dim);
        Ok(Self {
            dtype: matrix_dtype(&device),
            weights: loading::load(weights, &config, &device)?,
            keys: keys?,
            values: values?,
            inverse_frequencies,
            magnitude,
            nameless: Nameless::new(config.vocabulary, &[]),
            config,
            device,
        })
    }

    /// Excludes `nameless`, the rows of the output matrix that must never be picked.
    pub(super) fn never_pick(&mut self, nameless: &[u32]) {
        self.nameless = Nameless::new(self.config.vocabulary, nameless);
    }

    /// Runs one step and picks tokens on the host.
    pub(super) fn step(&mut self, input: &StepInput, draws: &[Draw]) -> Result<Vec<PickResult>, EngineError> {
        let mut logits = self.logits(input)?;
        Ok(draws
            .iter()
            .zip(logits.chunks_exact_mut(self.config.vocabulary))
            .map(|(draw, logits)| {
                caught(|| sampler::pick(self.nameless.masked(logits), draw)).map_err(PickFault::Panicked)?
            })
            .collect())
    }

    /// Runs one step and returns the logits of the rows that want them, `[wanting rows, vocabulary]` f32.
    pub(super) fn logits(&mut self, input: &StepInput) -> Result<Vec<f32>, EngineError> {
        match self.forward(input)? {
            Some(logits) => Ok(logits.flatten_all()?.to_vec1()?),
            None => Ok(Vec::new()),
        }
    }

    fn forward(&self, input: &StepInput) -> Result<Option<Tensor>, EngineError> {
        if input.rows.is_empty() {
            return Ok(None);
        }
        let context = self.context(input)?;
        let last = self.config.vocabulary as u32 - 1;
        let tokens: Vec<u32> = input.rows.iter().map(|row| row.token.min(last)).collect();
        let mut x = self.weights.embedding.index_select(&self.indexes(tokens)?, 0)?.to_dtype(DType::F32)?;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let attended = self.attention(index, layer, &x, &context)?;
            x = (x + attended)?;
            let normed = self.norm(&x, &layer.ffn_norm)?;
            let gate_up = self.multiply(&normed, &layer.gate_up)?;
            let gate = gate_up.narrow(1, 0, self.config.ffn)?;
            let up = gate_up.narrow(1, self.config.ffn, self.config.ffn)?;
            x = (x + self.multiply(&(gate.silu()? * up)?, &layer.down)?)?;
        }
        let is_wanted = |(index, row): (usize, &Row)| row.wants_logits.then_some(index as u32);
        let wanted: Vec<u32> = input.rows.iter().enumerate().filter_map(is_wanted).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let normed = self.norm(&x.index_select(&self.indexes(wanted)?, 0)?, &self.weights.output_norm)?;
        Ok(Some(self.multiply(&normed, &self.weights.output)?))
    }

    fn context(&self, input: &StepInput) -> Result<Context, EngineError> {
        let &ModelConfig { kv_heads, head_dim, .. } = &self.config;
        let (rows, half) = (input.rows.len(), head_dim / 2);
        let slots: Vec<u32> = input.rows.iter().map(|row| slot(input, row.table, row.position)).collect();
        let slots = self.indexes(slots)?.reshape((rows, 1))?.broadcast_as((rows, kv_heads * head_dim))?;
        let angle = |row: &Row, frequency: f32| row.position as f64 * f64::from(frequency);
        let rotation = |part: fn(f64) -> f64| {
            // f64 keeps the angle exact to f32 precision at any position.
            let turned =
                |row| self.inverse_frequencies.iter().map(move |&frequency| part(angle(row, frequency)) as f32);
            let numbers: Vec<f32> = input.rows.iter().flat_map(turned).map(|x| x * self.magnitude).collect();
            Tensor::from_vec(numbers, (rows, 1, half), &self.device)
        };
        let (groups, places) = self.groups(input)?;
        Ok(Context {
            cosine: rotation(f64::cos)?,
            sine: rotation(f64::sin)?,
            slots: slots.contiguous()?,
            groups,
            places: self.indexes(places)?,
        })
    }

    /// Puts sequences with one row and sequences with several rows into separate groups, so that decoding rows are not
    /// padded to the length of a prompt. Returns the groups, and each row's index in their outputs.
    fn groups(&self, input: &StepInput) -> Result<(Vec<Group>, Vec<u32>), EngineError> {
        let mut rows_of: Vec<Vec<usize>> = vec![Vec::new(); input.tables.len()];
        for (index, row) in input.rows.iter().enumerate() {
            rows_of[row.table].push(index);
        }
        let with_rows = |several: bool| -> Vec<usize> {
            (0..rows_of.len())
                .filter(|&table| !rows_of[table].is_empty() && (rows_of[table].len() > 1) == several)
                .collect()
        };
        let (mut groups, mut places, mut start) = (Vec::new(), vec![0; input.rows.len()], 0);
        for tables in [with_rows(false), with_rows(true)] {
            let rows = tables.iter().map(|&table| rows_of[table].len()).max().unwrap_or(0);
            for (index, &table) in tables.iter().enumerate() {
                for (offset, &row) in rows_of[table].iter().enumerate() {
                    places[row] = start + (index * rows + offset) as u32;
                }
            }
            if !tables.is_empty() {
                groups.push(self.group(input, &rows_of, &tables, rows)?);
            }
            start += (tables.len() * rows) as u32;
        }
        Ok((groups, places))
    }

    fn group(
        &self,
        input: &StepInput,
        rows_of: &[Vec<usize>],
        tables: &[usize],
        rows: usize,
    ) -> Result<Group, EngineError> {
        let position =
            |table: usize, row: usize| input.rows[*rows_of[table].get(row).unwrap_or(&rows_of[table][0])].position;
        let length = |table: usize| (0..rows).map(|row| position(table, row) + 1).max().unwrap_or(0);
        let positions = tables.iter().map(|&table| length(table)).max().unwrap_or(0);
        let (mut queries, mut slots) = (Vec::new(), Vec::new());
        for &table in tables {
            queries.extend((0..rows).map(|row| *rows_of[table].get(row).unwrap_or(&rows_of[table][0]) as u32));
            slots.extend((0..positions).map(|at| slot(input, table, at.min(length(table) - 1))));
        }
        let mut masks = HashMap::new();
        for window in self.config.layers.iter().map(|layer| layer.window) {
            if masks.contains_key(&window) {
                continue;
            }
            let mut mask = Vec::with_capacity(tables.len() * rows * positions);
            for (table, row) in tables.iter().flat_map(|&table| (0..rows).map(move |row| (table, row))) {
                let last = position(table, row);
                let first = window.map_or(0, |window| (last + 1).saturating_sub(window));
                let number = |at| if at >= first && at <= last { 0.0 } else { f32::NEG_INFINITY };
                mask.extend((0..positions).map(number));
            }
            masks.insert(window, Tensor::from_vec(mask, (tables.len(), 1, 1, rows, positions), &self.device)?);
        }
        let (queries, slots) = (self.indexes(queries)?, self.indexes(slots)?);
        Ok(Group { tables: tables.len(), rows, positions, queries, slots, masks })
    }

    /// Computes the attention of a layer and stores the rows' keys and values; `x` and the result are `[rows, hidden]`
    /// f32.
    fn attention(
        &self,
        index: usize,
        layer: &LayerTensors,
        x: &Tensor,
        context: &Context,
    ) -> Result<Tensor, EngineError> {
        let &ModelConfig { heads, kv_heads, head_dim, .. } = &self.config;
        let rows = x.dim(0)?;
        let mut projected = self.multiply(&self.norm(x, &layer.attention_norm)?, &layer.query_key_value)?;
        if let Some(bias) = &layer.bias {
            projected = projected.broadcast_add(bias)?;
        }
        let projected = projected.reshape((rows, heads + 2 * kv_heads, head_dim))?;
        let part = |start: usize, count: usize, norm: Option<&Tensor>| {
            let part = projected.narrow(1, start, count)?.contiguous()?;
            match norm {
                Some(scale) => self.norm(&part, scale),
                None => Ok(part),
            }
        };
        let mut queries = part(0, heads, layer.query_norm.as_ref())?;
        let mut keys = part(heads, kv_heads, layer.key_norm.as_ref())?;
        let values = part(heads + kv_heads, kv_heads, None)?;
        let kind = self.config.layers[index];
        if kind.uses_rope {
            queries = self.rotate(&queries, context)?;
            keys = self.rotate(&keys, context)?;
        }
        for (store, new) in [(&self.keys[index], &keys), (&self.values[index], &values)] {
            let new = new.reshape((rows, kv_heads * head_dim))?.to_dtype(store.dtype())?;
            store.scatter_set(&context.slots, &new, 0)?;
        }
        let attend = |group| self.attend(index, group, &queries, kind.window);
        let outputs = context.groups.iter().map(attend).collect::<Result<Vec<_>, _>>()?;
        let attended = Tensor::cat(&outputs, 0)?.index_select(&context.places, 0)?;
        let output = self.multiply(&attended, &layer.output)?;
        match &layer.output_bias {
            Some(bias) => Ok(output.broadcast_add(bias)?),
            None => Ok(output),
        }
    }

    /// Computes the attention of a group: `queries` is `[rows, heads, head_dim]` f32, the result is `[group's tables *
    /// rows, heads * head_dim]` f32.
    fn attend(
        &self,
        layer: usize,
        group: &Group,
        queries: &Tensor,
        window: Option<usize>,
    ) -> Result<Tensor, EngineError> {
        let &ModelConfig { heads, kv_heads, head_dim, .. } = &self.config;
        let &Group { tables, rows, positions, .. } = group;
        let per_head = heads / kv_heads;
        let queries = queries.index_select(&group.queries, 0)?.reshape((tables, rows, kv_heads, per_head, head_dim))?;
        let queries = queries.permute((0, 2, 3, 1, 4))?.reshape((tables, kv_heads, per_head * rows, head_dim))?;
        let stored = |store: &Tensor| {
            let stored = store.index_select(&group.slots, 0)?.to_dtype(DType::F32)?;
            stored.reshape((tables, positions, kv_heads, head_dim))?.transpose(1, 2)?.contiguous()
        };
        let (keys, values) = (stored(&self.keys[layer])?, stored(&self.values[layer])?);
        let scores = (queries.contiguous()?.matmul(&keys.t()?)? * (head_dim as f64).sqrt().recip())?;
        let mut scores = scores.reshape((tables, kv_heads, per_head, rows, positions))?;
        if let Some(mask) = group.masks.get(&window) {
            scores = scores.broadcast_add(mask)?;
        }
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        let attended = weights.reshape((tables, kv_heads, per_head * rows, positions))?.matmul(&values)?;
        let attended = attended.reshape((tables, kv_heads, per_head, rows, head_dim))?.permute((0, 3, 1, 2, 4))?;
        Ok(attended.reshape((tables * rows, heads * head_dim))?)
    }

    /// Rotates heads by their rows' positions; `heads` and the result are `[rows, any heads, head_dim]` f32.
    fn rotate(&self, heads: &Tensor, context: &Context) -> Result<Tensor, EngineError> {
        let (rows, count, head_dim) = heads.dims3()?;
        let half = head_dim / 2;
        let (a, b) = match self.config.rope.layout {
            RopeLayout::HalfSplit => (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?),
            RopeLayout::Interleaved => {
                let pairs = heads.reshape((rows, count, half, 2))?;
                (pairs.narrow(3, 0, 1)?.squeeze(3)?, pairs.narrow(3, 1, 1)?.squeeze(3)?)
            }
        };
        let first = (a.broadcast_mul(&context.cosine)? - b.broadcast_mul(&context.sine)?)?;
        let second = (a.broadcast_mul(&context.sine)? + b.broadcast_mul(&context.cosine)?)?;
        match self.config.rope.layout {
            RopeLayout::HalfSplit => Ok(Tensor::cat(&[first, second], 2)?),
            RopeLayout::Interleaved => Ok(Tensor::stack(&[first, second], 3)?.reshape((rows, count, head_dim))?),
        }
    }

    /// Root-mean-square norm over the last dimension, f32 in and out; `scale` has the length of that dimension.
    fn norm(&self, x: &Tensor, scale: &Tensor) -> Result<Tensor, EngineError> {
        let squares = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(self.config.epsilon))?;
        Ok(x.broadcast_div(&squares.sqrt()?)?.broadcast_mul(scale)?)
    }

    /// Multiplies `x`, `[rows, inputs]` f32, with a matrix `[outputs, inputs]`: the result is `[rows, outputs]` f32.
    fn multiply(&self, x: &Tensor, matrix: &Tensor) -> Result<Tensor, EngineError> {
        Ok(x.to_dtype(self.dtype)?.matmul(&matrix.t()?)?.to_dtype(DType::F32)?)
    }

    fn indexes(&self, numbers: Vec<u32>) -> Result<Tensor, EngineError> {
        let count = numbers.len();
        Ok(Tensor::from_vec(numbers, count, &self.device)?)
    }
}

/// Returns the slot of a position's keys and values.
fn slot(input: &StepInput, table: usize, position: usize) -> u32 {
    (input.tables[table][position / BLOCK_TOKENS].0 * BLOCK_TOKENS + position % BLOCK_TOKENS) as u32
}
