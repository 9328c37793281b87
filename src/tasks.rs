//! Supervised tasks: what runs beside the requests for as long as the process does.
//!
//! Invariants: a task that ends by a panic or an error is started again, later each time, so nobody has to restart the
//! process; what `/health/ready` and `/metrics` tell of a task holds no data of patients.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::meter::{Exposition, MetricKind};

/// Wait before a task is started again for the first time; it doubles with each failure that follows.
const AGAIN: Duration = Duration::from_millis(100);
/// Longest such wait of a task that requests depend on.
const SOON: Duration = Duration::from_secs(2);
/// Longest such wait of other tasks.
const LATER: Duration = Duration::from_secs(30);
/// A task that has run for so long has recovered.
const STEADY: Duration = Duration::from_secs(20);
/// A task that requests depend on may fail for so long before the server says that it is not ready.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// Failure of a task.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What depends on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Requests: the server is not ready while it fails, and a stop waits for its end.
    Must,
    /// Nothing that cannot wait.
    May,
}

/// How a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskReport {
    /// Its name.
    pub name: &'static str,
    /// What depends on it.
    pub need: Need,
    /// Whether it runs now.
    pub running: bool,
    /// Whether it failed lately and has not recovered.
    pub failing: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it failed last.
    pub last_error: Option<String>,
}

/// The tasks of a process; clones are the same tasks.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<SharedTasks>);

/// Writes the meters of something that runs as a task.
pub type MeterSource = Arc<dyn Fn(&mut Exposition) + Send + Sync>;

#[derive(Default)]
struct SharedTasks {
    states: Mutex<Vec<Arc<TaskState>>>,
    running: Mutex<JoinSet<()>>,
    stop: CancellationToken,
    meters: Mutex<Vec<MeterSource>>,
}

impl std::fmt::Debug for SharedTasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("states", &self.states)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct TaskState {
    name: &'static str,
    need: Need,
    inner: Mutex<TasksInner>,
}

#[derive(Debug, Default)]
struct TasksInner {
    /// How many of this name run.
    running: u32,
    started: Option<Instant>,
    failing_since: Option<Instant>,
    /// Failures one after the other.
    failures: u32,
    restarts: u64,
    last_error: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Numbers and texts that are whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TasksInner {
    fn recover(&mut self) {
        self.failures = 0;
        self.failing_since = None;
    }

    /// Whether it fails, and since when; one that has run long enough no longer does.
    fn failing(&self) -> Option<Instant> {
        let steady = self.running > 0 && self.started.is_some_and(|at| at.elapsed() > STEADY);
        self.failing_since.filter(|_| !steady)
    }
}

impl TaskState {
    fn failed(&self, error: &str) -> Duration {
        let mut inner = lock(&self.inner);
        if inner.failing().is_none() {
            inner.recover();
        }
        inner.failing_since.get_or_insert_with(Instant::now);
        let longest = match self.need {
            Need::Must => SOON,
            Need::May => LATER,
        };
        let wait = AGAIN
            .saturating_mul(1 << inner.failures.min(16))
            .min(longest);
        inner.failures += 1;
        inner.restarts += 1;
        inner.last_error = Some(error.to_owned());
        wait
    }
}

/// What a task tells of itself and hears of the process.
#[derive(Debug, Clone)]
pub struct Watch {
    state: Arc<TaskState>,
    stop: CancellationToken,
}

impl Watch {
    /// A piece of work was done: whatever failed before has recovered.
    pub fn well(&self) {
        lock(&self.state.inner).recover();
    }

    /// A piece of work failed, and the task goes on.
    pub fn failed(&self, error: &(dyn std::error::Error + 'static)) {
        let mut inner = lock(&self.state.inner);
        inner.failing_since.get_or_insert_with(Instant::now);
        inner.last_error = Some(error.to_string());
    }

    /// Ends when the process is to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }
}

/// One run of a task, counted until it is dropped.
struct TaskRun(Arc<TaskState>);

impl TaskRun {
    fn begin(state: &Arc<TaskState>) -> Self {
        let mut inner = lock(&state.inner);
        inner.running += 1;
        inner.started = Some(Instant::now());
        drop(inner);
        Self(state.clone())
    }
}

impl Drop for TaskRun {
    fn drop(&mut self) {
        lock(&self.0.inner).running -= 1;
    }
}

impl Tasks {
    /// Runs `work` until it ends without a failure, and again after each failure.
    ///
    /// Needs a Tokio runtime. Several tasks of one name are reported together.
    pub fn supervise<W, F>(&self, name: &'static str, need: Need, mut work: W)
    where
        W: FnMut(Watch) -> F + Send + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let state = self.state(name, need);
        let watch = Watch {
            state: state.clone(),
            stop: self.0.stop.clone(),
        };
        let stop = self.0.stop.clone();
        let supervised = async move {
            loop {
                let run = TaskRun::begin(&state);
                let task = AbortOnDropHandle::new(tokio::spawn(work(watch.clone())));
                let ended = match need {
                    // It hears of the stop by itself, and has something to finish.
                    Need::Must => task.await,
                    Need::May => tokio::select! {
                        ended = task => ended,
                        () = stop.cancelled() => return,
                    },
                };
                drop(run);
                let wait = match ended {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        tracing::error!(
                            task = name,
                            error = &*error as &dyn std::error::Error,
                            "a task failed and is started again"
                        );
                        state.failed(&error.to_string())
                    }
                    Err(lost) if lost.is_panic() => {
                        tracing::error!(task = name, "a task panicked and is started again");
                        state.failed("it panicked")
                    }
                    Err(_) => return,
                };
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => {
                        if need == Need::May {
                            return;
                        }
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        };
        let mut running = lock(&self.0.running);
        // What has ended is not kept.
        while running.try_join_next().is_some() {}
        running.spawn(supervised);
    }

    fn state(&self, name: &'static str, need: Need) -> Arc<TaskState> {
        let mut states = lock(&self.0.states);
        if let Some(known) = states.iter().find(|state| state.name == name) {
            return known.clone();
        }
        let state = Arc::new(TaskState {
            name,
            need,
            inner: Mutex::default(),
        });
        states.push(state.clone());
        state
    }

    /// A place to report of something that has a loop of its own, such as a thread.
    #[must_use]
    pub fn watch(&self, name: &'static str, need: Need) -> Watch {
        Watch {
            state: self.state(name, need),
            stop: self.0.stop.clone(),
        }
    }

    /// How each task is.
    #[must_use]
    pub fn report(&self) -> Vec<TaskReport> {
        let states = lock(&self.0.states).clone();
        let report = |state: &Arc<TaskState>| {
            let inner = lock(&state.inner);
            TaskReport {
                name: state.name,
                need: state.need,
                running: inner.running > 0,
                failing: inner.failing().is_some(),
                restarts: inner.restarts,
                last_error: inner.last_error.clone(),
            }
        };
        states.iter().map(report).collect()
    }

    /// A task that requests depend on and that has failed for long, if there is one.
    #[must_use]
    pub fn down(&self) -> Option<&'static str> {
        let states = lock(&self.0.states);
        let is_down = |state: &&Arc<TaskState>| {
            let since = lock(&state.inner).failing();
            state.need == Need::Must && since.is_some_and(|since| since.elapsed() > TIME_LIMIT)
        };
        states.iter().find(is_down).map(|state| state.name)
    }

