//! How much of a query string is read.

/// Most attributes of a search.
pub const MAX_CONDITIONS: usize = 100;

/// Most includefields, and of them most that lead into sequences.
pub const MAX_INCLUDES: usize = 1000;

pub(super) const MAX_DOTTED_INCLUDES: usize = 64;

/// Longest single value in bytes.
pub const MAX_VALUE: usize = 4096;

/// Longest value that is a list of UIDs, in bytes.
pub(super) const MAX_UID_LIST: usize = 1 << 16;

/// Most values of a list.
pub const MAX_LIST: usize = 1000;

/// Longest value with wildcards, in characters.
pub const MAX_PATTERN: usize = 256;

/// Highest limit of the DICOM service.
pub const MAX_LIMIT: u64 = 200;

/// Limit of the DICOM service when none is given.
pub const DEFAULT_LIMIT: u64 = 100;

/// What larger counts are cut to: far above any archive, far below overflow.
pub(super) const MAX_COUNT: u64 = 1 << 53;

/// Most warnings of one search.
pub(super) const MAX_WARNINGS: usize = 10;
