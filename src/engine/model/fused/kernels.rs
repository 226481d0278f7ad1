//! The choice of kernels, and the product of a matrix with the rows of a step.
//!
//! Every output is one chain of operations over the inputs in ascending order, for any number of rows and on any
//! thread. In the f32 kernels the chain is one fused multiply-add per input, so AVX2 and AVX-512 give the same bits;
//! AMX rounds both factors to bf16 and sums pairs, so its bits differ.

use pulp::Simd;

use super::amx;
use super::buffer::SharedBuffer;
use super::expand::expand_f32;
use super::few_rows::{self, FEW_ROWS_MAX};
use super::matrix::{BLOCK_INPUTS, Matrix, PANEL_WIDTH, UNIT_PANELS, UNIT_WIDTH};
use crate::error::EngineError;
use crate::model::KernelChoice;

/// Blocks that the f32 kernels expand at a time: 16 KiB of weights, which stay in the first-level cache while all rows
/// use them.
const BLOCKS_PER_CHUNK: usize = 4;

/// Rows that share each load of the weights on AVX2: 6 x 2 sums fill 12 of its 16 registers.
const AVX2_ROWS: usize = 6;

/// The same on AVX-512, which covers both panels of a unit: 12 x 2 sums fill 24 of its 32 registers.
const AVX512_ROWS: usize = 12;

/// The kernels in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernels {
    /// f32 with the vector unit up to AVX2.
    Narrow,
    /// f32 with the widest vector unit.
    Wide,
    /// bf16 on AMX tiles.
    Amx,
}

impl Kernels {
    /// Chooses kernels that this CPU supports.
    ///
    /// # Errors
    /// A message that names the missing feature, if the CPU lacks the chosen kernels.
    pub(super) fn choose(choice: KernelChoice) -> Result<Self, String> {
        let lacks = |what: &str| Err(format!("this CPU (or its kernel) has no {what}"));
        match choice {
            KernelChoice::Auto if amx::is_available() => Ok(Self::Amx),
            KernelChoice::Auto => Ok(Self::Wide),
            KernelChoice::Avx2 => Ok(Self::Narrow),
            KernelChoice::Avx512 if !has_avx512() => lacks("AVX-512"),
            KernelChoice::Avx512 => Ok(Self::Wide),
            KernelChoice::Amx if !amx::is_available() => lacks("AMX with bf16"),
            KernelChoice::Amx => Ok(Self::Amx),
        }
    }

