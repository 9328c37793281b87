//! Fault points: named places where a test ends the process as a power cut would.
//!
//! Invariant: a release build has none of this. In a build with debug assertions a point does nothing unless
//! `STOWAGE_FAULT=point:count` names it: then its `count`th pass, from 1, ends the process at once, without destructors
//! or handlers. `STOWAGE_FAULT_TRACE=file` writes down each pass instead, so that a test knows what there is to hit.

/// Marks a step behind which a crash must leave everything whole.
#[inline]
pub(crate) fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::fs::File;
    use std::io::Write;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        point: String,
        count: u64,
        passed: AtomicU64,
        trace: Option<File>,
    }

    static ARMED: LazyLock<Armed> = LazyLock::new(|| {
        let fault = std::env::var("STOWAGE_FAULT").unwrap_or_default();
        let (point, count) = fault.split_once(':').unwrap_or_default();
        let trace = std::env::var_os("STOWAGE_FAULT_TRACE");
        let open = |path| File::options().create(true).append(true).open(path);
        Armed {
            point: point.to_owned(),
            count: count.parse().unwrap_or(0),
            passed: AtomicU64::new(0),
            trace: trace.and_then(|path| open(path).ok()),
        }
    });

    pub(super) fn pass(name: &str) {
        let armed = &*ARMED;
        if let Some(mut trace) = armed.trace.as_ref() {
            // One write, so that lines of several threads do not mix.
            let _ = trace.write_all(format!("{name}\n").as_bytes());
        }
        if armed.point == name && armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.count {
            std::process::abort();
        }
    }
}
