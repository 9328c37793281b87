-- Blobs without a row, to be removed once the grace period is over.
create table trash (
    blob_key text primary key,
    -- As in instance: finds out whether a row still uses the blob.
    blob_hash integer not null,
    since integer not null,
    attempts integer not null default 0
) without rowid;

create index trash_by_since on trash (since);
