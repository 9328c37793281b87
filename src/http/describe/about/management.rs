//! What is kept and what became of it: trash, feeds, query tags, operations, partitions.

use super::row::{
    ACCEPT, About, DATA_SETS, DICOM_JSON, FEED, JSON, MULTI_DICOM, MULTI_XML, OK, RESTORED, SEARCH,
    p, row,
};

/// The rows.
pub(super) static ROWS: &[About] = &[
    row(
        "list_trash",
        "Trash",
        "List what was deleted and can be restored",
        JSON,
        OK,
        &[
            p("study", "only what was deleted of this study"),
            p("limit", "most entries"),
            p("before", "only entries with a lower number"),
        ],
    ),
    row(
        "restore_entry",
        "Trash",
        "Restore what is left of an entry of the trash",
        JSON,
        RESTORED,
        &[],
    ),
    row(
        "restore_study",
        "Trash",
        "Restore everything that was deleted of a study",
        JSON,
        RESTORED,
        &[],
    ),
    row(
        "read_changes",
        "Change feed",
        "Read what changed",
        JSON,
        OK,
        FEED,
    ),
    row(
        "follow_events",
        "Events",
        "Follow what happens to studies and workitems, as Server-Sent Events",
        &["text/event-stream"],
        &[(200, "events, until the client goes or ten minutes are over")],
        &[
            p(
                "types",
                "kinds of events, separated by commas; `study.*` stands for all of studies",
            ),
            p(
                "lastEventId",
                "goes on behind this event, as the header Last-Event-ID does",
            ),
        ],
    ),
    About {
        takes: JSON,
        ..row(
            "create_webhook",
            "Events",
            "Make a webhook",
            JSON,
            &[(201, "it is made; the secret is told this once")],
            &[],
        )
    },
    row("list_webhooks", "Events", "List webhooks", JSON, OK, &[]),
    row(
        "get_webhook",
        "Events",
        "Read a webhook, with the events that wait or were given up",
        JSON,
        OK,
        &[],
    ),
    row(
        "delete_webhook",
        "Events",
        "End a webhook",
        &[],
        &[(204, "it is gone")],
        &[],
    ),
    row(
        "test_webhook",
        "Events",
        "Send a test event to a webhook now",
        JSON,
        OK,
        &[],
    ),
    About {
        takes: JSON,
        ..row(
            "redeliver_events",
            "Events",
            "Send events of a range to a webhook once more",
            JSON,
            &[(202, "they are sent")],
            &[],
        )
    },
    row(
        "read_statistics",
        "Statistics",
        "Count what is stored, by partition, modality and month of arrival; trash, damage, free disk",
        JSON,
        OK,
        &[],
    ),
    row(
        "read_latest_change",
        "Change feed",
        "Read the newest change",
        JSON,
        OK,
        &[p("includeMetadata", "`false` leaves the metadata out")],
    ),
    About {
        takes: JSON,
        ..row(
            "add_tags",
            "Extended query tags",
            "Make attributes searchable",
            JSON,
            &[(202, "an operation indexes what is stored")],
            &[],
        )
    },
    row(
        "list_tags",
        "Extended query tags",
        "List extended query tags",
        JSON,
        OK,
        &[p("limit", "most tags"), p("offset", "tags to skip")],
    ),
    row(
        "get_tag",
        "Extended query tags",
        "Get an extended query tag",
        JSON,
        OK,
        &[],
    ),
    About {
        takes: JSON,
        ..row(
            "update_tag",
            "Extended query tags",
            "Allow or forbid searches by a tag",
            JSON,
            OK,
            &[],
        )
    },
    row(
        "delete_tag",
        "Extended query tags",
        "Remove an extended query tag",
        &[],
        &[(204, "it is gone")],
        &[],
    ),
    row(
        "list_tag_errors",
        "Extended query tags",
        "List instances whose value cannot be searched",
        JSON,
        OK,
        &[p("limit", "most errors"), p("offset", "errors to skip")],
    ),
    About {
        takes: &[MULTI_DICOM, "application/dicom"],
        ..row(
            "store_nonpatient",
            "Non-patient instances",
            "Store non-patient instances",
            DATA_SETS,
            &[
                (200, "all are stored"),
                (202, "some are stored"),
                (409, "none is stored; the reasons are in the body"),
            ],
            &[],
        )
    },
    row(
        "search_nonpatient",
        "Non-patient instances",
        "Search for non-patient instances",
        DATA_SETS,
        &[(200, "the results; also when there are none")],
        SEARCH,
    ),
    row(
        "retrieve_nonpatient",
        "Non-patient instances",
        "Retrieve a non-patient instance, as a file or as metadata",
        &["application/dicom", MULTI_DICOM, DICOM_JSON, MULTI_XML],
        OK,
        &[ACCEPT],
    ),
    row(
        "delete_nonpatient",
        "Non-patient instances",
        "Delete a non-patient instance, for good",
        &[],
        &[(204, "it is gone")],
        &[],
    ),
    About {
        takes: JSON,
        ..row(
            "export_instances",
            "Operations",
            "Export instances to a destination of the configuration",
            JSON,
            &[(202, "the operation began; its place is in Location")],
            &[],
        )
    },
    About {
        takes: JSON,
        ..row(
            "deidentify_instances",
            "Operations",
            "Make de-identified copies of instances in another partition",
            JSON,
            &[(202, "the operation began; its place is in Location")],
            &[],
        )
    },
    About {
        takes: JSON,
        ..row(
            "update_studies",
            "Operations",
            "Change attributes, or UIDs, in the stored instances of studies",
            JSON,
            &[(202, "the operation began; its place is in Location")],
            &[],
        )
    },
    row(
        "get_operation",
        "Operations",
        "Get the state of a long-running operation",
        JSON,
        &[(200, "it is done"), (202, "it is under way")],
        &[],
    ),
    row(
        "list_partitions",
        "Partitions",
        "List the data partitions",
        JSON,
        OK,
        &[],
    ),
];
