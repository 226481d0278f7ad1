//! The second pass: decides on each row.

use std::collections::HashMap;

use super::candidates::{Bounds, candidates};
use super::confirm::{Edge, confirm};
use super::store::{RowStore, StoreError};
use crate::config::{Conflicts, DedupSettings, Variants};

/// The decision on a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// The query is kept; as a variant of `variant_of`, if set.
    Keep {
        /// The earliest query of the family of near texts with different answers.
        variant_of: Option<u32>,
    },
    /// An earlier query has the same text.
    Duplicate {
        /// The earlier query.
        of: u32,
        /// Whether the answers differ. Under [`Conflicts::ExcludeAll`] the first of the queries is excluded too, as a
        /// duplicate of a later one.
        conflicting: bool,
    },
    /// An earlier query has a near text and no different answer.
    NearDuplicate {
        /// The kept query of the cluster.
        of: u32,
        /// The earlier query with the near text; often the kept query itself.
        near: u32,
        /// The similarity to `near`.
        similarity: f32,
    },
    /// A benchmark contains the query; the row's record names the item.
    Contaminated,
}

/// The decision on one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// 0-based row of the store.
    pub row: u32,
    /// The action for the row.
    pub action: Action,
}

/// The number of queries for each action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kept queries, variants included.
    pub kept: u64,
    /// Queries kept as variants.
    pub variants: u64,
    /// Exact duplicates.
    pub duplicates: u64,
    /// Exact duplicates with a different answer.
    pub conflicts: u64,
    /// Near-duplicates.
    pub near_duplicates: u64,
    /// Queries in a benchmark.
    pub contaminated: u64,
}

/// The decisions on all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Decisions {
    /// The actions by row; `None` for rows that do not take part.
    actions: Vec<Option<Action>>,
}

impl Decisions {
    /// Returns the action for a row; `None` if the row does not take part.
    #[must_use]
    pub fn of(&self, row: u32) -> Option<Action> {
        self.actions.get(row as usize).copied().flatten()
    }

    /// Counts the actions.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for action in self.actions.iter().flatten() {
            match action {
                Action::Keep { variant_of } => {
                    counts.kept += 1;
                    counts.variants += u64::from(variant_of.is_some());
                }
                Action::Duplicate { conflicting, .. } => {
                    counts.duplicates += 1;
                    counts.conflicts += u64::from(*conflicting);
                }
                Action::NearDuplicate { .. } => counts.near_duplicates += 1,
                Action::Contaminated => counts.contaminated += 1,
            }
        }
        counts
    }
}

/// Decides on all rows of a store. The rows must be in order of their ordinals. Runs on the threads of the current
/// rayon pool; the result does not depend on the number of threads.
pub fn decide(store: &mut RowStore, settings: &DedupSettings) -> Result<Decisions, StoreError> {
    decide_within(store, settings, Bounds::DEFAULT)
}

/// Decides on all rows under other memory bounds; the decisions are the same.
pub(super) fn decide_within(
    store: &mut RowStore,
    settings: &DedupSettings,
    bounds: Bounds,
) -> Result<Decisions, StoreError> {
    store.flush()?;
    let first = first_with_text(store);
    let mut actions = exact(store, &first, settings.conflicting_gold);
    // Repetitions of a text find nothing that the first query with the text does not find.
    let is_active: Vec<bool> =
        (0..store.len() as u32).map(|row| store.takes_part(row) && first.get(row as usize) == Some(&row)).collect();
    let (mut families, mut start, mut window) = (HashMap::new(), 0, u32::MAX);
    while settings.near_duplicate_threshold < 1.0 && (start as usize) < store.len() {
        let (pairs, end) = candidates(store, &is_active, start, &mut window, bounds)?;
        near(store, &confirm(store, &pairs, settings)?, settings.variants, &mut families, &mut actions);
        start = end;
    }
    for (row, action) in actions.iter_mut().enumerate() {
        if action.is_some() && store.has_hit(row as u32) {
            *action = Some(Action::Contaminated);
        }
    }
    Ok(Decisions { actions })
}

/// Returns for each row the first row with the same exact key. Memory: 24 bytes per row during the call.
fn first_with_text(store: &RowStore) -> Vec<u32> {
    let mut rows: Vec<(u128, u32)> = store.exact.iter().copied().zip(0..).collect();
    rows.retain(|(_, row)| store.takes_part(*row));
    rows.sort_unstable();
    let mut first: Vec<u32> = (0..store.len() as u32).collect();
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        let Some((_, head)) = group.first() else { continue };
        for (_, row) in group {
            if let Some(place) = first.get_mut(*row as usize) {
                *place = *head;
            }
        }
    }
    first
}

/// Decides on rows whose exact text occurred before, and keeps all others for now.
fn exact(store: &RowStore, first: &[u32], conflicts: Conflicts) -> Vec<Option<Action>> {
    let mut actions: Vec<Option<Action>> = Vec::with_capacity(first.len());
    for (row, &of) in (0..).zip(first) {
        actions.push(match store.takes_part(row) {
            false => None,
            true if of == row => Some(Action::Keep { variant_of: None }),
            true => Some(Action::Duplicate { of, conflicting: store.answers_differ(row, of) }),
        });
    }
    if conflicts == Conflicts::ExcludeAll {
        for row in 0..actions.len() {
            let Some(Some(Action::Duplicate { of, conflicting: true })) = actions.get(row).copied() else { continue };
            if let Some(head) = actions.get_mut(of as usize)
                && matches!(head, Some(Action::Keep { .. }))
            {
                *head = Some(Action::Duplicate { of: row as u32, conflicting: true });
            }
        }
    }
    actions
}

/// Decides on rows that are near to earlier ones. Edges are in order of the later row, then of the earlier row.
/// `families` links the variants found so far to their earliest query; a row without an entry is its own family.
fn near(
    store: &RowStore,
    edges: &[Edge],
    variants: Variants,
    families: &mut HashMap<u32, u32>,
    actions: &mut [Option<Action>],
) {
    let is_head = |actions: &[Option<Action>], row: u32| {
        !matches!(actions.get(row as usize), Some(Some(Action::NearDuplicate { .. })))
    };
    let head = |actions: &[Option<Action>], row: u32| match actions.get(row as usize) {
        Some(Some(Action::NearDuplicate { of, .. })) => *of,
        _ => row,
    };
    for group in edges.chunk_by(|a, b| a.later == b.later) {
        let Some(later) = group.first().map(|edge| edge.later) else { continue };
        let same = |edge: &&Edge| variants == Variants::Exclude || !store.answers_differ(edge.later, edge.earlier);
        // The earliest relative that heads its cluster, or the earliest relative.
        let direct = group.iter().filter(same).find(|edge| is_head(actions, edge.earlier));
        let joined = direct.or_else(|| group.iter().find(same));
        let decided = match (joined, group.first()) {
            (Some(edge), _) => Action::NearDuplicate {
                of: head(actions, edge.earlier),
                near: edge.earlier,
                similarity: edge.similarity,
            },
            (None, Some(edge)) => {
                let relative = head(actions, edge.earlier);
                let eldest = families.get(&relative).copied().unwrap_or(relative);
                families.insert(later, eldest);
                Action::Keep { variant_of: Some(eldest) }
            }
            (None, None) => continue,
        };
        // A first query that contradicts a later one is already excluded.
        if let Some(action) = actions.get_mut(later as usize)
            && matches!(action, Some(Action::Keep { .. }))
        {
            *action = Some(decided);
        }
    }
}
