//! Workitems: what is asked of the worklist (PS3.18 chapter 11, PS3.4 Annex CC).
//!
//! A change is read, decided in the lane for text, and written if nobody changed the workitem meanwhile; otherwise it is decided
//! anew. Invariants: of several performers one has a workitem; memory is reserved before a data set is read.

pub mod arrivals;
pub mod channel;
pub mod schedule;
pub mod search;
pub mod subscribe;

use std::sync::Arc;

use time::OffsetDateTime;

use super::Archive;
use super::error::ArchiveError;
use super::lanes::Lane;
use crate::dicom::data_set::JsonDataSet;
use crate::dicom::instance::Metadata;
use crate::dicom::metadata::pack;
use crate::dicom::query_parse::QueryDialect;
use crate::dicom::workitem::{
    self, Changed, Conflict, Keys, Problem, Reasons, State, StateRequest,
};
use crate::dicom::workitem_events::Event;
use crate::index::{IndexError, InsertedWorkitem, NewWorkitem, WorkitemRow};
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;

/// How often a change is decided anew because others were faster.
const ATTEMPTS: usize = 100;
/// Finished workitems deleted in one transaction.
const SWEPT: u32 = 500;

/// Why a request about a workitem is not done.
#[derive(Debug, thiserror::Error)]
pub enum WorkitemError {
    /// The stores, or memory.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is none of this UID, or none that the caller may see.
    #[error("the workitem {0} was not found")]
    NotFound(String),
    /// Its UID is taken.
    #[error("a workitem of this UID exists already")]
    Exists,
    /// It belongs to a patient or study that is not the caller's.
    #[error("the workitem is outside of the patients and studies of the token")]
    Outside,
    /// The request breaks a rule of its own.
    #[error("{0}")]
    Invalid(#[from] Problem),
    /// The request does not fit the state the workitem is in.
    #[error("{0}")]
    Conflict(#[from] Conflict),
    /// It has been claimed, and only who has claimed it can cancel it.
    #[error("the workitem is IN PROGRESS: ask its performer to cancel it")]
    Performed,
    /// It is canceled already.
    #[error("the workitem is canceled already")]
    AlreadyCanceled,
    /// The AE title is another caller's.
    #[error("the AE title belongs to another token: choose one of your own")]
    ForeignTitle,
    /// There is nothing to end.
    #[error("there is no such subscription")]
    NoSubscription,
    /// The filter cannot be read.
    #[error("{0}")]
    Filter(String),
    /// There are as many subscriptions to all workitems as there may be.
    #[error(
        "there are as many subscriptions to all workitems as there may be: end one that is not needed"
    )]
    TooManySubscriptions,
    /// Events that were asked for are not kept any more.
    #[error("events before {0} are forgotten: read the workitems anew and follow without 'since'")]
    Forgotten(i64),
    /// There is no such event yet.
    #[error("there is no event of that number: the newest one is {0}")]
    NoEvent(i64),
}

impl From<IndexError> for WorkitemError {
    fn from(error: IndexError) -> Self {
        Self::Archive(error.into())
    }
}

/// Result of a request about workitems.
pub type WorkitemResult<T> = std::result::Result<T, WorkitemError>;

/// A workitem that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its UID.
    pub uid: String,
    /// Something was added or changed beside what the contract says.
    pub modified: bool,
}

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// It is canceled.
    Done,
    /// Its performer is asked.
    Requested,
}

/// What a change decides on: the workitem as it is.
struct Current<'a> {
    row: &'a WorkitemRow,
    item: JsonDataSet,
}

/// What is decided.
enum Decided<T> {
    /// It stays as it is.
    Keep(T),
    /// It becomes this, claimed by the owner of this digest.
    Replace(JsonDataSet, Option<String>, T),
    /// Likewise, and subscribers are told this before they are told what has changed.
    Tell(JsonDataSet, Option<String>, Vec<Event>, T),
}