    /// Returns the name of the kernel family: texts of one family have the same bits on every machine.
    pub(super) const fn numerics(self) -> &'static str {
        match self {
            Self::Narrow | Self::Wide => "f32",
            Self::Amx => "bf16-amx",
        }
    }

    /// Runs a vectorized task.
    #[inline(always)]
    pub(super) fn dispatch<Task: pulp::WithSimd>(self, task: Task) -> Task::Output {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Narrow
            && let Some(simd) = pulp::x86::V3::try_new()
        {
            return Simd::vectorize(simd, task);
        }
        pulp::Arch::new().dispatch(task)
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    pulp::x86::V4::try_new().is_some()
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

/// The rows of activations for a product, `[rows, stride]`, in the number type of the kernels.
pub(super) struct Activations {
    kernels: Kernels,
    stride: usize,
    numbers: SharedBuffer<f32>,
    halves: SharedBuffer<u16>,
}

impl Activations {
    /// Allocates activations of `rows` rows of `width` numbers, initially zero.
    pub(super) fn new(kernels: Kernels, rows: usize, width: usize) -> Self {
        let stride = width.next_multiple_of(BLOCK_INPUTS);
        // AMX reads whole tiles of rows.
        let length = rows.next_multiple_of(2 * amx::TILE_ROWS) * stride;
        let (numbers, halves) = if kernels == Kernels::Amx { (0, length) } else { (length, 0) };
        Self { kernels, stride, numbers: SharedBuffer::new(numbers), halves: SharedBuffer::new(halves) }
    }

    /// Writes numbers to a row, from column `column` on.
    ///
    /// # Safety
    /// No other thread may read or write this part of the row in the meantime.
    pub(super) unsafe fn write(&self, row: usize, column: usize, numbers: &[f32]) {
        let start = row * self.stride + column;
        let range = start..start + numbers.len();
        if self.kernels == Kernels::Amx {
            // SAFETY: guaranteed by the caller.
            round_to_bf16(numbers, unsafe { self.halves.write(range) });
        } else {
            // SAFETY: guaranteed by the caller.
            unsafe { self.numbers.write(range) }.copy_from_slice(numbers);
        }
    }
}

/// Rounds to bf16, to nearest, ties to even. Not for NaN.
pub(super) fn round_to_bf16(numbers: &[f32], halves: &mut [u16]) {
    for (half, number) in halves.iter_mut().zip(numbers) {
        let bits = number.to_bits();
        *half = ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    }
}

/// Scratch memory of one thread for products.
pub(super) struct ProductScratch {
    /// Expanded weights.
    expanded: SharedBuffer<f32>,
    tiles: SharedBuffer<u32>,
    /// `[rows][32]`
    sums: SharedBuffer<f32>,
}

impl Default for ProductScratch {
    fn default() -> Self {
        Self {
            expanded: SharedBuffer::new(UNIT_PANELS * BLOCKS_PER_CHUNK * BLOCK_INPUTS * PANEL_WIDTH),
            tiles: SharedBuffer::new(amx::SCRATCH_WORDS),
            sums: SharedBuffer::new(0),
        }
    }
}

impl ProductScratch {
    /// Multiplies the first `rows` rows of activations with one unit of a matrix; the result is `[rows][32]` f32, with
    /// the unit's panels side by side.
    ///
    /// # Safety
    /// No thread may write the activations in the meantime.
    pub(super) unsafe fn multiply(&mut self, matrix: &Matrix, unit: usize, x: &Activations, rows: usize) -> &mut [f32] {
        let padded_rows = rows.next_multiple_of(2 * amx::TILE_ROWS);
        if self.sums.len() < padded_rows * UNIT_WIDTH {
            self.sums = SharedBuffer::new(padded_rows * UNIT_WIDTH);
        }
        let sums = self.sums.as_mut_slice();
        if x.kernels == Kernels::Amx {
            // SAFETY: guaranteed by the caller.
            let halves = unsafe { x.halves.read(0..padded_rows * x.stride) };
            amx::multiply(matrix, unit, halves, x.stride, rows, self.tiles.as_mut_slice(), sums);
        } else {
            // SAFETY: guaranteed by the caller.
            let numbers = unsafe { x.numbers.read(0..rows * x.stride) };
            let expanded = self.expanded.as_mut_slice();
            x.kernels.dispatch(UnitProduct { matrix, unit, x: numbers, stride: x.stride, expanded, sums });
        }
        &mut self.sums.as_mut_slice()[..rows * UNIT_WIDTH]
    }
}

struct UnitProduct<'a> {
    matrix: &'a Matrix,
    unit: usize,
    /// `[rows, stride]`
    x: &'a [f32],
    stride: usize,
    /// `[panel][input][16]`
    expanded: &'a mut [f32],
    /// `[rows][32]`
    sums: &'a mut [f32],
}

impl pulp::WithSimd for UnitProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Vectors per panel.
        match PANEL_WIDTH / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<pulp::Scalar, PANEL_WIDTH>(pulp::Scalar),
        }
    }
}

impl UnitProduct<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let Self { matrix, unit, x, stride, expanded, sums } = self;
        let blocks = matrix.blocks();
        if x.len() <= FEW_ROWS_MAX * stride
            && few_rows::multiply::<S, VECTORS>(simd, &mut matrix.unit(unit, 0..blocks), x, stride, sums)
        {
            return;
        }
        let (panels, _) = expanded.as_chunks_mut::<{ BLOCKS_PER_CHUNK * BLOCK_INPUTS * PANEL_WIDTH }>();
        for first in (0..blocks).step_by(BLOCKS_PER_CHUNK) {
            let chunk = first..(first + BLOCKS_PER_CHUNK).min(blocks);
            for (panel, expanded) in matrix.unit(unit, chunk.clone()).zip(panels.iter_mut()) {
                expand_f32::<S, VECTORS>(simd, panel, expanded);
            }
            let inputs = chunk.start * BLOCK_INPUTS..chunk.end * BLOCK_INPUTS;
            let tile_rows = if VECTORS == 1 { AVX512_ROWS } else { AVX2_ROWS };
            let tiles = x.chunks(tile_rows * stride).zip(sums.chunks_mut(tile_rows * UNIT_WIDTH));
            for (x, sums) in tiles {
                let tile = Tile { x, stride, inputs: inputs.clone(), panels: [&panels[0], &panels[1]], sums };
                tile.multiply::<S, VECTORS>(simd);
            }
        }
    }
}

/// Some rows times one chunk of a unit's inputs, added to the sums of the earlier chunks.
struct Tile<'a> {
    /// `[rows, stride]`
    x: &'a [f32],
    stride: usize,
    inputs: std::ops::Range<usize>,
    /// `[input][16]` each.
    panels: [&'a [f32]; UNIT_PANELS],
    /// `[rows][32]`
    sums: &'a mut [f32],
}

