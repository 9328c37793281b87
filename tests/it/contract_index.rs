//! The promises of the index traits, on every back end.
//!
//! Each promise is a function over an empty index; [`on_each_back_end`] makes two tests of it.

mod commitments;
mod concurrent;
mod deleting;
mod feed;
mod inserting;
mod leases;
mod ordering;
mod plans;
mod replacing;
mod restoring;
mod scoping;
mod searching;
mod tagging;

/// Makes a test of each promise on each back end.
macro_rules! on_each_back_end {
    ($($promise:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                super::$promise(&crate::support::index::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                if let Some(index) = crate::support::index::postgres().await {
                    super::$promise(&index).await;
                }
            })*
        }
    };
}
use on_each_back_end;