    /// `/metrics` tells these meters too.
    pub fn also_meter(&self, meters: MeterSource) {
        lock(&self.0.meters).push(meters);
    }

    /// Writes what `/metrics` tells of the tasks.
    pub fn write_meters(&self, out: &mut Exposition) {
        type Read = fn(&TaskReport) -> u64;
        let reports = self.report();
        let families: [(&'static str, MetricKind, &'static str, Read); 3] = [
            (
                "stowage_task_running",
                MetricKind::Gauge,
                "Whether a task beside the requests runs.",
                |task| u64::from(task.running),
            ),
            (
                "stowage_task_failing",
                MetricKind::Gauge,
                "Whether such a task failed and has not recovered yet.",
                |task| u64::from(task.failing),
            ),
            (
                "stowage_task_restarts_total",
                MetricKind::Counter,
                "How often such a task was started again after a failure.",
                |task| task.restarts,
            ),
        ];
        for (name, kind, help, read) in families {
            out.family(name, kind, help);
            for task in &reports {
                out.sample(&[("task", task.name)], read(task));
            }
        }
        for meters in lock(&self.0.meters).iter() {
            meters(out);
        }
    }

    /// Ends all tasks: those that requests depend on finish what they have, at most for `patience`.
    pub async fn stop(&self, time_limit: Duration) {
        self.0.stop.cancel();
        let mut running = std::mem::take(&mut *lock(&self.0.running));
        let all = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(time_limit, all).await.is_err() {
            tracing::warn!("a task was cut off by the stop");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn until(mut condition: impl FnMut() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        waited.await.expect("the condition comes true");
    }

    fn of(tasks: &Tasks, name: &str) -> TaskReport {
        let found = tasks.report().into_iter().find(|task| task.name == name);
        found.expect("the task is there")
    }

    #[tokio::test]
    async fn a_task_is_started_again_after_panics_and_errors_until_it_is_done() {
        let tasks = Tasks::default();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        tasks.supervise("one", Need::Must, move |_| {
            let run = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(run > 0, "the first run panics");
                match run {
                    1 => Err("the second run fails".into()),
                    _ => Ok(()),
                }
            }
        });
        until(|| runs.load(Ordering::Relaxed) == 3 && !of(&tasks, "one").running).await;
        let reported = of(&tasks, "one");
        assert_eq!(reported.restarts, 2);
        assert_eq!(reported.last_error.as_deref(), Some("the second run fails"));
    }

    #[tokio::test]
    async fn a_task_that_says_it_is_well_has_recovered() {
        let tasks = Tasks::default();
        let runs = Arc::new(AtomicU32::new(0));
        tasks.supervise("one", Need::Must, move |watch| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(run > 0, "the first run panics");
                watch.well();
                watch.stopping().await;
                Ok(())
            }
        });
        until(|| {
            let reported = of(&tasks, "one");
            reported.restarts == 1 && reported.running && !reported.failing
        })
        .await;
        assert_eq!(tasks.down(), None);
        tasks.stop(Duration::from_secs(30)).await;
        assert!(!of(&tasks, "one").running);
    }

    #[tokio::test]
    async fn the_wait_grows_and_has_an_end() {
        let tasks = Tasks::default();
        let state = tasks.state("one", Need::Must);
        let waits: Vec<Duration> = (0..8).map(|_| state.failed("x")).collect();
        assert!(waits.is_sorted());
        assert_eq!(waits.first(), Some(&AGAIN));
        assert_eq!(waits.last(), Some(&SOON));
    }

    #[tokio::test]
    async fn a_stop_ends_what_nobody_waits_for_and_lets_the_rest_finish() {
        let tasks = Tasks::default();
        tasks.supervise("endless", Need::May, |_| std::future::pending());
        let finished = Arc::new(AtomicU32::new(0));
        let count = finished.clone();
        tasks.supervise("last words", Need::Must, move |watch| {
            let count = count.clone();
            async move {
                watch.stopping().await;
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        });
        until(|| tasks.report().iter().all(|task| task.running)).await;
        tasks.stop(Duration::from_secs(30)).await;
        assert_eq!(finished.load(Ordering::Relaxed), 1);
    }
}
