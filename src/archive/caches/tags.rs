//! Extended query tags as last read.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::sync::RwLock;

use crate::index::TagRow;

/// Tags as last read, and whether they are being read in the background.
#[derive(Debug, Default)]
pub(in crate::archive) struct TagCache(
    pub(in crate::archive) RwLock<Option<(Instant, Arc<Vec<TagRow>>)>>,
    pub(in crate::archive) AtomicBool,
);
