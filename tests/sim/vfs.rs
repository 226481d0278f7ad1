//! SQLite on the simulated disk: the real library with its real log, on a simulated file system.
//!
//! All connections belong to one thread. The files are in a [`Disk`]. Locks and the shared memory of the log are plain
//! data next to the disk, and end with the process.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one contract for all: SQLite hands each callback its own file or file system, and buffers of the length it names"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::ffi;

use crate::disk::{Disk, DiskError};
use crate::random::Random;

/// A file system that is registered with SQLite until it is dropped. Connections must be closed before.
pub struct Vfs {
    name: CString,
    raw: Box<ffi::sqlite3_vfs>,
    shared: *mut Shared,
}

struct Shared {
    disk: Arc<Disk>,
    random: Mutex<Random>,
    locks: Mutex<Locks>,
}

#[derive(Default)]
struct Locks {
    /// Lock level by file and handle.
    levels: BTreeMap<u64, BTreeMap<u64, c_int>>,
    /// Holders of the log's eight locks by file: exclusive handle, or shared handles.
    slots: BTreeMap<(u64, c_int), (Option<u64>, Vec<u64>)>,
    regions: BTreeMap<u64, Vec<Box<[u64]>>>,
    next_handle: u64,
}

#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    shared: *const Shared,
    file: u64,
    id: u64,
    /// Whether the names are synced together with the file's first sync, as SQLite does for logs that it makes.
    syncs_names: bool,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Vfs {
    /// Registers a file system over a disk.
    pub fn new(disk: Arc<Disk>, seed: u64) -> Self {
        let name = CString::new(format!("sim-{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
        let random = Mutex::new(Random::new(seed, "sqlite"));
        let shared = Box::into_raw(Box::new(Shared { disk, random, locks: Mutex::default() }));
        // SAFETY: all-zero is a valid sqlite3_vfs: null pointers and absent functions.
        let mut raw: Box<ffi::sqlite3_vfs> = Box::new(unsafe { std::mem::zeroed() });
        raw.iVersion = 1;
        raw.szOsFile = c_int::try_from(size_of::<Handle>()).unwrap();
        raw.mxPathname = 256;
        raw.zName = name.as_ptr();
        raw.pAppData = shared.cast();
        raw.xOpen = Some(open);
        raw.xDelete = Some(delete);
        raw.xAccess = Some(access);
        raw.xFullPathname = Some(full_pathname);
        raw.xRandomness = Some(randomness);
        raw.xSleep = Some(sleep);
        raw.xCurrentTime = Some(current_time);
        // SAFETY: the structure stays where it is, in its box, until it is unregistered.
        let code = unsafe { ffi::sqlite3_vfs_register(&raw mut *raw, 0) };
        assert_eq!(code, ffi::SQLITE_OK);
        Self { name, raw, shared }
    }

    /// Returns the name to open connections with.
    pub fn name(&self) -> String {
        self.name.to_str().unwrap().to_owned()
    }
}

impl Drop for Vfs {
    fn drop(&mut self) {
        // SAFETY: registered in `new`; no connection uses it any more, so that nobody holds `shared`.
        unsafe {
            ffi::sqlite3_vfs_unregister(&raw mut *self.raw);
            drop(Box::from_raw(self.shared));
        }
    }
}

/// Returns what a registered file system shares.
///
/// # Safety
/// `vfs` is one that [`Vfs::new`] registered.
unsafe fn shared<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Shared {
    // SAFETY: pAppData was set by `new` and lives as long as the registration.
    unsafe { &*(*vfs).pAppData.cast::<Shared>() }
}

/// Returns an open file's handle with what its file system shares.
///
/// # Safety
/// `file` was opened by [`open`].
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> (&'a mut Handle, &'a Shared) {
    // SAFETY: SQLite hands back the memory that `open` wrote a Handle to, and calls from one thread.
    unsafe {
        let shared = (*file.cast::<Handle>()).shared;
        (&mut *file.cast::<Handle>(), &*shared)
    }
}

/// Returns a file's name, relative to the simulated root.
///
/// # Safety
/// `name` is a C string.
unsafe fn text<'a>(name: *const c_char) -> &'a str {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(name) }.to_str().unwrap().trim_start_matches('/')
}

fn code(result: Result<(), DiskError>, otherwise: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(DiskError::Full) => ffi::SQLITE_FULL,
        Err(_) => otherwise,
    }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes the registered structure, a name or null, and memory of szOsFile bytes.
    unsafe {
        (*file).pMethods = std::ptr::null();
        let shared = shared(vfs);
        let mut locks = shared.locks.lock().unwrap();
        locks.next_handle += 1;
        let id = locks.next_handle;
        let name = if name.is_null() { format!("temporary-{id}") } else { text(name).to_owned() };
        let (found, is_new) = match shared.disk.find(&name) {
            Some(found) => (found, false),
            None if flags & ffi::SQLITE_OPEN_CREATE == 0 => return ffi::SQLITE_CANTOPEN,
            None => match shared.disk.create(&name) {
                Ok(found) => (found, true),
                Err(_) => return ffi::SQLITE_CANTOPEN,
            },
        };
        let is_log = flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0;
        let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
        file.cast::<Handle>().write(Handle { base, shared, file: found, id, syncs_names: is_new && is_log });
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

// SAFETY of all methods below: SQLite calls them with files that `open` opened, and with valid pointers and lengths.

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    let mut locks = shared.locks.lock().unwrap();
    locks.levels.entry(handle.file).or_default().remove(&handle.id);
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    let amount = usize::try_from(amount).unwrap();
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), amount) };
    let count = shared.disk.read(handle.file, usize::try_from(offset).unwrap(), buffer);
    if count == amount {
        return ffi::SQLITE_OK;
    }
    buffer[count..].fill(0);
    ffi::SQLITE_IOERR_SHORT_READ
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), usize::try_from(amount).unwrap()) };
    code(shared.disk.write(handle.file, usize::try_from(offset).unwrap(), bytes), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    code(shared.disk.truncate(handle.file, usize::try_from(size).unwrap()), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    let mut result = shared.disk.sync(handle.file);
    if result.is_ok() && handle.syncs_names {
        result = shared.disk.sync_names();
        handle.syncs_names = result.is_err();
    }
    code(result, ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    unsafe { *size = i64::try_from(shared.disk.length(handle.file)).unwrap() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    let mut locks = shared.locks.lock().unwrap();
    let levels = locks.levels.entry(handle.file).or_default();
    let highest = levels.iter().filter(|(id, _)| **id != handle.id).map(|(_, level)| *level).max().unwrap_or(0);
    let is_free = match level {
        ffi::SQLITE_LOCK_SHARED => highest < ffi::SQLITE_LOCK_PENDING,
        ffi::SQLITE_LOCK_RESERVED => highest < ffi::SQLITE_LOCK_RESERVED,
        _ => highest == ffi::SQLITE_LOCK_NONE,
    };
    if !is_free {
        return ffi::SQLITE_BUSY;
    }
    let own = levels.entry(handle.id).or_default();
    *own = level.max(*own);
    ffi::SQLITE_OK
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    shared.locks.lock().unwrap().levels.entry(handle.file).or_default().insert(handle.id, level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    let mut locks = shared.locks.lock().unwrap();
    let levels = locks.levels.entry(handle.file).or_default();
    let is_reserved = levels.values().any(|level| *level >= ffi::SQLITE_LOCK_RESERVED);
    unsafe { *out = c_int::from(is_reserved) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    // What SQLite takes for granted on Unix; the simulated writes honour it, for sectors are written whole.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    index: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    let mut locks = shared.locks.lock().unwrap();
    let regions = locks.regions.entry(handle.file).or_default();
    let index = usize::try_from(index).unwrap();
    while extend != 0 && regions.len() <= index {
        regions.push(vec![0_u64; usize::try_from(size).unwrap() / 8].into_boxed_slice());
    }
    let region = regions.get_mut(index).map_or(std::ptr::null_mut(), |region| region.as_mut_ptr().cast());
    unsafe { *out = region };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    let (file, id) = (handle.file, handle.id);
    let mut locks = shared.locks.lock().unwrap();
    let slots = offset..offset + count;
    let is_exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        for slot in slots {
            let (exclusive, sharing) = locks.slots.entry((file, slot)).or_default();
            if *exclusive == Some(id) {
                *exclusive = None;
            }
            sharing.retain(|other| *other != id);
        }
        return ffi::SQLITE_OK;
    }
    for slot in slots.clone() {
        let (exclusive, sharing) = locks.slots.entry((file, slot)).or_default();
        let is_shared_by_others = sharing.iter().any(|other| *other != id);
        if exclusive.is_some_and(|other| other != id) || (is_exclusive && is_shared_by_others) {
            return ffi::SQLITE_BUSY;
        }
    }
    for slot in slots {
        let (exclusive, sharing) = locks.slots.entry((file, slot)).or_default();
        if is_exclusive {
            *exclusive = Some(id);
        } else {
            sharing.push(id);
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    let (handle, shared) = unsafe { handle(file) };
    let mut locks = shared.locks.lock().unwrap();
    for ((file, _), (exclusive, sharing)) in &mut locks.slots {
        if *file == handle.file {
            sharing.retain(|other| *other != handle.id);
            *exclusive = exclusive.filter(|other| *other != handle.id);
        }
    }
    if delete != 0 {
        locks.regions.remove(&handle.file);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    let (shared, name) = unsafe { (shared(vfs), text(name)) };
    match shared.disk.remove(name) {
        Err(DiskError::Missing) => return ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(_) => return ffi::SQLITE_IOERR_DELETE,
        Ok(()) => {}
    }
    if sync_dir == 0 { ffi::SQLITE_OK } else { code(shared.disk.sync_names(), ffi::SQLITE_IOERR_DIR_FSYNC) }
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    let (shared, name) = unsafe { (shared(vfs), text(name)) };
    unsafe { *out = c_int::from(shared.disk.find(name).is_some()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if bytes.len() > usize::try_from(room).unwrap() {
        return ffi::SQLITE_CANTOPEN;
    }
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, count: c_int, out: *mut c_char) -> c_int {
    let shared = unsafe { shared(vfs) };
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), usize::try_from(count).unwrap()) };
    let mut random = shared.random.lock().unwrap();
    out.iter_mut().for_each(|byte| *byte = random.next() as u8);
    count
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    micros
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // A Julian day; nothing here asks SQLite for the time.
    unsafe { *out = 2_460_000.5 };
    ffi::SQLITE_OK
}
