//! Who asks, and what they may do.

use serde_json::Value;

use super::action::Action;
use super::claims::Claims;
use super::grants::{Grant, Grants};
use super::roles::RoleTable;
use crate::scope::{PartitionName, Scope, Visible};

/// A recognised caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who: `sub`, or the client's id; none with access control off.
    pub subject: Option<String>,
    /// Who says so: `iss`.
    pub issuer: Option<String>,
    grants: Grants,
}

impl Caller {
    /// Somebody who may do everything: access control is off.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self {
            subject: None,
            issuer: None,
            grants: Grants::everything(),
        }
    }

    /// Reads a caller out of the claims of a verified token.
    #[must_use]
    pub fn of_claims(claims: &Claims, roles: &RoleTable) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            subject: text("sub")
                .or_else(|| text("azp"))
                .or_else(|| text("appid"))
                .or_else(|| text("client_id")),
            issuer: text("iss"),
            grants: roles.grants(claims),
        }
    }

    /// Whether the action is allowed on anything at all.
    #[must_use]
    pub fn may(&self, action: Action) -> bool {
        self.grants.of(action).is_some()
    }

    /// On what the action is allowed in the default partition, none when it is allowed nowhere: then the answer is 403 before
    /// any lookup.
    #[must_use]
    pub fn scope(&self, action: Action) -> Option<Scope> {
        let grant = self.grants.of(action)?;
        let visible = grant.visible_in(&PartitionName::default());
        Some(Scope {
            visible: visible.unwrap_or_else(Visible::nothing),
            ..Scope::everything()
        })
    }

    /// On what the action is allowed in every partition and in single ones, none when it is not.
    #[must_use]
    pub fn grant(&self, action: Action) -> Option<&Grant> {
        self.grants.of(action)
    }

    /// The same caller when only reading is allowed.
    #[must_use]
    pub fn reading_only(&self) -> Self {
        let mut caller = self.clone();
        caller.grants.keep_reading();
        caller
    }

    /// Whether some studies do not exist for this caller.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        let all = |grant: &Grant| grant.everywhere == Some(Visible::All);
        let limited = |action| self.grants.of(action).is_some_and(|grant| !all(grant));
        Action::ALL.iter().copied().any(limited)
    }
}
