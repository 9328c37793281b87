//! The allocator of the process, and what it keeps of memory that was freed.

/// Allocates in a third of the time of the allocator of the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 2: how long freed memory is kept before the system has it back, in ms.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// The delay mimalloc begins with.
const USUAL: i8 = 10;

/// Gives freed memory back to the system at once while requests use much of the budget, and after a while otherwise.
///
/// Each thread keeps what it freed until it allocates again; with dozens of threads that is more than the budget itself
/// (`scan` by eight callers: 345 MiB for a budget of 256 MiB, 188 MiB when it is given back at once). To give it back always
/// costs page faults in every frame.
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
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "mimalloc has no safe way to ask for it")]
        let now = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(
            now,
            std::ffi::c_long::from(USUAL),
            "MIMALLOC_PURGE_DELAY is not set, so it is the default"
        );
    }
}
