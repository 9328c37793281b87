-- What happens to studies and workitems, made of the change feed by one node at a time, and who is told of it.
--
-- How far the feed was read, and the number of the next event. One row, made with the first events; whoever holds it makes
-- events.
create table event_state (
    id integer primary key,
    feed integer not null,
    next integer not null
);

-- Studies as the events told of them: how many instances there are, when something changed last, and whether it is to be
-- told that nothing changes any more.
create table event_study (
    partition integer not null,
    study_uid text not null,
    patient_id text,
    instances integer not null,
    -- Microseconds since 1970, UTC; so are all times here.
    changed integer not null,
    waits integer not null,
    primary key (partition, study_uid)
) without rowid;

create index event_study_by_change on event_study (changed) where waits = 1;

-- Workitems that came or changed their state since; read and removed when events are made.
create table workitem_change (
    time integer not null,
    partition integer not null,
    uid text not null,
    state integer not null,
    study_uid text,
    patient_id text
);

-- The events, kept for a time for those who come back.
create table event (
    sequence integer primary key,
    time integer not null,
    partition integer not null,
    kind text not null,
    study_uid text,
    -- Decides who may hear of it; told to nobody.
    patient_id text,
    -- What is told, a JSON object.
    data text not null
);

create index event_by_time on event (time);

-- Who is told by HTTP.
create table webhook (
    id text primary key,
    name text not null unique,
    partition integer not null,
    url text not null,
    -- whsec_ and base64.
    secret text not null,
    -- Kinds of events, joined by commas.
    kinds text not null,
    -- Whose token made it; null without access control, and for what commands and files made.
    owner text,
    -- Which patients and studies exist for its owner, as JSON; null for all.
    visible text,
    -- route, command or file.
    origin text not null,
    created integer not null,
    -- Why nothing is sent; null while something is.
    disabled text,
    -- Events up to this one became deliveries.
    cursor integer not null
);

-- Events on their way.
create table webhook_delivery (
    webhook text not null references webhook (id) on delete cascade,
    sequence integer not null,
    study_uid text,
    attempts integer not null,
    -- When it is sent next, by the clock of the database.
    due integer not null,
    -- 0 on its way, 1 given up.
    dead integer not null,
    -- How the last attempt ended.
    problem text,
    primary key (webhook, sequence)
) without rowid;

create index webhook_delivery_by_study on webhook_delivery (webhook, study_uid, sequence) where dead = 0;
create index webhook_delivery_by_due on webhook_delivery (webhook, due) where dead = 0;
