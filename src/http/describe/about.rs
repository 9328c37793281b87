//! What is said of each handler beside its method and path: one row each.
//!
//! Invariant: every handler of the map has its row, and every row its handler (a test looks).

/// What is said of a handler.
#[derive(Debug)]
pub(super) struct About {
    /// Name of the handler's function.
    pub(super) handler: &'static str,
    /// Service it belongs to.
    pub(super) group: &'static str,
    /// What it does, in a few words.
    pub(super) title: &'static str,
    /// Media types of the request body.
    pub(super) takes: &'static [&'static str],
    /// Media types of the answer.
    pub(super) gives: &'static [&'static str],
    /// Statuses of success, with their meaning.
    pub(super) statuses: &'static [(u16, &'static str)],
    /// Query parameters.
    pub(super) query: &'static [Parameter],
    /// Header fields that only some handlers look at.
    pub(super) headers: &'static [Parameter],
}

/// A query parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    /// Its name.
    pub(super) name: &'static str,
    /// What it does.
    pub(super) meaning: &'static str,
}

const fn p(name: &'static str, meaning: &'static str) -> Parameter {
    Parameter { name, meaning }
}

/// Stands for the attributes a search matches: any keyword or number is a parameter of its own.
pub(super) const ATTRIBUTES: &str = "{attribute}";

const ACCEPT: Parameter = p(
    "accept",
    "media type of the answer; outranks the header Accept",
);
const DEIDENTIFY: Parameter = p(
    "deidentify",
    "retrieve de-identified: `basic`, or options separated by commas, such as `retain-modified-dates`; needs the right `deidentify` in place of `read`",
);
const SEARCH: &[Parameter] = &[
    p(
        ATTRIBUTES,
        "value to match, by keyword (PatientID) or number (00100020); ranges, lists of UIDs and the wildcards * and ? as PS3.18 §8.3.4 says",
    ),
    p(
        "includefield",
        "attributes to return beside the usual ones: keywords or numbers, separated by commas, or `all`",
    ),
    p("limit", "most results"),
    p("offset", "results to skip"),
    p(
        "orderby",
        "of studies: StudyDate, PatientName, PatientID or AccessionNumber, with `-` before it the other way round",
    ),
    p(
        "fuzzymatching",
        "`true`: words of names match by their beginnings",
    ),
    ACCEPT,
];
const PICTURE: &[Parameter] = &[
    ACCEPT,
    p(
        "viewport",
        "width and height in pixels, then optionally x, y, width and height of the region shown",
    ),
    p(
        "window",
        "centre, width and function (linear, linear-exact, sigmoid)",
    ),
    p("quality", "1 to 100, for JPEG"),
    p(
        "annotation",
        "`patient`, `technique`: text burned into the picture; `overlay`: its overlay planes",
    ),
    p(
        "iccprofile",
        "`no`, `yes`, `srgb`, `adobergb`, `rommrgb` or `displayp3`",
    ),
];
const THUMBNAIL: &[Parameter] = &[ACCEPT, p("viewport", "width and height in pixels")];
const URI: &[Parameter] = &[
    p("requestType", "`WADO`"),
    p("studyUID", "Study Instance UID"),
    p("seriesUID", "Series Instance UID"),
    p("objectUID", "SOP Instance UID"),
    p("contentType", "media type of the answer"),
    p("transferSyntax", "transfer syntax of application/dicom"),
    p("frameNumber", "frame to show, from 1"),
    p("rows", "most rows of the picture"),
    p("columns", "most columns of the picture"),
    p("region", "left, top, right and bottom as parts of 1"),
    p("windowCenter", "window centre"),
    p("windowWidth", "window width"),
    p("imageQuality", "1 to 100, for JPEG"),
    p(
        "annotation",
        "`patient`, `technique`, `overlay`, or several of them",
    ),
    p(
        "presentationUID",
        "SOP Instance UID of a presentation state",
    ),
    p("presentationSeriesUID", "its Series Instance UID"),
];
const VERSION: &[Parameter] = &[p(
    "msdicom-request-original",
    "`true`: of what a bulk update changed, the first version",
)];
const STORED: &[Parameter] = &[
    p(
        "msdicom-expiry-time-milliseconds",
        "under /v2: the studies are deleted by themselves so long after this request, unless another store into them follows",
    ),
    p(
        "msdicom-expiry-option",
        "under /v2: `RelativeToNow`, which is the default",
    ),
    p(
        "msdicom-expiry-level",
        "under /v2: `Study`, which is the default",
    ),
    p(
        "If-Match",
        "under /dicom-web, with the study in the URL: ETags of the metadata of the study, of which it must still have one",
    ),
    p(
        "If-None-Match",
        "under /dicom-web, with the study in the URL: `*`, for a study that must not be there yet",
    ),
];
const FEED: &[Parameter] = &[
    p(
        "offset",
        "under /v1 the last sequence seen, else entries to skip",
    ),
    p("limit", "most entries"),
    p("startTime", "entries from this time on (not under /v1)"),
    p("endTime", "entries before this time (not under /v1)"),
    p("includeMetadata", "`false` leaves the metadata out"),
];

