//! The kinds of requests that a role allows.

use serde::Deserialize;

/// A kind of request that a role allows (contract of `/v*`, security).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Retrieve, search, change feed, and everything else that only looks.
    Read,
    /// Store, bulk update, workitems.
    Write,
    /// Delete.
    Delete,
    /// See the trash, and restore from it.
    Restore,
    /// Add, change and remove extended query tags.
    ManageExtendedQueryTags,
    /// Export.
    Export,
    /// Make and remove webhooks.
    ManageWebhooks,
    /// Retrieve and copy de-identified instances.
    Deidentify,
}

impl Action {
    /// Every action there is.
    pub const ALL: [Self; 8] = [
        Self::Read,
        Self::Write,
        Self::Delete,
        Self::Restore,
        Self::ManageExtendedQueryTags,
        Self::Export,
        Self::ManageWebhooks,
        Self::Deidentify,
    ];

    /// Its name in role definitions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::ManageExtendedQueryTags => "manageExtendedQueryTags",
            Self::Export => "export",
            Self::ManageWebhooks => "manageWebhooks",
            Self::Deidentify => "deidentify",
        }
    }
}

/// One action or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ActionPattern {
    /// `*`.
    #[serde(rename = "*")]
    All,
    /// One by name.
    #[serde(untagged)]
    One(Action),
}

impl ActionPattern {
    pub(super) fn covers(self, action: Action) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == action,
        }
    }
}
