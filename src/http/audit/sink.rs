//! Where audit events go: one thread that appends lines to a file or to standard output.
//!
//! Invariants: a request has the place of its event before it is answered, so no event is lost because there are many;
//! what could not be written is tried again until it can, and what is lost at last is counted.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use super::file::AuditOutput;
use super::gather::Refusals;
use super::text::gathered_line;
use crate::config::{AuditSettings, AuditTarget};
use crate::fault;
use crate::meter::{Counter, Exposition, MetricKind};
use crate::tasks::{Failure, Need, Tasks, Watch};

/// Most events that stand in line.
const QUEUE: usize = 4096;
/// Longest time to wait for the last lines when the server stops.
const LAST_LINES: Duration = Duration::from_secs(5);
/// Pause after which a line that could not be written is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// Longest wait of a request for the place of its event.
const PLACE: Duration = Duration::from_secs(5);
/// Pause between two lines of the log that say that events cannot be written.
const TELL: Duration = Duration::from_secs(60);
/// How often gathered refusals are written.
const GATHER: Duration = Duration::from_secs(1);

/// Why events cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened for appending.
    #[error("STOWAGE_AUDIT: {path} cannot be appended to")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Standard output cannot be used.
    #[error("STOWAGE_AUDIT: standard output cannot be written to")]
    Stdout(#[source] std::io::Error),
    /// Events are required, and there is no place for them.
    #[error("STOWAGE_AUDIT_REQUIRED=on needs STOWAGE_AUDIT: stdout or the path of a file")]
    Nowhere,
}

/// Events cannot be written, and no request is to be answered without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "audit events cannot be written, and STOWAGE_AUDIT_REQUIRED=on refuses requests until they can"
)]
pub struct Unwritable;

/// What became of the events so far.
#[derive(Debug, Default)]
struct SinkState {
    written: Counter,
    lost: Counter,
    gathered: Counter,
    failing: AtomicBool,
}

impl SinkState {
    fn lose(&self) {
        self.lost.one();
    }
}

/// The way to the written events; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AuditLog {
    inner: Option<Arc<AuditLogInner>>,
}

#[derive(Debug)]
struct AuditLogInner {
    queue: mpsc::Sender<String>,
    state: Arc<SinkState>,
    refusals: Mutex<Refusals>,
    required: bool,
}

/// The place of one event among those to be written.
#[derive(Debug)]
pub(super) struct QueuedEvent {
    permit: mpsc::OwnedPermit<String>,
}

impl QueuedEvent {
    /// Hands the event on.
    pub(super) fn write(self, line: String) {
        drop(self.permit.send(line));
    }
}

impl AuditLog {
    /// Opens the target and starts the thread that writes, again whenever it fails; it ends with the last clone.
    ///
    /// # Errors
    /// [`AuditError`] when events could not be written.
    pub fn open(settings: &AuditSettings, tasks: &Tasks) -> Result<(Self, AuditEnd), AuditError> {
        let target = match &settings.target {
            AuditTarget::Off if settings.required => return Err(AuditError::Nowhere),
            AuditTarget::Off => return Ok((Self::default(), AuditEnd(None))),
            AuditTarget::Stdout => AuditOutput::stdout().map_err(AuditError::Stdout)?,
            AuditTarget::File(path) => {
                AuditOutput::file(path, settings.rotate_bytes).map_err(|source| {
                    AuditError::File {
                        path: path.clone(),
                        source,
                    }
                })?
            }
        };
        let (queue, lines) = mpsc::channel(QUEUE);
        let (ended, end) = oneshot::channel();
        let state = Arc::new(SinkState::default());
        let writer = Arc::new(Mutex::new(Writer {
            lines,
            target,
            state: Arc::clone(&state),
            line: None,
            reported: None,
            ended: Some(ended),
        }));
        tasks.supervise("audit", Need::May, move |watch| {
            write_on(Arc::clone(&writer), watch)
        });
        let inner = Arc::new(AuditLogInner {
            queue,
            state,
            refusals: Mutex::default(),
            required: settings.required,
        });
        let weak = Arc::downgrade(&inner);
        tasks.supervise("audit refusals", Need::May, move |_| {
            tell_refusals(weak.clone())
        });
        Ok((Self { inner: Some(inner) }, AuditEnd(Some(end))))
    }

