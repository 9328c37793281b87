-- Bulk update: what an operation is to change, what of it is prepared, and the first versions of what was changed.
create table bulk_update (
    operation text collate "C" primary key references operation (id) on delete cascade,
    partition bigint not null,
    -- Which studies exist for whoever asked, as JSON; null for all.
    visible text collate "C",
    -- What is to be changed, as JSON.
    request text collate "C" not null
);

-- A study of an operation.
create table bulk_update_study (
    operation text collate "C" not null references operation (id) on delete cascade,
    number bigint not null,
    partition bigint not null,
    study_uid text collate "C" not null,
    -- 0 waiting, 1 updated, 2 failed, 3 not there
    state bigint not null,
    -- How many instances were updated.
    instances bigint not null default 0,
    -- What the change brings to the rows of its levels, as JSON: known with the first instance that is prepared.
    levels text collate "C",
    primary key (operation, number)
);

-- A study is updated by one operation at a time.
create unique index bulk_update_study_waiting on bulk_update_study (study_uid, partition) where state = 0;

-- Changed instances whose blobs are durable. They get their rows all at once, in the places of those they were made of.
create table prepared_instance (
    -- Watermark of the version it was made of.
    replaces bigint primary key,
    operation text collate "C" not null references operation (id) on delete cascade,
    number bigint not null,
    partition bigint not null,
    study_uid text collate "C" not null,
    series_uid text collate "C" not null,
    sop_instance_uid text collate "C" not null,
    sop_class_uid text collate "C" not null,
    instance_number bigint,
    transfer_syntax text collate "C" not null,
    blob_offset bigint not null,
    blob_length bigint not null,
    blob_hash bigint not null,
    digest bytea not null,
    blob_key text collate "C" not null,
    layout text collate "C" not null,
    pixel text collate "C",
    attributes text collate "C" not null,
    -- What it says of the query tags there were, as JSON.
    findings text collate "C" not null,
    bulk text collate "C" not null,
    frames bytea not null,
    metadata bytea not null
);

create index prepared_instance_by_study on prepared_instance (operation, number);
create index prepared_instance_by_blob on prepared_instance (blob_hash);

-- First versions of instances that were changed. They go when the instance goes, or is replaced by a store.
create table original (
    -- Its own watermark, by which nothing else is known any more.
    watermark bigint primary key,
    -- Watermark of the version that is stored now.
    current bigint not null,
    sop_class_uid text collate "C" not null,
    created bigint not null,
    blob_offset bigint not null,
    blob_length bigint not null,
    blob_hash bigint not null,
    digest bytea not null,
    blob_key text collate "C" not null,
    layout text collate "C" not null,
    pixel text collate "C",
    bulk text collate "C" not null,
    frames bytea not null,
    metadata bytea not null
);

create unique index original_by_current on original (current);
create index original_by_blob on original (blob_hash);

-- The version a study or series had when its instances were last changed all at once: whoever reads it in pages sees so
-- that the pages do not belong together.
alter table study add column changed_at bigint not null default 0;

-- What is compressed already is not compressed again.
alter table prepared_instance alter column metadata set storage external;
alter table original alter column metadata set storage external;
