//! Tests of the tensor executor against the fused one, and of the CUDA kernels against both.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::model::BlockId;
use crate::model::{
    BLOCK_TOKENS, DeviceChoice, Executor, ExecutorChoice, ExecutorOptions, KernelChoice, KvType, Row, StepInput,
};
use crate::testing::{Family, Format, RandomModel, tiny_model_path};
use crate::weights::Weights;
use crate::{Completion, Engine, EngineError, EngineOptions, SequenceSpec};

/// Blocks that the script's sequences share.
const KV_BLOCKS: usize = 64;

/// The fused executor computes in f32 on every CPU, even on a CPU with AMX.
pub(crate) fn options(executor: ExecutorChoice, device: DeviceChoice, kv_type: KvType) -> ExecutorOptions {
    let kernels = KernelChoice::Avx2;
    ExecutorOptions { device, executor, kernels, threads: 2, kv_type, kv_blocks: KV_BLOCKS, rows_max: 256 }
}

/// Steps over six sequences whose prompts arrive in chunks of random size together with decoding rows; the last steps
/// contain only decoding rows. Blocks are assigned in an order that mixes the sequences.
pub(crate) fn script(vocabulary: usize, seed: u64) -> Vec<StepInput> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |bound: usize| rng.next_u32() as usize % bound;
    let mut next_block = 0;
    let (mut tables, mut lengths) = (vec![Vec::new(); 6], vec![0_usize; 6]);
    let mut steps = Vec::new();
    for step in 0..24 {
        let mut input = StepInput::default();
        for sequence in 0..tables.len() {
            let is_decoding = step > 14;
            if !is_decoding && below(4) == 0 {
                continue;
            }
            let count = if is_decoding || below(2) == 0 { 1 } else { 1 + below(12 * sequence + 2) };
            let end = lengths[sequence] + count;
            while tables[sequence].len() < end.div_ceil(BLOCK_TOKENS) {
                tables[sequence].push(BlockId(next_block * 37 % KV_BLOCKS));
                next_block += 1;
            }
            for position in lengths[sequence]..end {
                let wants_logits = position + 1 == end && (is_decoding || below(3) > 0);
                let row = Row { token: below(vocabulary) as u32, position, table: input.tables.len(), wants_logits };
                input.rows.push(row);
            }
            input.tables.push(tables[sequence].clone());
            lengths[sequence] = end;
        }
        steps.push(input);
    }
    assert!(next_block <= KV_BLOCKS, "{next_block} blocks are needed");
    steps
}

