//! The stages of the work for a request.

/// A stage of the work for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A piece of a part is written to the spool.
    Spool,
    /// A part is read once.
    Walk,
    /// The blob of a part is written.
    Write,
    /// The names of a batch of blobs become durable.
    Settle,
    /// A batch gets its rows.
    Commit,
    /// The index searches.
    Search,
    /// The index counts what a search finds.
    Count,
    /// The index lists instances or metadata.
    Rows,
    /// The index tells where the frames of an instance are.
    Content,
    /// The index tells the version of something.
    Version,
    /// The index deletes.
    Delete,
    /// The index tells changes.
    Changes,
    /// The first bytes of a blob are waited for.
    Read,
    /// A frame is decoded, encoded or drawn.
    Codec,
}

impl Stage {
    /// How many there are.
    #[cfg(feature = "otel")]
    pub(super) const COUNT: usize = Self::Codec as usize + 1;

    /// Name of its spans.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spool => "store spool",
            Self::Walk => "store walk",
            Self::Write => "store write",
            Self::Settle => "store settle",
            Self::Commit => "store commit",
            Self::Search => "index search",
            Self::Count => "index count",
            Self::Rows => "index rows",
            Self::Content => "index content",
            Self::Version => "index version",
            Self::Delete => "index delete",
            Self::Changes => "index changes",
            Self::Read => "blob read",
            Self::Codec => "codec",
        }
    }

    /// Runs a future as this stage.
    pub async fn of<F: Future>(self, future: F) -> F::Output {
        let _span = self.begin();
        future.await
    }
}
