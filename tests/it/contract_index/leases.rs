//! Leases.

use std::time::{Duration, Instant};

use super::on_each_back_end;
use crate::support::index::TestIndex;

on_each_back_end!(
    a_lease_has_one_holder_until_it_ends,
    a_lease_that_is_given_back_is_free,
    of_many_who_ask_at_once_one_gets_the_lease,
);

const LONG: Duration = Duration::from_secs(3600);

async fn a_lease_has_one_holder_until_it_ends(index: &TestIndex) {
    assert!(index.take_lease("sweep", "a", LONG).await.unwrap());
    assert!(!index.take_lease("sweep", "b", LONG).await.unwrap());
    assert!(index.take_lease("scrub", "b", LONG).await.unwrap());
    // Its holder may change how long.
    let short = Duration::from_millis(1);
    assert!(index.take_lease("sweep", "a", short).await.unwrap());
    let begun = Instant::now();
    while !index.take_lease("sweep", "b", LONG).await.unwrap() {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    assert!(!index.take_lease("sweep", "a", LONG).await.unwrap());
    assert!(index.take_lease("sweep", "b", Duration::MAX).await.unwrap());
    assert!(!index.take_lease("sweep", "a", LONG).await.unwrap());
}

async fn a_lease_that_is_given_back_is_free(index: &TestIndex) {
    assert!(index.take_lease("sweep", "a", LONG).await.unwrap());
    index.give_back_lease("sweep", "b").await.unwrap();
    assert!(!index.take_lease("sweep", "b", LONG).await.unwrap());
    index.give_back_lease("sweep", "a").await.unwrap();
    index.give_back_lease("sweep", "a").await.unwrap();
    assert!(index.take_lease("sweep", "b", LONG).await.unwrap());
}

async fn of_many_who_ask_at_once_one_gets_the_lease(index: &TestIndex) {
    let asked = (0..8).map(|i| {
        let index = index.index.clone();
        tokio::spawn(async move { index.take_lease("sweep", &i.to_string(), LONG).await })
    });
    let mut taken = 0;
    for answer in asked.collect::<Vec<_>>() {
        taken += usize::from(answer.await.unwrap().unwrap());
    }
    assert_eq!(taken, 1);
}
