-- How much is stored, kept up to date by triggers: whatever adds, moves or removes a row of study, series or instance
-- passes them, in its own transaction.
--
-- A transaction appends what it changed to `statistic_change`, so writers wait for nobody; now and then those rows are
-- added up into `statistic`. What is stored is the sum of both, read by one statement and so exact at any time.
--
-- Studies and patients stand at the empty modality, as do series without one; patients at the month 0.
create table statistic (
    partition bigint not null,
    -- Of arrival, as 202611, UTC.
    month bigint not null,
    modality text collate "C" not null,
    patients bigint not null default 0,
    studies bigint not null default 0,
    series bigint not null default 0,
    instances bigint not null default 0,
    bytes bigint not null default 0,
    primary key (partition, month, modality)
);

create table statistic_change (
    partition bigint not null,
    month bigint not null,
    modality text collate "C" not null,
    studies bigint not null default 0,
    series bigint not null default 0,
    instances bigint not null default 0,
    bytes bigint not null default 0
);

-- Patients that are counted.
create table statistic_patient (
    partition bigint not null,
    patient_id text collate "C" not null,
    patient_id_norm text collate "C",
    primary key (partition, patient_id)
);

-- Patients of whom a study came or went since: whether they have one still is looked up when it is read.
create table statistic_patient_change (
    partition bigint not null,
    patient_id text collate "C" not null,
    patient_id_norm text collate "C"
);

create function statistic_month(micros bigint) returns bigint language sql immutable as $$
    select cast(extract(year from arrived) * 100 + extract(month from arrived) as bigint)
    from (select timestamp '1970-01-01' + micros * interval '1 microsecond' as arrived) as time
$$;

create function statistic_has_study(of_partition bigint, of_patient text, of_norm text) returns boolean
language sql stable as $$
    select case when of_norm is null
        then exists (select 1 from study where partition = of_partition and patient_id = of_patient)
        else exists (select 1 from study
            where partition = of_partition and patient_id_norm = of_norm and patient_id = of_patient)
    end
$$;

-- What is kept, and what should be: compared by fsck.
create view statistic_kept as
    select partition, month, modality, patients, studies, series, instances, bytes from statistic
    union all
    select partition, month, modality, 0, studies, series, instances, bytes from statistic_change
    union all
    select c.partition, 0, '', case when statistic_has_study(c.partition, c.patient_id, c.patient_id_norm) then 1 else 0 end
        - case when exists (select 1 from statistic_patient p
            where p.partition = c.partition and p.patient_id = c.patient_id) then 1 else 0 end, 0, 0, 0, 0
        from (select distinct partition, patient_id, patient_id_norm from statistic_patient_change) as c;

create view statistic_counted as
    select partition, 0 as month, '' as modality, count(distinct patient_id) as patients,
        0 as studies, 0 as series, 0 as instances, 0 as bytes
        from study where patient_id is not null group by partition
    union all
    select partition, statistic_month(created), '', 0, count(*), 0, 0, 0 from study group by 1, 2
    union all
    select partition, statistic_month(created), coalesce(modality, ''), 0, 0, count(*), 0, 0
        from series group by 1, 2, 3
    union all
    select instance.partition, statistic_month(instance.created), coalesce(series.modality, ''), 0, 0, 0, count(*),
        cast(sum(instance.blob_length) as bigint)
        from instance join series on series.id = instance.series_row group by 1, 2, 3;

insert into statistic (partition, month, modality, patients, studies, series, instances, bytes)
    select partition, month, modality, sum(patients), sum(studies), sum(series), sum(instances), sum(bytes)
    from statistic_counted group by 1, 2, 3;

insert into statistic_patient (partition, patient_id, patient_id_norm)
    select partition, patient_id, min(patient_id_norm) from study where patient_id is not null group by 1, 2;

create function statistic_studies() returns trigger language plpgsql as $$
begin
    insert into statistic_change (partition, month, modality, studies)
        select partition, statistic_month(created), '', case when tg_op = 'DELETE' then -count(*) else count(*) end
        from changed group by 1, 2;
    insert into statistic_patient_change (partition, patient_id, patient_id_norm)
        select distinct partition, patient_id, patient_id_norm from changed where patient_id is not null;
    return null;
end
$$;

create trigger statistic_insert after insert on study
    referencing new table as changed for each statement execute function statistic_studies();
create trigger statistic_delete after delete on study
    referencing old table as changed for each statement execute function statistic_studies();

create function statistic_study_patient() returns trigger language plpgsql as $$
begin
    insert into statistic_patient_change (partition, patient_id, patient_id_norm)
        select * from (values (old.partition, old.patient_id, old.patient_id_norm),
            (new.partition, new.patient_id, new.patient_id_norm)) as v (partition, patient_id, norm)
        where v.patient_id is not null;
    return null;