/// Runs a script on two executors; returns the largest norm of the logits' difference, relative to the norm of the
/// first executor's logits.
pub(crate) fn worst_difference(first: &mut Executor, second: &mut Executor, steps: &[StepInput]) -> f64 {
    let norm = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let mut worst = 0.0_f64;
    for input in steps {
        let (a, b) = (first.logits(input).unwrap(), second.logits(input).unwrap());
        assert_eq!(a.len(), b.len());
        assert!(a.iter().chain(&b).all(|logit| logit.is_finite()), "all logits are numbers");
        if !a.is_empty() {
            let difference = norm(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / norm(&mut a.iter().copied());
            worst = worst.max(difference);
        }
    }
    worst
}

#[test]
fn logits_on_the_cpu_are_those_of_the_fused_executor() {
    let weights = Weights::open(&tiny_model_path()).unwrap();
    let load = |executor, kv_type| Executor::load(&weights, &options(executor, DeviceChoice::Cpu, kv_type)).unwrap();
    let mut fused = load(ExecutorChoice::Fused, KvType::F32);
    let mut tensor = load(ExecutorChoice::Tensor, KvType::F32);
    for seed in 0..4 {
        let difference = worst_difference(&mut fused, &mut tensor, &script(288, seed));
        assert!(difference < 1e-5, "{difference}");
    }
    let mut short = load(ExecutorChoice::Tensor, KvType::Bf16);
    let difference = worst_difference(&mut fused, &mut short, &script(288, 9));
    assert!(difference > 0.0 && difference < 1e-2, "keys and values are rounded to 8 bits: {difference}");
}

#[test]
fn both_executors_agree_on_every_family_and_format() {
    for family in Family::ALL {
        for format in [Format::Gguf, Format::Directory] {
            let model = RandomModel::new(family);
            let dir = tempfile::tempdir().unwrap();
            let weights = Weights::open(&model.write(format, dir.path())).unwrap();
            let load = |executor| Executor::load(&weights, &options(executor, DeviceChoice::Cpu, KvType::F32)).unwrap();
            let (mut fused, mut tensor) = (load(ExecutorChoice::Fused), load(ExecutorChoice::Tensor));
            let difference = worst_difference(&mut fused, &mut tensor, &script(model.vocabulary, 6));
            assert!(difference < 1e-4, "{family:?} {format:?}: {difference}");
        }
    }
}

#[test]
fn a_device_that_is_not_there_gets_a_clear_error() {
    let weights = Weights::open(&tiny_model_path()).unwrap();
    let error_of = |executor, device| {
        let result = Executor::load(&weights, &options(executor, device, KvType::F32));
        let error = result.err().expect("refused");
        assert!(matches!(error, EngineError::NoDevice { .. }) && error.hint().is_some());
        error.to_string()
    };
    assert!(error_of(ExecutorChoice::Fused, DeviceChoice::Cuda(0)).contains("runs on the CPU only"));
    if cfg!(feature = "cuda") {
        assert!(error_of(ExecutorChoice::Auto, DeviceChoice::Cuda(99)).contains("CUDA device 99 cannot be opened"));
    } else {
        assert!(error_of(ExecutorChoice::Auto, DeviceChoice::Cuda(0)).contains("make cuda"));
    }
    if !cfg!(feature = "metal") {
        assert!(error_of(ExecutorChoice::Tensor, DeviceChoice::Metal).contains("--features metal"));
    }
}

/// Greedy answers to prompts with a shared beginning.
async fn greedy_texts(engine: &Engine) -> Vec<Completion> {
    let shared = "one long instruction that stands before every question, ";
    // After a letter the tiny model continues with letters, until its limit.
    let ends = ["a", "bad", "face", "hedge", "cab", "deaf", "g", "badge"];
    let specs = (0..16).map(|index| SequenceSpec {
        prompt: engine
            .vocabulary()
            .encode(&format!("{shared}{}{}", "again ".repeat(index / 8), ends[index % 8]))
            .unwrap(),
        tokens_max: 20 + 3 * index as u32,
        stream_key: [index as u8; 32],
        ..SequenceSpec::default()
    });
    let completions = specs.map(|spec| engine.sample(spec));
    futures::future::join_all(completions).await.into_iter().map(Result::unwrap).collect()
}

/// Checks that an engine gives the same answers as the fused engine on the CPU, with shared prefixes and with
/// preemption.
async fn check_texts(device: DeviceChoice) {
    let options = |executor, device, kv_cache_bytes| EngineOptions {
        slots: 7,
        threads: 2,
        kv_cache_bytes,
        executor,
        device,
        kernels: KernelChoice::Avx2,
        ..EngineOptions::default()
    };
    let load = |options| Engine::load(&tiny_model_path(), options).unwrap();
    let reference = greedy_texts(&load(options(ExecutorChoice::Fused, DeviceChoice::Cpu, 8 << 20))).await;
    let tokens: u32 = reference.iter().map(|completion| completion.completion_tokens).sum();
    assert!(tokens > 200, "{tokens} tokens are compared");
    let engine = load(options(ExecutorChoice::Tensor, device, 8 << 20));
    assert_same_texts(&greedy_texts(&engine).await, &reference, "at first");
    assert_same_texts(&greedy_texts(&engine).await, &reference, "with prompts cached");
    // 14 blocks of 16 tokens: some sequences are preempted and computed again.
    let cramped = load(options(ExecutorChoice::Tensor, device, 14 * 8192));
    assert_same_texts(&greedy_texts(&cramped).await, &reference, "with preemption");
}

/// Checks for the same texts with the same finish reasons; the tolerance of the probabilities covers the difference
/// between kernels (bf16 on a GPU).
fn assert_same_texts(got: &[Completion], expected: &[Completion], when: &str) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        let ids = |completion: &Completion| -> Vec<u32> { completion.tokens.iter().map(|token| token.token).collect() };
        assert_eq!(ids(got), ids(expected), "{when}");
        let same =
            Completion { log_probability: expected.log_probability, tokens: expected.tokens.clone(), ..got.clone() };
        assert_eq!(same, *expected, "{when}");
        let difference = (got.log_probability - expected.log_probability).abs();
        assert!(
            difference < 0.01 * expected.log_probability.abs(),
            "{when}: {difference} of {}",
            expected.log_probability
        );
    }
}

#[tokio::test]
async fn greedy_texts_on_the_cpu_are_those_of_the_fused_executor() {
    check_texts(DeviceChoice::Cpu).await;
}

