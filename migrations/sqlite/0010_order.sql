-- Orders of studies other than that of arrival (`orderby`): one index each, of what is sorted by, with the row id as its
-- hidden last column, so that a page of any of them is read along an index in both directions, behind any place.
--
-- Names lie in a table of their own, several to a study; the first of the folded groups is what a study is sorted by.
alter table study add column patient_name_norm text;

update study set patient_name_norm = (
    select min(text) from study_name where study_name.study_row = study.id and study_name.kind = 1
);

-- What is sorted by; columns, as a place in an index can be sought by columns only. No value comes first; the time tells
-- studies of a day apart.
alter table study add column date_order text
    generated always as (coalesce(study_date || coalesce(study_time, ''), '')) virtual;
alter table study add column name_order text generated always as (coalesce(patient_name_norm, '')) virtual;
alter table study add column patient_order text generated always as (coalesce(patient_id_norm, '')) virtual;
alter table study add column accession_order text generated always as (coalesce(accession_number_norm, '')) virtual;

create index study_in_order_of_date on study (partition, date_order);
create index study_in_order_of_name on study (partition, name_order);
create index study_in_order_of_patient on study (partition, patient_order);
create index study_in_order_of_accession on study (partition, accession_order);
