//! Where audit events go: one thread that appends lines to a file or to standard output.
//!
//! Invariant: a line is written whole or the log says that it was lost; a request waits rather than lose its event.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::AuditTarget;

/// Most events that stand in line.
const QUEUE: usize = 4096;
/// Longest time to wait for the last lines when the server stops.
const LAST_LINES: Duration = Duration::from_secs(5);

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
    /// The thread cannot be started.
    #[error("the thread that writes audit events cannot be started")]
    Thread(#[source] std::io::Error),
}

/// The way to the written events; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AuditLog {
    queue: Option<mpsc::Sender<String>>,
}

impl AuditLog {
    /// Opens the target and starts the thread that writes; the thread ends with the last clone.
    ///
    /// # Errors
    /// [`AuditError`] when events could not be written.
    pub fn open(target: &AuditTarget) -> Result<(Self, AuditEnd), AuditError> {
        let file = match target {
            AuditTarget::Off => return Ok((Self::default(), AuditEnd(None))),
            AuditTarget::Stdout => None,
            AuditTarget::File(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                Some(opened.map_err(|source| AuditError::File {
                    path: path.clone(),
                    source,
                })?)
            }
        };
        let (queue, lines) = mpsc::channel(QUEUE);
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                append(lines, file);
                // Nobody may be waiting.
                let _ = ended.send(());
            })
            .map_err(AuditError::Thread)?;
        Ok((Self { queue: Some(queue) }, AuditEnd(Some(end))))
    }

    /// Whether events are written at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Puts a line in line, waiting for its place.
    pub(in crate::http) async fn write(&self, line: String) {
        if let Some(queue) = &self.queue
            && queue.send(line).await.is_err()
        {
            lost();
        }
    }

    /// Puts a line in line where nothing may wait.
    pub(super) fn write_now(&self, line: String) {
        if let Some(queue) = &self.queue
            && queue.try_send(line).is_err()
        {
            lost();
        }
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
            lost();
        }
    }
}

fn append(mut lines: mpsc::Receiver<String>, mut file: Option<File>) {
    while let Some(line) = lines.blocking_recv() {
        let written = match &mut file {
            Some(file) => file.write_all(line.as_bytes()),
            None => std::io::stdout().write_all(line.as_bytes()),
        };
        if let Err(error) = written {
            tracing::error!(%error, "an audit event could not be written");
        }
    }
}

fn lost() {
    tracing::error!("an audit event was lost");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_appended_whole_and_a_file_that_cannot_be_opened_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for line in ["one\n", "two\n"] {
            let (log, end) = AuditLog::open(&AuditTarget::File(path.clone())).unwrap();
            log.write(line.to_owned()).await;
            log.write_now(line.to_owned());
            drop(log);
            end.wait().await;
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "one\none\ntwo\ntwo\n"
        );
        let (off, _) = AuditLog::open(&AuditTarget::Off).unwrap();
        assert!(!off.is_on());
        let nowhere = AuditTarget::File(folder.path().join("no/where"));
        let error = AuditLog::open(&nowhere).unwrap_err();
        assert!(error.to_string().contains("no/where"));
    }
}
