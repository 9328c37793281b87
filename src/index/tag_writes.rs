//! Values of extended query tags as a transaction writes them.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::micros::now_micros;
use super::row_columns::{Driver, RowColumns};
use super::sql::{Dialect, Statement};
use super::tag_values::{TagOutcome, TagValue};
use super::tags_model::TagRow;
use crate::dicom::attributes::QueryLevel;

/// What a stored instance says of the tags.
pub(super) struct TagExtraction {
    pub(super) watermark: i64,
    pub(super) uids: [String; 3],
    pub(super) findings: Vec<TagOutcome>,
}

/// Rows of an instance, its study and its series.
#[derive(Debug, Clone, Copy)]
pub(super) struct TagPlace {
    /// Partition of all of them.
    pub(super) partition: i64,
    /// Row of the study.
    pub(super) study: i64,
    /// Row of the series.
    pub(super) series: i64,
    /// The instance.
    pub(super) watermark: i64,
}

/// What happens to a value that came from a newer instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newer {
    /// It stays.
    Kept,
    /// There is none.
    Impossible,
}

/// Values to write: the latest per tag and row.
#[derive(Default)]
pub(super) struct TagValues(BTreeMap<(i64, RowOf), (TagPlace, Vec<TagValue>)>);

/// The row a value belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RowOf {
    Study(i64),
    Series(i64),
    Instance(i64),
}

impl TagValues {
    /// Leaves out values of tags other than these.
    pub(super) fn keep_tags(&mut self, tags: &HashSet<i64>) {
        self.0.retain(|(tag, _), _| tags.contains(tag));
    }

    /// Takes the values of one instance; instances come in the order of their watermarks.
    pub(super) fn add(&mut self, tags: &[TagRow], findings: &[TagOutcome], place: TagPlace) {
        for (tag, finding) in tags.iter().zip(findings) {
            let row = match tag.tag.level {
                QueryLevel::Study => RowOf::Study(place.study),
                QueryLevel::Series => RowOf::Series(place.series),
                QueryLevel::Instance => RowOf::Instance(place.watermark),
            };
            if let TagOutcome::Values(values) = finding {
                self.0.insert((tag.id, row), (place, values.clone()));
            }
        }
    }

    /// Writes them, in the place of older ones.
    pub(super) async fn write<D: Dialect>(
        mut self,
        connection: &mut D::Connection,
        newer: Newer,
    ) -> Driver<()> {
        let keys: Vec<(i64, RowOf)> = self.0.keys().copied().collect();
        for level in [QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance] {
            let of_level: Vec<(i64, RowOf)> = keys
                .iter()
                .copied()
                .filter(|(_, row)| row.level() == level)
                .collect();
            for chunk in of_level.chunks(200) {
                if newer == Newer::Kept {
                    self.leave_newer::<D>(connection, level, chunk).await?;
                }
                let keys: Vec<_> = chunk
                    .iter()
                    .filter(|key| self.0.contains_key(key))
                    .collect();
                if !keys.is_empty() {
                    let mut sql = Statement::<D>::new("delete from query_tag_value where ");
                    push_keys(&mut sql, level, keys.into_iter());
                    sql.run(connection).await?;
                }
            }
        }
        let rows: Vec<(i64, RowOf, TagPlace, &TagValue)> = self
            .0
            .iter()
            .flat_map(|((tag, row), (place, values))| {
                values.iter().map(|value| (*tag, *row, *place, value))
            })
            .collect();
        for chunk in rows.chunks(500) {
            let mut sql = Statement::<D>::new(
                "insert into query_tag_value (tag, partition, study_row, series_row, watermark, part, source, text, \
                 text_norm, number)",
            );
            sql.values(chunk, |sql, (tag, row, place, value)| {
                sql.int(*tag)
                    .push(", ")
                    .int(place.partition)
                    .push(", ")
                    .int(place.study)
                    .push(", ");
                let below_study = (row.level() >= QueryLevel::Series).then_some(place.series);
                let below_series = (row.level() == QueryLevel::Instance).then_some(place.watermark);
                sql.opt_int(below_study)
                    .push(", ")
                    .opt_int(below_series)
                    .push(", ");
                sql.int(value.part)
                    .push(", ")
                    .int(place.watermark)
                    .push(", ");
                let (text, norm) = match &value.text {
                    Some((text, norm)) => (Some(text.as_str()), Some(norm.as_str())),
                    None => (None, None),
                };
                sql.opt_text(text)
                    .push(", ")
                    .opt_text(norm)
                    .push(", ")
                    .opt_float(value.number);
            });
            sql.run(connection).await?;
        }
        Ok(())
    }

