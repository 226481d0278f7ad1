//! Measures the engine's speed and prints one JSON object per line: `throughput MODEL [--threads N] [--kernels NAME]`
//! (`auto`, `avx2`, `avx512`, `amx`) `[--kv TYPE]` (`f32`, `bf16`). `make bench-engine` compares the figures with
//! llama.cpp's of the same run. `throughput MODEL --tokenize FILE` prints instead the token ids of every `{"text"}` of
//! a JSONL file, for `tests/tools/compare_tokenizers.py`; `--greedy FILE` prints up to [`NEW_TOKENS`] tokens of its
//! greedy continuation as JSON text, for `tests/tools/compare_greedy.py`.
//!
//! - `prefill`: from a prompt of random tokens, without a shared prefix, to its first sampled token.
//! - `decode`: sequences with one shared prompt of 128 tokens and [`NEW_TOKENS`] new tokens each, sampled with the
//!   settings of a run. The clock starts when each sequence has its first token; only tokens sampled after that count.
//!   If a sequence ends by itself, it gets another random stream and the measurement is repeated, so that all
//!   sequences have the same length.
//! - `machine`: the figures for the roofline. Read bandwidth: all threads sum memory that is far larger than any
//!   cache. Peak: all threads run fused multiply-adds in registers, at the SIMD width of the kernels.
//! - `model`: the bytes of the weights in the engine's memory, and 2 x parameters of all matrices (a multiply and an
//!   add each), the floating-point operations of one token without attention.
//!
//! A decode step of B sequences takes at least `max(weight bytes / bandwidth, B * FLOP per token / peak)` seconds.

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

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::join_all;
use pulp::Simd;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;
use serde_json::json;
use thinkloom::domain::FinishReason;
use thinkloom::engine::{Engine, EngineOptions, KernelChoice, KvType, SequenceSpec};
use tokio::runtime::Runtime;

const SEQUENCES: [usize; 4] = [1, 8, 32, 64];
const PROMPT_LENGTHS: [usize; 2] = [128, 512];
const PREFILL_REPEATS: usize = 3;
/// One more than the shared 128, so that these are whole blocks and every sequence starts with a row of its own.
const DECODE_PROMPT_TOKENS: usize = 129;
const NEW_TOKENS: u32 = 64;
/// Repetitions until no sequence ends by itself; a model that always does cannot be measured so.
const ATTEMPTS_MAX: usize = 20;
const READ_BYTES: usize = 512 << 20;
const FMA_CHAINS: usize = 12;
const FMA_ROUNDS: usize = 20_000_000;

fn main() -> anyhow::Result<()> {
    let (mut model, mut threads, mut texts, mut prompts) = (None, 0, None, None);
    let (mut kernels, mut kv_type) = (KernelChoice::Auto, KvType::F32);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--threads" => threads = arguments.next().context("--threads needs a number")?.parse()?,
            "--kernels" => kernels = kernels_named(&arguments.next().context("--kernels needs a name")?)?,
            "--kv" => kv_type = kv_type_named(&arguments.next().context("--kv needs a name")?)?,
            "--tokenize" => texts = Some(arguments.next().context("--tokenize needs a file")?),
            "--greedy" => prompts = Some(arguments.next().context("--greedy needs a file")?),
            // What cargo passes to every bench.
            "--bench" => {}
            _ => model = Some(argument),
        }
    }
    let model = model.context("usage: throughput MODEL [--threads N] [--tokenize FILE | --greedy FILE]")?;
    let slots = SEQUENCES.iter().copied().max().unwrap_or(1);
    let options =
        EngineOptions { slots, threads, kv_cache_bytes: 2 << 30, kernels, kv_type, ..EngineOptions::default() };
    let engine = Engine::load(Path::new(&model), options)?;
    if let Some(texts) = texts {
        return print_token_ids(&engine, &texts);
    }
    if let Some(prompts) = prompts {
        return print_greedy(&engine, &prompts);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (bandwidth, peak) = (pool.install(read_bytes_per_second), pool.install(flop_per_second));
    let threads = pool.current_num_threads();
    drop(pool);
    println!("{}", json!({"kind": "machine", "threads": threads, "bytes_per_s": bandwidth, "flop_per_s": peak}));
    let flop = 2 * matrix_parameters(&engine);
    println!("{}", json!({"kind": "model", "weight_bytes": engine.weight_bytes(), "flop_per_token": flop}));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    // The first sequence pays for memory that the later ones find in place.
    runtime.block_on(engine.sample(spec(random_prompt(&engine, &mut rng, 512), 4, [0; 32])))?;
    for length in PROMPT_LENGTHS.iter().copied().cycle().take(PROMPT_LENGTHS.len() * PREFILL_REPEATS) {
        let prompt = random_prompt(&engine, &mut rng, length);
        let started = Instant::now();
        runtime.block_on(engine.sample(spec(prompt, 1, [0; 32])))?;
        let speed = length as f64 / started.elapsed().as_secs_f64();
        println!("{}", json!({"kind": "prefill", "tokens": length, "tokens_per_s": speed}));
    }
    let prompt = random_prompt(&engine, &mut rng, DECODE_PROMPT_TOKENS);
    let mut keys: Vec<[u8; 32]> = (0..slots).map(|_| random_key(&mut rng)).collect();
    for sequences in SEQUENCES {
        let keys = &mut keys[..sequences];
        let speed = decode_tokens_per_second(&runtime, &engine, &prompt, keys, &mut rng)?;
        println!("{}", json!({"kind": "decode", "sequences": sequences, "tokens_per_s": speed}));
    }
    Ok(())
}

