//! Leases: work that one node at a time does for all.
//!
//! Invariant: time is the database's, so nodes whose clocks differ agree on when a lease ends.

use std::time::Duration;

use async_trait::async_trait;

use super::micros::length_micros;
use super::model::Result;
use super::sql::{Dialect, SqlIndex, Statement};
use super::traits::Leases;

#[async_trait]
impl<D: Dialect> Leases for SqlIndex<D> {
    async fn take_lease(&self, name: &str, holder: &str, length: Duration) -> Result<bool> {
        let mut sql = Statement::<D>::new("insert into lease (name, holder, until) values (");
        sql.text(name).push(", ").text(holder).push(", ");
        sql.push(D::NOW).push(" + ").int(length_micros(length));
        sql.push(
            ") on conflict (name) do update set holder = excluded.holder, until = excluded.until \
             where lease.holder = excluded.holder or lease.until < ",
        );
        sql.push(D::NOW);
        Ok(self.write("a lease", sql).await? > 0)
    }

    async fn give_back_lease(&self, name: &str, holder: &str) -> Result<()> {
        let mut sql = Statement::<D>::new("delete from lease where name = ");
        sql.text(name).push(" and holder = ").text(holder);
        self.write("a lease", sql).await.map(drop)
    }

    async fn lease_is_held(&self, name: &str) -> Result<bool> {
        let mut sql = Statement::<D>::new("select 1 as one from lease where name = ");
        sql.text(name).push(" and until >= ").push(D::NOW);
        Ok(!self.read("a lease", sql).await?.is_empty())
    }
}
