//! Weight matrices in the layout that the kernels read.
//!
//! A matrix `[outputs, inputs]` is cut into panels of [`PANEL_WIDTH`] outputs, and a panel into blocks of
//! [`BLOCK_INPUTS`] inputs, so that the weights of 16 outputs for one input are adjacent. Numbers keep the size they
//! have in the file: 4-bit and 8-bit weights with their scales, halves, or f32. A kernel expands one block after
//! another into cache and multiplies it with all rows of the step. The expanded weights are exactly the file's weights
//! (`scale * q + minimum`, rounded once), except for 2-bit and 3-bit types, which are stored as bf16.
//!
//! The block formats follow llama.cpp's `ggml-common.h`.

use candle_core::quantized::GgmlDType;
use half::f16;
use rayon::prelude::*;

use super::buffer::SharedBuffer;
use crate::error::EngineError;
use crate::weights::RawTensor;

/// Outputs of one panel: two AVX registers of f32, one AVX-512 register, or one column of AMX tiles.
pub(super) const PANEL_WIDTH: usize = 16;

/// Inputs of one block; rows are padded with zeros to whole blocks.
pub(super) const BLOCK_INPUTS: usize = 32;

/// Panels per unit of work.
pub(super) const UNIT_PANELS: usize = 2;

/// Outputs per unit of work.
pub(super) const UNIT_WIDTH: usize = UNIT_PANELS * PANEL_WIDTH;

/// The storage format of a block's numbers, in words of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `[32][16]` f32.
    F32,
    /// `[16][16]` pairs of bf16: two neighbouring inputs of one output, the lower one in the low half.
    Bf16,
    /// As `Bf16`, in f16.
    F16,
    /// `[16]` scales, `[16]` minimums (f32), then `[4][16]` words of eight 4-bit numbers, lowest input in the lowest
    /// bits.
    Bits4,
    /// `[32 / inputs of a scale][16]` scales, the same of minimums, then `[8][16]` words of four 8-bit numbers.
    Bits8 {
        /// Inputs that share a scale: 16 or 32.
        scale_inputs: usize,
    },
}

impl Format {
    /// Returns the words of one block.
    pub(super) const fn block_words(self) -> usize {
        match self {
            Self::F32 => BLOCK_INPUTS * PANEL_WIDTH,
            Self::Bf16 | Self::F16 => BLOCK_INPUTS * PANEL_WIDTH / 2,
            Self::Bits4 => 2 * PANEL_WIDTH + BLOCK_INPUTS * PANEL_WIDTH / 8,
            Self::Bits8 { scale_inputs } => {
                2 * PANEL_WIDTH * (BLOCK_INPUTS / scale_inputs) + BLOCK_INPUTS * PANEL_WIDTH / 4
            }
        }
    }

    fn of(dtype: GgmlDType) -> Self {
        match dtype {
            GgmlDType::F32 => Self::F32,
            GgmlDType::F16 => Self::F16,
            GgmlDType::Q4_0 | GgmlDType::Q4_1 | GgmlDType::Q4K => Self::Bits4,
            GgmlDType::Q5_0 | GgmlDType::Q5_1 | GgmlDType::Q8_0 | GgmlDType::Q5K => Self::Bits8 { scale_inputs: 32 },
            GgmlDType::Q6K => Self::Bits8 { scale_inputs: 16 },
            _ => Self::Bf16,
        }
    }
}

/// The place of a panel in the matrix, and the columns of its outputs.
#[derive(Debug, Clone, Copy)]
struct Panel {
    segment: usize,
    /// Index within the panel's segment.
    index: usize,
    /// First column of the product that the panel computes.
    column: usize,
    /// Number of outputs that are not padding.
    width: usize,
}

struct Segment {
    format: Format,
    words: SharedBuffer<u32>,
}

/// A packed weight matrix, possibly stacked from several tensors.
pub(super) struct Matrix {
    blocks: usize,
    segments: Vec<Segment>,
    panels: Vec<Panel>,
}

/// A panel's weights for some blocks, and the columns of its outputs.
#[derive(Clone, Copy)]
pub(super) struct PanelView<'a> {
    /// The format of the words.
    pub format: Format,
    /// Whole blocks, in order.
    pub words: &'a [u32],
    /// First column of the product that the panel computes.
    pub column: usize,
    /// Number of the 16 outputs that are not padding.
    pub width: usize,
}