fn kernels_named(name: &str) -> anyhow::Result<KernelChoice> {
    Ok(match name {
        "auto" => KernelChoice::Auto,
        "avx2" => KernelChoice::Avx2,
        "avx512" => KernelChoice::Avx512,
        "amx" => KernelChoice::Amx,
        _ => anyhow::bail!("--kernels {name}: auto, avx2, avx512 or amx"),
    })
}

fn kv_type_named(name: &str) -> anyhow::Result<KvType> {
    Ok(match name {
        "f32" => KvType::F32,
        "bf16" => KvType::Bf16,
        _ => anyhow::bail!("--kv {name}: f32 or bf16"),
    })
}

fn print_token_ids(engine: &Engine, path: &str) -> anyhow::Result<()> {
    for text in texts(path)? {
        println!("{}", json!(engine.vocabulary().encode(&text)?));
    }
    Ok(())
}

fn print_greedy(engine: &Engine, path: &str) -> anyhow::Result<()> {
    let specs = texts(path)?.into_iter().map(|text| {
        let prompt = engine.vocabulary().encode(&text)?;
        Ok(SequenceSpec { prompt, tokens_max: NEW_TOKENS, temperature: 0.0, ..SequenceSpec::default() })
    });
    let specs: Vec<SequenceSpec> = specs.collect::<anyhow::Result<_>>()?;
    let runtime = Runtime::new()?;
    for completion in runtime.block_on(join_all(specs.into_iter().map(|spec| engine.sample(spec)))) {
        println!("{}", json!(completion?.text));
    }
    Ok(())
}

/// Reads every `{"text"}` of a JSONL file.
fn texts(path: &str) -> anyhow::Result<Vec<String>> {
    let rows = std::fs::read_to_string(path)?;
    let read = |(index, line): (usize, &str)| {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let text = row["text"].as_str().with_context(|| format!("{path}:{}: no text", index + 1))?;
        Ok(text.to_owned())
    };
    rows.lines().enumerate().map(read).collect()
}

fn spec(prompt: Vec<u32>, tokens_max: u32, stream_key: [u8; 32]) -> SequenceSpec {
    SequenceSpec { prompt, tokens_max, temperature: 0.6, top_p: 0.95, stream_key, ..SequenceSpec::default() }
}

fn random_prompt(engine: &Engine, rng: &mut ChaCha8Rng, length: usize) -> Vec<u32> {
    let vocabulary = u32::try_from(engine.vocabulary().size()).expect("token ids are u32");
    (0..length).map(|_| rng.next_u32() % vocabulary).collect()
}

fn random_key(rng: &mut ChaCha8Rng) -> [u8; 32] {
    let mut key = [0; 32];
    rng.fill_bytes(&mut key);
    key
}

