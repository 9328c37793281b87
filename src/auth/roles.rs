//! What a token allows: data actions, roles, OAuth scopes and limits to patients or studies, as plain data.
//!
//! Roles add up, and so do scopes: each grants something more. Claims that limit, and the patient of a SMART `patient/…`
//! scope, take away from all of it. Invariants: what is not granted is refused; a limit that cannot be read leaves nothing
//! visible, never everything; of two limits each takes away.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::action::{Action, ActionPattern};
use super::claims::{
    Claims, READ_ONLY_CLAIM, Separated, claim, is_named, launch_patient, names, names_of_scopes,
};
use super::grants::{Grant, Grants};
use super::smart_scope::{SmartContext, smart_scope};
use crate::config::TokenLimits;
use crate::dicom::uid::check_uid;
use crate::scope::{PartitionName, Visible};

/// Most roles or scopes of one token that are looked at.
const MAX_NAMES: usize = 200;

/// A role: what it allows, and on what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// Name, as it stands in tokens.
    pub name: String,
    /// What it allows.
    pub data_actions: Vec<ActionPattern>,
    /// What it does not allow although `data_actions` covers it.
    #[serde(default)]
    pub not_data_actions: Vec<ActionPattern>,
    /// On what: `/` for everything, `/patients/{id}`, `/studies/{uid}`; the same in one partition behind `/partitions/{name}`.
    #[serde(default = "everything")]
    pub scopes: Vec<String>,
}

fn everything() -> Vec<String> {
    vec!["/".to_owned()]
}

impl Role {
    fn new(name: &str, actions: &[ActionPattern]) -> Self {
        Self {
            name: name.to_owned(),
            data_actions: actions.to_vec(),
            not_data_actions: Vec::new(),
            scopes: everything(),
        }
    }

    fn allows(&self, action: Action) -> bool {
        let covers = |pattern: &ActionPattern| pattern.covers(action);
        self.data_actions.iter().any(covers) && !self.not_data_actions.iter().any(covers)
    }

    fn grant(&self) -> Grant {
        let mut grant = Grant::default();
        for (partition, visible) in self.scopes.iter().filter_map(|scope| parse_scope(scope)) {
            grant.add(partition, visible);
        }
        grant
    }
}

/// What a scope of a role covers, in one partition or in every one; none when it names nothing.
fn parse_scope(scope: &str) -> Option<(Option<PartitionName>, Visible)> {
    let Some(rest) = scope.strip_prefix("/partitions/") else {
        return Some((None, parse_studies(scope)?));
    };
    let (name, rest) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let name = PartitionName::parse(name).ok()?;
    Some((Some(name), parse_studies(rest)?))
}

fn parse_studies(scope: &str) -> Option<Visible> {
    let (mut patients, mut studies) = (Vec::new(), Vec::new());
    if scope == "/" {
        return Some(Visible::All);
    } else if let Some(patient) = scope.strip_prefix("/patients/") {
        patients.push(Some(patient).filter(|id| !id.is_empty())?.to_owned());
    } else {
        let study = scope.strip_prefix("/studies/")?;
        studies.push(check_uid(study).ok()?.to_owned());
    }
    Some(Visible::Only { patients, studies })
}

/// Why a file of roles cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RolesError {
    /// It is not JSON of the right shape.
    #[error(
        "the roles are not JSON of the form {{\"roles\":[{{\"name\":…,\"dataActions\":[…]}}],\"scopes\":{{…}}}}"
    )]
    Malformed(#[source] serde_json::Error),
    /// A scope of a role names nothing.
    #[error(
        "the role {role} has the scope {scope}; known are /, /patients/(id) and /studies/(uid), and the same behind /partitions/(name)"
    )]
    Scope {
        /// The role.
        role: String,
        /// Its scope.
        scope: String,
    },
}

/// Roles, OAuth scopes and the claims in which they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleTable {
    /// Claim of the roles: its name, or a path with dots such as `realm_access.roles`.
    pub roles_claim: String,
    /// Claim that limits the caller to Patient IDs.
    pub patients_claim: String,
    /// Claim that limits the caller to Study Instance UIDs.
    pub studies_claim: String,
    /// Claim that limits the caller to partitions, by name.
    pub partitions_claim: String,
    /// Role of a token that names neither a role nor a scope.
    pub default_role: Option<String>,
    /// Whether a token without a limit sees everything that its roles and scopes grant.
    pub limits: TokenLimits,
    pub(super) roles: Vec<Role>,
    pub(super) scopes: BTreeMap<String, Vec<ActionPattern>>,
}

