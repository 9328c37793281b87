-- What was removed, for whoever wants it back within the grace period: one row for each delete, each study that expired
-- and each study in which instances were replaced. It goes when the last of its blobs is swept.
--
-- The columns of the study are copied, as the study's own row may go; `attributes` is what a search for it returned.
create table deletion (
    id integer primary key autoincrement,
    partition integer not null,
    study_uid text not null,
    -- Set when a series or an instance was meant.
    series_uid text,
    sop_instance_uid text,
    -- 1 deleted, 2 expired, 3 replaced.
    reason integer not null,
    -- Microseconds since 1970, UTC.
    since integer not null,
    patient_id text,
    patient_id_norm text,
    modalities text not null,
    attributes text not null,
    -- Of what can still be restored.
    series_count integer not null default 0,
    instance_count integer not null default 0,
    bytes integer not null default 0,
    -- Instances that were restored.
    restored integer not null default 0
);

create index deletion_by_place on deletion (partition, id) where instance_count > 0;
create index deletion_by_study on deletion (study_uid, partition);
create index deletion_by_patient on deletion (partition, patient_id_norm) where instance_count > 0;
create index deletion_by_time on deletion (since);

-- Which instance a blob was, null for blobs that never had a row or went before this; `removing` is set by the sweeper
-- before it touches the bytes, and from then on they cannot be restored.
alter table trash add column deletion integer;
alter table trash add column watermark integer;
alter table trash add column series_uid text;
alter table trash add column sop_instance_uid text;
alter table trash add column blob_length integer;
alter table trash add column digest blob;
alter table trash add column removing integer not null default 0;

create index trash_by_deletion on trash (deletion, watermark) where deletion is not null;

-- For whoever looks at what goes on.
create index operation_by_time on operation (created);
