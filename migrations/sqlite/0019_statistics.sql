-- How much is stored, kept up to date by triggers: whatever adds, moves or removes a row of study, series or instance
-- passes them, in its own transaction. There is one writer, so the counts are changed in place.
--
-- Studies and patients stand at the empty modality, as do series without one; patients at the month 0.
create table statistic (
    partition integer not null,
    -- Of arrival, as 202611, UTC.
    month integer not null,
    modality text not null,
    patients integer not null default 0,
    studies integer not null default 0,
    series integer not null default 0,
    instances integer not null default 0,
    bytes integer not null default 0,
    primary key (partition, month, modality)
) without rowid;

-- What is kept, and what should be: compared by fsck.
create view statistic_kept as
    select partition, month, modality, patients, studies, series, instances, bytes from statistic;

create view statistic_counted as
    select partition, 0 as month, '' as modality, count(distinct patient_id) as patients,
        0 as studies, 0 as series, 0 as instances, 0 as bytes
        from study where patient_id is not null group by partition
    union all
    select partition, cast(strftime('%Y%m', created / 1000000, 'unixepoch') as integer), '', 0, count(*), 0, 0, 0
        from study group by 1, 2
    union all
    select partition, cast(strftime('%Y%m', created / 1000000, 'unixepoch') as integer), coalesce(modality, ''), 0, 0,
        count(*), 0, 0
        from series group by 1, 2, 3
    union all
    select instance.partition, cast(strftime('%Y%m', instance.created / 1000000, 'unixepoch') as integer),
        coalesce(series.modality, ''), 0, 0, 0, count(*), sum(instance.blob_length)
        from instance join series on series.id = instance.series_row group by 1, 2, 3;

insert into statistic (partition, month, modality, patients, studies, series, instances, bytes)
    select partition, month, modality, sum(patients), sum(studies), sum(series), sum(instances), sum(bytes)
    from statistic_counted group by 1, 2, 3;

create trigger statistic_study_insert after insert on study begin
    insert into statistic (partition, month, modality, studies)
        values (new.partition, cast(strftime('%Y%m', new.created / 1000000, 'unixepoch') as integer), '', 1)
        on conflict (partition, month, modality) do update set studies = studies + 1;
    insert into statistic (partition, month, modality, patients)
        select new.partition, 0, '', 1 where new.patient_id is not null and not exists (
            select 1 from study where study.partition = new.partition and study.patient_id_norm is new.patient_id_norm
            and study.patient_id = new.patient_id and study.id <> new.id)
        on conflict (partition, month, modality) do update set patients = patients + 1;
end;

create trigger statistic_study_delete after delete on study begin
    insert into statistic (partition, month, modality, studies)
        values (old.partition, cast(strftime('%Y%m', old.created / 1000000, 'unixepoch') as integer), '', -1)
        on conflict (partition, month, modality) do update set studies = studies - 1;
    insert into statistic (partition, month, modality, patients)
        select old.partition, 0, '', -1 where old.patient_id is not null and not exists (
            select 1 from study where study.partition = old.partition and study.patient_id_norm is old.patient_id_norm
            and study.patient_id = old.patient_id)
        on conflict (partition, month, modality) do update set patients = patients - 1;
end;

create trigger statistic_study_update after update of patient_id on study when old.patient_id is not new.patient_id begin
    insert into statistic (partition, month, modality, patients)
        select old.partition, 0, '', -1 where old.patient_id is not null and not exists (
            select 1 from study where study.partition = old.partition and study.patient_id_norm is old.patient_id_norm
            and study.patient_id = old.patient_id)
        on conflict (partition, month, modality) do update set patients = patients - 1;
    insert into statistic (partition, month, modality, patients)
        select new.partition, 0, '', 1 where new.patient_id is not null and not exists (
            select 1 from study where study.partition = new.partition and study.patient_id_norm is new.patient_id_norm
            and study.patient_id = new.patient_id and study.id <> new.id)
        on conflict (partition, month, modality) do update set patients = patients + 1;
