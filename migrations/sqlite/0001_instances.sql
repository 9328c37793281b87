-- Studies, series and instances.
--
-- A study or series row exists exactly as long as an instance lies below it; counters and modalities are maintained in
-- the transaction that changes them, so that a search never aggregates. `attributes` holds the merged DICOM JSON of the
-- level's keys: a result is answered from it without opening an instance. Text columns with a `_norm` twin are searched
-- through the twin (case, accents and width folded). Row ids are never used twice (autoincrement): they are the
-- position in the total order of results, and cursors hold them.
create table study (
    id integer primary key autoincrement,
    partition integer not null,
    study_uid text not null,
    -- Grows with every change below the study, for ETags.
    version integer not null default 0,
    -- Watermark of the newest instance: what has no place in the index is answered from that one. 0 only inside the
    -- transaction that creates the row.
    newest integer not null default 0,
    series_count integer not null default 0,
    instance_count integer not null default 0,
    -- Sorted, joined by backslashes.
    modalities text not null default '',
    -- Microseconds since 1970, UTC; so are all times here.
    created integer not null,
    study_date text,
    study_time text,
    accession_number text,
    accession_number_norm text,
    study_description text,
    study_description_norm text,
    patient_id text,
    patient_id_norm text,
    issuer_of_patient_id text,
    issuer_of_patient_id_norm text,
    patient_birth_date text,
    patient_sex text,
    patient_sex_norm text,
    study_id text,
    study_id_norm text,
    -- Last, because it is the widest: the columns above are read without it.
    attributes text not null
);

create unique index study_by_uid on study (study_uid, partition);
-- The row id is the hidden last column of each index: equality gives the order of results for free.
create index study_by_date on study (partition, study_date);
create index study_by_patient on study (partition, patient_id_norm);
create index study_by_accession on study (partition, accession_number_norm);
create index study_by_description on study (partition, study_description_norm);
create index study_by_birth_date on study (partition, patient_birth_date);
create index study_by_study_id on study (partition, study_id_norm);

create table series (
    id integer primary key autoincrement,
    partition integer not null,
    study_row integer not null references study (id),
    series_uid text not null,
    version integer not null default 0,
    newest integer not null default 0,
    instance_count integer not null default 0,
    created integer not null,
    series_date text,
    modality text,
    modality_norm text,
    series_description text,
    series_description_norm text,
    model_name text,
    model_name_norm text,
    body_part text,
    body_part_norm text,
    series_number integer,
    pps_start_date text,
    pps_start_time text,
    attributes text not null
);

create unique index series_by_uid on series (series_uid, study_row);
-- Also answers "has the study a series of this modality".
create index series_by_study on series (study_row, modality_norm);
create index series_by_modality on series (partition, modality_norm, study_row);
create index series_by_pps_date on series (partition, pps_start_date);
create index series_by_model on series (partition, model_name_norm);

create table instance (
    watermark integer primary key autoincrement,
    partition integer not null,
    study_row integer not null references study (id),
    series_row integer not null references series (id),
    sop_instance_uid text not null,
    sop_class_uid text not null,
    instance_number integer,
    transfer_syntax text not null,
    created integer not null,
    blob_offset integer not null,
    blob_length integer not null,
    -- First eight bytes of the BLAKE3 of the key: keys are long, and equality is all that is asked of them.
    blob_hash integer not null,
    digest blob not null,
    blob_key text not null,
    layout text not null,
    pixel text,
    attributes text not null
);

-- Study and series UID are unique above, so this makes (partition, study, series, instance) unique; the instance UID
-- comes first because `/instances?SOPInstanceUID=` knows no series.
create unique index instance_by_uid on instance (sop_instance_uid, series_row);
create index instance_by_series on instance (series_row);
create index instance_by_study on instance (study_row);
create index instance_by_blob on instance (blob_hash);

-- The wide values live apart: a listing of thousands of instances reads pages that hold dozens of rows each.
create table instance_content (
    watermark integer primary key references instance (watermark) on delete cascade,
    bulk text not null,
    frames blob not null,
    metadata blob not null
);
