-- Who is told what happens to workitems, and what happened.
--
-- An AE title with its channel. `owner` is whose token may act for it; null without access control.
create table subscriber (
    aet text primary key,
    partition integer not null,
    owner text,
    -- Events up to this one were sent when its last channel ended.
    sent integer not null,
    -- When it was last heard of, microseconds since 1970, UTC.
    seen integer not null
);

-- Subscriptions to all workitems, also to those that will be created. They are never changed, only replaced: count and sum of
-- the ids say whether the set is the one that was read.
create table global_subscription (
    id integer primary key autoincrement,
    partition integer not null,
    aet text not null,
    -- 1.2.840.10008.5.1.4.34.5, or 1.2.840.10008.5.1.4.34.5.1 with a filter.
    target text not null,
    deletion_lock integer not null,
    filter text,
    -- Which patients and studies exist for the subscriber, as JSON; null for all.
    visible text,
    unique (aet, target)
);

-- Subscriptions to single workitems.
create table subscription (
    workitem integer not null references workitem (id) on delete cascade,
    aet text not null,
    deletion_lock integer not null,
    primary key (workitem, aet)
);

create index subscription_by_aet on subscription (aet);

-- What happened, in the transaction of the change. Sequences grow in the order of commits; UIDs are held as text because the
-- event outlives the workitem.
create table workitem_event (
    sequence integer primary key autoincrement,
    time integer not null,
    partition integer not null,
    -- Event Type ID of PS3.4 Table CC.2.4-1.
    kind integer not null,
    -- Null for events of the service itself.
    uid text,
    study_uid text,
    patient_id text,
    -- The attributes of the event, a JSON object.
    content text not null
);

create index workitem_event_by_time on workitem_event (time);

-- Whom an event is sent to.
create table workitem_delivery (
    aet text not null,
    sequence integer not null references workitem_event (sequence) on delete cascade,
    primary key (aet, sequence)
);

create index workitem_delivery_by_event on workitem_delivery (sequence);
