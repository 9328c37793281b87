//! Blobs of a folder as streams: the file work is on the blocking pool, and waits for whoever takes what was read.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::blocking::blocking;
use super::buffers::PIECE;
use super::error::Result;
use super::local::LocalStore;
use super::payload::CHUNK;

pub(super) async fn stream_file(
    folder: Arc<LocalStore>,
    key: &str,
    offset: u64,
    length: u64,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let key: Arc<str> = Arc::from(key);
    let take = |left: u64| usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
    let (at, reader) = (key.clone(), folder.clone());
    let (file, first) = blocking(move || {
        let file = reader.open(&at)?;
        let first = reader.read(&at, &file, offset, take(length))?;
        Ok((Arc::new(file), first))
    })
    .await?;
    let end = offset.saturating_add(length);
    let start = offset.saturating_add(take(length) as u64);
    let rest = stream::try_unfold(start, move |at| {
        let (folder, file, key) = (folder.clone(), file.clone(), key.clone());
        async move {
            if at >= end {
                return Ok(None);
            }
            // What is in memory is copied here, so others must get their turn in between.
            tokio::task::coop::consume_budget().await;
            let piece = take(end - at).min(PIECE);
            let chunks = match folder.piece_at_once(&file, at, piece) {
                Some(chunk) => vec![chunk],
                None => blocking(move || folder.read(&key, &file, at, take(end - at))).await?,
            };
            let read = chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
            Ok(Some((stream::iter(chunks.into_iter().map(Ok)), at + read)))
        }
    });
    let first = stream::iter(first.into_iter().map(Ok));
    Ok(first.chain(rest.try_flatten()).boxed())
}

/// Keys that are found but not yet asked for.
pub(super) const FOUND: usize = 1024;

pub(super) fn list_folder(
    folder: Arc<LocalStore>,
    before: Option<SystemTime>,
    young: Arc<AtomicU64>,
) -> BoxStream<'static, Result<String>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(FOUND);
    tokio::task::spawn_blocking(move || {
        let listed = folder.list(before, &young, |key| sender.blocking_send(Ok(key)).is_ok());
        if let Err(error) = listed {
            // Nobody listens any more: then nobody misses it.
            let _ = sender.blocking_send(Err(error));
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|key| (key, receiver))
    })
    .boxed()
}
