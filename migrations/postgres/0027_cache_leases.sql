-- Changes of what nodes keep in memory, numbered by a sequence: numbers are seen at once, without a commit.
create sequence cache_change;
select nextval('cache_change');

-- Nodes that may answer from what they read before, with the change that each has heard of last.
create table cache_lease (
    node text collate "C" primary key,
    change bigint not null
);
