//! A row as plain values, and a digest of many rows that does not depend on their order.

use super::super::row_columns::{Driver, RowColumns};
use super::super::sql::{Dialect, Statement};
use super::tables::{ColumnKind, Table};

/// A value of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TransferValue {
    Int(Option<i64>),
    Float(Option<f64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
}

impl TransferValue {
    /// What it needs in memory beside itself.
    fn weight(&self) -> usize {
        match self {
            Self::Int(_) | Self::Float(_) => 0,
            Self::Text(text) => text.as_ref().map_or(0, String::len),
            Self::Blob(bytes) => bytes.as_ref().map_or(0, Vec::len),
        }
    }

    /// Appends it to a statement.
    pub(super) fn bind<D: Dialect>(&self, statement: &mut Statement<D>) {
        match self {
            Self::Int(value) => statement.opt_int(*value),
            Self::Float(value) => statement.opt_float(*value),
            Self::Text(value) => statement.opt_text(value.as_deref()),
            Self::Blob(Some(value)) => statement.blob(value),
            Self::Blob(None) => statement.push("null"),
        };
    }

    fn hash(&self, hasher: &mut blake3::Hasher) {
        let mut put = |bytes: Option<&[u8]>| {
            // The length in front keeps neighbours apart; null is told from empty.
            let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(bytes.unwrap_or_default());
        };
        match self {
            Self::Int(value) => put(value.map(i64::to_le_bytes).as_ref().map(|b| b.as_slice())),
            Self::Float(value) => put(value.map(f64::to_le_bytes).as_ref().map(|b| b.as_slice())),
            Self::Text(value) => put(value.as_ref().map(String::as_bytes)),
            Self::Blob(value) => put(value.as_deref()),
        }
    }
}

/// Reads a row of a table.
pub(super) fn values<R: RowColumns>(table: &Table, row: &R) -> Driver<Vec<TransferValue>> {
    let value = |column: &super::tables::TransferColumn| {
        Ok(match column.kind {
            ColumnKind::Int => TransferValue::Int(row.opt_int(column.name)?),
            ColumnKind::Float => TransferValue::Float(row.opt_float(column.name)?),
            ColumnKind::Text => TransferValue::Text(row.opt_text(column.name)?),
            ColumnKind::Blob => TransferValue::Blob(row.opt_blob(column.name)?),
        })
    };
    table.columns.iter().map(value).collect()
}

/// What a row needs in memory.
pub(super) fn weight(row: &[TransferValue]) -> usize {
    row.iter().map(TransferValue::weight).sum()
}

/// How many rows there are and what they hold: the sum of their digests, which no order changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Rows.
    pub rows: u64,
    digest: [u64; 4],
}

impl Sum {
    /// Adds a row.
    pub(super) fn add(&mut self, row: &[TransferValue]) {
        let mut hasher = blake3::Hasher::new();
        row.iter().for_each(|value| value.hash(&mut hasher));
        let hash = hasher.finalize();
        for (sum, bytes) in self.digest.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            *sum = sum.wrapping_add(u64::from_le_bytes(word));
        }
        self.rows += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(rows: &[&[TransferValue]]) -> Sum {
        let mut sum = Sum::default();
        rows.iter().for_each(|row| sum.add(row));
        sum
    }

    #[test]
    fn a_sum_depends_on_every_value_and_on_no_order() {
        let text = |text: &str| TransferValue::Text(Some(text.to_owned()));
        let (a, b) = ([text("ab"), text("c")], [text("a"), text("bc")]);
        assert_eq!(sum(&[&a, &b]), sum(&[&b, &a]));
        assert_ne!(sum(&[&a]), sum(&[&b]));
        assert_ne!(sum(&[&a]), sum(&[&a, &a]));
        assert_ne!(sum(&[&[TransferValue::Text(None)]]), sum(&[&[text("")]]));
        assert_ne!(
            sum(&[&[TransferValue::Int(Some(1))]]),
            sum(&[&[TransferValue::Int(None)]])
        );
    }
}