    /// Whether events that were begun cannot be written now.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        let failing = |inner: &Arc<AuditLogInner>| inner.state.failing.load(Ordering::Relaxed);
        self.inner.as_ref().is_some_and(failing)
    }

    /// Whether nothing may be done that cannot be written down.
    pub(super) fn is_required(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.required)
    }

    /// Whether events are written at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.inner.is_some()
    }

    /// A place for the event of a request; none when there is no audit, or when the event is lost already.
    ///
    /// # Errors
    /// [`Unwritable`] when events are required and cannot be written.
    pub(super) async fn place(&self) -> Result<Option<QueuedEvent>, Unwritable> {
        let Some(inner) = &self.inner else {
            return Ok(None);
        };
        let failing = self.is_failing();
        if failing && inner.required {
            inner.state.lose();
            return Err(Unwritable);
        }
        let queue = inner.queue.clone();
        let permit = if failing {
            queue.try_reserve_owned().ok()
        } else {
            let waited = tokio::time::timeout(PLACE, queue.reserve_owned()).await;
            waited.ok().and_then(Result::ok)
        };
        match permit {
            Some(permit) => Ok(Some(QueuedEvent { permit })),
            None => {
                inner.state.lose();
                if inner.required {
                    Err(Unwritable)
                } else {
                    Ok(None)
                }
            }
        }
    }

    /// Counts a refusal of an address without a token; whether it is told together with others.
    pub(super) fn gathers(&self, address: Option<IpAddr>) -> bool {
        let Some(inner) = &self.inner else {
            return false;
        };
        let gathered = inner.refusals().gather(address, OffsetDateTime::now_utc());
        if gathered {
            inner.state.gathered.one();
        }
        gathered
    }

    /// Writes the counts for `/metrics`.
    pub(in crate::http) fn write_meters(&self, out: &mut Exposition) {
        let Some(inner) = &self.inner else { return };
        let state = &inner.state;
        out.family(
            "stowage_audit_events_total",
            MetricKind::Counter,
            "Audit events: written, lost because they could not be written, or refusals told together with others.",
        );
        for (outcome, counter) in [
            ("written", &state.written),
            ("lost", &state.lost),
            ("gathered", &state.gathered),
        ] {
            out.sample(&[("outcome", outcome)], counter.get());
        }
        let help = "Whether audit events cannot be written now.";
        let failing = u64::from(state.failing.load(Ordering::Relaxed));
        out.single("stowage_audit_failing", MetricKind::Gauge, help, failing);
    }
}

impl AuditLogInner {
    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        let taken = self.refusals().take();
        for gathered in &taken {
            if self.queue.try_send(gathered_line(gathered)).is_err() {
                self.state.lose();
            }
        }
    }
}

impl Drop for AuditLogInner {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Writes what was gathered of each address, once a second.
async fn tell_refusals(inner: Weak<AuditLogInner>) -> Result<(), Failure> {
    loop {
        tokio::time::sleep(GATHER).await;
        let Some(inner) = inner.upgrade() else {
            return Ok(());
        };
        inner.tell();
    }
}

/// The end of the events: whoever holds it can wait until all are written.
#[derive(Debug)]
pub struct AuditEnd(Option<oneshot::Receiver<()>>);

impl AuditEnd {
    /// Waits until every [`AuditLog`] is gone and the last line is written, but not for ever.
    pub async fn wait(self) {
        if let Some(end) = self.0
            && tokio::time::timeout(LAST_LINES, end).await.is_err()
        {
            tracing::error!("the last audit events may be lost");
        }
    }
}

/// What writes the events: a thread that is started again when it fails has the same.
struct Writer {
    lines: mpsc::Receiver<String>,
    target: AuditOutput,
    state: Arc<SinkState>,
    /// The line that is being written.
    line: Option<String>,
    /// When the log last told that lines cannot be written.
    reported: Option<Instant>,
    ended: Option<oneshot::Sender<()>>,
}

/// The thread that writes ended by a defect.
#[derive(Debug, thiserror::Error)]
#[error("the thread that writes audit events panicked")]
struct Panicked;

/// Writes events in a thread of their own until the last one is written.
async fn write_on(writer: Arc<Mutex<Writer>>, watch: Watch) -> Result<(), Failure> {
    let (whole, done) = oneshot::channel();
    let state = Arc::clone(&writer.lock().unwrap_or_else(PoisonError::into_inner).state);
    std::thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || {
            // A line that was half written when the thread before failed is gone on with.
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.append(&watch);
            // Nobody may be waiting.
            let _ = writer.ended.take().map(|ended| ended.send(()));
            let _ = whole.send(());
        })?;
    done.await.map_err(|_| {
        state.failing.store(true, Ordering::Relaxed);
        Failure::from(Panicked)
    })
}