const DICOM_JSON: &str = "application/dicom+json";
const MULTI_DICOM: &str = "multipart/related; type=\"application/dicom\"";
const MULTI_BYTES: &str = "multipart/related; type=\"application/octet-stream\"";
const MULTI_XML: &str = "multipart/related; type=\"application/dicom+xml\"";
const MULTI_JSON: &str = "multipart/related; type=\"application/dicom+json\"";
const OBJECTS: &[&str] = &[
    MULTI_DICOM,
    "application/dicom",
    "application/zip",
    MULTI_BYTES,
];
const DATA_SETS: &[&str] = &[DICOM_JSON, MULTI_XML];
const STEPS: &[&str] = &[DICOM_JSON, "application/dicom+xml"];
const BYTES: &[&str] = &[MULTI_BYTES, "application/octet-stream"];
const PICTURES: &[&str] = &[
    "image/jpeg",
    "image/png",
    "image/gif",
    "text/html",
    "text/plain",
    "application/pdf",
    "video/mp4",
];
const JSON: &[&str] = &["application/json"];
const OK: &[(u16, &str)] = &[(200, "done")];
const RESTORED: &[(u16, &str)] = &[
    (
        200,
        "nothing of it is left on the trash but what is stored anyway",
    ),
    (202, "some instances are left; the reasons are in the body"),
    (409, "none is restored; the reasons are in the body"),
];
const FOUND: &[(u16, &str)] = &[
    (
        200,
        "the results; under /dicom-web also when there are none",
    ),
    (204, "no results (under /v1 and /v2)"),
];
const COMMITTED: &[(u16, &str)] = &[
    (200, "the result"),
    (202, "it is worked on; Retry-After says when to ask again"),
];
const CACHED: &[(u16, &str)] = &[(200, "as asked"), (304, "the client has it already")];
const RANGED: &[(u16, &str)] = &[
    (200, "as asked"),
    (206, "the byte range asked for"),
    (304, "the client has it already"),
];

/// A row that takes no body.
const fn row(
    handler: &'static str,
    group: &'static str,
    title: &'static str,
    gives: &'static [&'static str],
    statuses: &'static [(u16, &'static str)],
    query: &'static [Parameter],
) -> About {
    About {
        handler,
        group,
        title,
        takes: &[],
        gives,
        statuses,
        query,
        headers: &[],
    }
}

/// Said of a handler that has no row; a test keeps it from being needed.
static UNTOLD: About = row("undescribed", "Other", "Not described", &[], OK, &[]);

