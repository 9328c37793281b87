-- Non-patient instances: objects that belong to no patient, study and series. They are small, so their files are here.
create table nonpatient (
    id integer primary key autoincrement,
    partition integer not null,
    -- Name of the resource in URLs.
    kind text not null,
    sop_class_uid text not null,
    sop_instance_uid text not null,
    transfer_syntax text not null,
    -- Microseconds since 1970, UTC.
    created integer not null,
    -- BLAKE3 of the file.
    digest blob not null,
    -- The file as it was received.
    file blob not null,
    -- Memory that reading the metadata takes, in bytes.
    weight integer not null,
    -- DICOM JSON, packed.
    metadata blob not null
);

create unique index nonpatient_by_uid on nonpatient (sop_instance_uid, partition);
create index nonpatient_by_kind on nonpatient (partition, kind);