type Decide<T> = Arc<dyn Fn(Current<'_>) -> WorkitemResult<Decided<T>> + Send + Sync>;

impl Archive {
    /// Creates a workitem of what was sent; `uid` is the one of the URL. `held` is the memory of the data set.
    ///
    /// # Errors
    /// [`WorkitemError`] when the contract is broken, its UID is taken, or it is not the caller's to create.
    pub async fn create_workitem(
        &self,
        scope: &Scope,
        mut item: JsonDataSet,
        uid: Option<String>,
        dialect: QueryDialect,
        held: Reservation,
    ) -> WorkitemResult<Created> {
        let made = self.lanes().run(Lane::Text, move || {
            let now = OffsetDateTime::now_utc();
            let made = workitem::create(&mut item, uid.as_deref(), dialect, now);
            Ok(made.and_then(|(uid, modified)| {
                let created = Created { uid, modified };
                let (held, mut new) = packed(&item, None)?;
                new.events = Event::of_new(&item);
                Ok((created, held, new))
            }))
        });
        let (created, text, new) = made.await??;
        if !visible(scope, &new.keys) {
            return Err(WorkitemError::Outside);
        }
        for _ in 0..ATTEMPTS {
            let matched = self.matched(scope.partition, &text).await?;
            let inserted =
                self.index
                    .insert_workitem(scope.partition, &created.uid, &new, &matched);
            match inserted.await? {
                InsertedWorkitem::Stored => {
                    drop(held);
                    self.channels.wake();
                    return Ok(created);
                }
                InsertedWorkitem::Exists => return Err(WorkitemError::Exists),
                InsertedWorkitem::Stale => {}
            }
        }
        Err(busy())
    }

    /// The text of a workitem in the DICOM JSON Model, with the memory it takes.
    ///
    /// # Errors
    /// [`WorkitemError::NotFound`].
    pub async fn workitem(
        &self,
        scope: &Scope,
        uid: &str,
    ) -> WorkitemResult<(String, Reservation)> {
        for _ in 0..ATTEMPTS {
            let row = self.workitem_row(scope, uid).await?;
            let mut held = self.reserve_workitem(&row).await?;
            if let Some(content) = self.workitem_content(&row).await? {
                let unpacked = self
                    .lanes()
                    .run(Lane::Text, move || super::texts::unpacked_text(&content));
                let text = unpacked.await?;
                held.shrink_to(text.capacity());
                return Ok((text, held));
            }
        }
        Err(busy())
    }

    /// Puts attributes into a workitem; `held` is the memory of the data set.
    ///
    /// # Errors
    /// [`WorkitemError`] when it does not exist, or its state or the contract forbid that.
    pub async fn update_workitem(
        &self,
        scope: &Scope,
        uid: &str,
        changes: JsonDataSet,
        transaction: Option<String>,
        held: Reservation,
    ) -> WorkitemResult<()> {
        workitem::check_changes(&changes)?;
        let decide = move |current: Current<'_>| {
            let mut item = current.item;
            let row = current.row;
            workitem::check_update(row.state, row.owner.as_deref(), transaction.as_deref())?;
            workitem::update(&mut item, changes.clone(), OffsetDateTime::now_utc());
            Ok(Decided::Replace(item, row.owner.clone(), ()))
        };
        self.change(scope, uid, Arc::new(decide), held).await
    }

    /// Changes the state of a workitem; whether it was in that state before.
    ///
    /// # Errors
    /// As [`Self::update_workitem`].
    pub async fn change_workitem_state(
        &self,
        scope: &Scope,
        uid: &str,
        asked: StateRequest,
        dialect: QueryDialect,
        held: Reservation,
    ) -> WorkitemResult<Changed> {
        let decide = move |current: Current<'_>| {
            let mut item = current.item;
            let (owner, now) = (current.row.owner.clone(), OffsetDateTime::now_utc());
            let changed = workitem::change_state(&mut item, owner.as_deref(), &asked, dialect, now);
            Ok(match changed? {
                Changed::Already => Decided::Keep(Changed::Already),
                Changed::Yes => {
                    let claimed = asked.state == State::InProgress;
                    let digest = asked.transaction.as_deref().map(workitem::digest);
                    let owner = if claimed { digest } else { owner };
                    Decided::Replace(item, owner, Changed::Yes)
                }
            })
        };
        self.change(scope, uid, Arc::new(decide), held).await
    }

    /// Cancels a workitem that nobody has begun, or asks its performer to; `by` is the AE title of who asks.
    ///
    /// # Errors
    /// [`WorkitemError`] when it does not exist or is finished.
    pub async fn cancel_workitem(
        &self,
        scope: &Scope,
        uid: &str,
        reasons: Reasons,
        by: String,
        dialect: QueryDialect,
        held: Reservation,
    ) -> WorkitemResult<Cancellation> {
        let decide = move |current: Current<'_>| {
            let mut item = current.item;
            let requested = Event::cancel_requested(&by, &reasons);
            let owner = current.row.owner.clone();
            match current.row.state {
                State::Scheduled => {
                    // It is canceled by way of IN PROGRESS (PS3.4 §CC.2.2.3).
                    let passed = Event::passing(&item, State::InProgress);
                    workitem::cancel(&mut item, &reasons, OffsetDateTime::now_utc());
                    let reported = vec![requested, passed];
                    Ok(Decided::Tell(item, None, reported, Cancellation::Done))
                }
                State::InProgress if dialect == QueryDialect::Standard => {
                    let reported = vec![requested];
                    Ok(Decided::Tell(
                        item,
                        owner,
                        reported,
                        Cancellation::Requested,
                    ))
                }
                State::InProgress => Err(WorkitemError::Performed),
                State::Completed => Err(Conflict::Final(State::Completed).into()),
                State::Canceled => Err(WorkitemError::AlreadyCanceled),
            }
        };
        self.change(scope, uid, Arc::new(decide), held).await
    }

    /// How many workitems there are in each state, in the order of [`State::ALL`].
    ///
    /// # Errors
    /// When the index fails.
    pub async fn count_workitems(&self) -> super::Result<[u64; 4]> {
        Ok(self.index.count_workitems().await?)
    }

    /// Deletes workitems that have been finished for as long as they are kept.
    pub(super) async fn sweep_workitems(&self) -> super::Result<()> {
        let Some(time) = self.limits.workitem_time() else {
            return Ok(());
        };
        let Some(before) = ago(time) else {
            return Ok(());
        };
        let mut deleted = 0;
        loop {
            let now = self.index.delete_finished_workitems(before, SWEPT).await?;
            deleted += now;
            if now < u64::from(SWEPT) {
                break;
            }
        }
        if deleted > 0 {
            tracing::info!(deleted, "deleted finished workitems");
        }
        Ok(())
    }

    async fn change<T: Send + 'static>(
        &self,
        scope: &Scope,
        uid: &str,
        decide: Decide<T>,
        held: Reservation,
    ) -> WorkitemResult<T> {
        // The memory of what was sent is held until it has become part of the workitem.
        let _held = held;
        for _ in 0..ATTEMPTS {
            let row = self.workitem_row(scope, uid).await?;
            let _room = self.reserve_workitem(&row).await?;
            let Some(content) = self.workitem_content(&row).await? else {
                continue;
            };
            let (decide, current) = (decide.clone(), row.clone());
            let decided = self.lanes().run(Lane::Text, move || {
                let text = super::texts::unpacked_text(&content)?;
                Ok(decided(&text, &current, &decide))
            });
            match decided.await?? {
                (None, result) => return Ok(result),
                (Some(new), result) => {
                    let replaced = self.index.replace_workitem(row.id, row.version, &new);
                    if replaced.await? {
                        if !new.events.is_empty() {
                            self.channels.wake();
                        }
                        return Ok(result);
                    }
                }
            }
        }
        Err(busy())
    }

    async fn workitem_row(&self, scope: &Scope, uid: &str) -> WorkitemResult<WorkitemRow> {
        let row = self.index.workitem(scope, uid).await?;
        row.ok_or_else(|| WorkitemError::NotFound(uid.to_owned()))
    }

    /// Memory for reading a workitem and writing it anew.
    async fn reserve_workitem(&self, row: &WorkitemRow) -> WorkitemResult<Reservation> {
        let bytes = row.weight.saturating_mul(3).saturating_add(row.packed);
        let held = self.budget.reserve(Purpose::Text, bytes).await;
        Ok(held.map_err(ArchiveError::from)?)
    }

    /// The packed data set of this version; none when it changed meanwhile.
    async fn workitem_content(&self, row: &WorkitemRow) -> WorkitemResult<Option<Vec<u8>>> {
        let contents = self.index.workitem_contents(&[row.id]).await?;
        let mut contents = contents.into_iter();
        let content = contents.find(|(_, version, _)| *version == row.version);
        Ok(content.map(|(.., content)| content))
    }
}

