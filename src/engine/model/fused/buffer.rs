//! Memory that several threads write at the same time, each in its own range.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;

/// Alignment of every buffer: a cache line, and a row of an AMX tile.
const ALIGNMENT: usize = 64;

/// Buffers of at least this size are aligned to it and request huge pages: every step reads weights and keys from end
/// to end, and with small pages the address translation alone takes a tenth of that time.
const HUGE_PAGE: usize = 2 << 20;

/// Maximum alignment for which the allocator returns zeros without writing them.
const CALLOC_ALIGNMENT: usize = 8;

/// A fixed number of plain numbers, initially zero, aligned to a cache line. Memory that was never written takes no
/// physical memory.
///
/// Threads share the buffer without locks; the caller guarantees which ranges are read and written at which time (see
/// the methods).
pub(super) struct SharedBuffer<T: Number> {
    /// The allocation; `start` points into it.
    base: NonNull<u8>,
    start: NonNull<T>,
    length: usize,
}

/// Numbers for which every bit pattern, all zeros included, is a value.
pub(super) trait Number: Copy {}
impl Number for f32 {}
impl Number for u32 {}
impl Number for u16 {}

// SAFETY: all access uses the unsafe methods below, whose callers guarantee that no range is written while it is read.
unsafe impl<T: Number + Send> Send for SharedBuffer<T> {}
// SAFETY: as above.
unsafe impl<T: Number + Send + Sync> Sync for SharedBuffer<T> {}

impl<T: Number> SharedBuffer<T> {
    /// Allocates `length` zeros; `None` if the operating system refuses the memory.
    pub(super) fn try_new(length: usize) -> Option<Self> {
        let layout = Self::layout(length)?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        if layout.align() == ALIGNMENT {
            return Some(Self { base, start: base.cast::<T>(), length });
        }
        let offset = base.align_offset(HUGE_PAGE);
        // SAFETY: the layout has room for the numbers and one more huge page, and the offset is smaller than a huge
        // page.
        let start = unsafe { base.add(offset) };
        advise_huge_pages(start, layout.size() - HUGE_PAGE);
        Some(Self { base, start: start.cast::<T>(), length })
    }

    /// Allocates `length` zeros; aborts the program if the memory cannot be allocated, as `Vec` does.
    pub(super) fn new(length: usize) -> Self {
        let layout = || Self::layout(length).unwrap_or(Layout::new::<T>());
        Self::try_new(length).unwrap_or_else(|| handle_alloc_error(layout()))
    }

    fn layout(length: usize) -> Option<Layout> {
        let layout = Layout::array::<T>(length.max(1)).ok()?;
        if layout.size() < HUGE_PAGE {
            return layout.align_to(ALIGNMENT).ok();
        }
        // Aligned by hand: for a larger alignment the allocator writes zeros to the whole allocation, and so would
        // commit all memory of keys and values at the start.
        Layout::from_size_align(layout.size().checked_add(HUGE_PAGE)?, CALLOC_ALIGNMENT).ok()
    }

    /// Returns the number of elements.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Returns a range for reading. Panics if the range reaches past the end.
    ///
    /// # Safety
    /// No thread may write to the range while the result lives.
    pub(super) unsafe fn read(&self, range: Range<usize>) -> &[T] {
        assert!(range.start <= range.end && range.end <= self.length, "a part lies inside its buffer");
        // SAFETY: in bounds and initialized; not written in the meantime, as the caller guarantees.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(range.start), range.len()) }
    }

    /// Returns a range for writing. Panics if the range reaches past the end.
    ///
    /// # Safety
    /// No other thread may read or write the range while the result lives.
    #[expect(clippy::mut_from_ref, reason = "disjoint parts are the point; see the safety section")]
    pub(super) unsafe fn write(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "a part lies inside its buffer");
        // SAFETY: in bounds and initialized; exclusive, as the caller guarantees.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(range.start), range.len()) }
    }

    /// Returns the whole buffer to its exclusive owner.
    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: the exclusive borrow proves that no other range is borrowed.
        unsafe { self.write(0..self.length) }
    }
}

/// Advises the operating system to use huge pages, if it supports them. Without huge pages the program is only slower.
fn advise_huge_pages(start: NonNull<u8>, bytes: usize) {
    #[cfg(target_os = "linux")]
    if bytes >= HUGE_PAGE {
        use rustix::mm::{Advice, madvise};
        // SAFETY: the range was just allocated, and this advice does not change its contents.
        let _ = unsafe { madvise(start.as_ptr().cast(), bytes, Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

impl<T: Number> Drop for SharedBuffer<T> {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.length) {
            // SAFETY: allocated in `try_new` with this layout.
            unsafe { dealloc(self.base.as_ptr(), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zero_aligned_and_bounded() {
        let mut buffer = SharedBuffer::<f32>::new(100);
        assert!(buffer.as_mut_slice().iter().all(|number| *number == 0.0));
        assert_eq!(buffer.as_mut_slice().as_ptr() as usize % ALIGNMENT, 0);
        buffer.as_mut_slice()[99] = 1.0;
        // SAFETY: no thread writes.
        assert_eq!(unsafe { buffer.read(98..100) }, [0.0, 1.0]);
        // SAFETY: no thread writes.
        assert!(std::panic::catch_unwind(|| unsafe { buffer.read(99..101) }.len()).is_err());
        assert!(SharedBuffer::<f32>::try_new(usize::MAX / 2).is_none());
        assert_eq!(SharedBuffer::<u16>::new(0).len(), 0);
        let mut large = SharedBuffer::<f32>::new((3 * HUGE_PAGE) / 4 + 1);
        assert_eq!(large.as_mut_slice().as_ptr() as usize % HUGE_PAGE, 0);
        large.as_mut_slice().fill(1.0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_that_is_not_written_is_not_taken() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/statm").unwrap();
            status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        let before = resident();
        let buffer = SharedBuffer::<f32>::try_new(1 << 30).unwrap();
        assert!(resident() < before + (1 << 30), "4 GiB were asked for and not written");
        assert_eq!(buffer.len(), 1 << 30);
    }
}