    /// Forgets those of `keys` for which a value from a newer instance is stored.
    async fn leave_newer<D: Dialect>(
        &mut self,
        connection: &mut D::Connection,
        level: QueryLevel,
        keys: &[(i64, RowOf)],
    ) -> Driver<()> {
        let mut sql = Statement::<D>::new(match level {
            QueryLevel::Study => {
                "select tag, study_row as place, source from query_tag_value where "
            }
            QueryLevel::Series => {
                "select tag, series_row as place, source from query_tag_value where "
            }
            QueryLevel::Instance => {
                "select tag, watermark as place, source from query_tag_value where "
            }
        });
        push_keys(&mut sql, level, keys.iter());
        for row in sql.rows(connection).await? {
            let place = row.int("place")?;
            let key = (
                row.int("tag")?,
                match level {
                    QueryLevel::Study => RowOf::Study(place),
                    QueryLevel::Series => RowOf::Series(place),
                    QueryLevel::Instance => RowOf::Instance(place),
                },
            );
            let source = row.int("source")?;
            if self
                .0
                .get(&key)
                .is_some_and(|(place, _)| place.watermark < source)
            {
                self.0.remove(&key);
            }
        }
        Ok(())
    }
}

impl RowOf {
    const fn level(self) -> QueryLevel {
        match self {
            Self::Study(_) => QueryLevel::Study,
            Self::Series(_) => QueryLevel::Series,
            Self::Instance(_) => QueryLevel::Instance,
        }
    }

    const fn id(self) -> i64 {
        match self {
            Self::Study(id) | Self::Series(id) | Self::Instance(id) => id,
        }
    }
}

/// Appends the condition that a value belongs to one of the keys, all of one level.
pub(super) fn push_keys<'k, D: Dialect>(
    sql: &mut Statement<D>,
    level: QueryLevel,
    keys: impl Iterator<Item = &'k (i64, RowOf)>,
) {
    sql.push(match level {
        QueryLevel::Study => "series_row is null and (study_row, tag) in (",
        QueryLevel::Series => "watermark is null and (series_row, tag) in (",
        QueryLevel::Instance => "(watermark, tag) in (",
    });
    sql.values(keys, |sql, (tag, row)| {
        sql.int(row.id()).push(", ").int(*tag);
    });
    sql.push(")");
}

/// Locks the studies of these instances and finds the rows of those that still exist.
pub(super) async fn lock_places<D: Dialect>(
    connection: &mut D::Connection,
    found: &[TagExtraction],
) -> Driver<HashMap<i64, TagPlace>> {
    let watermarks = || found.iter().map(|found| found.watermark);
    let mut sql = Statement::<D>::new(
        "select id from study where id in (select study_row from instance where watermark in ",
    );
    sql.ints(watermarks())
        .push(") order by study_uid, partition")
        .push(D::FOR_UPDATE);
    sql.rows(connection).await?;
    let mut sql = Statement::<D>::new(
        "select watermark, partition, study_row, series_row from instance where watermark in ",
    );
    sql.ints(watermarks());
    let mut places = HashMap::new();
    for row in sql.rows(connection).await? {
        let place = TagPlace {
            partition: row.int("partition")?,
            study: row.int("study_row")?,
            series: row.int("series_row")?,
            watermark: row.int("watermark")?,
        };
        places.insert(place.watermark, place);
    }
    Ok(places)
}

/// Writes down which values of the tag at a place in the list could not be indexed; searches by it are forbidden until
/// somebody allows them.
pub(super) async fn write_errors<D: Dialect>(
    connection: &mut D::Connection,
    (at, tag): (usize, &TagRow),
    found: &[TagExtraction],
    places: &HashMap<i64, TagPlace>,
) -> Driver<()> {
    fn error<'f>(
        found: &'f TagExtraction,
        at: usize,
        places: &HashMap<i64, TagPlace>,
    ) -> Option<(&'f TagExtraction, i64, &'f str)> {
        match (found.findings.get(at), places.get(&found.watermark)) {
            (Some(TagOutcome::Invalid(message)), Some(place)) => {
                Some((found, place.partition, message.as_str()))
            }
            _ => None,
        }
    }
    let errors: Vec<(&TagExtraction, i64, &str)> = found
        .iter()
        .filter_map(|found| error(found, at, places))
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let mut sql = Statement::<D>::new(
        "insert into query_tag_error (tag, created, partition, watermark, study_uid, series_uid, sop_instance_uid, \
         message)",
    );
    sql.values(errors, |sql, (found, partition, message)| {
        let [study, series, instance] = &found.uids;
        sql.int(tag.id)
            .push(", ")
            .int(now_micros())
            .push(", ")
            .int(partition)
            .push(", ");
        sql.int(found.watermark)
            .push(", ")
            .text(study)
            .push(", ")
            .text(series)
            .push(", ");
        sql.text(instance).push(", ").text(message);
    });
    sql.push(" on conflict (tag, watermark) do nothing");
    let new = i64::try_from(sql.run(connection).await?).unwrap_or(0);
    let mut sql =
        Statement::<D>::new("update query_tag set query_enabled = 0, error_count = error_count + ");
    sql.int(new).push(" where id = ").int(tag.id);
    sql.run(connection).await.map(|_| ())
}
