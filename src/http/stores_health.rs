//! The question whether the stores are well: asked once for all who want to know.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::archive::Archive;

/// How long an answer is good for others: everybody may ask, and a question to an object store costs money.
const FRESH: Duration = Duration::from_secs(1);

/// What the stores said.
type Said = Result<(), String>;

/// What the stores said last; whoever asks meanwhile waits for the same answer.
#[derive(Debug, Default)]
pub(super) struct Health(Arc<Mutex<HealthQuestion>>);

#[derive(Debug, Default)]
struct HealthQuestion {
    last: Option<(Instant, Said)>,
    /// The question that is under way.
    running: Option<watch::Receiver<Option<Said>>>,
}

impl Health {
    /// Whether index and blob store can be used, else why not.
    pub(super) async fn of(&self, archive: &Archive) -> Said {
        let archive = archive.clone();
        self.ask(async move {
            archive.check().await.map_err(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "not healthy");
                error.to_string()
            })
        })
        .await
    }

    /// What `question` finds, unless it was asked a moment ago or is being asked; it goes on when its client leaves, so
    /// that clients that do not wait cannot ask again and again.
    async fn ask(&self, question: impl Future<Output = Said> + Send + 'static) -> Said {
        let mut running = {
            let mut asked = lock(&self.0);
            if let Some((at, said)) = &asked.last
                && at.elapsed() < FRESH
            {
                return said.clone();
            }
            match &asked.running {
                Some(running) if running.has_changed().is_ok() => running.clone(),
                _ => {
                    let (answered, running) = watch::channel(None);
                    asked.running = Some(running.clone());
                    let shared = Arc::clone(&self.0);
                    tokio::spawn(async move {
                        let said = question.await;
                        let mut asked = lock(&shared);
                        asked.last = Some((Instant::now(), said.clone()));
                        asked.running = None;
                        answered.send_replace(Some(said));
                    });
                    running
                }
            }
        };
        match running.wait_for(Option::is_some).await {
            Ok(said) => said.clone().unwrap_or(Ok(())),
            Err(_) => Err("the question was lost".to_owned()),
        }
    }
}

fn lock(asked: &Mutex<HealthQuestion>) -> MutexGuard<'_, HealthQuestion> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn many_who_ask_at_once_cause_one_question_even_when_they_leave() {
        let health = Health::default();
        let (questions, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let question = || {
            let (questions, go) = (questions.clone(), go.clone());
            async move {
                questions.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
                Err("the store is away".to_owned())
            }
        };
        // The first ones ask and do not wait for the answer.
        for _ in 0..20 {
            let left = tokio::time::timeout(Duration::ZERO, health.ask(question()));
            assert!(left.await.is_err());
        }
        let asked = join_all((0..50).map(|_| health.ask(question())));
        let answered = async {
            while questions.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            go.notify_one();
        };
        let (said, ()) = tokio::join!(asked, answered);
        assert!(
            said.iter()
                .all(|said| *said == Err("the store is away".to_owned()))
        );
        assert_eq!(questions.load(Ordering::Relaxed), 1);
        assert!(
            health.ask(question()).await.is_err(),
            "remembered for a moment"
        );
        assert_eq!(questions.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_question_that_panics_is_asked_again() {
        let health = Health::default();
        let lost = health.ask(async { panic!("a defect") }).await;
        assert!(lost.is_err());
        assert_eq!(health.ask(async { Ok(()) }).await, Ok(()));
    }
}
