-- Who does what only one node at a time shall do, until when.
create table lease (
    name text primary key,
    holder text not null,
    -- Microseconds since 1970, by the clock of the database.
    until integer not null
) without rowid;
