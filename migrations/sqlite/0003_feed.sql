-- The change feed: one row per instance write, in the transaction of the write. Sequence and time grow together.
--
-- The UIDs are held as text because the entry outlives the rows it speaks of; `patient_id` lets a caller who may see
-- only some patients follow the feed past a delete.
create table change (
    sequence integer primary key autoincrement,
    time integer not null,
    partition integer not null,
    action integer not null,
    watermark integer not null,
    study_uid text not null,
    series_uid text not null,
    sop_instance_uid text not null,
    patient_id text
);

create index change_by_time on change (time);
