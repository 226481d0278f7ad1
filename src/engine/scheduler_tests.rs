use super::super::testing::tiny_vocabulary;
use super::*;
use thinkloom_domain::FinishReason;

fn sequence(prompt_tokens: usize, tokens_max: u32, salt: u32) -> Sequence {
    let prompt = (0..prompt_tokens as u32).map(|i| if i < 20 { 40 + i } else { 40 + (i + salt) % 60 }).collect();
    Sequence::new(SequenceSpec { prompt, tokens_max, ..SequenceSpec::default() })
}

/// A stand-in for the model: the next token is a hash of all tokens so far.
fn next_token(tokens: &[u32]) -> Picked {
    let hash = tokens.iter().fold(17_u32, |hash, token| hash.wrapping_mul(31).wrapping_add(*token));
    Picked { token: hash % 90 + 33, log_probability: (hash % 64) as f32 / -16.0 }
}

/// Runs to the end; checks the rows and invariant I8 after every step.
fn run(mut scheduler: Scheduler) -> Vec<(SequenceId, Completion)> {
    let vocabulary = tiny_vocabulary();
    let mut finished = Vec::new();
    for _ in 0..10_000 {
        scheduler.plan();
        let input = scheduler.input().clone();
        let counts = scheduler.block_counts();
        assert_eq!(counts.free + counts.cached + counts.held, scheduler.pool.total(), "I8");
        assert!(input.rows.len() <= scheduler.limits.step_rows_max);
        assert!(scheduler.running_count() <= scheduler.limits.slots);
        for row in &input.rows {
            assert!(row.position / BLOCK_TOKENS < input.tables[row.table].len());
        }
        let planned = scheduler.running.iter().filter(|entry| entry.planned > 0);
        assert!(planned.map(|entry| &entry.blocks).eq(&input.tables), "tables that are used again are right");
        if input.rows.is_empty() {
            assert_eq!(scheduler.waiting_count() + scheduler.running_count(), 0, "a scheduler never stalls");
            return finished;
        }
        let tokens: Vec<_> = scheduler.sampling().map(|sequence| Ok(next_token(sequence.tokens()))).collect();
        assert_eq!(tokens.len(), input.rows.iter().filter(|row| row.wants_logits).count());
        let ended = scheduler.apply(tokens, &vocabulary);
        finished.extend(ended.into_iter().map(|(id, completion)| (id, completion.expect("none has a bound"))));
    }
    panic!("the scheduler did not come to an end");
}

proptest::proptest! {
    #[test]
    fn every_sequence_finishes_with_the_same_text_whatever_the_bounds(
        lengths in proptest::collection::vec((1_usize..70, 1_u32..40, 0_u32..3), 1..12),
        slots in 1_usize..6,
        step_rows_max in 6_usize..50,
        spare_blocks in 0_usize..10,
    ) {
        let alone = lengths.iter().enumerate().map(|(index, &(prompt, tokens_max, salt))| {
            let limits = SchedulerLimits { slots: 1, step_rows_max: 1000 };
            let mut scheduler = Scheduler::new(limits, BlockPool::new(64));
            scheduler.submit(SequenceId(index as u64), sequence(prompt, tokens_max, salt));
            run(scheduler).remove(0)
        }).collect::<Vec<_>>();
        // The largest sequence needs 110 tokens: 7 blocks.
        let mut scheduler =
            Scheduler::new(SchedulerLimits { slots, step_rows_max }, BlockPool::new(7 + spare_blocks));
        for (index, &(prompt, tokens_max, salt)) in lengths.iter().enumerate() {
            scheduler.submit(SequenceId(index as u64), sequence(prompt, tokens_max, salt));
        }
        let mut together = run(scheduler);
        together.sort_by_key(|(id, _)| *id);
        assert_eq!(together, alone);
    }
}

