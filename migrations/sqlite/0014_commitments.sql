-- Requests for storage commitment that were taken and are not reported yet.
create table commitment (
    id text primary key,
    partition integer not null,
    -- AE title of the requestor.
    peer text not null,
    -- Transaction UID and references, a JSON object.
    request text not null,
    -- Microseconds since 1970, UTC.
    created integer not null,
    -- Reports that nobody took.
    attempts integer not null,
    -- When somebody may look after it, by the clock of the database: whoever does keeps it in the future.
    due integer not null
);

create index commitment_by_due on commitment (due);
create index commitment_by_peer on commitment (peer);
