//! Products on AMX tiles: bf16 factors, f32 sums (Sapphire Rapids and later, Linux).
//!
//! A tile of weights is one block of a panel: 16 pairs of inputs by 16 outputs. bf16 weights are stored as tiles;
//! weights of other formats are expanded to tiles in cache. Each sum runs over the pairs of inputs in ascending order,
//! and its value depends on its own row alone.

use super::matrix::{BLOCK_INPUTS, Matrix, PANEL_WIDTH, UNIT_PANELS, UNIT_WIDTH};

/// Rows of one tile of activations.
pub(super) const TILE_ROWS: usize = 16;

/// Words of one tile of weights.
const TILE_WORDS: usize = BLOCK_INPUTS / 2 * PANEL_WIDTH;

/// Blocks that are expanded at a time: 32 KiB of tiles for both panels.
const BLOCKS_PER_CHUNK: usize = 16;

/// Words of scratch memory that [`multiply`] needs.
pub(super) const SCRATCH_WORDS: usize = UNIT_PANELS * BLOCKS_PER_CHUNK * TILE_WORDS;

pub(super) use imp::{is_available, multiply};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod imp {
    use super::Matrix;

    /// Returns whether this CPU and its operating system have AMX with bf16.
    pub(crate) fn is_available() -> bool {
        false
    }

    /// Never called, because [`is_available`] returns false.
    pub fn multiply(_: &Matrix, _: usize, _: &[u16], _: usize, _: usize, _: &mut [u32], _: &mut [f32]) {}
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod imp {
    use std::arch::asm;
    use std::arch::x86_64::*;
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::super::matrix::{Format, PanelView};
    use super::*;

    /// Returns whether this CPU and its operating system support AMX with bf16, and requests permission to use it.
    pub(crate) fn is_available() -> bool {
        static IS_AVAILABLE: OnceLock<bool> = OnceLock::new();
        *IS_AVAILABLE.get_or_init(|| has_instructions() && request_tile_state())
    }

    fn has_instructions() -> bool {
        const AMX_BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;
        let has_vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        has_vectors && __cpuid_count(7, 0).edx & AMX_BF16_AND_TILE == AMX_BF16_AND_TILE
    }

    /// Requests the tile registers for this process from Linux (5.16 and later): `arch_prctl(ARCH_REQ_XCOMP_PERM, 18)`.
    fn request_tile_state() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
        const XFEATURE_XTILEDATA: usize = 18;
        let mut result = ARCH_PRCTL;
        // SAFETY: the call changes a permission of this process and touches no memory.
        unsafe {
            asm!("syscall", inout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _, out("r11") _, options(nostack));
        }
        result == 0
    }

    /// Operand of `ldtilecfg`.
    #[repr(C, align(64))]
    struct TileConfig {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    /// Shapes all eight tiles of this thread as 16 rows of 64 bytes, once. The shapes are thread state that compiled
    /// code does not touch and the operating system preserves; only code with tile instructions changes it, and this
    /// module is the only such code.
    fn configure_tiles() {
        thread_local! {
            static IS_CONFIGURED: Cell<bool> = const { Cell::new(false) };
        }
        if IS_CONFIGURED.replace(true) {
            return;
        }
        let mut config = TileConfig { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..8].fill(64);
        config.rows[..8].fill(TILE_ROWS as u8);
        // SAFETY: `is_available` returned true, so the instruction exists; the operand is 64 valid bytes.
        unsafe { asm!("ldtilecfg [{config}]", config = in(reg) &raw const config, options(nostack, readonly)) };
    }

    /// Multiplies `rows` rows of bf16 activations (`x`, `[rows padded to 32, stride]`) with one unit of a matrix into
    /// `sums`, `[rows padded to 32][32]` f32. `tiles` is scratch memory of [`SCRATCH_WORDS`].
    pub(crate) fn multiply(
        matrix: &Matrix,
        unit: usize,
        x: &[u16],
        stride: usize,
        rows: usize,
        tiles: &mut [u32],
        sums: &mut [f32],
    ) {
        assert!(is_available(), "AMX kernels are chosen only where they exist");
        let padded_rows = rows.next_multiple_of(2 * TILE_ROWS);
        assert!(x.len() >= padded_rows * stride && stride >= matrix.padded_inputs());
        assert!(sums.len() >= padded_rows * UNIT_WIDTH && tiles.len() >= SCRATCH_WORDS);
        configure_tiles();
        let blocks = matrix.blocks();
        let (scratch, _) = tiles.as_chunks_mut::<{ BLOCKS_PER_CHUNK * TILE_WORDS }>();
        for first in (0..blocks).step_by(BLOCKS_PER_CHUNK) {
            let count = (blocks - first).min(BLOCKS_PER_CHUNK);
            let mut weights = [scratch[0].as_ptr(), scratch[1].as_ptr()];
            for (index, panel) in matrix.unit(unit, first..first + count).enumerate() {
                if panel.format == Format::Bf16 {
                    weights[index] = panel.words.as_ptr();
                } else {
                    // SAFETY: `is_available` checked these instructions.
                    unsafe { expand(panel, &mut scratch[index]) };
                    weights[index] = scratch[index].as_ptr();
                }
            }
            for row in (0..rows).step_by(2 * TILE_ROWS) {
                let chunk = Chunk {
                    x: x[row * stride + first * BLOCK_INPUTS..].as_ptr(),
                    stride,
                    weights,
                    count,
                    sums: sums[row * UNIT_WIDTH..].as_mut_ptr(),
                    is_first: first == 0,
                };
                // SAFETY: by the lengths checked above, 32 rows of activations and sums are in bounds from here on, and
                // `count` tiles of weights are in bounds at both pointers (a unit of one panel reads old tiles, whose
                // sums are never used).
                unsafe { if rows - row > TILE_ROWS { chunk.two_tiles() } else { chunk.one_tile() } };
            }
        }
    }

    /// Multiplies up to 32 rows with `count` tiles of both panels.
    struct Chunk {
        x: *const u16,
        stride: usize,
        weights: [*const u32; UNIT_PANELS],
        count: usize,
        sums: *mut f32,
        is_first: bool,
    }

    impl Chunk {
        /// # Safety
        /// 32 rows of activations and sums, and `count` tiles per panel (at least one), must be valid at the
        /// pointers; the tiles must be configured.
        unsafe fn two_tiles(&self) {
            let x_bytes = self.stride * 2;
            // SAFETY: guaranteed by the caller; the rows of the sums are 128 bytes apart. The contents of the tiles are
            // live only within this block, which declares all its changes.
            unsafe {
                asm!(
                    "test {is_first:e}, {is_first:e}",
                    "jz 2f",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "jmp 3f",
                    "2:",
                    "tileloadd tmm0, [{sums} + {sum_bytes}*1]",
                    "tileloadd tmm1, [{sums} + {sum_bytes}*1 + 64]",
                    "tileloadd tmm2, [{sums} + {sum_bytes}*1 + 2048]",
                    "tileloadd tmm3, [{sums} + {sum_bytes}*1 + 2112]",
                    "3:",
                    "tileloadd tmm4, [{x0} + {x_bytes}*1]",
                    "tileloadd tmm6, [{w0} + {tile_bytes}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{w1} + {tile_bytes}*1]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{x1} + {x_bytes}*1]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {x0}, 64",
                    "add {x1}, 64",
                    "add {w0}, 1024",
                    "add {w1}, 1024",
                    "dec {count}",
                    "jnz 3b",
                    "tilestored [{sums} + {sum_bytes}*1], tmm0",
                    "tilestored [{sums} + {sum_bytes}*1 + 64], tmm1",
                    "tilestored [{sums} + {sum_bytes}*1 + 2048], tmm2",
                    "tilestored [{sums} + {sum_bytes}*1 + 2112], tmm3",
                    is_first = in(reg) u32::from(self.is_first),
                    x0 = inout(reg) self.x => _,
                    x1 = inout(reg) self.x.add(TILE_ROWS * self.stride) => _,
                    w0 = inout(reg) self.weights[0] => _,
                    w1 = inout(reg) self.weights[1] => _,
                    count = inout(reg) self.count => _,
                    x_bytes = in(reg) x_bytes,
                    tile_bytes = in(reg) 64_usize,
                    sum_bytes = in(reg) 4 * UNIT_WIDTH,
                    sums = in(reg) self.sums,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }

        /// # Safety
        /// As [`Self::two_tiles`], with 16 rows.
        unsafe fn one_tile(&self) {
            let x_bytes = self.stride * 2;
            // SAFETY: as in `two_tiles`.
            unsafe {
                asm!(
                    "test {is_first:e}, {is_first:e}",
                    "jz 2f",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "jmp 3f",
                    "2:",
                    "tileloadd tmm0, [{sums} + {sum_bytes}*1]",
                    "tileloadd tmm1, [{sums} + {sum_bytes}*1 + 64]",
                    "3:",
                    "tileloadd tmm4, [{x0} + {x_bytes}*1]",
                    "tileloadd tmm6, [{w0} + {tile_bytes}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{w1} + {tile_bytes}*1]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "add {x0}, 64",
                    "add {w0}, 1024",
                    "add {w1}, 1024",
                    "dec {count}",
                    "jnz 3b",
                    "tilestored [{sums} + {sum_bytes}*1], tmm0",
                    "tilestored [{sums} + {sum_bytes}*1 + 64], tmm1",
                    is_first = in(reg) u32::from(self.is_first),
                    x0 = inout(reg) self.x => _,
                    w0 = inout(reg) self.weights[0] => _,
                    w1 = inout(reg) self.weights[1] => _,
                    count = inout(reg) self.count => _,
                    x_bytes = in(reg) x_bytes,
                    tile_bytes = in(reg) 64_usize,
                    sum_bytes = in(reg) 4 * UNIT_WIDTH,
                    sums = in(reg) self.sums,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    }

    /// Expands a panel's blocks to tiles: words of two neighbouring inputs in bf16, rounded to nearest.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn expand(panel: PanelView<'_>, tiles: &mut [u32]) {
        let blocks = panel.words.chunks_exact(panel.format.block_words());
        for (words, tile) in blocks.zip(tiles.as_chunks_mut::<TILE_WORDS>().0) {
            match panel.format {
                Format::F32 => {
                    for (pair, out) in words.chunks_exact(2 * PANEL_WIDTH).zip(tile.chunks_exact_mut(PANEL_WIDTH)) {
                        let (even, odd) = (load(pair), load(&pair[PANEL_WIDTH..]));
                        store_pair(_mm512_castsi512_ps(even), _mm512_castsi512_ps(odd), out);
                    }
                }
                Format::F16 => {
                    for (pair, out) in words.chunks_exact(PANEL_WIDTH).zip(tile.chunks_exact_mut(PANEL_WIDTH)) {
                        let pair = load(pair);
                        let even = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pair));
                        let odd = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(pair)));
                        store_pair(even, odd, out);
                    }
                }
                Format::Bf16 => tile.copy_from_slice(words),
                Format::Bits4 => expand_quantized::<4>(words, tile, BLOCK_INPUTS),
                Format::Bits8 { scale_inputs } => expand_quantized::<8>(words, tile, scale_inputs),
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn expand_quantized<const BITS: u32>(words: &[u32], tile: &mut [u32], scale_inputs: usize) {
        let groups = BLOCK_INPUTS / scale_inputs;
        let per_word = 32 / BITS as usize;
        let mask = _mm512_set1_epi32((1 << BITS) - 1);
        let (scales, numbers) = words.split_at(2 * groups * PANEL_WIDTH);
        let numbers = numbers.chunks_exact(PANEL_WIDTH);
        for (index, (word, out)) in numbers.zip(tile.chunks_exact_mut(per_word / 2 * PANEL_WIDTH)).enumerate() {
            let group = index * per_word / scale_inputs;
            let scale = _mm512_castsi512_ps(load(&scales[group * PANEL_WIDTH..]));
            let minimum = _mm512_castsi512_ps(load(&scales[(groups + group) * PANEL_WIDTH..]));
            let mut word = load(word);
            for out in out.chunks_exact_mut(PANEL_WIDTH) {
                let even = _mm512_cvtepi32_ps(_mm512_and_si512(word, mask));
                word = _mm512_srlv_epi32(word, _mm512_set1_epi32(BITS as i32));
                let odd = _mm512_cvtepi32_ps(_mm512_and_si512(word, mask));
                word = _mm512_srlv_epi32(word, _mm512_set1_epi32(BITS as i32));
                store_pair(_mm512_fmadd_ps(even, scale, minimum), _mm512_fmadd_ps(odd, scale, minimum), out);
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn load(words: &[u32]) -> __m512i {
        let words: &[u32; PANEL_WIDTH] = words.first_chunk().expect("a panel's row is 16 words");
        // SAFETY: the slice has 64 bytes.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    /// Rounds two inputs of 16 outputs to bf16 and stores them interleaved.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn store_pair(even: __m512, odd: __m512, out: &mut [u32]) {
        let out: &mut [u32; PANEL_WIDTH] = out.first_chunk_mut().expect("a tile's row is 16 words");
        // The low 16 halves are the even inputs, the high 16 halves the odd inputs.
        let halves: __m512i = bits_of(_mm512_cvtne2ps_pbh(odd, even));
        let order = _mm512_set_epi16(
            31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17,
            1, 16, 0,
        );
        let pairs = _mm512_permutexvar_epi16(order, halves);
        // SAFETY: the slice has 64 bytes.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs) };
    }

    #[target_feature(enable = "avx512f")]
    fn bits_of(halves: __m512bh) -> __m512i {
        // SAFETY: both types are 64 plain bytes.
        unsafe { std::mem::transmute::<__m512bh, __m512i>(halves) }
    }
}
