-- Stored instances whose bytes are missing or are other ones than were stored, until they are whole again or deleted.
create table damage (
    watermark bigint primary key references instance (watermark) on delete cascade,
    -- What is wrong, in words.
    problem text collate "C" not null,
    -- When it was found, microseconds since 1970, UTC.
    found bigint not null
);
