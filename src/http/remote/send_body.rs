//! Files as one `multipart/related` body: read as they are sent, their number of bytes known before.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use rand::distr::{Alphanumeric, SampleString};
use tokio::sync::mpsc;

use super::connection::MovedBytes;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// Chunks that wait for the connection.
const AHEAD: usize = 4;

/// A file to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub length: u64,
    /// Its SOP Instance UID, as its first bytes tell.
    pub instance: String,
}

/// Where what is read goes.
pub(super) type ChunkSender = mpsc::Sender<std::io::Result<Bytes>>;

/// An instance to be sent.
pub trait OutgoingInstance: Clone + Send + Sync + 'static {
    /// Its SOP Instance UID; in one request no two have the same.
    fn uid(&self) -> &str;

    /// Bytes of its file.
    fn length(&self) -> u64;

    /// Reads its file, on a thread that may wait; false when nobody wants it any more.
    ///
    /// # Errors
    /// When it cannot be read, or has another length.
    fn read(&self, sender: &ChunkSender) -> std::io::Result<bool>;
}

impl OutgoingInstance for OutgoingFile {
    fn uid(&self) -> &str {
        &self.instance
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, sender: &ChunkSender) -> std::io::Result<bool> {
        read(self, sender)
    }
}

/// UID of the instance that could not be read while it was sent, and why.
pub(super) type Unreadable = Arc<Mutex<Option<(String, String)>>>;

/// See the module.
pub(super) struct FilesBody {
    chunks: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
    moved: MovedBytes,
}

/// What goes with a body.
pub(super) struct FilesRequest {
    pub(super) body: FilesBody,
    pub(super) content_type: String,
    pub(super) unreadable: Unreadable,
}

const PART: &str = "Content-Type: application/dicom\r\n\r\n";

impl FilesBody {
    /// Begins to read files.
    pub(super) fn of<I: OutgoingInstance>(files: &[I], moved: MovedBytes) -> FilesRequest {
        let boundary = Alphanumeric.sample_string(&mut rand::rng(), 40);
        let head = format!("--{boundary}\r\n{PART}");
        let end = format!("--{boundary}--\r\n");
        let framing = (head.len() as u64).saturating_add(2);
        let lengths = files
            .iter()
            .map(|file| file.length().saturating_add(framing));
        let left = lengths.fold(end.len() as u64, u64::saturating_add);
        let (sender, chunks) = mpsc::channel(AHEAD);
        let unreadable = Unreadable::default();
        let files = files.to_vec();
        let noted = Arc::clone(&unreadable);
        tokio::task::spawn_blocking(move || {
            for file in files {
                if sender.blocking_send(Ok(Bytes::from(head.clone()))).is_err() {
                    return;
                }
                match file.read(&sender) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        let reason = format!("cannot be read: {error}");
                        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                        *noted = Some((file.uid().to_owned(), reason));
                        drop(noted);
                        // Nobody waits for it any more when this fails.
                        let _ = sender.blocking_send(Err(error));
                        return;
                    }
                }
                if sender
                    .blocking_send(Ok(Bytes::from_static(b"\r\n")))
                    .is_err()
                {
                    return;
                }
            }
            let _ = sender.blocking_send(Ok(Bytes::from(end)));
        });
        FilesRequest {
            body: Self {
                chunks,
                left,
                moved,
            },
            content_type: format!(
                "multipart/related; type=\"application/dicom\"; boundary={boundary}"
            ),
            unreadable,
        }
    }
}

/// Reads a file of the length that was announced; false when nobody wants it any more.
fn read(outgoing: &OutgoingFile, sender: &ChunkSender) -> std::io::Result<bool> {
    let changed = || std::io::Error::other("its length changed while it was sent");
    let mut file = File::open(&outgoing.path)?;
    if file.metadata()?.len() != outgoing.length {
        return Err(changed());
    }
    let mut left = outgoing.length;
    while left > 0 {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = Read::by_ref(&mut file)
            .take(left.min(CHUNK as u64))
            .read_to_end(&mut chunk)?;
        if read == 0 {
            return Err(changed());
        }
        left = left.saturating_sub(read as u64);
        if sender.blocking_send(Ok(Bytes::from(chunk))).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Body for FilesBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let next = std::task::ready!(this.chunks.poll_recv(cx));
        Poll::Ready(next.map(|chunk| {
            let chunk = chunk?;
            let length = chunk.len() as u64;
            this.left = this.left.saturating_sub(length);
            this.moved.fetch_add(length, Ordering::Relaxed);
            Ok(Frame::data(chunk))
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}