impl Tile<'_> {
    #[inline(always)]
    fn multiply<S: Simd, const VECTORS: usize>(mut self, simd: S) {
        let rows = self.x.len() / self.stride;
        if VECTORS == 1 {
            match rows {
                12 => self.both::<S, 12, VECTORS>(simd),
                11 => self.both::<S, 11, VECTORS>(simd),
                10 => self.both::<S, 10, VECTORS>(simd),
                9 => self.both::<S, 9, VECTORS>(simd),
                8 => self.both::<S, 8, VECTORS>(simd),
                7 => self.both::<S, 7, VECTORS>(simd),
                6 => self.both::<S, 6, VECTORS>(simd),
                5 => self.both::<S, 5, VECTORS>(simd),
                4 => self.both::<S, 4, VECTORS>(simd),
                3 => self.both::<S, 3, VECTORS>(simd),
                2 => self.both::<S, 2, VECTORS>(simd),
                _ => self.both::<S, 1, VECTORS>(simd),
            }
        } else {
            match rows {
                6 => self.each::<S, 6, VECTORS>(simd),
                5 => self.each::<S, 5, VECTORS>(simd),
                4 => self.each::<S, 4, VECTORS>(simd),
                3 => self.both::<S, 3, VECTORS>(simd),
                2 => self.both::<S, 2, VECTORS>(simd),
                _ => self.both::<S, 1, VECTORS>(simd),
            }
        }
    }

    /// Processes one panel after the other: many rows fill the registers.
    #[inline(always)]
    fn each<S: Simd, const ROWS: usize, const VECTORS: usize>(&mut self, simd: S) {
        for panel in 0..UNIT_PANELS {
            self.product::<S, ROWS, 1, VECTORS>(simd, panel);
        }
    }

    /// Processes both panels at once: with few rows, more independent chains hide the latency of the additions.
    #[inline(always)]
    fn both<S: Simd, const ROWS: usize, const VECTORS: usize>(&mut self, simd: S) {
        self.product::<S, ROWS, UNIT_PANELS, VECTORS>(simd, 0);
    }

    #[inline(always)]
    fn product<S: Simd, const ROWS: usize, const PANELS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first_panel: usize,
    ) {
        let count = self.inputs.len();
        let x: [&[f32]; ROWS] = std::array::from_fn(|row| &self.x[row * self.stride + self.inputs.start..][..count]);
        let weights: [&[[S::f32s; VECTORS]]; PANELS] = std::array::from_fn(|panel| {
            &S::as_simd_f32s(self.panels[first_panel + panel]).0.as_chunks::<VECTORS>().0[..count]
        });
        let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; PANELS]; ROWS];
        let column = first_panel * PANEL_WIDTH;
        let (out, _) = self.sums.as_chunks_mut::<UNIT_WIDTH>();
        if self.inputs.start > 0 {
            for (sums, out) in sums.iter_mut().zip(out.iter()) {
                let (out, _) = S::as_simd_f32s(&out[column..]).0.as_chunks::<VECTORS>();
                sums.copy_from_slice(&out[..PANELS]);
            }
        }
        for input in 0..count {
            let weights: [[S::f32s; VECTORS]; PANELS] = std::array::from_fn(|panel| weights[panel][input]);
            for row in 0..ROWS {
                let value = simd.splat_f32s(x[row][input]);
                for panel in 0..PANELS {
                    for vector in 0..VECTORS {
                        let sum = &mut sums[row][panel][vector];
                        *sum = simd.mul_add_e_f32s(value, weights[panel][vector], *sum);
                    }
                }
            }
        }
        for (sums, out) in sums.iter().zip(out.iter_mut()) {
            let (out, _) = S::as_mut_simd_f32s(&mut out[column..]).0.as_chunks_mut::<VECTORS>();
            out[..PANELS].copy_from_slice(sums);
        }
    }
}

/// Returns the names of the kernels that this CPU supports, as spelled in `policy.kernels`; a descriptive name if the
/// CPU has none of the vector units with kernels of their own.
pub fn available() -> Vec<&'static str> {
    let mut names = Vec::new();
    #[cfg(target_arch = "x86_64")]
    if pulp::x86::V3::try_new().is_some() {
        names.push("avx2");
    }
    if has_avx512() {
        names.push("avx512");
    }
    if amx::is_available() {
        names.push("amx");
    }
    if names.is_empty() {
        names.push(if cfg!(target_arch = "aarch64") { "neon" } else { "baseline" });
    }
    names
}

/// Chooses kernels, with the engine's error if the CPU lacks them.
pub(super) fn choose(choice: KernelChoice) -> Result<Kernels, EngineError> {
    Kernels::choose(choice).map_err(|detail| EngineError::NoDevice { detail })
}
