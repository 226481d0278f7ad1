//! Rows of the output matrix without a token are never picked, by either executor and any rule.

use super::*;
use crate::sampler;
use crate::testing::{Family, Format, RandomModel};
use crate::tokenizer::Vocabulary;

fn draw(temperature: f32, uniform: f32) -> Draw {
    Draw { temperature, top_p: 1.0, top_k: 0, min_p: 0.0, uniform, allowed: None }
}

#[test]
fn rows_at_the_end_are_cut_off_and_others_weigh_nothing() {
    let rows = Nameless::new(10, &[3, 8, 9]);
    assert_eq!(rows, Nameless { named: 8, holes: vec![3] });
    let mut logits: Vec<f32> =
        (0..10).map(|row| if [3, 8, 9].contains(&row) { 50.0 } else { row as f32 / 10.0 }).collect();
    let kept = rows.masked(&mut logits).to_vec();
    assert_eq!(kept.len(), 8);
    for step in 0..1000 {
        let uniform = step as f32 / 1000.0;
        let base = draw(if step % 2 == 0 { 100.0 } else { 0.0 }, uniform);
        for draw in [
            Draw { top_k: 8, ..base.clone() },
            Draw { top_p: 0.999_999, ..base.clone() },
            Draw { min_p: 1e-9, ..base.clone() },
            base,
        ] {
            let picked = sampler::pick(&kept, &draw);
            let picked = picked.unwrap();
            assert!(![3, 8, 9].contains(&picked.token) && picked.log_probability.is_finite(), "{draw:?}: {picked:?}");
        }
    }
    assert_eq!(Nameless::new(4, &[]), Nameless { named: 4, holes: Vec::new() });
    assert_eq!(Nameless::new(4, &[0, 1]), Nameless { named: 4, holes: vec![0, 1] });
}

#[test]
fn neither_executor_picks_a_row_without_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let weights = Weights::open(&RandomModel::new(Family::Qwen2).write(Format::Directory, dir.path())).unwrap();
    let vocabulary = Vocabulary::from_weights(&weights).unwrap();
    let mut nameless = vocabulary.rows_without_token(288);
    assert_eq!((nameless.first(), nameless.len()), (Some(&263), 25));
    // Some rows in between also have no token.
    nameless.extend(0..200);
    nameless.sort_unstable();
    let row = Row { token: 5, position: 0, table: 0, wants_logits: true };
    let input = StepInput { rows: vec![row], tables: vec![vec![BlockId(0)]] };
    for executor in [ExecutorChoice::Fused, ExecutorChoice::Tensor] {
        let options = ExecutorOptions { executor, threads: 1, kv_blocks: 1, rows_max: 1, ..Default::default() };
        let mut model = Executor::load(&weights, &options).unwrap();
        let picked = |model: &mut Executor| -> std::collections::BTreeSet<u32> {
            let uniform = |step: u32| draw(1000.0, step as f32 / 256.0);
            (0..256).map(|step| model.step(&input, &[uniform(step)]).unwrap()[0].clone().unwrap().token).collect()
        };
        assert!(picked(&mut model).iter().any(|token| nameless.contains(token)), "{executor:?}: the draws reach them");
        model.never_pick(&nameless).unwrap();
        let found = picked(&mut model);
        assert!(found.iter().all(|token| !nameless.contains(token)), "{executor:?}: {found:?}");
        assert!(found.len() > 50, "{executor:?}");
    }
}