impl Matrix {
    /// Stacks tensors with the same number of inputs: the columns of the product are the columns of the tensors in
    /// order.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] for a storage type that cannot be read.
    pub(super) fn stack(parts: &[RawTensor<'_>]) -> Result<Self, EngineError> {
        let mut matrix = Self::empty(parts);
        let mut column = 0;
        for (segment, part) in parts.iter().enumerate() {
            let outputs = part.shape.first().copied().unwrap_or(0);
            for index in 0..outputs.div_ceil(PANEL_WIDTH) {
                let width = (outputs - index * PANEL_WIDTH).min(PANEL_WIDTH);
                matrix.panels.push(Panel { segment, index, column, width });
                column += width;
            }
            matrix.segments.push(pack_segment(part, matrix.blocks)?);
        }
        Ok(matrix)
    }

    /// Packs two tensors of the same shape so that each unit holds 16 outputs of the first and the same 16 outputs of
    /// the second: the columns of both are numbered by the tensor's own outputs.
    /// As [`Self::stack`].
    pub(super) fn interleave(first: &RawTensor<'_>, second: &RawTensor<'_>) -> Result<Self, EngineError> {
        let parts = [first.clone(), second.clone()];
        let mut matrix = Self::empty(&parts);
        let outputs = first.shape.first().copied().unwrap_or(0);
        for index in 0..outputs.div_ceil(PANEL_WIDTH) {
            let width = (outputs - index * PANEL_WIDTH).min(PANEL_WIDTH);
            let column = index * PANEL_WIDTH;
            matrix.panels.extend((0..2).map(|segment| Panel { segment, index, column, width }));
        }
        for part in &parts {
            matrix.segments.push(pack_segment(part, matrix.blocks)?);
        }
        Ok(matrix)
    }

    fn empty(parts: &[RawTensor<'_>]) -> Self {
        let inputs = parts.first().map_or(0, RawTensor::row_length);
        Self { blocks: inputs.div_ceil(BLOCK_INPUTS), segments: Vec::new(), panels: Vec::new() }
    }

    /// Returns the inputs, padded to whole blocks: the required length of rows of activations.
    pub(super) fn padded_inputs(&self) -> usize {
        self.blocks * BLOCK_INPUTS
    }

    /// Returns the number of blocks of inputs.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Returns the number of units of work.
    pub(super) fn units(&self) -> usize {
        self.panels.len().div_ceil(UNIT_PANELS)
    }

    /// Returns the size of the matrix in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.words.len() * size_of::<u32>()).sum()
    }

    /// Returns the panels of a unit, each with the words of some blocks.
    pub(super) fn unit(&self, unit: usize, blocks: std::ops::Range<usize>) -> impl Iterator<Item = PanelView<'_>> {
        let end = ((unit + 1) * UNIT_PANELS).min(self.panels.len());
        self.panels[unit * UNIT_PANELS..end].iter().map(move |panel| self.view(*panel, blocks.clone()))
    }

    /// Returns the panel that computes a column, and the column's index in the panel. The matrix must not be
    /// interleaved.
    pub(super) fn panel_of_column(&self, column: usize) -> Option<(PanelView<'_>, usize)> {
        let index = self.panels.partition_point(|panel| panel.column <= column).checked_sub(1)?;
        let panel = self.panels[index];
        let place = column - panel.column;
        (place < panel.width).then(|| (self.view(panel, 0..self.blocks), place))
    }

    fn view(&self, panel: Panel, blocks: std::ops::Range<usize>) -> PanelView<'_> {
        let Segment { format, words } = &self.segments[panel.segment];
        let block_words = format.block_words();
        let start = panel.index * self.blocks * block_words;
        // SAFETY: the words are written while the matrix is packed and never afterwards.
        let words = unsafe { words.read(start + blocks.start * block_words..start + blocks.end * block_words) };
        PanelView { format: *format, words, column: panel.column, width: panel.width }
    }
}

