//! Fault points: named places where a test ends the process as a power cut would.
//!
//! Invariant: a release build has none of this. In a build with debug assertions a point does nothing unless
//! `STOWAGE_FAULT=point:count` names it: then its `count`th pass, from 1, ends the process at once, without destructors
//! or handlers. `STOWAGE_FAULT_PANIC=point:first-last` lets these passes panic instead: a defect, not a power cut.
//! `STOWAGE_FAULT_TRACE=file` writes down each pass, so that a test knows what there is to hit.

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

    struct ArmedFault {
        point: String,
        count: u64,
        passed: AtomicU64,
        panics: Panics,
        trace: Option<File>,
    }

    #[derive(Default)]
    struct Panics {
        point: String,
        first: u64,
        last: u64,
        passed: AtomicU64,
    }

    impl Panics {
        fn read() -> Self {
            let text = std::env::var("STOWAGE_FAULT_PANIC").unwrap_or_default();
            let (point, passes) = text.split_once(':').unwrap_or_default();
            let (first, last) = passes.split_once('-').unwrap_or((passes, passes));
            Self {
                point: point.to_owned(),
                first: first.parse().unwrap_or(0),
                last: last.parse().unwrap_or(0),
                passed: AtomicU64::new(0),
            }
        }

        fn is_due(&self, name: &str) -> bool {
            self.point == name
                && (self.first..=self.last)
                    .contains(&(self.passed.fetch_add(1, Ordering::Relaxed) + 1))
        }
    }

    static ARMED: LazyLock<ArmedFault> = LazyLock::new(|| {
        let fault = std::env::var("STOWAGE_FAULT").unwrap_or_default();
        let (point, count) = fault.split_once(':').unwrap_or_default();
        let trace = std::env::var_os("STOWAGE_FAULT_TRACE");
        let open = |path| File::options().create(true).append(true).open(path);
        ArmedFault {
            point: point.to_owned(),
            count: count.parse().unwrap_or(0),
            passed: AtomicU64::new(0),
            panics: Panics::read(),
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
        assert!(
            !armed.panics.is_due(name),
            "a test wants a defect at {name}"
        );
    }
}
