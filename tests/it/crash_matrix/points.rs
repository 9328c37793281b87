//! The fault points the matrix must reach; one that is added to `src/` and not here fails a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Passed by a life of stores and deletes.
pub(super) const STORE_AND_DELETE: &[&str] = &[
    "blob.filled",
    "blob.folders",
    "blob.removed",
    "blob.renamed",
    "blob.settled",
    "blob.synced",
    "commit.begun",
    "commit.done",
    "commit.settled",
    "delete.changes",
    "delete.committed",
    "delete.content",
    "delete.levels",
    "delete.rows",
    "delete.trash",
    "insert.changes",
    "insert.committed",
    "insert.instances",
    "insert.levels",
    "insert.restored",
    "insert.series",
    "insert.studies",
    "insert.tags",
    "replace.rows",
    "replace.trash",
    "restore.inserted",
    "restore.read",
    "store.spooled",
];

/// Passed by the sweeper, besides `blob.removed`.
pub(super) const SWEEP: &[&str] = &[
    "sweep.claimed",
    "sweep.forgotten",
    "sweep.listed",
    "sweep.removed",
];

/// Passed by the tasks that make events of what happens and keep what webhooks are to be told; `webhooks.rs` breaks them off.
pub(crate) const EVENTS: &[&str] = &[
    "events.committed",
    "events.studies",
    "events.written",
    "outbox.sent",
    "webhooks.committed",
    "webhooks.enqueued",
];

/// Passed by `stowage reindex`.
pub(super) const REINDEX: &[&str] = &[
    "insert.changes",
    "insert.committed",
    "insert.instances",
    "insert.levels",
    "insert.series",
    "insert.studies",
    "insert.tags",
    "reindex.inserted",
    "reindex.listed",
    "reindex.read",
];

/// Passed while an extended query tag is added and what was stored before is indexed.
pub(super) const TAGS: &[&str] = &[
    "tags.added",
    "tags.listed",
    "tags.portion",
    "tags.ready",
    "tags.values",
];

/// Passed by `stowage export`, which `commands.rs` breaks off, and by exports into folders.
pub(crate) const EXPORT: &[&str] = &["export.renamed", "export.written"];

/// Passed by `stowage backup` and `stowage restore-backup`, which `backup/broken.rs` breaks off.
const BACKUP: &[&str] = &[
    "backup.blob",
    "backup.index",
    "backup.pruned",
    "backup.published",
    "backup.stored",
    "restore.blobs",
];

/// Passed by exports that clients ask for, which `export/crash.rs` breaks off.
pub(crate) const EXPORT_OPERATION: &[&str] = &[
    "export.advanced",
    "export.begun",
    "export.copied",
    "export.counted",
    "export.ended",
    "export.finished",
    "export.logged",
];

/// Passed besides by copies into another partition, which `deidentify/operation.rs` breaks off.
pub(crate) const DEIDENTIFY: &[&str] = &["deidentify.finished", "deidentify.stored"];

/// Passed when a workitem is made of what arrived, which `worklist/arrivals.rs` breaks off.
pub(crate) const ARRIVALS: &[&str] = &["arrivals.created", "arrivals.found"];

/// Passed while instances are committed, which `commitment.rs` breaks off.
pub(crate) const COMMITMENT: &[&str] =
    &["commitment.begun", "commitment.looked", "commitment.told"];

/// Passed by a bulk update, which `bulk_update/crash.rs` breaks off.
pub(crate) const BULK_UPDATE: &[&str] = &[
    "update.begun",
    "update.blob",
    "update.changes",
    "update.committed",
    "update.counted",
    "update.exchanged",
    "update.finished",
    "update.kept",
    "update.levels",
    "update.originals",
    "update.prepared",
    "update.rows",
    "update.tags",
];

/// Passed when an update of a study is given up.
const BULK_UPDATE_ENDED: &[&str] = &["update.ended"];

/// Passed when a workitem is created or changed, which `worklist/events.rs` breaks off.
const WORKITEMS: &[&str] = &["workitem.changed", "workitem.inserted"];

/// Passed when a non-patient instance is stored, which `nonpatient.rs` breaks off.
const NONPATIENT: &[&str] = &["nonpatient.inserted"];

/// Passed when a partition is made, which `partitions.rs` breaks off.
const PARTITIONS: &[&str] = &["partition.made"];

/// Passed when a damaged instance is stored again.
pub(super) const HEAL: &[&str] = &["heal.begun", "heal.committed", "heal.row"];

/// Passed by tasks that every server runs, which `trouble::tasks` lets panic: a server that ends there at once never serves.
pub(super) const TASKS: &[&str] = &["audit.write", "serve.accepted"];

/// Fails unless exactly these points were passed.
#[track_caller]
pub(super) fn expect_all(points: &[&str], passed: &BTreeMap<String, u32>) {
    let passed: Vec<&str> = passed.keys().map(String::as_str).collect();
    let own = |point: &&str| !SWEEP.contains(point) && !EVENTS.contains(point);
    let passed: Vec<&str> = passed.into_iter().filter(own).collect();
    assert_eq!(passed, points);
}

#[test]
fn every_fault_point_of_the_source_is_in_the_matrix() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src/ can be listed").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let points = text.split("fault::point(\"").skip(1);
            found.extend(points.filter_map(|rest| rest.split('"').next().map(str::to_owned)));
        }
    }
    let listed = [
        STORE_AND_DELETE,
        SWEEP,
        EVENTS,
        REINDEX,
        TAGS,
        HEAL,
        EXPORT,
        EXPORT_OPERATION,
        BACKUP,
        DEIDENTIFY,
        WORKITEMS,
        NONPATIENT,
        PARTITIONS,
        TASKS,
        COMMITMENT,
        ARRIVALS,
        BULK_UPDATE,
        BULK_UPDATE_ENDED,
    ]
    .concat();
    let listed: BTreeSet<String> = listed.into_iter().map(str::to_owned).collect();
    assert_eq!(found, listed);
}
