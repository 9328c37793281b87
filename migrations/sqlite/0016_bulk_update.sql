-- Bulk update: what an operation is to change, what of it is prepared, and the first versions of what was changed.
create table bulk_update (
    operation text primary key references operation (id) on delete cascade,
    partition integer not null,
    -- Which studies exist for whoever asked, as JSON; null for all.
    visible text,
    -- What is to be changed, as JSON.
    request text not null
) without rowid;

-- A study of an operation.
create table bulk_update_study (
    operation text not null references operation (id) on delete cascade,
    number integer not null,
    partition integer not null,
    study_uid text not null,
    -- 0 waiting, 1 updated, 2 failed, 3 not there
    state integer not null,
    -- How many instances were updated.
    instances integer not null default 0,
    -- What the change brings to the rows of its levels, as JSON: known with the first instance that is prepared.
    levels text,
    primary key (operation, number)
) without rowid;

-- A study is updated by one operation at a time.
create unique index bulk_update_study_waiting on bulk_update_study (study_uid, partition) where state = 0;

-- Changed instances whose blobs are durable. They get their rows all at once, in the places of those they were made of.
create table prepared_instance (
    -- Watermark of the version it was made of.
    replaces integer primary key,
    operation text not null references operation (id) on delete cascade,
    number integer not null,
    partition integer not null,
    study_uid text not null,
    series_uid text not null,
    sop_instance_uid text not null,
    sop_class_uid text not null,
    instance_number integer,
    transfer_syntax text not null,
    blob_offset integer not null,
    blob_length integer not null,
    blob_hash integer not null,
    digest blob not null,
    blob_key text not null,
    layout text not null,
    pixel text,
    attributes text not null,
    -- What it says of the query tags there were, as JSON.
    findings text not null,
    bulk text not null,
    frames blob not null,
    metadata blob not null
);

create index prepared_instance_by_study on prepared_instance (operation, number);
create index prepared_instance_by_blob on prepared_instance (blob_hash);

-- First versions of instances that were changed. They go when the instance goes, or is replaced by a store.
create table original (
    -- Its own watermark, by which nothing else is known any more.
    watermark integer primary key,
    -- Watermark of the version that is stored now.
    current integer not null,
    sop_class_uid text not null,
    created integer not null,
    blob_offset integer not null,
    blob_length integer not null,
    blob_hash integer not null,
    digest blob not null,
    blob_key text not null,
    layout text not null,
    pixel text,
    bulk text not null,
    frames blob not null,
    metadata blob not null
);

create unique index original_by_current on original (current);
create index original_by_blob on original (blob_hash);

-- The version a study or series had when its instances were last changed all at once: whoever reads it in pages sees so
-- that the pages do not belong together.
alter table study add column changed_at integer not null default 0;
