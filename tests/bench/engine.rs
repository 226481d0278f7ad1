//! `make bench`: compares the engine with baselines. Engine and baseline are measured in the same run, interleaved,
//! and the bench prints ratios.
//!
//! - 32 slots against 1 slot: the gain from continuous batching.
//! - The whole engine at 32 slots against candle's quantized matmuls of the same model alone, at 32 rows: an upper
//!   bound of a decoder on stock candle kernels.
//! - A shared prompt against a fresh prompt: the gain from prefix sharing.
//!
//! Absolute figures depend on the machine and the hour, so the bench prints only ratios. Argument: a GGUF model.

#![allow(
    clippy::disallowed_methods,
    clippy::iter_over_hash_type,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a benchmark prints what the clock says; nothing outside uses its items"
)]

use std::path::Path;
use std::time::Instant;

use candle_core::quantized::{QMatMul, gguf_file};
use candle_core::{Device, Module, Tensor};
use futures::future::join_all;
use thinkloom::engine::{Engine, EngineOptions, SequenceSpec};

const ROUNDS: usize = 5;
const SLOTS: usize = 32;
const NEW_TOKENS: u32 = 48;

fn main() -> anyhow::Result<()> {
    let path = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let path = path.unwrap_or_else(|| "models/SmolLM2-135M-Instruct.Q4_1.gguf".to_owned());
    let path = Path::new(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let load = |slots| Engine::load(path, EngineOptions { slots, kv_cache_bytes: 1 << 30, ..EngineOptions::default() });
    let (batched, single) = (load(SLOTS)?, load(1)?);
    let candle = CandleMatmuls::load(path)?;
    let (mut batching, mut kernels, mut sharing) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let many = runtime.block_on(tokens_per_second(&batched, SLOTS, round));
        let one = runtime.block_on(tokens_per_second(&single, 2, round));
        batching.push(many / one);
        kernels.push(many / candle.tokens_per_second(SLOTS)?);
        let (fresh, shared) = runtime.block_on(prompt_seconds(&batched, round));
        sharing.push(fresh / shared);
    }
    report("32 slots / 1 slot, tokens per second", &mut batching);
    report("engine / candle's quantized matmuls alone, 32 rows", &mut kernels);
    report("fresh prompt / shared prompt, seconds", &mut sharing);
    Ok(())
}

/// Prints the median ratio and its spread.
fn report(what: &str, ratios: &mut [f64]) {
    ratios.sort_by(f64::total_cmp);
    let (low, median, high) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    println!("{what}: {median:.2} ({low:.2} to {high:.2})");
}

fn spec(engine: &Engine, prompt: &str, tokens_max: u32, salt: usize) -> SequenceSpec {
    SequenceSpec {
        prompt: engine.vocabulary().encode(prompt).expect("byte-level BPE encodes any text"),
        tokens_max,
        temperature: 1.0,
        top_p: 0.95,
        stream_key: [u8::try_from(salt % 251).unwrap_or(0); 32],
        ..SequenceSpec::default()
    }
}

/// Decodes `count` sequences side by side; a first token each is sampled before the clock starts, so that prompts do
/// not count.
async fn tokens_per_second(engine: &Engine, count: usize, round: usize) -> f64 {
    let prompt = |index: usize| format!("Once upon a time, in round {round}, number {index} went");
    join_all((0..count).map(|index| engine.sample(spec(engine, &prompt(index), 1, index)))).await;
    let started = Instant::now();
    let sequences = (0..count).map(|index| engine.sample(spec(engine, &prompt(index), NEW_TOKENS, index)));
    let completions = join_all(sequences).await;
    let tokens: u32 = completions.iter().flatten().map(|completion| completion.completion_tokens).sum();
    f64::from(tokens) / started.elapsed().as_secs_f64()
}

/// Seconds to the first token of a long prompt, seen for the first time and again.
async fn prompt_seconds(engine: &Engine, round: usize) -> (f64, f64) {
    let prompt = format!("Round {round}. {}", "The quick brown fox jumps over the lazy dog. ".repeat(40));
    let mut seconds = [0.0; 2];
    for seconds in &mut seconds {
        let started = Instant::now();
        engine.sample(spec(engine, &prompt, 1, round)).await.expect("the prompt fits");
        *seconds = started.elapsed().as_secs_f64();
    }
    (seconds[0], seconds[1])
}

/// All matrices of a model as candle keeps them.
struct CandleMatmuls {
    matrices: Vec<(QMatMul, usize)>,
}

impl CandleMatmuls {
    fn load(path: &Path) -> anyhow::Result<Self> {
        let mut file = std::fs::File::open(path)?;
        let content = gguf_file::Content::read(&mut file)?;
        let mut matrices = Vec::new();
        for (name, info) in &content.tensor_infos {
            let &[_, inputs] = info.shape.dims() else { continue };
            // The embedding serves as the output matrix, too, where a model has none of its own.
            if name == "token_embd.weight" && content.tensor_infos.contains_key("output.weight") {
                continue;
            }
            let tensor = content.tensor(&mut file, name, &Device::Cpu)?;
            matrices.push((QMatMul::from_qtensor(tensor)?, inputs));
        }
        Ok(Self { matrices })
    }

    fn tokens_per_second(&self, rows: usize) -> anyhow::Result<f64> {
        let started = Instant::now();
        for (matrix, inputs) in &self.matrices {
            let x = Tensor::ones((rows, *inputs), candle_core::DType::F32, &Device::Cpu)?;
            std::hint::black_box(matrix.forward(&x)?);
        }
        Ok(rows as f64 / started.elapsed().as_secs_f64())
    }
}
