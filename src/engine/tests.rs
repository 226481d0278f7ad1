//! Tests of the engine as a whole, on the tiny committed model.

use super::testing::{tiny_model_path, tiny_vocabulary};
use super::*;

fn options(slots: usize) -> EngineOptions {
    EngineOptions { slots, threads: 2, kv_cache_bytes: 8 << 20, ..EngineOptions::default() }
}

fn spec(prompt: &str, tokens_max: u32, temperature: f32, stream: u8) -> SequenceSpec {
    SequenceSpec {
        prompt: tiny_vocabulary().encode(prompt).unwrap(),
        tokens_max,
        temperature,
        top_p: 0.95,
        stream_key: [stream; 32],
        ..SequenceSpec::default()
    }
}

fn prompts() -> Vec<String> {
    let shared = "the same long instruction stands before every question ";
    (0..12).map(|index| format!("{shared}{} {}", "again ".repeat(index % 4), index)).collect()
}

async fn sample_all(engine: &Engine) -> Vec<Completion> {
    let specs: Vec<SequenceSpec> = prompts()
        .iter()
        .enumerate()
        .flat_map(|(index, prompt)| {
            (0..3).map(move |sample| spec(prompt, 20 + index as u32, 0.9, (index * 3 + sample) as u8))
        })
        .collect();
    let completions = specs.into_iter().map(|spec| engine.sample(spec));
    futures::future::join_all(completions).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn text_does_not_depend_on_slots_memory_or_caching() {
    let reference = sample_all(&Engine::load(&tiny_model_path(), options(1)).unwrap()).await;
    assert!(reference.iter().any(|completion| completion.text != reference[0].text), "samples differ");
    for slots in [2, 7, 32] {
        let engine = Engine::load(&tiny_model_path(), options(slots)).unwrap();
        assert_eq!(sample_all(&engine).await, reference, "{slots} slots");
        assert_eq!(sample_all(&engine).await, reference, "{slots} slots, prompts cached");
    }
    // 16 blocks of 16 tokens: only a few sequences fit at a time, so some are preempted and computed again.
    let engine = Engine::load(&tiny_model_path(), EngineOptions { kv_cache_bytes: 16 * 8192, ..options(12) }).unwrap();
    assert_eq!(engine.capacity(), 256);
    assert_eq!(sample_all(&engine).await, reference, "with preemption");
}

#[tokio::test]
async fn sequences_that_outgrow_the_memory_together_are_computed_again_with_the_same_text() {
    let sample = async |kv_cache_bytes| {
        let engine = Engine::load(&tiny_model_path(), EngineOptions { kv_cache_bytes, ..options(6) }).unwrap();
        let specs = (0..6).map(|index| SequenceSpec {
            end_of_turn: EndOfTurn::Ignore,
            ..spec(&format!("number {index}"), 200, 1.0, index)
        });
        let all = futures::future::join_all(specs.map(|spec| engine.sample(spec))).await;
        let texts: Vec<Completion> = all.into_iter().map(Result::unwrap).collect();
        (texts, engine.stats().preemptions.load(std::sync::atomic::Ordering::Relaxed))
    };
    let (reference, preemptions) = sample(8 << 20).await;
    assert_eq!(preemptions, 0);
    // 20 blocks of 16 tokens; each sequence grows to 14.
    let (again, preemptions) = sample(20 * 8192).await;
    assert_eq!(again, reference);
    assert!(preemptions > 0);
}

#[tokio::test]
async fn the_tiny_model_answers_in_a_box() {
    let engine = Engine::load(&tiny_model_path(), options(4)).unwrap();
    let completion = engine.sample(spec("What? \\boxed{", 8, 0.0, 0)).await.unwrap();
    assert_eq!(completion.finish_reason, thinkloom_domain::FinishReason::Stop, "{completion:?}");
    assert!(completion.text.ends_with('}'), "{completion:?}");
}

#[tokio::test]
async fn a_prompt_that_leaves_no_room_in_context_or_memory_is_refused() {
    let cramped = EngineOptions { kv_cache_bytes: 32 * 8192, ..options(1) };
    let engine = Engine::load(&tiny_model_path(), cramped).unwrap();
    let fits = spec(&"x".repeat(4095), 10, 0.0, 0);
    assert!(matches!(engine.sample(fits).await, Err(EngineError::KvTooSmall { capacity: 512, .. })));
    let engine = Engine::load(&tiny_model_path(), options(1)).unwrap();
    let completion = engine.sample(spec(&"x".repeat(4095), 10, 0.0, 0)).await.unwrap();
    assert_eq!(completion.completion_tokens, 1);
    let too_long = engine.sample(spec(&"x".repeat(4096), 10, 0.0, 0)).await;
    assert!(matches!(too_long, Err(EngineError::PromptTooLong { prompt_tokens: 4096, context: 4096 })));
}

#[tokio::test]
async fn draining_finishes_what_runs_and_refuses_what_waits() {
    let engine = Engine::load(&tiny_model_path(), options(2)).unwrap();
    let sequences = (0..6).map(|index| engine.sample(spec("abc", 400, 1.0, index)));
    let all = futures::future::join_all(sequences);
    let drain = async {
        while engine.stats().sampled_tokens.load(std::sync::atomic::Ordering::Relaxed) < 4 {
            tokio::task::yield_now().await;
        }
        engine.drain();
    };
    let (results, ()) = tokio::join!(all, drain);
    let finished = results.iter().filter(|result| result.is_ok()).count();
    let refused = results.iter().filter(|result| matches!(result, Err(EngineError::Draining))).count();
    assert_eq!(finished + refused, 6);
    assert!(finished >= 1 && refused >= 1, "{finished} finished, {refused} refused");
}

#[tokio::test]
async fn a_dropped_sequence_gives_slot_and_blocks_back_at_the_next_step() {
    use std::sync::atomic::Ordering::Relaxed;
    let engine = Engine::load(&tiny_model_path(), options(1)).unwrap();
    let endless = SequenceSpec { end_of_turn: EndOfTurn::Ignore, ..spec("abc", 4000, 1.0, 0) };
    let running = tokio::spawn({
        let engine = engine.clone();
        async move { engine.sample(endless).await }
    });
    while engine.stats().sampled_tokens.load(Relaxed) < 40 {
        tokio::task::yield_now().await;
    }
    assert!(engine.stats().blocks_held.load(Relaxed) >= 2);
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    // The only slot is free again; otherwise this call would wait for 4000 tokens.
    engine.sample(spec("x", 1, 0.0, 0)).await.unwrap();
    assert!(engine.stats().sampled_tokens.load(Relaxed) < 4000);
    while engine.stats().blocks_held.load(Relaxed) + engine.stats().running.load(Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn log_probabilities_are_of_the_model_whatever_the_cuts() {
    let engine = Engine::load(&tiny_model_path(), options(4)).unwrap();
    let greedy = engine.sample(spec("What? \\boxed{", 8, 0.0, 0)).await.unwrap();
    assert!(greedy.log_probability < 0.0 && greedy.log_probability > -20.0, "{greedy:?}");
    let cut = SequenceSpec { top_k: 1, min_p: 0.5, ..spec("What? \\boxed{", 8, 0.7, 0) };
    assert_eq!(engine.sample(cut).await.unwrap(), greedy);
}

#[test]
fn a_truncated_or_foreign_file_gets_a_clear_error() {
    let bytes = fs_err::read(tiny_model_path()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let error_of = |content: &[u8]| {
        fs_err::write(&path, content).unwrap();
        Engine::load(&path, options(1)).err().expect("a damaged file is refused").to_string()
    };
    assert!(error_of(&bytes[..bytes.len() - 40_000]).contains("but the file has"));
    assert!(error_of(b"PK\x03\x04 this is a zip").contains("no readable GGUF header"));
    assert!(error_of(&bytes[..100]).contains("no readable GGUF header"));
    assert!(error_of(b"").contains("no readable GGUF header"));
    let replaced = |from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut copy = bytes.clone();
        copy[at..at + to.len()].copy_from_slice(to.as_bytes());
        copy
    };
    assert!(error_of(&replaced("smollm", "strang")).contains("pre-tokenizer is \"strang\""));
    let missing = Engine::load(&folder.path().join("none.gguf"), options(1)).err().unwrap();
    assert!(matches!(missing, EngineError::Io { .. }));
    assert!(missing.hint().is_some());
}
