-- Checksums of the blocks of an instance's bytes, so that any range of them can be checked as it is sent: the power of two
-- that a block is, then CRC-32 of each block, little endian. Null until they are taken; the scrub takes those of rows that
-- are older than this column.
alter table instance add column blocks blob;
alter table prepared_instance add column blocks blob;
alter table original add column blocks blob;
