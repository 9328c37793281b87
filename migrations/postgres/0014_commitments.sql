-- Requests for storage commitment that were taken and are not reported yet.
create table commitment (
    id text collate "C" primary key,
    partition bigint not null,
    -- AE title of the requestor.
    peer text collate "C" not null,
    -- Transaction UID and references, a JSON object.
    request text collate "C" not null,
    -- Microseconds since 1970, UTC.
    created bigint not null,
    -- Reports that nobody took.
    attempts bigint not null,
    -- When somebody may look after it, by the clock of the database: whoever does keeps it in the future.
    due bigint not null
);

create index commitment_by_due on commitment (due);
create index commitment_by_peer on commitment (peer);
