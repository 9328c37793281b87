//! The faces of the server: one row per root, all differences between them in one table (design §1).
//!
//! Invariant: a handler asks its profile what to do and never for a version.

use super::error::ErrorFormat as ErrorFace;
use crate::archive::fields::Defaults;
use crate::archive::rules::Rules;
use crate::dicom::query_parse::QueryDialect;

/// How a face answers where the faces differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiProfile {
    /// Path prefix.
    pub root: &'static str,
    /// Which rules a stored instance must keep.
    pub rules: Rules,
    /// How queries are read.
    pub dialect: QueryDialect,
    /// What a search without results answers.
    pub no_match: NoMatch,
    /// Which attributes come back by default.
    pub defaults: Defaults,
    /// How warnings of single instances show in the status of a store.
    pub store_warnings: StoreWarnings,
    /// What the change feed understands; none where there is no feed.
    pub feed: FeedFormat,
    /// How errors are written.
    pub errors: ErrorFace,
    /// Word for an operation that is done.
    pub done: &'static str,
    /// JPEG quality of pictures when none is asked for, 1 to 100.
    pub picture_quality: u8,
    /// Transfer syntax when an object is asked for with `*/*`.
    pub anything: WildcardMeaning,
    /// Highest limit of a search for workitems, where there is one.
    pub most_workitems: u64,
    /// Whether a store may say how long its studies are kept (`msdicom-expiry-…`).
    pub expiry: bool,
    /// Whether a store may say how the study must be (`If-Match`).
    pub conditions: bool,
    /// What a path without a partition means where there are partitions.
    pub unnamed: UnnamedPartition,
}

/// A path without a partition, where there are partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnnamedPartition {
    /// The default one.
    Default,
    /// A mistake.
    Refused,
}

/// Answer to a search without results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMatch {
    /// 204 without a body.
    NoContent,
    /// 200 with `[]`.
    EmptyArray,
}

/// Effect of warnings on a store's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreWarnings {
    /// 200; warnings are not told.
    Silent,
    /// 202, with the attributes that failed; successes always carry the (empty) list.
    Told,
    /// 202 with warning reasons.
    Reasons,
}

/// Dialect of the change feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedFormat {
    /// By sequence: `offset` is the last sequence seen.
    Sequence,
    /// By time window: `offset` is the number of rows to skip.
    Window,
}

/// What `*/*` means for objects and frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WildcardMeaning {
    /// As stored, whatever it is.
    Stored,
    /// As stored, but Implicit VR and Big Endian become Explicit VR Little Endian (PS3.18 §8.7.3.5.2).
    StoredForTheWeb,
}

const STANDARD: ApiProfile = ApiProfile {
    root: "/dicom-web",
    rules: Rules::Standard,
    dialect: QueryDialect::Standard,
    no_match: NoMatch::EmptyArray,
    defaults: Defaults::Standard,
    store_warnings: StoreWarnings::Reasons,
    feed: FeedFormat::Window,
    errors: ErrorFace::Problem,
    done: "succeeded",
    picture_quality: 90,
    anything: WildcardMeaning::StoredForTheWeb,
    most_workitems: u64::MAX,
    conditions: true,
    expiry: false,
    unnamed: UnnamedPartition::Default,
};

const V1: ApiProfile = ApiProfile {
    root: "/v1",
    rules: Rules::V1,
    dialect: QueryDialect::Service,
    no_match: NoMatch::NoContent,
    defaults: Defaults::ServiceV1,
    store_warnings: StoreWarnings::Silent,
    feed: FeedFormat::Sequence,
    errors: ErrorFace::Text,
    done: "completed",
    picture_quality: 100,
    anything: WildcardMeaning::Stored,
    most_workitems: 200,
    conditions: false,
    expiry: false,
    unnamed: UnnamedPartition::Refused,
};

const V2: ApiProfile = ApiProfile {
    root: "/v2",
    rules: Rules::V2,
    defaults: Defaults::ServiceV2,
    store_warnings: StoreWarnings::Told,
    feed: FeedFormat::Window,
    done: "succeeded",
    most_workitems: 4000,
    expiry: true,
    ..V1
};

/// Every face.
pub const PROFILES: [ApiProfile; 6] = [
    STANDARD,
    V1,
    ApiProfile {
        root: "/v1.0-prerelease",
        ..V1
    },
    ApiProfile {
        root: "/v1.0",
        ..V1
    },
    V2,
    ApiProfile {
        root: "/v2.0",
        ..V2
    },
];