#[test]
fn samples_of_one_prompt_compute_it_once() {
    let limits = SchedulerLimits { slots: 4, step_rows_max: 1000 };
    let mut scheduler = Scheduler::new(limits, BlockPool::new(64));
    for id in 0..4 {
        scheduler.submit(SequenceId(id), sequence(40, 2, 0));
    }
    scheduler.plan();
    assert_eq!(scheduler.input().rows.len(), 40, "the first computes the prompt, the others wait for it");
    scheduler.apply(vec![Ok(Picked { token: 50, log_probability: 0.0 })], &tiny_vocabulary());
    scheduler.plan();
    // One decoding row, and the last 8 prompt tokens, which are not shared, of each of the three others.
    assert_eq!(scheduler.input().rows.len(), 1 + 3 * 8);
}

#[test]
fn abandoned_sequences_give_their_blocks_back() {
    let limits = SchedulerLimits { slots: 2, step_rows_max: 1000 };
    let mut scheduler = Scheduler::new(limits, BlockPool::new(8));
    scheduler.submit(SequenceId(1), sequence(30, 5, 0));
    scheduler.submit(SequenceId(2), sequence(31, 5, 1));
    scheduler.plan();
    scheduler.abandon(|id| id == SequenceId(1));
    assert_eq!(scheduler.block_counts().held, 0);
    let finished = run(scheduler);
    assert_eq!(finished.len(), 1);
    assert_eq!(finished[0].1.finish_reason, FinishReason::Length);
}

#[test]
fn towards_the_end_the_longest_expected_start_first_and_nothing_is_overtaken_for_ever() {
    let limits = SchedulerLimits { slots: 4, step_rows_max: 1000 };
    let mut scheduler = Scheduler::new(limits, BlockPool::new(512));
    // Three sequences of the short kind have finished; no sequence of the long kind has run yet.
    for id in 0..3 {
        scheduler.submit(SequenceId(id), sequence(3, 2, id as u32));
    }
    let vocabulary = tiny_vocabulary();
    let step = |scheduler: &mut Scheduler| {
        scheduler.plan();
        let picked: Vec<_> = scheduler.sampling().map(|sequence| Ok(next_token(sequence.tokens()))).collect();
        scheduler.apply(picked, &vocabulary)
    };
    step(&mut scheduler);
    assert_eq!(step(&mut scheduler).len(), 3);
    // One slot is free: of three waiting sequences, the last one takes it.
    for id in 10..13 {
        scheduler.submit(SequenceId(id), sequence(3, 30, id as u32));
    }
    step(&mut scheduler);
    for (id, tokens_max) in [(20, 2), (21, 2), (22, 30)] {
        scheduler.submit(SequenceId(id), sequence(3, tokens_max, id as u32));
    }
    step(&mut scheduler);
    let running = |scheduler: &Scheduler| scheduler.running.iter().map(|entry| entry.id.0).collect::<Vec<_>>();
    assert_eq!(running(&scheduler), [10, 11, 12, 22]);
    // Long sequences keep arriving, but never so many that the order of arrival applies: the short ones still start.
    let mut started = vec![20, 21];
    for id in 100..400 {
        if scheduler.waiting_count() < 4 {
            scheduler.submit(SequenceId(id), sequence(3, 30, id as u32));
        }
        for _ in 0..8 {
            step(&mut scheduler);
            started.retain(|id| scheduler.waiting.iter().any(|entry| entry.id.0 == *id));
        }
        assert!(scheduler.waiting.iter().all(|entry| entry.overtaken <= OVERTAKEN_MAX + 4));
    }
    assert_eq!(started, Vec::<u64>::new());
}

#[test]
fn while_more_wait_than_there_are_slots_the_order_of_arrival_holds() {
    let limits = SchedulerLimits { slots: 2, step_rows_max: 1000 };
    let mut scheduler = Scheduler::new(limits, BlockPool::new(64));
    for (id, tokens_max) in [(0, 2), (1, 3), (2, 30), (3, 30), (4, 30)] {
        scheduler.submit(SequenceId(id), sequence(3, tokens_max, id as u32));
    }
    scheduler.plan();
    assert_eq!(scheduler.running.iter().map(|entry| entry.id.0).collect::<Vec<_>>(), [0, 1]);
}
