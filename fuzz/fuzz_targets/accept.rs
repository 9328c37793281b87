//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none accept`

#![no_main]

#[path = "../targets.rs"]
#[expect(dead_code, reason = "each binary runs one of the targets")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    targets::accept_header(data);
});
