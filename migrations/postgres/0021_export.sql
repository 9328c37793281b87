-- Exports that clients asked for: what is exported, how far it is, and what could not be exported.
create table export (
    operation text collate "C" primary key references operation (id) on delete cascade,
    partition bigint not null,
    -- Which studies exist for whoever asked; null for all.
    visible text collate "C",
    -- Name of a destination of the configuration.
    destination text collate "C" not null,
    -- How many identifiers were asked for; null for everything.
    sources bigint,
    -- The identifier that is worked on, from 0, and the last instance of it that is done; of everything, the study too.
    source bigint not null,
    study_uid text collate "C" not null,
    series_uid text collate "C" not null,
    sop_instance_uid text collate "C" not null,
    -- Instances of the identifier, or of everything, as counted when it was begun, and how many of them are done.
    expected bigint not null,
    done bigint not null,
    exported bigint not null,
    skipped bigint not null
);

-- Study, study/series or study/series/instance; none is part of another one.
create table export_source (
    operation text collate "C" not null references operation (id) on delete cascade,
    number bigint not null,
    identifier text collate "C" not null,
    primary key (operation, number)
);

-- What is to be told in errors.log; gone when it is written.
create table export_error (
    operation text collate "C" not null references operation (id) on delete cascade,
    number bigint not null,
    -- Microseconds since 1970, UTC.
    created bigint not null,
    identifier text collate "C" not null,
    message text collate "C" not null,
    primary key (operation, number)
);