impl Default for RoleTable {
    /// The shipped roles `globalReader` and `globalAdmin`, short ones beside them, and plain `dicom.*` scopes.
    fn default() -> Self {
        use ActionPattern::{All, One};
        let read = One(Action::Read);
        let write = One(Action::Write);
        let delete = One(Action::Delete);
        let roles = vec![
            Role::new("globalReader", &[read]),
            Role::new("globalAdmin", &[All]),
            Role::new("reader", &[read]),
            Role::new("writer", &[read, write]),
            Role::new("deleter", &[read, delete]),
            Role::new("restorer", &[read, One(Action::Restore)]),
            Role::new("admin", &[All]),
            Role::new("deidentifiedReader", &[One(Action::Deidentify)]),
        ];
        let one_each =
            Action::ALL.map(|action| (format!("dicom.{}", action.as_str()), vec![One(action)]));
        let mut scopes = BTreeMap::from(one_each);
        scopes.insert("dicom.all".to_owned(), vec![All]);
        Self {
            roles_claim: "roles".to_owned(),
            patients_claim: "dicom_patients".to_owned(),
            studies_claim: "dicom_studies".to_owned(),
            partitions_claim: "dicom_partitions".to_owned(),
            default_role: None,
            limits: TokenLimits::Optional,
            roles,
            scopes,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolesFile {
    roles: Option<Vec<Role>>,
    scopes: Option<BTreeMap<String, Vec<ActionPattern>>>,
}

impl RoleTable {
    /// Replaces the shipped roles, scopes or both by those of a JSON text.
    ///
    /// # Errors
    /// [`RolesError`] when the text has another shape or names an unknown scope.
    pub fn with_json(mut self, text: &str) -> Result<Self, RolesError> {
        let file: RolesFile = serde_json::from_str(text).map_err(RolesError::Malformed)?;
        for role in file.roles.iter().flatten() {
            for scope in &role.scopes {
                if parse_scope(scope).is_none() {
                    return Err(RolesError::Scope {
                        role: role.name.clone(),
                        scope: scope.clone(),
                    });
                }
            }
        }
        self.roles = file.roles.unwrap_or(self.roles);
        self.scopes = file.scopes.unwrap_or(self.scopes);
        Ok(self)
    }

    /// Whether there is a role of this name.
    #[must_use]
    pub fn knows(&self, role: &str) -> bool {
        self.roles.iter().any(|known| known.name == role)
    }

    /// The names of all roles.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.roles.iter().map(|role| role.name.as_str()).collect()
    }

    /// The first role that allows reading everything.
    pub(super) fn reading_role(&self) -> Option<&str> {
        let everywhere = |role: &Role| role.grant().everywhere == Some(Visible::All);
        let reads = |role: &&Role| role.allows(Action::Read) && everywhere(role);
        self.roles.iter().find(reads).map(|role| role.name.as_str())
    }

    /// What the claims of a verified token allow.
    pub(super) fn grants(&self, claims: &Claims) -> Grants {
        let mut names = names(claim(claims, &self.roles_claim), Separated::No);
        let mut scopes = names_of_scopes(claims);
        if names.is_empty() && scopes.is_empty() {
            names.extend(self.default_role.clone());
        }
        names.truncate(MAX_NAMES);
        scopes.truncate(MAX_NAMES);
        let mut grants = Grants::default();
        for role in self.roles.iter().filter(|role| names.contains(&role.name)) {
            let grant = role.grant();
            for action in Action::ALL
                .into_iter()
                .filter(|action| role.allows(*action))
            {
                grants.merge(action, &grant);
            }
        }
        // The app acts in the context of one patient, whatever its user may do besides.
        if scopes.iter().any(|scope| self.is_of_one_patient(scope)) {
            grants.limit(&launch_patient(claims));
        }
        for scope in &scopes {
            self.grant_scope(scope, claims, &mut grants);
        }
        match self.limit(claims) {
            Some(limit) => grants.limit(&limit),
            None if self.limits == TokenLimits::Required => grants.leave_limited(),
            None => {}
        }
        if let Some(partitions) = self.partition_limit(claims) {
            grants.keep_partitions(&partitions);
        }
        if !matches!(claims.get(READ_ONLY_CLAIM), None | Some(Value::Bool(false))) {
            grants.keep_reading();
        }
        grants
    }

    /// Whether a scope grants something of the patient of the launch context alone.
    fn is_of_one_patient(&self, scope: &str) -> bool {
        !self.scopes.contains_key(scope)
            && smart_scope(scope).is_some_and(|(context, _)| context == SmartContext::Patient)
    }

    fn grant_scope(&self, scope: &str, claims: &Claims, grants: &mut Grants) {
        let plain = self.scopes.get(scope);
        for action in Action::ALL {
            if plain.is_some_and(|patterns| patterns.iter().any(|pattern| pattern.covers(action))) {
                grants.add(action, Visible::All);
            }
        }
        let Some((context, actions)) = plain.map_or_else(|| smart_scope(scope), |_| None) else {
            return;
        };
        let visible = match context {
            SmartContext::Everybody => Visible::All,
            // The launch context names the patient; without one the scope is about nobody.
            SmartContext::Patient => match launch_patient(claims) {
                Visible::Only { patients, .. } if patients.is_empty() => return,
                patient => patient,
            },
        };
        for action in actions {
            grants.add(action, visible.clone());
        }
    }

    /// The limit that the claims put on the caller whatever the roles; none without such claims.
    fn limit(&self, claims: &Claims) -> Option<Visible> {
        let patients = claim(claims, &self.patients_claim);
        let studies = claim(claims, &self.studies_claim);
        // A claim that is there and says nothing is a limit to nothing.
        if patients.is_none()
            && studies.is_none()
            && !is_named(claims, &self.patients_claim)
            && !is_named(claims, &self.studies_claim)
        {
            return None;
        }
        let mut studies = names(studies, Separated::No);
        studies.retain(|uid| check_uid(uid).is_ok());
        Some(Visible::Only {
            patients: names(patients, Separated::No),
            studies,
        })
    }

    /// The partitions that the claims leave the caller; none without such a claim.
    fn partition_limit(&self, claims: &Claims) -> Option<Vec<PartitionName>> {
        if !is_named(claims, &self.partitions_claim) {
            return None;
        }
        let named = names(claim(claims, &self.partitions_claim), Separated::No);
        let named = named
            .iter()
            .filter_map(|name| PartitionName::parse(name).ok());
        Some(named.collect())
    }
}

#[cfg(test)]
mod tests;
