use serde_json::json;
use tokio::sync::oneshot;

use super::super::grammar::{Grammar, Planted};
use super::super::kv::BlockPool;
use super::super::model::{DeviceChoice, ExecutorChoice, ExecutorOptions, KernelChoice, KvType};
use super::super::reply::{Stream, StreamEvent};
use super::super::scheduler::SchedulerLimits;
use super::super::sequence::SequenceSpec;
use super::super::testing::{Family, RandomModel, tiny_model_path};
use super::super::thread::{Engine, EngineOptions};
use super::super::weights::Weights;
use super::*;

fn options(executor: ExecutorChoice) -> EngineOptions {
    let kernels = KernelChoice::Avx2;
    EngineOptions { slots: 6, threads: 2, kv_cache_bytes: 4 << 20, executor, kernels, ..EngineOptions::default() }
}

fn spec(salt: u8, grammar: Option<Grammar>) -> SequenceSpec {
    let prompt = (0..20).map(|index| 40 + (index * u32::from(salt)) % 50).collect();
    let grammar = grammar.map(Arc::new);
    SequenceSpec {
        prompt,
        tokens_max: 24,
        temperature: 1.0,
        stream_key: [salt; 32],
        grammar,
        ..SequenceSpec::default()
    }
}

fn planted(planted: Planted) -> Option<Grammar> {
    Some(Grammar::compile(&json!({"type": "array", "items": {"type": "integer"}})).unwrap().planted(planted))
}

#[tokio::test]
async fn a_panic_in_one_sequence_fails_that_sequence_alone() {
    let engine = Engine::load(&tiny_model_path(), options(ExecutorChoice::Fused)).unwrap();
    let alone = futures::future::join_all((1..5).map(|salt| engine.sample(spec(salt, None)))).await;
    let alone: Vec<Completion> = alone.into_iter().map(Result::unwrap).collect();
    let honest = futures::future::join_all((1..5).map(|salt| engine.sample(spec(salt, None))));
    let faulty = futures::future::join_all(
        [Planted::Allowed, Planted::Advance].map(|place| engine.sample(spec(9, planted(place)))),
    );
    let (faulty, honest) = tokio::join!(faulty, honest);
    let causes: Vec<String> = faulty.into_iter().map(|result| result.unwrap_err().to_string()).collect();
    assert_eq!(causes, ["planted in allowed", "planted in advance"].map(|what| format!("the response failed: {what}")));
    assert_eq!(honest.into_iter().map(Result::unwrap).collect::<Vec<_>>(), alone, "the others have the same texts");
    let mut events = engine.stream(spec(9, planted(Planted::Advance))).await.unwrap();
    assert!(
        matches!(events.recv().await, Some(StreamEvent::Failed(EngineError::Response(cause))) if cause == "planted in advance")
    );
    assert!(!engine.has_ended());
    while engine.stats().blocks_held.load(Ordering::Relaxed) + engine.stats().running.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_cause_of_a_failed_step_reaches_everyone_who_waits_or_comes() {
    let weights = Weights::open(&tiny_model_path()).unwrap();
    let executor = ExecutorOptions {
        device: DeviceChoice::Cpu,
        executor: ExecutorChoice::Fused,
        kernels: KernelChoice::Avx2,
        threads: 2,
        kv_type: KvType::F32,
        kv_blocks: 1,
        rows_max: 64,
    };
    let executor = Executor::load(&weights, &executor).unwrap();
    // More blocks than the executor has memory for: a step writes past the end of a buffer, and a check rejects the
    // write.
    let scheduler = Scheduler::new(SchedulerLimits { slots: 2, step_rows_max: 64 }, BlockPool::new(16));
    let (stats, vocabulary) = (Arc::new(EngineStats::default()), Arc::new(Vocabulary::from_weights(&weights).unwrap()));
    let worker = Worker::new(executor, vocabulary, scheduler, 2, Arc::clone(&stats), tiny_model_path());
    let (mailbox, requests) = mpsc::channel(16);
    let mut whole = Vec::new();
    for salt in 1..8 {
        let (reply, receiver) = oneshot::channel();
        whole.push(receiver);
        mailbox.try_send(Request { spec: spec(salt, None), reply: Reply::Whole(reply) }).ok().unwrap();
    }
    let (events, mut streamed) = mpsc::channel(64);
    mailbox.try_send(Request { spec: spec(9, None), reply: Reply::Stream(Stream::new(events)) }).ok().unwrap();
    worker.run_to_the_end(requests);
    // Which chunk fails first depends on the threads.
    let expected = stats.stopped().to_string();
    let cause = expected.strip_prefix("the engine has stopped: a step panicked: ").unwrap();
    assert!(cause.contains("inside its buffer") || cause.contains("out of range"), "{cause}");
    for receiver in whole {
        assert_eq!(receiver.blocking_recv().unwrap().unwrap_err().to_string(), expected);
    }
    assert!(matches!(streamed.blocking_recv(), Some(StreamEvent::Failed(error)) if error.to_string() == expected));
    assert!(mailbox.is_closed());
}

#[tokio::test]
async fn logits_that_are_not_finite_are_an_error_that_names_the_tensor() {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    let dir = tempfile::tempdir().unwrap();
    for (executor, name, number, what) in [
        (ExecutorChoice::Fused, "blk.1.ffn_down.weight", f32::NAN, "tensor blk.1.ffn_down.weight, row 0 holds NaN"),
        (ExecutorChoice::Tensor, "blk.0.attn_q.weight", f32::INFINITY, "tensor blk.0.attn_q.weight, row 0 holds inf"),
        (ExecutorChoice::Fused, "output_norm.weight", 3e38, "tensor output_norm.weight holds numbers as large as 3e38"),
    ] {
        let path = RandomModel::new(Family::Llama).write_gguf_edited(&dir.path().join("model.gguf"), |_, tensors| {
            let given = tensors[name].dequantize(&Device::Cpu).unwrap();
            let mut numbers: Vec<f32> = given.flatten_all().unwrap().to_vec1().unwrap();
            numbers[7..9].fill(number);
            let tensor = Tensor::from_vec(numbers, given.shape(), &Device::Cpu).unwrap();
            tensors.insert(name.to_owned(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap());
        });
        let engine = Engine::load(&path, options(executor)).unwrap();
        let error = engine.sample(spec(3, None)).await.unwrap_err();
        assert!(matches!(error, EngineError::NotFinite(_)) && error.to_string().contains(what), "{error}");
        assert!(error.hint().is_some());
    }
}