end
$$;

create trigger statistic_update after update of patient_id on study for each row
    when (old.patient_id is distinct from new.patient_id) execute function statistic_study_patient();

create function statistic_series() returns trigger language plpgsql as $$
begin
    insert into statistic_change (partition, month, modality, series)
        select partition, statistic_month(created), coalesce(modality, ''),
            case when tg_op = 'DELETE' then -count(*) else count(*) end
        from changed group by 1, 2, 3;
    return null;
end
$$;

create trigger statistic_insert after insert on series
    referencing new table as changed for each statement execute function statistic_series();
create trigger statistic_delete after delete on series
    referencing old table as changed for each statement execute function statistic_series();

-- A series that gets another modality takes its instances along.
create function statistic_series_modality() returns trigger language plpgsql as $$
begin
    insert into statistic_change (partition, month, modality, series)
        values (old.partition, statistic_month(old.created), coalesce(old.modality, ''), -1),
            (new.partition, statistic_month(new.created), coalesce(new.modality, ''), 1);
    insert into statistic_change (partition, month, modality, instances, bytes)
        select i.partition, statistic_month(i.created), v.modality, v.sign * count(*), v.sign * sum(i.blob_length)
        from instance as i
        cross join (values (coalesce(old.modality, ''), -1), (coalesce(new.modality, ''), 1)) as v (modality, sign)
        where i.series_row = new.id group by 1, 2, v.modality, v.sign;
    return null;
end
$$;

create trigger statistic_update after update of modality on series for each row
    when (old.modality is distinct from new.modality) execute function statistic_series_modality();

create function statistic_instances() returns trigger language plpgsql as $$
begin
    insert into statistic_change (partition, month, modality, instances, bytes)
        select i.partition, statistic_month(i.created), coalesce(s.modality, ''),
            case when tg_op = 'DELETE' then -count(*) else count(*) end,
            case when tg_op = 'DELETE' then -sum(i.blob_length) else sum(i.blob_length) end
        from changed as i left join series as s on s.id = i.series_row group by 1, 2, 3;
    return null;
end
$$;

create trigger statistic_insert after insert on instance
    referencing new table as changed for each statement execute function statistic_instances();
create trigger statistic_delete after delete on instance
    referencing old table as changed for each statement execute function statistic_instances();

create function statistic_instance_moves() returns trigger language plpgsql as $$
begin
    insert into statistic_change (partition, month, modality, instances, bytes)
        values (old.partition, statistic_month(old.created),
            coalesce((select modality from series where id = old.series_row), ''), -1, -old.blob_length),
        (new.partition, statistic_month(new.created),
            coalesce((select modality from series where id = new.series_row), ''), 1, new.blob_length);
    return null;
end
$$;

create trigger statistic_update after update of partition, series_row, created, blob_length on instance for each row
    when (old.partition <> new.partition or old.series_row <> new.series_row or old.created <> new.created
        or old.blob_length <> new.blob_length)
    execute function statistic_instance_moves();

-- Adds up what transactions appended. One statement changes each table, so whoever reads meanwhile sees all or nothing of it.
create function statistic_add_up() returns void language plpgsql as $$
begin
    -- One at a time: whoever comes second finds nothing left.
    perform pg_advisory_xact_lock(7305808868);
    with gone as (delete from statistic_change returning *)
    insert into statistic (partition, month, modality, studies, series, instances, bytes)
        select partition, month, modality, sum(studies), sum(series), sum(instances), sum(bytes)
        from gone group by 1, 2, 3
        on conflict (partition, month, modality) do update set studies = statistic.studies + excluded.studies,
            series = statistic.series + excluded.series, instances = statistic.instances + excluded.instances,
            bytes = statistic.bytes + excluded.bytes;
    with gone as (delete from statistic_patient_change returning *),
    touched as (select partition, patient_id, min(patient_id_norm) as norm from gone group by 1, 2),
    now as (select partition, patient_id, norm, statistic_has_study(partition, patient_id, norm) as there from touched),
    fewer as (delete from statistic_patient p using now
        where not now.there and p.partition = now.partition and p.patient_id = now.patient_id returning p.partition),
    more as (insert into statistic_patient (partition, patient_id, patient_id_norm)
        select partition, patient_id, norm from now where there on conflict do nothing returning partition)
    insert into statistic (partition, month, modality, patients)
        select partition, 0, '', sum(n) from (
            select partition, -1 as n from fewer union all select partition, 1 from more) as changes
        group by partition
        on conflict (partition, month, modality) do update set patients = statistic.patients + excluded.patients;
end
$$;
