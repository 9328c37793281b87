//! What the caller of a request may do, and in which partition.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::HttpError;
use super::place::{Place, unknown};
use super::state::ApiState;
use crate::auth::{Action, Caller, Grant};
use crate::scope::{Partition, PartitionName, Scope, ScopeSet, Visible};

/// The caller, as the auth layer found it.
#[derive(Debug, Clone)]
pub(super) struct Access {
    caller: Arc<Caller>,
    place: Place,
}

impl Access {
    /// Whose token it is; none without access control.
    pub(super) fn owner(&self) -> Option<String> {
        let Caller {
            subject, issuer, ..
        } = &*self.caller;
        let names = [issuer, subject].map(|name| name.as_deref().unwrap_or_default());
        (subject.is_some() || issuer.is_some()).then(|| names.join(" "))
    }

    /// The caller's scope in the partition of the request when it may do this.
    ///
    /// # Errors
    /// 403 when it may not; 400 when the path names a partition that does not exist, or not for the caller.
    pub(super) fn may(&self, action: Action) -> Result<Scope, HttpError> {
        let forbidden = || HttpError::forbidden(action.as_str());
        let grant = self.caller.grant(action).ok_or_else(forbidden)?;
        let Place { name, .. } = &self.place;
        let partition = self.place.partition.ok_or_else(|| unknown(name))?;
        let visible = match grant.visible_in(name) {
            Some(visible) => visible,
            None if !self.place.named => Visible::nothing(),
            None if self.sees(name) => return Err(forbidden()),
            None => return Err(unknown(name)),
        };
        Ok(Scope { partition, visible })
    }

    /// What the caller may do this with in the partition of the request, whether there is one or not.
    ///
    /// # Errors
    /// 403 when it may not.
    pub(super) fn visible(&self, action: Action) -> Result<Visible, HttpError> {
        let forbidden = || HttpError::forbidden(action.as_str());
        let grant = self.caller.grant(action).ok_or_else(forbidden)?;
        match grant.visible_in(&self.place.name) {
            Some(visible) => Ok(visible),
            None if !self.place.named => Ok(Visible::nothing()),
            None => Err(forbidden()),
        }
    }

    /// As [`Self::may`] for what makes the partition when it is not there.
    ///
    /// # Errors
    /// As [`Self::visible`], whether the partition exists or not; 400 when there are too many partitions.
    pub(super) async fn may_begin(
        &self,
        api: &ApiState,
        action: Action,
    ) -> Result<Scope, HttpError> {
        let visible = self.visible(action)?;
        let partition = match self.place.partition {
            Some(partition) => partition,
            None => api.app.archive.make_partition(&self.place.name).await?,
        };
        Ok(Scope { partition, visible })
    }

    /// What the caller may see of what is the same for all partitions.
    ///
    /// # Errors
    /// 403 when it may not do this anywhere.
    pub(super) async fn may_across(
        &self,
        api: &ApiState,
        action: Action,
    ) -> Result<ScopeSet, HttpError> {
        let grant = self.caller.grant(action);
        let grant = grant.ok_or_else(|| HttpError::forbidden(action.as_str()))?;
        let mut within = Vec::new();
        for (name, visible) in &grant.within {
            if let Some(partition) = api.app.archive.partition(name).await? {
                let visible = visible.clone();
                within.push(Scope { partition, visible });
            }
        }
        Ok(ScopeSet {
            everywhere: grant.everywhere.clone(),
            within,
        })
    }

    /// Another partition than that of the request, made when it is not there, for a caller who may do this with everything in
    /// it.
    ///
    /// # Errors
    /// 403 when it may not, whether the partition exists or not; 400 when there are too many partitions.
    pub(super) async fn may_everything_in(
        &self,
        api: &ApiState,
        action: Action,
        name: &PartitionName,
    ) -> Result<Partition, HttpError> {
        let grant = self.caller.grant(action);
        match grant.and_then(|grant| grant.visible_in(name)) {
            Some(Visible::All) => Ok(api.app.archive.make_partition(name).await?),
            _ => Err(HttpError::forbidden(action.as_str())),
        }
    }

    /// Whether a partition exists for the caller at all.
    fn sees(&self, name: &PartitionName) -> bool {
        let mut actions = Action::ALL.iter();
        let sees = |grant: &Grant| grant.visible_in(name).is_some();
        actions.any(|action| self.caller.grant(*action).is_some_and(sees))
    }
}

impl FromRequestParts<ApiState> for Access {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Self::Rejection> {
        let caller = parts.extensions.get::<Arc<Caller>>().cloned();
        let caller = caller.ok_or_else(|| HttpError::broken("a route without the auth layer"))?;
        let place = parts.extensions.get::<Place>().cloned();
        let place = place.ok_or_else(|| HttpError::broken("a route without a partition"))?;
        Ok(Self { caller, place })
    }
}
