-- Exports that clients asked for: what is exported, how far it is, and what could not be exported.
create table export (
    operation text primary key references operation (id) on delete cascade,
    partition integer not null,
    -- Which studies exist for whoever asked; null for all.
    visible text,
    -- Name of a destination of the configuration.
    destination text not null,
    -- How many identifiers were asked for; null for everything.
    sources integer,
    -- The identifier that is worked on, from 0, and the last instance of it that is done; of everything, the study too.
    source integer not null,
    study_uid text not null,
    series_uid text not null,
    sop_instance_uid text not null,
    -- Instances of the identifier, or of everything, as counted when it was begun, and how many of them are done.
    expected integer not null,
    done integer not null,
    exported integer not null,
    skipped integer not null
) without rowid;

-- Study, study/series or study/series/instance; none is part of another one.
create table export_source (
    operation text not null references operation (id) on delete cascade,
    number integer not null,
    identifier text not null,
    primary key (operation, number)
) without rowid;

-- What is to be told in errors.log; gone when it is written.
create table export_error (
    operation text not null references operation (id) on delete cascade,
    number integer not null,
    -- Microseconds since 1970, UTC.
    created integer not null,
    identifier text not null,
    message text not null,
    primary key (operation, number)
) without rowid;
