//! Compares the kernels with plain definitions, on every kernel family that this machine supports.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::attention::{Attention, attend};
use super::kernels::{Activations, Kernels, ProductScratch};
use super::kv_store::{HeadBlock, KvStore};
use super::matrix::{Matrix, UNIT_WIDTH};
use crate::model::BlockId;
use crate::model::{BLOCK_TOKENS, KernelChoice, KvType, LayerKind, ModelConfig};
use crate::model::{RopeConfig, RopeLayout, RopeScaling};
use crate::weights::RawTensor;

/// The kernel families of this machine.
fn families() -> Vec<Kernels> {
    let choices = [KernelChoice::Avx2, KernelChoice::Avx512, KernelChoice::Amx];
    let families: Vec<Kernels> = choices.into_iter().filter_map(|choice| Kernels::choose(choice).ok()).collect();
    assert!(families.contains(&Kernels::Narrow));
    families
}

fn noise(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1_u64 << 24) as f32) - 0.5
        })
        .collect()
}

/// Returns a matrix of noise in a storage type: its bytes, and the f32 values of these bytes.
fn stored(dtype: GgmlDType, outputs: usize, inputs: usize, seed: u64) -> (Vec<u8>, Vec<f32>) {
    let tensor = Tensor::from_vec(noise(outputs * inputs, seed), (outputs, inputs), &Device::Cpu).unwrap();
    let tensor = QTensor::quantize(&tensor, dtype).unwrap();
    let numbers = tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    (tensor.data().unwrap().into_owned(), numbers)
}

fn raw(dtype: GgmlDType, outputs: usize, inputs: usize, bytes: &[u8]) -> RawTensor<'_> {
    RawTensor { name: "test".to_owned(), dtype, shape: vec![outputs, inputs], bytes }
}

fn activations(kernels: Kernels, x: &[f32], width: usize) -> Activations {
    let rows = x.len() / width;
    let activations = Activations::new(kernels, rows, width);
    for (row, x) in x.chunks_exact(width).enumerate() {
        // SAFETY: no other thread has access.
        unsafe { activations.write(row, 0, x) };
    }
    activations
}

/// Computes the product `[rows, outputs]`, unit by unit.
fn product(kernels: Kernels, matrix: &Matrix, inputs: usize, x: &[f32], outputs: usize) -> Vec<f32> {
    let rows = x.len() / inputs;
    let activations = activations(kernels, x, inputs);
    let mut scratch = ProductScratch::default();
    let mut out = vec![0.0; rows * outputs];
    for unit in 0..matrix.units() {
        // SAFETY: no thread writes the activations.
        let sums = unsafe { scratch.multiply(matrix, unit, &activations, rows) };
        for (index, panel) in matrix.unit(unit, 0..0).enumerate() {
            for row in 0..rows {
                let sums = &sums[row * UNIT_WIDTH + index * 16..][..panel.width];
                out[row * outputs + panel.column..][..panel.width].copy_from_slice(sums);
            }
        }
    }
    out
}

