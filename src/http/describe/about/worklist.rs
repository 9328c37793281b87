//! Storage commitment and the worklist.

use super::row::{ACCEPT, About, COMMITTED, DATA_SETS, FOUND, OK, SEARCH, STEPS, p, row};

/// The rows.
pub(super) static ROWS: &[About] = &[
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
