//! Shows how a selection depends on the tie margin and on N, by selecting again among stored responses.
//!
//! For each n below N, the stored responses of a query are cut into blocks of n, each block is decided separately, and
//! the results are averaged: the expected selection of a run with n responses per mode. Queries with missing responses
//! are left out. Memory does not grow with the number of queries.

use serde::Serialize;

use super::plan::Cell;
use crate::config::{SelectSettings, Settings};
use crate::domain::{ByMode, Mode, Query};
use crate::select::{Candidate, decide};

/// Tie margins in the table, in addition to the present one.
const MARGINS: &[f64] = &[0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5];

/// Sums over queries, by margin and n.
#[derive(Debug, Clone)]
pub struct Sensitivity {
    rows: Vec<Tally>,
    queries: u64,
    incomplete: u64,
}

#[derive(Debug, Clone, Copy)]
struct Tally {
    tie_margin: f64,
    samples_per_mode: u32,
    samples: f64,
    think_on: f64,
    same_mode: f64,
    decided_now: f64,
    tokens: f64,
}

/// The selection under one margin and n.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SensitivityRow {
    /// The margin.
    pub tie_margin: f64,
    /// The responses per mode.
    pub samples_per_mode: u32,
    /// Queries with a correct response, on average over the blocks.
    pub samples: f64,
    /// Share of them in Think-on; absent if there are none.
    pub think_on_share: Option<f64>,
    /// Among queries that the present settings decide: the share with the same mode.
    pub same_mode_share: Option<f64>,
    /// Mean completion tokens of the chosen responses.
    pub mean_tokens: Option<f64>,
}

impl Sensitivity {
    /// Starts with the settings of the selection.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut margins: Vec<f64> = MARGINS.iter().copied().chain([settings.select.tie_margin]).collect();
        margins.sort_by(f64::total_cmp);
        margins.dedup();
        let n = settings.sampling.samples_per_mode;
        let mut sizes: Vec<u32> =
            std::iter::successors(Some(1_u32), |size| size.checked_mul(2)).take_while(|size| *size < n).collect();
        sizes.push(n);
        let row = |tie_margin, samples_per_mode| Tally {
            tie_margin,
            samples_per_mode,
            samples: 0.0,
            think_on: 0.0,
            same_mode: 0.0,
            decided_now: 0.0,
            tokens: 0.0,
        };
        let rows = sizes.iter().flat_map(|&size| margins.iter().map(move |&margin| row(margin, size))).collect();
        Self { rows, queries: 0, incomplete: 0 }
    }

    /// Adds a query.
    pub fn add(&mut self, query: &Query, cells: &ByMode<Vec<Cell>>, settings: &Settings) {
        let all = |mode: Mode| {
            cells[mode]
                .iter()
                .map(|cell| cell.candidate(settings.select.other_mode))
                .collect::<Option<Vec<Candidate>>>()
        };
        let (Some(on), Some(off)) = (all(Mode::ThinkOn), all(Mode::ThinkOff)) else {
            self.incomplete += 1;
            return;
        };
        self.queries += 1;
        let all = ByMode { on, off };
        let seed = settings.sampling.seed;
        let now = decide(&query.id, &all, &settings.select, seed).ok().map(|decision| decision.mode);
        for row in &mut self.rows {
            let size = row.samples_per_mode as usize;
            let select = SelectSettings { tie_margin: row.tie_margin, ..settings.select };
            let blocks = (all.on.len() / size).max(1);
            let weight = 1.0 / blocks as f64;
            row.decided_now += f64::from(u8::from(now.is_some()));
            for (on, off) in all.on.chunks_exact(size).zip(all.off.chunks_exact(size)) {
                let block = ByMode { on: on.to_vec(), off: off.to_vec() };
                let Ok(decision) = decide(&query.id, &block, &select, seed) else { continue };
                let chosen = block[decision.mode].iter().find(|candidate| candidate.key == decision.chosen);
                row.samples += weight;
                row.think_on += if decision.mode == Mode::ThinkOn { weight } else { 0.0 };
                row.same_mode += if now == Some(decision.mode) { weight } else { 0.0 };
                row.tokens += weight * chosen.map_or(0.0, |chosen| f64::from(chosen.completion_tokens));
            }
        }
    }

    /// Adds the sums of another shard under the same settings.
    pub fn merge(&mut self, other: &Self) {
        self.queries += other.queries;
        self.incomplete += other.incomplete;
        for (row, more) in self.rows.iter_mut().zip(&other.rows) {
            row.samples += more.samples;
            row.think_on += more.think_on;
            row.same_mode += more.same_mode;
            row.decided_now += more.decided_now;
            row.tokens += more.tokens;
        }
    }

    /// Returns the table, by n and margin.
    #[must_use]
    pub fn table(&self) -> Vec<SensitivityRow> {
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let row = |tally: &Tally| SensitivityRow {
            tie_margin: tally.tie_margin,
            samples_per_mode: tally.samples_per_mode,
            samples: tally.samples,
            think_on_share: share(tally.think_on, tally.samples),
            same_mode_share: share(tally.same_mode, tally.decided_now),
            mean_tokens: share(tally.tokens, tally.samples),
        };
        self.rows.iter().map(row).collect()
    }

    /// Returns the number of queries in the table, and the number left out because responses are not stored.
    #[must_use]
    pub fn coverage(&self) -> (u64, u64) {
        (self.queries, self.incomplete)
    }
}
