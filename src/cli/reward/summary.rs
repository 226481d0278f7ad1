//! The summary of `thinkloom reward`: a table with one row per mode.

use serde::Serialize;

use crate::domain::ShownMode;
use crate::reward::rollouts::{AllRewards, GroupMeans, Rollouts};

/// Sums over the rollouts of one mode.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    rollouts: u64,
    correct: u64,
    well_formed: u64,
    reward: f64,
    judge: f64,
    answer: f64,
}

/// Means over the rollouts of one mode.
#[derive(Debug, Serialize)]
struct Row {
    mode: &'static str,
    rollouts: u64,
    correct_rate: Option<f64>,
    format_rate: Option<f64>,
    reward_mean: Option<f64>,
    advantage_judge_mean: Option<f64>,
    advantage_answer_mean: Option<f64>,
}

/// The summary of all rollouts.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    groups: u64,
    /// Groups with responses of both modes.
    mixed_groups: u64,
    /// Groups whose Think-off mean was raised.
    adjusted_groups: u64,
    /// Faulty rows, which get no reward.
    pub(super) faults: u64,
    modes: Vec<Row>,
}

impl Summary {
    /// Computes the summary.
    pub(super) fn of(rollouts: &Rollouts, rewarded: &AllRewards) -> Self {
        let mut sums = [Sums::default(); ShownMode::ALL.len()];
        for (entry, row) in rollouts.entries().iter().zip(&rewarded.rows).filter(|(entry, _)| entry.group.is_some()) {
            let sums = &mut sums[entry.response.mode as usize];
            sums.rollouts += 1;
            sums.correct += u64::from(entry.response.is_correct);
            sums.well_formed += u64::from(entry.response.is_well_formed);
            sums.reward += row.reward;
            sums.judge += row.advantage_judge;
            sums.answer += row.advantage_answer;
        }
        let is_mixed = |means: &&GroupMeans| means.mode_means.on.is_some() && means.mode_means.off.is_some();
        // Most files have no responses without a mode.
        let shown = ShownMode::ALL.iter().zip(sums).filter(|(mode, sums)| mode.mode().is_some() || sums.rollouts > 0);
        let modes = shown.map(|(mode, sums)| {
            let Sums { rollouts, correct, well_formed, reward, judge, answer } = sums;
            let mean = |sum: f64| (rollouts > 0).then(|| sum / rollouts as f64);
            Row {
                mode: mode.name(),
                rollouts,
                correct_rate: mean(correct as f64),
                format_rate: mean(well_formed as f64),
                reward_mean: mean(reward),
                advantage_judge_mean: mean(judge),
                advantage_answer_mean: mean(answer),
            }
        });
        Self {
            groups: rewarded.groups.len() as u64,
            mixed_groups: rewarded.groups.iter().filter(is_mixed).count() as u64,
            adjusted_groups: rewarded.groups.iter().filter(|means| means.is_adjusted).count() as u64,
            faults: rollouts.faults() as u64,
            modes: modes.collect(),
        }
    }

    pub(super) fn to_json(&self) -> String {
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "{:<10} {:>9} {:>8} {:>7} {:>8} {:>10} {:>10}\n",
            "mode", "rollouts", "correct", "format", "reward", "A_judge", "A_answer"
        );
        for row in &self.modes {
            let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
            let share =
                |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{:.1}%", 100.0 * value));
            text.push_str(&format!(
                "{:<10} {:>9} {:>8} {:>7} {:>8} {:>10} {:>10}\n",
                row.mode,
                row.rollouts,
                share(row.correct_rate),
                share(row.format_rate),
                number(row.reward_mean),
                number(row.advantage_judge_mean),
                number(row.advantage_answer_mean),
            ));
        }
        let Self { groups, mixed_groups, adjusted_groups, faults, .. } = self;
        text.push_str(&format!(
            "{groups} groups, {mixed_groups} of them with both modes; Think-off raised in {adjusted_groups}"
        ));
        if *faults > 0 {
            text.push_str(&format!("; {faults} faulty rows: their rewards are null, their error has the reason"));
        }
        text.push('\n');
        text
    }
}
