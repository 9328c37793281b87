//! A row: what is said of a handler; and what several rows say.

/// What is said of a handler.
#[derive(Debug)]
pub(in crate::http::describe) struct About {
    /// Name of the handler's function.
    pub(in crate::http::describe) handler: &'static str,
    /// Service it belongs to.
    pub(in crate::http::describe) group: &'static str,
    /// What it does, in a few words.
    pub(in crate::http::describe) title: &'static str,
    /// Media types of the request body.
    pub(in crate::http::describe) takes: &'static [&'static str],
    /// Media types of the answer.
    pub(in crate::http::describe) gives: &'static [&'static str],
    /// Statuses of success, with their meaning.
    pub(in crate::http::describe) statuses: &'static [(u16, &'static str)],
    /// Query parameters.
    pub(in crate::http::describe) query: &'static [Parameter],
    /// Header fields that only some handlers look at.
    pub(in crate::http::describe) headers: &'static [Parameter],
}

/// A query parameter.
#[derive(Debug, Clone, Copy)]
pub(in crate::http::describe) struct Parameter {
    /// Its name.
    pub(in crate::http::describe) name: &'static str,
    /// What it does.
    pub(in crate::http::describe) meaning: &'static str,
}

pub(super) const fn p(name: &'static str, meaning: &'static str) -> Parameter {
    Parameter { name, meaning }
}

/// Stands for the attributes a search matches: any keyword or number is a parameter of its own.
pub(in crate::http::describe) const ATTRIBUTES: &str = "{attribute}";

pub(super) const ACCEPT: Parameter = p(
    "accept",
    "media type of the answer; outranks the header Accept",
);
pub(super) const DEIDENTIFY: Parameter = p(
    "deidentify",
    "retrieve de-identified: `basic`, or options separated by commas, such as `retain-modified-dates`; needs the right `deidentify` in place of `read`",
);
pub(super) const SEARCH: &[Parameter] = &[
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
pub(super) const PICTURE: &[Parameter] = &[
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
pub(super) const THUMBNAIL: &[Parameter] = &[ACCEPT, p("viewport", "width and height in pixels")];
pub(super) const URI: &[Parameter] = &[
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
pub(super) const VERSION: &[Parameter] = &[p(
    "msdicom-request-original",
    "`true`: of what a bulk update changed, the first version",
)];
pub(super) const STORED: &[Parameter] = &[
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
pub(super) const FEED: &[Parameter] = &[
    p(
        "offset",
        "under /v1 the last sequence seen, else entries to skip",
    ),
    p("limit", "most entries"),
    p("startTime", "entries from this time on (not under /v1)"),
    p("endTime", "entries before this time (not under /v1)"),
    p("includeMetadata", "`false` leaves the metadata out"),
];

pub(super) const DICOM_JSON: &str = "application/dicom+json";
pub(super) const MULTI_DICOM: &str = "multipart/related; type=\"application/dicom\"";
pub(super) const MULTI_BYTES: &str = "multipart/related; type=\"application/octet-stream\"";
pub(super) const MULTI_XML: &str = "multipart/related; type=\"application/dicom+xml\"";
pub(super) const MULTI_JSON: &str = "multipart/related; type=\"application/dicom+json\"";
pub(super) const OBJECTS: &[&str] = &[
    MULTI_DICOM,
    "application/dicom",
    "application/zip",
    MULTI_BYTES,
];
pub(super) const DATA_SETS: &[&str] = &[DICOM_JSON, MULTI_XML];
pub(super) const STEPS: &[&str] = &[DICOM_JSON, "application/dicom+xml"];
pub(super) const BYTES: &[&str] = &[MULTI_BYTES, "application/octet-stream"];
pub(super) const PICTURES: &[&str] = &[
    "image/jpeg",
    "image/png",
    "image/gif",
    "text/html",
    "text/plain",
    "application/pdf",
    "video/mp4",
];
pub(super) const JSON: &[&str] = &["application/json"];
pub(super) const OK: &[(u16, &str)] = &[(200, "done")];
pub(super) const RESTORED: &[(u16, &str)] = &[
    (
        200,
        "nothing of it is left on the trash but what is stored anyway",
    ),
    (202, "some instances are left; the reasons are in the body"),
    (409, "none is restored; the reasons are in the body"),
];
pub(super) const FOUND: &[(u16, &str)] = &[
    (
        200,
        "the results; under /dicom-web also when there are none",
    ),
    (204, "no results (under /v1 and /v2)"),
];
pub(super) const COMMITTED: &[(u16, &str)] = &[
    (200, "the result"),
    (202, "it is worked on; Retry-After says when to ask again"),
];
pub(super) const CACHED: &[(u16, &str)] = &[(200, "as asked"), (304, "the client has it already")];
pub(super) const RANGED: &[(u16, &str)] = &[
    (200, "as asked"),
    (206, "the byte range asked for"),
    (304, "the client has it already"),
];

/// A row that takes no body.
pub(super) const fn row(
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
