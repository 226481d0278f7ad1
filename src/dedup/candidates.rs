//! Pairs of rows that meet in at least one band.
//!
//! Bands are sorted one at a time per thread: 12 bytes per row and thread. Of the rows that share a key, each is paired
//! with those before it; where there are many, with some of them only ([`pairs_of_group`]), so that a million rows
//! made from one template do not make 10^12 pairs. Which ones depends on earlier rows alone. Pairs are sought for some later
//! rows at a time where there are too many for all: about 128 MB of them are in memory at most (of up to 128 bands).

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;

use super::store::{RowStore, StoreError};

/// Earlier rows of a group that a row is compared with, all of them up to this number.
const ALL_UP_TO: usize = 32;
/// Beyond it: the earliest of all, the earliest with the same answer, and the latest with the same answer.
const EARLIEST: usize = 8;
const EARLIEST_SAME: usize = 16;
/// Few: they are others in each band.
const LATEST_SAME: usize = 2;

/// How much is gathered at a time. The pairs do not depend on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Pairs.
    pub(super) pairs: usize,
    /// Later rows that are always looked at together.
    pub(super) rows: u32,
}

impl Bounds {
    /// The rows make about as many pairs in 128 bands at most.
    pub(super) const DEFAULT: Self = Self { pairs: 8 << 20, rows: 2048 };
}

/// Returns the pairs `later << 32 | earlier` among rows for which `is_active` holds, sorted, each once, for up to `window`
/// later rows from `start` on; and the row before which these rows end. `window` is reduced where they make too many pairs,
/// and grows where they make few.
pub(super) fn candidates(
    store: &RowStore,
    is_active: &[bool],
    start: u32,
    window: &mut u32,
    bounds: Bounds,
) -> Result<(Vec<u64>, u32), StoreError> {
    loop {
        let end = start.saturating_add(*window).min(store.len() as u32);
        if let Some(pairs) = candidates_of(store, is_active, start..end, bounds)? {
            if pairs.len() < bounds.pairs / 4 {
                *window = window.saturating_mul(2);
            }
            return Ok((pairs, end));
        }
        *window = ((end - start) / 4).max(bounds.rows);
    }
}

/// Returns the pairs of some later rows; `None` if there are too many.
fn candidates_of(
    store: &RowStore,
    is_active: &[bool],
    later: Range<u32>,
    bounds: Bounds,
) -> Result<Option<Vec<u64>>, StoreError> {
    let bands: Vec<usize> = (0..store.bands()).collect();
    let mut all: Vec<u64> = Vec::new();
    let max = if later.len() > bounds.rows as usize { bounds.pairs } else { usize::MAX };
    // Some bands at a time: pairs that meet in many bands are merged before there are too many of them.
    for some in bands.chunks(rayon::current_num_threads().max(1)) {
        let found: Result<Option<Vec<Vec<u64>>>, StoreError> =
            some.par_iter().map(|&band| pairs_of_band(store, is_active, band, &later, max / some.len())).collect();
        let Some(found) = found? else { return Ok(None) };
        if found.iter().any(|pairs| !pairs.is_empty()) {
            all.extend(found.into_iter().flatten());
            all.par_sort_unstable();
            all.dedup();
        }
        if all.len() > max {
            return Ok(None);
        }
    }
    Ok(Some(all))
}

/// Returns the pairs of some later rows in one band; `None` if they are more than `max`.
fn pairs_of_band(
    store: &RowStore,
    is_active: &[bool],
    band: usize,
    later: &Range<u32>,
    max: usize,
) -> Result<Option<Vec<u64>>, StoreError> {
    let mut keys = Vec::with_capacity(store.len());
    store.band_into(band, &mut keys)?;
    // Rows behind the last later one are in no pair.
    let up_to = later.end as usize;
    let active = keys.iter().zip(is_active).enumerate().take(up_to).filter(|(_, (_, active))| **active);
    let mut rows: Vec<u64> = active.map(|(row, (&key, _))| u64::from(key) << 32 | row as u64).collect();
    drop(keys);
    rows.sort_unstable();
    let mut pairs = Vec::new();
    for group in rows.chunk_by(|a, b| a >> 32 == b >> 32).filter(|group| group.len() > 1) {
        let members: Vec<u32> = group.iter().map(|&row| row as u32).collect();
        pairs_of_group(&members, &store.gold, later, max, &mut pairs);
        if pairs.len() > max {
            return Ok(None);
        }
    }
    Ok(Some(pairs))
}

/// Pairs the members of a group that are in `wanted`, whose end is behind them all, with members before them; leaves off
/// once there are more than `max`.
fn pairs_of_group(members: &[u32], gold: &[u64], wanted: &Range<u32>, max: usize, pairs: &mut Vec<u64>) {
    // Members by answer, filled as the group is walked, for large groups only.
    let mut same: HashMap<u64, Vec<u32>> = HashMap::new();
    let is_large = members.len() > ALL_UP_TO;
    for (index, &later) in members.iter().enumerate() {
        if pairs.len() > max {
            break;
        }
        let is_wanted = wanted.contains(&later);
        let before = if is_wanted { members.get(..index).unwrap_or_default() } else { &[] };
        let pair = |&earlier: &u32| u64::from(later) << 32 | u64::from(earlier);
        if before.len() <= ALL_UP_TO {
            pairs.extend(before.iter().map(pair));
        } else {
            pairs.extend(before.iter().take(EARLIEST).map(pair));
        }
        if is_large {
            let answer = gold.get(later as usize).copied().unwrap_or(0);
            let alike = same.entry(answer).or_default();
            if before.len() > ALL_UP_TO {
                let (first, rest) = alike.split_at(alike.len().min(EARLIEST_SAME));
                let latest = rest.iter().rev().take(LATEST_SAME);
                pairs.extend(first.iter().chain(latest).map(pair));
            }
            alike.push(later);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_groups_give_all_pairs_and_large_ones_a_bounded_number_that_later_rows_do_not_change() {
        let gold: Vec<u64> = (0..4000).map(|row| row % 50).collect();
        let pairs = |count: u32| {
            let mut pairs = Vec::new();
            pairs_of_group(&(0..count).collect::<Vec<_>>(), &gold, &(0..count), usize::MAX, &mut pairs);
            pairs.sort_unstable();
            pairs.dedup();
            pairs
        };
        assert_eq!(pairs(20).len(), 190);
        let all = pairs(4000);
        assert!(all.len() < 4000 * (EARLIEST + EARLIEST_SAME + LATEST_SAME) + 2000);
        // Row 3999 has answer 49, as rows 49, 99 and so on, the earliest and the latest of them among its pairs.
        for earlier in [0, 7, 49, 99, 3949] {
            assert!(all.binary_search(&(3999 << 32 | earlier)).is_ok(), "{earlier}");
        }
        let fewer = pairs(3000);
        assert!(all.iter().filter(|pair| **pair >> 32 < 3000).eq(fewer.iter()));
        let mut rest = Vec::new();
        pairs_of_group(&(0..4000).collect::<Vec<_>>(), &gold, &(3000..4000), usize::MAX, &mut rest);
        rest.sort_unstable();
        rest.dedup();
        assert_eq!([fewer, rest].concat(), all);
    }
}
