//! A simulated disk that loses data: a power failure may lose unsynced writes, in part and out of order.
//!
//! The process sees every write at once, as through a page cache. A sync of a file makes its writes durable; a sync of
//! the directory makes new names, renames and removals durable. The disk counts all operations that change its state,
//! so a test can place a crash at each of them; after the crash no write reaches the disk. The disk has two faults: a
//! capacity that may shrink (`Full`), and a failing sync, after which the writes stay visible but never become
//! durable, as on Linux.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use crate::random::Random;

/// Bytes that reach the platter together.
const SECTOR: usize = 512;

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// The process is dead.
    Crashed,
    /// No space is left.
    Full,
    /// The device failed.
    Io,
    /// There is no such file.
    Missing,
}

/// How a life of the process ends badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashKind {
    /// The process was killed: the system still writes what it holds.
    Kill,
    /// The power failed: what was not synced is lost, or not.
    Power,
}

/// What goes wrong in a life of the process; operations count from 1.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The operation at which the process dies.
    pub crash_at: Option<u64>,
    /// The operation from which on the disk is full.
    pub full_from: Option<u64>,
    /// The sync that fails.
    pub failed_sync_at: Option<u64>,
    /// Whether syncs do nothing and say nothing: a defect of the disk that no program survives.
    pub is_lying: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8>, is_lost: bool },
    Truncate(usize),
}

#[derive(Debug, Clone, Default)]
struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(String, u64),
    Unlink(String),
}

/// What syncs and publishing steps were passed, for crashes right before and after each.
#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameChange>,
    next_file: u64,
    operations: u64,
    /// Operations that make something durable: the points at which a crash tells.
    points: Vec<u64>,
    faults: Faults,
    is_crashed: bool,
    hits: BTreeMap<&'static str, u64>,
}

/// A disk, shared by SQLite and the published files.
#[derive(Debug, Default)]
pub struct Disk {
    state: Mutex<State>,
    crashed: Mutex<CancellationToken>,
}

impl Disk {
    /// Returns an empty disk.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Begins a life of the process under these faults; its end shows in the returned token.
    pub fn begin(&self, faults: Faults) -> CancellationToken {
        let mut state = self.state();
        (state.operations, state.is_crashed, state.faults) = (0, false, faults);
        state.points.clear();
        state.hits.clear();
        let token = CancellationToken::new();
        *self.crashed.lock().unwrap() = token.clone();
        token
    }

    /// Returns whether the process is dead.
    pub fn is_crashed(&self) -> bool {
        self.state().is_crashed
    }

    /// Lets the process die now.
    pub fn crash(&self) {
        self.state().is_crashed = true;
        self.crashed.lock().unwrap().cancel();
    }

    /// Returns the operations of this life, and which of them made something durable.
    pub fn operations(&self) -> (u64, Vec<u64>) {
        let state = self.state();
        (state.operations, state.points.clone())
    }

