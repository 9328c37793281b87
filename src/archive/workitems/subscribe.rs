//! Subscribing to workitems: to one, to all, to all that match a filter (PS3.4 §CC.2.3, PS3.18 §11.10-11.12).
//!
//! Invariant: what is subscribed to, and what the subscriber is told at the beginning, are of the same version.

use futures_util::future::BoxFuture;

use super::super::Archive;
use super::super::error::ArchiveError;
use super::super::lanes::Lane;
use super::super::texts::{corrupt, unpacked_text};
use super::{ATTEMPTS, FilteredWorkitem, WorkitemError, WorkitemResult, busy};
use crate::dicom::query_parse::QueryDialect;
use crate::dicom::workitem::{self, ALL, FILTERED};
use crate::dicom::workitem_events::Event;
use crate::dicom::workitem_filter::Filter;
use crate::index::{
    Entered, FoundWorkitem, GlobalSubscription, Matched, NewSubscription, WorkitemFilter,
};
use crate::memory::Purpose;
use crate::scope::{Partition, Scope};

/// Workitems that are subscribed to in one transaction.
const AT_ONCE: usize = 64;
/// Memory for the subscriptions to all workitems, with their filters, while a new workitem is compared with them.
const GLOBALS: usize = 2 << 20;

/// Who subscribes.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// The AE title.
    pub aet: String,
    /// Whose token it is; none without access control.
    pub owner: Option<String>,
}

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionTarget {
    /// One workitem.
    One(String),
    /// All of them.
    All,
    /// All that match the parameters of a search.
    Filtered(Vec<(String, String)>, QueryDialect),
}

impl SubscriptionTarget {
    /// The UID that stands for it in a URL.
    #[must_use]
    pub fn uid(&self) -> &str {
        match self {
            Self::One(uid) => uid,
            Self::All => ALL,
            Self::Filtered(..) => FILTERED,
        }
    }
}

impl Archive {
    /// Subscribes, or changes a subscription.
    ///
    /// # Errors
    /// [`WorkitemError`] when the title belongs to somebody else, the workitem does not exist, or the filter cannot be read.
    pub async fn subscribe(
        &self,
        scope: &Scope,
        subscriber: &Subscriber,
        target: &SubscriptionTarget,
        deletion_lock: bool,
    ) -> WorkitemResult<()> {
        let (filter, text) = match target {
            SubscriptionTarget::Filtered(pairs, dialect) => {
                let filter = Filter::new(pairs, *dialect);
                let filter =
                    filter.map_err(|problem| WorkitemError::Filter(problem.to_string()))?;
                (Some(filter), Some(Filter::write(pairs, *dialect)))
            }
            SubscriptionTarget::One(_) | SubscriptionTarget::All => (None, None),
        };
        self.enter(scope.partition, subscriber).await?;
        let aet = subscriber.aet.as_str();
        if let SubscriptionTarget::One(uid) = target {
            return self.subscribe_one(scope, aet, uid, deletion_lock).await;
        }
        let new = GlobalSubscription {
            aet: aet.to_owned(),
            deletion_lock,
            filter: text,
            visible: scope.visible.clone(),
        };
        let subscribed = self
            .index
            .subscribe_globally(scope.partition, target.uid(), &new);
        if !subscribed.await? {
            return Err(WorkitemError::TooManySubscriptions);
        }
        // From here on new workitems are subscribed to when they are created; now those that are there.
        let filter = filter.map(std::sync::Arc::new);
        let mut before = i64::MAX;
        loop {
            let all = WorkitemFilter::default();
            let rows = self.index.find_workitems(scope, &all, before, 256).await?;
            let Some(last) = rows.last() else {
                break;
            };
            before = last.id;
            for portion in super::search::portions(rows) {
                let done = self.subscribe_portion(aet, deletion_lock, portion, &filter);
                done.await?;
            }
        }
        self.channels.wake();
        Ok(())
    }