/// Decodes one sequence per stream key side by side, and returns the tokens per second of all together.
fn decode_tokens_per_second(
    runtime: &Runtime,
    engine: &Engine,
    prompt: &[u32],
    keys: &mut [[u8; 32]],
    rng: &mut ChaCha8Rng,
) -> anyhow::Result<f64> {
    // The prompt is in the cache before the clock starts.
    runtime.block_on(engine.sample(spec(prompt.to_vec(), 1, [0; 32])))?;
    let sampled = || engine.stats().sampled_tokens.load(Ordering::Relaxed);
    for _ in 0..ATTEMPTS_MAX {
        let all_started = sampled() + keys.len() as u64;
        let is_over = AtomicBool::new(false);
        let ((started, sampled_before), completions) = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while sampled() < all_started && !is_over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_micros(200));
                }
                (Instant::now(), sampled())
            });
            let sequences = keys.iter().map(|key| engine.sample(spec(prompt.to_vec(), NEW_TOKENS, *key)));
            let completions = runtime.block_on(join_all(sequences));
            is_over.store(true, Ordering::Relaxed);
            (watch.join().expect("the watch cannot panic"), completions)
        });
        let speed = (sampled() - sampled_before) as f64 / started.elapsed().as_secs_f64();
        let mut is_whole = true;
        for (key, completion) in keys.iter_mut().zip(completions) {
            if completion?.finish_reason != FinishReason::Length {
                *key = random_key(rng);
                is_whole = false;
            }
        }
        if is_whole {
            return Ok(speed);
        }
    }
    anyhow::bail!("some sequences always end before {NEW_TOKENS} tokens")
}

/// Returns 2-dimensional weights of the model, in parameters; the embedding counts once, as the output matrix.
fn matrix_parameters(engine: &Engine) -> usize {
    let config = engine.config();
    let attention = config.hidden * config.head_dim * (2 * config.heads + 2 * config.kv_heads);
    config.layers.len() * (attention + 3 * config.hidden * config.ffn) + config.vocabulary * config.hidden
}

/// Returns the best of a few passes over memory, by all threads of the present pool.
fn read_bytes_per_second() -> f64 {
    let words = vec![1_u64; READ_BYTES / size_of::<u64>()];
    let part = words.len().div_ceil(rayon::current_num_threads());
    let seconds = (0..5).map(|_| {
        let started = Instant::now();
        let sum: u64 = black_box(&words).par_chunks(part).map(sum).sum();
        assert_eq!(sum, words.len() as u64, "every word is 1");
        started.elapsed().as_secs_f64()
    });
    READ_BYTES as f64 / seconds.fold(f64::INFINITY, f64::min)
}

/// Several sums at once, so that no addition waits for another.
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0_u64; 16];
    let (groups, rest) = words.as_chunks::<16>();
    for group in groups {
        for (sum, word) in sums.iter_mut().zip(group) {
            *sum += word;
        }
    }
    sums.iter().sum::<u64>() + rest.iter().sum::<u64>()
}

struct MultiplyAdd;

impl pulp::WithSimd for MultiplyAdd {
    /// Floating-point operations done.
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        let (factor, term) = (simd.splat_f32s(black_box(0.5)), simd.splat_f32s(black_box(1.0)));
        let mut chains = [term; FMA_CHAINS];
        for _ in 0..FMA_ROUNDS {
            for chain in &mut chains {
                *chain = simd.mul_add_e_f32s(*chain, factor, term);
            }
        }
        for chain in chains {
            black_box(simd.reduce_sum_f32s(chain));
        }
        2 * FMA_ROUNDS * FMA_CHAINS * S::F32_LANES
    }
}

/// Returns the rate of f32 multiply-adds in registers, a multiply and an add each, by all threads of the present pool.
fn flop_per_second() -> f64 {
    let rates = (0..3).map(|_| {
        let started = Instant::now();
        let done = rayon::broadcast(|_| pulp::Arch::new().dispatch(MultiplyAdd));
        done.into_iter().sum::<usize>() as f64 / started.elapsed().as_secs_f64()
    });
    rates.fold(0.0, f64::max)
}
