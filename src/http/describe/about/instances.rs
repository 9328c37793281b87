//! Storing, searching, retrieving, showing and deleting instances.

use super::row::{
    ACCEPT, About, BYTES, CACHED, DATA_SETS, DEIDENTIFY, FOUND, MULTI_DICOM, MULTI_JSON, MULTI_XML,
    OBJECTS, PICTURE, PICTURES, RANGED, SEARCH, STORED, THUMBNAIL, URI, VERSION, row,
};

/// The rows.
pub(super) static ROWS: &[About] = &[
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
];
