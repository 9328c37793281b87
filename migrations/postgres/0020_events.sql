-- What happens to studies and workitems, made of the change feed by one node at a time, and who is told of it.
--
-- How far the feed was read, and the number of the next event. One row, made with the first events; whoever holds it makes
-- events.
create table event_state (
    id bigint primary key,
    feed bigint not null,
    next bigint not null
);

-- Studies as the events told of them: how many instances there are, when something changed last, and whether it is to be
-- told that nothing changes any more.
create table event_study (
    partition bigint not null,
    study_uid text collate "C" not null,
    patient_id text collate "C",
    instances bigint not null,
    -- Microseconds since 1970, UTC; so are all times here.
    changed bigint not null,
    waits bigint not null,
    primary key (partition, study_uid)
);

create index event_study_by_change on event_study (changed) where waits = 1;

-- Workitems that came or changed their state since; read and removed when events are made.
create table workitem_change (
    time bigint not null,
    partition bigint not null,
    uid text collate "C" not null,
    state bigint not null,
    study_uid text collate "C",
    patient_id text collate "C"
);

-- The events, kept for a time for those who come back.
create table event (
    sequence bigint primary key,
    time bigint not null,
    partition bigint not null,
    kind text collate "C" not null,
    study_uid text collate "C",
    -- Decides who may hear of it; told to nobody.
    patient_id text collate "C",
    -- What is told, a JSON object.
    data text collate "C" not null
);

create index event_by_time on event (time);

-- Who is told by HTTP.
create table webhook (
    id text collate "C" primary key,
    name text collate "C" not null unique,
    partition bigint not null,
    url text collate "C" not null,
    -- whsec_ and base64.
    secret text collate "C" not null,
    -- Kinds of events, joined by commas.
    kinds text collate "C" not null,
    -- Whose token made it; null without access control, and for what commands and files made.
    owner text collate "C",
    -- Which patients and studies exist for its owner, as JSON; null for all.
    visible text collate "C",
    -- route, command or file.
    origin text collate "C" not null,
    created bigint not null,
    -- Why nothing is sent; null while something is.
    disabled text collate "C",
    -- Events up to this one became deliveries.
    cursor bigint not null
);

-- Events on their way.
create table webhook_delivery (
    webhook text collate "C" not null references webhook (id) on delete cascade,
    sequence bigint not null,
    study_uid text collate "C",
    attempts bigint not null,
    -- When it is sent next, by the clock of the database.
    due bigint not null,
    -- 0 on its way, 1 given up.
    dead bigint not null,
    -- How the last attempt ended.
    problem text collate "C",
    primary key (webhook, sequence)
);

create index webhook_delivery_by_study on webhook_delivery (webhook, study_uid, sequence) where dead = 0;
create index webhook_delivery_by_due on webhook_delivery (webhook, due) where dead = 0;