fn pack_segment(tensor: &RawTensor<'_>, blocks: usize) -> Result<Segment, EngineError> {
    let outputs = tensor.shape.first().copied().unwrap_or(0);
    let format = Format::of(tensor.dtype);
    let panel_words = blocks * format.block_words();
    let panels = outputs.div_ceil(PANEL_WIDTH);
    let bytes = panels * panel_words * size_of::<u32>();
    let mut words = SharedBuffer::try_new(panels * panel_words).ok_or(EngineError::OutOfMemory { bytes })?;
    let chunks = words.as_mut_slice().par_chunks_mut(panel_words.max(1)).enumerate();
    chunks.try_for_each(|(panel, words)| {
        let rows = panel * PANEL_WIDTH..((panel + 1) * PANEL_WIDTH).min(outputs);
        rows.enumerate().try_for_each(|(lane, row)| pack_row(tensor, row, format, lane, words))
    })?;
    Ok(Segment { format, words })
}

/// Writes one row of a tensor into its lane of a panel.
fn pack_row(
    tensor: &RawTensor<'_>,
    row: usize,
    format: Format,
    lane: usize,
    panel: &mut [u32],
) -> Result<(), EngineError> {
    let blocks = panel.chunks_exact_mut(format.block_words());
    let bytes = tensor.row_bytes(row..row + 1);
    match format {
        Format::F32 => {
            for (block, numbers) in blocks.zip(bytes.chunks(4 * BLOCK_INPUTS)) {
                for (input, number) in numbers.as_chunks::<4>().0.iter().enumerate() {
                    block[input * PANEL_WIDTH + lane] = u32::from_le_bytes(*number);
                }
            }
        }
        Format::F16 | Format::Bf16 => {
            let rounded: Vec<u8>;
            let is_stored_so = matches!(tensor.dtype, GgmlDType::F16 | GgmlDType::BF16);
            let halves = if is_stored_so {
                bytes
            } else {
                let numbers = tensor.rows_f32(row..row + 1)?;
                rounded = numbers.iter().flat_map(|number| half::bf16::from_f32(*number).to_le_bytes()).collect();
                &rounded
            };
            for (block, halves) in blocks.zip(halves.chunks(2 * BLOCK_INPUTS)) {
                for (input, half) in halves.as_chunks::<2>().0.iter().enumerate() {
                    let bits = u32::from(u16::from_le_bytes(*half)) << (input % 2 * 16);
                    block[input / 2 * PANEL_WIDTH + lane] |= bits;
                }
            }
        }
        Format::Bits4 | Format::Bits8 { .. } => {
            let mut quantized = QuantizedRow::new(tensor.dtype, bytes);
            for block in blocks {
                quantized.next_block().store(format, lane, block);
            }
        }
    }
    Ok(())
}

/// 32 quantized weights of one output: `scale * q + minimum`.
struct QuantizedBlock {
    /// Unsigned.
    numbers: [u8; BLOCK_INPUTS],
    /// One scale per 16 inputs; both are equal if 32 inputs share one scale.
    scales: [f32; 2],
    minimums: [f32; 2],
}

impl QuantizedBlock {
    fn store(&self, format: Format, lane: usize, words: &mut [u32]) {
        let (groups, bits) = match format {
            Format::Bits8 { scale_inputs } => (BLOCK_INPUTS / scale_inputs, 8),
            _ => (1, 4),
        };
        for group in 0..groups {
            words[group * PANEL_WIDTH + lane] = self.scales[group].to_bits();
            words[(groups + group) * PANEL_WIDTH + lane] = self.minimums[group].to_bits();
        }
        let per_word = 32 / bits;
        for (index, numbers) in self.numbers.chunks(per_word).enumerate() {
            let word = numbers.iter().rev().fold(0_u32, |word, number| word << bits | u32::from(*number));
            words[(2 * groups + index) * PANEL_WIDTH + lane] = word;
        }
    }
}

/// Reads a row of quantized blocks, 32 weights at a time.
struct QuantizedRow<'a> {
    dtype: GgmlDType,
    bytes: &'a [u8],
    /// Index of the next 32 weights, counted from the row's start.
    next: usize,
}

impl<'a> QuantizedRow<'a> {
    fn new(dtype: GgmlDType, bytes: &'a [u8]) -> Self {
        Self { dtype, bytes, next: 0 }
    }