/// Needs a GPU; on a machine without one, prints a note and checks nothing.
#[cfg(feature = "cuda")]
mod cuda {
    use candle_core::quantized::GgmlDType;

    use super::*;
    use crate::model::{Draw, Picked};

    const GPU: DeviceChoice = DeviceChoice::Cuda(0);

    fn has_gpu() -> bool {
        let found = candle_core::cuda_backend::cudarc::driver::CudaContext::device_count().unwrap_or(0) > 0;
        if !found {
            eprintln!("no CUDA device: nothing is checked");
        }
        found
    }

    fn models() -> Vec<RandomModel> {
        let mut models: Vec<RandomModel> = Family::ALL.into_iter().map(RandomModel::new).collect();
        // Seven queries per key head, wide heads, several rounds of each thread's loops, few heads and many heads.
        let wide = |heads, kv_heads, head_dim, hidden| RandomModel {
            heads,
            kv_heads,
            head_dim,
            hidden,
            ffn: 520,
            vocabulary: 5000,
            ..RandomModel::new(Family::Llama)
        };
        models.extend([wide(7, 1, 128, 896), wide(16, 1, 64, 2560), wide(3, 3, 256, 512), wide(4, 2, 80, 320)]);
        models
    }

    #[test]
    fn logits_on_the_gpu_are_those_of_the_cpu() {
        if !has_gpu() {
            return;
        }
        for model in models() {
            let dir = tempfile::tempdir().unwrap();
            let weights = Weights::open(&model.write(Format::Gguf, dir.path())).unwrap();
            for kv_type in [KvType::F32, KvType::Bf16] {
                let load = |device, kv_type| {
                    Executor::load(&weights, &options(ExecutorChoice::Tensor, device, kv_type)).unwrap()
                };
                let (mut cpu, mut gpu) = (load(DeviceChoice::Cpu, KvType::F32), load(GPU, kv_type));
                for seed in 0..3 {
                    let difference = worst_difference(&mut cpu, &mut gpu, &script(model.vocabulary, seed));
                    eprintln!("{:?} {kv_type:?}: {difference:.5}", model.family);
                    // Weights, and the inputs and outputs of products, have 8 bits on the GPU.
                    assert!(difference < 0.04, "{model:?} {kv_type:?}: {difference}");
                }
            }
        }
    }