end;

create trigger statistic_series_insert after insert on series begin
    insert into statistic (partition, month, modality, series)
        values (new.partition, cast(strftime('%Y%m', new.created / 1000000, 'unixepoch') as integer),
            coalesce(new.modality, ''), 1)
        on conflict (partition, month, modality) do update set series = series + 1;
end;

create trigger statistic_series_delete after delete on series begin
    insert into statistic (partition, month, modality, series)
        values (old.partition, cast(strftime('%Y%m', old.created / 1000000, 'unixepoch') as integer),
            coalesce(old.modality, ''), -1)
        on conflict (partition, month, modality) do update set series = series - 1;
end;

-- A series that gets another modality takes its instances along.
create trigger statistic_series_update after update of modality on series when old.modality is not new.modality begin
    insert into statistic (partition, month, modality, series)
        values (old.partition, cast(strftime('%Y%m', old.created / 1000000, 'unixepoch') as integer),
            coalesce(old.modality, ''), -1)
        on conflict (partition, month, modality) do update set series = series - 1;
    insert into statistic (partition, month, modality, series)
        values (new.partition, cast(strftime('%Y%m', new.created / 1000000, 'unixepoch') as integer),
            coalesce(new.modality, ''), 1)
        on conflict (partition, month, modality) do update set series = series + 1;
    insert into statistic (partition, month, modality, instances, bytes)
        select partition, cast(strftime('%Y%m', created / 1000000, 'unixepoch') as integer), coalesce(old.modality, ''),
            -count(*), -sum(blob_length)
            from instance where series_row = new.id group by 1, 2
        on conflict (partition, month, modality) do update set
            instances = instances + excluded.instances, bytes = bytes + excluded.bytes;
    insert into statistic (partition, month, modality, instances, bytes)
        select partition, cast(strftime('%Y%m', created / 1000000, 'unixepoch') as integer), coalesce(new.modality, ''),
            count(*), sum(blob_length)
            from instance where series_row = new.id group by 1, 2
        on conflict (partition, month, modality) do update set
            instances = instances + excluded.instances, bytes = bytes + excluded.bytes;
end;

create trigger statistic_instance_insert after insert on instance begin
    insert into statistic (partition, month, modality, instances, bytes)
        values (new.partition, cast(strftime('%Y%m', new.created / 1000000, 'unixepoch') as integer),
            coalesce((select modality from series where id = new.series_row), ''), 1, new.blob_length)
        on conflict (partition, month, modality) do update set
            instances = instances + 1, bytes = bytes + excluded.bytes;
end;

create trigger statistic_instance_delete after delete on instance begin
    insert into statistic (partition, month, modality, instances, bytes)
        values (old.partition, cast(strftime('%Y%m', old.created / 1000000, 'unixepoch') as integer),
            coalesce((select modality from series where id = old.series_row), ''), -1, -old.blob_length)
        on conflict (partition, month, modality) do update set
            instances = instances - 1, bytes = bytes + excluded.bytes;
end;

create trigger statistic_instance_update after update of partition, series_row, created, blob_length on instance
when old.partition <> new.partition or old.series_row <> new.series_row or old.created <> new.created
    or old.blob_length <> new.blob_length
begin
    insert into statistic (partition, month, modality, instances, bytes)
        values (old.partition, cast(strftime('%Y%m', old.created / 1000000, 'unixepoch') as integer),
            coalesce((select modality from series where id = old.series_row), ''), -1, -old.blob_length)
        on conflict (partition, month, modality) do update set
            instances = instances - 1, bytes = bytes + excluded.bytes;
    insert into statistic (partition, month, modality, instances, bytes)
        values (new.partition, cast(strftime('%Y%m', new.created / 1000000, 'unixepoch') as integer),
            coalesce((select modality from series where id = new.series_row), ''), 1, new.blob_length)
        on conflict (partition, month, modality) do update set
            instances = instances + 1, bytes = bytes + excluded.bytes;
end;
