//! Pairs of rows that meet in at least one band.
//!
//! Bands are sorted one at a time per thread: 12 bytes per row and thread. Of the rows that share a key, each is paired
//! with those before it; where there are many, with some of them only ([`earlier_in_group`]), so that a million rows
//! made from one template do not make 10^12 pairs. Which ones depends on earlier rows alone.

use rayon::prelude::*;

use super::store::{RowStore, StoreError};

/// Earlier rows of a group that a row is compared with, all of them up to this number.
const ALL_UP_TO: usize = 32;
/// Beyond it: the earliest of all, the earliest with the same answer, and the latest with the same answer.
const EARLIEST: usize = 8;
const EARLIEST_SAME: usize = 16;
const LATEST_SAME: usize = 8;

/// Returns the pairs `later << 32 | earlier` among rows for which `is_active` holds, sorted, each once.
pub(super) fn candidates(store: &RowStore, is_active: &[bool]) -> Result<Vec<u64>, StoreError> {
    let bands: Vec<usize> = (0..store.bands()).collect();
    let mut all: Vec<u64> = Vec::new();
    // Some bands at a time: pairs that meet in many bands are merged before there are too many of them.
    for some in bands.chunks(rayon::current_num_threads().max(1)) {
        let found: Result<Vec<Vec<u64>>, StoreError> =
            some.par_iter().map(|&band| pairs_of_band(store, is_active, band)).collect();
        let found = found?;
        if found.iter().any(|pairs| !pairs.is_empty()) {
            all.extend(found.into_iter().flatten());
            all.par_sort_unstable();
            all.dedup();
        }
    }
    Ok(all)
}

fn pairs_of_band(store: &RowStore, is_active: &[bool], band: usize) -> Result<Vec<u64>, StoreError> {
    let mut keys = Vec::with_capacity(store.len());
    store.band_into(band, &mut keys)?;
    let active = keys.iter().zip(is_active).enumerate().filter(|(_, (_, active))| **active);
    let mut rows: Vec<u64> = active.map(|(row, (&key, _))| u64::from(key) << 32 | row as u64).collect();
    drop(keys);
    rows.sort_unstable();
    let mut pairs = Vec::new();
    for group in rows.chunk_by(|a, b| a >> 32 == b >> 32).filter(|group| group.len() > 1) {
        let members: Vec<u32> = group.iter().map(|&row| row as u32).collect();
        pairs_of_group(&members, &store.gold, &mut pairs);
    }
    Ok(pairs)
}

fn pairs_of_group(members: &[u32], gold: &[u64], pairs: &mut Vec<u64>) {
    let mut emit = |later: u32, earlier: u32| pairs.push(u64::from(later) << 32 | u64::from(earlier));
    // Members by answer, filled as the group is walked, for large groups only.
    let mut same: std::collections::HashMap<u64, Vec<u32>> = std::collections::HashMap::new();
    let is_large = members.len() > ALL_UP_TO;
    for (index, &later) in members.iter().enumerate() {
        let before = members.get(..index).unwrap_or_default();
        if before.len() <= ALL_UP_TO {
            before.iter().for_each(|&earlier| emit(later, earlier));
        } else {
            before.iter().take(EARLIEST).for_each(|&earlier| emit(later, earlier));
        }
        if is_large {
            let answer = gold.get(later as usize).copied().unwrap_or(0);
            let alike = same.entry(answer).or_default();
            if before.len() > ALL_UP_TO {
                let (first, rest) = alike.split_at(alike.len().min(EARLIEST_SAME));
                let latest = rest.iter().rev().take(LATEST_SAME);
                first.iter().chain(latest).for_each(|&earlier| emit(later, earlier));
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
            pairs_of_group(&(0..count).collect::<Vec<_>>(), &gold, &mut pairs);
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
    }
}