    /// Returns how often each fault struck in this life.
    pub fn hits(&self) -> BTreeMap<&'static str, u64> {
        self.state().hits.clone()
    }

    /// Counts an operation; fails if the process dies before it.
    fn step(&self, is_point: bool) -> Result<MutexGuard<'_, State>, DiskError> {
        let mut state = self.state();
        if state.is_crashed {
            return Err(DiskError::Crashed);
        }
        state.operations += 1;
        let operation = state.operations;
        if is_point {
            state.points.push(operation);
        }
        if state.faults.crash_at == Some(operation) {
            drop(state);
            self.crash();
            return Err(DiskError::Crashed);
        }
        Ok(state)
    }

    /// Finds a file.
    pub fn find(&self, name: &str) -> Option<u64> {
        self.state().names.get(name).copied()
    }

    /// Returns the names of all files.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Makes an empty file, in place of what had the name.
    pub fn create(&self, name: &str) -> Result<u64, DiskError> {
        let mut state = self.step(false)?;
        state.next_file += 1;
        let file = state.next_file;
        state.files.insert(file, File::default());
        state.link(name, file);
        Ok(file)
    }

    /// Gives a file another name, in place of what had it.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.step(true)?;
        let file = state.names.remove(from).ok_or(DiskError::Missing)?;
        // One change of the directory: both names or none are seen after a power cut.
        state.unsynced_names.push(NameChange::Unlink(from.to_owned()));
        state.link(to, file);
        Ok(())
    }

    /// Removes a name.
    pub fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.step(false)?;
        state.names.remove(name).ok_or(DiskError::Missing)?;
        state.unsynced_names.push(NameChange::Unlink(name.to_owned()));
        Ok(())
    }

    /// Makes all names durable.
    pub fn sync_names(&self) -> Result<(), DiskError> {
        let mut state = self.step(true)?;
        if !state.faults.is_lying {
            state.durable_names = state.names.clone();
            state.unsynced_names.clear();
        }
        Ok(())
    }

    /// Writes bytes into a file.
    pub fn write(&self, file: u64, offset: usize, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.step(false)?;
        let is_full = state.faults.full_from.is_some_and(|from| state.operations >= from);
        let operations = state.operations;
        let found = state.files.get_mut(&file).ok_or(DiskError::Missing)?;
        let end = offset + bytes.len();
        if is_full && end > found.seen.len() {
            *state.hits.entry("disk full").or_default() += 1;
            debug_assert!(operations > 0);
            return Err(DiskError::Full);
        }
        if found.seen.len() < end {
            found.seen.resize(end, 0);
        }
        found.seen[offset..end].copy_from_slice(bytes);
        found.unsynced.push(Change::Write { offset, bytes: bytes.to_vec(), is_lost: false });
        Ok(())
    }

    /// Sets a file's length.
    pub fn truncate(&self, file: u64, length: usize) -> Result<(), DiskError> {
        let mut state = self.step(false)?;
        let found = state.files.get_mut(&file).ok_or(DiskError::Missing)?;
        found.seen.resize(length, 0);
        found.unsynced.push(Change::Truncate(length));
        Ok(())
    }

    /// Makes a file's writes durable.
    pub fn sync(&self, file: u64) -> Result<(), DiskError> {
        let mut state = self.step(true)?;
        let fails = state.faults.failed_sync_at.is_some_and(|at| state.operations >= at);
        if fails {
            state.faults.failed_sync_at = None;
            *state.hits.entry("failed sync").or_default() += 1;
        }
        let is_lying = state.faults.is_lying;
        let found = state.files.get_mut(&file).ok_or(DiskError::Missing)?;
        if fails {
            for change in &mut found.unsynced {
                if let Change::Write { is_lost, .. } = change {
                    *is_lost = true;
                }
            }
            return Err(DiskError::Io);
        }
        if !is_lying {
            let changes = std::mem::take(&mut found.unsynced);
            apply(&mut found.durable, changes, |_| Kept::Whole);
        }
        Ok(())
    }

    /// Returns a file's bytes as the process sees them.
    pub fn bytes(&self, file: u64) -> Option<Vec<u8>> {
        self.state().files.get(&file).map(|file| file.seen.clone())
    }

    /// Copies bytes of a file into `buffer`; returns how many there were.
    pub fn read(&self, file: u64, offset: usize, buffer: &mut [u8]) -> usize {
        let state = self.state();
        let Some(found) = state.files.get(&file) else { return 0 };
        let count = found.seen.len().saturating_sub(offset).min(buffer.len());
        if count > 0 {
            buffer[..count].copy_from_slice(&found.seen[offset..offset + count]);
        }
        count
    }

    /// Returns a file's length.
    pub fn length(&self, file: u64) -> usize {
        self.state().files.get(&file).map_or(0, |file| file.seen.len())
    }

    /// Leaves what the next life of the process finds.
    pub fn restart(&self, kind: CrashKind, random: &mut Random) {
        let mut state = self.state();
        if kind == CrashKind::Power {
            let kept = random.below(state.unsynced_names.len() as u64 + 1) as usize;
            let mut names = state.durable_names.clone();
            for change in state.unsynced_names.iter().take(kept) {
                match change {
                    NameChange::Link(name, file) => drop(names.insert(name.clone(), *file)),
                    NameChange::Unlink(name) => drop(names.remove(name)),
                }
            }
            state.names = names;
            for file in state.files.values_mut() {
                let changes = std::mem::take(&mut file.unsynced);
                apply(&mut file.durable, changes, |length| match random.below(4) {
                    0 => Kept::Not,
                    1 => Kept::Sectors(random.below((length / SECTOR) as u64 + 1) as usize),
                    _ => Kept::Whole,
                });
                file.seen = file.durable.clone();
            }
        }
        for file in state.files.values_mut() {
            file.unsynced.clear();
            file.durable = file.seen.clone();
        }
        let live: Vec<u64> = state.names.values().copied().collect();
        state.files.retain(|file, _| live.contains(file));
        state.durable_names = state.names.clone();
        state.unsynced_names.clear();
    }

    /// Returns a disk of its own with what the process sees now.
    pub fn image(&self) -> Arc<Self> {
        let state = self.state();
        let copy = State {
            files: state.files.clone(),
            names: state.names.clone(),
            next_file: state.next_file,
            ..State::default()
        };
        Arc::new(Self { state: Mutex::new(copy), crashed: Mutex::default() })
    }
}

impl State {
    fn link(&mut self, name: &str, file: u64) {
        self.names.insert(name.to_owned(), file);
        self.unsynced_names.push(NameChange::Link(name.to_owned(), file));
    }
}

/// How much of a write reached the platter.
enum Kept {
    Whole,
    Sectors(usize),
    Not,
}

fn apply(durable: &mut Vec<u8>, changes: Vec<Change>, mut keep: impl FnMut(usize) -> Kept) {
    for change in changes {
        match change {
            Change::Truncate(length) => durable.resize(length, 0),
            Change::Write { is_lost: true, offset, bytes } => {
                // The length is metadata and stays; the content is gone.
                durable.resize(durable.len().max(offset + bytes.len()), 0);
            }
            Change::Write { offset, bytes, .. } => {
                let count = match keep(bytes.len()) {
                    Kept::Whole => bytes.len(),
                    Kept::Sectors(count) => bytes.len().min(count * SECTOR),
                    Kept::Not => 0,
                };
                durable.resize(durable.len().max(offset + bytes.len()), 0);
                durable[offset..offset + count].copy_from_slice(&bytes[..count]);
            }
        }
    }
}
