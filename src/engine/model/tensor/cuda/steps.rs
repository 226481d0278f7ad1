//! One step as a sequence of launches, and steps recorded as graphs.

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::super::loading::LayerTensors;
use super::device::{Arg, Launch, OutType, PICK_SHARED_BYTES, Product, driver_error};
use super::plan::{Plan, Section};
use super::state::{CudaModel, Graph, Recording};
use crate::error::EngineError;

/// Threads of the kernels that process a row of the residual stream; `NORM_THREADS` in the source.
const ROW_THREADS: usize = 256;
/// `PICK_THREADS` in the source.
const PICK_THREADS: usize = 1024;
/// Threads of attention, and of the kernel that stores keys and values, which uses one warp per head.
const HEAD_THREADS: usize = 128;
/// Maximum parts into which one row's attention is split.
const SPLITS_MAX: usize = 32;

impl CudaModel {
    /// Runs a decoding step. For each row count, the first step runs launch by launch, the second is recorded, and
    /// later ones are replayed.
    pub fn replay(&mut self, plan: &Plan) -> Result<(), EngineError> {
        match self.graphs.get(&plan.rows) {
            Some(Graph::Recorded(Recording(graph))) => graph.launch().map_err(driver_error),
            Some(Graph::Seen) => {
                let stream = self.gpu.stream();
                stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(driver_error)?;
                let issued = self.launch_step(plan);
                let captured = self.gpu.stream().end_capture(CUgraphInstantiate_flags(0)).map_err(driver_error);
                issued?;
                let graph = captured?.ok_or_else(|| candle_core::Error::msg("the device recorded an empty step"))?;
                graph.launch().map_err(driver_error)?;
                self.graphs.insert(plan.rows, Graph::Recorded(Recording(graph)));
                Ok(())
            }
            None => {
                self.launch_step(plan)?;
                self.graphs.insert(plan.rows, Graph::Seen);
                Ok(())
            }
        }
    }

