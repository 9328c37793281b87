-- Orders of studies other than that of arrival (`orderby`): one index each, of the expression that is sorted by and then of
-- the row id, so that a page of any of them is read along an index in both directions, behind any place.
--
-- Names lie in a table of their own, several to a study; the first of the folded groups is what a study is sorted by.
alter table study add column patient_name_norm text collate "C";

update study set patient_name_norm = (
    select min(text) from study_name where study_name.study_row = study.id and study_name.kind = 1
);

-- No value comes first; the time tells studies of a day apart.
create index study_in_order_of_date on study
    (partition, coalesce(study_date || coalesce(study_time, ''), ''), id);
create index study_in_order_of_name on study (partition, coalesce(patient_name_norm, ''), id);
create index study_in_order_of_patient on study (partition, coalesce(patient_id_norm, ''), id);
create index study_in_order_of_accession on study (partition, coalesce(accession_number_norm, ''), id);
