//! The index: which instances exist, what is searched of them, and in which order everything happened.
//!
//! Two back ends stand behind these traits, `SQLite` and Postgres; both pass the same contract suite
//! (`tests/it/contract_index.rs`). Invariants: every instance row was inserted in one transaction with its feed entry
//! and the counters of its study and series; a deleted instance's blob key is on the trash in the transaction that
//! removed the row; nothing here opens a blob.

mod admission;
mod attributes;
mod audit;
mod bulk_update;
mod bulk_update_commit;
mod bulk_update_model;
mod commitments;
mod commitments_model;
mod conditions;
mod damage;
mod delete;
mod driver_methods;
pub mod error;
mod event_log;
mod event_log_model;
mod event_maker;
mod events_model;
mod exchange;
mod exports;
mod exports_model;
mod feed;
mod feed_model;
mod insert;
mod instance_row;
mod instances;
mod lease;
mod level_rows;
mod level_values;
mod lookup;
mod micros;
mod migrations;
mod model;
mod nonpatient;
mod nonpatient_model;
mod open;
mod operations;
mod operations_model;
mod options;
mod originals;
mod partitions;
mod pattern;
mod postgres;
mod predicate;
mod prepared;
mod read_calls;
mod reader_pool;
mod replace;
mod retention;
mod retention_model;
mod retry;
mod row_columns;
mod rows;
mod scoping;
mod search;
mod snapshot;
mod sql;
mod sqlite;
mod statistics;
mod statistics_model;
mod subscriptions;
mod tag_rows;
mod tag_terms;
mod tag_values;
mod tag_writes;
mod tags;
mod tags_model;
mod terms;
mod text_terms;
mod timeouts;
mod traits;
mod transfer;
mod trash;
mod trash_model;
mod webhooks;
mod words;
mod workitem_events;
mod workitems;
mod workitems_model;

pub use bulk_update_model::{
    BulkUpdateBegun, BulkUpdateTask, NewBulkUpdate, PreparedInstance, UpdateCommit, UpdatePlace,
    UpdateProgress, UpdateState, UpdatedStudy,
};
pub use commitments_model::{CommitmentRow, NewCommitment};
pub use error::IndexError;
pub use event_log_model::{
    AfterFailure, DeliveryState, LoggedEvent, SERVICE_KINDS, WebhookDelivery, WebhookRow,
    kinds_cover, service_kind,
};
pub use events_model::{
    Entered, EventRow, GlobalSubscription, Globals, InsertedWorkitem, Matched, NewSubscription,
};
pub use exports_model::{
    DeidentifiedCopy, ExportCursor, ExportStep, ExportTask, NewExport, SkippedExport,
};
pub use feed_model::{Change, ChangeAction, ChangeState, FeedRange};
pub use model::{
    BlobPlace, ContentRow, Damage, Discarded, Inserted, InstanceRow, MAX_ROW_BYTES, MatchedRow,
    MetadataRow, NoWorkMemory, Page, PartitionRow, PoolState, Position, Replacement, Result,
    StoredBlob, StudyCondition, Version, WorkMemory,
};
pub use nonpatient_model::{NewNonPatient, NonPatientInserted, NonPatientRow, StoredNonPatient};
pub use open::open;
pub use operations_model::{Operation, OperationKind, OperationStatus};
pub use options::IndexOptions;
pub use retention_model::AgedStudy;
pub use rows::{NewInstance, PackedInstance};
pub use snapshot::{BlobUse, IndexCopy, NamedBlob, snapshot};
pub use statistics_model::StatisticRow;
pub use tag_values::invalid_values;
pub use tags_model::{TagIndexError, TagRow, TagStatus, TagsAdded};
pub use terms::{Decision, decision, indexed};
pub use traits::{
    Audit, BulkUpdates, CacheLeases, ChangeFeed, ChangeListener, Commitments, Damages, EventLog,
    Exports, Index, Instances, LeaseRenewal, Leases, Operations, Partitions, QueryTags, Retention,
    Search, Subscriptions, Tally, Trash, Webhooks, Workitems,
};
pub use transfer::{Moved, Sum, TransferMode, transfer};
pub use trash_model::{RemovalReason, TrashEntry, TrashFilter, TrashedInstance};
pub use workitems_model::{FoundWorkitem, NewWorkitem, WorkitemFilter, WorkitemRow};
