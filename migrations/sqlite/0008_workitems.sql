-- Workitems: one row each, as long as nobody deletes it. The data set lies packed in `content`; columns are what searches
-- begin with, and what decides who may see it.
create table workitem (
    id integer primary key autoincrement,
    partition integer not null,
    uid text not null,
    -- Grows with each change: whoever writes names the version that was read, so that no change is lost.
    version integer not null,
    -- 0 SCHEDULED, 1 IN PROGRESS, 2 COMPLETED, 3 CANCELED
    state integer not null,
    -- BLAKE3 of the Transaction UID it was claimed with; the UID itself is kept nowhere.
    owner text,
    study_uid text,
    patient_id text,
    -- Folded, for searches.
    patient_id_norm text,
    -- Scheduled start, `yyyymmddhhmmss.ffffff`.
    start text,
    -- Microseconds since 1970, UTC.
    created integer not null,
    changed integer not null,
    -- Memory that the data set takes when it is read, in bytes.
    weight integer not null,
    content blob not null
);

create unique index workitem_by_uid on workitem (uid, partition);
create index workitem_by_state on workitem (partition, state, id);
create index workitem_by_patient on workitem (partition, patient_id_norm);
create index workitem_by_study on workitem (partition, study_uid);
create index workitem_by_start on workitem (partition, start);
-- Finds those that are finished for long.
create index workitem_by_change on workitem (state, changed);
