//! `make bench-gpu`: measures how fast the engine samples on a GPU, for several numbers of concurrent sequences.
//!
//! Arguments: a model, then the numbers of sequences; `cpu` or `cuda` may precede them. Each sequence has a prompt of
//! 128 random tokens and is sampled for 96 tokens at temperature 1.0 and top-p 0.95. The bench prints two figures per
//! number: overall speed, from the first prompt token to the last new token; and decoding speed, with the keys and
//! values of the prompts in the cache. `tests/tools/bench_transformers.py` measures the same with transformers, so
//! that the ratio comes from the same machine and hour.

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

use futures::future::join_all;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use thinkloom::engine::{DeviceChoice, Engine, EngineOptions, ExecutorChoice, KvType, SequenceSpec};

const PROMPT_TOKENS: usize = 128;
const NEW_TOKENS: u32 = 96;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let (device, arguments) = match arguments.first().map(String::as_str) {
        Some("cpu") => (DeviceChoice::Cpu, &arguments[1..]),
        Some("cuda") => (DeviceChoice::Cuda(0), &arguments[1..]),
        _ => (DeviceChoice::Cuda(0), &arguments[..]),
    };
    let Some((model, counts)) = arguments.split_first() else {
        anyhow::bail!("usage: gpu [cpu | cuda] MODEL COUNT...");
    };
    let counts: Vec<usize> = counts.iter().map(|count| count.parse()).collect::<Result<_, _>>()?;
    let started = Instant::now();
    let options = EngineOptions {
        slots: counts.iter().copied().max().unwrap_or(1),
        kv_cache_bytes: 24 << 30,
        kv_type: KvType::Bf16,
        device,
        executor: ExecutorChoice::Tensor,
        ..EngineOptions::default()
    };
    let engine = Engine::load(Path::new(model), options)?;
    let weight_bytes = engine.weight_bytes() as f64;
    println!("loaded {:.2} GB in {:.1} s", weight_bytes / 1e9, started.elapsed().as_secs_f64());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // Kernels are loaded and steps recorded on first use.
    for count in counts.iter().copied().filter(|&count| count > 1) {
        runtime.block_on(seconds(&engine, &prompts(count, &mut rng), 8));
    }
    for &count in &counts {
        let prompts = prompts(count, &mut rng);
        let (_, overall) = runtime.block_on(seconds(&engine, &prompts, NEW_TOKENS));
        let (tokens, again) = runtime.block_on(seconds(&engine, &prompts, NEW_TOKENS));
        let per_step = again / f64::from(NEW_TOKENS);
        println!(
            "{count} sequences: {:.0} tokens/s overall, {:.0} tokens/s decoding; {:.2} ms a step, {:.2} TB/s of weights",
            tokens / overall,
            tokens / again,
            per_step * 1e3,
            weight_bytes / per_step / 1e12,
        );
    }
    Ok(())
}

/// Returns prompts that share nothing.
fn prompts(count: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<u32>> {
    // Ids of bytes in the models that `make_random_model.py` writes; ordinary tokens in any other.
    (0..count).map(|_| (0..PROMPT_TOKENS).map(|_| 3 + rng.next_u32() % 256).collect()).collect()
}

/// Samples all prompts side by side; returns the tokens and the seconds.
async fn seconds(engine: &Engine, prompts: &[Vec<u32>], tokens_max: u32) -> (f64, f64) {
    let specs = prompts.iter().enumerate().map(|(index, prompt)| SequenceSpec {
        prompt: prompt.clone(),
        tokens_max,
        temperature: 1.0,
        top_p: 0.95,
        stream_key: [(index % 251) as u8; 32],
        ..SequenceSpec::default()
    });
    let started = Instant::now();
    let completions = join_all(specs.map(|spec| engine.sample(spec))).await;
    let tokens: u32 = completions.iter().flatten().map(|completion| completion.completion_tokens).sum();
    (f64::from(tokens), started.elapsed().as_secs_f64())
}
