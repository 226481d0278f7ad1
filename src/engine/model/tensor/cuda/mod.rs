//! The decoder on an NVIDIA GPU: cuBLAS for the matrix products, this crate's own kernels for all other operations.
//!
//! A step transfers data twice: one copy uploads tokens, positions, block tables and draws, one copy downloads the
//! picked tokens. All buffers are allocated at load. A step in which every row wants a token (all rows decode) is
//! recorded as a CUDA graph per padded row count and replayed, so that the host does not delay the device.

mod device;
mod plan;
mod state;
mod steps;

use std::collections::HashMap;

use candle_core::Device;

pub use state::CudaModel;

use self::device::{Gpu, Kernels};
use self::plan::Plan;
use self::state::Work;
use super::loading;
use crate::error::EngineError;
use crate::model::{Draw, ExecutorOptions, KvType, ModelConfig, Picked, RopeLayout, StepInput};
use crate::weights::Weights;

impl CudaModel {
    /// Loads a model, compiles the kernels for its shape, and runs warm-up steps.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if the memory is too small, [`EngineError::NoDevice`] if the kernels do not
    /// support the model's shape or cannot be compiled; otherwise as [`loading::load`].
    pub fn load(
        weights: &Weights,
        config: ModelConfig,
        device: Device,
        options: &ExecutorOptions,
    ) -> Result<Self, EngineError> {
        check_shape(&config)?;
        let rows_max = options.rows_max.max(1);
        let gpu = Gpu::new(&device)?;
        let kv_bytes = config.block_bytes(options.kv_type.size()) * options.kv_blocks;
        let work_bytes = work_bytes(&config, rows_max);
        gpu.check_memory(loading::weight_bytes(&config, weights, &device), kv_bytes, work_bytes)?;
        let kernels = Kernels::compile(&gpu, &defines(&config, options.kv_type))?;
        let layer_bytes = kv_bytes / 2 / config.layers.len();
        let store = || config.layers.iter().map(|_| gpu.zeros(layer_bytes)).collect::<Result<Vec<_>, _>>();
        let (keys, values) = (store()?, store()?);
        let (inverse_frequencies, magnitude) = config.rope.inverse_frequencies(config.head_dim);
        let turns: Vec<f64> =
            inverse_frequencies.iter().map(|&frequency| f64::from(frequency) / std::f64::consts::TAU).collect();
        let work = Work::new(&gpu, &config, rows_max)?;
        let mut model = Self {
            weights: loading::load(weights, &config, &device)?,
            turns: gpu.upload(&turns)?,
            config,
            kernels,
            keys,
            values,
            magnitude,
            work,
            rows_max,
            graphs: HashMap::new(),
            nameless: None,
            gpu,
        };
        model.warm_up()?;
        Ok(model)
    }

    /// Excludes `nameless`, the rows of the output matrix that must never be picked.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if the device has no room for the list.
    pub fn never_pick(&mut self, nameless: &[u32]) -> Result<(), EngineError> {
        // Recorded steps do not contain the mask.
        self.graphs.clear();
        self.nameless = if nameless.is_empty() { None } else { Some((self.gpu.upload(nameless)?, nameless.len())) };
        Ok(())
    }

    /// Runs one step and picks tokens on the device.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] if the device fails.
    pub fn step(&mut self, input: &StepInput, draws: &[Draw]) -> Result<Vec<Picked>, EngineError> {
        if input.rows.is_empty() {
            return Ok(Vec::new());
        }
        self.run(input, draws)?;
        let mut picked = vec![0_u32; 2 * draws.len()];
        self.gpu.download(&self.work.picked, &mut picked)?;
        let pairs = picked.chunks_exact(2);
        Ok(pairs.map(|pair| Picked { token: pair[0], log_probability: f32::from_bits(pair[1]) }).collect())
    }

    /// Runs one step and returns the logits of the rows that want them, `[wanting rows, vocabulary]` f32.
    #[cfg(test)]
    pub fn logits(&mut self, input: &StepInput) -> Result<Vec<f32>, EngineError> {
        let wanted = input.rows.iter().filter(|row| row.wants_logits).count();
        if input.rows.is_empty() {
            return Ok(Vec::new());
        }
        let greedy = Draw { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, uniform: 0.0, allowed: None };
        self.run(input, &vec![greedy; wanted])?;
        let mut logits = vec![0.0_f32; wanted * self.config.vocabulary];
        self.gpu.download(&self.work.logits, &mut logits)?;
        Ok(logits)
    }