/// A moment so long ago; none when there was no such moment.
pub(super) fn ago(time: std::time::Duration) -> Option<OffsetDateTime> {
    let time = time::Duration::try_from(time).ok()?;
    OffsetDateTime::now_utc().checked_sub(time)
}

fn busy() -> WorkitemError {
    ArchiveError::Busy {
        what: "other changes of the workitem",
    }
    .into()
}

fn decided<T>(
    text: &str,
    row: &WorkitemRow,
    decide: &Decide<T>,
) -> WorkitemResult<(Option<NewWorkitem>, T)> {
    let corrupt = |_| IndexError::Corrupt { what: "a workitem" };
    let item = workitem::parse(text).map_err(corrupt)?;
    let old = item.clone();
    let (item, owner, mut events, result) = match decide(Current { row, item })? {
        Decided::Keep(result) => return Ok((None, result)),
        Decided::Replace(item, owner, result) => (item, owner, Vec::new(), result),
        Decided::Tell(item, owner, events, result) => (item, owner, events, result),
    };
    let (_, mut new) = packed(&item, owner)?;
    events.extend(Event::of_change(&old, &item));
    new.events = events;
    Ok((Some(new), result))
}

/// The text of a new workitem and its keys.
#[derive(Debug, Clone)]
struct FilteredWorkitem {
    text: Arc<str>,
    keys: Keys,
}

/// A workitem as the index takes it, and as filters look at it.
fn packed(
    item: &JsonDataSet,
    owner: Option<String>,
) -> Result<(FilteredWorkitem, NewWorkitem), Problem> {
    let text = workitem::write(item)?;
    let weight = workitem::weight(&text);
    let held = FilteredWorkitem {
        text: Arc::from(text.as_str()),
        keys: Keys::of(item),
    };
    let metadata = Metadata {
        text,
        ..Metadata::default()
    };
    let content = pack(&metadata, None).map_err(|_| Problem::TooLong)?;
    let new = NewWorkitem {
        keys: held.keys.clone(),
        owner,
        weight,
        content,
        events: Vec::new(),
    };
    Ok((held, new))
}

/// Whether a caller may see a workitem of these keys.
fn visible(scope: &Scope, keys: &Keys) -> bool {
    let study = keys.study.as_deref().unwrap_or_default();
    scope.visible.admits(study, keys.patient.as_deref())
}