impl Writer {
    fn append(&mut self, watch: &Watch) {
        loop {
            if self.line.is_none() {
                self.line = self.lines.blocking_recv();
            }
            let Some(line) = &self.line else { break };
            fault::point("audit.write");
            match self.target.write(line) {
                Ok(()) => {
                    self.line = None;
                    let state = &self.state;
                    state.written.one();
                    if state.failing.swap(false, Ordering::Relaxed) {
                        tracing::info!(lost = state.lost.get(), "audit events are written again");
                        self.reported = None;
                        watch.well();
                    }
                }
                Err(error) => self.failed(&error, watch),
            }
        }
        if self.state.failing.load(Ordering::Relaxed) {
            tracing::error!(lost = self.state.lost.get(), "audit events were lost");
        }
    }

    fn failed(&mut self, error: &std::io::Error, watch: &Watch) {
        self.state.failing.store(true, Ordering::Relaxed);
        watch.failed(error);
        if self
            .reported
            .is_none_or(|reported| reported.elapsed() >= TELL)
        {
            self.reported = Some(Instant::now());
            let lost = self.state.lost.get();
            tracing::error!(%error, lost, "audit events cannot be written");
        }
        // Nobody is left who could make room for them.
        if self.lines.is_closed() {
            self.target.skip();
            self.state.lose();
            self.line = None;
        } else {
            std::thread::sleep(RETRY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(target: AuditTarget, required: bool) -> AuditSettings {
        AuditSettings {
            target,
            required,
            rotate_bytes: None,
        }
    }

    #[tokio::test]
    async fn lines_are_appended_whole_and_a_file_that_cannot_be_opened_is_told() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::default());
        let path = folder.path().join("audit.jsonl");
        for line in ["one\n", "two\n"] {
            let file = settings(AuditTarget::File(path.clone()), false);
            let (log, end) = AuditLog::open(&file, &tasks).unwrap();
            for _ in 0..2 {
                let place = log.place().await.unwrap().unwrap();
                place.write(line.to_owned());
            }
            drop(log);
            end.wait().await;
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "one\none\ntwo\ntwo\n"
        );
        let (off, _) = AuditLog::open(&settings(AuditTarget::Off, false), &tasks).unwrap();
        assert!(!off.is_on());
        assert!(AuditLog::open(&settings(AuditTarget::Off, true), &tasks).is_err());
        let nowhere = AuditTarget::File(folder.path().join("no/where"));
        let error = AuditLog::open(&settings(nowhere, false), &tasks).unwrap_err();
        assert!(error.to_string().contains("no/where"));
    }

    #[tokio::test]
    async fn refusals_that_were_gathered_are_written_at_the_end_at_the_latest() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::default());
        let path = folder.path().join("audit.jsonl");
        let file = settings(AuditTarget::File(path.clone()), false);
        let (log, end) = AuditLog::open(&file, &tasks).unwrap();
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        let gathered = (0..50).filter(|_| log.gathers(Some(address))).count();
        drop(log);
        end.wait().await;
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["agent"][0]["network"]["address"], "192.0.2.7");
        assert!(text.contains(&format!("\"{gathered}\"")), "{text}");
    }

    #[tokio::test]
    async fn where_events_are_required_and_cannot_be_written_nobody_is_let_in() {
        let tasks = Tasks::default();
        for required in [false, true] {
            let full = settings(AuditTarget::File("/dev/full".into()), required);
            let (log, end) = AuditLog::open(&full, &tasks).unwrap();
            let first = log.place().await.unwrap().unwrap();
            first.write("a line\n".to_owned());
            while !log.is_failing() {
                tokio::task::yield_now().await;
            }
            assert_eq!(log.place().await.is_err(), required);
            drop(log);
            end.wait().await;
        }
    }
}
