//! The data partition that a request is about, as its path says it (dicom-service §16).
//!
//! Invariant: a handler of what belongs to patients runs with its partition known, or not at all. Under the roots of the DICOM
//! service the path must name it where partitions are on; the standard's root without a name means the default one, for what
//! speaks the standard alone knows of no partitions.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::error::{HttpError, ProblemType};
use super::profile::{ApiProfile, UnnamedPartition};
use crate::archive::Archive;
use crate::scope::{Partition, PartitionName};

/// What stands between a root and the resources of a partition, as the router matches it.
pub(super) const SEGMENT: &str = "/partitions/{partition}";

/// Where a service is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mount {
    /// At a root.
    Root,
    /// Below [`SEGMENT`] of a root.
    Partition,
}

impl Mount {
    /// Whether a path below a root is answered there.
    pub(super) fn has(self, path: &str) -> bool {
        self == Self::Root || is_partitioned(path)
    }
}

/// Whether what a path below a root names belongs to patients, and so to one partition.
pub(super) fn is_partitioned(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    ![
        "changefeed",
        "extendedquerytags",
        "operations",
        "partitions",
        "statistics",
    ]
    .contains(&first)
}

/// The partition of a request.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its name.
    pub(super) name: PartitionName,
    /// Its number; none when there is no such partition.
    pub(super) partition: Option<Partition>,
    /// Whether the path names it.
    pub(super) named: bool,
}

impl Place {
    /// The partition that the path of a request names.
    ///
    /// # Errors
    /// 400 while partitions are off, and for what is no name.
    pub(super) async fn of_path(archive: &Archive, parts: &mut Parts) -> Result<Self, HttpError> {
        if !archive.has_partitions() {
            return Err(disabled());
        }
        let name = named(parts).await?;
        Ok(Self {
            partition: archive.partition(&name).await?,
            name,
            named: true,
        })
    }

    /// What a path without a partition means; `partitioned` where it is about something that belongs to one.
    ///
    /// # Errors
    /// 400 when it must name one.
    pub(super) fn unnamed(
        archive: &Archive,
        profile: &ApiProfile,
        partitioned: bool,
    ) -> Result<Self, HttpError> {
        let refused = profile.unnamed == UnnamedPartition::Refused;
        if partitioned && refused && archive.has_partitions() {
            let reason = "PartitionName value is missing in the route segment.";
            return Err(refusal(reason));
        }
        Ok(Self {
            name: PartitionName::default(),
            partition: Some(Partition::DEFAULT),
            named: false,
        })
    }
}

/// The name of the partition in the path of a request.
///
/// # Errors
/// 400 when it is none.
pub(super) async fn named(parts: &mut Parts) -> Result<PartitionName, HttpError> {
    let invalid = |reason: &str| {
        refusal(format!(
            "The PartitionName in the path is invalid: {reason}."
        ))
    };
    let parameters = <RawPathParams as FromRequestParts<()>>::from_request_parts(parts, &()).await;
    let parameters = parameters.map_err(|_| invalid("it is not UTF-8 after percent-decoding"))?;
    let name = parameters.iter().find(|(name, _)| *name == "partition");
    let (_, name) = name.ok_or_else(|| HttpError::broken("a route without a partition"))?;
    PartitionName::parse(name).map_err(|error| invalid(&error.to_string()))
}

fn refusal(detail: impl Into<String>) -> HttpError {
    HttpError::new(ProblemType::InvalidPartition, detail)
}

/// 400 for a partition that does not exist, or not for the caller.
pub(super) fn unknown(name: &PartitionName) -> HttpError {
    refusal(format!("Specified PartitionName {name} doesn't exist."))
}

/// 400 for everything of partitions while they are off.
pub(super) fn disabled() -> HttpError {
    HttpError::new(
        ProblemType::FeatureDisabled,
        "Data partitions feature is disabled.",
    )
}

/// What stands behind a root in URLs of a partition; none where the root alone means it.
pub(super) fn segment(profile: &ApiProfile, name: &str) -> Option<String> {
    let bare = profile.unnamed == UnnamedPartition::Default && name == PartitionName::DEFAULT;
    (!bare).then(|| format!("/partitions/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_patients_belongs_to_a_partition() {
        for path in [
            "/studies",
            "/",
            "/workitems/{workitem}",
            "/wado",
            "/subscribers/{aet}",
        ] {
            assert!(is_partitioned(path) && Mount::Partition.has(path), "{path}");
        }
        for path in [
            "/changefeed/latest",
            "/extendedquerytags",
            "/operations/{id}",
            "/partitions",
        ] {
            assert!(
                !Mount::Partition.has(path) && Mount::Root.has(path),
                "{path}"
            );
        }
    }
}
