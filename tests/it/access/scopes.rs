//! No method of the index that touches what is stored can be called without a scope.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The methods without one, and why they need none.
const WITHOUT: [(&str, &str); 107] = [
    (
        "insert",
        "each instance carries what its sender may store into",
    ),
    ("expired", "retention, as who stored the studies asked for"),
    (
        "delete_expired",
        "retention, as who stored the study asked for",
    ),
    (
        "begin_bulk_update",
        "the limits of its caller are kept, and only what they let through begins",
    ),
    (
        "bulk_update",
        "holds its caller's limits, by whom it is decided",
    ),
    ("updated_studies", "what the caller has named"),
    (
        "keep_prepared",
        "numbers of instances that were found within a scope",
    ),
    (
        "end_update",
        "the number of a study that was found within a scope",
    ),
    (
        "begin_export",
        "the limits of its caller are kept, and only what they let through is exported",
    ),
    ("export", "holds its caller's limits, by whom it is decided"),
    ("export_sources", "what the caller has named"),
    (
        "advance_export",
        "counts what was found within a scope, and names what the caller has named",
    ),
    ("skipped_exports", "what the caller has named, or could see"),
    ("end_export", "how an operation ended"),
    (
        "nonpatient_file",
        "the number of an object that was found within a scope",
    ),
    (
        "nonpatient_metadata",
        "numbers of objects that were found within a scope",
    ),
    ("all_nonpatient", "fsck, by whoever runs the server"),
    ("discard", "keys of blobs"),
    ("discarded", "keys of blobs"),
    ("claim", "keys of blobs"),
    ("purge", "keys of blobs"),
    ("forget_entries", "retention, by whoever runs the server"),
    (
        "trashed_instances",
        "of an entry that was found in the scope",
    ),
    ("recent_operations", "operations hold no patient data"),
    ("retry_later", "keys of blobs"),
    ("take_lease", "names of nodes"),
    ("listen", "the name of a node"),
    ("announce_change", "counts changes"),
    ("lease_is_behind", "names of nodes"),
    ("revoke_leases_behind", "names of nodes"),
    ("renew", "the number of a change"),
    ("changed", "the number of a change"),
    ("release", "the name of a node"),
    ("give_back_lease", "names of nodes"),
    ("lease_is_held", "names of nodes"),
    (
        "keep_blocks",
        "checksums, of an instance that the scrub read",
    ),
    ("aged_studies", "retention, by whoever runs the server"),
    ("delete_aged", "retention, by whoever runs the server"),
    ("all_instances", "fsck, by whoever runs the server"),
    ("known_keys", "fsck, by whoever runs the server"),
    ("counter_errors", "fsck, by whoever runs the server"),
    ("newest_watermark", "how far the scrub has to go"),
    ("analyze", "statistics of the database"),
    (
        "statistics",
        "counts, for whoever may read everything and for the metrics",
    ),
    ("add_up_statistics", "counts"),
    ("statistic_errors", "fsck, by whoever runs the server"),
    ("recount_statistics", "fsck, by whoever runs the server"),
    ("count_trash", "a number for the metrics"),
    ("make_events", "what happens, for everybody"),
    ("logged_bounds", "numbers of events"),
    (
        "forget_logged_events",
        "retention, by whoever runs the server",
    ),
    (
        "webhooks",
        "who is told; whoever asks may see of them what the route decides",
    ),
    ("add_webhook", "carries what its maker may see"),
    ("change_webhook", "the id of a webhook"),
    ("remove_webhook", "the id of a webhook"),
    ("disable_webhook", "the id of a webhook"),
    (
        "enqueue_deliveries",
        "a webhook, which carries what its maker may see",
    ),
    ("due_deliveries", "the id of a webhook"),
    ("finish_delivery", "the id of a webhook"),
    ("fail_delivery", "the id of a webhook"),
    ("open_deliveries", "the id of a webhook"),
    ("count_deliveries", "numbers for the metrics"),
    (
        "redeliver",
        "a webhook, which carries what its maker may see",
    ),
    ("ping", "nothing"),
    ("partition", "names of partitions hold no patient data"),
    ("partition_name", "names of partitions hold no patient data"),
    ("make_partition", "names of partitions hold no patient data"),
    ("used_partition", "by whoever starts the server"),
    ("begin_operation", "operations hold no patient data"),
    (
        "operation",
        "what names instances holds its caller, by whom it is decided",
    ),
    ("unfinished_operations", "operations hold no patient data"),
    ("save_operation", "operations hold no patient data"),
    ("forget_operations", "retention, by whoever runs the server"),
    ("add_tags", "tags belong to the archive"),
    ("tags", "tags belong to the archive"),
    ("enable_tag", "tags belong to the archive"),
    ("remove_tag", "tags belong to the archive"),
    ("index_tags", "tags belong to the archive"),
    (
        "note_damage",
        "numbers of instances, for whoever runs the server",
    ),
    (
        "clear_damage",
        "numbers of instances, for whoever runs the server",
    ),
    (
        "damages",
        "numbers of instances, for whoever runs the server",
    ),
    (
        "damaged_among",
        "numbers of instances, for whoever runs the server",
    ),
    ("count_damaged", "a number for the metrics"),
    (
        "instances_of_blob",
        "what a damaged blob holds, for the log",
    ),
    ("replace_blob", "the sender has the same bytes already"),
    (
        "insert_workitem",
        "whether its sender may create it was decided by its patient",
    ),
    (
        "workitem_contents",
        "numbers of rows that were found within a scope",
    ),
    (
        "replace_workitem",
        "the version of a row that was found within a scope",
    ),
    (
        "delete_finished_workitems",
        "retention, by whoever runs the server",
    ),
    ("count_workitems", "a number for the metrics"),
    ("enter_subscriber", "names of subscribers"),
    (
        "global_subscriptions",
        "each has the limits of its subscriber, by which it is decided",
    ),
    (
        "subscribe_globally",
        "the limits of its subscriber are kept",
    ),
    (
        "suspend_subscription",
        "subscriptions of the caller's own name",
    ),
    (
        "unsubscribe_globally",
        "subscriptions of the caller's own name",
    ),
    (
        "subscribe_workitems",
        "versions of rows that were found within a scope",
    ),
    (
        "unsubscribe_workitem",
        "the number of a row that was found within a scope",
    ),
    ("event_bounds", "numbers of events"),
    ("note_sent", "the number of an event"),
    ("announce", "tells of the service and of no workitem"),
    ("forget_events", "retention, by whoever runs the server"),
    (
        "add_commitment",
        "what is asked for, which is looked at within a scope",
    ),
    (
        "due_commitments",
        "requests of peers, each looked at within its scope",
    ),
    ("claim_commitment", "the id of a request of a peer"),
    (
        "commitment_request",
        "a request of a peer, looked at within its scope",
    ),
    ("hold_commitment", "the id of a request of a peer"),
    ("finish_commitment", "the id of a request of a peer"),
];

#[test]
fn every_method_that_reads_or_deletes_takes_a_scope() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/index/traits");
    let files = fs::read_dir(folder).unwrap();
    let text: String = files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
    for method in text.split("    async fn ").skip(1) {
        let (name, rest) = method.split_once('(').unwrap();
        let arguments = rest.split("->").next().unwrap();
        if arguments.contains("scope: &Scope") || arguments.contains("scopes: &ScopeSet") {
            with.insert(name);
        } else {
            without.insert(name);
        }
    }
    let known: BTreeSet<&str> = WITHOUT.iter().map(|(name, _)| *name).collect();
    assert!(with.len() >= 11, "{with:?}");
    assert_eq!(without, known);
}
