//! What memory is reserved for, and why it is not.

/// What memory is reserved for; the label of the gauge `stowage_memory_reserved_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Bytes of parts of store requests, in memory and on their way to the spool.
    Parts,
    /// Parsed instances with their metadata, until they are committed.
    Instances,
    /// What a store request reports.
    Reports,
    /// Rows and metadata of searches, scans and the change feed.
    Rows,
    /// Parsed or generated text: DICOM JSON, XML.
    Text,
    /// Inflated data sets.
    Inflated,
    /// Decoded and encoded frames, pictures, animations.
    Pixels,
    /// Answers that are complete and wait for their reader.
    Answers,
    /// Caches, whose largest size is reserved when the server starts.
    Caches,
    /// DIMSE associations: their buffers, requests and identifiers.
    Associations,
    /// Background work: scrub, indexing of query tags, import, export.
    Background,
    /// What clients of HTTP/2 may send ahead.
    Windows,
}

impl Purpose {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 12] = [
        Self::Parts,
        Self::Instances,
        Self::Reports,
        Self::Rows,
        Self::Text,
        Self::Inflated,
        Self::Pixels,
        Self::Answers,
        Self::Caches,
        Self::Associations,
        Self::Background,
        Self::Windows,
    ];

    /// The label in metrics and errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::Instances => "instances",
            Self::Reports => "reports",
            Self::Rows => "rows",
            Self::Text => "text",
            Self::Inflated => "inflated",
            Self::Pixels => "pixels",
            Self::Answers => "answers",
            Self::Caches => "caches",
            Self::Associations => "associations",
            Self::Background => "background",
            Self::Windows => "windows",
        }
    }
}

/// Why memory was not reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoMemory {
    /// It can never fit: what asked for it fails, and trying again does not help.
    #[error(
        "it needs {asked} bytes of memory, and the server may use {budget} (STOWAGE_MEMORY_BYTES)"
    )]
    TooLarge {
        /// Bytes that were asked for.
        asked: usize,
        /// Bytes there can be at most.
        budget: usize,
    },
    /// Others have it for now: the request is to be sent again later.
    #[error("the memory of the server is in use")]
    Busy,
}
