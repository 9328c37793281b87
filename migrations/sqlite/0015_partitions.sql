-- Data partitions by name. They are never renamed and never removed; the first is there always.
create table data_partition (
    id integer primary key,
    name text not null unique,
    -- Microseconds since 1970, UTC.
    created integer not null
);

insert into data_partition (id, name, created)
    values (1, 'Microsoft.Default', cast(strftime('%s', 'now') as integer) * 1000000);

-- An AE title is a subscriber of its own in each partition.
create table subscriber_of_partition (
    aet text not null,
    partition integer not null,
    owner text,
    -- Events up to this one were sent when its last channel ended.
    sent integer not null,
    -- When it was last heard of, microseconds since 1970, UTC.
    seen integer not null,
    primary key (aet, partition)
);

insert into subscriber_of_partition (aet, partition, owner, sent, seen)
    select aet, partition, owner, sent, seen from subscriber;

drop table subscriber;

alter table subscriber_of_partition rename to subscriber;

create table global_subscription_of_partition (
    id integer primary key autoincrement,
    partition integer not null,
    aet text not null,
    -- 1.2.840.10008.5.1.4.34.5, or 1.2.840.10008.5.1.4.34.5.1 with a filter.
    target text not null,
    deletion_lock integer not null,
    filter text,
    -- Which patients and studies exist for the subscriber; null for all.
    visible text,
    unique (aet, target, partition)
);

insert into global_subscription_of_partition (id, partition, aet, target, deletion_lock, filter, visible)
    select id, partition, aet, target, deletion_lock, filter, visible from global_subscription;

-- Numbers are never given out twice, also those of subscriptions that are gone.
delete from sqlite_sequence where name = 'global_subscription_of_partition';

insert into sqlite_sequence (name, seq)
    select 'global_subscription_of_partition', seq from sqlite_sequence where name = 'global_subscription';

drop table global_subscription;

alter table global_subscription_of_partition rename to global_subscription;