    fn next_block(&mut self) -> QuantizedBlock {
        let per_file_block = self.dtype.block_size() / BLOCK_INPUTS;
        let start = self.next / per_file_block * self.dtype.type_size();
        let part = self.next % per_file_block;
        self.next += 1;
        let block = &self.bytes[start..start + self.dtype.type_size()];
        match self.dtype {
            GgmlDType::Q4_0 => {
                let d = half_at(block, 0);
                plain(nibbles(&block[2..]), d, -8.0 * d)
            }
            GgmlDType::Q4_1 => plain(nibbles(&block[4..]), half_at(block, 0), half_at(block, 2)),
            GgmlDType::Q5_0 => {
                let d = half_at(block, 0);
                plain(with_fifth_bit(nibbles(&block[6..]), &block[2..6]), d, -16.0 * d)
            }
            GgmlDType::Q5_1 => {
                plain(with_fifth_bit(nibbles(&block[8..]), &block[4..8]), half_at(block, 0), half_at(block, 2))
            }
            GgmlDType::Q4K => {
                let (scale, minimum) = k_scale(block, part);
                plain(k_nibbles(&block[16..], part), scale, minimum)
            }
            GgmlDType::Q5K => {
                let (scale, minimum) = k_scale(block, part);
                let mut numbers = k_nibbles(&block[48..], part);
                for (number, high) in numbers.iter_mut().zip(&block[16..48]) {
                    *number |= (high >> part & 1) << 4;
                }
                plain(numbers, scale, minimum)
            }
            GgmlDType::Q6K => q6k(block, part),
            // Q8_0: signed numbers, stored with an offset of 128.
            _ => {
                let d = half_at(block, 0);
                let numbers = std::array::from_fn(|index| block[2 + index] ^ 0x80);
                plain(numbers, d, -128.0 * d)
            }
        }
    }
}

fn plain(numbers: [u8; BLOCK_INPUTS], scale: f32, minimum: f32) -> QuantizedBlock {
    QuantizedBlock { numbers, scales: [scale; 2], minimums: [minimum; 2] }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Unpacks 16 bytes: the low halves are the first 16 weights, the high halves the last 16.
fn nibbles(bytes: &[u8]) -> [u8; BLOCK_INPUTS] {
    std::array::from_fn(|index| bytes[index % 16] >> (index / 16 * 4) & 15)
}

fn with_fifth_bit(mut numbers: [u8; BLOCK_INPUTS], bits: &[u8]) -> [u8; BLOCK_INPUTS] {
    for (index, number) in numbers.iter_mut().enumerate() {
        *number |= (bits[index / 8] >> (index % 8) & 1) << 4;
    }
    numbers
}

/// Returns the `part`-th 32 weights of a k-quant of 256: 32 bytes hold the low halves of one part and the high halves
/// of the next.
fn k_nibbles(bytes: &[u8], part: usize) -> [u8; BLOCK_INPUTS] {
    std::array::from_fn(|index| bytes[part / 2 * 32 + index] >> (part % 2 * 4) & 15)
}

/// Returns the scale and minimum of the `part`-th 32 weights of Q4_K and Q5_K: 6 bits each, packed in 12 bytes.
fn k_scale(block: &[u8], part: usize) -> (f32, f32) {
    let packed = &block[4..16];
    let (scale, minimum) = if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        (packed[part + 4] & 15 | packed[part - 4] >> 6 << 4, packed[part + 4] >> 4 | packed[part] >> 6 << 4)
    };
    (half_at(block, 0) * f32::from(scale), -half_at(block, 2) * f32::from(minimum))
}

/// Q6_K: 128 bytes of low halves, 64 bytes of high bit pairs, 16 signed scales of 16 weights each, and the factor.
fn q6k(block: &[u8], part: usize) -> QuantizedBlock {
    let (half, quarter) = (part / 4, part % 4);
    let (low, high) = (&block[half * 64..], &block[128 + half * 32..]);
    let numbers = std::array::from_fn(|index| {
        let low = low[quarter % 2 * 32 + index] >> (quarter / 2 * 4) & 15;
        low | (high[index] >> (quarter * 2) & 3) << 4
    });
    let d = half_at(block, 208);
    let scales: [f32; 2] = std::array::from_fn(|index| {
        let scale = block[192 + half * 8 + quarter * 2 + index] as i8;
        d * f32::from(scale)
    });
    QuantizedBlock { numbers, scales, minimums: scales.map(|scale| -32.0 * scale) }
}