    /// Launches all kernels of a step whose plan is on the device.
    pub fn launch_step(&self, plan: &Plan) -> Result<(), EngineError> {
        let (work, rows) = (&self.work, plan.rows);
        let launch = Launch { grid: [rows, 1, 1], threads: ROW_THREADS, shared_bytes: 0 };
        let args = [
            Arg::Pointer(work.residual.pointer()),
            self.parameter(&self.weights.embedding)?,
            self.section(plan, Section::Tokens),
        ];
        self.gpu.launch(&self.kernels.embed, launch, &args)?;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            // The output of the previous layer, which is not added yet.
            let delta = if index > 0 { work.delta.pointer() } else { 0 };
            self.norm(rows, delta, None, &layer.attention_norm, Arg::Pointer(0))?;
            self.attention(plan, index, layer)?;
            self.norm(rows, work.delta.pointer(), layer.output_bias.as_ref(), &layer.ffn_norm, Arg::Pointer(0))?;
            self.feed_forward(rows, layer)?;
        }
        if plan.wanted == 0 {
            return Ok(());
        }
        let delta = if self.weights.layers.is_empty() { 0 } else { work.delta.pointer() };
        self.norm(plan.wanted, delta, None, &self.weights.output_norm, self.section(plan, Section::Wanted))?;
        self.gpu.multiply(Product {
            x: work.normed.pointer(),
            matrix: self.gpu.pointer(&self.weights.output)?,
            out: work.logits.pointer(),
            rows: plan.wanted,
            outputs: self.config.vocabulary,
            inputs: self.config.hidden,
            out_type: OutType::F32,
        })?;
        self.pick(plan)
    }

    /// Adds `delta` and a bias to the residual stream and normalizes the result. With `wanted`, only the `rows` rows
    /// that it lists.
    fn norm(
        &self,
        rows: usize,
        delta: u64,
        bias: Option<&Tensor>,
        scale: &Tensor,
        wanted: Arg,
    ) -> Result<(), EngineError> {
        let args = [
            Arg::Pointer(self.work.residual.pointer()),
            Arg::Pointer(delta),
            self.optional_parameter(bias)?,
            self.parameter(scale)?,
            Arg::Pointer(self.work.normed.pointer()),
            wanted,
            Arg::Float(self.config.epsilon),
        ];
        let launch = Launch { grid: [rows, 1, 1], threads: ROW_THREADS, shared_bytes: 0 };
        self.gpu.launch(&self.kernels.add_norm, launch, &args)
    }

    /// Computes attention, from normed rows to the output projection, into `delta`.
    fn attention(&self, plan: &Plan, index: usize, layer: &LayerTensors) -> Result<(), EngineError> {
        let (work, rows, config) = (&self.work, plan.rows, &self.config);
        let (queries, heads) = (config.heads * config.head_dim, config.heads + 2 * config.kv_heads);
        self.product(rows, &layer.query_key_value, work.normed.pointer(), work.projected.pointer())?;
        let kind = config.layers[index];
        let (keys, values) = (Arg::Pointer(self.keys[index].pointer()), Arg::Pointer(self.values[index].pointer()));
        let args = [
            Arg::Pointer(work.projected.pointer()),
            self.optional_parameter(layer.bias.as_ref())?,
            self.optional_parameter(layer.query_norm.as_ref())?,
            self.optional_parameter(layer.key_norm.as_ref())?,
            Arg::Pointer(self.turns.pointer()),
            self.section(plan, Section::Positions),
            self.section(plan, Section::Slots),
            keys,
            values,
            Arg::Int(rows as i32),
            Arg::Int(i32::from(kind.uses_rope)),
            Arg::Float(self.magnitude),
            Arg::Float(config.epsilon),
        ];
        let blocks = (rows * heads).div_ceil(HEAD_THREADS / 32);
        let launch = Launch { grid: [blocks, 1, 1], threads: HEAD_THREADS, shared_bytes: 0 };
        self.gpu.launch(&self.kernels.rotate_store, launch, &args)?;
        // With few rows, the device is idle unless each row's positions are split.
        let splits = (self.gpu.attention_blocks() / (rows * config.kv_heads)).clamp(1, SPLITS_MAX);
        let args = [
            Arg::Pointer(work.projected.pointer()),
            keys,
            values,
            self.section(plan, Section::Positions),
            self.section(plan, Section::Starts),
            self.section(plan, Section::Blocks),
            Arg::Pointer(work.attended.pointer()),
            Arg::Pointer(work.partial.pointer()),
            Arg::Int(kind.window.map_or(0, |window| i32::try_from(window).unwrap_or(0))),
        ];
        // Equal to `SHARES` in the source.
        let shares = (config.heads / config.kv_heads).div_ceil(8);
        let grid = [rows, config.kv_heads * shares, splits];
        self.gpu.launch(&self.kernels.attend, Launch { grid, threads: HEAD_THREADS, shared_bytes: 0 }, &args)?;
        if splits > 1 {
            let args = [
                Arg::Pointer(work.partial.pointer()),
                self.section(plan, Section::Positions),
                Arg::Pointer(work.attended.pointer()),
                Arg::Int(splits as i32),
            ];
            let launch = Launch { grid: [rows * config.heads, 1, 1], threads: config.head_dim, shared_bytes: 0 };
            self.gpu.launch(&self.kernels.combine, launch, &args)?;
        }
        debug_assert_eq!(layer.output.dims(), [config.hidden, queries]);
        self.product(rows, &layer.output, work.attended.pointer(), work.delta.pointer())
    }

    /// Computes the feed-forward part, from normed rows to its addition to the residual stream, into `delta`.
    fn feed_forward(&self, rows: usize, layer: &LayerTensors) -> Result<(), EngineError> {
        let work = &self.work;
        self.product(rows, &layer.gate_up, work.normed.pointer(), work.gate_up.pointer())?;
        let args =
            [Arg::Pointer(work.gate_up.pointer()), Arg::Pointer(work.activated.pointer()), Arg::Int(rows as i32)];
        let blocks = (rows * self.config.ffn / 8).div_ceil(ROW_THREADS);
        let launch = Launch { grid: [blocks, 1, 1], threads: ROW_THREADS, shared_bytes: 0 };
        self.gpu.launch(&self.kernels.silu_mul, launch, &args)?;
        self.product(rows, &layer.down, work.activated.pointer(), work.delta.pointer())
    }

    fn pick(&self, plan: &Plan) -> Result<(), EngineError> {
        if let Some((nameless, count)) = &self.nameless {
            let args =
                [Arg::Pointer(self.work.logits.pointer()), Arg::Pointer(nameless.pointer()), Arg::Int(*count as i32)];
            let launch = Launch { grid: [plan.wanted, 1, 1], threads: ROW_THREADS, shared_bytes: 0 };
            self.gpu.launch(&self.kernels.mask, launch, &args)?;
        }
        let args = [
            Arg::Pointer(self.work.logits.pointer()),
            self.section(plan, Section::Temperatures),
            self.section(plan, Section::TopPs),
            self.section(plan, Section::MinPs),
            self.section(plan, Section::Uniforms),
            self.section(plan, Section::TopKs),
            Arg::Pointer(self.work.picked.pointer()),
        ];
        let launch = Launch { grid: [plan.wanted, 1, 1], threads: PICK_THREADS, shared_bytes: PICK_SHARED_BYTES };
        self.gpu.launch(&self.kernels.pick, launch, &args)
    }

    /// Multiplies `rows` rows with a matrix, bf16 in and out.
    fn product(&self, rows: usize, matrix: &Tensor, x: u64, out: u64) -> Result<(), EngineError> {
        let (outputs, inputs) = matrix.dims2()?;
        let matrix = self.gpu.pointer(matrix)?;
        self.gpu.multiply(Product { x, matrix, out, rows, outputs, inputs, out_type: OutType::Bf16 })
    }

    fn section(&self, plan: &Plan, section: Section) -> Arg {
        Arg::Pointer(self.work.plan.pointer() + (plan.offset(section) * size_of::<u32>()) as u64)
    }

    fn parameter(&self, tensor: &Tensor) -> Result<Arg, EngineError> {
        self.gpu.pointer(tensor).map(Arg::Pointer)
    }

    fn optional_parameter(&self, tensor: Option<&Tensor>) -> Result<Arg, EngineError> {
        tensor.map_or(Ok(Arg::Pointer(0)), |tensor| self.parameter(tensor))
    }
}
