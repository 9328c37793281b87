-- Extended query tags and the long-running operations that index them.
create table operation (
    id text primary key,
    kind text not null,
    status text not null,
    created integer not null,
    updated integer not null,
    percent integer not null default 0,
    -- Where a restarted server goes on.
    position integer not null default 0,
    -- JSON array of resource paths; JSON object.
    resources text not null default '[]',
    results text
);

create index operation_by_status on operation (kind, status);

create table query_tag (
    id integer primary key autoincrement,
    -- Eight upper-case hex digits; private ones gggg00ee.
    path text not null,
    private_creator text not null default '',
    vr text not null,
    level integer not null,
    status text not null,
    query_enabled integer not null default 1,
    error_count integer not null default 0,
    operation text references operation (id),
    created integer not null,
    unique (path, private_creator)
);

-- Values per tag and row of the tag's level; they live exactly as long as that row. Columns below the level are null.
-- A person name has one part per group (0, 1, 2) and one per word suffix (from 16 on, see study_name_word); all else has
-- part 0. `source` is the watermark the value came from: indexing what was stored before must not undo what came later.
create table query_tag_value (
    id integer primary key,
    tag integer not null references query_tag (id) on delete cascade,
    partition integer not null,
    study_row integer not null references study (id) on delete cascade,
    series_row integer references series (id) on delete cascade,
    watermark integer references instance (watermark) on delete cascade,
    part integer not null,
    source integer not null,
    text text,
    text_norm text,
    number real
);

create unique index query_tag_value_by_study on query_tag_value (study_row, tag, part)
    where series_row is null;
create unique index query_tag_value_by_series on query_tag_value (series_row, tag, part)
    where watermark is null;
create unique index query_tag_value_by_instance on query_tag_value (watermark, tag, part)
    where watermark is not null;
create index query_tag_value_by_text on query_tag_value (tag, partition, text_norm);
create index query_tag_value_by_number on query_tag_value (tag, partition, number);
-- The cascades look for their rows without the conditions above.
create index query_tag_value_of_study on query_tag_value (study_row);
create index query_tag_value_of_series on query_tag_value (series_row);

create table query_tag_error (
    id integer primary key autoincrement,
    tag integer not null references query_tag (id) on delete cascade,
    created integer not null,
    partition integer not null,
    watermark integer not null,
    study_uid text not null,
    series_uid text not null,
    sop_instance_uid text not null,
    message text not null,
    unique (tag, watermark)
);
