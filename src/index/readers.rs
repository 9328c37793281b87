//! Connections that only read: taken, used, given back.

use std::ops::DerefMut;

use futures_util::future::BoxFuture;
use sqlx::Pool;
use sqlx::pool::PoolConnection;

use super::PoolState;
use super::sql::{Dialect, Driver};

/// A bounded number of connections that only read.
pub(super) trait Readers<D: Dialect>: Send + Sync {
    /// One of them, for as long as it is needed.
    type Reader: DerefMut<Target = D::Connection> + Send;

    /// Takes one, or waits for one.
    fn take(&self) -> BoxFuture<'_, Driver<Self::Reader>>;

    /// Gives one back whose statements have all come to their end. One that is dropped instead is looked at before it is
    /// used again.
    fn give_back(reader: Self::Reader);

    /// How many there are.
    fn state(&self, name: &'static str) -> PoolState;
}

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
