//! Finds the pairs of rows that share the key of at least one band.
//!
//! Bands are sorted one at a time per thread: 12 bytes per row and thread. Each row of a group with one key is paired
//! with the earlier rows of the group. In a large group a row is paired with some of them only ([`pairs_of_group`]), so
//! that a million rows of one template do not make 10^12 pairs. Earlier rows alone decide which ones. If all pairs
//! together are too many, the pairs of some later rows are computed at a time: about 128 MB of pairs are in memory at
//! most (of up to 128 bands).

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;

use super::store::{RowStore, StoreError};

/// The most earlier rows of a group for which a row is compared with all of them.
const ALL_UP_TO: usize = 32;
/// In larger groups: the earliest rows, the earliest rows with the same answer, and the latest rows with the same
/// answer.
const EARLIEST: usize = 8;
const EARLIEST_SAME: usize = 16;
/// A small number, because these rows differ in each band.
const LATEST_SAME: usize = 2;

/// How much is gathered at a time. The found pairs do not depend on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The most pairs.
    pub(super) pairs: usize,
    /// The number of later rows that are always processed together.
    pub(super) rows: u32,
}

impl Bounds {
    /// 2048 rows make at most about as many pairs as the bound, in 128 bands.
    pub(super) const DEFAULT: Self = Self { pairs: 8 << 20, rows: 2048 };
}

/// Returns the pairs `later << 32 | earlier` of rows for which `is_active` holds, sorted, each once, for up to `window`
/// later rows from `start` on; and the row before which these rows end. `window` shrinks if the rows make too many
/// pairs, and grows if they make few.
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

/// Returns the pairs of some later rows; `None` if the pairs are too many.
fn candidates_of(
    store: &RowStore,
    is_active: &[bool],
    later: Range<u32>,
    bounds: Bounds,
) -> Result<Option<Vec<u64>>, StoreError> {
    let bands: Vec<usize> = (0..store.bands()).collect();
    let mut all: Vec<u64> = Vec::new();
    let max = if later.len() > bounds.rows as usize { bounds.pairs } else { usize::MAX };
    // Processes some bands at a time: pairs that meet in many bands are merged before they are too many.
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

/// Returns the pairs of some later rows in one band; `None` if there are more than `max`.
fn pairs_of_band(
    store: &RowStore,
    is_active: &[bool],
    band: usize,
    later: &Range<u32>,
    max: usize,
) -> Result<Option<Vec<u64>>, StoreError> {
    let mut keys = Vec::with_capacity(store.len());
    store.band_into(band, &mut keys)?;
    // Rows after the last later row are in no pair.
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

/// Pairs the members of a group in `wanted` with earlier members, and stops at more than `max` pairs. No member is
/// after the end of `wanted`.
fn pairs_of_group(members: &[u32], gold: &[u64], wanted: &Range<u32>, max: usize, pairs: &mut Vec<u64>) {
    // Members by answer, filled during the walk over the group, for large groups only.
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
        // Row 3999 has answer 49, as rows 49, 99 and so on; its pairs include the earliest and the latest of them.
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