/// Every row.
pub(super) static ABOUT: &[About] = &[
    About {
        takes: &[MULTI_DICOM, "application/dicom", MULTI_JSON, MULTI_XML],
        headers: STORED,
        ..row(
            "store_instances",
            "Store",
            "Store instances (STOW-RS)",
            DATA_SETS,
            &[
                (200, "all are stored"),
                (202, "some are stored, or with warnings"),
                (409, "none is stored; the reasons are in the body"),
            ],
            &[],
        )
    },
    About {
        takes: &[MULTI_DICOM, "application/dicom", MULTI_JSON, MULTI_XML],
        headers: STORED,
        ..row(
            "replace_instances",
            "Store",
            "Store instances, in the places of those that have their UIDs",
            DATA_SETS,
            &[
                (200, "all are stored"),
                (202, "some are stored, or with warnings"),
                (409, "none is stored; the reasons are in the body"),
            ],
            &[],
        )
    },
    row(
        "search_studies",
        "Search",
        "Search for studies (QIDO-RS)",
        DATA_SETS,
        FOUND,
        SEARCH,
    ),
    row(
        "search_series",
        "Search",
        "Search for series (QIDO-RS)",
        DATA_SETS,
        FOUND,
        SEARCH,
    ),
    row(
        "search_instances",
        "Search",
        "Search for instances (QIDO-RS)",
        DATA_SETS,
        FOUND,
        SEARCH,
    ),
    About {
        headers: VERSION,
        ..row(
            "retrieve_instances",
            "Retrieve",
            "Retrieve the instances of a study, a series, or one (WADO-RS)",
            OBJECTS,
            CACHED,
            &[ACCEPT, DEIDENTIFY],
        )
    },
    About {
        headers: VERSION,
        ..row(
            "retrieve_metadata",
            "Retrieve",
            "Retrieve metadata",
            DATA_SETS,
            CACHED,
            &[ACCEPT],
        )
    },
    row(
        "retrieve_frames",
        "Retrieve",
        "Retrieve frames",
        BYTES,
        RANGED,
        &[ACCEPT],
    ),
    row(
        "retrieve_bulk",
        "Retrieve",
        "Retrieve one bulk data value",
        BYTES,
        RANGED,
        &[ACCEPT],
    ),
    row(
        "retrieve_all_bulk",
        "Retrieve",
        "Retrieve all bulk data",
        BYTES,
        CACHED,
        &[ACCEPT],
    ),
    row(
        "retrieve_pixel_data",
        "Retrieve",
        "Retrieve all pixel data",
        BYTES,
        CACHED,
        &[ACCEPT],
    ),
    row(
        "retrieve_rendered",
        "Rendered",
        "Show as a picture, a text or a film",
        PICTURES,
        CACHED,
        PICTURE,
    ),
    row(
        "retrieve_thumbnail",
        "Rendered",
        "Show as a small picture",
        &["image/jpeg", "image/png"],
        CACHED,
        THUMBNAIL,
    ),
    row(
        "retrieve_by_uri",
        "URI service",
        "Retrieve one instance by query (WADO-URI)",
        &["application/dicom", "image/jpeg", "image/png", "image/gif"],
        CACHED,
        URI,
    ),
    row(
        "delete_target",
        "Delete",
        "Delete a study, a series or an instance",
        &[],
        &[(204, "it is gone")],
        &[],
    ),
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
    About {
        takes: STEPS,
        headers: &[p(
            "Prefer",
            "`respond-async`: the answer comes at once, and the result is asked for later",
        )],
        ..row(
            "request_commitment",
            "Storage commitment",
            "Ask whether instances are stored and whole",
            STEPS,
            COMMITTED,
            &[ACCEPT],
        )
    },
    row(
        "check_commitment",
        "Storage commitment",
        "Get the result of such a request",
        STEPS,
        COMMITTED,
        &[ACCEPT],
    ),
    About {
        takes: STEPS,
        ..row(
            "create_workitem",
            "Worklist",
            "Create a workitem (UPS-RS)",
            &[],
            &[(201, "it is there, at the URL in Location")],
            &[p(
                "{uid}",
                "SOP Instance UID of the workitem, as a parameter without value, unless the data set has it",
            )],
        )
    },
    row(
        "search_workitems",
        "Worklist",
        "Search for workitems",
        DATA_SETS,
        FOUND,
        SEARCH,
    ),
    row(
        "search_scheduled_steps",
        "Worklist",
        "Search for scheduled procedure steps of modalities",
        DATA_SETS,
        &[(200, "the results; also when there are none")],
        SEARCH,
    ),
    row(
        "retrieve_workitem",
        "Worklist",
        "Retrieve a workitem",
        STEPS,
        OK,
        &[ACCEPT],
    ),
    About {
        takes: STEPS,
        ..row(
            "update_workitem",
            "Worklist",
            "Change attributes of a workitem",
            &[],
            OK,
            &[p(
                "transaction-uid",
                "Transaction UID it was claimed with; also as a parameter without value",
            )],
        )
    },
    About {
        takes: STEPS,
        ..row(
            "change_workitem_state",
            "Worklist",
            "Claim a workitem, complete it or give it up",
            &[],
            OK,
            &[],
        )
    },
    About {
        takes: STEPS,
        ..row(
            "request_workitem_cancel",
            "Worklist",
            "Cancel a workitem, or ask its performer to",
            &[],
            &[(202, "it is canceled, or its performer is asked")],
            &[],
        )
    },
    row(
        "subscribe",
        "Worklist",
        "Subscribe to a workitem, to all (1.2.840.10008.5.1.4.34.5) or to all that match a filter (….5.1)",
        &[],
        &[(
            201,
            "events come on the channel that Content-Location names",
        )],
        &[
            p(
                "deletionlock",
                "`true`: finished workitems are kept until the subscription ends",
            ),
            p("filter", "`key=value,key=value`, as in a search"),
        ],
    ),
    row(
        "unsubscribe",
        "Worklist",
        "End a subscription",
        &[],
        OK,
        &[],
    ),
    row(
        "suspend_subscription",
        "Worklist",
        "End a subscription for workitems that will be created",
        &[],
        OK,
        &[],
    ),
    row(
        "open_channel",
        "Worklist",
        "Open the event channel of a subscriber, a WebSocket",
        &[],
        &[(
            101,
            "events come as text messages, each one data set in JSON",
        )],
        &[p(
            "since",
            "number of the last event that was received, (0077,1001) of it; what came since is sent again",
        )],
    ),
];

/// What is said of the handler at `path`, such as `qido::search_studies`.
pub(super) fn of(path: &str) -> &'static About {
    let name = path.rsplit("::").next().unwrap_or(path).trim();
    let found = ABOUT.iter().find(|about| about.handler == name);
    found.unwrap_or(&UNTOLD)
}
