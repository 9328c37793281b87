//! Rows of extended query tags, and how they are read.

use dicom_core::VR;

use super::error::IndexError;
use super::micros::from_micros;
use super::model::Result;
use super::row_columns::{Driver, RowColumns};
use super::scoping::push_scopes;
use super::sql::{Dialect, Statement};
use super::tags_model::{TagIndexError, TagRow, TagStatus};
use crate::dicom::attributes::QueryLevel;
use crate::dicom::query_tag::{QueryTag, SUPPORTED};
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid};
use crate::scope::ScopeSet;

pub(super) const COLUMNS: &str = "select id, path, private_creator, vr, level, status, query_enabled, error_count, operation \
     from query_tag";

/// Appends `from … where …`: the errors of the studies that exist in the scope.
pub(super) fn push_errors<D: Dialect>(sql: &mut Statement<D>, scopes: &ScopeSet) {
    sql.push(
        " from query_tag_error join study on study.study_uid = query_tag_error.study_uid \
         and study.partition = query_tag_error.partition \
         join data_partition on data_partition.id = query_tag_error.partition where 1 = 1",
    );
    push_scopes(sql, scopes);
}

/// The tags whose values an insert brings along.
pub(super) async fn wanted<D: Dialect>(connection: &mut D::Connection) -> Driver<Vec<TagRow>> {
    let mut sql = Statement::<D>::new(COLUMNS);
    sql.push(" where status in ")
        .texts(["adding", "ready"])
        .push(" order by id");
    let rows = sql.rows(connection).await?;
    // A tag that cannot be read back must not stop inserts.
    Ok(rows.iter().filter_map(|row| tag(row).ok()).collect())
}

pub(super) fn creator(tag: &QueryTag) -> &str {
    tag.private_creator.as_deref().unwrap_or("")
}

pub(super) const fn level_number(level: QueryLevel) -> i64 {
    match level {
        QueryLevel::Study => 0,
        QueryLevel::Series => 1,
        QueryLevel::Instance => 2,
    }
}

/// Reads the columns of [`COLUMNS`].
pub(super) fn tag<R: RowColumns>(row: &R) -> Result<TagRow> {
    read_tag(row).map_err(|_| IndexError::Corrupt {
        what: "a query tag",
    })
}

pub(super) type UnreadableMetadata = Box<dyn std::error::Error + Send + Sync>;

pub(super) fn read_tag<R: RowColumns>(row: &R) -> std::result::Result<TagRow, UnreadableMetadata> {
    let path = row.text("path")?;
    let number = u32::from_str_radix(&path, 16)?;
    let creator = row.text("private_creator")?;
    let vr = row.text("vr")?;
    let vr: Option<&VR> = SUPPORTED.iter().find(|known| known.to_string() == vr);
    Ok(TagRow {
        id: row.int("id")?,
        tag: QueryTag {
            tag: dicom_core::Tag(
                u16::try_from(number >> 16)?,
                u16::try_from(number & 0xFFFF)?,
            ),
            path,
            vr: *vr.ok_or("an unknown VR")?,
            private_creator: Some(creator).filter(|creator| !creator.is_empty()),
            level: match row.int("level")? {
                0 => QueryLevel::Study,
                1 => QueryLevel::Series,
                2 => QueryLevel::Instance,
                _ => return Err("an unknown level".into()),
            },
        },
        status: match row.text("status")?.as_str() {
            "adding" => TagStatus::Adding,
            "ready" => TagStatus::Ready,
            "deleting" => TagStatus::Deleting,
            _ => return Err("an unknown status".into()),
        },
        enabled: row.int("query_enabled")? != 0,
        errors: row.int("error_count")?,
        operation: row.opt_text("operation")?,
    })
}

pub(super) fn tag_error<R: RowColumns>(
    row: &R,
) -> std::result::Result<TagIndexError, UnreadableMetadata> {
    Ok(TagIndexError {
        partition: row.text("partition_name")?,
        name: InstanceName {
            study: StudyUid::parse(&row.text("study_uid")?)?,
            series: SeriesUid::parse(&row.text("series_uid")?)?,
            instance: InstanceUid::parse(&row.text("sop_instance_uid")?)?,
        },
        created: from_micros(row.int("created")?)?,
        message: row.text("message")?,
    })
}