    fn run(&mut self, input: &StepInput, draws: &[Draw]) -> Result<(), EngineError> {
        if input.rows.len() > self.rows_max {
            let rows = input.rows.len();
            return Err(EngineError::Stopped(format!("a step has {rows} rows, room was made for {}", self.rows_max)));
        }
        let is_decoding = input.rows.iter().all(|row| row.wants_logits);
        let padded = plan::padded_rows(input.rows.len());
        if is_decoding && padded <= self.rows_max.min(plan::GRAPH_ROWS_MAX) {
            let plan = Plan::new(input, draws, padded, padded);
            self.prepare(&plan)?;
            return self.replay(&plan);
        }
        let plan = Plan::new(input, draws, input.rows.len(), draws.len());
        self.prepare(&plan)?;
        self.launch_step(&plan)
    }

    /// Allocates room for the plan and the logits, and copies the plan to the device.
    fn prepare(&mut self, plan: &Plan) -> Result<(), EngineError> {
        let plan_bytes = size_of_val(plan.numbers()).next_power_of_two();
        let logits_bytes = plan.wanted * self.config.vocabulary * size_of::<f32>();
        for (buffer, bytes) in [(&mut self.work.plan, plan_bytes), (&mut self.work.logits, logits_bytes)] {
            if bytes > buffer.bytes() {
                // Recorded steps point to the old buffer.
                self.graphs.clear();
                *buffer = self.gpu.zeros(bytes)?;
            }
        }
        self.gpu.copy_up(plan.numbers(), &self.work.plan)
    }

    /// Runs steps of a few sizes on block 0, which no sequence holds yet: loads cuBLAS' kernels and this crate's own
    /// kernels.
    fn warm_up(&mut self) -> Result<(), EngineError> {
        for rows in [1, 16, self.rows_max] {
            let rows = rows.min(self.rows_max);
            let plan = Plan::idle(rows, rows.min(16));
            self.prepare(&plan)?;
            self.launch_step(&plan)?;
        }
        self.gpu.wait()
    }
}

impl Work {
    fn new(gpu: &Gpu, config: &ModelConfig, rows: usize) -> Result<Self, EngineError> {
        let &ModelConfig { hidden, ffn, heads, kv_heads, head_dim, .. } = config;
        let (bf16, f32) = (2, size_of::<f32>());
        Ok(Self {
            plan: gpu.zeros(size_of::<u32>())?,
            residual: gpu.zeros(rows * hidden * f32)?,
            normed: gpu.zeros(rows * hidden * bf16)?,
            delta: gpu.zeros(rows * hidden * bf16)?,
            projected: gpu.zeros(rows * (heads + 2 * kv_heads) * head_dim * bf16)?,
            attended: gpu.zeros(rows * heads * head_dim * bf16)?,
            partial: gpu.zeros(gpu.attention_blocks() * (heads / kv_heads) * (head_dim + 2) * f32)?,
            gate_up: gpu.zeros(rows * 2 * ffn * bf16)?,
            activated: gpu.zeros(rows * ffn * bf16)?,
            logits: gpu.zeros(f32)?,
            picked: gpu.zeros(rows * 2 * size_of::<u32>())?,
        })
    }
}

/// Returns the approximate bytes of a step's buffers, logits of 256 rows included.
fn work_bytes(config: &ModelConfig, rows: usize) -> usize {
    let &ModelConfig { hidden, ffn, heads, kv_heads, head_dim, vocabulary, .. } = config;
    rows * (8 * hidden + (4 * heads + 4 * kv_heads) * head_dim + 6 * ffn) + rows.min(256) * vocabulary * 4
}

/// Rejects shapes that the kernels' 16-byte loads do not support.
fn check_shape(config: &ModelConfig) -> Result<(), EngineError> {
    let &ModelConfig { hidden, ffn, head_dim, .. } = config;
    if hidden % 8 != 0 || ffn % 8 != 0 || head_dim % 8 != 0 || head_dim > 256 {
        let detail = format!(
            "the CUDA kernels take widths that are multiples of 8 and heads of at most 256; the model has hidden width \
             {hidden}, feed-forward width {ffn}, head width {head_dim}"
        );
        return Err(EngineError::NoDevice { detail });
    }
    Ok(())
}

/// Returns the preprocessor definitions for the kernels.
fn defines(config: &ModelConfig, kv_type: KvType) -> [(&'static str, usize); 8] {
    [
        ("HIDDEN", config.hidden),
        ("FFN", config.ffn),
        ("HEADS", config.heads),
        ("KV_HEADS", config.kv_heads),
        ("HEAD_DIM", config.head_dim),
        ("VOCABULARY", config.vocabulary),
        ("KV_F32", usize::from(kv_type == KvType::F32)),
        ("HALF_SPLIT", usize::from(config.rope.layout == RopeLayout::HalfSplit)),
    ]
}
