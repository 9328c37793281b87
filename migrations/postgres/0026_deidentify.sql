-- Exports that go, de-identified, into another partition: which one; null for the others.
alter table export add column copy_partition bigint;
-- What stays, as requests name it, and by which key the rest is replaced.
alter table export add column copy_options text collate "C";
alter table export add column copy_key text collate "C";