    /// Subscribes to those of some workitems that match and are not subscribed to yet.
    fn subscribe_portion<'a>(
        &'a self,
        aet: &'a str,
        deletion_lock: bool,
        portion: Vec<FoundWorkitem>,
        filter: &'a Option<std::sync::Arc<Filter>>,
    ) -> BoxFuture<'a, WorkitemResult<()>> {
        Box::pin(async move {
            let mut left = portion;
            for _ in 0..ATTEMPTS {
                if left.is_empty() {
                    return Ok(());
                }
                let read = self.read_workitems(&left).await?;
                let rows: Vec<FoundWorkitem> = left.clone();
                let filter = filter.clone();
                let new = self.lanes().run(Lane::Text, move || {
                    let mut new = Vec::new();
                    for row in rows {
                        let Some((version, packed)) = read.versions.get(&row.id) else {
                            continue;
                        };
                        let text = unpacked_text(packed)?;
                        if filter.as_ref().is_some_and(|filter| !filter.passes(&text)) {
                            continue;
                        }
                        // Without a lock there is no report at the beginning (PS3.4 Table CC.2.3-2).
                        let report = match deletion_lock {
                            true => {
                                let item = workitem::parse(&text);
                                Some(Event::state(&item.map_err(|_| damaged())?))
                            }
                            false => None,
                        };
                        new.push(NewSubscription {
                            id: row.id,
                            version: *version,
                            report,
                        });
                    }
                    Ok(new)
                });
                let new = new.await?;
                let mut stale = Vec::new();
                for some in new.chunks(AT_ONCE) {
                    let done = self
                        .index
                        .subscribe_workitems(aet, deletion_lock, some, true);
                    stale.extend(done.await?);
                }
                left.retain(|row| stale.contains(&row.id));
            }
            Err(busy())
        })
    }

    async fn subscribe_one(
        &self,
        scope: &Scope,
        aet: &str,
        uid: &str,
        deletion_lock: bool,
    ) -> WorkitemResult<()> {
        for _ in 0..ATTEMPTS {
            let row = self.workitem_row(scope, uid).await?;
            let _held = self.reserve_workitem(&row).await?;
            let Some(content) = self.workitem_content(&row).await? else {
                continue;
            };
            let report = self.lanes().run(Lane::Text, move || {
                let item = workitem::parse(&unpacked_text(&content)?);
                Ok(Event::state(&item.map_err(|_| damaged())?))
            });
            let new = [NewSubscription {
                id: row.id,
                version: row.version,
                report: Some(report.await?),
            }];
            let stale = self
                .index
                .subscribe_workitems(aet, deletion_lock, &new, false);
            if stale.await?.is_empty() {
                self.channels.wake();
                return Ok(());
            }
        }
        Err(busy())
    }

    /// Ends a subscription; that to all ends with those to single workitems.
    ///
    /// # Errors
    /// [`WorkitemError::NoSubscription`] when there is none.
    pub async fn unsubscribe(
        &self,
        scope: &Scope,
        subscriber: &Subscriber,
        target: &SubscriptionTarget,
    ) -> WorkitemResult<()> {
        let aet = subscriber.aet.as_str();
        let ended = match target {
            SubscriptionTarget::One(uid) => {
                let row = self.workitem_row(scope, uid).await?;
                self.enter(scope.partition, subscriber).await?;
                self.index.unsubscribe_workitem(aet, row.id).await?
            }
            SubscriptionTarget::All | SubscriptionTarget::Filtered(..) => {
                self.enter(scope.partition, subscriber).await?;
                self.index
                    .unsubscribe_globally(scope.partition, aet, target.uid())
                    .await?
            }
        };
        if ended {
            Ok(())
        } else {
            Err(WorkitemError::NoSubscription)
        }
    }

    /// Ends a subscription to all workitems for those that will be created.
    ///
    /// # Errors
    /// As [`Self::unsubscribe`].
    pub async fn suspend_subscription(
        &self,
        scope: &Scope,
        subscriber: &Subscriber,
        target: &SubscriptionTarget,
    ) -> WorkitemResult<()> {
        self.enter(scope.partition, subscriber).await?;
        let suspended =
            self.index
                .suspend_subscription(scope.partition, &subscriber.aet, target.uid());
        if suspended.await? {
            Ok(())
        } else {
            Err(WorkitemError::NoSubscription)
        }
    }

    /// Lets a caller use an AE title; returns the number of the event up to which all was sent.
    pub(super) async fn enter(
        &self,
        partition: Partition,
        subscriber: &Subscriber,
    ) -> WorkitemResult<i64> {
        let owner = subscriber.owner.as_deref();
        let entered = self
            .index
            .enter_subscriber(partition, &subscriber.aet, owner);
        match entered.await? {
            Entered::Known(sent) => Ok(sent),
            Entered::Foreign => Err(WorkitemError::ForeignTitle),
        }
    }

    /// Who of those who subscribe to all subscribes to a new workitem.
    pub(super) async fn matched(
        &self,
        partition: Partition,
        item: &FilteredWorkitem,
    ) -> WorkitemResult<Matched> {
        let globals = self.index.global_subscriptions(partition).await?;
        if globals.list.is_empty() {
            return Ok(Matched {
                stamp: globals.stamp,
                subscribers: Vec::new(),
            });
        }
        let room = self.budget.reserve(Purpose::Rows, GLOBALS).await;
        let _room = room.map_err(ArchiveError::from)?;
        let item = item.clone();
        let matched = self.lanes().run(Lane::Text, move || {
            let matches = |global: &GlobalSubscription| {
                let (study, patient) = (item.keys.study.as_deref(), item.keys.patient.as_deref());
                let visible = global.visible.admits(study.unwrap_or_default(), patient);
                let filter = global.filter.as_deref();
                let passes = |text| Filter::read(text).is_some_and(|f| f.passes(&item.text));
                visible && filter.is_none_or(passes)
            };
            let globals = globals.list.into_iter().filter(matches);
            Ok(globals.map(|g| (g.aet, g.deletion_lock)).collect())
        });
        Ok(Matched {
            stamp: globals.stamp,
            subscribers: matched.await?,
        })
    }
}

fn damaged() -> ArchiveError {
    corrupt(crate::dicom::members::Malformed { left: 0 })
}
