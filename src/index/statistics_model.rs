//! Rows of the statistics.

/// What is stored in one partition, arrived in one month, and of one modality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticRow {
    /// Number of the partition.
    pub partition: i64,
    /// Year and month of arrival, such as 202611, UTC; 0 for patients.
    pub month: i64,
    /// Modality of the series; empty for series without one, for studies and for patients.
    pub modality: String,
    /// Distinct Patient IDs.
    pub patients: i64,
    /// Studies.
    pub studies: i64,
    /// Series.
    pub series: i64,
    /// Instances.
    pub instances: i64,
    /// Bytes of instances.
    pub bytes: i64,
}

impl StatisticRow {
    /// Whether it counts nothing: what came and went leaves such a row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [
            self.patients,
            self.studies,
            self.series,
            self.instances,
            self.bytes,
        ]
        .iter()
        .all(|number| *number == 0)
    }
}
