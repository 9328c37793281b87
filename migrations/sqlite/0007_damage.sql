-- Stored instances whose bytes are missing or are other ones than were stored, until they are whole again or deleted.
create table damage (
    watermark integer primary key references instance (watermark) on delete cascade,
    -- What is wrong, in words.
    problem text not null,
    -- When it was found, microseconds since 1970, UTC.
    found integer not null
);
