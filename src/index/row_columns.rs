//! Typed reading of rows.

/// Result of a call to the driver.
pub(super) type Driver<T> = std::result::Result<T, sqlx::Error>;

/// Typed access to the columns of a row, by name.
pub(super) trait RowColumns {
    /// An integer that is not null.
    fn int(&self, column: &'static str) -> Driver<i64>;
    /// An integer or null.
    fn opt_int(&self, column: &'static str) -> Driver<Option<i64>>;
    /// A floating-point number or null.
    fn opt_float(&self, column: &'static str) -> Driver<Option<f64>>;
    /// A text that is not null.
    fn text(&self, column: &'static str) -> Driver<String>;
    /// A text or null.
    fn opt_text(&self, column: &'static str) -> Driver<Option<String>>;
    /// Bytes that are not null.
    fn blob(&self, column: &'static str) -> Driver<Vec<u8>>;
    /// Bytes or null.
    fn opt_blob(&self, column: &'static str) -> Driver<Option<Vec<u8>>>;
}

/// Implements [`RowColumns`] for the row type of a driver.
macro_rules! columns {
    ($row:ty) => {
        impl crate::index::row_columns::RowColumns for $row {
            fn int(&self, column: &'static str) -> crate::index::row_columns::Driver<i64> {
                sqlx::Row::try_get(self, column)
            }
            fn opt_int(
                &self,
                column: &'static str,
            ) -> crate::index::row_columns::Driver<Option<i64>> {
                sqlx::Row::try_get(self, column)
            }
            fn opt_float(
                &self,
                column: &'static str,
            ) -> crate::index::row_columns::Driver<Option<f64>> {
                sqlx::Row::try_get(self, column)
            }
            fn text(&self, column: &'static str) -> crate::index::row_columns::Driver<String> {
                sqlx::Row::try_get(self, column)
            }
            fn opt_text(
                &self,
                column: &'static str,
            ) -> crate::index::row_columns::Driver<Option<String>> {
                sqlx::Row::try_get(self, column)
            }
            fn blob(&self, column: &'static str) -> crate::index::row_columns::Driver<Vec<u8>> {
                sqlx::Row::try_get(self, column)
            }
            fn opt_blob(
                &self,
                column: &'static str,
            ) -> crate::index::row_columns::Driver<Option<Vec<u8>>> {
                sqlx::Row::try_get(self, column)
            }
        }
    };
}
pub(super) use columns;

/// A statement that wrote rows did not give one of them back.
pub(super) fn lost_row() -> sqlx::Error {
    sqlx::Error::Decode("a row that was just written did not come back".into())
}

/// Reads the digest column.
pub(super) fn digest(row: &impl RowColumns) -> Driver<[u8; 32]> {
    let bytes = row.blob("digest")?;
    <[u8; 32]>::try_from(bytes.as_slice()).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
