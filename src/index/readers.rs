//! Connections that only read: taken, used, given back.

use futures_util::future::BoxFuture;
use sqlx::Pool;
use sqlx::pool::PoolConnection;

use super::model::PoolState;
use super::row_columns::Driver;
use super::sql::{Dialect, Readers};

impl<D: Dialect> Readers<D> for Pool<D> {
    type Reader = PoolConnection<D>;

    fn take(&self) -> BoxFuture<'_, Driver<Self::Reader>> {
        Box::pin(self.acquire())
    }

    fn give_back(reader: Self::Reader) {
        drop(reader);
    }

    fn state(&self, name: &'static str) -> PoolState {
        PoolState {
            name,
            open: self.size(),
            idle: u32::try_from(self.num_idle()).unwrap_or(u32::MAX),
            limit: self.options().get_max_connections(),
        }
    }
}