    #[test]
    fn bf16_files_are_taken_as_they_are() {
        if !has_gpu() {
            return;
        }
        let model = RandomModel { dtype: GgmlDType::BF16, ..RandomModel::new(Family::Qwen3) };
        let (file, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let paths = [model.write(Format::Gguf, file.path()), model.write(Format::Directory, dir.path())];
        let [mut from_file, mut from_dir] = paths.map(|path| {
            let weights = Weights::open(&path).unwrap();
            Executor::load(&weights, &options(ExecutorChoice::Tensor, GPU, KvType::F32)).unwrap()
        });
        let difference = worst_difference(&mut from_file, &mut from_dir, &script(model.vocabulary, 3));
        // The directory's norms are also bf16.
        assert!(difference < 0.02, "{difference}");
    }

    #[test]
    fn long_contexts_are_split_and_joined_on_the_gpu() {
        if !has_gpu() {
            return;
        }
        for window in [None, Some(100)] {
            let family = if window.is_some() { Family::Mistral } else { Family::Llama };
            let model = RandomModel { context: 1024, window, ..RandomModel::new(family) };
            let dir = tempfile::tempdir().unwrap();
            let weights = Weights::open(&model.write(Format::Gguf, dir.path())).unwrap();
            let load = |device| {
                let options = options(ExecutorChoice::Tensor, device, KvType::F32);
                Executor::load(&weights, &ExecutorOptions { rows_max: 1024, ..options }).unwrap()
            };
            let (mut cpu, mut gpu) = (load(DeviceChoice::Cpu), load(GPU));
            let table: Vec<BlockId> = (0..KV_BLOCKS).map(|index| BlockId(index * 37 % KV_BLOCKS)).collect();
            let row =
                |position: usize| Row { token: (position * 7 % 288) as u32, position, table: 0, wants_logits: false };
            let prompt = StepInput { rows: (0..1000).map(row).collect(), tables: vec![table.clone()] };
            let decode = |position| StepInput {
                rows: vec![Row { wants_logits: true, ..row(position) }],
                tables: vec![table.clone()],
            };
            let steps: Vec<StepInput> = std::iter::once(prompt).chain((1000..1020).map(decode)).collect();
            let difference = worst_difference(&mut cpu, &mut gpu, &steps);
            eprintln!("window {window:?}: {difference:.5}");
            assert!(difference < 0.04, "window {window:?}: {difference}");
        }
    }

    #[tokio::test]
    async fn greedy_texts_on_the_gpu_are_those_of_the_fused_executor() {
        if has_gpu() {
            check_texts(GPU).await;
        }
    }

    /// Returns the token, and all kept tokens, in f64, directly from the definition: top-k, then top-p of the rest,
    /// then min-p; the kept tokens are walked by id.
    fn reference(logits: &[f32], draw: &Draw) -> (u32, Vec<u32>) {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        if draw.temperature <= 0.0 {
            return (order[0], vec![order[0]]);
        }
        let highest = logits[order[0] as usize];
        let weight = |id: u32| (f64::from(logits[id as usize] - highest) / f64::from(draw.temperature)).exp();
        if draw.top_k > 0 {
            order.truncate(draw.top_k as usize);
        }
        let total: f64 = order.iter().map(|&id| weight(id)).sum();
        let (mut mass, mut kept) = (0.0, 0);
        while kept < order.len() && (kept == 0 || mass < f64::from(draw.top_p) * total) {
            mass += weight(order[kept]);
            kept += 1;
        }
        order.truncate(kept);
        order.retain(|&id| weight(id) >= f64::from(draw.min_p));
        order.sort_unstable();
        let mut rest = f64::from(draw.uniform) * order.iter().map(|&id| weight(id)).sum::<f64>();
        let token = order.iter().copied().find(|&id| {
            rest -= weight(id);
            rest < 0.0
        });
        (token.unwrap_or(order[order.len() - 1]), order)
    }

    fn check_picks(vocabulary: usize, draws: impl Fn(usize, &mut dyn FnMut() -> f32) -> Draw) {
        let model = RandomModel { vocabulary, ..RandomModel::new(Family::Llama) };
        let dir = tempfile::tempdir().unwrap();
        let weights = Weights::open(&model.write(Format::Gguf, dir.path())).unwrap();
        let mut gpu = Executor::load(&weights, &options(ExecutorChoice::Tensor, GPU, KvType::F32)).unwrap();
        let rows =
            (0..48).map(|table| Row { token: 3 + table as u32, position: 0, table, wants_logits: true }).collect();
        let input = StepInput { rows, tables: (0..48).map(|table| vec![BlockId(table)]).collect() };
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut uniform = || (rng.next_u32() >> 8) as f32 / (1_u32 << 24) as f32;
        let (mut same, mut count) = (0, 0);
        for round in 0..12 {
            let draws: Vec<Draw> = (0..48).map(|row| draws(round * 48 + row, &mut uniform)).collect();
            let logits = gpu.logits(&input).unwrap();
            let picked = gpu.step(&input, &draws).unwrap();
            for ((picked, draw), logits) in picked.iter().zip(&draws).zip(logits.chunks_exact(vocabulary)) {
                let Picked { token, log_probability } = picked.clone().unwrap();
                let (expected, kept) = reference(logits, draw);
                same += usize::from(token == expected);
                count += 1;
                // At a boundary, rounding may pick the neighbouring token.
                let least = kept.iter().map(|&id| logits[id as usize]).fold(f32::INFINITY, f32::min);
                assert!(logits[token as usize] > least - 1e-3, "{token} is kept: {draw:?}");
                let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
                let expected = f64::from(logits[token as usize]) - total.ln();
                assert!((f64::from(log_probability) - expected).abs() < 1e-3, "{log_probability} for {expected}");
            }
        }
        eprintln!("vocabulary {vocabulary}: {same} of {count} tokens are the reference's");
        assert!(same * 100 >= count * 98, "{same} of {count} tokens are the reference's");
    }

    #[test]
    fn tokens_picked_on_the_gpu_are_those_of_the_definition() {
        if !has_gpu() {
            return;
        }
        for vocabulary in [288, 1024, 60_001] {
            check_picks(vocabulary, |index, uniform| Draw {
                temperature: [0.0, 0.3, 0.7, 1.0, 2.5][index % 5],
                top_p: [1.0, 0.95, 0.5, 0.05][index / 5 % 4],
                top_k: [0, 1, 7, 200][index / 20 % 4],
                min_p: [0.0, 0.0, 0.1, 0.9][index / 80 % 4],
                uniform: uniform(),
                allowed: None,
            });
        }
    }
}