const DTYPES: &[GgmlDType] = &[
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

#[test]
fn products_agree_with_the_definition_for_every_storage_type() {
    let (rows, inputs, outputs) = (5, 768, 40);
    for kernels in families() {
        for &dtype in DTYPES {
            let (bytes, weights) = stored(dtype, outputs, inputs, 7);
            let matrix = Matrix::stack(&[raw(dtype, outputs, inputs, &bytes)]).unwrap();
            let x = noise(rows * inputs, 8);
            let got = product(kernels, &matrix, inputs, &x, outputs);
            // bf16 has 8 bits of mantissa; two factors, and sums of 768 terms of about 0.08.
            let is_rounded = kernels == Kernels::Amx || matches!(dtype, GgmlDType::Q2K | GgmlDType::Q3K);
            let tolerance = if is_rounded { 3e-2 } else { 2e-5 };
            for row in 0..rows {
                for column in 0..outputs {
                    let terms =
                        (0..inputs).map(|i| f64::from(x[row * inputs + i]) * f64::from(weights[column * inputs + i]));
                    let (expected, got) = (terms.sum::<f64>(), f64::from(got[row * outputs + column]));
                    assert!((got - expected).abs() < tolerance, "{kernels:?} {dtype:?}: {got} for {expected}");
                }
            }
        }
    }
}

#[test]
fn products_of_odd_shapes_and_stacks_agree_with_the_definition() {
    for kernels in families() {
        for (rows, inputs, outputs) in [(1, 8, 16), (2, 5, 17), (7, 33, 40), (13, 64, 3), (33, 130, 50), (3, 600, 7)] {
            let (first, first_weights) = stored(GgmlDType::F32, outputs, inputs, 1);
            let (second, second_weights) = stored(GgmlDType::BF16, 9, inputs, 2);
            let parts = [raw(GgmlDType::F32, outputs, inputs, &first), raw(GgmlDType::BF16, 9, inputs, &second)];
            let matrix = Matrix::stack(&parts).unwrap();
            let x = noise(rows * inputs, 3);
            let got = product(kernels, &matrix, inputs, &x, outputs + 9);
            let tolerance = if kernels == Kernels::Amx { 3e-2 } else { 2e-5 };
            let weights = [first_weights, second_weights].concat();
            for row in 0..rows {
                for column in 0..outputs + 9 {
                    let terms =
                        (0..inputs).map(|i| f64::from(x[row * inputs + i]) * f64::from(weights[column * inputs + i]));
                    let (expected, got) = (terms.sum::<f64>(), f64::from(got[row * (outputs + 9) + column]));
                    assert!((got - expected).abs() < tolerance, "{kernels:?}: {got} for {expected}");
                }
            }
        }
    }
}

#[test]
fn a_row_of_a_product_has_the_same_bits_in_any_batch() {
    let (inputs, outputs) = (640, 80);
    for kernels in families() {
        for dtype in [GgmlDType::Q4_1, GgmlDType::BF16, GgmlDType::Q8_0] {
            let (bytes, _) = stored(dtype, outputs, inputs, 4);
            let matrix = Matrix::stack(&[raw(dtype, outputs, inputs, &bytes)]).unwrap();
            let x = noise(100 * inputs, 5);
            let whole = product(kernels, &matrix, inputs, &x, outputs);
            for rows in (1..=40).chain([47, 48, 49, 63, 64, 65, 95, 96, 99, 100]) {
                for first in [0, 100 - rows] {
                    let part = product(kernels, &matrix, inputs, &x[first * inputs..(first + rows) * inputs], outputs);
                    let expected = &whole[first * outputs..(first + rows) * outputs];
                    assert!(part == expected, "{kernels:?} {dtype:?}, {rows} rows from {first}");
                }
            }
        }
    }
}

#[test]
fn both_f32_families_give_the_same_bits() {
    if !families().contains(&Kernels::Wide) {
        eprintln!("not run: this machine has no AVX-512");
        return;
    }
    for &dtype in DTYPES {
        let (bytes, _) = stored(dtype, 48, 768, 6);
        let matrix = Matrix::stack(&[raw(dtype, 48, 768, &bytes)]).unwrap();
        let x = noise(9 * 768, 7);
        assert_eq!(
            product(Kernels::Narrow, &matrix, 768, &x, 48),
            product(Kernels::Wide, &matrix, 768, &x, 48),
            "{dtype:?}"
        );
    }
}

fn shape(kv_heads: usize, head_dim: usize) -> ModelConfig {
    ModelConfig {
        name: "test".to_owned(),
        architecture: "llama".to_owned(),
        hidden: 64,
        ffn: 64,
        heads: kv_heads,
        kv_heads,
        head_dim,
        vocabulary: 64,
        context: 64,
        epsilon: 1e-5,
        rope: RopeConfig { theta: 1e4, layout: RopeLayout::HalfSplit, scaling: RopeScaling::None },
        layers: vec![LayerKind { uses_rope: true, window: None }; 2],
    }
}

#[test]
fn attention_agrees_with_the_definition_and_sees_its_window_only() {
    for (head_dim, kv_type, tolerance) in [(20, KvType::F32, 1e-5), (64, KvType::F32, 1e-5), (20, KvType::Bf16, 2e-2)] {
        for (length, first, group) in [(1, 0, 1), (16, 0, 3), (17, 5, 4), (37, 20, 5), (48, 31, 2)] {
            let store = Arc::new(KvStore::new(&shape(2, head_dim), kv_type, 4).unwrap());
            let keys: Vec<Vec<f32>> = (0..length + 3).map(|t| noise(head_dim, t as u64 + 100)).collect();
            let values: Vec<Vec<f32>> = (0..length + 3).map(|t| noise(head_dim, t as u64 + 300)).collect();
            // The blocks are out of order, and the positions after the last visible one also hold values.
            let table = [BlockId(2), BlockId(0), BlockId(3), BlockId(1)];
            for t in 0..length + 3 {
                let place = (table[t / BLOCK_TOKENS], t % BLOCK_TOKENS);
                // SAFETY: no other thread has access.
                unsafe { store.write(1, place, 1, &keys[t], &values[t]) };
            }
            let queries: Vec<f32> = noise(group * head_dim, 9).iter().map(|q| 4.0 * q).collect();
            let first_block = first / BLOCK_TOKENS;
            let used = &table[first_block..usize::div_ceil(length, BLOCK_TOKENS)];
            // SAFETY: no thread writes any more.
            let blocks: Vec<HeadBlock<'_>> = used.iter().map(|block| unsafe { store.head(1, *block, 1) }).collect();
            let offset = first_block * BLOCK_TOKENS;
            let visible = first - offset..length - offset;
            let mut results: Vec<Vec<f32>> = Vec::new();
            for kernels in families() {
                let (mut out, mut scores) = (vec![0.0; group * head_dim], Vec::new());
                let (visible, out_slice) = (visible.clone(), out.as_mut_slice());
                let attention = Attention {
                    queries: &queries,
                    blocks: &blocks,
                    visible,
                    head_dim,
                    kv_type,
                    out: out_slice,
                    scores: &mut scores,
                };
                attend(kernels, attention);
                results.push(out);
            }
            assert!(results.iter().all(|out| *out == results[0]), "attention is the same bits on every vector unit");
            for head in 0..group {
                let query = &queries[head * head_dim..(head + 1) * head_dim];
                let score = |t: usize| {
                    let dot = query.iter().zip(&keys[t]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
                    (dot / (head_dim as f64).sqrt()).exp()
                };
                let total: f64 = (first..length).map(score).sum();
                for d in 0..head_dim {
                    let expected: f64 = (first..length).map(|t| score(t) / total * f64::from(values[t][d])).sum();
                    let got = f64::from(results[0][head * head_dim + d]);
                    assert!((got - expected).abs() < tolerance, "{kv_type:?} {length}: {got} for {expected}");
                }
            }
        }
    }
}
