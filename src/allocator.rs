//! The allocator of the process: mimalloc, and the system's own pages for large blocks.
//!
//! Invariant: which of the two has a block follows from its layout alone, which Rust hands over at both ends.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Blocks of so many bytes and more are pages of the system.
///
/// mimalloc keeps a block that another thread frees until the thread that allocated it allocates again. What is made for an
/// answer is allocated where there is time for it and freed where it was sent: with dozens of threads that were hundreds
/// of MiB beyond the memory budget. Pages cost a fault for each 4 KiB, about what it costs to fill them once.
const LARGE: usize = 1 << 20;
/// Alignment of pages that can be relied on, in bytes.
const PAGE: usize = 4096;
/// `mi_option_purge_delay` of mimalloc 2: how long freed memory is kept before the system has it back, in ms.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// The delay mimalloc begins with.
const USUAL: i8 = 10;

struct Allocator;

const fn is_large(size: usize, align: usize) -> bool {
    size >= LARGE && align <= PAGE
}

/// Pages of zeros; null when there are none.
fn map(size: usize) -> *mut u8 {
    // SAFETY: a private mapping of its own, at an address that the system chooses, touches nothing that exists.
    #[expect(unsafe_code, reason = "pages are had from the system only")]
    let pages = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if pages == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    pages.cast()
}

// SAFETY: blocks are those of mimalloc or fresh mappings of at least the size asked for, aligned to a page, and each goes
// back to where it came from, as the layout is the same. Nothing here panics.
#[expect(unsafe_code, reason = "the trait is unsafe")]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size());
        }
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size());
        }
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout.size(), layout.align()) {
            // SAFETY: it was mapped with this size, and nobody has it any more.
            unsafe { libc::munmap(block.cast(), layout.size()) };
            return;
        }
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (was, is) = (
            is_large(layout.size(), layout.align()),
            is_large(size, layout.align()),
        );
        if was && is {
            // SAFETY: it was mapped with the old size; nobody has a pointer to where it was before.
            let moved =
                unsafe { libc::mremap(block.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
            return if moved == libc::MAP_FAILED {
                ptr::null_mut()
            } else {
                moved.cast()
            };
        }
        if !was && !is {
            // SAFETY: as the caller promises.
            return unsafe { MiMalloc.realloc(block, layout, size) };
        }
        // SAFETY: the caller promises that the size is sound for the alignment; both blocks have the bytes that are copied.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Gives freed memory back to the system at once while requests use much of the budget, and after a while otherwise: to
/// give it back at once always costs page faults in every frame.
pub(crate) fn keep_little_while_much_is_used() {
    stowage::memory::when_much_is_used(|much| {
        let delay = if much { 0 } else { USUAL };
        // SAFETY: the option exists in the version that is built in; a number is written that other threads read whole.
        #[expect(unsafe_code, reason = "mimalloc has no safe way to set it")]
        unsafe {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, delay.into());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_purge_delay() {
        // SAFETY: it only reads.
        #[expect(unsafe_code, reason = "mimalloc has no safe way to ask for it")]
        let now = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(
            now,
            std::ffi::c_long::from(USUAL),
            "MIMALLOC_PURGE_DELAY is not set, so it is the default"
        );
    }

    fn byte_at(at: usize) -> u8 {
        u8::try_from(at % 251).unwrap()
    }

    #[test]
    fn blocks_keep_their_bytes_on_the_way_between_small_and_large() {
        let mut bytes: Vec<u8> = Vec::new();
        let sizes = [100, LARGE - 1, LARGE, LARGE + 1, 5 * LARGE, 9 * LARGE + 7];
        let grown = sizes.into_iter();
        for size in grown.chain(sizes.into_iter().rev()) {
            while bytes.len() < size {
                bytes.push(byte_at(bytes.len()));
            }
            bytes.truncate(size);
            bytes.shrink_to_fit();
            assert!(
                bytes
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == byte_at(at))
            );
        }
        assert!(vec![0_u8; 3 * LARGE].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_large_block_is_gone_when_another_thread_frees_it() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE
        };
        let before = resident();
        let blocks: Vec<Vec<u8>> =
            std::thread::spawn(|| (0..64).map(|n| vec![n + 1_u8; LARGE]).collect())
                .join()
                .unwrap();
        assert!(resident() > before + 60 * LARGE);
        drop(blocks);
        assert!(resident() < before + 30 * LARGE);
    }
}
