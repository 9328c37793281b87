-- When a study is to be deleted by itself, in microseconds since 1970; none for never. The last store into it decides.
alter table study add column expires bigint;

create index study_by_expiry on study (expires) where expires is not null;
