//! The columns of an instance as the archive sees it, and how they are read.

use super::error::IndexError;
use super::model::{BlobPlace, InstanceRow, Result};
use super::row_columns::{Driver, RowColumns, digest};
use super::scoping::push_scope;
use super::sql::{Dialect, Statement};
use crate::checksum::BlockChecksums;
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid, Target};
use crate::scope::{Partition, Scope};

/// Columns of an [`InstanceRow`].
pub(super) const COLUMNS: &str = "select instance.watermark, instance.partition, study.study_uid, series.series_uid, instance.sop_instance_uid, \
     instance.sop_class_uid, instance.layout, instance.pixel, instance.blob_key, instance.blob_offset, \
     instance.blob_length, instance.digest, instance.blocks";

/// Tables of [`COLUMNS`].
pub(super) const TABLES: &str = " from instance join series on series.id = instance.series_row \
     join study on study.id = instance.study_row";

/// Appends `where` with the target and the scope; all levels down to the target's must be joined.
pub(super) fn push_target<D: Dialect>(sql: &mut Statement<D>, scope: &Scope, target: &Target) {
    sql.push(" where study.study_uid = ")
        .text(target.study().as_str());
    push_scope(sql, scope);
    if let Some(series) = target.series() {
        sql.push(" and series.series_uid = ").text(series.as_str());
    }
    if let Some(instance) = target.instance() {
        sql.push(" and instance.sop_instance_uid = ")
            .text(instance.as_str());
    }
}

/// Reads the columns of [`COLUMNS`].
pub(super) fn instance_row<R: RowColumns>(row: &R) -> Result<InstanceRow> {
    read_instance_row(row).map_err(|_| IndexError::Corrupt {
        what: "an instance",
    })
}

/// Reads where the bytes of an instance lie.
pub(super) fn blob_place(row: &impl RowColumns) -> Driver<BlobPlace> {
    let bytes = |column| {
        let number = u64::try_from(row.int(column)?);
        number.map_err(|error| sqlx::Error::Decode(Box::new(error)))
    };
    let (length, blocks) = (bytes("blob_length")?, row.opt_blob("blocks")?);
    Ok(BlobPlace {
        key: row.text("blob_key")?,
        offset: bytes("blob_offset")?,
        length,
        blocks: blocks.and_then(|sums| BlockChecksums::from_bytes(&sums, length)),
    })
}

fn read_instance_row<R: RowColumns>(
    row: &R,
) -> std::result::Result<InstanceRow, Box<dyn std::error::Error + Send + Sync>> {
    let pixel = row.opt_text("pixel")?;
    Ok(InstanceRow {
        watermark: row.int("watermark")?,
        partition: Partition(row.int("partition")?),
        name: InstanceName {
            study: StudyUid::parse(&row.text("study_uid")?)?,
            series: SeriesUid::parse(&row.text("series_uid")?)?,
            instance: InstanceUid::parse(&row.text("sop_instance_uid")?)?,
        },
        sop_class: row.text("sop_class_uid")?,
        layout: serde_json::from_str(&row.text("layout")?)?,
        pixel: pixel.map(|json| serde_json::from_str(&json)).transpose()?,
        place: blob_place(row)?,
        digest: digest(row)?,
    })
}
