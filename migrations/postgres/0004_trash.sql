-- Blobs without a row, to be removed once the grace period is over.
create table trash (
    blob_key text collate "C" primary key,
    -- As in instance: finds out whether a row still uses the blob.
    blob_hash bigint not null,
    since bigint not null,
    attempts bigint not null default 0
);

create index trash_by_since on trash (since);
