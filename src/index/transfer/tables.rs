//! The tables of the index as plain rows: which columns they have, and how they are read and written whole.
//!
//! Invariant: every table but the leases is here with every column it has (a test asks both databases).

/// What a column holds; each may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnKind {
    Int,
    Float,
    Text,
    Blob,
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransferColumn {
    pub(super) name: &'static str,
    pub(super) kind: ColumnKind,
}

/// A table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [TransferColumn],
    /// Reads every row.
    pub(super) select: &'static str,
    /// Reads one row, if there is one.
    pub(super) any: &'static str,
    /// Begins an insert.
    pub(super) insert: &'static str,
}

macro_rules! tables {
    ($($table:ident: $first:ident $first_kind:ident $(, $column:ident $kind:ident)*;)*) => {
        /// Every table, those that others refer to first.
        pub(super) const TABLES: &[Table] = &[$(Table {
            name: stringify!($table),
            columns: &[
                TransferColumn { name: stringify!($first), kind: ColumnKind::$first_kind }
                $(, TransferColumn { name: stringify!($column), kind: ColumnKind::$kind })*
            ],
            select: concat!("select ", stringify!($first) $(, ", ", stringify!($column))*, " from ", stringify!($table)),
            any: concat!("select 1 as one from ", stringify!($table), " limit 1"),
            insert: concat!("insert into ", stringify!($table), " (", stringify!($first) $(, ", ", stringify!($column))*, ")"),
        },)*];
    };
}

tables! {
    data_partition: id Int, name Text, created Int;
    study: id Int, partition Int, study_uid Text, version Int, newest Int, series_count Int, instance_count Int,
        modalities Text, created Int, study_date Text, study_time Text, accession_number Text,
        accession_number_norm Text, study_description Text, study_description_norm Text, patient_id Text,
        patient_id_norm Text, issuer_of_patient_id Text, issuer_of_patient_id_norm Text, patient_birth_date Text,
        patient_sex Text, patient_sex_norm Text, study_id Text, study_id_norm Text, attributes Text,
        patient_name_norm Text, expires Int, changed_at Int;
    series: id Int, partition Int, study_row Int, series_uid Text, version Int, newest Int, instance_count Int,
        created Int, series_date Text, modality Text, modality_norm Text, series_description Text,
        series_description_norm Text, model_name Text, model_name_norm Text, body_part Text, body_part_norm Text,
        series_number Int, pps_start_date Text, pps_start_time Text, attributes Text;
    instance: watermark Int, partition Int, study_row Int, series_row Int, sop_instance_uid Text, sop_class_uid Text,
        instance_number Int, transfer_syntax Text, created Int, blob_offset Int, blob_length Int, blob_hash Int,
        digest Blob, blob_key Text, layout Text, pixel Text, attributes Text, blocks Blob;
    instance_content: watermark Int, bulk Text, frames Blob, metadata Blob;
    damage: watermark Int, problem Text, found Int;
    study_name: id Int, partition Int, kind Int, study_row Int, text Text;
    study_name_word: partition Int, kind Int, text Text, study_row Int;
    change: sequence Int, time Int, partition Int, action Int, watermark Int, study_uid Text, series_uid Text,
        sop_instance_uid Text, patient_id Text;
    deletion: id Int, partition Int, study_uid Text, series_uid Text, sop_instance_uid Text, reason Int, since Int,
        patient_id Text, patient_id_norm Text, modalities Text, attributes Text, series_count Int, instance_count Int,
        bytes Int, restored Int;
    trash: blob_key Text, blob_hash Int, since Int, attempts Int, deletion Int, watermark Int, series_uid Text,
        sop_instance_uid Text, blob_length Int, digest Blob, removing Int;
    operation: id Text, kind Text, status Text, created Int, updated Int, percent Int, position Int, resources Text,
        results Text;
    query_tag: id Int, path Text, private_creator Text, vr Text, level Int, status Text, query_enabled Int,
        error_count Int, operation Text, created Int;
    query_tag_value: id Int, tag Int, partition Int, study_row Int, series_row Int, watermark Int, part Int,
        source Int, text Text, text_norm Text, number Float;
    query_tag_error: id Int, tag Int, created Int, partition Int, watermark Int, study_uid Text, series_uid Text,
        sop_instance_uid Text, message Text;
    bulk_update: operation Text, partition Int, visible Text, request Text;
    bulk_update_study: operation Text, number Int, partition Int, study_uid Text, state Int, instances Int, levels Text;
    prepared_instance: replaces Int, operation Text, number Int, partition Int, study_uid Text, series_uid Text,
        sop_instance_uid Text, sop_class_uid Text, instance_number Int, transfer_syntax Text, blob_offset Int,
        blob_length Int, blob_hash Int, digest Blob, blob_key Text, layout Text, pixel Text, attributes Text,
        findings Text, bulk Text, frames Blob, metadata Blob, blocks Blob;
    export: operation Text, partition Int, visible Text, destination Text, sources Int, source Int, study_uid Text,
        series_uid Text, sop_instance_uid Text, expected Int, done Int, exported Int, skipped Int, copy_partition Int,
        copy_options Text, copy_key Text;
    export_source: operation Text, number Int, identifier Text;
    export_error: operation Text, number Int, created Int, identifier Text, message Text;
    original: watermark Int, current Int, sop_class_uid Text, created Int, blob_offset Int, blob_length Int,
        blob_hash Int, digest Blob, blob_key Text, layout Text, pixel Text, bulk Text, frames Blob, metadata Blob,
        blocks Blob;
    nonpatient: id Int, partition Int, kind Text, sop_class_uid Text, sop_instance_uid Text, transfer_syntax Text,
        created Int, digest Blob, file Blob, weight Int, metadata Blob;
    workitem: id Int, partition Int, uid Text, version Int, state Int, owner Text, study_uid Text, patient_id Text,
        patient_id_norm Text, start Text, created Int, changed Int, weight Int, content Blob;
    subscriber: aet Text, partition Int, owner Text, sent Int, seen Int;
    global_subscription: id Int, partition Int, aet Text, target Text, deletion_lock Int, filter Text, visible Text;
    subscription: workitem Int, aet Text, deletion_lock Int;
    workitem_event: sequence Int, time Int, partition Int, kind Int, uid Text, study_uid Text, patient_id Text,
        content Text;
    workitem_delivery: aet Text, sequence Int;
    event_state: id Int, feed Int, next Int;
    event_study: partition Int, study_uid Text, patient_id Text, instances Int, changed Int, waits Int;
    workitem_change: time Int, partition Int, uid Text, state Int, study_uid Text, patient_id Text;
    event: sequence Int, time Int, partition Int, kind Text, study_uid Text, patient_id Text, data Text;
    webhook: id Text, name Text, partition Int, url Text, secret Text, kinds Text, owner Text, visible Text, origin Text,
        created Int, disabled Text, cursor Int;
    webhook_delivery: webhook Text, sequence Int, study_uid Text, attempts Int, due Int, dead Int, problem Text;
    commitment: id Text, partition Int, peer Text, request Text, created Int, attempts Int, due Int;
}
